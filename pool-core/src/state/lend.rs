//! Asking, getting, giving back.

use super::{
    Caller, Loan, Ns, Refusal, SlotId, State,
    effects::Effects,
    live::Phase,
    nanos,
    queue::{Outcome, Ticket, Waiter},
    rules::Fitness,
    time,
};
use crate::{CloseReason, Event, Nested, Pause, Step, TryAcquireError, Verdict, error::ConnectError};
use std::task::Waker;

impl<C, E> State<C, E> {
    /// Lends an idle, fresh connection. The common step: no effects.
    pub(crate) fn take(&mut self, caller: Caller, now: Ns) -> Option<(Loan, C)> {
        if !self.queue.is_empty() || self.closed || self.paused.is_some() || self.injected.is_some() {
            return None; // nobody overtakes
        }
        let id = self.idle.peek()?;
        if !matches!(self.fitness(id, now), Fitness::Lend) {
            return None;
        }
        if self.settings.nested == Nested::Deny && self.held_by(&caller).is_some() {
            return None; // refused by `wait`
        }
        Some(self.lend_idle(id, caller, now))
    }

    fn lend_idle(&mut self, id: SlotId, caller: Caller, now: Ns) -> (Loan, C) {
        if let Some(outer) = self.held_by(&caller) {
            let warning = self.warning(outer, caller.site);
            self.nesting.remarks.extend(warning);
        }
        self.idle.remove(id);
        let lent = self.lend(id, caller, now);
        self.unfinished =
            !self.nesting.remarks.is_empty() || (self.settings.min_idle > 0 && self.wants_connection(now));
        lent
    }

    /// Lends any idle connection that needs no test, or says why none can be lent at once.
    pub(crate) fn try_take(&mut self, caller: Caller, now: Ns) -> Result<(Loan, C), TryAcquireError> {
        if let Some(why) = self.refuses_to_try(&caller) {
            return Err(why);
        }
        if !self.queue.is_empty() {
            return Err(TryAcquireError::Busy); // nobody overtakes
        }
        let fresh = self.idle.in_turn().find(|&id| matches!(self.fitness(id, now), Fitness::Lend));
        fresh.map(|id| self.lend_idle(id, caller, now)).ok_or(TryAcquireError::Busy)
    }

    /// Why even an idle, fresh connection is not lent to this caller.
    fn refuses_to_try(&self, caller: &Caller) -> Option<TryAcquireError> {
        if self.closed {
            return Some(TryAcquireError::Closed);
        }
        match self.injected {
            None => {}
            Some(Verdict::Closed) => return Some(TryAcquireError::Closed),
            Some(Verdict::Paused) => return Some(TryAcquireError::Paused),
            Some(Verdict::Nested) => return Some(TryAcquireError::Nested),
            Some(_) => return Some(TryAcquireError::Busy),
        }
        if self.paused.is_some() {
            return Some(TryAcquireError::Paused);
        }
        let nested = self.settings.nested == Nested::Deny && self.held_by(caller).is_some();
        nested.then_some(TryAcquireError::Nested)
    }

    /// Does what a `take` left: a warning to tell, a spare connection to open. Rare, so that the common step stays without effects.
    pub(crate) fn after_take(&mut self, now: Ns, fx: &mut Effects<C, E>) {
        self.unfinished = false;
        fx.events.append(&mut self.nesting.remarks);
        self.advance(now, fx);
    }

    /// Takes back a clean connection that nobody waits for. The other common step: no effects.
    ///
    /// Hands the connection back if it is wanted, worn out or too many; [`Self::come_home`] then decides.
    pub(crate) fn give(&mut self, id: SlotId, conn: C, now: Ns) -> Result<(), C> {
        let wanted = !self.queue.is_empty();
        let surplus = self.idle.len() >= self.settings.pool_size;
        let reported = self.slots[id].reported; // coming home is news
        if wanted || surplus || reported || self.worn_out(id, now).is_some() {
            return Err(conn);
        }
        self.totals.released += 1;
        self.sites.record(self.slots[id].site, now.saturating_sub(self.slots[id].since));
        let slot = &mut self.slots[id];
        (slot.conn, slot.proven) = (Some(conn), now);
        self.slots.enter(id, Phase::Idle, now);
        self.idle.push(id);
        Ok(())
    }

    /// Takes back a connection that its user has finished with, clean.
    pub(crate) fn come_home(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C, E>) {
        self.released(id, now, fx);
        self.settle(id, conn, now, fx);
        self.advance(now, fx);
    }

    /// Takes back a connection that may have something left over.
    pub(crate) fn come_home_dirty(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C, E>) {
        self.released(id, now, fx);
        match self.worn_out(id, now) {
            Some(reason) => self.retire(id, conn, reason, now, fx),
            None => self.start(id, conn, Phase::Resetting, now, fx),
        }
        self.advance(now, fx);
    }

    /// Takes back a connection that was found dead in use.
    pub(crate) fn come_home_broken(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C, E>) {
        self.released(id, now, fx);
        self.found_dead(id, now, fx);
        self.retire(id, conn, CloseReason::Broken, now, fx);
        self.advance(now, fx);
    }

    /// Takes back a connection that is to be closed, which says nothing of the others.
    pub(crate) fn discard(&mut self, id: SlotId, conn: C, reason: CloseReason, now: Ns, fx: &mut Effects<C, E>) {
        self.released(id, now, fx);
        self.retire(id, conn, reason, now, fx);
        self.advance(now, fx);
    }

    /// Gives up a slot whose connection its user keeps.
    pub(crate) fn detach(&mut self, id: SlotId, now: Ns, fx: &mut Effects<C, E>) {
        self.released(id, now, fx);
        self.vacate(id, CloseReason::Removed, now, fx);
        self.advance(now, fx);
    }

