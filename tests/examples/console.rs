//! Metrics and spans on the console, to see what there is: `cargo run -p tests --example console`.

use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_stdout::MetricExporter;
use pool_sqlx::{DatabaseSettings, SqlitePool, otel_0_33};
use tracing_subscriber::fmt::format::FmtSpan;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_span_events(FmtSpan::CLOSE).init(); // a line for each statement, as it ends
    let provider = SdkMeterProvider::builder().with_periodic_exporter(MetricExporter::default()).build();

    let pool = SqlitePool::connect(DatabaseSettings::new("sqlite::memory:")?).await?;
    otel_0_33::install(&provider, &pool);
    sqlx::query("select 'a secret'").execute(&pool).await?;

    provider.shutdown()?; // tells the last interval, so before the pool goes
    let _ = pool.close().await; // SQLite's own thread has let go of the last statement's span then
    Ok(())
}
