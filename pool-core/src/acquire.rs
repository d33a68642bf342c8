//! The caller's side: a ticket, and no I/O.

use crate::{
    AcquireError, ConnectError, ErrorClass, Manager, Pooled, Site, Verdict,
    error::{Cause, Failure},
    shared::{Shared, here},
    state::{Arrival, Collected, LOOK, NEVER, Ns, Refusal, Wait, nanos, queue::Ticket},
};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, sleep_until};

/// Waits for a connection. Made by [`Pool::acquire`](crate::Pool::acquire) and its siblings; the time runs from the first poll.
///
/// # Cancel safety
///
/// It does no I/O, so dropping it at any moment loses nothing: a place in the queue is given up, a connection that was granted already
/// goes to the next caller, and a connect that was begun for it goes on and serves whoever needs it.
///
/// # Fairness
///
/// Callers are served in the order of their first poll, and nobody overtakes.
///
/// # Panics
///
/// If it has to wait, is polled outside of a tokio runtime, and no other runtime drives the pool. A runtime without a timer
/// (`enable_time`) gets an error that says so.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'a, M: Manager> {
    shared: &'a Arc<Shared<M>>,
    site: Site,
    limit: Option<Duration>,
    step: Step,
}

enum Step {
    New,
    Waiting(Waiting),
    Done,
}

struct Waiting {
    ticket: Ticket,
    arrived: Arrival,
    deadline: Ns,
    /// Only for a caller on another runtime than the driver's, which may not be running when its time is up.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'a, M: Manager> Acquire<'a, M> {
    pub(crate) fn new(shared: &'a Arc<Shared<M>>, site: Site, limit: Option<Duration>) -> Self {
        Self { shared, site, limit, step: Step::New }
    }

    /// Takes what is free, else queues.
    fn begin(&mut self, cx: &mut Context<'_>) -> Poll<Answer<M>> {
        let caller = self.shared.caller(self.site);
        let limit = self.limit;
        let lent = |(loan, conn)| Pooled::new(Arc::clone(self.shared), loan, self.site, conn);
        if let Some(taken) = self.shared.take(caller) {
            return Poll::Ready(Ok(lent(taken)));
        }
        // Cloned here, because that runs foreign code; so what has become free meanwhile is looked for again.
        let waker = cx.waker().clone();
        let queued = self.shared.take_or(caller, |state, now, fx| {
            let limit = limit.unwrap_or(state.settings().pool_timeout);
            let deadline = now.saturating_add(nanos(limit)).min(NEVER - 1);
            let arrived = state.arrival(now);
            (state.wait(caller, deadline, waker, now, fx), arrived, deadline)
        });
        match queued {
            Ok(taken) => Poll::Ready(Ok(lent(taken))),
            Err((Wait::Refused(why), arrived, _)) => {
                Poll::Ready(Err(self.shared.explain(why.into(), self.site, arrived)))
            }
            Err((Wait::Queued(ticket), arrived, deadline)) => {
                self.step = Step::Waiting(Waiting { ticket, arrived, deadline, timer: None });
                self.collect(cx)
            }
        }
    }

