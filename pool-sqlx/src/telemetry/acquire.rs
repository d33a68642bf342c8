//! An acquire as telemetry sees it: a span if it waits, an event if it fails.

use pool_core::{AcquireError, Site};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};
use tokio::time::Instant;
use tracing::{Level, Span, field::Empty};

/// How long an acquire waits without a word of it in the trace. A span for each would double what a trace costs and say nothing.
const UNTOLD: Duration = Duration::from_millis(1);

/// Waits for a connection, with a span `pool.acquire` once that has taken a millisecond, and an event when there was none to be had.
///
/// The span begins when it is clear that there is something to tell, since one cannot be dated back: its field `pool.wait` has the whole
/// time. Costs one load when nobody looks.
pub(crate) async fn waiting<T, E>(
    pool: &str,
    site: Site,
    acquire: impl Future<Output = Result<T, AcquireError<E>>>,
) -> Result<T, AcquireError<E>> {
    let mut acquire = pin!(acquire);
    if !tracing::span_enabled!(target: "pool::acquire", Level::INFO, otel.name) {
        return acquire.await;
    }
    let first = poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx))).await;
    match first {
        Poll::Ready(outcome) => {
            if let Err(error) = &outcome {
                tell(pool, site, error);
            }
            outcome
        }
        // Boxed for the size of the futures of those who need not wait.
        Poll::Pending => Box::pin(with_span(pool, site, acquire)).await,
    }
}

async fn with_span<T, E>(
    pool: &str,
    site: Site,
    mut acquire: Pin<&mut impl Future<Output = Result<T, AcquireError<E>>>>,
) -> Result<T, AcquireError<E>> {
    let asked = Instant::now();
    let mut alarm = tokio::runtime::Handle::try_current().is_ok().then(|| Box::pin(tokio::time::sleep(UNTOLD)));
    let mut span = Span::none();
    let outcome = poll_fn(|cx| {
        let outcome = span.in_scope(|| acquire.as_mut().poll(cx));
        if outcome.is_pending() && alarm.as_mut().is_some_and(|alarm| alarm.as_mut().poll(cx).is_ready()) {
            alarm = None;
            span = tracing::info_span!(
                target: "pool::acquire",
                "pool.acquire",
                otel.kind = "internal",
                otel.status_code = Empty,
                db.client.connection.pool.name = pool,
                pool.site = %site,
                pool.wait = Empty,
                "error.type" = Empty,
            );
        }
        outcome
    })
    .await;
    span.record("pool.wait", asked.elapsed().as_secs_f64());
    if let Err(error) = &outcome {
        span.record("error.type", error_type(error));
        span.record("otel.status_code", "ERROR");
        span.in_scope(|| tell(pool, site, error));
    }
    outcome
}

/// Tells the caller's trace in short. Whoever answers for the error tells the log the whole story.
fn tell<E>(pool: &str, site: Site, error: &AcquireError<E>) {
    tracing::info!(
        target: "pool::acquire",
        pool,
        pool.site = %site,
        pool.verdict = error.verdict().code(),
        pool.wait = error.waited().as_secs_f64(),
        "error.type" = error_type(error),
        "no connection for {site}: {}",
        error.verdict().code(),
    );
}

/// What the conventions ask for: one word, the same for all that is of one kind.
fn error_type<E>(error: &AcquireError<E>) -> &'static str {
    match error.is_timeout() {
        true => "pool_timeout",
        false => error.verdict().code(),
    }
}
