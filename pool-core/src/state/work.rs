//! What the driver asks for and reports: sweeps, alarms, and the jobs with their ends.

use super::{
    Claim, NEVER, Ns, SlotId, State,
    effects::{Effects, Job},
    journal,
    live::Phase,
    nanos,
    pieces::{Away, PIECE},
    queue::Ticket,
    rules::Fitness,
    time,
};
use crate::{CloseReason, Event, error::ConnectError};

impl<C, E> State<C, E> {
    /// Does what is due, or a piece of it, and says when to come again.
    pub(crate) fn sweep(&mut self, now: Ns, fx: &mut Effects<C, E>) -> Ns {
        (self.unanswered, self.swept) = (None, now);
        let mut evidence = self.pieces.evidence.take().unwrap_or_default();
        let mut left = PIECE;
        while let Some(ticket) = self.queue.due(now).filter(|_| left > 0) {
            #[cfg(test)]
            if self.planted == Some(super::walk::Planted::KeepsExpired) {
                break;
            }
            let waker = self.expire(ticket, &mut evidence, now);
            fx.wake(waker);
            left -= 1;
        }
        self.pieces.evidence = (left == 0).then_some(evidence);
        self.sweep_grants(&mut left, now, fx);
        self.sweep_idle(&mut left, now, fx);
        self.sweep_leaks(&mut left, now, fx);
        self.sweep_keepalive(&mut left, now, fx);
        self.advance(now, fx);
        self.armed = if left == 0 { now } else { self.next_alarm(now) };
        self.armed
    }

    /// The next piece of work, judged at this moment; `None` when there is none.
    pub(crate) fn next_job(&mut self, now: Ns, fx: &mut Effects<C, E>) -> Option<Job<C>> {
        while let Some(id) = self.todo.pop_front() {
            let conn = self.slots.take_conn(id);
            let reset = nanos(self.settings.reset_timeout);
            match self.slots[id].phase() {
                // Whoever wanted it is gone; it stays as unproven as it was. Nor is one tested that is to be closed.
                Phase::Pinging if self.closed || (self.queue.is_empty() && !self.slots[id].keepalive) => {
                    self.back_to_idle(id, conn, now, fx);
                }
                Phase::Pinging => {
                    self.totals.pings += 1;
                    self.slots.enter(id, Phase::Pinging, now); // its time runs from here
                    self.journal.note(now, journal::Entry::PingBegan);
                    return Some(Job::Ping { slot: self.hire(id), conn, limit: nanos(self.settings.ping_timeout) });
                }
                Phase::Resetting => {
                    self.totals.resets += 1;
                    return Some(Job::Reset { slot: self.hire(id), conn, limit: reset });
                }
                Phase::Closing(reason) => return Some(Job::Close { slot: self.hire(id), conn, limit: reset, reason }),
                phase => unreachable!("BUG: nothing to do for a slot in phase {phase:?}"),
            }
        }
        if self.wants_connection(now) {
            let id = self.slots.open(self.epoch, now);
            self.slots[id].home = Some(self.driver.unwrap_or_default());
            let slot = self.hire(id);
            self.journal.note(now, journal::Entry::ConnectBegan);
            self.alarm(now.saturating_add(self.late()), fx);
            return Some(Job::Connect { slot, limit: self.connect_limit(now) });
        }
        None
    }

    /// How long the next connect may take: what earlier failures have left of `connection_timeout` to the first caller.
    fn connect_limit(&self, now: Ns) -> Ns {
        let whole = nanos(self.settings.connection_timeout);
        let spent = self.queue.first().map_or(0, |(_, waiter)| self.pulse.failing_for(waiter.arrived.at, now));
        if spent < whole { whole - spent } else { whole }
    }

