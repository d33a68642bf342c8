//! The slots: one for each connection that exists or is being made, and the phase it is in.

use super::{Loan, Ns, SlotId, queue::Ticket};
use crate::{CloseReason, Site};

/// Where a connection is in its life. The count of each is kept by [`Slots::enter`] and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No connection and no claim to one.
    Vacant,
    /// A job is connecting.
    Opening,
    /// In the idle stack.
    Idle,
    /// Given to a waiter that has not collected it yet.
    Granted,
    /// With a caller.
    Lent,
    /// Waiting for a ping job, or with one.
    Pinging,
    /// Waiting for a reset job, or with one.
    Resetting,
    /// Waiting for a close job, or with one.
    Closing(CloseReason),
}

const PHASES: usize = 8;

impl Phase {
    fn index(self) -> usize {
        match self {
            Self::Vacant => 0,
            Self::Opening => 1,
            Self::Idle => 2,
            Self::Granted => 3,
            Self::Lent => 4,
            Self::Pinging => 5,
            Self::Resetting => 6,
            Self::Closing(_) => 7,
        }
    }
}

/// The right to one connection, and what is known of it.
pub(crate) struct Slot<C> {
    /// Changed by [`Slots::enter`] only.
    phase: Phase,
    /// Here unless a caller or a job has it.
    pub(crate) conn: Option<C>,
    /// Which invalidations it has seen; older than the state's is retired.
    pub(crate) epoch: u32,
    /// When it was established.
    pub(crate) born: Ns,
    /// When its age ends.
    pub(crate) expires: Ns,
    /// When it entered its phase.
    pub(crate) since: Ns,
    /// Of one that is being pinged, since when it had been idle.
    pub(crate) idle_since: Ns,
    /// When it was last known to be good.
    pub(crate) proven: Ns,
    /// How much earlier than the others it is kept alive, as a share of 2^64.
    pub(crate) jitter: u64,
    /// How often it was lent.
    pub(crate) uses: u64,
    /// Who has it, or had it last.
    pub(crate) site: Site,
    /// The task that borrowed it, if one did.
    pub(crate) task: Option<u64>,
    /// Number of the loan, unique in the pool.
    pub(crate) loan: u64,
    /// The runtime that its connection lives on; `None` once that has ended.
    pub(crate) home: Option<u64>,
    /// Whether that runtime did not run when it was needed: what lives there is tested before it is lent.
    pub(crate) doubted: bool,
    /// The number of the job that works on it, 0 for none, and the runtime of that job.
    pub(crate) claim: u64,
    pub(crate) worker: Option<u64>,
    /// The caller that it was granted to.
    pub(crate) promised: Option<Ticket>,
    /// Callers in the queue that hold this one and will not let go before they are served.
    pub(crate) entangled: u32,
    /// Being pinged to be kept alive, not because somebody waits.
    pub(crate) keepalive: bool,
    /// Whether this hold was reported as a leak.
    pub(crate) reported: bool,
}

impl<C> Slot<C> {
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Takes the slot from its job.
    pub(crate) fn forsake(&mut self) {
        self.claim = FORSAKEN;
    }

    /// Whether the job that worked on it has lost its claim, and the slot waits to be freed.
    pub(crate) fn is_forsaken(&self) -> bool {
        self.claim == FORSAKEN
    }
}

/// The claim of no job.
const FORSAKEN: u64 = u64::MAX;

/// The right of one job to report on a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) slot: SlotId,
    number: u64,
}

/// The table of slots.
pub(crate) struct Slots<C> {
    slots: Vec<Slot<C>>,
    vacant: Vec<SlotId>,
    /// Claims there have been.
    claims: u64,
    counts: [u32; PHASES],
    usage: Usage,
    /// Slots that were looked at one by one, in all.
    #[cfg(test)]
    pub(crate) visited: std::cell::Cell<u64>,
}

/// How much of the pool is in use, and was.
struct Usage {
    /// In use at once, from which on the pool is full.
    cap: u32,
    peak: u32,
    /// Since when the pool has been full, if it is.
    since: Option<Ns>,
    /// How long it was full before.
    full: Ns,
    /// When it got this cap.
    from: Ns,
}

