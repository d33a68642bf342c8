//! The state against a model that is simple enough to be seen right; proptest finds and shrinks the scripts on which they differ.

use super::{
    Caller, Collected, Loan, Ns, State, Wait,
    effects::{Effects, Job},
    queue::Ticket,
};
use crate::{Nested, Settings, Site, Verdict};
use proptest::prelude::*;
use std::{collections::VecDeque, task::Waker, time::Duration};

/// One line of a script. Indices are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// By a task, or by none if 0; `inside` picks the loan, of the last few, that a mark of the caller names.
    Acquire {
        limit_ms: u64,
        task: u64,
        inside: Option<usize>,
    },
    Cancel(usize),
    Release(usize),
    ReleaseDirty(usize),
    ReleaseBroken(usize),
    Discard(usize),
    Detach(usize),
    Pass {
        ms: u64,
    },
    Invalidate,
    Resize {
        pool_size: u32,
        max_overflow: u32,
    },
    Pause,
    Resume,
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u64..50, 0u64..4, prop::option::of(0usize..4))
            .prop_map(|(limit_ms, task, inside)| Op::Acquire { limit_ms, task, inside }),
        2 => any::<usize>().prop_map(Op::Cancel),
        6 => any::<usize>().prop_map(Op::Release),
        2 => any::<usize>().prop_map(Op::ReleaseDirty),
        1 => any::<usize>().prop_map(Op::ReleaseBroken),
        1 => any::<usize>().prop_map(Op::Discard),
        1 => any::<usize>().prop_map(Op::Detach),
        3 => (1u64..30).prop_map(|ms| Op::Pass { ms }),
        1 => Just(Op::Invalidate),
        1 => (0u32..4, 1u32..3).prop_map(|(pool_size, max_overflow)| Op::Resize { pool_size, max_overflow }),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        1 => Just(Op::Close),
    ]
}

/// A caller, and the caller whose loan it says it holds.
#[derive(Clone, Copy)]
struct Asks {
    id: u64,
    task: u64,
    holds: Option<u64>,
}

/// The pool as one would explain it: connections open at once, jobs take no time.
#[derive(Default)]
struct Model {
    size: u32,
    cap: u32,
    lifo: bool,
    now: Ns,
    /// Connections are numbered in the order in which they are opened.
    opened: u32,
    /// The first number that an invalidation has not retired.
    valid_from: u32,
    idle: Vec<u32>,
    lent: Vec<(Asks, u32)>,
    waiting: VecDeque<(Asks, Ns)>,
    nested: Nested,
    paused: bool,
    closed: bool,
    timeouts: u64,
    /// How many of them with the verdict `nested`.
    nested_timeouts: u64,
    refused: u64,
}

impl Model {
    fn open(&self) -> u32 {
        (self.idle.len() + self.lent.len()) as u32
    }

    /// Whether this one says that it holds a loan, and that has not ended.
    fn is_marked(&self, asks: &Asks) -> bool {
        self.lent.iter().any(|(lent, _)| asks.holds == Some(lent.id))
    }

    /// Whether callers that hold all there may be wait, as marks tell, or marks and tasks.
    fn is_stuck(&self, by_task: bool) -> bool {
        let waits = |lent: &Asks| {
            let same_task = |w: &Asks| by_task && w.task == lent.task && w.task > 0;
            self.waiting.iter().any(|(w, _)| w.holds == Some(lent.id) || same_task(w))
        };
        self.open() >= self.cap && self.idle.is_empty() && self.lent.iter().all(|(lent, _)| waits(lent))
    }

    /// The caller's time is up. `stuck`: whether the pool was when the first ran out of time.
    fn time_out(&mut self, asks: &Asks, stuck: bool) {
        let by_task = self.lent.iter().any(|(lent, _)| lent.task == asks.task && asks.task > 0);
        let nested = stuck && !self.paused && self.nested != Nested::Allow && (self.is_marked(asks) || by_task);
        self.timeouts += 1;
        self.nested_timeouts += u64::from(nested);
    }

    fn acquire(&mut self, asks: Asks, deadline: Ns) {
        if self.closed {
            return;
        }
        self.waiting.push_back((asks, deadline));
        if self.is_marked(&asks) && (self.nested == Nested::Deny || self.is_stuck(false)) {
            self.waiting.pop_back();
            self.refused += 1;
            return;
        }
        // With no time at all only what is idle will do.
        let only_idle = deadline <= self.now;
        self.serve(only_idle);
        if only_idle && self.waiting.back().is_some_and(|(last, _)| last.id == asks.id) {
            self.time_out(&asks, self.is_stuck(true));
            self.waiting.pop_back();
        }
    }

    fn serve(&mut self, only_idle: bool) {
        while !self.paused && !self.waiting.is_empty() {
            let last = self.lifo;
            let conn = match self.idle.is_empty() {
                false if last => self.idle.pop(),
                false => Some(self.idle.remove(0)),
                true if self.open() < self.cap && !only_idle => {
                    self.opened += 1;
                    Some(self.opened)
                }
                true => None,
            };
            let Some(conn) = conn else { return };
            let (caller, _) = self.waiting.pop_front().expect("somebody waits");
            self.lent.push((caller, conn));
        }
    }

