//! Metrics for Prometheus to fetch from `/metrics`, at `ADDR` (127.0.0.1:3000): `cargo run -p tests --example prometheus`.

use axum::{Router, extract::State, routing::get};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use pool_sqlx::{DatabaseSettings, Error, SqliteConn, SqlitePool, otel_0_33, pooled};
use prometheus::{Registry, TextEncoder};

#[pooled]
async fn answer(conn: &mut SqliteConn) -> Result<String, Error> {
    let answer: i64 = sqlx::query_scalar("select 6 * 7").fetch_one(conn).await?;
    Ok(answer.to_string())
}

async fn metrics(State(registry): State<Registry>) -> String {
    TextEncoder::new().encode_to_string(&registry.gather()).expect("names are those of Prometheus")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let registry = Registry::new();
    // Without `otel_scope_…` labels, which say the same on every series.
    let exporter =
        opentelemetry_prometheus::exporter().with_registry(registry.clone()).scope_info_enabled(false).build()?;
    let provider = SdkMeterProvider::builder().with_reader(exporter).build();

    let pool = SqlitePool::connect(DatabaseSettings::new("sqlite::memory:")?.with_name("primary")).await?;
    otel_0_33::install(&provider, &pool);
    let app = Router::new().route("/", get(answer)).with_state(pool.clone());
    let app = app.route("/metrics", get(metrics).with_state(registry));

    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}/metrics", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) }).await?;
    println!("{}", pool.close().await);
    Ok(())
}
