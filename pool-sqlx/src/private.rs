//! What the output of our macros calls. Not for other use: it changes without notice.

use crate::{
    Backend, CloseReport, ConfigError, Conn, DatabaseSettings, Error, Failure, Pool, Status, Tx, TxOptions, Verdict,
    Watchable, Watched,
    conn::Seen,
    error,
    telemetry::{Refused, waiting},
};
use figment::Figment;
use futures_core::future::BoxFuture;
use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    ops::Deref,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

pub use crate::Isolation;
pub use pool_core::{Hold, Site};

/// What a `#[pooled]` function asks for: one static for each.
#[derive(Debug)]
pub struct Call {
    site: Site,
    timeout: Option<Duration>,
    retry_after: Option<Duration>,
    begin: TxOptions,
    /// How many of these calls may hold a connection at a time. 0: as many as the pool has.
    limit: u32,
    /// The places that `limit` gives, made when the first call comes.
    places: OnceLock<Semaphore>,
}

impl Call {
    pub const fn new(site: Site) -> Self {
        let begin = TxOptions::new();
        Self { site, timeout: None, retry_after: None, begin, limit: 0, places: OnceLock::new() }
    }

    pub const fn statement_timeout(mut self, limit: Duration) -> Self {
        self.begin.statement_timeout = Some(limit);
        self
    }

    pub const fn read_only(mut self) -> Self {
        self.begin.read_only = true;
        self
    }

    pub const fn isolation(mut self, level: Isolation) -> Self {
        self.begin.isolation = Some(level);
        self
    }

    pub const fn limit(mut self, calls: u32) -> Self {
        self.limit = calls;
        self
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

impl Call {
    /// Waits for a place, and tells how much of the time is left. An error: how long it waited in vain.
    async fn enter(&'static self, patience: Duration) -> Result<(SemaphorePermit<'static>, Duration), NoPlace> {
        let places = self.places.get_or_init(|| Semaphore::new(self.limit as usize));
        // Who is free to go on does not overtake: a place that comes back goes to the first who waits.
        if let Ok(place) = places.try_acquire() {
            return Ok((place, patience));
        }
        let asked = Instant::now();
        // Boxed for the size of the futures of those who need not wait.
        match Box::pin(tokio::time::timeout(patience, places.acquire())).await {
            Ok(place) => Ok((place.expect("BUG: nobody closes the places"), patience.saturating_sub(asked.elapsed()))),
            Err(_) => Err(NoPlace { waited: asked.elapsed() }),
        }
    }
}

/// All calls that a function may have at a time went on for as long as this one waited.
struct NoPlace {
    waited: Duration,
}

impl Refused for NoPlace {
    fn waited(&self) -> Duration {
        self.waited
    }

    fn verdict(&self) -> Verdict {
        Verdict::Refused
    }
}

/// A type whose `&mut` a `#[pooled]` function may take.
#[diagnostic::on_unimplemented(
    message = "`#[pooled]` cannot lend a `{Self}`",
    label = "not a connection of a pool",
    note = "take `&mut PgConn`, `&mut PgTx`, `&mut SqliteConn`, `&mut SqliteTx` (or MySql..), or sqlx's own `&mut PgConnection`, `&mut SqliteConnection`",
    note = "the database has to be a feature of pool-sqlx: `postgres`, `mysql`, `sqlite`"
)]
pub trait Lend: Sized + Send {
    type Database: Backend;
    /// What holds the connection meanwhile.
    type Holder: Send;

    fn hold(
        conn: Conn<Self::Database>,
        call: &'static Call,
    ) -> impl Future<Output = Result<Self::Holder, Error>> + Send;
    fn lend(holder: &mut Self::Holder) -> &mut Self;
    fn mark(holder: &Self::Holder) -> Hold;
    /// Commits or rolls back what is to be committed or rolled back, then releases.
    fn finish(holder: Self::Holder, success: bool) -> impl Future<Output = Result<(), Error>> + Send;
}