    fn come_home(&mut self, conn: u32) {
        let keep = conn >= self.valid_from && !self.closed && self.open() < self.cap;
        match self.waiting.front() {
            Some(&(caller, _)) if keep && !self.paused => {
                self.waiting.pop_front();
                self.lent.push((caller, conn));
            }
            _ if keep && (self.idle.len() as u32) < self.size => self.idle.push(conn),
            _ => {}
        }
        self.serve(false);
    }

    fn invalidate(&mut self) {
        self.valid_from = self.opened + 1;
        self.idle.clear();
    }

    fn pass(&mut self, ns: Ns) {
        self.now += ns;
        let stuck = self.is_stuck(true);
        let (late, waiting): (VecDeque<_>, _) = self.waiting.iter().partition(|(_, deadline)| *deadline <= self.now);
        self.waiting = waiting;
        late.iter().for_each(|(asks, _)| self.time_out(asks, stuck));
    }
}

/// The real state, with a driver whose jobs all succeed at once.
struct Real {
    state: State<u32, &'static str>,
    now: Ns,
    opened: u32,
    waiting: Vec<(u64, Ticket)>,
    lent: Vec<(u64, Loan, u32)>,
    /// Every loan there has been, in order.
    loans: Vec<(u64, Loan)>,
    nested_timeouts: u64,
}

impl Real {
    fn turn<T>(
        &mut self,
        decide: impl FnOnce(&mut State<u32, &'static str>, Ns, &mut Effects<u32, &'static str>) -> T,
    ) -> T {
        let mut fx = Effects::default();
        let answer = decide(&mut self.state, self.now, &mut fx);
        while self.state.is_busy() {
            self.state.go_on(self.now, &mut fx);
        }
        answer
    }

    fn settle(&mut self) {
        self.state.driver = Some(1);
        while self.turn(|s, now, fx| s.sweep(now, fx)) <= self.now {}
        while let Some(job) = self.turn(|s, now, fx| s.next_job(now, fx)) {
            match job {
                Job::Connect { slot, .. } => {
                    self.opened += 1;
                    let conn = self.opened;
                    let late = self.turn(|s, now, fx| s.connected(slot, conn, now, fx));
                    assert_eq!(late, None);
                }
                Job::Ping { slot, conn, .. } => assert_eq!(self.turn(|s, now, fx| s.pinged(slot, conn, now, fx)), None),
                Job::Reset { slot, conn, .. } => {
                    assert_eq!(self.turn(|s, now, fx| s.was_reset(slot, conn, now, fx)), None)
                }
                Job::Close { slot, reason, .. } => self.turn(|s, now, fx| s.was_closed(slot, reason, true, now, fx)),
            }
        }
        for (caller, ticket) in std::mem::take(&mut self.waiting) {
            match self.turn(|s, now, fx| s.collect(ticket, now, fx)) {
                None => self.waiting.push((caller, ticket)),
                Some(Collected::Lent(loan, conn)) => self.lend(caller, loan, conn),
                Some(Collected::Expired(verdict)) => self.nested_timeouts += u64::from(verdict == Verdict::Nested),
                Some(_) => {}
            }
        }
    }

    fn lend(&mut self, id: u64, loan: Loan, conn: u32) {
        self.lent.push((id, loan, conn));
        self.loans.push((id, loan));
    }

    fn acquire(&mut self, Asks { id, task, holds }: Asks, deadline: Ns) {
        let holds = self.loans.iter().find(|(lent, _)| holds == Some(*lent)).map(|(_, loan)| *loan);
        let caller = Caller { site: Site::here(), task: (task > 0).then_some(task), holds };
        let now = self.now;
        if let Some((loan, conn)) = self.state.take(caller, now) {
            if self.state.unfinished {
                self.turn(|s, now, fx| s.after_take(now, fx));
            }
            return self.lend(id, loan, conn);
        }
        match self.turn(|s, now, fx| s.wait(caller, deadline, Waker::noop().clone(), now, fx)) {
            Wait::Queued(ticket) => self.waiting.push((id, ticket)),
            Wait::Refused(_) => {}
        }
    }
}

