//! A connection on loan.

use super::manager::Sqlx;
use crate::{
    Backend,
    session::{Session, allow_raw},
};
use pool_core::Pooled;
use std::{
    borrow::{Borrow, BorrowMut},
    fmt,
    ops::{Deref, DerefMut},
};

/// A connection on loan from a [`Pool`](crate::Pool): it goes back when dropped.
///
/// It is a [`Session`]: statements on `&mut conn` and on `&mut *conn` are tracked, and the connection goes back without a round trip. Helpers
/// take `&mut PgSession`, and then serve transactions alike. Helpers that were written for sqlx take `&mut PgConnection` and still work, but
/// are not tracked: see [`Session::raw`].
///
/// # Cancel safety
///
/// As [`Session`].
///
/// # Example
///
/// ```
/// # #[cfg(feature = "sqlite")] mod example {
/// use pool_sqlx::{Error, SqliteConn, SqlitePool, SqliteSession};
///
/// async fn count(session: &mut SqliteSession) -> Result<i64, sqlx::Error> {
///     sqlx::query_scalar("select count(*) from tracks").fetch_one(session).await
/// }
///
/// async fn report(pool: &SqlitePool) -> Result<i64, Error> {
///     let mut conn: SqliteConn = pool.acquire().await?;
///     sqlx::query("update tracks set seen = true").execute(&mut *conn).await?;
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

    /// A mark of this loan, for code that keeps the connection while it does something else; see [`pool_core::Hold`].
    pub fn hold(&self) -> pool_core::Hold {
        self.pooled.hold()
    }

    /// Takes the connection out of the pool for good, which may then open another in its place.
    ///
    /// # Panics
    ///
    /// As [`Session::raw`].
    #[track_caller]
    pub fn detach(self) -> DB::Connection {
        if let Err(error) = allow_raw(&self.settings) {
            panic!("{error}");
        }
        self.pooled.detach().raw
    }

    /// Has the connection closed instead of given back, in the background. The pool may open another in its place.
    ///
    /// For a connection whose state you no longer trust. [`close`](Self::close) waits until it is closed.
    pub fn discard(self) {
        self.pooled.discard();
    }

    /// Closes the connection instead of giving it back, and waits until it is closed.
    ///
    /// Its slot is free at once, so the server may see one connection more than the cap meanwhile. A statement that was dropped on it is
    /// cancelled first.
    ///
    /// # Cancel safety
    ///
    /// Dropped on its way, the socket is closed without a goodbye.
    pub async fn close(self) {
        self.pooled.detach().close().await;
    }
}

impl<DB: Backend> Deref for Conn<DB> {
    type Target = Session<DB>;

    fn deref(&self) -> &Session<DB> {
        &self.pooled
    }
}

impl<DB: Backend> DerefMut for Conn<DB> {
    fn deref_mut(&mut self) -> &mut Session<DB> {
        &mut self.pooled
    }
}

impl<DB: Backend> Borrow<Session<DB>> for Conn<DB> {
    fn borrow(&self) -> &Session<DB> {
        self
    }
}

impl<DB: Backend> BorrowMut<Session<DB>> for Conn<DB> {
    fn borrow_mut(&mut self) -> &mut Session<DB> {
        self
    }
}

impl<DB: Backend> fmt::Debug for Conn<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({:?})", **self)
    }
}
