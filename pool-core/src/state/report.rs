//! What the state tells of itself: numbers, holders, stories, verdicts, and whether its invariants hold.

use super::{
    Arrival, NEVER, Ns, State,
    live::{Phase, Slot},
    nanos, time,
};
use crate::{CloseReason, Moment, Site, SiteTimings, Status, Step, Timings, Verdict, error::ConnectError};
use std::time::Duration;

impl<C, E> State<C, E> {
    pub(crate) fn status(&self, now: Ns) -> Status {
        let open = self.slots.open_count();
        Status {
            name: self.settings.name.clone(),
            pool_size: self.settings.pool_size,
            max_overflow: self.settings.max_overflow,
            open,
            idle: self.idle.len(),
            in_use: self.slots.in_use(),
            peak: self.slots.peak(),
            full: time(self.slots.full(now)),
            sized: time(self.slots.sized(now)),
            connect_failures: self.pulse.failures(),
            opening: self.slots.count(Phase::Opening),
            pinging: self.slots.count(Phase::Pinging),
            resetting: self.slots.count(Phase::Resetting),
            closing: self.slots.count(Phase::Closing(CloseReason::Shutdown)),
            overflow: open.saturating_sub(self.settings.pool_size),
            abandoned: self.abandoned,
            waiting: self.queue.len(),
            oldest_wait: self.queue.first().map(|(_, w)| time(now.saturating_sub(w.arrived.at))),
            health: self.pulse.health,
            closed: self.closed,
            paused: self.paused.is_some(),
            totals: self.totals.clone(),
        }
    }

    /// Who has a connection, lent or granted, and for how long. [`Holder::of_all`] adds them up, which takes longer.
    pub(crate) fn held(&self, now: Ns) -> Vec<(Site, Duration)> {
        let since = |slot: &Slot<C>| time(now.saturating_sub(slot.since));
        let lent = self.slots.lent().map(|(_, slot)| (slot.site, since(slot)));
        let mut held = Vec::with_capacity(self.slots.in_use() as usize);
        held.extend(lent);
        if self.slots.count(Phase::Granted) > 0 {
            let granted = self.slots.granted();
            held.extend(granted.map(|(id, ticket)| (self.queue.waiter(ticket).caller.site, since(&self.slots[id]))));
        }
        held
    }

    pub(crate) fn last_connect_error(&self) -> Option<&ConnectError<E>> {
        self.pulse.last_error()
    }

    /// The error that every caller who needs a connect is given now, if there is one.
    pub(crate) fn refusal(&self, now: Ns) -> Option<&ConnectError<E>> {
        self.pulse.refusal(now)
    }

    /// When the next connect is worth an attempt, if that is known.
    pub(crate) fn refused_for(&self, now: Ns) -> Option<Duration> {
        Some(time(self.pulse.refused_for(now))).filter(|left| !left.is_zero())
    }

    /// How long the oldest connect under way has been so.
    pub(crate) fn unanswered_connect(&self, now: Ns) -> Option<Duration> {
        let under_way = self.slots.iter().filter(|(_, slot)| slot.phase() == Phase::Opening);
        under_way.map(|(_, slot)| time(now.saturating_sub(slot.since))).max()
    }

    /// Distributions since the pool was made.
    pub(crate) fn timings(&self) -> Timings {
        let mut timings = self.timings.clone();
        timings.hold = self.sites.hold();
        timings.acquire_wait = timings.acquire_wait.with_zeros(self.totals.acquired - self.totals.waited);
        timings
    }

    /// How long each site held what it borrowed.
    pub(crate) fn sites(&self) -> Vec<SiteTimings> {
        self.sites.timings()
    }

    /// What happened since a caller came, and how it ended.
    pub(crate) fn story(&self, arrived: Arrival, now: Ns, end: Step) -> Vec<Moment> {
        let mut story = self.journal.since(arrived);
        // Only what had begun before: the rest is in the journal.
        let earlier = self.slots.iter().filter(|(_, slot)| slot.phase() == Phase::Opening && slot.since < arrived.at);
        if let Some(began) = earlier.map(|(_, slot)| slot.since).min() {
            story.insert(1, Moment { after: time(0), step: Step::ConnectUnderWay(time(arrived.at - began)) });
        }
        story.push(Moment { after: time(now.saturating_sub(arrived.at)), step: end });
        story
    }

