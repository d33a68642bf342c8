//! Nested acquires: callers that hold a connection and ask for another.
//!
//! There are two kinds of evidence. A [`Hold`](crate::Hold) marks a loan that outlasts the wait of a caller: that is certain, so it may
//! refuse. A task id is not: the task may be a `join!` whose other branches are at work, or it may have handed its connection to another
//! task. So a task id warns, and names the verdict once the caller's time is up. It never refuses.

use super::{Caller, Ns, Refusal, SlotId, State, effects::Effects, queue::Ticket};
use crate::{Event, Nested, Site, Verdict};
use std::collections::{BTreeMap, HashSet, btree_map::Entry};

/// Slots that are compared with the task of a caller that has to wait: a warning costs no more in a larger pool.
const COMPARED: usize = 256;

/// Pairs of sites that are warned of. Each nested acquire compares its own with them.
const PAIRS: usize = 64;

/// What is known of the callers that wait, beside their places in the queue.
#[derive(Default)]
pub(super) struct Nesting {
    /// Loans marked as held by a caller in the queue: the slots whose `entangled` is not 0.
    entangled: u32,
    /// Callers in the queue, by task. A tree, because it grows without copying what is there.
    waiting: BTreeMap<u64, u32>,
    /// Pairs of sites that were warned of.
    warned: Vec<(Site, Site)>,
    /// The warnings of a `take`, for `after_take` to send.
    pub(super) remarks: Vec<Event>,
}

/// What holds for all callers whose time runs out in one turn.
#[derive(Default)]
pub(super) struct Evidence {
    verdict: Option<Verdict>,
    /// If every loan belongs to a caller that waits: the tasks that have one.
    stuck: Option<Option<HashSet<u64>>>,
}

impl<C, E> State<C, E> {
    /// The loan that a `Hold` marks as held by this caller, unless it has ended.
    pub(super) fn held_by(&self, caller: &Caller) -> Option<SlotId> {
        caller.holds.filter(|loan| self.slots.is_current(*loan)).map(|loan| loan.slot)
    }

    /// Judges a caller that is about to queue: it is refused, or a warning is sent, or neither.
    pub(super) fn refuse_nested(&mut self, caller: &Caller, fx: &mut Effects<C, E>) -> Option<Refusal<E>> {
        let held = self.held_by(caller);
        #[cfg(test)]
        let held = match self.planted {
            Some(super::walk::Planted::RefusesByTask) => held.or_else(|| self.slots.lent_to(caller.task?, COMPARED)),
            _ => held,
        };
        match (held, self.settings.nested) {
            (Some(id), Nested::Deny) => return Some(Refusal::Nested(self.slots[id].site)),
            (_, Nested::Allow) => {}
            _ => {
                let outer = held.or_else(|| self.slots.lent_to(caller.task?, COMPARED));
                let warning = outer.and_then(|id| self.warning(id, caller.site));
                fx.events.extend(warning);
            }
        }
        held.filter(|id| self.would_deadlock(*id)).map(|_| Refusal::Deadlocked)
    }

    /// The warning that code at `inner` asks for a connection while it holds this one: once for each pair of sites.
    pub(super) fn warning(&mut self, id: SlotId, inner: Site) -> Option<Event> {
        let (outer, warned) = (self.slots[id].site, &mut self.nesting.warned);
        if self.settings.nested == Nested::Allow || warned.len() == PAIRS || warned.contains(&(outer, inner)) {
            return None;
        }
        warned.push((outer, inner));
        Some(Event::Nested { outer, inner })
    }

    /// Whether the pool is stuck as soon as the holder of this connection waits, too: then marked loans are all that there may be.
    fn would_deadlock(&self, id: SlotId) -> bool {
        let full = self.settings.cap().is_some_and(|cap| self.slots.used() >= cap);
        let others = self.nesting.entangled - u32::from(self.slots[id].entangled > 0);
        full && others + 1 == self.slots.used()
    }

    /// Notes that a caller waits, and which loan will not end meanwhile.
    pub(super) fn entangle(&mut self, caller: &Caller) {
        if let Some(id) = self.held_by(caller) {
            self.slots[id].entangled += 1;
            self.nesting.entangled += u32::from(self.slots[id].entangled == 1);
        }
        if let Some(task) = caller.task {
            *self.nesting.waiting.entry(task).or_default() += 1;
        }
    }

    /// Notes that a caller waits no longer.
    pub(super) fn disentangle(&mut self, caller: &Caller) {
        if let Some(id) = self.held_by(caller) {
            self.slots[id].entangled -= 1;
            self.nesting.entangled -= u32::from(self.slots[id].entangled == 0);
        }
        if let Some(Entry::Occupied(mut waiting)) = caller.task.map(|task| self.nesting.waiting.entry(task)) {
            *waiting.get_mut() -= 1;
            if *waiting.get() == 0 {
                waiting.remove();
            }
        }
    }

