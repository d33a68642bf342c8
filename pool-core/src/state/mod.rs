//! The deciding half: who is lent what, what is opened, tested, cleaned and closed, and when.
//!
//! One synchronous struct. It never reads a clock, waits, wakes or spawns: every method takes `now` (nanoseconds since the pool
//! was made), changes the state and leaves the rest in [`Effects`]. So the same code runs under a lock in production and step by
//! step in a test.
//!
//! Supply and demand are matched in one function, [`State::advance`]; every connection comes home through one function,
//! [`State::settle`]. A new rule about who is served goes into the first, about what is kept into the second, about what is opened
//! into [`State::wants_connection`].

pub(crate) mod effects;
mod health;
mod idle;
mod journal;
pub(crate) mod lent;
mod live;
#[cfg(test)]
mod model;
pub(crate) mod queue;
#[cfg(test)]
mod walk;

use crate::{
    CloseReason, ErrorClass, Event, Health, Holder, Moment, Nested, Pause, Settings, Site, Status, Step, Timings,
    Totals, Verdict, error::ConnectError,
};
use effects::{Effects, Job};
use health::Pulse;
use idle::Idle;
use journal::Journal;
pub(crate) use live::SlotId;
use live::{Phase, Slots};
use queue::{Outcome, Queue, Ticket, Waiter};
use std::{
    collections::{HashSet, VecDeque},
    fmt::Display,
    task::Waker,
    time::Duration,
};

/// Nanoseconds since the pool was made.
pub(crate) type Ns = u64;
/// Later than any time.
pub(crate) const NEVER: Ns = Ns::MAX;

/// A duration in the state's unit; what does not fit is for ever.
pub(crate) fn nanos(d: Duration) -> Ns {
    Ns::try_from(d.as_nanos()).unwrap_or(NEVER)
}

pub(crate) fn time(ns: Ns) -> Duration {
    Duration::from_nanos(ns)
}

/// Who asks: the place, the task, and what it holds already.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) site: Site,
    /// 0 if unknown.
    pub(crate) task: u64,
    /// The loan that will not end before this caller is served, and who took it.
    pub(crate) holds: Option<(Loan, Site)>,
}

/// When a caller came, by the clock and by the journal.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at: Ns,
    pub(crate) mark: u64,
}

/// Which slot is lent, and which of its successive loans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loan {
    pub(crate) slot: SlotId,
    pub(crate) number: u64,
}

/// What an idle connection is good for.
enum Fitness {
    Lend,
    Ping,
    Retire(CloseReason),
}

/// All that a pool knows.
pub(crate) struct State<C, E> {
    settings: Settings,
    slots: Slots<C>,
    idle: Idle,
    queue: Queue<E>,
    pulse: Pulse<E>,
    journal: Journal<E>,
    /// Wait, hold, connect and ping; waits of zero are not recorded but derived from the totals.
    timings: Timings,
    /// Pairs of sites that were warned of as nested.
    warned: Vec<(Site, Site)>,
    /// What a `take` has to tell, which is rare.
    remarks: Vec<Event>,
    /// Whether a `take` left something to do: see [`State::after_take`].
    pub(crate) unfinished: bool,
    /// Slots with a ping, a reset or a close that no job has taken up yet. Their phase says which.
    todo: VecDeque<SlotId>,
    /// Raised by `invalidate` and by a detected disconnect; connections of an earlier epoch are retired.
    epoch: u32,
    closed: bool,
    paused: Option<Pause>,
    /// What a test wants every acquire to end with.
    injected: Option<Verdict>,
    /// Connections to open ahead of need; 0 when the warm-up is over.
    warm: u32,
    /// The cap, or after it was lowered what was admitted before.
    admitted: u32,
    /// What the driver sleeps to.
    armed: Ns,
    /// Which runtime the driver runs on; `None` while there is no driver.
    pub(crate) driver: Option<u64>,
    totals: Totals,
    abandoned: u64,
    dice: u64,
    #[cfg(test)]
    pub(crate) planted: Option<walk::Planted>,
}

