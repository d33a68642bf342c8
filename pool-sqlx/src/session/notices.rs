//! Log lines for errors that a caller gets, in the caller's context. An HTTP answer logs its own error, but not every caller sends one.

use crate::{Error, Verdict};
use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Shortest time between two lines of a kind. A pool that fails returns errors to all callers, and their answers are logged as well.
const APART: Duration = Duration::from_secs(1);

/// What was logged of a pool.
#[derive(Default)]
pub(crate) struct Notices {
    acquires: Throttle,
    statements: Throttle,
}

impl Notices {
    /// An acquire has ended with an error.
    pub(crate) fn refused(&self, pool: &str, verdict: Verdict, said: &dyn fmt::Display) {
        if let Some(more) = self.acquires.pass(Instant::now()) {
            tracing::info!(target: "pool::acquire", pool, "error.type" = verdict.code(), more, "{said}");
        }
    }

    /// A statement has run out of time.
    pub(crate) fn timed_out(&self, pool: &str, error: &Error) {
        if let Some(more) = self.statements.pass(Instant::now()) {
            tracing::info!(target: "pool::statement", pool, "error.type" = "statement_timeout", more, "{error}");
        }
    }
}

/// When the last line was written, and how many were left out since. Signed: OpenTelemetry has no unsigned numbers.
#[derive(Default)]
struct Throttle(Mutex<(Option<Instant>, i64)>);

impl Throttle {
    /// Whether another line may be written. Returns how many were left out since the last one.
    fn pass(&self, now: Instant) -> Option<i64> {
        // A poisoned lock is used on: no code under it can panic in the middle of a change.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, more) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < APART) {
            *more += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_line_comes_in_a_second_and_has_the_number_of_those_left_out() {
        let (throttle, begun) = (Throttle::default(), Instant::now());
        let at = |millis| throttle.pass(begun + Duration::from_millis(millis));
        assert_eq!(
            [at(0), at(10), at(999), at(1000), at(1500), at(5000), at(6000)],
            [Some(0), None, None, Some(2), None, Some(1), Some(0)]
        );
    }
}
