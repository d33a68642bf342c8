//! The pool: what a service keeps, clones and passes around.

#[cfg(any(feature = "migrate", feature = "postgres"))]
mod acquire;
#[cfg(any(feature = "migrate", feature = "postgres"))]
mod aside;
mod conn;
mod door;
mod executor;
#[cfg(feature = "postgres")]
mod listener;
mod manager;
mod retry;
mod tx;
mod wait;

pub use conn::Conn;
#[cfg(feature = "postgres")]
pub use listener::{ListenEvent, Listener};
pub(crate) use manager::Sqlx;
pub(crate) use retry::after_conflict;
pub use tx::Tx;
pub(crate) use wait::waiting;

#[cfg(feature = "testing")]
use crate::Verdict;
use crate::{
    Backend, CloseReport, Error, Holder, Main, Observer, Pause, Settings, Site, SiteTimings, Status, Timings,
    TxOptions, backend::Options, config::Plan, session::Past,
};
use std::{fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

/// A pool of connections to one database.
///
/// Cloning is cheap and gives another handle to the same pool. `Key` tells pools of the same database type apart: a service
/// with a primary and a replica has a `PgPool` and a `PgPool<Replica>`, where `Replica` is a unit struct of its own.
///
/// A statement can run on the pool itself (`&pool`, a connection for each), on a [`Conn`] or in a [`Tx`]. In a handler let
/// [`#[pooled]`](crate::pooled) acquire and release.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_sqlx::{DatabaseSettings, SqlitePool};
///
/// let pool = SqlitePool::connect(DatabaseSettings::new("sqlite::memory:")?).await?;
/// let mut conn = pool.acquire().await?;
/// let answer: i64 = sqlx::query_scalar("select 6 * 7").fetch_one(&mut conn).await?;
/// assert_eq!(answer, 42);
/// drop(conn); // known clean: back in the pool without a round trip
///
/// let report = pool.close().await;
/// assert_eq!(report.still_held, []);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
#[doc(alias = "QueuePool")]
#[doc(alias = "deadpool")]
#[doc(alias = "bb8")]
pub struct Pool<DB: Backend, Key = Main> {
    core: pool_core::Pool<Sqlx<DB>>,
    key: PhantomData<fn() -> Key>,
}

impl<DB: Backend, Key> Pool<DB, Key> {
    /// The same pool under another key: `PgPool::connect(settings).await?.keyed::<Replica>()`.
    pub fn keyed<K>(self) -> Pool<DB, K> {
        Pool { core: self.core, key: PhantomData }
    }

    /// A pool of what a plan says.
    pub(crate) fn of(plan: Plan<Options<DB>>) -> Result<Self, Error> {
        let manager = Sqlx::new(plan);
        let settings = manager.settings().pool.clone();
        Ok(Self { core: pool_core::Pool::new(manager, settings)?, key: PhantomData })
    }

    /// Lends a connection, waiting up to `pool_timeout` for it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any moment loses nothing: what was on its way goes to the next caller.
    ///
    /// # Errors
    ///
    /// Why not: [`Error::verdict`], with the pool's numbers and the longest holder in the message.
    ///
    /// # Panics
    ///
    /// If it has to wait, outside of a tokio runtime.
    #[doc(alias = "checkout")]
    #[doc(alias = "get")]
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<Conn<DB>, Error>> + Send + '_ {
        self.acquire_at(Site::here(), None)
    }

    /// As [`acquire`](Self::acquire), with a limit of its own.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_timeout(&self, limit: Duration) -> impl Future<Output = Result<Conn<DB>, Error>> + Send + '_ {
        self.acquire_at(Site::here(), Some(limit))
    }

    /// Lends a connection if one is free at this moment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`](crate::ErrorKind::Refused) when none is free, or the caller may have no second one (`nested = "deny"`).
    #[track_caller]
    pub fn try_acquire(&self) -> Result<Conn<DB>, Error> {
        let acquired = self.core.try_acquire().map(Conn::new);
        acquired.map_err(|error| Error::try_acquire(self.name().to_owned(), error))
    }

    /// Lends a connection with a transaction begun on it; SQLite: `BEGIN IMMEDIATE`, for there can be only one writer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves no transaction behind: the connection is cleaned before it is lent again.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), or what the database says.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Tx<DB>, Error>> + Send + '_ {
        self.begin_with(TxOptions::new())
    }

    /// As [`begin`](Self::begin), with options.
    ///
    /// # Cancel safety
    ///
    /// As [`begin`](Self::begin).
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[track_caller]
    pub fn begin_with(&self, options: TxOptions) -> impl Future<Output = Result<Tx<DB>, Error>> + Send + '_ {
        let site = Site::here();
        async move { Tx::on(self.acquire_at(site, None).await?, options).await }
    }

    /// Begins a transaction if a connection is free at this moment; `None` if none is.
    ///
    /// # Cancel safety
    ///
    /// As [`begin`](Self::begin).
    ///
    /// # Errors
    ///
    /// What the database says, or why no connection can be lent at all: the pool is paused or closed, or the caller may have no second
    /// one (`nested = "deny"`).
    #[track_caller]
    pub fn try_begin(&self) -> impl Future<Output = Result<Option<Tx<DB>>, Error>> + Send + '_ {
        let acquired = match self.core.try_acquire() {
            Ok(pooled) => Ok(Some(Conn::new(pooled))),
            Err(pool_core::TryAcquireError::Busy) => Ok(None),
            Err(error) => Err(Error::try_acquire(self.name().to_owned(), error)),
        };
        async move {
            match acquired? {
                Some(conn) => Tx::on(conn, TxOptions::new()).await.map(Some),
                None => Ok(None),
            }
        }
    }

    /// Name of the pool: the section of the configuration, or `pool`.
    pub fn name(&self) -> &str {
        self.core.manager().tally().name()
    }

    /// How many connections are open, idle and in use. [`settings`](Self::settings) has the most that may be.
    pub fn size(&self) -> u32 {
        self.core.status().open
    }

    /// How many connections are idle.
    pub fn num_idle(&self) -> u32 {
        self.core.status().idle
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// All numbers of the pool at this moment.
    pub fn status(&self) -> Status {
        self.core.manager().tally().complete(self.core.status())
    }

    /// Who holds connections, the longest first.
    pub fn holders(&self) -> Vec<Holder> {
        self.core.holders()
    }

    /// Replaces all connections: idle ones now, lent ones when they come home.
    pub fn invalidate(&self) {
        self.core.invalidate();
    }

    /// How long acquires, holds, connects and pings took, since the pool was made.
    pub fn timings(&self) -> Timings {
        self.core.timings()
    }

    /// How long each place in the code held what it borrowed, since the pool was made; those that held the longest in all first.
    ///
    /// The first 64 sites are told apart; what others held is reported as `all other sites`.
    pub fn sites(&self) -> Vec<SiteTimings> {
        self.core.sites()
    }

    /// Has an observer told of everything that happens from now on, on a thread that is not in the pool's way.
    pub fn observe(&self, observer: impl Observer) {
        self.core.observe(observer);
    }

    /// Stops lending until [`resume`](Self::resume): for a failover, or a migration that must have the database to itself.
    ///
    /// Connections in use stay in use; [`status`](Self::status) tells when the last came home.
    pub fn pause(&self, callers: Pause) {
        self.core.pause(callers);
    }

    /// Lends again, first to those who waited.
    pub fn resume(&self) {
        self.core.resume();
    }

    /// The sizes, limits and habits in force.
    pub fn settings(&self) -> Settings {
        self.core.settings()
    }

    /// Changes sizes, limits and habits of the running pool: `pool.reconfigure(|settings| settings.with_pool_size(20))?`.
    ///
    /// The closure gets the settings in force and returns the new ones. Changes from several threads happen one after the other, so none
    /// is lost. Shrinking cuts no caller off. What concerns the database itself (`statement_timeout`, `reset`, the url) stays.
    ///
    /// # Errors
    ///
    /// The settings contradict each other; nothing has changed then.
    ///
    /// # Panics
    ///
    /// If the closure calls `reconfigure` of the same pool.
    pub fn reconfigure(&self, change: impl FnOnce(Settings) -> Settings) -> Result<(), Error> {
        let (mut before, mut after) = (None, None);
        self.core.reconfigure(|settings| {
            before = settings.cap();
            let settings = change(settings);
            after = settings.cap();
            settings
        })?;
        self.core.manager().reconfigured(&self.core.settings());
        if before != after {
            let past = Past { totals: self.core.status().totals, timings: self.core.timings() };
            self.core.manager().tally().resized(past);
        }
        Ok(())
    }

    /// Has every acquire end at once with this verdict, until it is called with `None`: for testing an application's 503 path without a
    /// database.
    #[cfg(feature = "testing")]
    pub fn inject(&self, verdict: impl Into<Option<Verdict>>) {
        self.core.inject(verdict);
    }

    /// Lends no more, waits up to `shutdown_grace` for what is in use, and closes everything.
    ///
    /// # Cancel safety
    ///
    /// The pool is closed from the first poll on; dropping the future only gives up the report.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[doc(alias = "dispose")]
    pub async fn close(&self) -> CloseReport {
        // Listeners end, too.
        self.core.manager().closing.send_replace(true);
        self.core.close().await
    }

    /// A pool of sqlx's own to the same database, with the same limits, for libraries that insist on one.
    ///
    /// Its connections are beside this pool's: the server may see up to `connections` more. Nothing of what this pool does for its
    /// users holds there, and nothing is counted. It takes the password of the url, not of `before_connect`. With SQLite, which has no
    /// server to keep it, `statement_timeout` does not hold there. A pooler that this pool refuses at its first connect is refused there
    /// too: sqlx tries until `pool_timeout` is up and says only that it was.
    ///
    /// With `pooler = "prepared"` no limit holds there at all: the server is told of none, and nobody watches; give the role one
    /// (`ALTER ROLE .. SET statement_timeout`). And `.persistent(false)` returns wrong rows there, as on [`Session::raw`](crate::Session::raw).
    ///
    /// # Errors
    ///
    /// With `pooler = "unprepared"`, where sqlx's own statements would return wrong rows.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn sqlx_pool(&self, connections: u32) -> Result<sqlx::Pool<DB>, Error> {
        let (manager, settings) = (self.core.manager(), self.core.settings());
        crate::session::allow_raw(manager.settings())?;
        let (door, options) = (Arc::clone(&manager.door), manager.options.clone());
        let pool = sqlx::pool::PoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(settings.pool_timeout)
            .max_lifetime(settings.pool_recycle)
            .idle_timeout(settings.idle_timeout)
            .after_connect(move |conn, _| {
                let (door, options) = (Arc::clone(&door), options.clone());
                Box::pin(async move { door.admit::<DB>(conn, &options).await.map(drop) })
            });
        Ok(pool.connect_lazy_with(manager.options.clone()))
    }

    /// Tells whether a request would get a connection that works: acquires one and asks the server for a sign of life.
    ///
    /// For a readiness check. Takes a connection for one round trip, so it also fails when the pool is exhausted.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), or why the server gave no sign within `ping_timeout`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[doc(alias = "health")]
    #[track_caller]
    pub fn ready(&self) -> impl Future<Output = Result<(), Error>> + Send + '_ {
        let site = Site::here();
        async move {
            let mut conn = self.acquire_at(site, None).await?;
            let limit = self.core.settings().ping_timeout;
            match tokio::time::timeout(limit, conn.ask(sqlx::Connection::ping)).await {
                Ok(answer) => Ok(answer?),
                Err(_) => {
                    conn.track.lost();
                    Err(Error::silent("ping_timeout", limit))
                }
            }
        }
    }

    /// Opens `pool_size` connections, a few at a time.
    #[track_caller]
    pub(crate) fn open(&self) -> impl Future<Output = Result<(), Error>> + Send + '_ {
        let connect = self.core.connect();
        async { Ok(connect.await?) }
    }

    pub(crate) fn core(&self) -> &pool_core::Pool<Sqlx<DB>> {
        &self.core
    }

    /// A connection beside the pool does not answer: tests an idle one of the pool's, and gives all up if that does not either.
    #[cfg(feature = "postgres")]
    pub(crate) fn heartbeat_failed(&self) {
        if self.status().idle == 0 {
            return;
        }
        let (core, limit) = (self.core.clone(), self.core.settings().ping_timeout);
        tokio::spawn(async move {
            // What was idle for long is tested by the pool itself, before it is lent.
            let Ok(pooled) = core.acquire_at(Site::named("a listener's heartbeat"), Some(limit * 2)).await else {
                return;
            };
            let mut conn = Conn::new(pooled);
            let session = &mut *conn;
            if !matches!(tokio::time::timeout(limit, session.ask(sqlx::Connection::ping)).await, Ok(Ok(()))) {
                // The pool retires what is older than this, too.
                session.track.lost();
            }
        });
    }

    pub(crate) async fn acquire_at(&self, site: Site, limit: Option<Duration>) -> Result<Conn<DB>, Error> {
        let name = &self.core.manager().settings().pool.name;
        let acquired =
            waiting(name, site, self.core.acquire_at(site, limit), |error| (error.waited(), error.verdict()));
        Ok(Conn::new(acquired.await.inspect_err(|error| self.core.manager().tally().refuse(error))?))
    }
}

