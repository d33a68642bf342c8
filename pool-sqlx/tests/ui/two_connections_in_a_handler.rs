use pool_sqlx::{
    Error, Pools, SqliteConn, SqlitePool,
    axum::{Router, routing::get},
    pooled,
};

#[derive(Clone, Pools)]
struct Databases {
    primary: SqlitePool,
}

#[pooled(timout = "2s")]
async fn copy(_a: &mut SqliteConn, _b: &mut SqliteConn) -> Result<String, Error> {
    Ok(String::new())
}

fn main() {
    let _service: Router<Databases> = Router::new().route("/copy", get(copy));
}
