//! The macros of `pool-sqlx`, which exports them: take them from there.
//!
//! | macro | gives |
//! | --- | --- |
//! | [`#[pooled]`](macro@pooled) | a function that is lent a connection for the time of its body |
//! | [`#[derive(Pools)]`](derive@Pools) | one struct for all databases of a service: connect, close, status |
//! | [`#[derive(ServiceError)]`](derive@ServiceError) | an answer for each error of a service, none of them a 500 by oversight |
//! | [`#[derive(HasPools)]`](derive@HasPools) | a state in which handlers find the pools of such a struct |
//!
//! A mistake is an error on your own token that says what to write; all mistakes of an item are reported at once, and
//! the item is expanded all the same, so that an editor keeps helping.
//!
//! The examples on these pages are compiled in `pool-sqlx`, on which this crate cannot depend.

mod duration;
mod fault;
mod names;
mod option;
mod pooled;
mod pools;
mod service_error;

use proc_macro::TokenStream;

/// Lends the function a connection: acquired after its arguments are there, given back before its caller goes on.
///
/// ```ignore
/// // (ignored: pool-sqlx depends on this crate)
/// use pool_sqlx::{PgConn, PgTx, pooled};
///
/// #[pooled]
/// async fn track(Path(id): Path<i64>, conn: &mut PgConn) -> Result<Json<Track>, ApiError> {
///     Ok(Json(sqlx::query_as("select * from tracks where id = $1").bind(id).fetch_one(conn).await?))
/// }
///
/// #[pooled(timeout = "2s")]
/// async fn like(tx: &mut PgTx, Path(id): Path<i64>) -> Result<(), ApiError> {
///     sqlx::query("insert into likes (track) values ($1)").bind(id).execute(&mut *tx).await?;
///     sqlx::query("update tracks set likes = likes + 1 where id = $1").bind(id).execute(tx).await?;
///     Ok(())
/// }
/// ```
///
/// # The connection
///
/// Exactly one argument asks for it, at any place, and its type decides:
///
/// | argument | the body has |
/// | --- | --- |
/// | `conn: &mut PgConn` | a connection whose statements are tracked: given back clean without a round trip |
/// | `conn: &mut PgConnection` | sqlx's own connection |
/// | `tx: &mut PgTx` | a transaction: it commits if the function succeeds, and rolls back on an error (`Err`, a `Response` from 400), a panic or a cancellation |
/// | `#[conn] db: &mut Db` | an alias of one of these |
/// | `conn: PgConn` | a connection of its own: `drop(conn)` gives it back before, say, a slow service is called |
///
/// Other databases have the same names (`SqliteConn`, `SqliteTx`), and generic code writes `&mut Conn<DB>`. A type is known
/// by the end of its name: `Conn`, `Connection` or `Tx`. If any argument is marked `#[conn]`, only that one counts.
///
/// # The pool
///
/// The argument becomes the pool, **first** after `self` and under the same name. axum finds it in the state by its type
/// ([`#[derive(Pools)]`](derive@Pools) provides it); a plain function is passed it:
///
/// ```ignore
/// #[pooled]
/// async fn nightly(day: Date, tx: &mut PgTx) -> Result<(), JobError> { .. }
///
/// nightly(pool.clone(), today).await?;
/// ```
///
/// With `from` there is no such argument. Methods need it: it says in which field the pool is.
///
/// ```ignore
/// impl Users for Service {
///     #[pooled(from = self.db)]
///     async fn rename(&self, id: i64, conn: &mut PgConn) -> Result<(), UserError> { .. }
/// }
/// ```
///
/// # Options
///
/// | option | meaning | without it |
/// | --- | --- | --- |
/// | `timeout = "2s"` | longest wait for the connection, all in all | the pool's `pool_timeout` |
/// | `limit = 5` | so many calls of this function at most hold a connection; the next waits its turn, then 503 | as many as the pool has |
/// | `statement_timeout = "500ms"` | longest run of each statement, longer or shorter than the pool's | the pool's `statement_timeout` |
/// | `retry_after = "1s"` | when a client that was refused should come back | as the failure suggests |
/// | `pool = Replica` | key type of the pool | `Main` |
/// | `from = self.db` | an expression for the pool: a pool, a reference or an `Arc` | an argument |
/// | `crate = path` | where `pool_sqlx` is | `::pool_sqlx` |
///
/// With a transaction also
///
/// | option | meaning | without it |
/// | --- | --- | --- |
/// | `read_only` | the database refuses to change anything; SQLite: does not wait for the writer | may write |
/// | `isolation = "serializable"` | or `"repeatable read"`, `"read committed"`; SQLite is always serializable | the database's default |
/// | `retry = 2` | runs the body again, in a new transaction, when it lost against another one (40001, 40P01), the commit included | the conflict is the answer |
///
/// One `timeout` covers the wait for a place under `limit` and for the connection. `limit` is the cure for one slow route that
/// takes every connection. With `retry` the body may run several times: keep everything but the database out of it. Each attempt
/// gets copies of the arguments (`Clone`), waits for a connection anew, and the pauses between are random and hold nothing; the
/// error type has to implement `std::error::Error`.
///
/// A `statement_timeout` costs nothing in a transaction (it travels with `BEGIN`; not with MySQL's), nor on a `PgConn` if it is shorter than the
/// pool's: we keep it, and cancel the statement on the server when it runs out. Only statements on `conn` itself are seen;
/// with sqlx's own `&mut PgConnection`, and for a longer limit than the pool's, the server is told: one round trip before the body,
/// one after the release. Behind a pooler and on SQLite nobody would keep it on sqlx's own connection, so each call of such a function is
/// refused there; on `conn` and `tx` themselves it holds.
///
/// A duration is `"250ms"`, `"2s"`, `"5m"` or `"2h"`, a number of seconds, or a `Duration` constant.
///
/// # Failures
///
/// No connection in time, a database that cannot be reached, a failed commit: these end the function. A return type
/// whose name ends with `Result`, and `Response` or `HttpResponse`, stay as they are and carry the failure, by
/// `E: From<pool_sqlx::Error>` or as a 503. Any other `T` (`Json<T>`, `impl IntoResponse`, `()`) becomes
/// `Result<T, pool_sqlx::Error>`, which axum and actix answer with 503 too. tonic's `Result<_, Status>` carries it as `UNAVAILABLE`
/// with a `RetryInfo`.
///
/// # Streams
///
/// The connection goes back before the response is built, so a response cannot stream from it: a slow client would hold it.
/// Read what a client may take slowly by pages, each with a connection of its own, by a function like this one:
///
/// ```ignore
/// #[pooled]
/// async fn page(conn: &mut PgConn, after: i64) -> Result<Vec<Track>, Error> { .. }
///
/// async fn export(State(pool): State<PgPool>) -> Body {
///     Body::from_stream(futures_util::stream::try_unfold(0, move |last| {
///         let pool = pool.clone();
///         async move {
///             let tracks = page(pool, last).await?;              // held for one query, not for one client
///             Ok::<_, Error>(tracks.last().map(|track| (csv(&tracks), track.id)))
///         }
///     }))
/// }
/// ```
///
/// A stream that needs one snapshot takes the connection by value, and holds it as long as the client likes: give such a
/// route a `limit`, and the client a time limit.
///
/// # Order with other attributes
///
/// **`#[pooled]` goes on top.**
///
/// ```ignore
/// #[pooled]                             // first
/// #[tracing::instrument(skip(conn))]    // its span then covers the wait for the connection
/// #[axum::debug_handler]                // below, since it refuses `&mut` arguments
/// async fn list(conn: &mut PgConn) -> Result<Json<Vec<User>>, ApiError> { .. }
/// ```
///
/// `#[instrument]` above works too; the wait is then outside its span. An actix route may stand on either side.
/// `#[async_trait]` rewrites the methods of its block before their attributes run, so a bare `#[pooled]` goes above it,
/// and expands the marked methods first:
///
/// ```ignore
/// #[pooled]
/// #[async_trait]
/// impl Greeter for Service {
///     #[pooled(from = self.db)]
///     async fn hello(&self, request: Request<Hi>, conn: &mut PgConn) -> Result<Response<Reply>, Status> { .. }
/// }
/// ```
///
/// # Cancel safety
///
/// Dropping the future at any point loses nothing: before the body the place in the queue goes to the next caller, in the
/// body the connection goes back (and a transaction rolls back).
///
/// # Expansion
///
/// The body stays in the function, in an async closure, so `self`, generics, `return` and `?` mean what they say. Of
///
/// ```ignore
/// #[pooled(timeout = "2s")]
/// pub async fn add(id: i64, conn: &mut PgConn) -> Result<i64, E> { BODY }
/// ```
///
/// becomes (`rt` stands for `::pool_sqlx::private`, and `Ok`, `Err` for their full paths)
///
/// ```ignore
/// pub async fn add(conn: rt::PoolFor<PgConn, ::pool_sqlx::Main>, id: i64) -> Result<i64, E> {
///     static __CALL: rt::Call = rt::Call::new(rt::Site::named("app::users::add")).timeout(Duration::new(2, 0));
///     let mut held = match rt::acquire::<PgConn, _>(&conn, &__CALL).await {
///         Ok(held) => held,
///         Err(error) => return Err(rt::FromFailure::from_failure(error)),
///     };
///     let reply: Result<i64, E> = {
///         // From here on the pool knows when the body asks for another connection.
///         rt::holding(&mut held, async move |conn: &mut PgConn| {
///             if false { return loop {}; }                 // tells inference the declared type
///             BODY
///         }).await
///     };
///     let success = Result::is_ok(&reply);                 // of a `Response`: by its status
///     match rt::finish(held, success).await {              // commits or rolls back, then releases
///         Ok(()) => reply,
///         Err(error) => Err(rt::FromFailure::from_failure(error)), // a failed commit is a failure
///     }
/// }
/// ```
///
/// # Cost
///
/// Nothing is allocated and no task is started. The future is that of the same function by hand, its arguments once more (they move
/// into the block of the body: box what is large), and less than 256 bytes
/// (`cargo test -p pool-sqlx --test macros bytes`). A type check takes about as long as by hand, a debug build of many small handlers
/// noticeably longer.
#[proc_macro_attribute]
pub fn pooled(args: TokenStream, item: TokenStream) -> TokenStream {
    pooled::expand(args.into(), item.into()).into()
}