impl<DB: Backend> Lend for Conn<DB> {
    type Database = DB;
    type Holder = Self;

    async fn hold(mut conn: Self, call: &'static Call) -> Result<Self, Error> {
        limit_statements(&mut conn, call, Seen::All).await?;
        Ok(conn)
    }

    fn lend(holder: &mut Self) -> &mut Self {
        holder
    }

    fn mark(holder: &Self) -> Hold {
        holder.hold()
    }

    async fn finish(_: Self, _: bool) -> Result<(), Error> {
        Ok(())
    }
}

impl<DB: Backend> Lend for Tx<DB> {
    type Database = DB;
    type Holder = Self;

    async fn hold(conn: Conn<DB>, call: &'static Call) -> Result<Self, Error> {
        Self::begin_with(conn, call.begin).await
    }

    fn lend(holder: &mut Self) -> &mut Self {
        holder
    }

    fn mark(holder: &Self) -> Hold {
        holder.conn.hold()
    }

    async fn finish(tx: Self, success: bool) -> Result<(), Error> {
        match success {
            true => tx.commit().await,
            // The function's own error is the answer, unless it invites another attempt and must not.
            false => tx.give_up().await.map(drop),
        }
    }
}

macro_rules! lend_of_sqlx {
    ($conn:ty, $db:ty) => {
        impl Lend for $conn {
            type Database = $db;
            type Holder = Conn<$db>;

            async fn hold(mut conn: Conn<$db>, call: &'static Call) -> Result<Conn<$db>, Error> {
                conn.allow_raw()?;
                limit_statements(&mut conn, call, Seen::Some).await?;
                Ok(conn)
            }

            fn lend(holder: &mut Conn<$db>) -> &mut Self {
                holder.raw()
            }

            fn mark(holder: &Conn<$db>) -> Hold {
                holder.hold()
            }

            async fn finish(_: Conn<$db>, _: bool) -> Result<(), Error> {
                Ok(())
            }
        }
    };
}

#[cfg(feature = "postgres")]
lend_of_sqlx!(sqlx::PgConnection, sqlx::Postgres);
#[cfg(feature = "mysql")]
lend_of_sqlx!(sqlx::MySqlConnection, sqlx::MySql);
#[cfg(feature = "sqlite")]
lend_of_sqlx!(sqlx::SqliteConnection, sqlx::Sqlite);

async fn limit_statements<DB: Backend>(conn: &mut Conn<DB>, call: &'static Call, seen: Seen) -> Result<(), Error> {
    match call.begin.statement_timeout {
        // Boxed for the size of the futures of those who have no limit of their own.
        Some(limit) => Box::pin(conn.limit_statements(limit, seen)).await,
        None => Ok(()),
    }
}

/// What `read_only`, `isolation` and `retry` ask for, where the type's name does not tell.
#[diagnostic::on_unimplemented(
    message = "`read_only`, `isolation` and `retry` are about a transaction, and `{Self}` is not one",
    note = "take `&mut PgTx` or `&mut SqliteTx`"
)]
pub trait Transaction {}

impl<DB: Backend> Transaction for Tx<DB> {}

pub const fn transaction<T: Transaction>() {}

/// The pool that can lend a `T`.
pub type PoolFor<T, K> = Pool<<T as Lend>::Database, K>;

/// A loan for the time of a function.
pub struct Held<T: Lend> {
    holder: T::Holder,
    place: Option<SemaphorePermit<'static>>,
}

pub async fn acquire<T: Lend, K>(pool: &PoolFor<T, K>, call: &'static Call) -> Result<Held<T>, Error> {
    let held = async {
        let (mut place, mut timeout) = (None, call.timeout);
        if call.limit > 0 {
            let patience = timeout.unwrap_or_else(|| pool.patience());
            let tally = pool.core().manager().tally();
            let entered = waiting(tally.name(), call.site, call.enter(patience)).await.map_err(|NoPlace { waited }| {
                let error = Error::limit(call.site, call.limit, waited);
                tally.refuse_place(call.site, waited, &error);
                error
            });
            let (entered, left) = entered?;
            (place, timeout) = (Some(entered), Some(left));
        }
        let conn = pool.acquire_at(call.site, timeout).await?;
        Ok(Held { holder: T::hold(conn, call).await?, place })
    };
    held.await.map_err(|error: Error| error.with_retry_after(call.retry_after))
}

