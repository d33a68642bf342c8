//! Pools of this process that share a server: what it has room for is for all of them together.

use crate::{
    Watched,
    advice::{Limit, Server, Whom},
    watch::Tally,
};
use std::sync::{Arc, Mutex, PoisonError};

/// Who a pool is to its server, as that said at the first connect.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Login {
    /// What no two servers have in common.
    pub(crate) server: String,
    pub(crate) user: String,
    pub(crate) database: String,
    /// What the server lists the program as.
    pub(crate) program: String,
}

impl Login {
    /// Whether a limit that counts the connections of one counts those of the other.
    fn shares(&self, limit: &Limit, other: &Self) -> bool {
        self.server == other.server
            && match limit.whom {
                Whom::Everybody => true,
                Whom::User => self.user == other.user,
                Whom::Database => self.database == other.database,
            }
    }
}

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

/// Gives what a pool is seen by, as long as there is one.
type Known = Box<dyn Fn() -> Option<Watched> + Send + Sync>;

static POOLS: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// Makes a pool known to its siblings, until it is dropped or closed.
pub(crate) fn join(pool: &Watched) {
    let mut pools = lock();
    pools.retain(|known| known().is_some_and(|pool| !pool.status().closed));
    pools.push(pool.downgrade());
}

/// The other pools on the server of this one: those that it has answered, and whose size is limited.
pub(crate) fn of(tally: &Arc<Tally>, login: &Login) -> Vec<Sibling> {
    // A pool that ends here does so outside of the lock.
    let pools: Vec<Watched> = lock().iter().filter_map(|known| known()).collect();
    let others = pools.iter().filter(|pool| !Arc::ptr_eq(pool.tally(), tally));
    others
        .filter_map(|pool| {
            let (status, server) = (pool.status(), pool.tally().server()?);
            let is_beside = !status.closed && server.login.server == login.server;
            let cap = pool.settings().cap().filter(|_| is_beside)?;
            Some(Sibling { name: status.name, cap, login: server.login, open: status.open })
        })
        .collect()
}

/// Takes the connections that these have open out of what the server said of others: they are this program's.
pub(crate) fn discount(server: &mut Server, siblings: &[Sibling]) {
    for limit in &mut server.limits {
        // The server itself told those apart that have this login.
        let told = siblings.iter().filter(|sibling| sibling.login != server.login);
        let open = told.filter(|sibling| sibling.is_within(limit, &server.login)).map(|sibling| sibling.open);
        limit.others = limit.others.saturating_sub(open.sum());
    }
}

/// Nothing under it can panic half-way.
fn lock() -> std::sync::MutexGuard<'static, Vec<Known>> {
    POOLS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_siblings_have_open_is_not_said_to_be_of_others() {
        let login = |user: &str, database: &str| Login {
            server: "one".into(),
            user: user.into(),
            database: database.into(),
            program: "app".into(),
        };
        let limit = |whom, others| Limit { most: 100, what: "a limit", whom, others };
        let mut server = Server {
            limits: vec![limit(Whom::Everybody, 20), limit(Whom::User, 10), limit(Whom::Database, 3)],
            login: login("app", "tracks"),
            ..Server::default()
        };
        let elsewhere = Login { server: "two".into(), ..login("app", "tracks") };
        let siblings = [
            Sibling::new("same", 20, login("app", "tracks"), 9),
            Sibling::new("other user", 20, login("reports", "tracks"), 4),
            Sibling::new("other database", 20, login("app", "music"), 2),
            Sibling::new("other server", 20, elsewhere, 1),
        ];
        discount(&mut server, &siblings);
        let others: Vec<_> = server.limits.iter().map(|limit| limit.others).collect();
        assert_eq!(others, [14, 8, 0]);
    }
}
