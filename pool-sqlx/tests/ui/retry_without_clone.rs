use pool_sqlx::{Error, SqliteTx, pooled};

struct Seat;

#[pooled(retry = 2)]
async fn reserve(_tx: &mut SqliteTx, _seat: Seat) -> Result<(), Error> {
    Ok(())
}

fn main() {}
