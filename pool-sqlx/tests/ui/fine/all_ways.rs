#![deny(warnings, unused, rust_2018_idioms)]
//! Every way to write it, without a warning.

use pool_sqlx::{
    Backend, Conn, Error, HasPools, Pool, Pools, ServiceError, SqliteConn, SqlitePool, SqliteTx,
    actix_web::{self, HttpResponse},
    axum::{
        Json, Router,
        extract::{Path, State},
        response::{IntoResponse, Response},
        routing::get,
    },
    pooled, sqlx,
};
use std::{future::Future, sync::Arc};

struct Replica;

#[derive(Clone, Pools)]
struct Databases {
    primary: SqlitePool,
    #[pool(section = "reports", lazy)]
    replica: SqlitePool<Replica>,
}

#[derive(Clone, HasPools)]
struct App {
    #[pools]
    databases: Databases,
    name: &'static str,
}

#[derive(Debug, ServiceError)]
enum ApiError {
    #[service(database, not_found = 404, unique = 409)]
    Pool(Error),
    #[service(database)]
    Other { source: Box<dyn std::error::Error + Send + Sync> },
    #[service(status = 404, type = "no-such-track", retry_after = "5s")]
    NoTrack(i64),
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pool(error) => error.fmt(f),
            Self::Other { source } => source.fmt(f),
            Self::NoTrack(id) => write!(f, "there is no track {id}"),
        }
    }
}

impl std::error::Error for ApiError {}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::Pool(error)
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        Self::Pool(error.into())
    }
}

#[pooled]
async fn title(State(app): State<App>, Path(id): Path<i64>, conn: &mut SqliteConn) -> Result<Json<String>, ApiError> {
    if id < 0 {
        return Err(ApiError::NoTrack(id));
    }
    let title: String = sqlx::query_scalar("select ?").bind(app.name).fetch_one(&mut *conn).await?;
    Ok(Json(title))
}

#[pooled(pool = Replica, timeout = "2s", retry_after = 1, statement_timeout = "500ms", limit = 5)]
async fn number(conn: &mut sqlx::SqliteConnection) -> impl IntoResponse + use<> {
    let number: i64 = sqlx::query_scalar("select 1").fetch_one(conn).await.unwrap_or_default();
    number.to_string()
}

#[pooled(isolation = "serializable", read_only, retry = 2)]
async fn count(mut words: Vec<String>, tx: &mut SqliteTx) -> Result<usize, ApiError> {
    words.push(sqlx::query_scalar("select 'word'").fetch_one(tx).await?);
    Ok(words.len())
}

#[pooled]
async fn answers(conn: SqliteConn) -> Response {
    drop(conn);
    ().into_response()
}

#[pooled]
async fn actix(_conn: &mut SqliteConn) -> HttpResponse {
    HttpResponse::Ok().finish()
}

#[pooled]
async fn generic<DB: Backend, T: Send>(value: T, _conn: &mut Conn<DB>) -> Result<T, Error> {
    Ok(value)
}

#[pooled]
async fn boxed(_conn: &mut SqliteConn) -> Result<Box<dyn Fn(i64) -> i64 + Send>, Box<dyn std::error::Error>> {
    Ok(Box::new(|n| n + 1))
}

trait Titles {
    fn rename(&self, id: i64) -> impl Future<Output = Result<(), Error>> + Send;
}

struct Service {
    db: Arc<SqlitePool>,
}

impl Titles for Service {
    #[pooled(from = self.db)]
    async fn rename(&self, id: i64, tx: &mut SqliteTx) -> Result<(), Error> {
        sqlx::query("update tracks set title = '' where id = ?").bind(id).execute(tx).await?;
        Ok(())
    }
}

macro_rules! job {
    ($name:ident, $conn:ty) => {
        #[pooled]
        async fn $name(conn: &mut $conn) -> Result<(), Error> {
            sqlx::query("select 1").execute(conn).await?;
            Ok(())
        }
    };
}

job!(nightly, SqliteConn);

macro_rules! with_body {
    ($name:ident, $conn:ident, $body:block) => {
        #[pooled]
        async fn $name($conn: &mut SqliteConn) -> Result<i64, Error> $body
    };
}

with_body!(weekly, conn, { Ok(sqlx::query_scalar("select 7").fetch_one(conn).await?) });

/// A future of each can be moved to another thread.
fn send<F: Future + Send>(_: F) {}

fn main() {
    let _service: Router<App> = Router::new().route("/{id}", get(title)).route("/", get(number)).route("/a", get(answers));
    let _all = |databases: Databases, pool: SqlitePool| {
        send(count(pool.clone(), Vec::new()));
        send(generic::<sqlx::Sqlite, _>(pool.clone(), 1));
        send(nightly(pool.clone()));
        send(weekly(pool.clone()));
        send(Service { db: Arc::new(pool.clone()) }.rename(1));
        drop((boxed(pool), actix_web::App::new().route("/", actix_web::web::get().to(actix))));
        send(async move { (databases.ready().await, databases.status(), databases.close().await) });
    };
    let _other = ApiError::Other { source: "other".into() }.failure();
    let _pool: Option<Pool<sqlx::Sqlite, Replica>> = None;
}
