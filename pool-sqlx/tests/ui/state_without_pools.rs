use pool_sqlx::{
    Error, HasPools, PgPool, Pools, SqliteConn, SqlitePool,
    axum::{Extension, Router, routing::get},
    pooled, sqlx,
};
use std::sync::Arc;

#[derive(Clone, Pools)]
struct Databases {
    primary: SqlitePool,
}

#[derive(Clone, HasPools)]
struct App {
    #[pools]
    url: String,
}

#[derive(Clone, Pools)]
struct Others {
    of_sqlx: sqlx::SqlitePool,
    perhaps: Option<SqlitePool>,
    shared: Arc<PgPool>,
}

#[pooled]
async fn list(_conn: &mut SqliteConn) -> Result<String, Error> {
    Ok(String::new())
}

fn as_an_extension(databases: Databases) -> Router {
    Router::new().route("/", get(list)).layer(Extension(databases))
}

fn main() {}
