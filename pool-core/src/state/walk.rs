//! A random walk through the state, against its invariants; and the same walk with faults planted, to see each one caught.

use super::{
    Caller, Collected, Loan, Ns, Refusal, Share, State, Wait,
    effects::{Effects, Job},
    queue::{Outcome, Ticket},
};
use crate::{ErrorClass, MaxOverflow, Nested, Pause, Settings, Site, error::ConnectError, error::Failure};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Wake, Waker},
    time::Duration,
};

/// A fault that the walk must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A caller that leaves with a grant takes the connection along.
    CancelLosesGrant,
    /// Whoever comes home is kept, however many are idle.
    KeepsOverflow,
    /// The caller that came last is served first.
    ServesLast,
    /// A grant does not wake its caller.
    ForgetsToWake,
    /// A close that has ended does not free its slot.
    CloseKeepsSlot,
    /// A caller whose time has run out stays in the queue.
    KeepsExpired,
    /// A connection that its caller does not collect in time stays granted.
    KeepsGrants,
    /// Work is left for the driver without a word to it.
    ForgetsToKick,
    /// A caller is refused because its task holds a connection.
    RefusesByTask,
    /// A loan that ends stays marked as held by a caller that waits.
    KeepsMarks,
}

struct Flag(AtomicBool);
impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

struct Waiting {
    ticket: Ticket,
    order: u64,
    deadline: Ns,
    woken: Arc<Flag>,
}

/// The world around a state: callers, users, the driver and the database, all played by dice.
struct Walk {
    state: State<u32, &'static str>,
    now: Ns,
    dice: u64,
    kicked: bool,
    alarm: Ns,
    /// When the driver last looked.
    driven: Ns,
    waiting: Vec<Waiting>,
    lent: Vec<(Loan, u32)>,
    jobs: Vec<Job<u32>>,
    /// Callers that wait for a warm-up.
    shares: Vec<Share>,
    next_conn: u32,
    next_order: u64,
    /// The runtime that the driver is on.
    runtime: u64,
    /// Connections that exist anywhere.
    alive: BTreeSet<u32>,
    log: Vec<String>,
}

impl Walk {
    fn new(settings: Settings, seed: u64) -> Self {
        Self {
            state: State::new(settings, seed),
            now: 0,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            kicked: true, // the first turn of a new pool starts the driver
            alarm: Ns::MAX,
            driven: 0,
            waiting: vec![],
            lent: vec![],
            jobs: vec![],
            shares: vec![],
            next_conn: 0,
            next_order: 0,
            runtime: 1,
            alive: BTreeSet::new(),
            log: vec![],
        }
    }

