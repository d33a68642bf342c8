//! What a decision leaves to be done once the lock is released.

use super::{Claim, Ns};
use crate::{CloseReason, Event, error::ConnectError};
use std::task::Waker;

/// The rest of a step: performed by `Shared::turn` after unlocking, in this order.
pub(crate) struct Effects<C, E> {
    /// The one caller that most steps wake.
    pub(crate) wake: Option<Waker>,
    /// Further callers; only a sweep or a close has any.
    pub(crate) more: Vec<Waker>,
    /// Wakers nobody needs any more: what they own may run foreign code when it goes.
    pub(crate) spent: Vec<Waker>,
    /// Errors nobody needs any more: they are the manager's, and may run foreign code when they go.
    pub(crate) errors: Vec<ConnectError<E>>,
    /// Connections to drop without a word: their runtime is gone.
    pub(crate) dispose: Vec<C>,
    /// What happened, for the logs.
    pub(crate) events: Vec<Event>,
    /// The driver has something to do, or an earlier alarm.
    pub(crate) kick: bool,
    /// Those who wait for the warm-up should look again.
    pub(crate) news: bool,
    /// Those who wait for the end should look again.
    pub(crate) drained: bool,
    /// The pool was closed: connects under way are given up.
    pub(crate) closed: bool,
}

impl<C, E> Effects<C, E> {
    pub(crate) fn wake(&mut self, waker: Waker) {
        match self.wake {
            None => self.wake = Some(waker),
            Some(_) => self.more.push(waker),
        }
    }
}

impl<C, E> Default for Effects<C, E> {
    fn default() -> Self {
        Self {
            wake: None,
            more: Vec::new(),
            spent: Vec::new(),
            errors: Vec::new(),
            dispose: Vec::new(),
            events: Vec::new(),
            kick: false,
            news: false,
            drained: false,
            closed: false,
        }
    }
}

/// Work for a task of its own. Whoever runs it must report the end to the state, or the slot stays taken.
#[derive(Debug)]
pub(crate) enum Job<C> {
    /// Open a connection within the limit.
    Connect { slot: Claim, limit: Ns },
    /// Test one within the limit.
    Ping { slot: Claim, conn: C, limit: Ns },
    /// Clean one within the limit.
    Reset { slot: Claim, conn: C, limit: Ns },
    /// Close one within the limit.
    Close { slot: Claim, conn: C, limit: Ns, reason: CloseReason },
}
