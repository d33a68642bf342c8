use pool_sqlx::{
    Error, SqliteConn, SqlitePool,
    axum::{self, Router, routing::get},
    pooled,
};

#[derive(Clone)]
struct App {
    _databases: SqlitePool,
}

#[pooled]
async fn list(_conn: &mut SqliteConn) -> Result<String, Error> {
    Ok(String::new())
}

fn main() {
    let _service: Router<App> = axum::Router::new().route("/", get(list));
}
