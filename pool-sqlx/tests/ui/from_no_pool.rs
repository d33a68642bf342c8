use pool_sqlx::{Error, SqliteConn, pooled};

struct Service {
    db: String,
}

impl Service {
    #[pooled(from = self.db)]
    async fn list(&self, _conn: &mut SqliteConn) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
