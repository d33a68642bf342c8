//! What should be looked at: settings that fight each other or the server, and what the measured waits say.
//!
//! One rule each, and no formula: a rule says what is so, why that matters, and what to do, with the numbers that it saw.

mod server;
mod settings;
mod tracking;
mod waits;

use crate::{
    Backend, DatabaseSettings, Pool, Settings, Site, SiteTimings, Status, Timings, Watchable,
    backend::Server,
    observe::{
        siblings::{self, Sibling},
        watched::Watched,
    },
    session::Past,
};
use std::fmt;

/// Something about a pool that its owner should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// How much it matters.
    pub weight: Weight,
    /// The setting that it is about.
    pub setting: &'static str,
    /// What is so, with the numbers.
    pub finding: String,
    /// Why that matters.
    pub reason: String,
    /// What to do.
    pub cure: String,
}

/// How much a piece of advice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Weight {
    /// Requests will be refused or hang, sooner or later.
    Warning,
    /// Something could be better, or may be meant so.
    Hint,
}

/// `warning` or `hint`
impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Hint => "hint",
        })
    }
}

/// `pool_recycle: <what is so>; <why that matters>; <what to do>`
impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}; {}", self.setting, self.finding, self.reason, self.cure)
    }
}

impl<DB: Backend, Key> Pool<DB, Key> {
    /// What should be looked at: settings that fight each other or the server, and what the waits measured so far say.
    ///
    /// Asks nobody: the server told of its limits at the first connect, and does so again with a connect ten minutes later. Empty if
    /// there is nothing to say. What there is when the first connection has been opened is logged.
    ///
    /// # Example
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use pool_sqlx::{DatabaseSettings, SqlitePool};
    /// let settings = DatabaseSettings::new("sqlite::memory:")?.with_statement_timeout(None);
    /// let pool = SqlitePool::connect(settings).await?;
    /// assert_eq!(
    ///     pool.advice()[0].to_string(),
    ///     "statement_timeout: there is none; a statement that hangs holds its connection for ever; set one above the slowest \
    ///      statement of a request, and give longer work a limit of its own",
    /// );
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    pub fn advice(&self) -> Vec<Advice> {
        self.watched().iter().flat_map(Watched::advice).collect()
    }
}

impl Watched {
    /// As [`Pool::advice`].
    pub fn advice(&self) -> Vec<Advice> {
        let (settings, status, timings, sites) = (self.settings(), self.status(), self.timings(), self.sites());
        let (server, past, untracked) = (self.tally().server(), self.tally().past(), self.untracked());
        let siblings = server.as_ref().map_or_else(Vec::new, |server| siblings::of(self, &server.login));
        advice(&Facts {
            database: self.database(),
            settings: &settings,
            server: server.as_ref(),
            siblings: &siblings,
            swallowed: self.tally().is_swallowed(),
            past: past.as_ref(),
            status: &status,
            timings: &timings,
            sites: &sites,
            untracked: &untracked,
        })
    }

    /// Logs what [`advice`](Self::advice) returns.
    pub(crate) fn log_advice(&self) {
        let name = self.name();
        for advice in self.advice() {
            match advice.weight {
                Weight::Warning => tracing::warn!(target: "pool", pool = name, "advice: {advice}"),
                Weight::Hint => tracing::info!(target: "pool", pool = name, "advice: {advice}"),
            }
        }
    }
}

/// What the rules look at.
pub(crate) struct Facts<'a> {
    pub(crate) database: &'a DatabaseSettings,
    /// The pool's settings in force.
    pub(crate) settings: &'a Settings,
    /// `None` before the first connect, behind a pooler (named or not), and for SQLite.
    pub(crate) server: Option<&'a Server>,
    /// The other pools of this process on that server.
    pub(crate) siblings: &'a [Sibling],
    /// Whether the server did not take the statement timeout, with `pooler = "direct"` in the settings: where they say nothing, nobody
    /// gets a connection.
    pub(crate) swallowed: bool,
    /// `None`: the pool was made in this size.
    pub(crate) past: Option<&'a Past>,
    pub(crate) status: &'a Status,
    pub(crate) timings: &'a Timings,
    pub(crate) sites: &'a [SiteTimings],
    /// Uses of sqlx's own connection, the most frequent line first.
    pub(crate) untracked: &'a [(Site, u64)],
}

