//! What the examples have in common: their settings, their log, and how they are asked to stop.
#![allow(dead_code, reason = "no example needs all of it")]

use pool_sqlx::{
    ConfigError, DatabaseSettings,
    figment::{Figment, providers::Serialized},
};
use std::io::IsTerminal;

/// `Pool.toml` and the `DATABASE_*` variables; under them each of these databases has this url.
pub(crate) fn figment(databases: &[(&str, String)]) -> Figment {
    let names: Vec<&str> = databases.iter().map(|(name, _)| *name).collect();
    databases.iter().fold(DatabaseSettings::figment_for(&names), |figment, (name, url)| {
        figment.join(Serialized::default(&format!("databases.{name}.url"), url))
    })
}

/// The url of a SQLite file among the temporary files, which need not exist.
pub(crate) fn sqlite(file: &str) -> String {
    format!("sqlite://{}", std::env::temp_dir().join(file).display())
}

/// Whether the primary database is PostgreSQL. Says which it is.
pub(crate) fn is_postgres(figment: &Figment) -> Result<bool, ConfigError> {
    let settings = DatabaseSettings::from(figment, "primary")?;
    tracing::info!("database {}", settings.url);
    Ok(settings.url.expose().starts_with("postgres"))
}

/// Logs to standard error; `RUST_LOG` says what.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,sqlx=warn".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}

/// Where to listen: `ADDR`, or 127.0.0.1:3000.
pub(crate) fn address() -> String {
    std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into())
}

/// Ends with SIGINT or SIGTERM.
pub(crate) async fn asked_to_stop() {
    let interrupt = async { tokio::signal::ctrl_c().await.expect("the signal handler can be set") };
    #[cfg(unix)]
    let terminate = async {
        let kind = tokio::signal::unix::SignalKind::terminate();
        tokio::signal::unix::signal(kind).expect("the signal handler can be set").recv().await
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        _ = terminate => {}
    }
    tracing::info!("stopping");
}
