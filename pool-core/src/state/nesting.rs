//! Callers that hold a connection and ask for another: what is known of them, and what becomes of it.

use super::{
    Caller, Ns, State, UNSURE,
    effects::Effects,
    live::{self, Phase},
    nanos,
    queue::{Outcome, Ticket},
};
use crate::{Event, Nested, Site, Verdict};
use std::collections::HashSet;

impl<C, E> State<C, E> {
    /// The site whose loan this caller holds while it asks, if it holds one.
    pub(super) fn nested(&self, caller: &Caller) -> Option<Site> {
        if self.settings.nested == Nested::Allow {
            return None;
        }
        let said = caller.holds.map(|(_, site)| site);
        said.or_else(|| {
            let by_task = |slot: &&live::Slot<C>| slot.phase() == Phase::Lent && slot.task == caller.task;
            let sure = caller.task & UNSURE == 0 || self.settings.nested == Nested::Deny;
            let known = caller.task != 0 && sure && self.slots.count(Phase::Lent) > 0;
            known.then(|| self.slots.iter().map(|(_, slot)| slot).find(by_task))?.map(|slot| slot.site)
        })
    }

    /// Tells of a pair of sites once.
    pub(super) fn warn_of_nesting(&mut self, outer: Site, inner: Site) {
        const PAIRS: usize = 64;
        if self.settings.nested == Nested::Warn && self.warned.len() < PAIRS && !self.warned.contains(&(outer, inner)) {
            self.warned.push((outer, inner));
            self.remarks.push(Event::Nested { outer, inner });
        }
    }

    /// Marks what a caller in the queue will not let go.
    pub(super) fn entangle(&mut self, caller: &Caller) {
        if let Some(slot) = self.held_by(caller) {
            slot.entangled += 1;
        }
    }

    pub(super) fn disentangle(&mut self, caller: &Caller) {
        if let Some(slot) = self.held_by(caller) {
            slot.entangled -= 1;
        }
    }

    pub(super) fn held_by(&mut self, caller: &Caller) -> Option<&mut live::Slot<C>> {
        let (loan, _) = caller.holds?;
        let slot = &mut self.slots[loan.slot];
        (slot.phase() == Phase::Lent && slot.loan == loan.number).then_some(slot)
    }

    /// Whether all connections are held by callers that wait for another one: none will ever come home.
    pub(super) fn is_deadlocked(&self) -> bool {
        let full = self.settings.cap().is_some_and(|cap| self.slots.used() >= cap);
        full && self.slots.iter().all(|(_, slot)| slot.phase() == Phase::Lent && slot.entangled > 0)
    }

    /// Whether the pool looks like that and nothing has moved for `slow_acquire`: as far as tasks can tell, every loan belongs to one that
    /// waits. Branches of a `join!` that all work for so long look the same, which is why it takes time to be believed.
    pub(super) fn is_stalled(&self, now: Ns) -> bool {
        let full = self.settings.cap().is_some_and(|cap| self.slots.used() >= cap);
        full && self.slots.count(Phase::Lent) == self.slots.used()
            && self.settings.nested != Nested::Allow
            && now >= self.stall_ends()
            && self.is_held_by_waiters()
    }

    /// When a pool in which nothing moves is believed to be stuck.
    pub(super) fn stall_ends(&self) -> Ns {
        self.moved.saturating_add(nanos(self.settings.slow_acquire))
    }

    /// In a pool that is stuck, refuses whoever came last: it will let go of what it holds, and the others go on.
    pub(super) fn sweep_stall(&mut self, now: Ns, fx: &mut Effects<C>) {
        // Once for each standstill: whoever joins the queue later looks for himself.
        if self.queue.is_empty()
            || now < self.stall_ends()
            || std::mem::replace(&mut self.looked, self.moved) == self.moved
        {
            return;
        }
        if !self.is_stalled(now) {
            return;
        }
        let last = self.queue.iter().map(|(ticket, _)| ticket).last();
        if let Some(ticket) = last {
            self.totals.refused += 1;
            let waker = self.end(ticket, Outcome::Deadlocked);
            fx.wake(waker);
        }
    }

    /// What kept this caller from being served until its time ran out.
    ///
    /// `stuck`: whether every loan belongs to a task that waits, found out once for all whose time runs out together.
    pub(super) fn verdict_for(&self, ticket: Ticket, stuck: &mut Option<bool>, now: Ns) -> Verdict {
        let caller = self.queue.waiter(ticket).caller;
        let verdict = self.verdict(now);
        let full = matches!(verdict, Verdict::Exhausted | Verdict::Leaking);
        let nested = full && self.nested(&caller).is_some();
        if nested && *stuck.get_or_insert_with(|| self.is_held_by_waiters()) { Verdict::Nested } else { verdict }
    }

    /// Whether every loan belongs to a task that waits for another.
    fn is_held_by_waiters(&self) -> bool {
        let waiting: HashSet<u64> = self.queue.iter().map(|(_, waiter)| waiter.caller.task).collect();
        let mut lent = self.slots.iter().filter(|(_, slot)| slot.phase() == Phase::Lent);
        let waits = |task| task != 0 && task & UNSURE == 0 && waiting.contains(&task);
        lent.all(|(_, slot)| slot.entangled > 0 || waits(slot.task))
    }
}