pub fn lend<T: Lend>(held: &mut Held<T>) -> &mut T {
    T::lend(&mut held.holder)
}

/// For a function that takes the connection by value, and releases it whenever it is done. The place is kept until its end.
pub fn give<T: Lend<Holder = T>>(held: Held<T>) -> (T, impl Send) {
    (held.holder, held.place)
}

pub async fn finish<T: Lend>(held: Held<T>, success: bool) -> Result<(), Error> {
    T::finish(held.holder, success).await
}

/// Whether another attempt may succeed where this one failed.
#[diagnostic::on_unimplemented(
    message = "`retry` cannot tell from `{Self}` whether another attempt may succeed",
    note = "let the function return a `Result` whose error implements `std::error::Error`"
)]
pub trait RetryOn {
    fn wants_retry(&self) -> bool;
}

impl RetryOn for Error {
    fn wants_retry(&self) -> bool {
        error::is_conflict(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T, E: StdError + 'static> RetryOn for Result<T, E> {
    fn wants_retry(&self) -> bool {
        self.as_ref().is_err_and(|error| error::is_conflict(error))
    }
}

/// Waits before another attempt, holding nothing.
pub async fn back_off(attempt: u32) {
    tokio::time::sleep(crate::words::backoff::after_conflict(attempt)).await;
}

/// Marks the loan of a function, before its body borrows the connection.
pub fn hold<C: Lend>(held: &Held<C>) -> Hold {
    C::mark(&held.holder)
}

/// Runs a function's body as one that keeps its connection to the end, so that the pool knows when it asks for another. A plain
/// function: as an `async` one it would store the body twice.
pub fn holding<F: Future>(hold: Hold, body: F) -> impl Future<Output = F::Output> {
    hold.during(body)
}

/// What a `#[pooled]` function may return if it is to carry the pool's failures.
#[diagnostic::on_unimplemented(
    message = "`#[pooled]` cannot turn a failure of the pool into `{Self}`",
    note = "return a `Result` whose error implements `From<pool_sqlx::Error>`, axum's `Response` (feature `axum`) or actix's `HttpResponse` (feature `actix`)"
)]
pub trait Reply: Sized {
    fn from_pool_error(error: Error) -> Self;
    /// Whether a transaction is to be committed.
    fn is_success(&self) -> bool;
}

/// An error of the user's that ours can become. Apart from `From`, for the sake of the message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a failure of the pool",
    label = "implements no `From<pool_sqlx::Error>`",
    note = "in an enum, add a variant such as `Pool(#[from] pool_sqlx::Error)` (thiserror), or write the `impl From` by hand",
    note = "`#[derive(pool_sqlx::ServiceError)]` then answers for it with 503; `pool_sqlx::Error` itself does too"
)]
pub trait FromFailure {
    fn from_failure(error: Error) -> Self;
}

#[diagnostic::do_not_recommend]
impl<E: From<Error>> FromFailure for E {
    fn from_failure(error: Error) -> Self {
        error.into()
    }
}

