use pool_sqlx::{Error, SqliteConn, pooled};

type Db = SqliteConn;

#[pooled(read_only)]
async fn report(#[conn] _db: &mut Db) -> Result<(), Error> {
    Ok(())
}

fn main() {}
