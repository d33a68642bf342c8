use pool_sqlx::{SqliteConn, pooled};

#[pooled]
async fn list(_conn: &mut SqliteConn) -> Result<(), String> {
    Ok(())
}

fn main() {}
