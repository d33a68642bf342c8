//! A connection on loan.

use super::{door::allow_raw, manager::Sqlx};
use crate::{
    Backend, Error, Pooler,
    session::{Link, Seen},
};
use futures_core::future::BoxFuture;
use pool_core::Pooled;
use std::{
    fmt,
    ops::{Deref, DerefMut},
    time::Duration,
};

/// A connection on loan from a [`Pool`](crate::Pool): it goes back when dropped.
///
/// Statements that run on `&mut conn` are watched: the connection then goes back without a round trip. Whatever needs sqlx's
/// own connection gets it by `&mut *conn` or [`raw`](Self::raw); what is done there cannot be seen, so the return makes sure that no
/// transaction and no answer was left behind: two round trips on PostgreSQL, one statement on SQLite; on MySQL and MariaDB the
/// connection is closed.
///
/// A watched statement that runs into `statement_timeout`, or whose server falls silent, ends with an error of ours inside
/// sqlx's: `Error::from(error).kind()` is [`ErrorKind::StatementTimeout`](crate::ErrorKind::StatementTimeout). Only the time
/// spent waiting for the server counts, not that of a slow reader of a stream (PostgreSQL's own limit counts both).
///
/// # Cancel safety
///
/// After a statement that was dropped in the middle, or ran out of a time that we keep, the next one on `&mut conn` cancels it first and takes
/// its answer away, within `reset_timeout`. On MySQL and MariaDB the connection cannot go on: what follows is refused, at once.
/// [`raw`](Self::raw) after it is not covered.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "sqlite")] mod example {
/// use pool_sqlx::{Error, SqliteConn, SqlitePool};
///
/// /// Written for sqlx, before there was a pool.
/// async fn count(conn: &mut sqlx::SqliteConnection) -> Result<i64, sqlx::Error> {
///     sqlx::query_scalar("select count(*) from tracks").fetch_one(conn).await
/// }
///
/// async fn report(pool: &SqlitePool) -> Result<i64, Error> {
///     let mut conn: SqliteConn = pool.acquire().await?;
///     sqlx::query("update tracks set seen = true").execute(&mut conn).await?;
///     Ok(count(&mut conn).await?)
/// }
/// # }
/// ```
#[doc(alias = "PoolConnection")]
#[doc(alias = "checkin")]
pub struct Conn<DB: Backend> {
    pooled: Pooled<Sqlx<DB>>,
}

impl<DB: Backend> Conn<DB> {
    pub(crate) fn new(pooled: Pooled<Sqlx<DB>>) -> Self {
        Self { pooled }
    }

    /// sqlx's own connection, for what needs it: `COPY`, helpers written for sqlx, LISTEN (better not).
    ///
    /// From here on the connection's state is unknown, which costs two round trips when it goes back, on SQLite one statement; with MySQL
    /// and MariaDB, where any doubt means discard, it costs the connection. With PostgreSQL the next statement on `&mut conn` is preceded
    /// by one round trip, for a `COPY` that was dropped here would leave the answers shifted: then that statement fails, and so do those
    /// after it. With SQLite the next statement waits for one that was dropped here, and `statement_timeout` does not hold for what runs here, as
    /// there is no server to keep it.
    ///
    /// No clock of ours runs here: only the server keeps `statement_timeout`, and nothing ends the wait for one that has gone silent.
    ///
    /// With `pooler = "prepared"` the server knows of no limit either, outside of a transaction that [`begin`](Self::begin) began. And
    /// nothing is refused here that cannot work behind a pooler: a `SET`, a `LISTEN` or an advisory lock of the session stays on whichever
    /// server connection ran it, for strangers to meet. Use `SET LOCAL` and `pg_advisory_xact_lock` in a transaction. `.persistent(false)`
    /// returns wrong rows here: a statement without a name is prepared in one round trip and run in the next, perhaps by another server.
    ///
    /// # Panics
    ///
    /// With `pooler = "unprepared"`: sqlx would prepare a statement in one round trip and run it in the next, and a pooler may send
    /// the second to another server, which then answers with the rows of somebody else's statement. Run statements on `&mut conn`.
    #[track_caller]
    pub fn raw(&mut self) -> &mut DB::Connection {
        if let Err(error) = self.allow_raw() {
            panic!("{error}");
        }
        let link = self.link();
        link.track.bypassed();
        &mut link.raw
    }

    /// A mark of this loan, for code that keeps the connection while it does something else; see [`pool_core::Hold`].
    pub fn hold(&self) -> pool_core::Hold {
        self.pooled.hold()
    }

    /// Takes the connection out of the pool for good, which may then open another in its place.
    ///
    /// # Panics
    ///
    /// As [`raw`](Self::raw).
    #[track_caller]
    pub fn detach(mut self) -> DB::Connection {
        self.raw();
        self.pooled.detach().raw
    }

    /// Whether sqlx's own connection may be handed out.
    pub(crate) fn allow_raw(&self) -> Result<(), Error> {
        allow_raw(&self.pooled.settings)
    }

    /// Another `statement_timeout` than the pool's, until the connection goes back.
    pub(crate) async fn limit_statements(&mut self, limit: Duration, seen: Seen) -> Result<(), Error> {
        let Link { state, settings, .. } = &*self.pooled;
        match seen {
            Seen::Some if settings.pooler != Pooler::Direct || DB::is_swallowed(state) => Err(Error::pooler(
                "refused: behind a pooler a statement_timeout of its own needs a connection that is watched; take &mut PgConn or \
                 &mut PgTx",
            )),
            Seen::Some if DB::KEEPS_DEADLINES => Err(Error::pooler(
                "refused: with SQLite a statement_timeout needs a connection that is watched; take &mut SqliteConn or &mut SqliteTx",
            )),
            _ => Ok(()),
        }?;
        Ok(self.link().limit(limit, seen).await?)
    }

    pub(crate) fn link(&mut self) -> &mut Link<DB> {
        &mut self.pooled
    }

    pub(crate) fn seen(&self) -> &DB::Connection {
        &self.pooled.raw
    }
}

impl<DB: Backend> Deref for Conn<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        self.seen()
    }
}

/// As [`Conn::raw`].
impl<DB: Backend> DerefMut for Conn<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        self.raw()
    }
}

/// For functions that take `impl Acquire`. What they do cannot be seen: as [`Conn::raw`].
impl<'c, DB: Backend> sqlx::Acquire<'c> for &'c mut Conn<DB> {
    type Database = DB;
    type Connection = &'c mut DB::Connection;

    fn acquire(self) -> BoxFuture<'c, Result<Self::Connection, sqlx::Error>> {
        let allowed = self.allow_raw().map_err(sqlx::Error::from);
        Box::pin(std::future::ready(allowed.map(|()| self.raw())))
    }

    fn begin(self) -> BoxFuture<'c, Result<sqlx::Transaction<'c, DB>, sqlx::Error>> {
        Box::pin(async move { sqlx::Connection::begin(sqlx::Acquire::acquire(self).await?).await })
    }
}

impl<DB: Backend> fmt::Debug for Conn<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({:?})", self.pooled.track)
    }
}
