//! Administration of a pool of sqlx connections, and an application's own 503 path without a database.
#![allow(clippy::unwrap_used)]

mod common;

use common::File;
use pool_sqlx::{DatabaseSettings, ErrorKind, Event, Pause, PgPool, Startup, Verdict};
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
