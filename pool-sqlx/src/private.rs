//! What the output of our macros calls. Not for other use: it changes without notice.

use crate::{Backend, CloseReport, ConfigError, Conn, DatabaseSettings, Error, Pool, Tx};
use figment::Figment;
use futures_core::future::BoxFuture;
use std::{future::Future, sync::Arc, time::Duration};

pub use pool_core::Site;

/// What a `#[pooled]` function asks for: one static for each.
#[derive(Debug)]
pub struct Call {
    site: Site,
    timeout: Option<Duration>,
    retry_after: Option<Duration>,
}

impl Call {
    pub const fn new(site: Site) -> Self {
        Self { site, timeout: None, retry_after: None }
    }

    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    pub const fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }
}

/// A type whose `&mut` a `#[pooled]` function may take.
#[diagnostic::on_unimplemented(
    message = "`#[pooled]` cannot lend a `{Self}`",
    label = "not a connection of a pool",
    note = "take `&mut PgConn`, `&mut PgTx`, `&mut SqliteConn`, `&mut SqliteTx`, or sqlx's own `&mut PgConnection`, `&mut SqliteConnection`",
    note = "the database has to be a feature of pool-sqlx: `postgres`, `sqlite`"
)]
pub trait Lend: Sized + Send {
    type Database: Backend;
    /// What holds the connection meanwhile.
    type Holder: Send;

    fn hold(conn: Conn<Self::Database>) -> impl Future<Output = Result<Self::Holder, Error>> + Send;
    fn lend(holder: &mut Self::Holder) -> &mut Self;
    /// Commits or rolls back what is to be committed or rolled back, then releases.
    fn finish(holder: Self::Holder, success: bool) -> impl Future<Output = Result<(), Error>> + Send;
}

impl<DB: Backend> Lend for Conn<DB> {
    type Database = DB;
    type Holder = Self;

    async fn hold(conn: Self) -> Result<Self, Error> {
        Ok(conn)
    }

    fn lend(holder: &mut Self) -> &mut Self {
        holder
    }

    async fn finish(_: Self, _: bool) -> Result<(), Error> {
        Ok(())
    }
}

impl<DB: Backend> Lend for Tx<DB> {
    type Database = DB;
    type Holder = Self;

    async fn hold(conn: Conn<DB>) -> Result<Self, Error> {
        Self::begin(conn).await
    }

    fn lend(holder: &mut Self) -> &mut Self {
        holder
    }

    async fn finish(tx: Self, success: bool) -> Result<(), Error> {
        match success {
            true => tx.commit().await,
            false => {
                // The function's own error is the answer. What a failed rollback leaves is cleaned before the next loan.
                let _ = tx.rollback().await;
                Ok(())
            }
        }
    }
}

macro_rules! lend_of_sqlx {
    ($conn:ty, $db:ty) => {
        impl Lend for $conn {
            type Database = $db;
            type Holder = Conn<$db>;

            async fn hold(conn: Conn<$db>) -> Result<Conn<$db>, Error> {
                Ok(conn)
            }

            fn lend(holder: &mut Conn<$db>) -> &mut Self {
                holder.raw()
            }

            async fn finish(_: Conn<$db>, _: bool) -> Result<(), Error> {
                Ok(())
            }
        }
    };
}

#[cfg(feature = "postgres")]
lend_of_sqlx!(sqlx::PgConnection, sqlx::Postgres);
#[cfg(feature = "sqlite")]
lend_of_sqlx!(sqlx::SqliteConnection, sqlx::Sqlite);

/// The pool that can lend a `T`.
pub type PoolFor<T, K> = Pool<<T as Lend>::Database, K>;

/// A loan for the time of a function.
pub struct Held<T: Lend>(T::Holder);

pub async fn acquire<T: Lend, K>(pool: &PoolFor<T, K>, call: &'static Call) -> Result<Held<T>, Error> {
    let conn = pool.acquire_at(call.site, call.timeout).await;
    let held = match conn {
        Ok(conn) => T::hold(conn).await,
        Err(error) => Err(error),
    };
    held.map(Held).map_err(|error| error.with_retry_after(call.retry_after))
}

