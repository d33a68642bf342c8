//! Pools of this process that share a server: what it has room for is for all of them together.

use super::{Watched, WeakWatched, lock};
use crate::backend::{Limit, Login, Server};
use std::sync::{Arc, Mutex};

/// Another pool of this process, on the same server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sibling {
    pub(crate) name: String,
    /// How many connections it may have.
    pub(crate) cap: u32,
    login: Login,
    open: u32,
}

impl Sibling {
    #[cfg(test)]
    pub(crate) fn new(name: &str, cap: u32, login: Login, open: u32) -> Self {
        Self { name: name.to_owned(), cap, login, open }
    }

    /// Whether its connections take room within this limit of a pool with that login.
    pub(crate) fn is_within(&self, limit: &Limit, login: &Login) -> bool {
        login.shares(limit, &self.login)
    }
}

static POOLS: Mutex<Vec<WeakWatched>> = Mutex::new(Vec::new());

/// Makes a pool known to its siblings, until it is dropped.
pub(crate) fn join(pool: &Watched) {
    // A handle may be the last one of its pool, which then ends after the lock is released.
    let mut alive = Vec::new();
    let mut pools = lock(&POOLS);
    pools.retain(|known| known.upgrade().map(|pool| alive.push(pool)).is_some());
    pools.push(pool.downgrade());
}

/// The other pools on the server of this one: those that it has answered, and whose size is limited.
pub(super) fn of(pool: &Watched, login: &Login) -> Vec<Sibling> {
    // A pool that ends here does so outside of the lock.
    let pools: Vec<Watched> = lock(&POOLS).iter().filter_map(WeakWatched::upgrade).collect();
    let others = pools.iter().filter(|other| !Arc::ptr_eq(other.tally(), pool.tally()));
    others
        .filter_map(|pool| {
            let (status, server) = (pool.status(), pool.tally().server()?);
            let is_beside = !status.closed && server.login.server == login.server;
            let cap = pool.settings().cap().filter(|_| is_beside)?;
            Some(Sibling { name: status.name, cap, login: server.login, open: status.open })
        })
        .collect()
}

/// How many of the connections that this limit counts, and that are not the pool's own, belong to its siblings in every instance.
///
/// The server shows the names of another user's sessions to privileged roles only, so the siblings of this process are counted here.
pub(crate) fn open_within(limit: &Limit, server: &Server, siblings: &[Sibling]) -> u32 {
    let mut logins: Vec<&Login> = Vec::new();
    for Sibling { login, .. } in siblings.iter().filter(|sibling| sibling.is_within(limit, &server.login)) {
        // Connections under the pool's own login count as its own.
        if *login != server.login && !logins.contains(&login) {
            logins.push(login);
        }
    }
    let open = |login: &Login| {
        let here: u32 = siblings.iter().filter(|sibling| sibling.login == *login).map(|sibling| sibling.open).sum();
        let named = server.named.iter().find(|(named, _)| named == login);
        named.map_or(here, |(_, sessions)| here.max(*sessions))
    };
    logins.into_iter().map(open).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Whom;

    #[test]
    fn what_siblings_have_open_is_not_said_to_be_of_others() {
        let login = |user: &str, database: &str| Login {
            server: "one".into(),
            user: user.into(),
            database: database.into(),
            program: "app".into(),
        };
        let mut server = Server { login: login("app", "tracks"), ..Server::default() };
        let elsewhere = Login { server: "two".into(), ..login("app", "tracks") };
        let siblings = [
            Sibling::new("same", 20, login("app", "tracks"), 9),
            Sibling::new("other user", 20, login("reports", "tracks"), 4),
            Sibling::new("other database", 20, login("app", "music"), 2),
            Sibling::new("once more", 20, login("app", "music"), 1),
            Sibling::new("other server", 20, elsewhere, 1),
        ];
        let open = |server: Server| {
            let within =
                |whom| open_within(&Limit { most: 100, what: "a limit", whom, others: 50 }, &server, &siblings);
            [Whom::Everybody, Whom::User, Whom::Database].map(within)
        };
        assert_eq!(open(server.clone()), [7, 3, 4], "as far as this process knows");
        // Two instances more, and one of somebody else's programs that happens to have our name.
        server.named = vec![(login("app", "tracks"), 27), (login("app", "music"), 9), (login("stranger", "music"), 5)];
        assert_eq!(open(server), [13, 9, 4], "names of other users are not shown");
    }
}