    fn roll(&mut self, n: usize) -> usize {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice % n.max(1) as u64) as usize
    }

    fn turn<T>(
        &mut self,
        decide: impl FnOnce(&mut State<u32, &'static str>, Ns, &mut Effects<u32, &'static str>) -> T,
    ) -> T {
        let mut fx = Effects::default();
        let answer = decide(&mut self.state, self.now, &mut fx);
        while self.state.is_busy() {
            assert_eq!(self.state.check(self.now), Ok(()), "between two pieces");
            self.state.go_on(self.now, &mut fx);
        }
        drop(fx.spent);
        fx.wake.into_iter().chain(fx.more).for_each(Waker::wake);
        for conn in fx.dispose {
            assert!(self.alive.remove(&conn), "disposed of a connection that does not exist");
        }
        self.kicked |= fx.kick;
        answer
    }

    /// Somebody: in one of a few tasks or in none, and at times with a mark of a loan, which may have ended by the time it is lent.
    fn caller(&mut self) -> Caller {
        let task = self.roll(4) as u64;
        let loan = self.roll(2 * self.lent.len());
        let holds = self.lent.get(loan).map(|(loan, _)| *loan);
        Caller { site: Site::here(), task: (task > 0).then_some(task), holds }
    }

    /// One step of somebody.
    fn step(&mut self) -> Result<(), String> {
        match self.roll(16) {
            0..=3 => self.acquire()?,
            4 | 5 => self.collect()?,
            6 => self.cancel(),
            7..=9 => self.release(),
            10..=12 => self.finish_job(),
            13 => self.drive(),
            14 => self.pass_time(),
            _ if self.roll(20) == 0 => {
                self.log.push("invalidate".into());
                self.turn(|s, now, fx| s.invalidate(now, fx));
            }
            _ if self.roll(60) == 0 => self.end_runtime(),
            _ if self.roll(40) == 0 => self.take_over(),
            _ if self.roll(40) == 0 && self.runtime > 1 => {
                let earlier = 1 + self.roll(self.runtime as usize - 1) as u64;
                self.log.push(format!("runtime {earlier} ends"));
                self.turn(|s, now, fx| s.runtime_ended(earlier, u32::MAX, now, fx));
            }
            _ if self.roll(10) == 0 => self.administer(),
            _ => {}
        }
        self.audit()
    }

    fn acquire(&mut self) -> Result<(), String> {
        let caller = self.caller();
        let now = self.now;
        if let Some((loan, conn)) = self.state.take(caller, now) {
            self.log.push(format!("take -> {}", loan.slot));
            if self.state.unfinished {
                self.turn(|s, now, fx| s.after_take(now, fx));
            }
            if !self.waiting.iter().all(|w| !self.state.queue.is_waiting(w.ticket)) {
                return Err("a newcomer was served while others wait".into());
            }
            self.lent.push((loan, conn));
            return Ok(());
        }
        let limit = [0, 1_000, 50_000, 50_000, 50_000, 200_000][self.roll(6)];
        let woken = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let deadline = now + limit;
        match self.turn(|s, now, fx| s.wait(caller, deadline, waker, now, fx)) {
            Wait::Queued(ticket) => {
                self.log.push(format!("wait until {deadline} -> {ticket:?}"));
                // Granted or expired under the same lock: the caller is here, no wake is needed.
                if !self.state.queue.is_waiting(ticket) {
                    woken.0.store(true, Relaxed);
                }
                self.waiting.push(Waiting { ticket, order: self.next_order, deadline, woken });
                self.next_order += 1;
            }
            Wait::Refused(Refusal::Nested(_) | Refusal::Deadlocked) if self.state.held_by(&caller).is_none() => {
                return Err("a caller without a mark was refused as nested".into());
            }
            Wait::Refused(_) => self.log.push("refused".into()),
        }
        Ok(())
    }

    fn collect(&mut self) -> Result<(), String> {
        let ready: Vec<usize> = (0..self.waiting.len()).filter(|&i| self.waiting[i].woken.0.load(Relaxed)).collect();
        let Some(&i) = ready.get(self.roll(ready.len())) else { return Ok(()) };
        let ticket = self.waiting[i].ticket;
        self.waiting[i].woken.0.store(false, Relaxed);
        let waker = Waker::from(Arc::clone(&self.waiting[i].woken));
        let found = self.turn(|s, now, fx| {
            let found = s.collect(ticket, now, fx);
            if found.is_none() && !s.would_wake(ticket, &waker) {
                s.renew_waker(ticket, waker, fx);
            }
            found
        });
        self.log.push(format!("collect {ticket:?}"));
        match found {
            None => return Ok(()), // woken because the driver ended
            Some(Collected::Lent(loan, conn)) => self.lent.push((loan, conn)),
            Some(_) => {}
        }
        self.waiting.remove(i);
        Ok(())
    }

    fn cancel(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let i = self.roll(self.waiting.len());
        let gone = self.waiting.remove(i);
        self.log.push(format!("leave {:?}", gone.ticket));
        self.turn(|s, now, fx| s.leave(gone.ticket, now, fx));
    }

    fn release(&mut self) {
        if self.lent.is_empty() {
            return;
        }
        let i = self.roll(self.lent.len());
        let (Loan { slot: id, .. }, conn) = self.lent.swap_remove(i);
        let how = self.roll(12);
        self.log.push(format!("release {id} way {how}"));
        let now = self.now;
        match how {
            0..=6 => {
                if let Err(conn) = self.state.give(id, conn, now) {
                    self.turn(|s, now, fx| s.come_home(id, conn, now, fx));
                }
            }
            7 | 8 => self.turn(|s, now, fx| s.come_home_dirty(id, conn, now, fx)),
            9 => self.turn(|s, now, fx| s.come_home_broken(id, conn, now, fx)),
            10 => self.turn(|s, now, fx| s.discard(id, conn, crate::CloseReason::Removed, now, fx)),
            _ => {
                self.alive.remove(&conn);
                self.turn(|s, now, fx| s.detach(id, now, fx));
            }
        }
    }

    fn drive(&mut self) {
        self.log.push("drive".into());
        self.kicked = false;
        self.driven = self.now;
        self.state.driver = Some(self.runtime);
        // In pieces, and not for ever where a fault is planted.
        for _ in 0..100 {
            self.alarm = self.turn(|s, now, fx| s.sweep(now, fx));
            if self.alarm > self.now {
                break;
            }
        }
        while let Some(job) = self.turn(|s, now, fx| s.next_job(now, fx)) {
            self.log.push(format!("  job {job:?}"));
            self.jobs.push(job);
        }
    }

    fn finish_job(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let i = self.roll(self.jobs.len());
        let job = self.jobs.swap_remove(i);
        let how = self.roll(8);
        self.log.push(format!("end {job:?} way {how}"));
        let late = match job {
            Job::Connect { slot, .. } if how < 5 => {
                self.next_conn += 1;
                let conn = self.next_conn;
                self.alive.insert(conn);
                self.turn(|s, now, fx| s.connected(slot, conn, now, fx))
            }
            Job::Connect { slot, .. } => {
                let (class, failure) = match how {
                    5 => (ErrorClass::Permanent, Failure::Manager(Arc::new("password"))),
                    6 => (ErrorClass::Transient, Failure::Manager(Arc::new("refused"))),
                    _ => (ErrorClass::Transient, Failure::TimedOut(Duration::from_micros(100))),
                };
                let error = ConnectError { failure, class };
                self.turn(|s, now, fx| s.connect_failed(slot, error, String::new(), now, fx));
                None
            }
            Job::Ping { slot, conn, .. } => match how {
                0..=5 => self.turn(|s, now, fx| s.pinged(slot, conn, now, fx)),
                6 => self.turn(|s, now, fx| s.ping_failed(slot, Some(conn), true, now, fx)),
                _ => {
                    self.alive.remove(&conn);
                    self.turn(|s, now, fx| s.ping_failed(slot, None, false, now, fx))
                }
            },
            Job::Reset { slot, conn, .. } => match how {
                0..=5 => self.turn(|s, now, fx| s.was_reset(slot, conn, now, fx)),
                6 => self.turn(|s, now, fx| s.reset_failed(slot, Some(conn), false, now, fx)),
                _ => {
                    self.alive.remove(&conn);
                    self.turn(|s, now, fx| s.reset_failed(slot, None, true, now, fx))
                }
            },
            Job::Close { slot, conn, reason, .. } => {
                self.alive.remove(&conn);
                self.turn(|s, now, fx| s.was_closed(slot, reason, how < 7, now, fx));
                None
            }
        };
        // The job has lost its claim: it closes the connection itself.
        if let Some(conn) = late {
            assert!(self.alive.remove(&conn), "a connection came back twice");
        }
    }

    /// Time passes to the next alarm at most; there the driver runs.
    fn pass_time(&mut self) {
        let by = [1, 500, 5_000, 30_000][self.roll(4)];
        self.now = (self.now + by).min(self.alarm.max(self.now));
        self.log.push(format!("time {}", self.now));
        if self.now >= self.alarm || self.kicked {
            self.drive();
        }
    }

    fn administer(&mut self) {
        let what = self.roll(7);
        self.log.push(format!("administer {what}"));
        match what {
            0 => self.turn(|s, _, fx| s.pause(Pause::Wait, fx)),
            1 => self.turn(|s, _, fx| s.pause(Pause::Refuse, fx)),
            2 | 3 => self.turn(|s, now, fx| s.resume(now, fx)),
            4 => {
                let alone = self.roll(2) == 0;
                let share = self.turn(|s, now, fx| s.warm_up(alone, now, fx));
                self.shares.extend((!alone).then_some(share));
            }
            5 if !self.shares.is_empty() => {
                let share = self.roll(self.shares.len());
                let (share, goes_on) = (self.shares.swap_remove(share), self.roll(3) == 0);
                self.turn(|s, _, fx| s.leave_warm_up(share, goes_on, fx));
            }
            _ => {
                let (size, overflow) = (1 + self.roll(4) as u32, self.roll(3) as u32);
                let settings = self.state.settings().clone().with_pool_size(size).with_max_overflow(overflow);
                self.turn(|s, now, fx| s.reconfigure(settings.with_min_idle(0), now, fx));
            }
        }
    }

    /// The driver's runtime does not run, and another one takes over. Its jobs may still end, much later.
    fn take_over(&mut self) {
        self.log.push("another runtime takes over".into());
        self.turn(|s, now, fx| s.take_over(now, fx));
        self.runtime += 1;
    }

    /// The driver's runtime ends, and its jobs with it.
    fn end_runtime(&mut self) {
        self.log.push("runtime ends".into());
        for job in std::mem::take(&mut self.jobs) {
            match job {
                Job::Connect { slot, .. } => {
                    let error = ConnectError { failure: Failure::Aborted("ended"), class: ErrorClass::Transient };
                    self.turn(|s, now, fx| s.connect_failed(slot, error, String::new(), now, fx));
                }
                Job::Ping { slot, conn, .. } => {
                    self.alive.remove(&conn);
                    assert_eq!(self.turn(|s, now, fx| s.ping_failed(slot, None, false, now, fx)), None);
                }
                Job::Reset { slot, conn, .. } => {
                    self.alive.remove(&conn);
                    assert_eq!(self.turn(|s, now, fx| s.reset_failed(slot, None, false, now, fx)), None);
                }
                Job::Close { slot, conn, reason, .. } => {
                    self.alive.remove(&conn);
                    self.turn(|s, now, fx| s.was_closed(slot, reason, false, now, fx));
                }
            }
        }
        let runtime = self.runtime;
        self.turn(|s, now, fx| s.runtime_ended(runtime, s.drivers, now, fx));
        self.alarm = Ns::MAX;
        self.kicked = true; // the next caller brings a driver
    }

    /// What must hold after every step.
    fn audit(&mut self) -> Result<(), String> {
        self.state.check(self.now)?;
        let still = |w: &&Waiting| self.state.queue.is_waiting(w.ticket);
        let first_waiting = self.waiting.iter().filter(still).map(|w| w.order).min().unwrap_or(u64::MAX);
        for w in self.waiting.iter().filter(|w| !still(w)) {
            if !w.woken.0.load(Relaxed) {
                return Err(format!("{:?} has its answer but was not woken", w.ticket));
            }
            let granted = matches!(self.state.queue.outcome(w.ticket), Outcome::Granted(_));
            if granted && !self.kicked && (w.deadline <= self.driven || w.deadline < self.alarm) {
                return Err(format!("{:?} was to collect until {} and is still granted one", w.ticket, w.deadline));
            }
            if granted && w.order > first_waiting {
                return Err(format!("{:?} was served before an older caller", w.ticket));
            }
        }
        if !self.kicked && self.state.wants_connection(self.now) {
            return Err("a connection is wanted and the driver does not know".into());
        }
        if !self.kicked && self.state.is_stuck(self.now) {
            return Err("somebody waits and nothing is under way".into());
        }
        if let Some(w) = self.waiting.iter().filter(still).find(|w| !self.kicked && w.deadline < self.alarm) {
            return Err(format!("{:?} ends at {} but the alarm is set to {}", w.ticket, w.deadline, self.alarm));
        }
        let mut lent = BTreeSet::new();
        if let Some(w) = self.waiting.iter().filter(still).find(|w| !self.kicked && w.deadline <= self.driven) {
            return Err(format!("{:?} ended at {} and waits still at {}", w.ticket, w.deadline, self.now));
        }
        if !self.kicked && !self.state.todo.is_empty() {
            return Err("there is work and the driver does not know".into());
        }
        if let Some((_, conn)) = self.lent.iter().find(|(_, conn)| !lent.insert(*conn) || !self.alive.contains(conn)) {
            return Err(format!("connection {conn} is lent twice, or does not exist"));
        }
        Ok(())
    }

    /// Everybody goes home; nothing may remain.
    fn end(&mut self) -> Result<(), String> {
        self.log.push("end".into());
        while !self.waiting.is_empty() {
            self.cancel();
            self.audit()?;
        }
        self.turn(|s, now, fx| s.close(now, fx));
        for _ in 0..10_000 {
            if self.lent.is_empty() && self.jobs.is_empty() && !self.kicked {
                break;
            }
            self.release();
            self.drive();
            self.finish_job();
            self.audit()?;
        }
        if !self.state.is_drained() {
            return Err(format!("closed, everybody home, and still: {}", self.state.status(self.now)));
        }
        if !self.alive.is_empty() {
            return Err(format!("connections {:?} were never closed", self.alive));
        }
        Ok(())
    }
}