    /// Forgets the marks of a loan that has ended, although a caller in the queue said that it would not.
    pub(super) fn forget_marks(&mut self, id: SlotId) {
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::KeepsMarks) {
            return;
        }
        let marked = std::mem::take(&mut self.slots[id].entangled) > 0;
        self.nesting.entangled -= u32::from(marked);
    }

    /// What kept this caller from being served until its time ran out.
    ///
    /// `evidence` is found once for all callers whose time runs out together.
    pub(super) fn verdict_for(&self, ticket: Ticket, evidence: &mut Evidence, now: Ns) -> Verdict {
        let verdict = *evidence.verdict.get_or_insert_with(|| self.verdict(now));
        let full = matches!(verdict, Verdict::Exhausted | Verdict::Leaking);
        if self.settings.nested == Nested::Allow || !full {
            return verdict;
        }
        let stuck = evidence.stuck.get_or_insert_with(|| {
            self.is_held_by_waiters().then(|| self.slots.lent().filter_map(|(_, slot)| slot.task).collect())
        });
        let Some(holders) = stuck else { return verdict };
        let caller = &self.queue.waiter(ticket).caller;
        let held = self.held_by(caller).is_some() || caller.task.is_some_and(|task| holders.contains(&task));
        if held { Verdict::Nested } else { verdict }
    }

    /// Whether every loan belongs to a caller that waits, or to a task one of whose branches does.
    fn is_held_by_waiters(&self) -> bool {
        let waits = |task: Option<u64>| task.is_some_and(|task| self.nesting.waiting.contains_key(&task));
        self.slots.lent().all(|(_, slot)| slot.entangled > 0 || waits(slot.task))
    }

    /// Compares what is noted of the callers that wait with the queue and the slots.
    #[cfg(test)]
    pub(super) fn check_nesting(&self) -> Result<(), String> {
        let marked = self.slots.iter().filter(|(_, slot)| slot.entangled > 0).count();
        let lent = self.slots.lent().filter(|(_, slot)| slot.entangled > 0).count();
        if marked != lent || marked != self.nesting.entangled as usize {
            return Err(format!("{marked} slots are marked, {lent} of them lent, {} counted", self.nesting.entangled));
        }
        let mut waiting = BTreeMap::new();
        for task in self.queue.iter().filter_map(|(_, waiter)| waiter.caller.task) {
            *waiting.entry(task).or_default() += 1;
        }
        if waiting != self.nesting.waiting {
            return Err(format!("tasks that wait: {waiting:?}, noted: {:?}", self.nesting.waiting));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::effects::Job, super::*, COMPARED};
    use crate::MaxOverflow;
    use std::task::Waker;

    fn caller(task: u64) -> Caller {
        Caller { site: Site::here(), task: Some(task), holds: None }
    }

    /// A pool with so many connections, all lent, each to a task of its own.
    fn all_lent(n: u32) -> State<(), &'static str> {
        let settings = Settings::default().with_pool_size(n).with_max_overflow(MaxOverflow::Limited(0));
        let (mut state, mut fx) = (State::new(settings, 1), Effects::default());
        for task in 0..u64::from(n) {
            let Wait::Queued(ticket) = state.wait(caller(task), NEVER, Waker::noop().clone(), 0, &mut fx) else {
                panic!("refused")
            };
            let Some(Job::Connect { slot, .. }) = state.next_job(0, &mut fx) else { panic!("no connect") };
            state.connected(slot, (), 0, &mut fx);
            assert!(matches!(state.collect(ticket, 0, &mut fx), Some(Collected::Lent(..))));
        }
        state
    }

    #[test]
    fn an_acquire_looks_at_no_more_slots_when_more_are_lent() {
        for lent in [10, 1_000, 10_000] {
            let mut state = all_lent(lent);
            let mut fx = Effects::default();
            let newcomer = caller(u64::MAX);
            state.slots.visited.set(0);
            assert!(state.give(0, (), 1).is_ok());
            assert!(state.take(newcomer, 1).is_some());
            assert_eq!(state.slots.visited.take(), 0, "{lent} lent: give and take");

            let Wait::Queued(ticket) = state.wait(newcomer, NEVER, Waker::noop().clone(), 1, &mut fx) else {
                panic!("refused")
            };
            assert!(state.slots.visited.take() <= COMPARED as u64, "{lent} lent: wait");
            state.leave(ticket, 1, &mut fx);
            assert_eq!(state.slots.visited.take(), 0, "{lent} lent: leave");
        }
    }
}
