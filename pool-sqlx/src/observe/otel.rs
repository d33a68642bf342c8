//! Metrics for OpenTelemetry, once for each of its versions.
//!
//! The pool counts anyway, so most of the metrics are read when somebody asks for them. Only the time of statements is recorded as they end.

/// Metrics for OpenTelemetry 0.33.
///
/// Call [`install`](otel_0_33::install) after the telemetry is set up. What is sent is in the book's reference of
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
pub mod otel_0_33 {
    use opentelemetry_0_33 as otel;
    const VERSION: &str = "0.33";
    include!("metrics.rs");
}

/// Metrics for OpenTelemetry 0.32, which `logfire` 0.13 is made for. As [`otel_0_33`](crate::otel_0_33), from the same source.
#[cfg(feature = "otel-0-32")]
pub mod otel_0_32 {
    use opentelemetry_0_32 as otel;
    const VERSION: &str = "0.32";
    include!("metrics.rs");
}
