//! The task that keeps the alarms and starts the jobs.

use crate::{Manager, bits::bits, job, shared::Shared, sync::spawn};
use std::{pin::pin, sync::Arc};
use tokio::{runtime::Handle, time::timeout_at};

/// Starts a driver on this runtime.
pub(crate) fn start<M: Manager>(runtime: &Handle, shared: Arc<Shared<M>>, number: u32) {
    spawn(runtime, run(Seat { shared, number, runtime: bits(runtime.id()), replaced: false }));
}

/// The place of the driver on its runtime. Dropped with that, it tells of the end of the connections that live there.
struct Seat<M: Manager> {
    shared: Arc<Shared<M>>,
    number: u32,
    runtime: u64,
    /// Whether another one has it now.
    replaced: bool,
}

impl<M: Manager> Drop for Seat<M> {
    fn drop(&mut self) {
        if !self.replaced {
            self.shared.turn(|state, now, fx| state.runtime_ended(self.runtime, self.number, now, fx));
        }
    }
}

/// Sweeps at each alarm and each kick, starts what there is to do, and ends when the pool is closed and empty.
async fn run<M: Manager>(seat: Seat<M>) {
    let (shared, runtime) = (Arc::clone(&seat.shared), Handle::current());
    loop {
        let kicked = shared.kick.notified();
        let is_current = |drivers| drivers == seat.number;
        let alarm = shared.turn(|state, now, fx| {
            let goes_on = is_current(state.drivers) && !state.is_drained();
            goes_on.then(|| state.sweep(now, fx))
        });
        let Some(alarm) = alarm else { return stay(seat).await };
        let next =
            || shared.turn(|state, now, fx| is_current(state.drivers).then(|| state.next_job(now, fx)).flatten());
        while let Some(work) = next() {
            job::start(&runtime, Arc::clone(&shared), work);
        }
        match shared.instant(alarm) {
            // Called or rung: either way there is something to look at.
            Some(at) => drop(timeout_at(at, kicked).await),
            None => kicked.await,
        }
    }
}

/// Keeps the seat of a driver that another runtime has taken over from, to tell when this runtime ends. Ends itself when the pool does, or
/// when a driver is on this runtime again.
async fn stay<M: Manager>(mut seat: Seat<M>) {
    let shared = Arc::clone(&seat.shared);
    loop {
        let mut change = pin!(shared.drained.notified());
        change.as_mut().enable();
        let (drained, here) = shared.look(|state, _| {
            let here = state.driver == Some(seat.runtime) && state.drivers != seat.number;
            (state.is_drained(), here)
        });
        if drained || here {
            seat.replaced = here;
            return;
        }
        change.await;
    }
}
