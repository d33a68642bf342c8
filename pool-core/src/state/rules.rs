//! The rules, one function each.

use super::{
    Caller, Loan, Ns, SlotId, State, UNSURE,
    effects::Effects,
    live::{self, Phase},
    nanos,
    queue::{Outcome, Ticket},
    time,
};
use crate::{CloseReason, Event, Health, Nested, Site, error::ConnectError};
use std::task::Waker;

/// No connect that takes less is late; in the random walk, which counts in microseconds, hardly any.
const LATE: Ns = if cfg!(test) { 5_000 } else { 1_000_000_000 };

/// What an idle connection is good for.
pub(super) enum Fitness {
    Lend,
    Ping,
    Retire(CloseReason),
}

impl<C, E> State<C, E> {
    /// Why a connection must not be kept, if there is a reason.
    pub(super) fn worn_out(&self, id: SlotId, now: Ns) -> Option<CloseReason> {
        let slot = &self.slots[id];
        if self.closed {
            Some(CloseReason::Shutdown)
        } else if slot.epoch != self.epoch {
            Some(CloseReason::Invalidated)
        } else if now >= slot.expires || self.settings.max_uses.is_some_and(|max| slot.uses >= max) {
            Some(CloseReason::Recycled)
        } else if self.settings.cap().is_some_and(|cap| self.staying() > cap) {
            Some(CloseReason::Excess)
        } else {
            None
        }
    }

    /// What an idle connection is good for.
    pub(super) fn fitness(&self, id: SlotId, now: Ns) -> Fitness {
        if let Some(reason) = self.worn_out(id, now) {
            return Fitness::Retire(reason);
        }
        // `now` was read before the lock, so it may be older than `since`.
        let slot = &self.slots[id];
        let (unused, unproven) = (now.saturating_sub(slot.since), now.saturating_sub(slot.proven));
        let spare = self.idle.len() > self.settings.min_idle;
        if spare && self.settings.idle_timeout.is_some_and(|limit| unused >= nanos(limit)) {
            return Fitness::Retire(CloseReason::Idle);
        }
        let suspect = self.pulse.health == Health::Suspect;
        let fresh = if suspect { 0 } else { nanos(self.settings.pre_ping_after) };
        if self.settings.pool_pre_ping && unproven >= fresh { Fitness::Ping } else { Fitness::Lend }
    }

    /// Whether callers wait, or idle ones lack, beyond what is on its way.
    pub(super) fn short_of_connections(&self, now: Ns) -> bool {
        let coming = self.slots.count(Phase::Opening);
        let pinging = self.slots.count(Phase::Pinging);
        let callers = match self.queue.len() {
            0 => false,
            // One attempt more than there are callers, when one is late.
            n if n == coming + pinging => self.is_connect_late(now),
            n => n > coming + pinging,
        };
        let spare =
            self.idle.len() + coming + pinging < self.settings.min_idle && self.slots.used() < self.settings.pool_size;
        let warm_up = self.slots.used() < self.warm;
        !self.closed
            && self.paused.is_none()
            && (callers || spare || warm_up)
            && self.settings.cap().is_none_or(|cap| self.slots.used() < cap)
    }

    /// Whether a connect may begin now. Asked again before each attempt.
    pub(super) fn wants_connection(&self, now: Ns) -> bool {
        let opening = self.slots.count(Phase::Opening);
        let at_once = match self.pulse.is_failing() {
            // One probe at a time tells when a database that refuses is back; one that hangs tells nothing.
            true if opening == 1 && self.is_connect_late(now) => self.settings.connect_concurrency.min(2),
            true => 1,
            false => self.settings.connect_concurrency,
        };
        self.short_of_connections(now) && opening < at_once && self.pulse.not_before() <= now
    }

    /// Whether a connect has been under way for so long that another attempt may well be quicker.
    pub(super) fn is_connect_late(&self, now: Ns) -> bool {
        let late = self.late();
        self.slots.count(Phase::Opening) > 0
            && self
                .slots
                .iter()
                .any(|(_, slot)| slot.phase() == Phase::Opening && now.saturating_sub(slot.since) >= late)
    }

    /// How long a connect takes that is late: a fifth of its limit, a second at least, and twice what they have taken so far.
    pub(super) fn late(&self) -> Ns {
        let usual = self.timings.connect.mean().map_or(0, nanos);
        (nanos(self.settings.connection_timeout) / 5).max(LATE).max(usual.saturating_mul(2))
    }

    /// Connections that callers in the queue may count on without anybody giving one back: all that nobody has.
    pub(super) fn supply(&self) -> u32 {
        let taken = self.slots.in_use();
        match self.paused {
            Some(_) => 0,
            None => self.settings.cap().map_or(u32::MAX, |cap| cap.saturating_sub(taken)),
        }
    }

