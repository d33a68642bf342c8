//! An acquire as telemetry sees it: a span, if it waits or fails.

use pool_core::{Site, Verdict};
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

/// How long a caller waited in vain, and why it got nothing.
type Reason<E> = fn(&E) -> (Duration, Verdict);

/// Waits for a connection, or for a place within a function's limit, within a span `pool.acquire` once that has taken a millisecond. One
/// that fails has a span in any case. Dropped while it waits, the span says `cancelled`.
///
/// The span begins when it is clear that there is something to tell, since one cannot be dated back: its field `pool.wait` has the whole
/// time.
///
/// Costs one load when nobody looks.
pub(crate) async fn waiting<T, E>(
    pool: &str,
    site: Site,
    acquire: impl Future<Output = Result<T, E>>,
    reason: Reason<E>,
) -> Result<T, E> {
    let mut acquire = pin!(acquire);
    if !tracing::span_enabled!(target: "pool::acquire", Level::INFO, otel.name) {
        return acquire.await;
    }
    let asked = Instant::now();
    let first = poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx))).await;
    match first {
        Poll::Ready(outcome) => {
            if let Err(error) = &outcome {
                failed(&span_of(pool, site), reason(error));
            }
            outcome
        }
        // Boxed for the size of the futures of those who need not wait.
        Poll::Pending => {
            Box::pin(within_span(Wait { pool, site, asked, span: None, is_over: false }, acquire, reason)).await
        }
    }
}

async fn within_span<T, E>(
    mut wait: Wait<'_>,
    mut acquire: Pin<&mut impl Future<Output = Result<T, E>>>,
    reason: Reason<E>,
) -> Result<T, E> {
    // Outside of a runtime there is no clock to wake us: then only what ends without a connection is told.
    let mut alarm = tokio::runtime::Handle::try_current().ok().map(|_| Box::pin(tokio::time::sleep(UNTOLD)));
    let outcome = poll_fn(|cx| {
        let outcome = acquire.as_mut().poll(cx);
        if outcome.is_pending() && alarm.as_mut().is_some_and(|alarm| alarm.as_mut().poll(cx).is_ready()) {
            alarm = None;
            wait.span();
        }
        outcome
    })
    .await;
    wait.over(outcome.as_ref().err().map(reason));
    outcome
}

/// A wait under way. Dropped before it is over, it was cancelled.
struct Wait<'a> {
    pool: &'a str,
    site: Site,
    asked: Instant,
    span: Option<Span>,
    is_over: bool,
}

impl Wait<'_> {
    /// Its span, which begins now if it has not yet.
    fn span(&mut self) -> &Span {
        self.span.get_or_insert_with(|| span_of(self.pool, self.site))
    }

    fn over(mut self, in_vain: Option<(Duration, Verdict)>) {
        self.is_over = true;
        if let Some(reason) = in_vain {
            failed(self.span(), reason);
        } else if let Some(span) = &self.span {
            span.record("pool.wait", self.asked.elapsed().as_secs_f64());
        }
    }
}

/// Nobody waits for the connection any more. As with a statement, that is no error of the trace.
impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let waited = self.asked.elapsed();
        if self.span.is_some() || waited >= UNTOLD {
            let span = self.span();
            span.record("pool.wait", waited.as_secs_f64());
            span.record("error.type", "cancelled");
        }
    }
}

fn span_of(pool: &str, site: Site) -> Span {
    tracing::info_span!(
        target: "pool::acquire",
        "pool.acquire",
        otel.kind = "internal",
        otel.status_code = Empty,
        db.client.connection.pool.name = pool,
        pool.site = %site,
        pool.wait = Empty,
        "error.type" = Empty,
    )
}

fn failed(span: &Span, (waited, verdict): (Duration, Verdict)) {
    span.record("pool.wait", waited.as_secs_f64());
    span.record("error.type", verdict.code());
    span.record("otel.status_code", "ERROR");
}