fn run(script: &[Op], lifo: bool, nested: Nested) -> Result<(), TestCaseError> {
    let settings = Settings::default()
        .with_pool_size(2)
        .with_max_overflow(1)
        .with_pool_use_lifo(lifo)
        .with_pool_pre_ping(false)
        .with_nested(nested)
        .with_connect_concurrency(100);
    let mut model = Model { size: 2, cap: 3, lifo, nested, valid_from: 1, ..Model::default() };
    let state = State::new(settings, 1);
    let mut real = Real { state, now: 0, opened: 0, waiting: vec![], lent: vec![], loans: vec![], nested_timeouts: 0 };
    for (step, op) in script.iter().enumerate() {
        let pick = |i: usize, n: usize| (n > 0).then(|| i % n);
        match *op {
            Op::Acquire { limit_ms, task, inside } => {
                let deadline = model.now + limit_ms * 1_000_000;
                let holds = inside.and_then(|i| real.loans.iter().rev().nth(i)).map(|(lent, _)| *lent);
                let asks = Asks { id: step as u64, task, holds };
                real.acquire(asks, deadline);
                model.acquire(asks, deadline);
            }
            Op::Cancel(i) => {
                if let Some(i) = pick(i, real.waiting.len()) {
                    let (caller, ticket) = real.waiting.remove(i);
                    real.turn(|s, now, fx| s.leave(ticket, now, fx));
                    model.waiting.retain(|(waiting, _)| waiting.id != caller);
                }
            }
            Op::Release(i) | Op::ReleaseDirty(i) | Op::ReleaseBroken(i) | Op::Discard(i) | Op::Detach(i) => {
                let Some(i) = pick(i, real.lent.len()) else { continue };
                let (caller, Loan { slot, .. }, conn) = real.lent.remove(i);
                model.lent.retain(|(lent, _)| lent.id != caller);
                let now = real.now;
                match op {
                    Op::Release(_) => {
                        if let Err(conn) = real.state.give(slot, conn, now) {
                            real.turn(|s, now, fx| s.come_home(slot, conn, now, fx));
                        }
                        model.come_home(conn);
                    }
                    Op::ReleaseDirty(_) => {
                        real.turn(|s, now, fx| s.come_home_dirty(slot, conn, now, fx));
                        model.come_home(conn);
                    }
                    Op::ReleaseBroken(_) => {
                        real.turn(|s, now, fx| s.come_home_broken(slot, conn, now, fx));
                        if conn >= model.valid_from && !model.closed {
                            model.invalidate();
                        }
                        model.serve(false);
                    }
                    Op::Discard(_) => {
                        real.turn(|s, now, fx| s.discard(slot, conn, crate::CloseReason::Removed, now, fx));
                        model.serve(false);
                    }
                    _ => {
                        real.turn(|s, now, fx| s.detach(slot, now, fx));
                        model.serve(false);
                    }
                }
            }
            Op::Pass { ms } => {
                let ns = Duration::from_millis(ms).as_nanos() as Ns;
                real.now += ns;
                model.pass(ns);
            }
            Op::Invalidate => {
                real.turn(|s, now, fx| s.invalidate(now, fx));
                if !model.closed {
                    model.invalidate();
                    model.serve(false);
                }
            }
            Op::Resize { pool_size, max_overflow } => {
                let settings = real.state.settings().clone().with_pool_size(pool_size).with_max_overflow(max_overflow);
                real.turn(|s, now, fx| s.reconfigure(settings, now, fx));
                (model.size, model.cap) = (pool_size, pool_size + max_overflow);
                while model.idle.len() as u32 > model.size || (model.open() > model.cap && !model.idle.is_empty()) {
                    model.idle.remove(0);
                }
                model.serve(false);
            }
            Op::Pause => {
                real.turn(|s, _, fx| s.pause(crate::Pause::Wait, fx));
                model.paused |= !model.closed;
            }
            Op::Resume => {
                real.turn(|s, now, fx| s.resume(now, fx));
                model.paused = false;
                model.serve(false);
            }
            Op::Close => {
                real.turn(|s, now, fx| s.close(now, fx));
                model.closed = true;
                model.idle.clear();
                model.waiting.clear();
            }
        }
        real.settle();
        let seen = real.state.status(real.now);
        prop_assert!(real.state.check(real.now).is_ok(), "step {step}: {:?}", real.state.check(real.now));
        let idle: Vec<u32> = real.state.idle.iter().map(|id| real.state.slots[id].conn.expect("idle")).collect();
        prop_assert_eq!(&idle, &model.idle, "idle after step {} {:?}", step, op);
        let mut lent: Vec<_> = real.lent.iter().map(|(caller, _, conn)| (*caller, *conn)).collect();
        lent.sort_unstable();
        let mut expected: Vec<_> = model.lent.iter().map(|(caller, conn)| (caller.id, *conn)).collect();
        expected.sort_unstable();
        prop_assert_eq!(lent, expected, "lent after step {} {:?}", step, op);
        let waiting: Vec<u64> = real.waiting.iter().map(|(caller, _)| *caller).collect();
        let expected: Vec<u64> = model.waiting.iter().map(|(caller, _)| caller.id).collect();
        prop_assert_eq!(waiting, expected, "waiting after step {} {:?}", step, op);
        prop_assert_eq!(
            (seen.open, seen.opening, seen.totals.timeouts, real.nested_timeouts, seen.totals.refused),
            (model.open(), 0, model.timeouts, model.nested_timeouts, model.refused),
            "after step {} {:?}",
            step,
            op
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_state_does_what_the_model_says(
        script in prop::collection::vec(op(), 1..60),
        lifo in any::<bool>(),
        nested in prop::sample::select(vec![Nested::Allow, Nested::Warn, Nested::Deny]),
    ) {
        run(&script, lifo, nested)?;
    }
}
