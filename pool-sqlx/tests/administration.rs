//! Administration of a pool of sqlx connections, and an application's own 503 path without a database.
#![allow(clippy::unwrap_used)]

mod common;

use common::File;
use pool_sqlx::{DatabaseSettings, ErrorKind, Event, Pause, PgPool, SqlitePool, Startup, Verdict};
use std::{sync::mpsc, time::Duration};

#[tokio::test]
async fn a_pool_is_paused_resumed_resized_and_watched() {
    let file = File::new();
    let pool = file.one();
    let (tell, told) = mpsc::channel();
    pool.observe(move |event: &Event| drop(tell.send(event.clone())));
    sqlx::query("select 1").execute(&pool).await.unwrap();
    assert!(matches!(told.recv().unwrap(), Event::Opened { .. }));
    pool.pause(Pause::Refuse);
    assert_eq!(pool.acquire().await.unwrap_err().kind(), ErrorKind::Refused);
    pool.resume();
    pool.reconfigure(|settings| settings.with_pool_size(2)).unwrap();
    let both = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    assert_eq!(pool.status().in_use, 2);
    drop(both);
    assert_eq!(pool.timings().hold.count(), 3);
    assert!(pool.reconfigure(|settings| settings.with_min_idle(9)).is_err());
}

#[tokio::test]
async fn a_503_is_tested_without_a_database() {
    let pool = PgPool::connect_lazy(DatabaseSettings::new("postgres://app@nowhere.invalid/app").unwrap()).unwrap();
    pool.inject(Verdict::Exhausted);
    let error = pool.acquire().await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::PoolTimeout, 503));
    assert!(error.retry_after().is_some());
}

#[tokio::test]
async fn a_service_chooses_what_to_do_when_the_database_is_not_there() {
    let nobody = || DatabaseSettings::new("postgres://app@127.0.0.1:1/app").unwrap();
    let pool = PgPool::connect_with(nobody(), Startup::Anyway).await.unwrap();
    assert_eq!(pool.status().open, 0);
    for startup in [Startup::FailFast, Startup::WaitUpTo(Duration::from_secs(1))] {
        let error = PgPool::connect_with(nobody(), startup).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Connect && error.to_string().contains("refused"), "{startup:?}: {error}");
    }
}

#[tokio::test]
async fn a_pool_answers_to_the_names_that_sqlx_has() {
    let file = File::new();
    let url = file.settings().url.expose().to_owned();
    let pool = SqlitePool::connect(url.as_str()).await.unwrap();
    assert_eq!((pool.name(), pool.is_closed()), ("pool", false));
    assert_eq!(pool.size(), pool.num_idle());
    let tx = pool.try_begin().await.unwrap().expect("one is idle");
    assert_eq!(pool.num_idle() + 1, pool.size());
    tx.rollback().await.unwrap();
    let conn = pool.acquire().await.unwrap();
    conn.close().await;
    pool.acquire().await.unwrap().discard();
    while pool.status().closing > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(u64::from(pool.size()) + 2, pool.status().totals.opened, "neither was given back");
    pool.close().await;
    assert!(pool.is_closed());
    assert!(SqlitePool::connect_lazy(url).is_ok(), "a String will do");
    let error = SqlitePool::connect("nonsense").await.unwrap_err();
    assert_eq!(error.kind(), pool_sqlx::ErrorKind::Config);
}

#[tokio::test]
async fn a_transaction_that_would_have_to_wait_is_none() {
    let file = File::new();
    let pool = file.one();
    let held = pool.acquire().await.unwrap();
    assert!(pool.try_begin().await.unwrap().is_none());
    drop(held);
    pool.close().await;
    assert!(pool.try_begin().await.is_err(), "it will never do");
}
