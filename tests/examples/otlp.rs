//! Metrics, spans and log lines by OTLP to a collector at `OTEL_EXPORTER_OTLP_ENDPOINT`: `cargo run -p tests --example otlp`.

use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter};
use opentelemetry_sdk::{logs::SdkLoggerProvider, metrics::SdkMeterProvider, trace::SdkTracerProvider};
use pool_sqlx::{DatabaseSettings, SqlitePool, otel_0_33};
use tracing::{Instrument, Level, info_span};
use tracing_subscriber::{filter::Targets, prelude::*};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // For endpoints of https: reqwest is told whose TLS to use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = MetricExporter::builder().with_http().build()?;
    let spans = SpanExporter::builder().with_http().build()?;
    let logs = LogExporter::builder().with_http().build()?;
    let metrics = SdkMeterProvider::builder().with_periodic_exporter(metrics).build();
    let spans = SdkTracerProvider::builder().with_batch_exporter(spans).build();
    let logs = SdkLoggerProvider::builder().with_batch_exporter(logs).build();
    // Not what the exporters say of themselves, which would go round and round.
    let quiet = ["hyper", "opentelemetry", "reqwest"].map(|target| (target, Level::ERROR));
    let filter = Targets::new().with_default(Level::INFO).with_targets(quiet);
    tracing_subscriber::registry()
        .with(filter)
        .with(tracing_opentelemetry::layer().with_tracer(spans.tracer("example")))
        .with(OpenTelemetryTracingBridge::new(&logs))
        .init();

    let pool = SqlitePool::connect(DatabaseSettings::new("sqlite::memory:")?).await?;
    otel_0_33::install(&metrics, &pool);
    let request = async {
        sqlx::query("select 'a secret'").execute(&pool).await?;
        tracing::info!("answered");
        anyhow::Ok(())
    };
    request.instrument(info_span!("request")).await?;

    metrics.shutdown()?; // tells the last interval, so before the pool goes
    let _ = pool.close().await; // SQLite's own thread has let go of the last statement's span then
    spans.shutdown()?;
    logs.shutdown()?;
    Ok(())
}
