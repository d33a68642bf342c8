//! The moves, one function each: what acts, for the steps of the other files.

use super::{
    Caller, Loan, Ns, SlotId, State,
    effects::Effects,
    live::Phase,
    nesting::Evidence,
    queue::{Outcome, Ticket},
    time,
};
use crate::{CloseReason, Event, Verdict, error::ConnectError};
use std::task::Waker;

impl<C, E> State<C, E> {
    /// Retires all connections as old as the one that was found dead, unless that has happened already.
    pub(super) fn disconnected(&mut self, id: SlotId, now: Ns, fx: &mut Effects<C, E>) {
        if self.slots[id].epoch == self.epoch && !self.closed {
            let retired = self.retire_all(now, fx);
            // What is still being dialled says nothing of the past: it may be the connect that wakes the database.
            self.slots.renew_opening(self.epoch);
            self.pulse.suspect();
            fx.events.push(Event::Suspect { retired });
        }
    }

    /// Raises the epoch and closes what is idle. Connections in use are closed when they come home.
    pub(super) fn retire_all(&mut self, now: Ns, fx: &mut Effects<C, E>) -> u32 {
        self.epoch = self.epoch.wrapping_add(1);
        let retired = self.idle.len();
        self.purge(now, fx);
        retired
    }

    pub(super) fn released(&mut self, id: SlotId, now: Ns, fx: &mut Effects<C, E>) {
        self.totals.released += 1;
        self.sites.record(self.slots[id].site, now.saturating_sub(self.slots[id].since));
        self.forget_marks(id);
        let slot = &mut self.slots[id];
        slot.proven = now;
        if std::mem::take(&mut slot.reported) {
            let held = time(now.saturating_sub(slot.since));
            fx.events.push(Event::LeakReturned { site: slot.site, held });
        }
    }

    pub(super) fn lend(&mut self, id: SlotId, caller: Caller, now: Ns) -> (Loan, C) {
        self.totals.acquired += 1;
        self.slots.enter(id, Phase::Lent, now);
        let number = self.totals.acquired;
        let slot = &mut self.slots[id];
        (slot.site, slot.task, slot.uses, slot.reported) = (caller.site, caller.task, slot.uses + 1, false);
        slot.loan = number;
        let conn = slot.conn.take().expect("BUG: an idle or granted slot holds its connection");
        (Loan { slot: id, number }, conn)
    }

    /// Takes a waiting caller out of the queue with this outcome.
    pub(super) fn end(&mut self, ticket: Ticket, outcome: Outcome<E>) -> Waker {
        let caller = self.queue.waiter(ticket).caller;
        self.disentangle(&caller);
        self.queue.end(ticket, outcome)
    }

    pub(super) fn grant(&mut self, ticket: Ticket, id: SlotId, now: Ns, fx: &mut Effects<C, E>) {
        #[cfg(test)]
        let ticket = match self.planted {
            Some(super::walk::Planted::ServesLast) => self.queue.iter().last().map_or(ticket, |(last, _)| last),
            _ => ticket,
        };
        self.slots.enter(id, Phase::Granted, now);
        self.slots[id].promised = Some(ticket);
        let waker = self.end(ticket, Outcome::Granted(id));
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::ForgetsToWake) {
            return;
        }
        fx.wake(waker);
    }

    pub(super) fn retire(&mut self, id: SlotId, conn: C, reason: CloseReason, now: Ns, fx: &mut Effects<C, E>) {
        self.start(id, conn, Phase::Closing(reason), now, fx);
    }

    /// Leaves a connection for the driver to ping, reset or close.
    pub(super) fn start(&mut self, id: SlotId, conn: C, phase: Phase, now: Ns, fx: &mut Effects<C, E>) {
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
    pub(super) fn vacate(&mut self, id: SlotId, reason: CloseReason, now: Ns, fx: &mut Effects<C, E>) {
        let age = time(now.saturating_sub(self.slots[id].born));
        self.totals.closed_by.0[reason as usize] += 1;
        fx.events.push(Event::Closed { reason, age });
        self.slots.enter(id, Phase::Vacant, now);
        self.admitted = self.admitted.min(self.slots.used()).max(self.settings.cap().unwrap_or(u32::MAX));
    }

    /// Ends a caller's wait because its time has run out.
    pub(super) fn expire(&mut self, ticket: Ticket, evidence: &mut Evidence, now: Ns) -> Waker {
        self.totals.timeouts += 1;
        let verdict = self.verdict_for(ticket, evidence, now);
        self.end(ticket, Outcome::Expired(verdict))
    }

    /// Takes back what was granted to a caller that has not collected it until its time was up: the next one waits for it.
    ///
    /// The caller was woken for the grant. When it comes, it finds that it is too late.
    pub(super) fn withdraw(&mut self, id: SlotId, ticket: Ticket, now: Ns, fx: &mut Effects<C, E>) {
        self.totals.timeouts += 1;
        self.queue.withdraw(ticket, Outcome::Expired(Verdict::Exhausted));
        let conn = self.slots.take_conn(id);
        self.settle(id, conn, now, fx);
    }

    /// As [`Self::expire`], for one caller by itself.
    pub(super) fn expire_alone(&mut self, ticket: Ticket, now: Ns) -> Waker {
        self.expire(ticket, &mut Evidence::default(), now)
    }

    /// Gives the first caller a connect error that time may cure.
    pub(super) fn fail_first(&mut self, error: ConnectError<E>, fx: &mut Effects<C, E>) {
        if let Some((ticket, _)) = self.queue.first() {
            self.totals.connect_failures += 1;
            let waker = self.end(ticket, Outcome::Failed(error));
            fx.wake(waker);
        } else {
            fx.errors.push(error);
        }
    }

    pub(super) fn alarm(&mut self, at: Ns, fx: &mut Effects<C, E>) {
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
