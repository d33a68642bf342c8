//! The idle connections, in the order in which they came home.

use super::live::SlotId;
use std::collections::VecDeque;

/// A stack (LIFO) or a queue (FIFO) of idle slots. The front was returned longest ago in both.
pub(crate) struct Idle {
    order: VecDeque<SlotId>,
    lifo: bool,
}

impl Idle {
    pub(crate) fn new(lifo: bool) -> Self {
        Self { order: VecDeque::new(), lifo }
    }

    pub(crate) fn set_lifo(&mut self, lifo: bool) {
        self.lifo = lifo;
    }

    pub(crate) fn len(&self) -> u32 {
        self.order.len() as u32
    }

    pub(crate) fn push(&mut self, id: SlotId) {
        self.order.push_back(id);
    }

    /// Puts one back where it was: before those that came home later.
    pub(crate) fn put_back(&mut self, id: SlotId, came_later: impl Fn(SlotId) -> bool) {
        let at = self.order.iter().position(|&other| came_later(other)).unwrap_or(self.order.len());
        self.order.insert(at, id);
    }

    /// The one that is lent next.
    pub(crate) fn peek(&self) -> Option<SlotId> {
        if self.lifo { self.order.back() } else { self.order.front() }.copied()
    }

    pub(crate) fn pop(&mut self) -> Option<SlotId> {
        if self.lifo { self.order.pop_back() } else { self.order.pop_front() }
    }

    /// The one that came home longest ago.
    pub(crate) fn oldest(&self) -> Option<SlotId> {
        self.order.front().copied()
    }

    pub(crate) fn remove(&mut self, id: SlotId) {
        self.order.retain(|&other| other != id);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.order.iter().copied()
    }
}