/// Makes one of several pools: connects, closes and shows all databases of a service together.
///
/// One field is one pool is one section of the configuration.
///
/// ```ignore
/// // (ignored: pool-sqlx depends on this crate)
/// use pool_sqlx::{PgPool, Pools, SqlitePool};
///
/// struct Replica;
///
/// #[derive(Clone, Pools)]
/// struct Databases {
///     primary: PgPool,                                  // [default.databases.primary], DATABASE_URL
///     #[pool(section = "reports", lazy)]
///     replica: PgPool<Replica>,                         // [default.databases.reports], DATABASE_REPORTS_URL
///     cache: SqlitePool,
/// }
///
/// let databases = Databases::connect().await?;
/// let app = Router::new().route("/tracks/{id}", get(track)).with_state(databases.clone());
/// axum::serve(listener, app).with_graceful_shutdown(signal()).await?;
/// databases.close().await;
/// ```
///
/// | generated | gives |
/// | --- | --- |
/// | `const SECTIONS: &'static [&'static str]` | the sections, in the order of the fields |
/// | `async fn connect() -> Result<Self, Error>` | all pools, from `Pool.toml` and the environment |
/// | `async fn connect_with(&Figment) -> Result<Self, Error>` | the same from a configuration of your own |
/// | `async fn close(&self) -> Vec<(&'static str, CloseReport)>` | what each pool still had lent when its grace ended |
/// | `async fn ready(&self) -> Result<(), Error>` | whether a request would get a connection that works, from each pool |
/// | `fn status(&self) -> Vec<(&'static str, Status)>` | the numbers of each pool |
/// | `fn watched(&self) -> Vec<Watched>`, of the trait `Watchable` | the pools for who looks at them: a status page, metrics |
/// | `impl FromRef<Databases>` for each pool (feature `axum`) | handlers find a pool in the state by its type |
/// | `fn configure(&self, &mut ServiceConfig)` (feature `actix`) | the same for actix: `App::new().configure(\|c\| databases.configure(c))` |
///
/// Connecting reads every section before it opens anything, reports all faults of all sections at once, and then opens
/// all pools at once. If one does not connect, those that did are closed again.
///
/// Handlers find a pool by its type, so two fields of one database need a key type to tell them apart: any type of
/// yours, such as `struct Replica;`, as the pool's last argument. `#[pooled(pool = Replica)]` names it.
///
/// # Options
///
/// | on | option | meaning | without it |
/// | --- | --- | --- | --- |
/// | a field | `#[pool(section = "reports")]` | section of the configuration | the field's name |
/// | a field | `#[pool(lazy)]` | connects when first used, not at start | connects at start |
/// | the struct | `#[pools(crate = path)]` | where `pool_sqlx` is | `::pool_sqlx` |
#[proc_macro_derive(Pools, attributes(pools, pool))]
pub fn pools(item: TokenStream) -> TokenStream {
    pools::expand(item.into()).into()
}

