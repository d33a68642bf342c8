//! The evidence for nested acquires: marked loans, and the task that asks.

use crate::{bits::bits, state::Loan};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

tokio::task_local! {
    static HELD: Hold;
}

/// A mark: this connection is held until some code ends. Made by [`Pooled::hold`](crate::Pooled::hold).
#[derive(Clone, Debug)]
pub struct Hold {
    /// Which pool: the address of what its handles share.
    pool: usize,
    loan: Loan,
    /// What was held already, outside.
    outer: Option<Arc<Hold>>,
}

impl Hold {
    pub(crate) fn new(pool: usize, loan: Loan) -> Self {
        Self { pool, loan, outer: None }
    }

    /// Runs a future that keeps the connection until it ends.
    ///
    /// If the future asks the same pool for another connection, the pool acts as [`nested`](crate::Settings::nested) says. When every
    /// connection is held by such a future that waits, the pool refuses the last one at once. `#[pooled]` runs its body inside this method.
    ///
    /// Tasks that the future spawns are outside of it. A guard that is dropped early ends the mark.
    ///
    /// # Cancel safety
    ///
    /// That of the future: dropped, the future is dropped with it, and the mark is gone.
    pub fn during<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        During { hold: self, begun: false, future }
    }
}

/// The task that runs this; `None` in `block_on`, which is none.
pub(crate) fn task() -> Option<u64> {
    tokio::task::try_id().map(bits)
}

/// The loan of this pool that the running code holds, if a `Hold` says so.
pub(crate) fn held(pool: usize) -> Option<Loan> {
    let find = |held: &Hold| {
        let mut chain = std::iter::successors(Some(held), |held| held.outer.as_deref());
        chain.find(|held| held.pool == pool).map(|held| held.loan)
    };
    HELD.try_with(find).ok().flatten()
}

pin_project! {
    /// A future inside which `held` finds the connection.
    struct During<F> {
        hold: Hold,
        begun: bool,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for During<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !std::mem::replace(this.begun, true) {
            // Only now is it known inside what it runs.
            this.hold.outer = HELD.try_with(|outer| Arc::new(outer.clone())).ok();
        }
        HELD.sync_scope(this.hold.clone(), || this.future.poll(cx))
    }
}
