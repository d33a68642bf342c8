//! A pool whose type is forgotten.

use crate::{
    Backend, DatabaseSettings, Event, Holder, Observer, Pool, Refusal, Settings, Site, SiteTimings, Status, Timings,
    Verdict, pool::Sqlx, session::Tally, words::Place,
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// What has pools that can be watched: a [`Pool`], a struct with `#[derive(Pools)]`, or several of them in a list.
pub trait Watchable {
    /// A handle to each pool.
    fn watched(&self) -> Vec<Watched>;
}

impl<DB: Backend, Key> Watchable for Pool<DB, Key> {
    fn watched(&self) -> Vec<Watched> {
        vec![Watched::of(self.core().clone())]
    }
}

impl Watchable for Watched {
    fn watched(&self) -> Vec<Watched> {
        vec![self.clone()]
    }
}

impl<W: Watchable> Watchable for [W] {
    fn watched(&self) -> Vec<Watched> {
        self.iter().flat_map(Watchable::watched).collect()
    }
}

impl<W: Watchable> Watchable for Vec<W> {
    fn watched(&self) -> Vec<Watched> {
        self.as_slice().watched()
    }
}

/// A pool whose type of database and key are forgotten. Like a [`Pool`], it keeps the pool.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_sqlx::{DatabaseSettings, SqlitePool, Watchable};
///
/// let pool = SqlitePool::connect_lazy(DatabaseSettings::new("sqlite::memory:")?)?;
/// for watched in pool.watched() {
///     println!("{}: {}", watched.place(), watched.status()); // file:sqlx-in-memory-1: in use 0 of 1, idle 0, waiting 0
/// }
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Watched {
    core: Arc<dyn Core>,
    tally: Arc<Tally>,
}

impl Watched {
    /// Name of the pool: the section of the configuration, or `pool`.
    pub fn name(&self) -> String {
        self.tally.name().to_owned()
    }

    /// Where its database is.
    pub fn place(&self) -> &Place {
        self.tally.place()
    }

    /// The database as OpenTelemetry names it: `postgresql`, `mysql`, `mariadb` or `sqlite`. Until the first connect MariaDB passes for
    /// `mysql`.
    pub fn system(&self) -> &'static str {
        self.tally.system()
    }

    /// As [`Pool::status`].
    pub fn status(&self) -> Status {
        self.tally.complete(self.core.status())
    }

    /// As [`Pool::holders`].
    pub fn holders(&self) -> Vec<Holder> {
        self.core.holders()
    }

    /// As [`Pool::timings`].
    pub fn timings(&self) -> Timings {
        self.core.timings()
    }

    /// As [`Pool::sites`].
    pub fn sites(&self) -> Vec<SiteTimings> {
        self.core.sites()
    }

    /// As [`Pool::settings`].
    pub fn settings(&self) -> Settings {
        self.core.settings()
    }

    /// As [`Pool::observe`].
    pub fn observe(&self, observer: impl Observer) {
        self.core.observe(Box::new(observer));
    }

    /// How many acquires ended with each verdict, timed out or turned away.
    pub fn refused(&self) -> Vec<(Verdict, u64)> {
        self.tally.refused()
    }

    /// The latest acquires that ended with an error, 32 at most, the newest last.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.tally.refusals()
    }

    /// Connects that failed, by what OpenTelemetry calls `error.type`: the database's own code, or a word of ours.
    pub fn connect_errors(&self) -> BTreeMap<String, u64> {
        self.tally.connect_errors()
    }

    /// Tracked statements that the server, or SQLite's own thread, ended because they ran too long.
    pub fn statement_timeouts_by_server(&self) -> u64 {
        self.tally.statement_timeouts_by_server()
    }

    /// Tracked statements that ran too long and that the client gave up, because the server did not end them.
    pub fn statement_timeouts_by_client(&self) -> u64 {
        self.tally.statement_timeouts_by_client()
    }

    /// How often each line used sqlx's own connection ([`Session::raw`](crate::Session::raw)), the most frequent first.
    ///
    /// The first 64 lines are counted separately; uses on other lines are not counted.
    pub fn untracked(&self) -> Vec<(Site, u64)> {
        self.tally.untracked()
    }

    fn of<DB: Backend>(core: pool_core::Pool<Sqlx<DB>>) -> Self {
        Self { tally: Arc::clone(core.manager().tally()), core: Arc::new(core) }
    }

    /// The settings of its database.
    pub(super) fn database(&self) -> &DatabaseSettings {
        self.core.database()
    }

    /// What is counted beside the core, one for each pool.
    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// A handle that does not keep the pool.
    pub(crate) fn downgrade(&self) -> WeakWatched {
        self.core.downgrade()
    }
}

