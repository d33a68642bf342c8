//! What a schedule explorer replaces: the lock, the count of handles, and how tasks begin.
//!
//! With `--cfg shuttle` the same code runs under [shuttle](https://docs.rs/shuttle), which decides who runs next at every one of them
//! (`pool-core/tests/schedules.rs`).

#[cfg(not(shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicUsize};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic::AtomicUsize};

use std::future::Future;
use tokio::runtime::Handle;

/// Starts a task on this runtime.
pub(crate) fn spawn(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
    #[cfg(not(shuttle))]
    drop(runtime.spawn(task));
    #[cfg(shuttle)]
    {
        let _ = runtime;
        // Dropping the handle would detach the task, and the explorer must see it end.
        std::mem::forget(shuttle::future::spawn(task));
    }
}