/// Asking, getting, giving back.
impl<C, E: Display> State<C, E> {
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        Self {
            slots: Slots::new(),
            idle: Idle::new(settings.pool_use_lifo),
            queue: Queue::new(),
            pulse: Pulse::new(),
            journal: Journal::new(),
            timings: Timings::new(),
            warned: Vec::new(),
            remarks: Vec::new(),
            unfinished: false,
            todo: VecDeque::new(),
            epoch: 0,
            closed: false,
            paused: None,
            injected: None,
            warm: 0,
            admitted: settings.cap().unwrap_or(u32::MAX),
            armed: NEVER,
            driver: None,
            totals: Totals::default(),
            abandoned: 0,
            dice: seed,
            settings,
            #[cfg(test)]
            planted: None,
        }
    }

    /// Lends an idle, fresh connection. The common step: no effects.
    pub(crate) fn take(&mut self, caller: Caller, now: Ns) -> Option<(Loan, C)> {
        if !self.queue.is_empty() || self.closed || self.paused.is_some() || self.injected.is_some() {
            return None; // nobody overtakes
        }
        let id = self.idle.peek()?;
        if !matches!(self.fitness(id, now), Fitness::Lend) {
            return None;
        }
        if let Some(outer) = self.nested(&caller) {
            if self.settings.nested == Nested::Deny {
                return None; // refused by `wait`
            }
            self.warn_of_nesting(outer, caller.site);
        }
        self.idle.pop();
        let lent = self.lend(id, caller, now);
        self.unfinished = !self.remarks.is_empty() || (self.settings.min_idle > 0 && self.wants_connection(now));
        Some(lent)
    }

    /// Does what a `take` left: a warning to tell, a spare connection to open. Rare, so that the common step stays without effects.
    pub(crate) fn after_take(&mut self, now: Ns, fx: &mut Effects<C>) {
        self.unfinished = false;
        fx.events.append(&mut self.remarks);
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
        self.timings.hold.record(now.saturating_sub(self.slots[id].since));
        let slot = &mut self.slots[id];
        (slot.conn, slot.proven) = (Some(conn), now);
        self.slots.enter(id, Phase::Idle, now);
        self.idle.push(id);
        Ok(())
    }

    /// Takes back a connection that its user has finished with, clean.
    pub(crate) fn come_home(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C>) {
        self.released(id, now, fx);
        self.settle(id, conn, now, fx);
        self.advance(now, fx);
    }

    /// Takes back a connection that may have something left over.
    pub(crate) fn come_home_dirty(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C>) {
        self.released(id, now, fx);
        match self.worn_out(id, now) {
            Some(reason) => self.retire(id, conn, reason, now, fx),
            None => self.start(id, conn, Phase::Resetting, now, fx),
        }
        self.advance(now, fx);
    }

    /// Takes back a connection that was found dead in use.
    pub(crate) fn come_home_broken(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C>) {
        self.released(id, now, fx);
        self.disconnected(id, now, fx);
        self.retire(id, conn, CloseReason::Broken, now, fx);
        self.advance(now, fx);
    }

    /// Takes back a connection that its user wants closed.
    pub(crate) fn discard(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C>) {
        self.released(id, now, fx);
        self.retire(id, conn, CloseReason::Removed, now, fx);
        self.advance(now, fx);
    }

    /// Gives up a slot whose connection its user keeps.
    pub(crate) fn detach(&mut self, id: SlotId, now: Ns, fx: &mut Effects<C>) {
        self.released(id, now, fx);
        self.vacate(id, CloseReason::Removed, now, fx);
        self.advance(now, fx);
    }

    /// Puts a caller into the queue. The answer is in its seat as soon as there is one, which may be at once.
    pub(crate) fn wait(&mut self, caller: Caller, deadline: Ns, waker: Waker, now: Ns, fx: &mut Effects<C>) -> Wait {
        if self.closed {
            self.totals.rejected_closed += 1;
            return Wait::Refused(Refusal::Closed);
        }
        if let Some(verdict) = self.injected {
            return Wait::Refused(Refusal::Injected(verdict));
        }
        if self.paused == Some(Pause::Refuse) {
            self.totals.refused += 1;
            return Wait::Refused(Refusal::Paused);
        }
        if let Some(limit) = self.settings.max_waiting
            && self.queue.len() >= limit.saturating_add(self.supply())
        {
            self.totals.refused += 1;
            return Wait::Refused(Refusal::QueueFull(limit));
        }
        if let Some(outer) = self.nested(&caller) {
            if self.settings.nested == Nested::Deny {
                self.totals.refused += 1;
                return Wait::Refused(Refusal::Nested(outer));
            }
            self.warn_of_nesting(outer, caller.site);
            fx.events.append(&mut self.remarks);
        }
        let ticket = self.queue.push(Waiter { arrived: self.arrival(now), deadline, caller }, waker);
        self.entangle(&caller);
        self.advance(now, fx);
        if self.queue.is_waiting(ticket) {
            if deadline <= now {
                self.expire(ticket, now, fx);
                fx.wake = None; // the caller is here
            } else if self.is_deadlocked() {
                self.totals.refused += 1;
                drop(self.end(ticket, Outcome::Deadlocked));
            } else if deadline < self.armed {
                self.armed = deadline;
                fx.kick = true;
            }
        }
        Wait::Queued(ticket)
    }

    /// Collects what a caller was given. `None`: it still waits, and `waker` will be woken.
    pub(crate) fn collect(
        &mut self,
        ticket: Ticket,
        waker: &Waker,
        now: Ns,
        fx: &mut Effects<C>,
    ) -> Option<Collected<C, E>> {
        if self.queue.is_waiting(ticket) {
            self.queue.refresh(ticket, waker);
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
            Outcome::Deadlocked => Collected::Deadlocked,
            Outcome::Closed => Collected::Closed,
            Outcome::Paused => Collected::Paused,
            Outcome::Free | Outcome::Waiting(_) => unreachable!("BUG: a ticket without an answer was collected"),
        })
    }

    /// Ends the wait of one caller whose own timer has rung.
    pub(crate) fn time_out(&mut self, ticket: Ticket, now: Ns, fx: &mut Effects<C>) {
        if self.queue.is_waiting(ticket) {
            self.expire(ticket, now, fx);
            fx.wake = None; // the caller is here
        }
    }

    /// A caller leaves. What it was granted goes to the next.
    pub(crate) fn leave(&mut self, ticket: Ticket, now: Ns, fx: &mut Effects<C>) {
        #[cfg(test)]
        if self.planted == Some(walk::Planted::CancelLosesGrant) {
            self.queue.leave(ticket);
            return;
        }
        let caller = self.queue.waiter(ticket).caller;
        match self.queue.leave(ticket) {
            Outcome::Waiting(_) => {
                self.disentangle(&caller);
                self.totals.cancelled += 1;
            }
            Outcome::Granted(id) => {
                self.totals.cancelled += 1;
                let conn = self.slots[id].conn.take().expect("BUG: a granted slot holds its connection");
                self.settle(id, conn, now, fx);
                self.advance(now, fx);
            }
            _ => {}
        }
    }
}

