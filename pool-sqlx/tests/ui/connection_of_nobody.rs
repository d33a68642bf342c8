use pool_sqlx::{Error, pooled};

struct OldConn;

#[pooled]
async fn list(_conn: &mut OldConn) -> Result<(), Error> {
    Ok(())
}

fn main() {}
