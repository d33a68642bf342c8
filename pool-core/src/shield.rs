//! What foreign code must not break: the work that comes after it.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs foreign code. If it panics, that is logged and ends here. Returns whether it did not.
pub(crate) fn shield(what: &str, foreign: impl FnOnce()) -> bool {
    let Err(payload) = catch_unwind(AssertUnwindSafe(foreign)) else { return true };
    forget_panic(payload);
    // The log is foreign, too.
    if let Err(payload) = catch_unwind(|| tracing::error!(target: "pool", "{what} panicked")) {
        forget_panic(payload);
    }
    false
}

/// Drops what a panic has left, which may panic in its turn.
fn forget_panic(payload: Box<dyn std::any::Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}