fn walk(settings: Settings, seed: u64, steps: u32, planted: Option<Planted>) -> Result<(), String> {
    let mut walk = Walk::new(settings, seed);
    walk.state.planted = planted;
    let outcome = (0..steps).try_for_each(|_| walk.step()).and_then(|()| walk.end());
    outcome.map_err(|why| {
        let tail = walk.log.len().saturating_sub(30);
        format!("seed {seed}, step {}: {why}\n{}", walk.log.len(), walk.log[tail..].join("\n"))
    })
}

/// Pools of every shape: tiny, without idle ones, unlimited, impatient, short-lived.
fn shapes() -> Vec<Settings> {
    let us = Duration::from_micros;
    let base = Settings::default()
        .with_pool_size(3)
        .with_max_overflow(2)
        .with_connection_timeout(us(100))
        .with_pool_timeout(us(50))
        .with_pre_ping_after(us(5))
        .with_ping_timeout(us(20))
        .with_reset_timeout(us(20));
    vec![
        base.clone(),
        base.clone().with_pool_size(1).with_max_overflow(0),
        base.clone().with_pool_size(0).with_max_overflow(2),
        base.clone().with_max_overflow(MaxOverflow::Unlimited).with_pool_use_lifo(false),
        base.clone().with_pool_pre_ping(false).with_max_uses(Some(3)).with_max_waiting(Some(2)),
        base.clone().with_idle_timeout(Some(us(10))).with_pool_recycle(Some(us(40))).with_leak_after(Some(us(15))),
        base.clone().with_min_idle(2).with_connect_concurrency(1),
        base.clone().with_keepalive(us(9)).with_idle_timeout(us(300)).with_min_idle(1),
        base.clone().with_overflow_linger(us(8)).with_pre_ping_after(Duration::ZERO),
        base.with_nested(Nested::Deny),
    ]
}

#[test]
fn no_random_walk_breaks_an_invariant() {
    for settings in shapes() {
        for seed in 1..=6 {
            if let Err(why) = walk(settings.clone(), seed, 4_000, None) {
                panic!("{settings:?}\n{why}");
            }
        }
    }
}

#[test]
fn every_planted_fault_is_caught() {
    use Planted::*;
    for planted in [
        CancelLosesGrant,
        KeepsOverflow,
        ServesLast,
        ForgetsToWake,
        CloseKeepsSlot,
        KeepsExpired,
        KeepsGrants,
        ForgetsToKick,
        RefusesByTask,
        KeepsMarks,
    ] {
        let caught = shapes().into_iter().any(|settings| {
            (1..=12).any(|seed| {
                let run = std::panic::AssertUnwindSafe(|| walk(settings.clone(), seed, 4_000, Some(planted)));
                std::panic::catch_unwind(run).map_or(true, |outcome| outcome.is_err())
            })
        });
        assert!(caught, "{planted:?} went unnoticed");
    }
}
