//! The task that keeps the alarms and starts the jobs.

use crate::{Manager, job, shared::Shared, sync::spawn};
use std::sync::Arc;
use tokio::{runtime::Handle, time::timeout_at};

/// Starts a driver on this runtime.
pub(crate) fn start<M: Manager>(runtime: &Handle, shared: Arc<Shared<M>>, number: u32) {
    spawn(runtime, run(Seat(shared, number)));
}

/// The place of the driver. Dropped when it ends, by itself or with its runtime.
struct Seat<M: Manager>(Arc<Shared<M>>, u32);

impl<M: Manager> Drop for Seat<M> {
    fn drop(&mut self) {
        self.0.turn(|state, now, fx| state.driver_ended(self.1, now, fx));
    }
}

/// Sweeps at each alarm and each kick, starts what there is to do, and ends when the pool is closed and empty.
async fn run<M: Manager>(seat: Seat<M>) {
    let (shared, runtime) = (&seat.0, Handle::current());
    loop {
        let kicked = shared.kick.notified();
        let alarm = shared.turn(|state, now, fx| {
            let done = state.drivers != seat.1 || state.is_drained();
            (!done).then(|| state.sweep(now, fx))
        });
        let Some(alarm) = alarm else { return };
        while let Some(work) = shared.turn(|state, now, fx| state.next_job(now, fx)) {
            job::start(&runtime, Arc::clone(shared), work);
        }
        match shared.instant(alarm) {
            // Called or rung: either way there is something to look at.
            Some(at) => drop(timeout_at(at, kicked).await),
            None => kicked.await,
        }
    }
}