/// All advice that these facts give, the weightiest first.
pub(crate) fn advice(facts: &Facts<'_>) -> Vec<Advice> {
    const RULES: [fn(&Facts<'_>) -> Option<Advice>; 14] = [
        settings::no_statement_timeout,
        server::swallowed,
        settings::longer_than_proxies_wait,
        settings::reported_as_leak_within_its_limit,
        settings::unlimited,
        settings::lifo_without_idle_timeout,
        settings::untested_and_never_replaced,
        settings::asleep,
        settings::kept_awake,
        server::no_room_at_the_server,
        server::closed_by_the_server,
        waits::waits,
        waits::churn,
        tracking::untracked,
    ];
    let mut found: Vec<_> = RULES.iter().filter_map(|rule| rule(facts)).collect();
    found.sort_by_key(|advice| advice.weight);
    found
}

fn warning(setting: &'static str, finding: &str, reason: &str, cure: &str) -> Option<Advice> {
    let [finding, reason, cure] = [finding, reason, cure].map(str::to_owned);
    Some(Advice { weight: Weight::Warning, setting, finding, reason, cure })
}

fn hint(setting: &'static str, finding: &str, reason: &str, cure: &str) -> Option<Advice> {
    Some(Advice { weight: Weight::Hint, ..warning(setting, finding, reason, cure)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        SqlitePool, Watchable,
        backend::{Limit, Whom},
    };
    use std::time::Duration;

    pub(super) fn postgres(url: &str) -> DatabaseSettings {
        // Nothing to say about these.
        DatabaseSettings::new(url).expect("a good url").with_idle_timeout(Duration::from_secs(600))
    }

    pub(super) async fn idle_pool() -> SqlitePool {
        SqlitePool::connect(DatabaseSettings::new("sqlite::memory:").expect("a good url"))
            .await
            .expect("SQLite is there")
    }

    /// A pool with these settings that is alone, and of whose server nothing is known.
    pub(super) fn facts<'a>(database: &'a DatabaseSettings, status: &'a Status, timings: &'a Timings) -> Facts<'a> {
        Facts {
            database,
            settings: &database.pool,
            server: None,
            siblings: &[],
            swallowed: false,
            past: None,
            status,
            timings,
            sites: &[],
            untracked: &[],
        }
    }

    /// The advice that these settings, this server and this past give, each by its setting and its finding.
    pub(super) async fn given(
        database: DatabaseSettings,
        server: Option<Server>,
        past: impl FnOnce(&mut Status),
    ) -> Vec<String> {
        given_beside(&[], database, server, past).await
    }

    pub(super) async fn given_beside(
        siblings: &[Sibling],
        database: DatabaseSettings,
        server: Option<Server>,
        past: impl FnOnce(&mut Status),
    ) -> Vec<String> {
        let pool = idle_pool().await;
        let watched = &pool.watched()[0];
        let (mut status, timings, sites) = (watched.status(), watched.timings(), watched.sites());
        past(&mut status);
        let facts = Facts { server: server.as_ref(), siblings, sites: &sites, ..facts(&database, &status, &timings) };
        advice(&facts).iter().map(|a| format!("{} {}: {}", a.weight, a.setting, a.finding)).collect()
    }

    pub(super) async fn check(database: DatabaseSettings, server: Option<Server>, expected: &[&str]) {
        assert_eq!(given(database, server, |_| {}).await, expected);
    }

    pub(super) fn limit(most: u32, what: &'static str, others: u32) -> Limit {
        Limit { most, what, whom: Whom::Everybody, others }
    }

    #[tokio::test]
    async fn settings_that_get_along_give_no_advice() {
        check(postgres("postgres://app@db/app"), None, &[]).await;
        let roomy = Server { limits: vec![limit(100, "max_connections", 10)], instances: 2, ..Server::default() };
        check(postgres("postgres://app@db/app"), Some(roomy), &[]).await;
        check(DatabaseSettings::new("sqlite::memory:").unwrap(), None, &[]).await;
    }
}