    /// Puts a caller into the queue. The answer is in its seat as soon as there is one, which may be at once.
    pub(crate) fn wait(
        &mut self,
        caller: Caller,
        deadline: Ns,
        waker: Waker,
        now: Ns,
        fx: &mut Effects<C, E>,
    ) -> Wait<E> {
        if let Some(refusal) = self.refuse(&caller, now, fx) {
            match refusal {
                Refusal::Closed => self.totals.rejected_closed += 1,
                Refusal::Injected(_) => {}
                Refusal::Hopeless(_) => self.totals.connect_failures += 1,
                _ => self.totals.refused += 1,
            }
            fx.spent.push(waker);
            return Wait::Refused(refusal);
        }
        let ticket = self.queue.push(Waiter { arrived: self.arrival(now), deadline, caller }, waker);
        self.entangle(&caller);
        self.advance(now, fx);
        if self.queue.is_waiting(ticket) {
            self.totals.found_full += u64::from(self.slots.is_full());
            if deadline <= now {
                let waker = self.expire_alone(ticket, now);
                fx.spent.push(waker); // the caller is here
            } else {
                self.alarm(deadline, fx);
            }
        }
        Wait::Queued(ticket)
    }

    /// Why a caller may not even wait, if there is a reason.
    fn refuse(&mut self, caller: &Caller, now: Ns, fx: &mut Effects<C, E>) -> Option<Refusal<E>> {
        if self.closed {
            return Some(Refusal::Closed);
        }
        if let Some(verdict) = self.injected {
            return Some(Refusal::Injected(verdict));
        }
        if self.paused == Some(Pause::Refuse) {
            return Some(Refusal::Paused);
        }
        if let Some(limit) = self.settings.max_waiting
            && self.queue.len() >= limit.saturating_add(self.supply())
        {
            return Some(Refusal::QueueFull(limit));
        }
        if let Some(refusal) = self.refuse_nested(caller, fx) {
            return Some(refusal);
        }
        self.hopeless(now).cloned().map(Refusal::Hopeless)
    }

    /// Collects what a caller was given. `None`: it still waits, and should see to it that its waker [is known](Self::would_wake).
    pub(crate) fn collect(&mut self, ticket: Ticket, now: Ns, fx: &mut Effects<C, E>) -> Option<Collected<C, E>> {
        if self.queue.is_waiting(ticket) {
            fx.kick |= self.driver.is_none(); // its runtime has ended: this caller's takes over
            return None;
        }
        let Waiter { arrived, caller, .. } = *self.queue.waiter(ticket);
        Some(match self.queue.leave(ticket) {
            Outcome::Granted(id) => {
                self.totals.waited += 1;
                let waited = now.saturating_sub(arrived.at);
                self.timings.acquire_wait.record(waited);
                if waited >= nanos(self.settings.slow_acquire) {
                    let timeline = self.story(arrived, now, Step::Granted);
                    fx.events.push(Event::SlowAcquire { site: caller.site, waited: time(waited), timeline });
                }
                let (loan, conn) = self.lend(id, caller, now);
                Collected::Lent(loan, conn)
            }
            Outcome::Failed(error) => Collected::Failed(error),
            Outcome::Expired(verdict) => Collected::Expired(verdict),
            Outcome::Closed => Collected::Closed,
            Outcome::Paused => Collected::Paused,
            Outcome::Free | Outcome::Waiting(_) => unreachable!("BUG: a ticket without an answer was collected"),
        })
    }

    /// Whether the end of a wait would wake this waker.
    pub(crate) fn would_wake(&self, ticket: Ticket, waker: &Waker) -> bool {
        self.queue.would_wake(ticket, waker)
    }

    /// Leaves another waker of a caller, which was cloned before the lock, because that runs foreign code. `false`: it waits no longer.
    pub(crate) fn renew_waker(&mut self, ticket: Ticket, waker: Waker, fx: &mut Effects<C, E>) -> bool {
        let waits = self.queue.is_waiting(ticket);
        let spent = if waits { self.queue.renew_waker(ticket, waker) } else { waker };
        fx.spent.push(spent);
        waits
    }

    /// Ends the wait of one caller whose own timer has rung.
    pub(crate) fn time_out(&mut self, ticket: Ticket, now: Ns, fx: &mut Effects<C, E>) {
        if self.queue.is_waiting(ticket) {
            let waker = self.expire_alone(ticket, now);
            fx.spent.push(waker); // the caller is here
        }
    }

    /// A caller leaves. What it was granted goes to the next.
    pub(crate) fn leave(&mut self, ticket: Ticket, now: Ns, fx: &mut Effects<C, E>) {
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::CancelLosesGrant) {
            self.queue.leave(ticket);
            return;
        }
        let caller = self.queue.waiter(ticket).caller;
        match self.queue.leave(ticket) {
            Outcome::Waiting(waker) => {
                self.disentangle(&caller);
                self.totals.cancelled += 1;
                fx.spent.push(waker);
            }
            Outcome::Granted(id) => {
                self.totals.cancelled += 1;
                let conn = self.slots.take_conn(id);
                self.settle(id, conn, now, fx);
                self.advance(now, fx);
            }
            Outcome::Failed(error) => fx.errors.push(error),
            _ => {}
        }
    }
}

/// What [`State::wait`] answers.
pub(crate) enum Wait<E> {
    Queued(Ticket),
    Refused(Refusal<E>),
}

/// What [`State::collect`] finds.
pub(crate) enum Collected<C, E> {
    Lent(Loan, C),
    Failed(ConnectError<E>),
    Expired(Verdict),
    Closed,
    Paused,
}
