//! The rules, one function each: what asks, and changes nothing.

use super::{Ns, SlotId, State, live::Phase, nanos};
use crate::{CloseReason, Health, error::ConnectError};

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
        if slot.doubted {
            return Fitness::Ping;
        }
        let suspect = self.pulse.health == Health::Suspect;
        let fresh = if suspect { 0 } else { nanos(self.settings.pre_ping_after) };
        if self.settings.pool_pre_ping && unproven >= fresh { Fitness::Ping } else { Fitness::Lend }
    }

    /// When the next connect may begin, if callers wait or idle ones lack beyond what is on its way, and there is room.
    pub(super) fn next_connect(&self, now: Ns) -> Option<Ns> {
        if self.closed || self.paused.is_some() || self.settings.cap().is_some_and(|cap| self.slots.used() >= cap) {
            return None;
        }
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
        let warm_up = self.slots.used() < self.start.aim();
        match callers {
            true => Some(self.pulse.not_before()),
            false => (spare || warm_up).then(|| self.pulse.not_before().max(self.rest_until())),
        }
    }

    /// Until when a server that grants fewer connections than `pool_size` is not asked for more, if nobody waits.
    pub(super) fn rest_until(&self) -> Ns {
        if self.slots.established() > 0 { self.pulse.rest_until() } else { 0 }
    }

    /// The error that is the answer to callers who wait: no connect is worth an attempt now, and nothing of the pool's own is on its way.
    pub(super) fn hopeless(&self, now: Ns) -> Option<&ConnectError<E>> {
        self.pulse.refusal(now).filter(|_| self.coming() <= self.queue.len() && self.paused.is_none())
    }

    /// Connections that callers in the queue may get with neither a connect nor a return.
    pub(super) fn coming(&self) -> u32 {
        self.idle.len() + self.slots.count(Phase::Pinging) + self.slots.count(Phase::Resetting)
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
        self.next_connect(now).is_some_and(|at| at <= now) && opening < at_once
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
}
