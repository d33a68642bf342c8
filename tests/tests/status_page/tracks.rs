//! A service for tracks on a busy day, for the book's picture.

use pool_sqlx::{DatabaseSettings, Error, SqliteConn, SqlitePool, pooled};
use std::time::Duration;
use tokio::task::JoinSet;

/// How many clients there are, and for how many seconds: calm at first, then more than the pool can take.
const DAY: [(u64, u64); 6] = [(8, 60), (12, 60), (22, 40), (34, 40), (60, 35), (200, 25)];

/// The requirement document's sizes.
pub(crate) fn settings() -> DatabaseSettings {
    let settings = DatabaseSettings::new("sqlite::memory:").unwrap().with_name("primary");
    settings.with_pool_size(10).with_max_overflow(5).with_pool_timeout(Duration::from_secs(2))
}

/// Has a day pass. The last clients go on until they are dropped.
pub(crate) async fn clients(pool: &SqlitePool) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for (n, seconds) in DAY {
        for number in clients.len() as u64..n {
            clients.spawn(client(pool.clone(), number));
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    clients
}

async fn client(pool: SqlitePool, number: u64) {
    loop {
        // Whether it got one is for the page to say.
        let _ = match number % 4 {
            0 => listen(pool.clone()).await,
            _ => list(pool.clone()).await,
        };
        tokio::time::sleep(Duration::from_millis(150 + number * 37 % 400)).await;
    }
}

#[pooled]
async fn list(conn: &mut SqliteConn) -> Result<(), Error> {
    sqlx::query("select 1").execute(conn).await?;
    tokio::time::sleep(Duration::from_millis(80)).await;
    Ok(())
}

#[pooled]
async fn listen(conn: &mut SqliteConn) -> Result<(), Error> {
    sqlx::query("select 1").execute(conn).await?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    Ok(())
}
