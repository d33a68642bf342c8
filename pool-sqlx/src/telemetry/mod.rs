//! What telemetry is told: OpenTelemetry metrics, and spans through `tracing`.
//!
//! The pool counts anyway, so most of the metrics are read when somebody asks for them. Only the time of statements is recorded as they end.

mod acquire;
mod names;
mod sql;
mod statement;

#[cfg(any(feature = "otel-0-33", feature = "otel-0-32"))]
use crate::Watchable;
pub(crate) use acquire::waiting;
pub use names::{METRICS, Metric, MetricKind};
pub(crate) use statement::{Recorders, Watch, Within};
#[cfg(any(feature = "otel-0-33", feature = "otel-0-32"))]
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Metrics for OpenTelemetry 0.33.
///
/// Call [`install`](otel_0_33::install) after the telemetry is set up, once for each provider. What is sent is in the book's reference of
/// metrics.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_sqlx::{DatabaseSettings, SqlitePool};
///
/// let pool = SqlitePool::connect_lazy(DatabaseSettings::new("sqlite::memory:")?)?;
/// // After `global::set_meter_provider`. A struct with #[derive(Pools)] will do as well.
/// pool_sqlx::otel_0_33::install_global(&pool);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
#[cfg(feature = "otel-0-33")]
#[cfg_attr(docsrs, doc(cfg(feature = "otel-0-33")))]
pub mod otel_0_33 {
    use opentelemetry_0_33 as otel;
    const VERSION: &str = "0.33";
    include!("metrics.rs");
}

/// Metrics for OpenTelemetry 0.32, which `logfire` 0.13 is made for. As [`otel_0_33`](crate::otel_0_33), from the same source.
#[cfg(feature = "otel-0-32")]
#[cfg_attr(docsrs, doc(cfg(feature = "otel-0-32")))]
pub mod otel_0_32 {
    use opentelemetry_0_32 as otel;
    const VERSION: &str = "0.32";
    include!("metrics.rs");
}

/// Warns once, if by then nobody has read the metrics: OpenTelemetry itself loses them without a word.
#[cfg(any(feature = "otel-0-33", feature = "otel-0-32"))]
fn warn_unless_read(read: Arc<AtomicBool>, version: &'static str) {
    // Without a runtime there is nobody to wait for it.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let asked = std::env::var("OTEL_METRIC_EXPORT_INTERVAL").ok().and_then(|millis| millis.parse().ok());
    // The SDK's own default is a minute.
    let patience = asked.map_or(Duration::from_secs(60), Duration::from_millis) * 3 / 2;
    runtime.spawn(async move {
        tokio::time::sleep(patience).await;
        if !read.load(Ordering::Relaxed) {
            tracing::warn!(
                target: "pool",
                "nobody has read the metrics of the pools in the {patience:?} since they were installed for OpenTelemetry {version}: was the \
                 telemetry set up after that, or with another version (features otel-0-33, otel-0-32), or does nothing collect them? see \
                 guide/watching"
            );
        }
    });
}

/// Names for the pools, each one once: of two pools with one name the second is `main#2`.
#[cfg(any(feature = "otel-0-33", feature = "otel-0-32"))]
fn unique_names(pools: &(impl Watchable + ?Sized)) -> Vec<(String, crate::Watched)> {
    let mut named: Vec<(String, crate::Watched)> = Vec::new();
    for pool in pools.watched() {
        let name = pool.name();
        let mut numbers = 2..;
        let mut unique = name.clone();
        while named.iter().any(|(taken, _)| *taken == unique) {
            unique = format!("{name}#{}", numbers.next().expect("BUG: numbers do not end"));
        }
        if unique != name {
            tracing::warn!(target: "pool", pool = name, "two pools are called {name}: metrics call the second {unique}; see with_name");
        }
        named.push((unique, pool));
    }
    named
}