    /// A connect has succeeded. Like all reports on a connection, it hands the connection back if the job has lost its claim.
    pub(crate) fn connected(&mut self, claim: Claim, conn: C, now: Ns, fx: &mut Effects<C, E>) -> Option<C> {
        let Some(id) = self.slots.unclaim(claim) else { return Some(conn) };
        self.totals.opened += 1;
        let took = now.saturating_sub(self.slots[id].since);
        let dice = self.draw();
        let slot = &mut self.slots[id];
        (slot.born, slot.proven, slot.jitter) = (now, now, dice.rotate_left(32));
        slot.expires = self.settings.pool_recycle.map_or(NEVER, |age| {
            let jitter = (age / 10).mul_f64((dice >> 11) as f64 / (1u64 << 53) as f64);
            now.saturating_add(nanos(age - jitter))
        });
        let expires = slot.expires;
        self.timings.connect.record(took);
        self.journal.note(now, journal::Entry::Connected);
        fx.events.push(Event::Opened { took: time(took) });
        let (is_news, error) = self.pulse.connected();
        fx.errors.extend(error);
        if is_news {
            fx.events.push(Event::Recovered);
        }
        // From here on a common step may leave it idle without a kick, so the driver must know when to look.
        let look = now.saturating_add(self.period());
        self.alarm(expires.min(look), fx);
        self.settle(id, conn, now, fx);
        self.check_start(fx);
        self.advance(now, fx);
        None
    }

    /// A connect has failed: retried later if waiting can help, else given to every caller that waits.
    pub(crate) fn connect_failed(
        &mut self,
        claim: Claim,
        error: ConnectError<E>,
        said: String,
        now: Ns,
        fx: &mut Effects<C, E>,
    ) {
        let Some(id) = self.slots.unclaim(claim) else { return fx.errors.push(error) };
        self.totals.connect_errors += 1;
        fx.news |= self.start.is_under_way();
        let began = self.slots[id].since;
        self.slots.enter(id, Phase::Vacant, now);
        self.journal.note(now, journal::Entry::ConnectFailed(said.as_str().into()));
        let dice = self.draw();
        let (pause, earlier) = self.pulse.connect_failed(error.clone(), began, now, dice);
        fx.errors.extend(earlier);
        let hopeless = error.class.is_hopeless();
        if !self.closed {
            fx.events.push(Event::ConnectFailed { error: said, retry_in: (!hopeless).then(|| time(pause)) });
        }
        if hopeless && !self.queue.is_empty() {
            self.pulse.all_told();
            self.turn_away(Away::Failed(error.clone()), fx);
        } else if self.slots.in_use() + self.slots.count(Phase::Resetting) == 0 {
            // Nothing can come home, so whoever has seen a whole connection_timeout of failures need not wait on.
            let limit = nanos(self.settings.connection_timeout);
            while self.queue.first().is_some_and(|(_, w)| self.pulse.failing_for(w.arrived.at, now) >= limit) {
                self.fail_first(error.clone(), fx);
            }
        }
        fx.errors.push(error);
        self.advance(now, fx);
    }

    /// A ping was answered.
    pub(crate) fn pinged(&mut self, claim: Claim, conn: C, now: Ns, fx: &mut Effects<C, E>) -> Option<C> {
        let Some(id) = self.slots.unclaim(claim) else { return Some(conn) };
        if self.pulse.answered() {
            fx.events.push(Event::Recovered);
        }
        self.journal.note(now, journal::Entry::PingAnswered);
        self.timings.ping.record(now.saturating_sub(self.slots[id].since));
        let slot = &mut self.slots[id];
        (slot.proven, slot.keepalive, slot.doubted) = (now, false, false);
        if self.queue.is_empty() {
            self.back_to_idle(id, conn, now, fx);
        } else {
            self.settle(id, conn, now, fx);
        }
        self.advance(now, fx);
        None
    }

    /// A ping failed or ran out of time. `lost`: the server is gone, not this connection alone.
    pub(crate) fn ping_failed(
        &mut self,
        claim: Claim,
        conn: Option<C>,
        lost: bool,
        now: Ns,
        fx: &mut Effects<C, E>,
    ) -> Option<C> {
        let Some(id) = self.slots.unclaim(claim) else { return conn };
        self.journal.note(now, journal::Entry::PingFailed);
        self.gone_or_retired(id, conn, CloseReason::Broken, lost, now, fx);
        None
    }

