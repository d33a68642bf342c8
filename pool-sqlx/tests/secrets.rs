//! No secret in any log. Alone in its process: a subscriber is everybody's.
#![allow(clippy::unwrap_used)]

mod common;

use pool_sqlx::{DatabaseSettings, PgPool};
use std::time::Duration;

#[tokio::test]
async fn secret_parts_of_a_url_are_in_no_log_at_any_level() {
    let log = common::Log::default();
    let writer = log.clone();
    let everything = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    everything.with_writer(move || writer.clone()).init();
    // Nobody listens on port 1.
    let url =
        "postgres://app:hunter2@127.0.0.1:1/app?sslpassword=hunter2&%73slpassphrase=hunter2&hunter2&connect_timeout=3";
    let settings = DatabaseSettings::new(url).unwrap().with_pool_timeout(Duration::from_millis(50));
    let error = PgPool::connect(settings).await.unwrap_err();

    let log = log.text();
    assert!(!log.contains("hunter2") && !error.to_string().contains("hunter2"), "{log}{error}");
    for line in ["parameter sslpassword is not known", "parameter sslpassphrase is", "is a setting connection_timeout"]
    {
        assert!(log.contains(line), "{line:?} is missing in: {log}");
    }
}