impl Usage {
    fn note(&mut self, in_use: u32, now: Ns) {
        self.peak = self.peak.max(in_use);
        match self.since {
            None if in_use >= self.cap => self.since = Some(now),
            Some(since) if in_use < self.cap => {
                self.full = self.full.saturating_add(now.saturating_sub(since));
                self.since = None;
            }
            _ => {}
        }
    }
}

impl<C> Slots<C> {
    pub(crate) fn new(cap: Option<u32>) -> Self {
        let usage = Usage { cap: cap.unwrap_or(u32::MAX), peak: 0, since: None, full: 0, from: 0 };
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            claims: 0,
            counts: [0; PHASES],
            usage,
            #[cfg(test)]
            visited: Default::default(),
        }
    }

    /// Changes how many make the pool full. What was counted before says nothing of the new size.
    pub(crate) fn set_cap(&mut self, cap: Option<u32>, now: Ns) {
        let cap = cap.unwrap_or(u32::MAX);
        if cap != self.usage.cap {
            self.usage = Usage { cap, peak: 0, since: None, full: 0, from: now };
            self.usage.note(self.in_use(), now);
        }
    }

    /// Lent, or granted to a caller that is about to collect.
    pub(crate) fn in_use(&self) -> u32 {
        self.count(Phase::Lent) + self.count(Phase::Granted)
    }

    /// For how long the cap has been what it is.
    pub(crate) fn sized(&self, now: Ns) -> Ns {
        now.saturating_sub(self.usage.from)
    }

    /// The most that were ever in use at once.
    pub(crate) fn peak(&self) -> u32 {
        self.usage.peak
    }

    /// Whether as many are in use as there may be.
    pub(crate) fn is_full(&self) -> bool {
        self.usage.since.is_some()
    }

    /// For how long as many have been in use as there may be, in all.
    pub(crate) fn full(&self, now: Ns) -> Ns {
        self.usage.full.saturating_add(self.usage.since.map_or(0, |since| now.saturating_sub(since)))
    }

    /// Takes a slot for a connection that is about to be opened.
    pub(crate) fn open(&mut self, epoch: u32, now: Ns) -> SlotId {
        let slot = Slot {
            phase: Phase::Opening,
            conn: None,
            epoch,
            born: now,
            expires: Ns::MAX,
            since: now,
            idle_since: now,
            proven: now,
            jitter: 0,
            uses: 0,
            site: Site::here(),
            task: None,
            loan: 0,
            home: None,
            doubted: false,
            claim: 0,
            worker: None,
            promised: None,
            entangled: 0,
            keepalive: false,
            reported: false,
        };
        self.counts[Phase::Opening.index()] += 1;
        match self.vacant.pop() {
            Some(id) => {
                self.counts[Phase::Vacant.index()] -= 1;
                self.slots[id as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                SlotId::try_from(self.slots.len() - 1).expect("BUG: more than 2^32 connections")
            }
        }
    }

    /// Gives a slot to a job that runs on this runtime.
    pub(crate) fn claim(&mut self, slot: SlotId, worker: Option<u64>) -> Claim {
        self.claims += 1;
        let number = self.claims;
        (self[slot].claim, self[slot].worker) = (number, worker);
        Claim { slot, number }
    }

    /// Ends the claim of a job. `None`: it has lost it.
    pub(crate) fn unclaim(&mut self, Claim { slot, number }: Claim) -> Option<SlotId> {
        (self[slot].claim == number).then(|| {
            self[slot].claim = 0;
            slot
        })
    }

    /// Every slot, to be marked.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot<C>> {
        self.slots.iter_mut().filter(|slot| slot.phase != Phase::Vacant)
    }

    /// Moves a slot to a phase.
    pub(crate) fn enter(&mut self, id: SlotId, phase: Phase, now: Ns) {
        let slot = &mut self.slots[id as usize];
        self.counts[slot.phase.index()] -= 1;
        self.counts[phase.index()] += 1;
        (slot.phase, slot.since) = (phase, now);
        if phase == Phase::Vacant {
            debug_assert!(slot.conn.is_none(), "BUG: a freed slot still holds its connection");
            self.vacant.push(id);
        }
        self.usage.note(self.counts[Phase::Lent.index()] + self.counts[Phase::Granted.index()], now);
    }

    /// Takes the connection out of a slot that holds one: idle, granted, or with work to do.
    pub(crate) fn take_conn(&mut self, id: SlotId) -> C {
        self.slots[id as usize]
            .conn
            .take()
            .expect("BUG: an idle or granted slot, or one with work to do, holds its connection")
    }

    /// Brings what is being opened into a new epoch.
    pub(crate) fn renew_opening(&mut self, epoch: u32) {
        for slot in self.slots.iter_mut().filter(|slot| slot.phase == Phase::Opening) {
            slot.epoch = epoch;
        }
    }

    /// How many are in a phase.
    pub(crate) fn count(&self, phase: Phase) -> u32 {
        self.counts[phase.index()]
    }

    /// Slots that count against the cap: all but the vacant.
    pub(crate) fn used(&self) -> u32 {
        self.slots.len() as u32 - self.vacant.len() as u32
    }

    /// Established connections that are not on their way out.
    pub(crate) fn established(&self) -> u32 {
        self.open_count() - self.counts[PHASES - 1]
    }

    /// Established connections that are not confirmed closed.
    pub(crate) fn open_count(&self) -> u32 {
        self.used() - self.count(Phase::Opening)
    }

    /// One more than the last slot.
    pub(crate) fn end(&self) -> SlotId {
        self.slots.len() as SlotId
    }

    /// Those that are not vacant.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SlotId, &Slot<C>)> {
        self.all().filter(|(_, slot)| slot.phase != Phase::Vacant)
    }

    fn all(&self) -> impl Iterator<Item = (SlotId, &Slot<C>)> {
        let slots = (0..).zip(&self.slots);
        #[cfg(test)]
        let slots = slots.inspect(|_| self.visited.set(self.visited.get() + 1));
        slots
    }

    /// Those that are with a caller.
    pub(crate) fn lent(&self) -> impl Iterator<Item = (SlotId, &Slot<C>)> {
        self.iter().filter(|(_, slot)| slot.phase == Phase::Lent)
    }

    /// Those that wait for their caller to collect them.
    pub(crate) fn granted(&self) -> impl Iterator<Item = (SlotId, Ticket)> {
        let promised =
            |(id, slot): (SlotId, &Slot<C>)| Some((id, slot.promised.filter(|_| slot.phase == Phase::Granted)?));
        self.iter().filter_map(promised)
    }

    /// Whether a loan has not ended.
    pub(crate) fn is_current(&self, loan: Loan) -> bool {
        let slot = &self[loan.slot];
        slot.phase == Phase::Lent && slot.loan == loan.number
    }

    /// One that this task borrowed, among the first so many.
    pub(crate) fn lent_to(&self, task: u64, among: usize) -> Option<SlotId> {
        let mut slots = self.all().take(among);
        slots.find(|(_, slot)| slot.phase == Phase::Lent && slot.task == Some(task)).map(|(id, _)| id)
    }

    /// Compares the counts with the phases.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut counts = [0; PHASES];
        for slot in &self.slots {
            counts[slot.phase.index()] += 1;
        }
        if counts != self.counts {
            return Err(format!("phase counts are {:?}, the slots say {counts:?}", self.counts));
        }
        if counts[0] as usize != self.vacant.len() {
            return Err(format!("{} vacant slots, {} on the vacant list", counts[0], self.vacant.len()));
        }
        Ok(())
    }
}

impl<C> std::ops::Index<SlotId> for Slots<C> {
    type Output = Slot<C>;
    fn index(&self, id: SlotId) -> &Slot<C> {
        &self.slots[id as usize]
    }
}

impl<C> std::ops::IndexMut<SlotId> for Slots<C> {
    fn index_mut(&mut self, id: SlotId) -> &mut Slot<C> {
        &mut self.slots[id as usize]
    }
}