/// What [`State::wait`] answers.
pub(crate) enum Wait {
    Queued(Ticket),
    Refused(Refusal),
}

/// Why a caller may not even wait.
pub(crate) enum Refusal {
    Closed,
    Paused,
    QueueFull(u32),
    /// By the site that holds one already.
    Nested(Site),
    /// By a test.
    Injected(Verdict),
}

/// What [`State::collect`] finds.
pub(crate) enum Collected<C, E> {
    Lent(Loan, C),
    Failed(ConnectError<E>),
    Expired(Verdict),
    Deadlocked,
    Closed,
    Paused,
}

/// The two functions that everything passes through.
impl<C, E: Display> State<C, E> {
    /// Matches supply and demand: idle connections go to the callers that wait, and the driver hears of what is left to do.
    fn advance(&mut self, now: Ns, fx: &mut Effects<C>) {
        while let (None, Some((ticket, _)), Some(id)) = (self.paused, self.queue.first(), self.idle.peek()) {
            match self.fitness(id, now) {
                Fitness::Lend => {
                    self.idle.pop();
                    self.grant(ticket, id, now, fx);
                }
                Fitness::Retire(reason) => {
                    self.idle.pop();
                    let conn = self.slots[id].conn.take().expect("BUG: an idle slot holds its connection");
                    self.retire(id, conn, reason, now, fx);
                }
                // One ping for each caller at most; the tested connection is granted when the answer comes.
                Fitness::Ping if self.slots.count(Phase::Pinging) < self.queue.len() => {
                    self.idle.pop();
                    let conn = self.slots[id].conn.take().expect("BUG: an idle slot holds its connection");
                    self.start_ping(id, conn, now, fx);
                }
                Fitness::Ping => break,
            }
        }
        if self.wants_connection(now) {
            fx.kick = true;
        } else if self.short_of_connections() && self.pulse.not_before() > now && self.pulse.not_before() < self.armed {
            self.armed = self.pulse.not_before();
            fx.kick = true;
        }
        if self.is_drained() {
            (fx.drained, fx.kick) = (true, true); // the driver may go, too
        }
    }

    /// Decides what becomes of a good connection that nobody uses: kept idle for now, or closed.
    ///
    /// The caller runs [`Self::advance`] afterwards, which lends it to whoever waits.
    fn settle(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C>) {
        if let Some(reason) = self.worn_out(id, now) {
            return self.retire(id, conn, reason, now, fx);
        }
        #[cfg(test)]
        if self.planted == Some(walk::Planted::KeepsOverflow) {
            self.slots[id].conn = Some(conn);
            self.slots.enter(id, Phase::Idle, now);
            return self.idle.push(id);
        }
        if let (None, Some((ticket, _))) = (self.paused, self.queue.first()) {
            self.slots[id].conn = Some(conn);
            return self.grant(ticket, id, now, fx);
        }
        if self.idle.len() >= self.settings.pool_size {
            let linger = nanos(self.settings.overflow_linger);
            if linger == 0 {
                let unused = self.slots[id].uses == 0;
                let reason = if unused { CloseReason::Excess } else { CloseReason::Overflow };
                return self.retire(id, conn, reason, now, fx);
            }
            self.alarm(now.saturating_add(linger), fx);
        }
        self.slots[id].conn = Some(conn);
        self.slots.enter(id, Phase::Idle, now);
        self.idle.push(id);
    }
}

