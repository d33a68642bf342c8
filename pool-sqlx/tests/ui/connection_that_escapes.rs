use pool_sqlx::{Error, SqliteConn, axum::body::Body, pooled, sqlx};

#[pooled]
async fn list<'c>(conn: &'c mut SqliteConn, _name: &'c str) -> Result<&'c mut SqliteConn, Error> {
    Ok(conn)
}

/// As `tokio::spawn` asks it.
fn spawn<F: Future + Send + 'static>(_: F) {}

#[pooled]
async fn in_a_task(conn: &mut SqliteConn) -> Result<(), Error> {
    spawn(async move { sqlx::query("select 1").execute(conn).await });
    Ok(())
}

#[pooled]
async fn in_a_body(conn: &mut SqliteConn) -> Result<Body, Error> {
    Ok(Body::from_stream(sqlx::query_scalar::<_, String>("select 1").fetch(conn)))
}

fn main() {}
