//! Who already holds a connection and asks for another.

use crate::{Site, state::Loan};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

tokio::task_local! {
    static HELD: Held;
}

/// What the code that runs now holds, innermost first.
#[derive(Clone)]
struct Held {
    /// Which pool: the address of what its handles share.
    pool: usize,
    loan: Loan,
    site: Site,
    outer: Option<Arc<Held>>,
}

/// Runs a future as one that holds this connection until it ends.
pub(crate) fn holding<F: Future>(pool: usize, loan: Loan, site: Site, future: F) -> Holding<F> {
    Holding { held: Held { pool, loan, site, outer: None }, begun: false, future }
}

/// The connection of this pool that the running code holds, if it said so.
pub(crate) fn held(pool: usize) -> Option<(Loan, Site)> {
    let find = |held: &Held| {
        let mut chain = std::iter::successors(Some(held), |held| held.outer.as_deref());
        chain.find(|held| held.pool == pool).map(|held| (held.loan, held.site))
    };
    HELD.try_with(find).ok().flatten()
}

pin_project! {
    /// A future inside which `held` finds the connection.
    pub(crate) struct Holding<F> {
        held: Held,
        begun: bool,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Holding<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !std::mem::replace(this.begun, true) {
            // Only now is it known inside what it runs.
            this.held.outer = HELD.try_with(|outer| Arc::new(outer.clone())).ok();
        }
        HELD.sync_scope(this.held.clone(), || this.future.poll(cx))
    }
}