/// The rules, one function each.
impl<C, E: Display> State<C, E> {
    /// Why a connection must not be kept, if there is a reason.
    fn worn_out(&self, id: SlotId, now: Ns) -> Option<CloseReason> {
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
    fn fitness(&self, id: SlotId, now: Ns) -> Fitness {
        if let Some(reason) = self.worn_out(id, now) {
            return Fitness::Retire(reason);
        }
        // `now` was read before the lock, so it may be older than `since`.
        let slot = &self.slots[id];
        let (unused, unproven) = (now.saturating_sub(slot.since), now.saturating_sub(slot.proven));
        if self.settings.idle_timeout.is_some_and(|limit| unused >= nanos(limit)) {
            return Fitness::Retire(CloseReason::Idle);
        }
        let suspect = self.pulse.health == Health::Suspect;
        let fresh = if suspect { 0 } else { nanos(self.settings.pre_ping_after) };
        if self.settings.pool_pre_ping && unproven >= fresh { Fitness::Ping } else { Fitness::Lend }
    }

    /// Whether callers wait, or idle ones lack, beyond what is on its way.
    fn short_of_connections(&self) -> bool {
        let coming = self.slots.count(Phase::Opening);
        let callers = self.queue.len() > coming + self.slots.count(Phase::Pinging);
        let spare = self.idle.len() + coming < self.settings.min_idle && self.slots.used() < self.settings.pool_size;
        let warm_up = self.slots.used() < self.warm;
        !self.closed
            && self.paused.is_none()
            && (callers || spare || warm_up)
            && self.settings.cap().is_none_or(|cap| self.slots.used() < cap)
    }

    /// Whether a connect may begin now. Asked again before each attempt.
    fn wants_connection(&self, now: Ns) -> bool {
        // One probe at a time tells when a database that refuses is back.
        let at_once = if self.pulse.is_failing() { 1 } else { self.settings.connect_concurrency };
        self.short_of_connections() && self.slots.count(Phase::Opening) < at_once && self.pulse.not_before() <= now
    }

    /// Connections that callers in the queue may count on without anybody giving one back.
    fn supply(&self) -> u32 {
        let room = self.settings.cap().map_or(u32::MAX, |cap| cap.saturating_sub(self.slots.used()));
        room.saturating_add(self.slots.count(Phase::Opening) + self.slots.count(Phase::Pinging))
    }

    /// Retires all connections as old as the one that was found dead, unless that has happened already.
    fn disconnected(&mut self, id: SlotId, now: Ns, fx: &mut Effects<C>) {
        if self.slots[id].epoch == self.epoch && !self.closed {
            let retired = self.retire_all(now, fx);
            self.pulse.suspect();
            fx.events.push(Event::Suspect { retired });
        }
    }

    /// Raises the epoch and closes what is idle. Connections in use are closed when they come home.
    fn retire_all(&mut self, now: Ns, fx: &mut Effects<C>) -> u32 {
        self.epoch = self.epoch.wrapping_add(1);
        let mut retired = 0;
        while let Some(id) = self.idle.pop() {
            let conn = self.slots[id].conn.take().expect("BUG: an idle slot holds its connection");
            self.retire(id, conn, CloseReason::Invalidated, now, fx);
            retired += 1;
        }
        retired
    }

    fn released(&mut self, id: SlotId, now: Ns, fx: &mut Effects<C>) {
        self.totals.released += 1;
        self.timings.hold.record(now.saturating_sub(self.slots[id].since));
        let slot = &mut self.slots[id];
        slot.proven = now;
        if std::mem::take(&mut slot.reported) {
            let held = time(now.saturating_sub(slot.since));
            fx.events.push(Event::LeakReturned { site: slot.site, held });
        }
    }

    fn lend(&mut self, id: SlotId, caller: Caller, now: Ns) -> (Loan, C) {
        self.totals.acquired += 1;
        self.slots.enter(id, Phase::Lent, now);
        let number = self.totals.acquired;
        let slot = &mut self.slots[id];
        (slot.site, slot.task, slot.uses, slot.reported) = (caller.site, caller.task, slot.uses + 1, false);
        (slot.loan, slot.entangled) = (number, 0);
        let conn = slot.conn.take().expect("BUG: an idle or granted slot holds its connection");
        (Loan { slot: id, number }, conn)
    }

    /// The site whose loan this caller holds while it asks, if it holds one.
    fn nested(&self, caller: &Caller) -> Option<Site> {
        if self.settings.nested == Nested::Allow {
            return None;
        }
        let said = caller.holds.map(|(_, site)| site);
        said.or_else(|| {
            let by_task = |slot: &&live::Slot<C>| slot.phase() == Phase::Lent && slot.task == caller.task;
            let known = caller.task != 0 && self.slots.count(Phase::Lent) > 0;
            known.then(|| self.slots.iter().map(|(_, slot)| slot).find(by_task))?.map(|slot| slot.site)
        })
    }

    /// Tells of a pair of sites once.
    fn warn_of_nesting(&mut self, outer: Site, inner: Site) {
        const PAIRS: usize = 64;
        if self.settings.nested == Nested::Warn && self.warned.len() < PAIRS && !self.warned.contains(&(outer, inner)) {
            self.warned.push((outer, inner));
            self.remarks.push(Event::Nested { outer, inner });
        }
    }

    /// Marks what a caller in the queue will not let go.
    fn entangle(&mut self, caller: &Caller) {
        if let Some(slot) = self.held_by(caller) {
            slot.entangled += 1;
        }
    }

    fn disentangle(&mut self, caller: &Caller) {
        if let Some(slot) = self.held_by(caller) {
            slot.entangled -= 1;
        }
    }

    fn held_by(&mut self, caller: &Caller) -> Option<&mut live::Slot<C>> {
        let (loan, _) = caller.holds?;
        let slot = &mut self.slots[loan.slot];
        (slot.phase() == Phase::Lent && slot.loan == loan.number).then_some(slot)
    }

    /// Whether all connections are held by callers that wait for another one: none will ever come home.
    fn is_deadlocked(&self) -> bool {
        let full = self.settings.cap().is_some_and(|cap| self.slots.used() >= cap);
        full && self.slots.iter().all(|(_, slot)| slot.phase() == Phase::Lent && slot.entangled > 0)
    }

    /// Takes a waiting caller out of the queue with this outcome.
    fn end(&mut self, ticket: Ticket, outcome: Outcome<E>) -> Waker {
        let caller = self.queue.waiter(ticket).caller;
        self.disentangle(&caller);
        self.queue.end(ticket, outcome)
    }

    fn grant(&mut self, ticket: Ticket, id: SlotId, now: Ns, fx: &mut Effects<C>) {
        #[cfg(test)]
        let ticket = match self.planted {
            Some(walk::Planted::ServesLast) => self.queue.iter().last().map_or(ticket, |(last, _)| last),
            _ => ticket,
        };
        self.slots.enter(id, Phase::Granted, now);
        let waker = self.end(ticket, Outcome::Granted(id));
        #[cfg(test)]
        if self.planted == Some(walk::Planted::ForgetsToWake) {
            return;
        }
        fx.wake(waker);
    }

    fn retire(&mut self, id: SlotId, conn: C, reason: CloseReason, now: Ns, fx: &mut Effects<C>) {
        self.start(id, conn, Phase::Closing(reason), now, fx);
    }

    /// Leaves a connection for the driver to ping, reset or close.
    fn start(&mut self, id: SlotId, conn: C, phase: Phase, now: Ns, fx: &mut Effects<C>) {
        self.slots[id].conn = Some(conn);
        self.slots.enter(id, phase, now);
        self.todo.push_back(id);
        #[cfg(test)]
        if self.planted == Some(walk::Planted::ForgetsToKick) {
            return;
        }
        fx.kick = true;
    }

    /// Frees a slot whose connection is gone.
    fn vacate(&mut self, id: SlotId, reason: CloseReason, now: Ns, fx: &mut Effects<C>) {
        let age = time(now.saturating_sub(self.slots[id].born));
        self.totals.closed_by.0[reason as usize] += 1;
        fx.events.push(Event::Closed { reason, age });
        self.slots.enter(id, Phase::Vacant, now);
        self.admitted = self.admitted.min(self.slots.used()).max(self.settings.cap().unwrap_or(u32::MAX));
    }

    fn expire(&mut self, ticket: Ticket, now: Ns, fx: &mut Effects<C>) {
        self.totals.timeouts += 1;
        let verdict = self.verdict_for(ticket, now);
        let waker = self.end(ticket, Outcome::Expired(verdict));
        fx.wake(waker);
    }

    /// Gives the first caller a connect error.
    fn fail_first(&mut self, error: ConnectError<E>, fx: &mut Effects<C>) {
        if let Some((ticket, _)) = self.queue.first() {
            self.totals.connect_failures += 1;
            let waker = self.end(ticket, Outcome::Failed(error));
            fx.wake(waker);
        }
    }

    fn alarm(&mut self, at: Ns, fx: &mut Effects<C>) {
        if at < self.armed {
            self.armed = at;
            fx.kick = true;
        }
    }

    /// The next draw (SplitMix64; Steele, Lea, Flood 2014).
    fn draw(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// What the driver asks and reports.
impl<C, E: Display> State<C, E> {
    /// Does what is due, and says when to come again.
    pub(crate) fn sweep(&mut self, now: Ns, fx: &mut Effects<C>) -> Ns {
        while let Some(ticket) = self.queue.due(now) {
            #[cfg(test)]
            if self.planted == Some(walk::Planted::KeepsExpired) {
                break;
            }
            self.expire(ticket, now, fx);
        }
        self.sweep_idle(now, fx);
        self.sweep_leaks(now, fx);
        self.sweep_keepalive(now, fx);
        self.advance(now, fx);
        self.armed = self.next_alarm(now);
        self.armed
    }

    /// The next piece of work, judged at this moment; `None` when there is none.
    pub(crate) fn next_job(&mut self, now: Ns) -> Option<Job<C>> {
        while let Some(id) = self.todo.pop_front() {
            let conn = self.slots[id].conn.take().expect("BUG: a slot with work to do holds its connection");
            let reset = nanos(self.settings.reset_timeout);
            match self.slots[id].phase() {
                Phase::Pinging if self.queue.is_empty() && !self.slots[id].keepalive && !self.closed => {
                    // Whoever wanted it is gone; it stays as unproven as it was.
                    self.slots[id].conn = Some(conn);
                    self.back_to_idle(id);
                }
                Phase::Pinging => {
                    self.totals.pings += 1;
                    self.slots.enter(id, Phase::Pinging, now); // its time runs from here
                    self.journal.note(now, journal::Entry::PingBegan);
                    return Some(Job::Ping { slot: id, conn, limit: nanos(self.settings.ping_timeout) });
                }
                Phase::Resetting => {
                    self.totals.resets += 1;
                    return Some(Job::Reset { slot: id, conn, limit: reset });
                }
                Phase::Closing(reason) => return Some(Job::Close { slot: id, conn, limit: reset, reason }),
                phase => unreachable!("BUG: nothing to do for a slot in phase {phase:?}"),
            }
        }
        if self.wants_connection(now) {
            let slot = self.slots.open(self.epoch, now);
            self.journal.note(now, journal::Entry::ConnectBegan);
            return Some(Job::Connect { slot, limit: nanos(self.settings.connection_timeout) });
        }
        None
    }

    /// A connect has succeeded.
    pub(crate) fn connected(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C>) {
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
        if self.pulse.good() {
            fx.events.push(Event::Recovered);
        }
        // From here on a common step may leave it idle without a kick, so the driver must know when to look.
        let look = now.saturating_add(self.period());
        self.alarm(expires.min(look), fx);
        self.settle(id, conn, now, fx);
        if self.warm > 0 && self.slots.open_count() >= self.warm {
            (self.warm, fx.news) = (0, true);
        }
        self.advance(now, fx);
    }

    /// A connect has failed: retried later if waiting can help, else given to the first caller.
    pub(crate) fn connect_failed(
        &mut self,
        id: SlotId,
        error: ConnectError<E>,
        said: String,
        now: Ns,
        fx: &mut Effects<C>,
    ) {
        self.totals.connect_errors += 1;
        fx.news |= self.warm > 0;
        let began = self.slots[id].since;
        self.slots.enter(id, Phase::Vacant, now);
        self.journal.note(now, journal::Entry::ConnectFailed(error.clone()));
        let dice = self.draw();
        let pause = self.pulse.connect_failed(error.clone(), began, now, dice);
        let hopeless = !matches!(error.class, ErrorClass::Transient | ErrorClass::Lost);
        fx.events.push(Event::ConnectFailed { error: said, retry_in: time(if hopeless { 0 } else { pause }) });
        if hopeless && !self.queue.is_empty() {
            // Each caller gets the answer to an attempt of its own, so the next one need not pause.
            self.pulse.forget_pause();
            self.fail_first(error, fx);
        } else if self.slots.count(Phase::Lent) + self.slots.count(Phase::Granted) + self.slots.count(Phase::Resetting)
            == 0
        {
            // Nothing can come home, so whoever has seen a whole connection_timeout of failures need not wait on.
            let limit = nanos(self.settings.connection_timeout);
            while self.queue.first().is_some_and(|(_, w)| self.pulse.failing_for(w.arrived.at, now) >= limit) {
                self.fail_first(error.clone(), fx);
            }
        }
        self.advance(now, fx);
    }

    /// A ping was answered.
    pub(crate) fn pinged(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C>) {
        if self.pulse.good() {
            fx.events.push(Event::Recovered);
        }
        self.journal.note(now, journal::Entry::PingAnswered);
        self.timings.ping.record(now.saturating_sub(self.slots[id].since));
        self.slots[id].proven = now;
        let kept_alive = std::mem::take(&mut self.slots[id].keepalive);
        if kept_alive && self.queue.is_empty() && self.worn_out(id, now).is_none() {
            self.slots[id].conn = Some(conn);
            self.back_to_idle(id);
        } else {
            self.settle(id, conn, now, fx);
        }
        self.advance(now, fx);
    }

    /// A ping failed or ran out of time. `lost`: the server is gone, not this connection alone.
    pub(crate) fn ping_failed(&mut self, id: SlotId, conn: Option<C>, lost: bool, now: Ns, fx: &mut Effects<C>) {
        self.journal.note(now, journal::Entry::PingFailed);
        if lost {
            self.disconnected(id, now, fx);
        }
        self.gone_or_retired(id, conn, CloseReason::Broken, now, fx);
        self.advance(now, fx);
    }

    /// A connection was cleaned.
    pub(crate) fn was_reset(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C>) {
        self.settle(id, conn, now, fx);
        self.advance(now, fx);
    }

    /// A connection could not be cleaned.
    pub(crate) fn reset_failed(&mut self, id: SlotId, conn: Option<C>, lost: bool, now: Ns, fx: &mut Effects<C>) {
        if lost {
            self.disconnected(id, now, fx);
        }
        self.gone_or_retired(id, conn, CloseReason::ResetFailed, now, fx);
        self.advance(now, fx);
    }

    /// A close has ended; `confirmed` if within its limit.
    pub(crate) fn was_closed(
        &mut self,
        id: SlotId,
        reason: CloseReason,
        confirmed: bool,
        now: Ns,
        fx: &mut Effects<C>,
    ) {
        if !confirmed {
            self.abandoned += 1;
            fx.events.push(Event::Abandoned);
        }
        #[cfg(test)]
        if self.planted == Some(walk::Planted::CloseKeepsSlot) {
            return;
        }
        self.vacate(id, reason, now, fx);
        self.advance(now, fx);
    }

    fn gone_or_retired(&mut self, id: SlotId, conn: Option<C>, reason: CloseReason, now: Ns, fx: &mut Effects<C>) {
        match conn {
            Some(conn) => self.retire(id, conn, reason, now, fx),
            None => {
                // The job took the connection with it, so nobody said goodbye to the server.
                self.abandoned += 1;
                fx.events.push(Event::Abandoned);
                self.vacate(id, reason, now, fx);
            }
        }
    }

    fn sweep_idle(&mut self, now: Ns, fx: &mut Effects<C>) {
        let linger = nanos(self.settings.overflow_linger);
        let worn: Vec<_> = self
            .idle
            .iter()
            .filter_map(|id| match self.fitness(id, now) {
                Fitness::Retire(reason) => Some((id, reason)),
                _ => None,
            })
            .collect();
        for (id, reason) in worn {
            self.close_idle(id, reason, now, fx);
        }
        while self.idle.len() > self.settings.pool_size {
            let id = self.idle.oldest().expect("BUG: counted more idle ones than there are");
            if now.saturating_sub(self.slots[id].since) < linger {
                break;
            }
            self.close_idle(id, CloseReason::Overflow, now, fx);
        }
    }

    fn close_idle(&mut self, id: SlotId, reason: CloseReason, now: Ns, fx: &mut Effects<C>) {
        self.idle.remove(id);
        let conn = self.slots[id].conn.take().expect("BUG: an idle slot holds its connection");
        self.retire(id, conn, reason, now, fx);
    }

    fn sweep_leaks(&mut self, now: Ns, fx: &mut Effects<C>) {
        let Some(limit) = self.settings.leak_after.map(nanos) else { return };
        let overdue: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| {
                slot.phase() == Phase::Lent && !slot.reported && now.saturating_sub(slot.since) >= limit
            })
            .map(|(id, slot)| (id, slot.site, time(now.saturating_sub(slot.since))))
            .collect();
        for (id, site, held) in overdue {
            self.slots[id].reported = true;
            fx.events.push(Event::Leak { site, held });
        }
    }

    /// Begins to ping what has been idle for `keepalive`.
    fn sweep_keepalive(&mut self, now: Ns, fx: &mut Effects<C>) {
        let due: Vec<_> = self.idle.iter().filter(|&id| self.keepalive_at(id).is_some_and(|at| at <= now)).collect();
        for id in due {
            self.idle.remove(id);
            let conn = self.slots[id].conn.take().expect("BUG: an idle slot holds its connection");
            self.slots[id].keepalive = true;
            self.start_ping(id, conn, now, fx);
        }
    }

    /// When an idle connection is next to be kept alive: up to 20 % early, so that they do not all ping at once.
    fn keepalive_at(&self, id: SlotId) -> Option<Ns> {
        let every = self.settings.keepalive?;
        let slot = &self.slots[id];
        let early = (every / 5).mul_f64((slot.jitter >> 11) as f64 / (1u64 << 53) as f64);
        Some(slot.proven.saturating_add(nanos(every - early)))
    }

    /// Puts a connection back among the idle where it was: it was tested, not used.
    fn back_to_idle(&mut self, id: SlotId) {
        let since = self.slots[id].idle_since;
        self.slots.enter(id, Phase::Idle, since);
        let slots = &self.slots;
        self.idle.put_back(id, |other| slots[other].since > since);
    }

    fn start_ping(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C>) {
        self.slots[id].idle_since = self.slots[id].since;
        self.start(id, conn, Phase::Pinging, now, fx);
    }

    /// The longest the driver may sleep while connections exist, so that the common steps need not wake it.
    fn period(&self) -> Ns {
        let keepalive = self.settings.keepalive.map(|every| every - every / 5);
        let limits = [self.settings.idle_timeout, self.settings.leak_after, keepalive];
        limits.into_iter().flatten().map(nanos).min().unwrap_or(NEVER)
    }

    fn next_alarm(&mut self, now: Ns) -> Ns {
        let mut alarm = self.queue.next_deadline().unwrap_or(NEVER);
        if self.short_of_connections() && self.pulse.not_before() > now {
            alarm = alarm.min(self.pulse.not_before());
        }
        let (idle, leak) = (self.settings.idle_timeout.map(nanos), self.settings.leak_after.map(nanos));
        let surplus = self.idle.len() > self.settings.pool_size;
        for (id, slot) in self.slots.iter() {
            let keepalive = (slot.phase() == Phase::Idle).then(|| self.keepalive_at(id)).flatten();
            let ends = match slot.phase() {
                Phase::Idle => {
                    let linger = surplus.then(|| nanos(self.settings.overflow_linger));
                    idle.into_iter().chain(linger).min().map(|limit| slot.since.saturating_add(limit))
                }
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

/// Administration.
impl<C, E: Display> State<C, E> {
    /// Retires every connection that exists or is being opened.
    pub(crate) fn invalidate(&mut self, now: Ns, fx: &mut Effects<C>) {
        if !self.closed {
            self.retire_all(now, fx);
            self.advance(now, fx);
        }
    }

    /// Ends the pool: turns the callers away, closes what is idle, and what is in use when it comes home.
    pub(crate) fn close(&mut self, now: Ns, fx: &mut Effects<C>) {
        if !self.closed {
            (self.closed, self.warm) = (true, 0);
            fx.news = true;
            self.turn_away(|| Outcome::Closed, fx);
            while let Some(id) = self.idle.pop() {
                let conn = self.slots[id].conn.take().expect("BUG: an idle slot holds its connection");
                self.retire(id, conn, CloseReason::Shutdown, now, fx);
            }
        }
        fx.kick = true;
        self.advance(now, fx);
    }

    /// Stops lending. Connections in use stay in use; what comes home is kept.
    pub(crate) fn pause(&mut self, how: Pause, fx: &mut Effects<C>) {
        if !self.closed {
            self.paused = Some(how);
            if how == Pause::Refuse {
                self.turn_away(|| Outcome::Paused, fx);
            }
        }
    }

    /// Lends again, first to those who waited.
    pub(crate) fn resume(&mut self, now: Ns, fx: &mut Effects<C>) {
        self.paused = None;
        self.advance(now, fx);
    }

    /// Has every acquire from now on end with this verdict, or none.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn inject(&mut self, verdict: Option<Verdict>) {
        self.injected = verdict;
    }

    /// Changes the settings. Connections above a lowered size are closed when they come home, idle ones now.
    pub(crate) fn reconfigure(&mut self, settings: Settings, now: Ns, fx: &mut Effects<C>) {
        self.idle.set_lifo(settings.pool_use_lifo);
        self.settings = settings;
        self.admitted = self.settings.cap().unwrap_or(u32::MAX).max(self.slots.used());
        let cap = self.settings.cap().unwrap_or(u32::MAX);
        while self.idle.len() > self.settings.pool_size || (self.staying() > cap && self.idle.len() > 0) {
            let id = self.idle.oldest().expect("BUG: counted more idle ones than there are");
            self.close_idle(id, CloseReason::Excess, now, fx);
        }
        self.advance(now, fx);
        fx.kick = true; // every alarm may be another now
    }

    /// Opens connections ahead of need until `pool_size` are open.
    pub(crate) fn warm_up(&mut self, now: Ns, fx: &mut Effects<C>) {
        let size = self.settings.pool_size;
        self.warm = if self.closed || self.slots.open_count() >= size { 0 } else { size };
        self.advance(now, fx);
    }

    /// Gives a warm-up up: connections are opened when they are needed.
    pub(crate) fn stop_warm_up(&mut self, fx: &mut Effects<C>) {
        (self.warm, fx.news) = (0, true);
    }

    /// Whether no warm-up is under way.
    pub(crate) fn is_warm(&self) -> bool {
        self.warm == 0
    }

    /// How many connects have failed so far.
    pub(crate) fn connect_errors(&self) -> u64 {
        self.totals.connect_errors
    }

    fn turn_away(&mut self, outcome: impl Fn() -> Outcome<E>, fx: &mut Effects<C>) {
        while let Some((ticket, _)) = self.queue.first() {
            match outcome() {
                Outcome::Paused => self.totals.refused += 1,
                _ => self.totals.rejected_closed += 1,
            }
            let waker = self.end(ticket, outcome());
            fx.wake(waker);
        }
    }

    /// Slots that are not about to be freed.
    fn staying(&self) -> u32 {
        self.slots.used() - self.slots.count(Phase::Closing(CloseReason::Excess))
    }

    /// The driver's runtime has ended: its connections are dead, and there is nobody to say goodbye.
    pub(crate) fn driver_ended(&mut self, now: Ns, fx: &mut Effects<C>) {
        self.driver = None;
        self.armed = NEVER;
        self.epoch = self.epoch.wrapping_add(1);
        self.todo.clear();
        while self.idle.pop().is_some() {}
        for ticket in self.queue.granted().into_iter().rev() {
            self.queue.restore(ticket);
            let caller = self.queue.waiter(ticket).caller;
            self.entangle(&caller);
        }
        let here: Vec<_> = self.slots.iter().filter(|(_, slot)| slot.conn.is_some()).map(|(id, _)| id).collect();
        for id in here {
            fx.dispose.extend(self.slots[id].conn.take());
            self.abandoned += 1;
            let reason = if self.closed { CloseReason::Shutdown } else { CloseReason::Broken };
            self.vacate(id, reason, now, fx);
        }
        fx.more.extend(self.queue.wakers()); // whoever comes first brings a runtime for the next driver
        fx.drained |= self.is_drained();
    }

    /// Whether nothing is left: no slot, no caller, and none to come.
    pub(crate) fn is_drained(&self) -> bool {
        self.closed && self.slots.used() == 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// What it tells.
impl<C, E: Display> State<C, E> {
    pub(crate) fn status(&self, now: Ns) -> Status {
        let open = self.slots.open_count();
        Status {
            name: self.settings.name.clone(),
            pool_size: self.settings.pool_size,
            max_overflow: self.settings.max_overflow,
            open,
            idle: self.idle.len(),
            in_use: self.slots.count(Phase::Lent) + self.slots.count(Phase::Granted),
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

    pub(crate) fn holders(&self, now: Ns) -> Vec<Holder> {
        lent::holders(&self.slots, now)
    }

    pub(crate) fn last_connect_error(&self) -> Option<&ConnectError<E>> {
        self.pulse.last_error()
    }

    /// Distributions since the pool was made.
    pub(crate) fn timings(&self) -> Timings {
        let mut timings = self.timings.clone();
        timings.acquire_wait = timings.acquire_wait.with_zeros(self.totals.acquired - self.totals.waited);
        timings
    }

    /// What happened since a caller came, and how it ended.
    pub(crate) fn story(&self, arrived: Arrival, now: Ns, end: Step) -> Vec<Moment> {
        let mut story = self.journal.since(arrived);
        story.push(Moment { after: time(now.saturating_sub(arrived.at)), step: end });
        story
    }

    /// The present, for a story that begins now.
    pub(crate) fn arrival(&self, now: Ns) -> Arrival {
        Arrival { at: now, mark: self.journal.mark() }
    }

    /// What kept this caller from being served until its time ran out.
    fn verdict_for(&self, ticket: Ticket, now: Ns) -> Verdict {
        let caller = self.queue.waiter(ticket).caller;
        let verdict = self.verdict(now);
        let full = matches!(verdict, Verdict::Exhausted | Verdict::Leaking);
        if full && self.nested(&caller).is_some() && self.is_held_by_waiters() { Verdict::Nested } else { verdict }
    }

    /// Whether every loan belongs to a task that waits for another.
    fn is_held_by_waiters(&self) -> bool {
        let waiting: HashSet<u64> = self.queue.iter().map(|(_, waiter)| waiter.caller.task).collect();
        let mut lent = self.slots.iter().filter(|(_, slot)| slot.phase() == Phase::Lent);
        lent.all(|(_, slot)| slot.entangled > 0 || (slot.task != 0 && waiting.contains(&slot.task)))
    }

    /// What keeps a caller from being served right now.
    pub(crate) fn verdict(&self, now: Ns) -> Verdict {
        let full = self.settings.cap().is_some_and(|cap| self.slots.used() >= cap);
        let coming = self.slots.count(Phase::Opening) + self.slots.count(Phase::Pinging);
        if self.closed {
            Verdict::Closed
        } else if self.paused.is_some() {
            Verdict::Paused
        } else if coming > 0 || !full {
            Verdict::Connecting
        } else {
            let limit = self.settings.leak_after.map_or(NEVER, nanos);
            let leaking =
                self.slots.iter().any(|(_, s)| s.phase() == Phase::Lent && now.saturating_sub(s.since) >= limit);
            if leaking { Verdict::Leaking } else { Verdict::Exhausted }
        }
    }

    /// The invariants of the design, checked. The first that does not hold is described.
    pub(crate) fn check(&self, now: Ns) -> Result<(), String> {
        self.slots.check()?;
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
        if s.waiting > 0 && s.idle > 0 && !pinging_enough && !s.paused {
            return fail(format!("{} wait while {} are idle", s.waiting, s.idle));
        }
        for (id, slot) in self.slots.iter() {
            let here = match slot.phase() {
                Phase::Idle | Phase::Granted => true,
                Phase::Pinging | Phase::Resetting | Phase::Closing(_) => self.todo.contains(&id),
                Phase::Lent | Phase::Opening | Phase::Vacant => false,
            };
            if slot.conn.is_some() != here {
                return fail(format!(
                    "slot {id} in phase {:?}: connection here {}, expected {here}",
                    slot.phase(),
                    slot.conn.is_some()
                ));
            }
        }
        if self.closed && (s.idle > 0 || s.waiting > 0) {
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