    /// Asks what has become of the ticket.
    fn collect(&mut self, cx: &mut Context<'_>) -> Poll<Answer<M>> {
        let (shared, site) = (self.shared, self.site);
        let Step::Waiting(waiting) = &mut self.step else { unreachable!("BUG: only a waiting caller collects") };
        loop {
            let ticket = waiting.ticket;
            let (found, driver, is_known) = shared.turn(|state, now, fx| {
                let found = state.collect(ticket, now, fx);
                let is_known = found.is_some() || state.would_wake(ticket, cx.waker());
                (found, state.driver, is_known)
            });
            if !is_known {
                let waker = cx.waker().clone();
                if !shared.turn(|state, _, fx| state.renew_waker(ticket, waker, fx)) {
                    continue;
                }
            }
            let arrived = waiting.arrived;
            let cause = match found {
                Some(Collected::Lent(loan, conn)) => {
                    self.step = Step::Done;
                    return Poll::Ready(Ok(Pooled::new(Arc::clone(shared), loan, site, conn)));
                }
                Some(Collected::Failed(error)) => Cause::Connect(error),
                Some(Collected::Expired(verdict)) => Cause::TimedOut(Some(verdict)),
                Some(Collected::Closed) => Cause::Closed,
                Some(Collected::Paused) => Cause::Paused,
                None => {
                    if !waiting.rings(shared, driver, cx) {
                        return Poll::Pending;
                    }
                    let deadline = waiting.deadline;
                    let here = here();
                    shared.turn(|state, now, fx| match now < deadline {
                        true => state.want_driver(here, now, fx),
                        false => state.time_out(ticket, now, fx),
                    });
                    continue;
                }
            };
            self.step = Step::Done;
            return Poll::Ready(Err(shared.explain(cause, site, arrived)));
        }
    }
}

impl Waiting {
    /// Whether the caller's own timer has rung, if it needs one.
    fn rings<M: Manager>(&mut self, shared: &Shared<M>, driver: Option<u64>, cx: &mut Context<'_>) -> bool {
        if self.timer.is_none() {
            let Some(here) = here() else {
                assert!(
                    driver.is_some(),
                    "a connection can only be opened in a tokio runtime: poll this future inside one"
                );
                return false;
            };
            if driver.is_none_or(|there| there == here) {
                return false; // the driver keeps the alarm, or is about to start here
            }
        }
        // Now and then it looks whether the driver is still at work.
        let next = self.deadline.min(shared.now().saturating_add(LOOK));
        let at = shared.instant(next).expect("BUG: a quarter of a second from now is not beyond all time");
        if self.timer.is_none() {
            // Panics in a runtime without a timer. The driver keeps the deadline for such a caller.
            self.timer = std::panic::catch_unwind(|| Box::pin(sleep_until(at))).ok();
        }
        let Some(timer) = &mut self.timer else { return false };
        let rings = timer.as_mut().poll(cx).is_ready();
        if rings {
            self.timer = None;
        }
        rings
    }
}

type Answer<M> = Result<Pooled<M>, AcquireError<<M as Manager>::Error>>;

impl<M: Manager> Future for Acquire<'_, M> {
    type Output = Answer<M>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match self.step {
            Step::New => self.begin(cx),
            Step::Waiting(_) => self.collect(cx),
            Step::Done => panic!("`Acquire` polled after it was ready"),
        };
        if answer.is_ready() {
            self.step = Step::Done;
        }
        answer
    }
}

impl<M: Manager> Drop for Acquire<'_, M> {
    fn drop(&mut self) {
        if let Step::Waiting(Waiting { ticket, .. }) = self.step {
            self.shared.turn(|state, now, fx| state.leave(ticket, now, fx));
        }
    }
}

impl<M: Manager> fmt::Debug for Acquire<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acquire({})", self.site)
    }
}

impl<E> From<Refusal<E>> for Cause<E> {
    fn from(why: Refusal<E>) -> Self {
        match why {
            Refusal::Closed => Self::Closed,
            Refusal::Paused => Self::Paused,
            Refusal::QueueFull(limit) => Self::QueueFull(limit),
            Refusal::Nested(outer) => Self::Nested(outer),
            Refusal::Deadlocked => Self::Deadlocked,
            Refusal::Hopeless(error) => Self::Connect(error),
            Refusal::Injected(verdict) => match verdict {
                Verdict::Closed => Self::Closed,
                Verdict::Connecting => Self::Connect(ConnectError {
                    failure: Failure::Aborted("a test says so"),
                    class: ErrorClass::Transient,
                }),
                Verdict::Nested => Self::Deadlocked,
                Verdict::Paused => Self::Paused,
                Verdict::Refused => Self::QueueFull(0),
                Verdict::Exhausted | Verdict::Leaking => Self::TimedOut(Some(verdict)),
            },
        }
    }
}
