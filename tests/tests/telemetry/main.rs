//! What a service tells of its pools, asked for where it arrives: at a collector that decodes OTLP, at a real Prometheus, at logfire's SDK,
//! on the console.
#![allow(clippy::unwrap_used)]

mod collector;
mod log;
mod metrics;
mod outlets;
mod spans;

use std::sync::LazyLock;

/// reqwest, as logfire has it built, is told whose TLS to use, even where there is none.
fn choose_tls() {
    // Whoever comes second finds it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Has `tracing` ask every subscriber there is: while there is one only, it asks that of the thread which comes first, and keeps to the answer.
fn ask_all_subscribers() {
    static ANOTHER: LazyLock<tracing::Dispatch> =
        LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));
    LazyLock::force(&ANOTHER);
}
