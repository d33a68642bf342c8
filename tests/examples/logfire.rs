//! Metrics, spans and log lines to Pydantic Logfire, with `LOGFIRE_TOKEN`: `cargo run -p tests --example logfire`.
//!
//! logfire 0.13 is on OpenTelemetry 0.32. What is measured for another version would be lost without a word, so it has to be `otel_0_32`.

use logfire::config::MetricsOptions;
use pool_sqlx::{DatabaseSettings, SqlitePool, otel_0_32};
use tracing::level_filters::LevelFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Not needed with logfire's own feature `tls-aws-lc`.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Inside of a runtime. Metrics are sent if they are asked for, and what is below INFO is left out.
    let logfire = logfire::configure().with_metrics(Some(MetricsOptions::default()));
    let logfire = logfire.with_default_level_filter(LevelFilter::INFO).finish()?;

    let pool = SqlitePool::connect(DatabaseSettings::new("sqlite::memory:")?).await?;
    otel_0_32::install_global(&pool); // after `finish`, which sets the global provider
    {
        let _request = logfire::span!("request").entered();
        sqlx::query("select 'a secret'").execute(&pool).await?;
        logfire::info!("answered");
    }

    let last = logfire.clone();
    tokio::task::spawn_blocking(move || last.force_flush()).await??; // tells the last interval, so before the pool goes
    let _ = pool.close().await; // SQLite's own thread has let go of the last statement's span then
    tokio::task::spawn_blocking(move || logfire.shutdown()).await??;
    Ok(())
}
