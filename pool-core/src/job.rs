//! Connecting, testing, cleaning and closing: each in a task of its own, within its limit.

use crate::{
    CloseReason, ConnectError, ErrorClass, Manager,
    error::Failure,
    shared::Shared,
    state::{
        Claim, Ns, State,
        effects::{Effects, Job},
        time,
    },
    sync::spawn,
};
use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};
use tokio::{runtime::Handle, time::timeout};

/// Runs the job in a new task on this runtime. However that ends, the slot is reported back.
pub(crate) fn start<M: Manager>(runtime: &Handle, shared: Arc<Shared<M>>, job: Job<M::Conn>) {
    let held = |slot, kind| Held { shared, slot, kind: Some(kind) };
    match job {
        Job::Connect { slot, limit } => spawn(runtime, connect(held(slot, Kind::Connect), limit)),
        Job::Ping { slot, conn, limit } => spawn(runtime, ping(held(slot, Kind::Ping), conn, limit)),
        Job::Reset { slot, conn, limit } => spawn(runtime, reset(held(slot, Kind::Reset), conn, limit)),
        Job::Close { slot, conn, limit, reason } => {
            spawn(runtime, close(held(slot, Kind::Close(reason)), conn, limit, reason));
        }
    }
}

async fn connect<M: Manager>(held: Held<M>, limit: Ns) {
    let (shared, manager) = (&held.shared, &held.shared.manager);
    let attempt = async {
        let mut closed = pin!(shared.closed.notified());
        closed.as_mut().enable();
        match shared.look(|state, _| state.is_closed()) {
            true => None,
            false => unless(closed, timeout(time(limit), manager.connect())).await,
        }
    };
    let error = match attempt.await {
        None => ConnectError { class: ErrorClass::Transient, failure: Failure::Aborted("the pool was closed") },
        Some(Ok(Ok(conn))) => {
            return held.report(|state, slot, now, fx| state.connected(slot, conn, now, fx)).await;
        }
        Some(Ok(Err(error))) => {
            ConnectError { class: manager.classify(&error), failure: Failure::Manager(Arc::new(error)) }
        }
        Some(Err(_)) => ConnectError { class: ErrorClass::Transient, failure: Failure::TimedOut(time(limit)) },
    };
    let said = error.to_string();
    let failed = held.report(|state, slot, now, fx| {
        state.connect_failed(slot, error, said, now, fx);
        None
    });
    failed.await;
}

async fn ping<M: Manager>(held: Held<M>, mut conn: M::Conn, limit: Ns) {
    let manager = &held.shared.manager;
    // A ping that hangs is a dead connection, and says as much about the others.
    let lost = match timeout(time(limit), manager.ping(&mut conn)).await {
        Ok(Ok(())) => return held.report(|state, slot, now, fx| state.pinged(slot, conn, now, fx)).await,
        Ok(Err(error)) => manager.classify(&error) == ErrorClass::Lost,
        Err(_) => true,
    };
    held.report(|state, slot, now, fx| state.ping_failed(slot, Some(conn), lost, now, fx)).await;
}

async fn reset<M: Manager>(held: Held<M>, mut conn: M::Conn, limit: Ns) {
    let manager = &held.shared.manager;
    let lost = match timeout(time(limit), manager.reset(&mut conn)).await {
        Ok(Ok(())) => return held.report(|state, slot, now, fx| state.was_reset(slot, conn, now, fx)).await,
        Ok(Err(error)) => manager.classify(&error) == ErrorClass::Lost,
        // It may be this connection's statement alone that does not end.
        Err(_) => false,
    };
    held.report(|state, slot, now, fx| state.reset_failed(slot, Some(conn), lost, now, fx)).await;
}

async fn close<M: Manager>(held: Held<M>, conn: M::Conn, limit: Ns, reason: CloseReason) {
    let confirmed = timeout(time(limit), held.shared.manager.close(conn)).await.is_ok();
    let closed = held.report(|state, slot, now, fx| {
        state.was_closed(slot, reason, confirmed, now, fx);
        None
    });
    closed.await;
}

/// What the work gives, or `None` if it is stopped first.
async fn unless<T>(mut stop: Pin<&mut impl Future<Output = ()>>, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => stop.as_mut().poll(cx).map(|()| None),
    })
    .await
}

#[derive(Clone, Copy)]
enum Kind {
    Connect,
    Ping,
    Reset,
    Close(CloseReason),
}

/// The claim of a job to its slot. Dropped without a report, by a panic or the end of the runtime, it gives the slot back.
struct Held<M: Manager> {
    shared: Arc<Shared<M>>,
    slot: Claim,
    /// `None` once it is reported.
    kind: Option<Kind>,
}

impl<M: Manager> Held<M> {
    /// Reports the end of the job. A connection that comes back has no slot any more, because this runtime did not run for too long:
    /// it is closed.
    async fn report(
        mut self,
        tell: impl FnOnce(&mut State<M::Conn, M::Error>, Claim, Ns, &mut Effects<M::Conn, M::Error>) -> Option<M::Conn>,
    ) {
        self.kind = None;
        let (shared, slot) = (Arc::clone(&self.shared), self.slot);
        drop(self);
        let Some(conn) = shared.turn(|state, now, fx| tell(state, slot, now, fx)) else { return };
        let limit = shared.look(|state, _| state.settings().reset_timeout);
        // Nobody waits for it, and no slot does.
        let _ = timeout(limit, shared.manager.close(conn)).await;
    }
}

impl<M: Manager> Drop for Held<M> {
    fn drop(&mut self) {
        let (shared, slot) = (&self.shared, self.slot);
        match self.kind {
            None => {}
            Some(Kind::Connect) => {
                let (class, why) = match std::thread::panicking() {
                    true => (ErrorClass::Other, "the manager panicked while connecting"),
                    false => (ErrorClass::Transient, "the runtime ended while connecting"),
                };
                let error = ConnectError { class, failure: Failure::Aborted(why) };
                shared.turn(|state, now, fx| state.connect_failed(slot, error, why.to_owned(), now, fx));
            }
            // The connection has gone with the job.
            Some(Kind::Ping) => drop(shared.turn(|state, now, fx| state.ping_failed(slot, None, false, now, fx))),
            Some(Kind::Reset) => drop(shared.turn(|state, now, fx| state.reset_failed(slot, None, false, now, fx))),
            Some(Kind::Close(reason)) => shared.turn(|state, now, fx| state.was_closed(slot, reason, false, now, fx)),
        }
    }
}
