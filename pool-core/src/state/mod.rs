//! The deciding half: who is lent what, what is opened, tested, cleaned and closed, and when.
//!
//! One synchronous struct. It never reads a clock, waits, wakes or spawns: every method takes `now` (nanoseconds since the pool
//! was made), changes the state and leaves the rest in [`Effects`]. So the same code runs under a lock in production and step by
//! step in a test.
//!
//! Supply and demand are matched in one function, [`State::advance`]; every connection comes home through one function,
//! [`State::settle`]. Both ask the rules in `rules.rs`, which is where a new one goes: when an idle connection may be lent
//! (`fitness`), what must not be kept (`worn_out`), when another is opened (`wants_connection`). What acts is in `moves.rs`.

// What it is made of.
pub(crate) mod effects;
mod health;
mod idle;
mod journal;
mod live;
pub(crate) mod queue;
mod sites;
mod start;
// What it does: more methods of `State`, by who calls them.
mod admin;
mod lend;
mod moves;
mod nesting;
mod pieces;
mod report;
mod rules;
mod runtimes;
mod work;
// How it is held to its word.
#[cfg(test)]
mod model;
#[cfg(test)]
mod walk;

use crate::{CloseReason, Pause, Settings, Site, Timings, Totals, Verdict, error::ConnectError};
use effects::Effects;
use health::Pulse;
use idle::Idle;
use journal::Journal;
pub(crate) use lend::{Collected, Wait};
pub(crate) use live::Claim;
use live::{Phase, Slots};
use nesting::Nesting;
use pieces::{PIECE, Pieces};
use queue::Queue;
use rules::Fitness;
use sites::Sites;
use start::Start;
pub(crate) use start::{Share, Warmth};
use std::{collections::VecDeque, time::Duration};

/// Nanoseconds since the pool was made.
pub(crate) type Ns = u64;
pub(crate) type SlotId = u32;

/// Why a caller may not even wait.
pub(crate) enum Refusal<E> {
    Closed,
    Paused,
    QueueFull(u32),
    /// By the site that holds one already.
    Nested(Site),
    /// All connections are held by callers that wait for another.
    Deadlocked,
    /// It would need a connect, and waiting does not cure what keeps that from succeeding.
    Hopeless(ConnectError<E>),
    /// By a test.
    Injected(Verdict),
}

/// Later than any time.
pub(crate) const NEVER: Ns = Ns::MAX;

/// How often those who wait for a driver on another runtime look whether it is still at work.
pub(crate) const LOOK: Ns = 250_000_000;

/// How long a driver may leave a call unanswered until its runtime is taken not to run. A runtime that is busy for less is not given up.
const DEAF: Ns = 1_000_000_000;

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
    /// `None` outside of any task.
    pub(crate) task: Option<u64>,
    /// The loan that will not end before this caller is served.
    pub(crate) holds: Option<Loan>,
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

/// All that a pool knows.
pub(crate) struct State<C, E> {
    settings: Settings,
    slots: Slots<C>,
    idle: Idle,
    queue: Queue<E>,
    pulse: Pulse<E>,
    journal: Journal,
    /// Wait, connect and ping; waits of zero are derived from the totals, holds from the sites.
    timings: Timings,
    /// How long each site held what it borrowed.
    sites: Sites,
    nesting: Nesting,
    /// What is left of work that is done in pieces.
    pieces: Pieces<E>,
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
    start: Start,
    /// The cap, or after it was lowered what was admitted before.
    admitted: u32,
    /// What the driver sleeps to.
    armed: Ns,
    /// Which runtime the driver runs on; `None` while there is no driver.
    pub(crate) driver: Option<u64>,
    /// Drivers there have been. The last is in charge; an earlier one that wakes up ends.
    pub(crate) drivers: u32,
    /// Since when a kick has gone unanswered.
    unanswered: Option<Ns>,
    /// When the driver last swept.
    swept: Ns,
    totals: Totals,
    abandoned: u64,
    dice: u64,
    #[cfg(test)]
    pub(crate) planted: Option<walk::Planted>,
}

impl<C, E> State<C, E> {
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        Self {
            slots: Slots::new(settings.cap()),
            idle: Idle::new(settings.pool_use_lifo),
            queue: Queue::new(),
            pulse: Pulse::new(),
            journal: Journal::new(),
            timings: Timings::new(),
            sites: Sites::new(),
            nesting: Nesting::default(),
            pieces: Pieces::default(),
            unfinished: false,
            todo: VecDeque::new(),
            epoch: 0,
            closed: false,
            paused: None,
            injected: None,
            start: Start::default(),
            admitted: settings.cap().unwrap_or(u32::MAX),
            armed: NEVER,
            driver: None,
            drivers: 0,
            unanswered: None,
            swept: 0,
            totals: Totals::default(),
            abandoned: 0,
            dice: seed,
            settings,
            #[cfg(test)]
            planted: None,
        }
    }
}

/// The two functions that everything passes through.
impl<C, E> State<C, E> {
    /// Matches supply and demand: idle connections go to the callers that wait, and the driver hears of what is left to do.
    fn advance(&mut self, now: Ns, fx: &mut Effects<C, E>) {
        self.pieces.unsettled = false;
        let mut matched = 0;
        while let (None, Some((ticket, _)), Some(id)) = (self.paused, self.queue.first(), self.idle.peek()) {
            if matched == PIECE {
                self.pieces.unsettled = true;
                break;
            }
            matched += 1;
            match self.fitness(id, now) {
                Fitness::Lend => {
                    self.idle.remove(id);
                    self.grant(ticket, id, now, fx);
                }
                Fitness::Retire(reason) => {
                    self.idle.remove(id);
                    let conn = self.slots.take_conn(id);
                    self.retire(id, conn, reason, now, fx);
                }
                // One ping for each caller at most; the tested connection is granted when the answer comes.
                Fitness::Ping if self.slots.count(Phase::Pinging) < self.queue.len() => {
                    self.idle.remove(id);
                    let conn = self.slots.take_conn(id);
                    self.start_ping(id, conn, now, fx);
                }
                Fitness::Ping => break,
            }
        }
        self.tell_the_hopeless(now, fx);
        if self.wants_connection(now) {
            fx.kick = true;
        } else if let Some(at) = self.next_connect(now).filter(|at| *at > now) {
            self.alarm(at, fx);
        }
        if self.is_drained() {
            (fx.drained, fx.kick) = (true, true); // the driver may go, too
        }
    }

    /// Decides what becomes of a good connection that nobody uses: kept idle for now, or closed.
    ///
    /// The caller runs [`Self::advance`] afterwards, which lends it to whoever waits.
    fn settle(&mut self, id: SlotId, conn: C, now: Ns, fx: &mut Effects<C, E>) {
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
