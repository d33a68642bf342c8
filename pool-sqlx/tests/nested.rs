//! A `#[pooled]` function that holds a connection and asks its pool for another.
#![allow(clippy::unwrap_used)]

mod common;

use common::File;
use pool_core::{Nested, Verdict};
use pool_sqlx::{Error, SqliteConn, SqlitePool, SqliteTx, pooled};
use std::time::{Duration, Instant};

async fn asks_again(pool: &SqlitePool) -> Result<(), Error> {
    sqlx::query("select 1").execute(pool).await?;
    Ok(())
}

#[pooled]
async fn by_connection(pool: SqlitePool, _conn: &mut SqliteConn) -> Result<(), Error> {
    asks_again(&pool).await
}

#[pooled]
async fn by_transaction(pool: SqlitePool, _tx: &mut SqliteTx) -> Result<(), Error> {
    asks_again(&pool).await
}

#[pooled]
async fn by_sqlx(pool: SqlitePool, _conn: &mut sqlx::SqliteConnection) -> Result<(), Error> {
    asks_again(&pool).await
}

/// Given its connection by value, it may have given it back already.
#[pooled]
async fn by_value(pool: SqlitePool, conn: SqliteConn) -> Result<(), Error> {
    drop(conn);
    asks_again(&pool).await
}

#[tokio::test]
async fn a_pool_full_of_functions_that_ask_again_says_so_at_once() {
    let file = File::new();
    let settings = file.settings().with_pool_size(1u32).with_max_overflow(0u32);
    let pool = SqlitePool::connect_lazy(settings.with_pool_timeout(Duration::from_secs(30))).unwrap();
    let begun = Instant::now();
    for error in [
        by_connection(pool.clone(), pool.clone()).await.unwrap_err(),
        by_transaction(pool.clone(), pool.clone()).await.unwrap_err(),
        by_sqlx(pool.clone(), pool.clone()).await.unwrap_err(),
    ] {
        assert_eq!(error.verdict(), Some(Verdict::Nested), "{error}");
        assert!(error.to_string().contains("nested::by_"), "the holder is named: {error}");
    }
    by_value(pool.clone(), pool.clone()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "none waited for pool_timeout");
}

#[tokio::test]
async fn where_it_is_denied_it_is_refused_although_there_is_room() {
    let file = File::new();
    let settings = file.settings().with_pool_size(5u32).with_nested(Nested::Deny);
    let pool = SqlitePool::connect_lazy(settings).unwrap();
    let error = by_connection(pool.clone(), pool.clone()).await.unwrap_err();
    assert_eq!((error.verdict(), error.status()), (Some(Verdict::Nested), 503));
    assert!(asks_again(&pool).await.is_ok());
}
