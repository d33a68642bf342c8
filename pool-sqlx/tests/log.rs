//! What the log says of a refusal. Alone in its process: a subscriber is everybody's.
#![allow(clippy::unwrap_used)]

mod common;

use axum::response::IntoResponse;
use std::time::Duration;

#[tokio::test]
async fn a_refusal_is_logged_once_where_it_is_answered_with_all_that_an_operator_asks() {
    let (log, file) = (common::Log::default(), common::File::new());
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let pool = file.one();
    let _held = pool.acquire().await.unwrap();
    let error = pool.acquire_timeout(Duration::from_millis(10)).await.unwrap_err();
    // On its way through sqlx and back nobody logs it.
    let error = pool_sqlx::Error::from(sqlx::Error::from(error));
    assert_eq!(error.into_response().status(), 503);

    let log = log.text();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    for part in [
        "limit of size 1 overflow 0 reached",
        "in use 1 of 1",
        "waiting 0",
        "longest holder",
        "log.rs:",
        "errors/exhausted",
    ] {
        assert!(lines[0].contains(part), "{part:?} is missing in: {}", lines[0]);
    }
}