/// Lets handlers find the pools of a [`Pools`](derive@Pools) struct that is one field of axum's state.
///
/// Without it a router whose state is `App` does not find the pools in `App::databases`: axum's `FromRef` does not
/// look into fields. It stands beside axum's own `#[derive(FromRef)]`, and is empty without the feature `axum`.
/// The state and the field may be in an `Arc`.
///
/// ```ignore
/// // (ignored: pool-sqlx depends on this crate)
/// use pool_sqlx::HasPools;
///
/// #[derive(Clone, HasPools)]
/// struct App {
///     #[pools]
///     databases: Databases,
///     mailer: Mailer,
/// }
///
/// #[pooled]
/// async fn invite(State(app): State<App>, conn: &mut PgConn) -> Result<(), ApiError> { .. }
/// ```
///
/// `#[pools(crate = path)]` on the struct says where `pool_sqlx` is.
#[proc_macro_derive(HasPools, attributes(pools))]
pub fn has_pools(item: TokenStream) -> TokenStream {
    pools::nested::expand(item.into()).into()
}

/// Says how a service answers for each of its errors; one that was forgotten does not compile.
///
/// ```ignore
/// // (ignored: pool-sqlx depends on this crate)
/// use pool_sqlx::ServiceError;
///
/// #[derive(Debug, thiserror::Error, ServiceError)]
/// enum ApiError {
///     #[error(transparent)]
///     #[service(database)]                                   // a full pool is 503 with Retry-After, wrong SQL is 500
///     Pool(#[from] pool_sqlx::Error),
///     #[error(transparent)]
///     #[service(database, not_found = 404, unique = 409)]
///     Sqlx(#[from] sqlx::Error),
///     #[error("there is no track {0}")]
///     #[service(status = 404, type = "no-such-track")]       // the text is the problem's `detail`
///     NoTrack(i64),
/// }
/// ```
///
/// | generated | gives |
/// | --- | --- |
/// | `fn failure(&self) -> Failure` | status, RFC 9457 problem and `Retry-After` |
/// | `impl IntoResponse` (feature `axum`) | the answer |
/// | `impl ResponseError` (feature `actix`) | the same |
/// | `impl From<ApiError> for tonic::Status` (feature `tonic`) | the status's code, with a `RetryInfo` where a retry helps |
///
/// Failures of the service (500 and up) are logged where they become an answer: once, with all that they were made of.
/// The enum has to be an `Error`; that and `From` are left to `thiserror` or to you.
///
/// # Options
///
/// | option | meaning | without it |
/// | --- | --- | --- |
/// | `database` | the answer is found by the error in the variant, or by what that was made of: pool_sqlx's, sqlx's, any other is 500 | |
/// | `not_found = 404` | the answer for `RowNotFound` | 500 |
/// | `unique = 409` | the answer for a violated unique constraint | 500 |
/// | `status = 404` | the answer | |
/// | `type = "no-such-track"` | the problem's `type` | `about:blank` |
/// | `retry_after = "5s"` | when to come back | never |
/// | on the enum: `#[service(own_response)]` | only `failure()` is generated, beside an `IntoResponse` of yours | the framework's trait, too |
/// | on the enum: `#[service(crate = path)]` | where `pool_sqlx` is | `::pool_sqlx` |
///
/// With `database` the error is the variant's only field, or the one marked `#[from]` or `#[source]`, or called `source`. It may be
/// `anyhow::Error` or `Box<dyn Error + Send + Sync>`: what is in it is found.
///
/// # Responses of your own
///
/// A body that is no problem+json, or a header, is written by hand. `failure()` still answers for the rest, and
/// `log` writes what the derive would have:
///
/// ```ignore
/// impl IntoResponse for LoginError {                         // with `#[service(own_response)]` on the enum
///     fn into_response(self) -> Response {
///         let failure = self.failure();
///         failure.log(&self);
///         match self {
///             Self::Fields(fields) => (StatusCode::UNPROCESSABLE_ENTITY, Json(fields)).into_response(),
///             Self::Unauthorized => ([(header::WWW_AUTHENTICATE, "Token")], failure).into_response(),
///             _ => failure.into_response(),
///         }
///     }
/// }
/// ```
#[proc_macro_derive(ServiceError, attributes(service))]
pub fn service_error(item: TokenStream) -> TokenStream {
    service_error::expand(item.into()).into()
}