impl<T, E: FromFailure> Reply for Result<T, E> {
    fn from_pool_error(error: Error) -> Self {
        Err(E::from_failure(error))
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

#[cfg(feature = "actix")]
impl Reply for actix_web::HttpResponse {
    fn from_pool_error(error: Error) -> Self {
        actix_web::ResponseError::error_response(&error)
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

/// What the error in a variant of `#[derive(ServiceError)]` means, with the two answers that only the application knows.
pub fn failure_in(error: &(dyn StdError + 'static), not_found: Option<u16>, unique: Option<u16>) -> Failure {
    let mut errors = std::iter::successors(Some(error), |error| (*error).source());
    let of_sqlx = errors.find_map(|error| match error.downcast_ref::<Error>() {
        Some(ours) => ours.sqlx(),
        None => error.downcast_ref(),
    });
    let own = match of_sqlx {
        Some(sqlx::Error::RowNotFound) => not_found,
        Some(sqlx::Error::Database(error)) if error.is_unique_violation() => unique,
        _ => None,
    };
    own.map_or_else(|| Failure::of(error), Failure::new)
}

#[cfg(feature = "actix")]
pub fn actix_status(failure: &Failure) -> actix_web::http::StatusCode {
    crate::web::actix::status(failure.status())
}

/// Logs an application's error where it becomes an answer.
pub fn answer(error: &dyn fmt::Display, failure: Failure) -> Failure {
    failure.log(error);
    failure
}

/// What a field of an error means, whatever kind of error it is: `&Look(field)` finds one of two traits by itself.
pub struct Look<'e, E>(pub &'e E);

pub trait LookAtError {
    fn error(&self) -> &(dyn StdError + 'static);
}

impl<E: StdError + 'static> LookAtError for &Look<'_, E> {
    fn error(&self) -> &(dyn StdError + 'static) {
        self.0
    }
}

/// For boxes of errors, `anyhow::Error` among them, which are no errors themselves.
pub trait LookIntoBox {
    fn error(&self) -> &(dyn StdError + 'static);
}

impl<E: Deref<Target = dyn StdError + Send + Sync>> LookIntoBox for Look<'_, E> {
    fn error(&self) -> &(dyn StdError + 'static) {
        &**self.0
    }
}

/// What a field of `#[derive(Pools)]` has to be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a pool, and each field of a `Pools` struct is one",
    label = "not a pool",
    note = "keep what else the service needs in a struct around it: `#[derive(HasPools)] struct App {{ #[pools] databases: Databases, .. }}`"
)]
pub trait IsPool: Sized {
    fn connect_lazy(settings: DatabaseSettings) -> Result<Self, Error>;
    /// Opens `pool_size` connections.
    fn open(&self) -> impl Future<Output = Result<(), Error>> + Send;
    fn ready(&self) -> impl Future<Output = Result<(), Error>> + Send;
    fn close(&self) -> impl Future<Output = CloseReport> + Send;
    fn status(&self) -> Status;
    fn watched(&self) -> Vec<Watched>;
}

impl<DB: Backend, Key> IsPool for Pool<DB, Key> {
    fn connect_lazy(settings: DatabaseSettings) -> Result<Self, Error> {
        Self::__connect_lazy(settings)
    }

    #[track_caller]
    fn open(&self) -> impl Future<Output = Result<(), Error>> + Send {
        self.open()
    }

    #[track_caller]
    fn ready(&self) -> impl Future<Output = Result<(), Error>> + Send {
        self.ready()
    }

    async fn close(&self) -> CloseReport {
        self.close().await
    }

    fn status(&self) -> Status {
        self.status()
    }

    fn watched(&self) -> Vec<Watched> {
        Watchable::watched(self)
    }
}

/// Reads the sections of `#[derive(Pools)]`, and collects what is wrong with all of them.
#[derive(Debug)]
pub struct Sections<'f> {
    figment: &'f Figment,
    error: Option<ConfigError>,
}

impl<'f> Sections<'f> {
    pub fn new(figment: &'f Figment, names: &'static [&'static str]) -> Self {
        Self { figment, error: crate::config::strangers(figment, names) }
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
pub async fn all(pools: Vec<(&'static str, BoxFuture<'_, Result<(), Error>>)>) -> Result<(), Error> {
    futures_util::future::try_join_all(pools.into_iter().map(|(_, ready)| ready)).await.map(drop)
}

/// Closes all pools at once.
pub async fn close_all(pools: Vec<(&'static str, BoxFuture<'_, CloseReport>)>) -> Vec<(&'static str, CloseReport)> {
    futures_util::future::join_all(pools.into_iter().map(|(name, close)| async move { (name, close.await) })).await
}