    /// The present, for a story that begins now.
    pub(crate) fn arrival(&self, now: Ns) -> Arrival {
        Arrival { at: now, mark: self.journal.mark() }
    }

    /// What keeps a caller from being served right now.
    pub(crate) fn verdict(&self, now: Ns) -> Verdict {
        let full = self.settings.cap().is_some_and(|cap| self.slots.used() >= cap);
        // Where most are in use, it is not the few connects under way that keep a caller waiting.
        let coming = self.slots.count(Phase::Opening) + self.slots.count(Phase::Pinging);
        let opening = 2 * coming >= self.slots.used();
        if self.closed {
            Verdict::Closed
        } else if self.paused.is_some() {
            Verdict::Paused
        } else if !full || (coming > 0 && opening) {
            Verdict::Connecting
        } else {
            let limit = self.settings.leak_after.map_or(NEVER, nanos);
            let leaking = self.slots.lent().any(|(_, slot)| now.saturating_sub(slot.since) >= limit);
            if leaking { Verdict::Leaking } else { Verdict::Exhausted }
        }
    }

    /// The invariants of the design, checked. The first that does not hold is described.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check(&self, now: Ns) -> Result<(), String> {
        self.slots.check()?;
        #[cfg(test)]
        self.check_nesting()?; // looks at every caller in the queue, which is too slow for a debug build
        let fail = |what: String| Err(what);
        let s = self.status(now);
        let parts = s.idle + s.in_use + s.pinging + s.resetting + s.closing;
        if parts != s.open {
            return fail(format!("open is {}, its parts are {parts}", s.open));
        }
        if self.totals.opened - self.totals.closed() != u64::from(s.open) {
            return fail(format!(
                "opened {} - closed {} is not open {}",
                self.totals.opened,
                self.totals.closed(),
                s.open
            ));
        }
        if self.totals.acquired - self.totals.released != u64::from(self.slots.count(Phase::Lent)) {
            return fail(format!("acquired - released is not the {} lent", self.slots.count(Phase::Lent)));
        }
        if s.opening + s.open > self.admitted {
            return fail(format!(
                "{} opening and {} open exceed {} + {}",
                s.opening, s.open, s.pool_size, s.max_overflow
            ));
        }
        if s.idle != self.slots.count(Phase::Idle) {
            return fail(format!("{} on the idle stack, {} idle slots", s.idle, self.slots.count(Phase::Idle)));
        }
        if s.idle > s.pool_size && self.settings.overflow_linger.is_zero() {
            return fail(format!("{} idle with pool_size {}", s.idle, s.pool_size));
        }
        let pinging_enough = s.pinging >= s.waiting;
        if s.waiting > 0 && s.idle > 0 && !pinging_enough && !s.paused && !self.is_busy() {
            return fail(format!("{} wait while {} are idle", s.waiting, s.idle));
        }
        let todo: std::collections::HashSet<_> = self.todo.iter().copied().collect();
        for (id, slot) in self.slots.iter() {
            let here = match slot.phase() {
                Phase::Idle | Phase::Granted => true,
                Phase::Pinging | Phase::Resetting | Phase::Closing(_) => todo.contains(&id),
                Phase::Lent | Phase::Opening | Phase::Vacant => false,
            };
            let left_over = slot.home.is_none() && self.is_busy(); // its runtime has ended, and it has not had its turn
            if slot.conn.is_some() != here && !left_over {
                return fail(format!(
                    "slot {id} in phase {:?}: connection here {}, expected {here}",
                    slot.phase(),
                    slot.conn.is_some()
                ));
            }
        }
        if self.closed && (s.idle > 0 || s.waiting > 0) && !self.is_busy() {
            return fail(format!("closed with {} idle and {} waiting", s.idle, s.waiting));
        }
        Ok(())
    }

    /// Whether a caller waits with nothing under way for it and nobody to be woken. (Invariant 3, second half.)
    #[cfg(test)]
    pub(crate) fn is_stuck(&self, now: Ns) -> bool {
        let under_way = self.slots.count(Phase::Opening) + self.slots.count(Phase::Pinging);
        let full = self.settings.cap().is_some_and(|cap| self.slots.used() >= cap);
        !self.queue.is_empty()
            && self.paused.is_none()
            && under_way == 0
            && !full
            && self.pulse.not_before() <= now
            && !self.wants_connection(now)
    }
}