    /// Retires all connections as old as the one that was found dead, unless that has happened already.
    pub(super) fn disconnected(&mut self, id: SlotId, now: Ns, fx: &mut Effects<C>) {
        if self.slots[id].epoch == self.epoch && !self.closed {
            let retired = self.retire_all(now, fx);
            // What is still being dialled says nothing of the past: it may be the connect that wakes the database.
            self.slots.renew_opening(self.epoch);
            self.pulse.suspect();
            fx.events.push(Event::Suspect { retired });
        }
    }

    /// Raises the epoch and closes what is idle. Connections in use are closed when they come home.
    pub(super) fn retire_all(&mut self, now: Ns, fx: &mut Effects<C>) -> u32 {
        self.epoch = self.epoch.wrapping_add(1);
        let mut retired = 0;
        while let Some(id) = self.idle.pop() {
            let conn = self.slots.take_conn(id);
            self.retire(id, conn, CloseReason::Invalidated, now, fx);
            retired += 1;
        }
        retired
    }

    pub(super) fn released(&mut self, id: SlotId, now: Ns, fx: &mut Effects<C>) {
        self.totals.released += 1;
        self.moved = now;
        self.sites.record(self.slots[id].site, now.saturating_sub(self.slots[id].since));
        let slot = &mut self.slots[id];
        slot.proven = now;
        if std::mem::take(&mut slot.reported) {
            let held = time(now.saturating_sub(slot.since));
            fx.events.push(Event::LeakReturned { site: slot.site, held });
        }
    }

    pub(super) fn lend(&mut self, id: SlotId, caller: Caller, now: Ns) -> (Loan, C) {
        self.totals.acquired += 1;
        self.moved = now;
        self.slots.enter(id, Phase::Lent, now);
        let number = self.totals.acquired;
        let slot = &mut self.slots[id];
        (slot.site, slot.task, slot.uses, slot.reported) = (caller.site, caller.task, slot.uses + 1, false);
        (slot.loan, slot.entangled) = (number, 0);
        let conn = slot.conn.take().expect("BUG: an idle or granted slot holds its connection");
        (Loan { slot: id, number }, conn)
    }

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

    /// Takes a waiting caller out of the queue with this outcome.
    pub(super) fn end(&mut self, ticket: Ticket, outcome: Outcome<E>) -> Waker {
        let caller = self.queue.waiter(ticket).caller;
        self.disentangle(&caller);
        self.queue.end(ticket, outcome)
    }

    pub(super) fn grant(&mut self, ticket: Ticket, id: SlotId, now: Ns, fx: &mut Effects<C>) {
        #[cfg(test)]
        let ticket = match self.planted {
            Some(super::walk::Planted::ServesLast) => self.queue.iter().last().map_or(ticket, |(last, _)| last),
            _ => ticket,
        };
        self.slots.enter(id, Phase::Granted, now);
        let waker = self.end(ticket, Outcome::Granted(id));
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::ForgetsToWake) {
            return;
        }
        fx.wake(waker);
    }

    pub(super) fn retire(&mut self, id: SlotId, conn: C, reason: CloseReason, now: Ns, fx: &mut Effects<C>) {
        self.start(id, conn, Phase::Closing(reason), now, fx);
    }

    /// Leaves a connection for the driver to ping, reset or close.
    pub(super) fn start(&mut self, id: SlotId, conn: C, phase: Phase, now: Ns, fx: &mut Effects<C>) {
        self.slots[id].conn = Some(conn);
        self.slots.enter(id, phase, now);
        self.todo.push_back(id);
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::ForgetsToKick) {
            return;
        }
        fx.kick = true;
    }

    /// Frees a slot whose connection is gone.
    pub(super) fn vacate(&mut self, id: SlotId, reason: CloseReason, now: Ns, fx: &mut Effects<C>) {
        let age = time(now.saturating_sub(self.slots[id].born));
        self.totals.closed_by.0[reason as usize] += 1;
        fx.events.push(Event::Closed { reason, age });
        self.slots.enter(id, Phase::Vacant, now);
        self.admitted = self.admitted.min(self.slots.used()).max(self.settings.cap().unwrap_or(u32::MAX));
    }

    /// Ends a caller's wait because its time has run out.
    pub(super) fn expire(&mut self, ticket: Ticket, stuck: &mut Option<bool>, now: Ns) -> Waker {
        self.totals.timeouts += 1;
        let verdict = self.verdict_for(ticket, stuck, now);
        self.end(ticket, Outcome::Expired(verdict))
    }

    /// Gives the first caller a connect error.
    pub(super) fn fail_first(&mut self, error: ConnectError<E>, fx: &mut Effects<C>) {
        if let Some((ticket, _)) = self.queue.first() {
            self.totals.connect_failures += 1;
            let waker = self.end(ticket, Outcome::Failed(error));
            fx.wake(waker);
        }
    }

    pub(super) fn alarm(&mut self, at: Ns, fx: &mut Effects<C>) {
        if at < self.armed {
            self.armed = at;
            fx.kick = true;
        }
    }

    /// The next draw (SplitMix64; Steele, Lea, Flood 2014).
    pub(super) fn draw(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
