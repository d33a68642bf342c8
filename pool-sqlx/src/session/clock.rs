//! How long the server takes for a statement.

use crate::backend::{Backend, Keeper};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};
use tokio::time::Instant;

/// How much longer than the server's own limit we wait for its answer: the server has to notice, and the answer has to arrive.
pub(super) const MARGIN: Duration = Duration::from_millis(500);

/// What a statement is allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) statement_timeout_status: u16,
    pub(crate) kept_by: Keeper,
    /// The session's limit on the server, where it differs from the pool's for this loan or this transaction.
    pub(crate) told: Option<Duration>,
}

/// A statement's time, counted only while the server is waited for.
pub(super) struct Clock<'l> {
    pub(super) limits: &'l Limits,
    used: Duration,
}

/// The server did not answer.
pub(super) struct Silent;

impl<'l> Clock<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self { limits, used: Duration::ZERO }
    }

    pub(super) async fn wait<DB: Backend, F: Future>(
        &mut self,
        state: &DB::State,
        answer: F,
    ) -> Result<F::Output, Silent> {
        let Some(limit) = self.limits.statement_timeout else { return Ok(answer.await) };
        let mut answer = pin!(answer);
        // An answer that has already arrived costs no system call for the time.
        let first = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        if let Poll::Ready(answer) = first {
            return Ok(answer);
        }
        let (asked, left) = (Instant::now(), limit.saturating_sub(self.used));
        DB::deadline(state, Some(left));
        // If this is dropped here, the deadline stays, and ends the abandoned statement.
        let answer = tokio::time::timeout(left + self.margin(), answer).await;
        DB::deadline(state, None);
        self.used += asked.elapsed();
        answer.map_err(|_| Silent)
    }

    /// How much longer than the limit we wait if another side is to end the statement.
    fn margin(&self) -> Duration {
        match self.limits.kept_by {
            Keeper::Server => MARGIN,
            Keeper::Both => MARGIN / 5,
            Keeper::Us => Duration::ZERO,
        }
    }

    /// Whether the server may well have stopped the statement by its own limit.
    pub(super) fn is_up(&self) -> bool {
        self.limits.statement_timeout.is_some_and(|limit| self.used >= limit)
    }
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use super::*;

    const TWO_SECONDS: Limits = Limits {
        statement_timeout: Some(Duration::from_secs(2)),
        statement_timeout_status: 503,
        kept_by: Keeper::Server,
        told: None,
    };

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up_after_the_limit_and_the_margin() {
        let (began, mut clock) = (Instant::now(), Clock::new(&TWO_SECONDS));
        assert!(clock.wait::<sqlx::Postgres, _>(&Default::default(), std::future::pending::<()>()).await.is_err());
        assert_eq!(began.elapsed(), Duration::from_millis(2500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_does_not_use_up_the_server_s_time() {
        let mut clock = Clock::new(&TWO_SECONDS);
        for _ in 0..10 {
            let row = tokio::time::sleep(Duration::from_millis(100));
            assert!(clock.wait::<sqlx::Postgres, _>(&Default::default(), row).await.is_ok());
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(clock.used, Duration::from_secs(1));
        assert!(
            clock
                .wait::<sqlx::Postgres, _>(&Default::default(), tokio::time::sleep(Duration::from_millis(1600)))
                .await
                .is_err()
        );
    }
}
