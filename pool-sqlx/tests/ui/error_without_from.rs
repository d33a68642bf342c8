use pool_sqlx::{SqliteConn, axum::http::StatusCode, pooled};

#[pooled]
async fn list(_conn: &mut SqliteConn) -> Result<(), String> {
    Ok(())
}

enum ApiError {}

#[pooled]
async fn of_ours(_conn: &mut SqliteConn) -> Result<(), ApiError> {
    Ok(())
}

#[pooled]
async fn status(_conn: &mut SqliteConn) -> Result<(), (StatusCode, String)> {
    Ok(())
}

fn main() {}
