use pool_sqlx::{Error, SqliteTx, pooled};

struct AnyError;

impl From<Error> for AnyError {
    fn from(_: Error) -> Self {
        Self
    }
}

#[pooled(retry = 2)]
async fn reserve(_tx: &mut SqliteTx) -> Result<(), AnyError> {
    Ok(())
}

fn main() {}