/// A handle that does not keep the pool.
pub(crate) struct WeakWatched(Box<dyn Fn() -> Option<Watched> + Send + Sync>);

impl WeakWatched {
    pub(crate) fn upgrade(&self) -> Option<Watched> {
        (self.0)()
    }
}

/// Name and numbers; no URL.
impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        write!(f, "Watched({}: {status})", status.name)
    }
}

/// A pool of the core as an object.
trait Core: Send + Sync {
    fn status(&self) -> Status;
    fn holders(&self) -> Vec<Holder>;
    fn timings(&self) -> Timings;
    fn sites(&self) -> Vec<SiteTimings>;
    fn settings(&self) -> Settings;
    fn observe(&self, observer: Box<dyn Observer>);
    fn database(&self) -> &DatabaseSettings;
    fn downgrade(&self) -> WeakWatched;
}

impl<DB: Backend> Core for pool_core::Pool<Sqlx<DB>> {
    fn status(&self) -> Status {
        self.status()
    }

    fn holders(&self) -> Vec<Holder> {
        self.holders()
    }

    fn timings(&self) -> Timings {
        self.timings()
    }

    fn sites(&self) -> Vec<SiteTimings> {
        self.sites()
    }

    fn settings(&self) -> Settings {
        self.settings()
    }

    fn observe(&self, mut observer: Box<dyn Observer>) {
        self.observe(move |event: &Event| observer.on_event(event));
    }

    fn database(&self) -> &DatabaseSettings {
        self.manager().settings()
    }

    fn downgrade(&self) -> WeakWatched {
        let weak = self.downgrade();
        WeakWatched(Box::new(move || weak.upgrade().map(Watched::of)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::KEPT;
    use crate::{DatabaseSettings, PgPool, SqlitePool};
    use std::time::Duration;

    fn settings(url: &str) -> DatabaseSettings {
        DatabaseSettings::new(url).expect("a good url").with_connection_timeout(Duration::from_secs(1))
    }

    #[tokio::test]
    async fn refusals_are_kept_with_their_reason_and_counted_by_verdict() {
        let settings = settings("sqlite::memory:").with_pool_size(1).with_max_overflow(0);
        let pool = SqlitePool::connect(settings).await.unwrap();
        let _held = pool.acquire().await.unwrap();
        for _ in 0..KEPT + 1 {
            pool.acquire_timeout(Duration::ZERO).await.unwrap_err();
        }
        let watched = &pool.watched()[0];
        let refused = watched.refused();
        assert_eq!(refused[0], (Verdict::Exhausted, KEPT as u64 + 1));
        assert!(refused[1..].iter().all(|(_, n)| *n == 0), "{refused:?}");
        let refusals = watched.refusals();
        assert_eq!((refusals.len(), refusals[0].verdict), (KEPT, Verdict::Exhausted));
        assert!(refusals[0].site.file().ends_with("observe/watched.rs"), "{}", refusals[0].site);
        assert!(refusals[0].message.contains("in use 1 of 1"), "{}", refusals[0].message);
    }

    #[tokio::test]
    async fn connect_errors_are_counted_by_type() {
        // The caller may give up before the attempt has, which is counted when it ends.
        async fn fail(pool: &PgPool) -> Vec<String> {
            pool.acquire_timeout(Duration::from_millis(100)).await.unwrap_err();
            let watched = &pool.watched()[0];
            while watched.connect_errors().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            watched.connect_errors().into_keys().collect()
        }
        // An attempt has what is left of this: enough to be refused.
        let refusing = settings("postgres://app@127.0.0.1:1/app").with_connection_timeout(Duration::from_secs(60));
        assert_eq!(fail(&PgPool::connect_lazy(refusing).unwrap()).await, ["connection_refused"]);

        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://app@{}/app", silent.local_addr().unwrap());
        let waiting = settings(&url).with_connection_timeout(Duration::from_millis(50));
        assert_eq!(fail(&PgPool::connect_lazy(waiting).unwrap()).await, ["connect_timeout"]);
    }

    #[test]
    fn places_hold_no_secret() {
        let place = |url| PgPool::connect_lazy(settings(url)).unwrap().watched()[0].place().to_string();
        assert_eq!(place("postgres://app:hunter2@db.example.com/tracks"), "db.example.com:5432/tracks");
        assert_eq!(place("postgres://app:hunter2@localhost/tracks?host=/run/pg"), "/run/pg/tracks");
        let file = SqlitePool::connect_lazy(settings("sqlite://music/tracks.db")).unwrap();
        assert_eq!(file.watched()[0].place().to_string(), "music/tracks.db");
    }
}