pub fn lend<T: Lend>(held: &mut Held<T>) -> &mut T {
    T::lend(&mut held.0)
}

/// For a function that takes the connection by value, and releases it whenever it is done.
pub fn give<T: Lend<Holder = T>>(held: Held<T>) -> T {
    held.0
}

pub async fn finish<T: Lend>(held: Held<T>, success: bool) -> Result<(), Error> {
    T::finish(held.0, success).await
}

/// Runs a function's body. A plain function: as an `async` one it would store the body twice.
pub fn holding<F: Future>(_: &'static Call, body: F) -> impl Future<Output = F::Output> {
    body
}

/// What a `#[pooled]` function may return if it is to carry the pool's failures.
#[diagnostic::on_unimplemented(
    message = "`#[pooled]` cannot turn a failure of the pool into `{Self}`",
    note = "return a `Result` whose error implements `From<pool_sqlx::Error>`, or axum's `Response` (feature `axum`)"
)]
pub trait Reply: Sized {
    fn from_pool_error(error: Error) -> Self;
    /// Whether a transaction is to be committed.
    fn is_success(&self) -> bool;
}

impl<T, E: From<Error>> Reply for Result<T, E> {
    fn from_pool_error(error: Error) -> Self {
        Err(error.into())
    }

    fn is_success(&self) -> bool {
        self.is_ok()
    }
}

#[cfg(feature = "axum")]
impl Reply for axum::response::Response {
    fn from_pool_error(error: Error) -> Self {
        axum::response::IntoResponse::into_response(error)
    }

    fn is_success(&self) -> bool {
        !self.status().is_client_error() && !self.status().is_server_error()
    }
}

/// Where `from = ..` may find a pool.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a pool that can lend this connection")]
pub trait AsPool<DB: Backend, K> {
    fn pool(&self) -> &Pool<DB, K>;
}

impl<DB: Backend, K> AsPool<DB, K> for Pool<DB, K> {
    fn pool(&self) -> &Self {
        self
    }
}

impl<DB: Backend, K, P: AsPool<DB, K>> AsPool<DB, K> for &P {
    fn pool(&self) -> &Pool<DB, K> {
        (**self).pool()
    }
}

impl<DB: Backend, K, P: AsPool<DB, K>> AsPool<DB, K> for Arc<P> {
    fn pool(&self) -> &Pool<DB, K> {
        (**self).pool()
    }
}

pub fn as_pool<T: Lend, K>(pool: &impl AsPool<T::Database, K>) -> &PoolFor<T, K> {
    pool.pool()
}

/// Reads the sections of `#[derive(Pools)]`, and collects what is wrong with all of them.
#[derive(Debug)]
pub struct Sections<'f> {
    figment: &'f Figment,
    error: Option<ConfigError>,
}

impl<'f> Sections<'f> {
    pub fn new(figment: &'f Figment, _: &'static [&'static str]) -> Self {
        Self { figment, error: None }
    }

    pub fn read(&mut self, name: &str) -> Option<DatabaseSettings> {
        match DatabaseSettings::from(self.figment, name) {
            Ok(settings) => Some(settings),
            Err(error) => {
                self.error = Some(match self.error.take() {
                    Some(earlier) => earlier.merge(error),
                    None => error,
                });
                None
            }
        }
    }

    pub fn finish(self) -> Result<(), Error> {
        match self.error {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

/// Waits for all pools at once. The first failure ends it.
pub async fn warm(pools: Vec<(&'static str, BoxFuture<'_, Result<(), Error>>)>) -> Result<(), Error> {
    futures_util::future::try_join_all(pools.into_iter().map(|(_, ready)| ready)).await.map(drop)
}

/// Closes all pools at once.
pub async fn close_all(pools: Vec<(&'static str, BoxFuture<'_, CloseReport>)>) -> Vec<(&'static str, CloseReport)> {
    futures_util::future::join_all(pools.into_iter().map(|(name, close)| async move { (name, close.await) })).await
}