    /// A connection was cleaned.
    pub(crate) fn was_reset(&mut self, claim: Claim, conn: C, now: Ns, fx: &mut Effects<C, E>) -> Option<C> {
        let Some(id) = self.slots.unclaim(claim) else { return Some(conn) };
        self.slots[id].doubted = false;
        self.settle(id, conn, now, fx);
        self.advance(now, fx);
        None
    }

    /// A connection could not be cleaned.
    pub(crate) fn reset_failed(
        &mut self,
        claim: Claim,
        conn: Option<C>,
        lost: bool,
        now: Ns,
        fx: &mut Effects<C, E>,
    ) -> Option<C> {
        let Some(id) = self.slots.unclaim(claim) else { return conn };
        self.gone_or_retired(id, conn, CloseReason::ResetFailed, lost, now, fx);
        None
    }

    /// A close has ended; `confirmed` if within its limit.
    pub(crate) fn was_closed(
        &mut self,
        claim: Claim,
        reason: CloseReason,
        confirmed: bool,
        now: Ns,
        fx: &mut Effects<C, E>,
    ) {
        let Some(id) = self.slots.unclaim(claim) else { return };
        if !confirmed {
            self.abandoned += 1;
            fx.events.push(Event::Abandoned);
        }
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::CloseKeepsSlot) {
            return;
        }
        self.vacate(id, reason, now, fx);
        self.advance(now, fx);
    }

    /// Gives up a connection whose job failed. `lost`: the server is gone, not this connection alone.
    fn gone_or_retired(
        &mut self,
        id: SlotId,
        conn: Option<C>,
        reason: CloseReason,
        lost: bool,
        now: Ns,
        fx: &mut Effects<C, E>,
    ) {
        if lost {
            self.found_dead(id, now, fx);
        }
        match conn {
            Some(conn) => self.retire(id, conn, reason, now, fx),
            None => {
                // The job took the connection with it, so nobody said goodbye to the server.
                self.abandoned += 1;
                fx.events.push(Event::Abandoned);
                self.vacate(id, reason, now, fx);
            }
        }
        self.advance(now, fx);
    }

    /// Takes back what its caller has not collected in time.
    fn sweep_grants(&mut self, left: &mut usize, now: Ns, fx: &mut Effects<C, E>) {
        if self.slots.count(Phase::Granted) == 0 {
            return;
        }
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::KeepsGrants) {
            return;
        }
        let overdue = |(_, ticket): &(_, Ticket)| self.queue.waiter(*ticket).deadline <= now;
        let overdue: Vec<_> = self.slots.granted().filter(overdue).take(*left).collect();
        for (id, ticket) in overdue {
            self.withdraw(id, ticket, now, fx);
            *left -= 1;
        }
    }

    fn sweep_idle(&mut self, left: &mut usize, now: Ns, fx: &mut Effects<C, E>) {
        let linger = nanos(self.settings.overflow_linger);
        // One by one, for each that goes may be the one that makes the next worth keeping (`min_idle`).
        for id in self.idle.iter().collect::<Vec<_>>() {
            if *left == 0 {
                return;
            }
            if let Fitness::Retire(reason) = self.fitness(id, now) {
                self.close_idle(id, reason, now, fx);
                *left -= 1;
            }
        }
        while self.idle.len() > self.settings.pool_size && *left > 0 {
            let id = self.idle.oldest().expect("BUG: counted more idle ones than there are");
            if now.saturating_sub(self.slots[id].since) < linger {
                break;
            }
            self.close_idle(id, CloseReason::Overflow, now, fx);
            *left -= 1;
        }
    }

    pub(super) fn close_idle(&mut self, id: SlotId, reason: CloseReason, now: Ns, fx: &mut Effects<C, E>) {
        self.idle.remove(id);
        let conn = self.slots.take_conn(id);
        self.retire(id, conn, reason, now, fx);
    }

    fn sweep_leaks(&mut self, left: &mut usize, now: Ns, fx: &mut Effects<C, E>) {
        let Some(limit) = self.settings.leak_after.map(nanos) else { return };
        let overdue: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| {
                slot.phase() == Phase::Lent && !slot.reported && now.saturating_sub(slot.since) >= limit
            })
            .map(|(id, slot)| (id, slot.site, time(now.saturating_sub(slot.since))))
            .take(*left)
            .collect();
        *left -= overdue.len();
        for (id, site, held) in overdue {
            self.slots[id].reported = true;
            fx.events.push(Event::Leak { site, held });
        }
    }

    /// Begins to ping what has been idle for `keepalive`.
    fn sweep_keepalive(&mut self, left: &mut usize, now: Ns, fx: &mut Effects<C, E>) {
        if self.settings.keepalive.is_none() {
            return;
        }
        let is_due = |id: &SlotId| self.keepalive_at(*id).is_some_and(|at| at <= now);
        let due: Vec<_> = self.idle.iter().filter(is_due).take(*left).collect();
        *left -= due.len();
        for id in due {
            self.idle.remove(id);
            let conn = self.slots.take_conn(id);
            self.slots[id].keepalive = true;
            self.start_ping(id, conn, now, fx);
        }
    }

    /// When an idle connection is next to be kept alive: up to 20 % early, so that they do not all ping at once.
    pub(super) fn keepalive_at(&self, id: SlotId) -> Option<Ns> {
        let every = self.settings.keepalive?;
        let slot = &self.slots[id];
        let early = (every / 5).mul_f64((slot.jitter >> 11) as f64 / (1u64 << 53) as f64);
        Some(slot.proven.saturating_add(nanos(every - early)))
    }

    /// Puts a connection that was tested, not used, back among the idle where it was, unless it must go.
    pub(super) fn back_to_idle(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C, E>) {
        self.slots[id].keepalive = false;
        if self.worn_out(id, now).is_some() || self.idle.len() >= self.settings.pool_size {
            return self.settle(id, conn, now, fx);
        }
        let since = self.slots[id].idle_since;
        self.slots[id].conn = Some(conn);
        self.slots.enter(id, Phase::Idle, since);
        let slots = &self.slots;
        self.idle.put_back(id, |other| slots[other].since > since);
    }

    pub(super) fn start_ping(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C, E>) {
        self.slots[id].idle_since = self.slots[id].since;
        self.start(id, conn, Phase::Pinging, now, fx);
    }

    /// The longest the driver may sleep while connections exist, so that the common steps need not wake it.
    pub(super) fn period(&self) -> Ns {
        let keepalive = self.settings.keepalive.map(|every| every - every / 5);
        let limits = [self.settings.idle_timeout, self.settings.leak_after, keepalive];
        limits.into_iter().flatten().map(nanos).min().unwrap_or(NEVER)
    }

    pub(super) fn next_alarm(&mut self, now: Ns) -> Ns {
        let mut alarm = self.queue.next_deadline().unwrap_or(NEVER);
        if let Some(at) = self.next_connect(now).filter(|at| *at > now) {
            alarm = alarm.min(at);
        }
        let (idle, leak) = (self.settings.idle_timeout.map(nanos), self.settings.leak_after.map(nanos));
        let surplus = self.idle.len() > self.settings.pool_size;
        let late = self.late();
        for (id, slot) in self.slots.iter() {
            let keepalive = (slot.phase() == Phase::Idle).then(|| self.keepalive_at(id)).flatten();
            let ends = match slot.phase() {
                Phase::Idle => {
                    let linger = surplus.then(|| nanos(self.settings.overflow_linger));
                    idle.into_iter().chain(linger).min().map(|limit| slot.since.saturating_add(limit))
                }
                Phase::Granted => slot.promised.map(|ticket| self.queue.waiter(ticket).deadline),
                Phase::Opening => Some(slot.since.saturating_add(late)),
                Phase::Lent if !slot.reported => leak.map(|limit| slot.since.saturating_add(limit)),
                _ => None,
            };
            for at in
                [ends.unwrap_or(NEVER), keepalive.unwrap_or(NEVER), slot.expires, now.saturating_add(self.period())]
            {
                // What is past and not settled waits for somebody else: a return, or the end of a job.
                if at > now {
                    alarm = alarm.min(at);
                }
            }
        }
        alarm
    }
}
