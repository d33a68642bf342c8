use pool_sqlx::{SqliteConn, pooled};

struct ListResult;

#[pooled]
async fn list(_conn: &mut SqliteConn) -> ListResult {
    ListResult
}

fn main() {}
