//! The guard of a lent connection.

use crate::{CloseReason, Hold, Manager, Site, shared::Shared, state::Loan};
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// A connection on loan. Dropping it gives the connection back, at once and without waiting.
///
/// [`Manager::condition`] decides how it comes home: clean, it goes to whoever waits longest, or becomes idle; dirty, it is cleaned in
/// a task of the pool first; broken, it is closed. Dropping works in any thread, with or without a runtime, and while panicking.
#[must_use = "dropping it gives the connection back"]
pub struct Pooled<M: Manager> {
    shared: Arc<Shared<M>>,
    loan: Loan,
    site: Site,
    /// `None` only while the guard is being taken apart.
    conn: Option<M::Conn>,
}

impl<M: Manager> Pooled<M> {
    pub(crate) fn new(shared: Arc<Shared<M>>, loan: Loan, site: Site, conn: M::Conn) -> Self {
        Self { shared, loan, site, conn: Some(conn) }
    }

    /// The place that borrowed it.
    pub fn site(&self) -> Site {
        self.site
    }

    /// A mark of this loan, for code that keeps the connection while it does something else.
    pub fn hold(&self) -> Hold {
        Hold::new(Arc::as_ptr(&self.shared) as usize, self.loan)
    }

    /// Takes the connection out of the pool for good. Its slot is free at once, so the server may see one connection more than the cap.
    pub fn detach(mut self) -> M::Conn {
        let conn = self.conn.take().expect("BUG: a guard holds its connection until it is dropped");
        self.shared.turn(|state, now, fx| state.detach(self.loan.slot, now, fx));
        conn
    }

    /// Has the connection closed instead of given back.
    pub fn discard(mut self) {
        let conn = self.conn.take().expect("BUG: a guard holds its connection until it is dropped");
        self.shared.turn(|state, now, fx| state.discard(self.loan.slot, conn, CloseReason::Removed, now, fx));
    }

    /// The pool's manager.
    pub fn manager(&self) -> &M {
        &self.shared.manager
    }
}

impl<M: Manager> Drop for Pooled<M> {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.shared.release(self.loan.slot, conn);
        }
    }
}

impl<M: Manager> Deref for Pooled<M> {
    type Target = M::Conn;

    fn deref(&self) -> &M::Conn {
        self.conn.as_ref().expect("BUG: a guard holds its connection until it is dropped")
    }
}

impl<M: Manager> DerefMut for Pooled<M> {
    fn deref_mut(&mut self) -> &mut M::Conn {
        self.conn.as_mut().expect("BUG: a guard holds its connection until it is dropped")
    }
}

impl<M: Manager> fmt::Debug for Pooled<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pooled(slot {}, {})", self.loan.slot, self.site)
    }
}