#[cfg(feature = "migrate")]
impl<DB: Backend, Key> Pool<DB, Key>
where
    DB::Connection: sqlx::migrate::Migrate,
{
    /// Brings the database up to date.
    ///
    /// Runs on a connection of its own without `statement_timeout`: a limit that is right for requests kills long DDL. Waits
    /// first for a server that is still waking, as any acquire does.
    ///
    /// # Cancel safety
    ///
    /// Dropped in the middle, the migration under way was applied or not; where the database cannot take DDL back (MySQL), perhaps in part.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), or which migration failed and why. And before anything is done, if `listen_url` (or else `url`) leads to
    /// a pooler of transactions: the lock that keeps others out would be a stranger's.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[track_caller]
    pub fn migrate<'a>(
        &'a self,
        migrator: &'a sqlx::migrate::Migrator,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'a {
        let site = Site::here();
        async move {
            drop(self.acquire_at(site, None).await?);
            let limit = self.core.settings().connection_timeout;
            let connected = tokio::time::timeout(limit, self.core.manager().connect_aside()).await;
            let mut conn = connected.map_err(|_| Error::silent("connection_timeout", limit))??;
            let done = crate::backend::hidden::migrate(migrator, &mut conn).await;
            // The server ends what a failed goodbye leaves.
            let _ = sqlx::Connection::close(conn).await;
            Ok(done?)
        }
    }
}

impl<DB: Backend, Key> Clone for Pool<DB, Key> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), key: PhantomData }
    }
}

/// Name and numbers; no URL.
impl<DB: Backend, Key> fmt::Debug for Pool<DB, Key> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        write!(f, "Pool({}: {status})", status.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_send_and_sync_whatever_its_key() {
        struct NotSend(#[allow(dead_code)] *const ());
        fn check<T: Send + Sync + Clone>() {}
        #[cfg(feature = "sqlite")]
        check::<Pool<sqlx::Sqlite, NotSend>>();
        #[cfg(feature = "postgres")]
        check::<Pool<sqlx::Postgres, NotSend>>();
    }
}
