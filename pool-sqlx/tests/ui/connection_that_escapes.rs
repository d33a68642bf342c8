use pool_sqlx::{Error, SqliteConn, pooled};

#[pooled]
async fn list<'c>(conn: &'c mut SqliteConn, _name: &'c str) -> Result<&'c mut SqliteConn, Error> {
    Ok(conn)
}

fn main() {}
