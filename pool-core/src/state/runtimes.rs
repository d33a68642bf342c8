//! The runtimes that a pool meets: on one of them its driver and its jobs run, and a connection lives on the one that opened it.
//!
//! A runtime may end, which a drop guard tells. Or it may stay alive while no thread runs it, after a `block_on` for one: then nothing
//! tells, and no timer of it rings. Callers that wait on another runtime find that out by calling the driver, and take over when it does
//! not answer for a second. What was at work there loses its claim, so that no slot waits for a runtime that may never run again. What
//! lives there is tested before it is lent.

use super::{Claim, DEAF, LOOK, NEVER, Ns, SlotId, State, effects::Effects, live::Phase};
use crate::{CloseReason, Event};

impl<C, E> State<C, E> {
    /// Notes that the driver was called.
    pub(crate) fn kicked(&mut self, now: Ns) {
        self.unanswered.get_or_insert(now);
    }

    /// Sees to it that a driver is at work: called by those who wait, on the runtime `here`, for something only a driver does.
    pub(crate) fn want_driver(&mut self, here: Option<u64>, now: Ns, fx: &mut Effects<C, E>) {
        if self.driver.is_none() {
            fx.kick = true;
        } else if here.is_some() && self.driver != here {
            match self.unanswered {
                Some(since) if now.saturating_sub(since) >= DEAF => self.take_over(now, fx),
                // Asked now and then only, for every call has the driver look at all there is.
                None if now.saturating_sub(self.swept) >= LOOK => fx.kick = true,
                _ => {}
            }
        }
    }

    /// Has another driver started, here, because the runtime of the one there is does not run.
    pub(crate) fn take_over(&mut self, now: Ns, fx: &mut Effects<C, E>) {
        let deaf = self.driver.take();
        self.unanswered = None;
        for slot in self.slots.iter_mut() {
            if slot.conn.is_none() && slot.claim != 0 && slot.worker == deaf {
                slot.forsake();
            } else if slot.home == deaf {
                slot.doubted = true;
            }
        }
        self.purge(now, fx);
        self.rouse(fx); // whoever counted on that driver for its deadline must arm a timer of its own
        self.advance(now, fx);
        (fx.kick, fx.news, fx.drained) = (true, true, true);
    }

    /// Gives up a slot whose job runs on a runtime that does not run.
    pub(super) fn forsake(&mut self, id: SlotId, now: Ns, fx: &mut Effects<C, E>) {
        self.slots[id].claim = 0;
        self.abandoned += 1;
        fx.events.push(Event::Abandoned);
        let reason = match self.slots[id].phase() {
            Phase::Opening => {
                self.totals.connect_errors += 1;
                return self.slots.enter(id, Phase::Vacant, now); // nothing was established
            }
            Phase::Resetting => CloseReason::ResetFailed,
            Phase::Closing(reason) => reason,
            _ => CloseReason::Broken,
        };
        self.vacate(id, reason, now, fx);
    }

    /// A runtime has ended, and the driver with this number with it: the connections that live there are dead, and there is nobody to say
    /// goodbye to the server.
    pub(crate) fn runtime_ended(&mut self, runtime: u64, number: u32, now: Ns, fx: &mut Effects<C, E>) {
        if number == self.drivers {
            self.driver = None;
            self.armed = NEVER;
        }
        let slots = &self.slots;
        self.todo.retain(|id| slots[*id].home != Some(runtime));
        let again = self.withdraw_grants(runtime);
        let past = self.epoch.wrapping_sub(1);
        for slot in self.slots.iter_mut().filter(|slot| slot.home == Some(runtime) && slot.phase() != Phase::Opening) {
            (slot.home, slot.epoch) = (None, past);
        }
        for id in again {
            let conn = self.slots.take_conn(id);
            self.settle(id, conn, now, fx);
        }
        self.purge(now, fx);
        self.rouse(fx); // whoever comes first brings a runtime for the next driver
        (fx.news, fx.drained) = (true, true); // those who wait must look, and start another driver
    }

    /// Puts callers back into the queue that were granted a connection of this runtime, and those that came after them. Returns the good
    /// connections of the latter, to be granted again in the order of arrival.
    fn withdraw_grants(&mut self, runtime: u64) -> Vec<SlotId> {
        let dead = |id: &SlotId| self.slots[*id].home == Some(runtime);
        let numbered = |(id, ticket)| (self.queue.number(ticket), id, ticket);
        let mut granted: Vec<_> = self.slots.granted().map(numbered).collect();
        let Some(first) = granted.iter().filter(|(_, id, _)| dead(id)).map(|(number, ..)| *number).min() else {
            return Vec::new();
        };
        granted.retain(|(number, ..)| *number >= first);
        granted.sort_unstable_by_key(|(number, ..)| std::cmp::Reverse(*number));
        let again = granted.iter().map(|(_, id, _)| *id).filter(|id| !dead(id)).collect();
        for (_, id, ticket) in granted {
            self.slots[id].promised = None;
            self.queue.restore(ticket);
            let caller = self.queue.waiter(ticket).caller;
            self.entangle(&caller);
        }
        again
    }

    /// Drops a connection whose runtime has ended.
    pub(super) fn dispose(&mut self, id: SlotId, now: Ns, fx: &mut Effects<C, E>) {
        if self.slots[id].phase() == Phase::Idle {
            self.idle.remove(id);
        }
        let conn = self.slots.take_conn(id);
        fx.dispose.push(conn);
        self.abandoned += 1;
        let reason = if self.closed { CloseReason::Shutdown } else { CloseReason::Broken };
        self.vacate(id, reason, now, fx);
    }

    /// A connection was found dead. If it lives on another runtime than the driver's, which may not run, that says nothing of the server:
    /// what lives there with it is retired, and nothing else.
    pub(super) fn found_dead(&mut self, id: SlotId, now: Ns, fx: &mut Effects<C, E>) {
        if self.slots[id].home == self.driver || self.driver.is_none() {
            return self.disconnected(id, now, fx);
        }
        let (home, past) = (self.slots[id].home, self.epoch.wrapping_sub(1));
        for slot in self.slots.iter_mut().filter(|slot| slot.home == home) {
            slot.epoch = past;
        }
        self.purge(now, fx);
    }

    /// Starts a job on the driver's runtime.
    pub(super) fn hire(&mut self, id: SlotId) -> Claim {
        self.slots.claim(id, self.driver)
    }
}
