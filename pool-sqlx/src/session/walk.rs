//! A random walk through the deciding half, against a model of what the server has open; and the same walk with faults planted, to see each one
//! caught.
//!
//! The walk plays the callers, the network, the server and the doing half. The track sees only what it is told.

use super::track::*;
use crate::words::Class;
use std::{collections::BTreeSet, time::Duration};

/// A fault that the walk must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planted {
    /// A transaction whose owner was dropped is taken for ended.
    ForgetsDroppedTransaction,
    /// A BEGIN that was dropped on its way is taken for not sent.
    ForgetsDroppedBegin,
    /// An answer that was left is taken for read.
    ForgetsAnswer,
    /// What bypassed tracking is taken for harmless.
    TrustsBypass,
    /// A statement that may leave anything behind is taken for harmless.
    TrustsEveryStatement,
    /// A failed statement is believed not to end its transaction.
    SkipsLook,
    /// A setting that was changed is not taken back.
    ForgetsSetting,
    /// A transaction goes on after a statement without an answer.
    GoesOnAfterTimeout,
    /// A cancellation that failed is taken for one that never arrives.
    ForgetsCancel,
}

const ALL: [Planted; 9] = [
    Planted::ForgetsDroppedTransaction,
    Planted::ForgetsDroppedBegin,
    Planted::ForgetsAnswer,
    Planted::TrustsBypass,
    Planted::TrustsEveryStatement,
    Planted::SkipsLook,
    Planted::ForgetsSetting,
    Planted::GoesOnAfterTimeout,
    Planted::ForgetsCancel,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Postgres,
    Unprepared,
    MySql,
    Sqlite,
}

impl Kind {
    fn rules(self) -> Rules {
        Rules {
            drains: self != Self::MySql,
            is_remote: self != Self::Sqlite,
            misses_clients: matches!(self, Self::Postgres | Self::Unprepared),
            transactions_leave_settings: matches!(self, Self::MySql | Self::Sqlite),
            wraps: self == Self::Unprepared,
            resets: false,
        }
    }

    fn aborts_blocks(self) -> bool {
        matches!(self, Self::Postgres | Self::Unprepared)
    }
}

/// What a statement does on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Read,
    Write(u32),
    Begin(u32),
    Commit,
    RollBackTo(usize),
    RollBackAll,
    Set,
    Unset,
    BeginByHand,
    LeaveSomething,
    Fail(Class),
}

/// A transaction or a savepoint, and what was written in it.
#[derive(Clone, Debug)]
struct Level {
    id: u32,
    writes: Vec<u32>,
    aborted: bool,
}

/// What the server has open.
#[derive(Clone, Debug, Default)]
struct Server {
    levels: Vec<Level>,
    committed: BTreeSet<u32>,
    /// The statement that runs, if its effect is still to come.
    running: Option<Option<Effect>>,
    /// A `COPY` was left: from here on each answer is that of the statement before.
    shifted: bool,
    setting: bool,
    /// Something that belongs to the session.
    something: bool,
    /// A transaction was begun or ended past us.
    by_hand: bool,
    /// A cancellation is on its way.
    cancel: bool,
    dead: bool,
}

/// Why an operation came to an end before its time.
enum Stop {
    Dropped,
    Failed,
    Wrong(String),
}

type Done<T = ()> = Result<T, Stop>;

struct Owner {
    id: u32,
    conflict_before: bool,
}

struct Walk {
    kind: Kind,
    track: Track,
    server: Server,
    owners: Vec<Owner>,
    /// How many transactions sqlx counts, and to how many it rolls back before it sends the next statement.
    depth: usize,
    queued: Option<usize>,
    /// Writes whose callers were told that they were not made.
    denied: BTreeSet<u32>,
    dice: u64,
    next: u32,
    log: Vec<String>,
    kept: u32,
    cleaned: u32,
}

impl Walk {
    fn new(kind: Kind, seed: u64, planted: Option<Planted>) -> Self {
        let mut track = Track::new(kind.rules());
        track.planted = planted;
        Self {
            kind,
            track,
            server: Server::default(),
            owners: Vec::new(),
            depth: 0,
            queued: None,
            denied: BTreeSet::new(),
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            next: 0,
            log: Vec::new(),
            kept: 0,
            cleaned: 0,
        }
    }

    fn roll(&mut self, n: usize) -> usize {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice % n.max(1) as u64) as usize
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn wrong<T>(&self, what: &str) -> Done<T> {
        let Server { levels, running, shifted, setting, something, by_hand, cancel, dead, .. } = &self.server;
        let server = format!(
            "{levels:?}, running {running:?}, shifted {shifted}, setting {setting}, something {something}, by hand {by_hand}, cancel {cancel}, \
             dead {dead}, sqlx counts {}, queued {:?}",
            self.depth, self.queued
        );
        Err(Stop::Wrong(format!("{what}\n{:?}\n{server}", self.track)))
    }

    // What the server does.

    fn apply(&mut self, effect: Effect) {
        let server = &mut self.server;
        let aborted = server.levels.last().is_some_and(|level| level.aborted);
        match effect {
            Effect::Commit if server.levels.len() > 1 && !aborted => {
                let inner = server.levels.pop().expect("BUG: counted");
                server.levels.last_mut().expect("BUG: counted").writes.extend(inner.writes);
            }
            Effect::Commit => {
                let level = server.levels.pop();
                if let Some(level) = level.filter(|level| !level.aborted) {
                    server.committed.extend(level.writes);
                }
            }
            Effect::RollBackTo(depth) => server.levels.truncate(depth),
            Effect::RollBackAll => server.levels.clear(),
            _ if aborted => {}
            Effect::Begin(id) => server.levels.push(Level { id, writes: Vec::new(), aborted: false }),
            Effect::BeginByHand => {
                server.by_hand = true;
                if server.levels.is_empty() {
                    server.levels.push(Level { id: 0, writes: Vec::new(), aborted: false });
                }
            }
            Effect::Write(id) => match server.levels.last_mut() {
                Some(level) => level.writes.push(id),
                None => drop(server.committed.insert(id)),
            },
            Effect::Set => server.setting = true,
            Effect::Unset => server.setting = false,
            Effect::LeaveSomething => server.something = true,
            Effect::Fail(class) => self.fail(class),
            Effect::Read => {}
        }
    }

    /// What a failed statement does to the transaction around it.
    fn fail(&mut self, class: Class) {
        let ends = match self.kind {
            Kind::Postgres | Kind::Unprepared => {
                if let Some(level) = self.server.levels.last_mut() {
                    level.aborted = true;
                }
                false
            }
            Kind::MySql => class == Class::Conflict || (class == Class::LockTimeout && self.roll(2) == 0),
            Kind::Sqlite => self.roll(3) == 0,
        };
        if ends {
            self.server.levels.clear();
        }
    }

    /// What was left running comes to its end.
    fn finish_running(&mut self, is_cancelled: bool) {
        match self.server.running.take() {
            Some(Some(_)) if is_cancelled => self.fail(Class::Cancelled),
            Some(Some(effect)) => self.apply(effect),
            Some(None) | None => {}
        }
    }

    fn is_aborted(&self) -> bool {
        self.kind.aborts_blocks() && self.server.levels.last().is_some_and(|level| level.aborted)
    }

    // What the doing half does.

    /// Sends something, and hears of it.
    fn ask(&mut self, leaves: Leaves, effect: Effect) -> Done {
        if self.server.running.is_some() {
            return self.wrong("sent behind an answer that was not read");
        }
        // A rollback is right whatever its answer is.
        if self.server.shifted && !matches!(effect, Effect::RollBackTo(_) | Effect::RollBackAll) {
            return self.wrong("sent where answers are shifted");
        }
        if self.server.cancel {
            return self.wrong("sent where a cancellation may hit it");
        }
        self.track.sends(leaves);
        if let Some(depth) = self.queued.take() {
            self.apply(Effect::RollBackTo(depth));
        }
        if self.server.dead {
            self.track.failed(Class::Lost, false);
            return Err(Stop::Failed);
        }
        let is_refused =
            self.is_aborted() && !matches!(effect, Effect::Commit | Effect::RollBackTo(_) | Effect::RollBackAll);
        match (effect, self.roll(40)) {
            (_, 0..=3) => {
                self.leave(effect);
                if effect == Effect::Read && self.roll(2) == 0 {
                    self.track.passes_row();
                }
                Err(Stop::Dropped)
            }
            (_, 4) => {
                self.leave(effect);
                if let Effect::Write(id) = effect
                    && !self.owners.is_empty()
                {
                    self.denied.insert(id);
                }
                let by_server = self.roll(2) == 0;
                self.track.timed_out(Duration::from_secs(1), by_server);
                Err(Stop::Failed)
            }
            (_, 5) => {
                self.server.dead = true;
                self.track.failed(Class::Lost, false);
                Err(Stop::Failed)
            }
            (Effect::Fail(class), _) => {
                self.fail(class);
                self.track.failed(class, true);
                Err(Stop::Failed)
            }
            _ if is_refused => {
                self.track.failed(Class::Query, true);
                Err(Stop::Failed)
            }
            _ => {
                self.apply(effect);
                self.track.answered();
                Ok(())
            }
        }
    }

    /// A statement has left, and nobody waits for it any more: its effect may have been, or be still to come.
    fn leave(&mut self, effect: Effect) {
        let is_done = self.roll(2) == 0;
        if is_done {
            self.apply(effect);
        }
        self.server.running = Some((!is_done).then_some(effect));
    }

    fn settle(&mut self, purpose: Purpose) -> Done<Plan> {
        for _ in 0..20 {
            match self.track.plan(purpose) {
                Plan::Refuse(_) => return Err(Stop::Failed),
                Plan::First(step) => self.take(step)?,
                plan => return Ok(plan),
            }
        }
        self.wrong("there is no end of steps")
    }

    fn take(&mut self, step: Step) -> Done {
        self.log.push(format!("{step:?}"));
        match step {
            Step::Cancel => {
                self.cancel()?;
                self.track.stopped(true);
            }
            Step::ReadOn => {
                self.finish_running(false);
                self.track.stopped(false);
            }
            Step::Verify if self.kind.aborts_blocks() => {
                if self.server.shifted {
                    self.track.failed(Class::Protocol, false);
                    return Err(Stop::Failed);
                }
                let is_certain = !self.is_aborted();
                if is_certain {
                    self.ask(Leaves::Nothing, Effect::Read)?;
                }
                self.track.verified(is_certain);
            }
            Step::Verify => self.track.verified(true),
            Step::Look(failure) => {
                self.track.looks();
                let has_ended = match self.kind {
                    Kind::Postgres | Kind::Unprepared => false,
                    Kind::MySql if failure == Class::LockTimeout => {
                        // The answer, or no answer, which counts as an end.
                        let asked = self.ask(Leaves::Nothing, Effect::Read);
                        if let Err(Stop::Dropped | Stop::Wrong(_)) = asked {
                            return asked;
                        }
                        asked.is_err() || self.server.levels.is_empty()
                    }
                    Kind::MySql => failure == Class::Conflict,
                    Kind::Sqlite => {
                        let had_ended = self.server.levels.is_empty();
                        if had_ended {
                            self.server.levels.push(Level { id: 0, writes: Vec::new(), aborted: false });
                        }
                        had_ended
                    }
                };
                self.track.looked(has_ended);
            }
            Step::RollBack { undo } => {
                self.ask(Leaves::Nothing, Effect::RollBackAll)?;
                self.depth = 0;
                self.track.rolled_back();
                if undo {
                    self.ask(Leaves::Nothing, Effect::Unset)?;
                    self.track.took_back_settings();
                }
            }
        }
        Ok(())
    }

    /// Cancels what runs and reads its answer.
    fn cancel(&mut self) -> Done {
        for _ in 0..4 {
            self.track.cancels();
            match self.roll(10) {
                0 => {
                    self.server.cancel = true;
                    return Err(Stop::Dropped);
                }
                1 => {
                    self.server.cancel = true;
                    self.track.cancelled(Err(Class::Lost));
                    return Err(Stop::Failed);
                }
                // It came before its statement had begun, or there was no room: another one is sent, unless the statement ends.
                2 if self.roll(2) == 0 => self.track.cancelled(Err(Class::Overloaded)),
                2 => self.track.cancelled(Ok(())),
                _ => {
                    self.track.cancelled(Ok(()));
                    self.finish_running(true);
                    return if self.kind == Kind::MySql { Err(Stop::Failed) } else { Ok(()) };
                }
            }
        }
        self.finish_running(false);
        Ok(())
    }

    // What a caller does.

    fn statement(&mut self, leaves: Leaves, effect: Effect) -> Done {
        match self.settle(Purpose::Any)? {
            Plan::Wrap => {
                self.track.begins();
                self.ask(Leaves::Nothing, Effect::Begin(0))?;
                let sent = self.ask(leaves, effect);
                if let Err(Stop::Dropped | Stop::Wrong(_)) = sent {
                    return sent;
                }
                if self.track.is_answering() {
                    return sent;
                }
                self.ask(Leaves::Nothing, if sent.is_ok() { Effect::Commit } else { Effect::RollBackTo(0) })?;
                self.track.rolled_back();
                sent
            }
            _ => {
                self.is_where_it_belongs()?;
                self.ask(leaves, effect)
            }
        }
    }

    /// The transaction that a statement is sent in is its caller's.
    fn is_where_it_belongs(&self) -> Done {
        if self.server.by_hand || self.server.dead {
            return Ok(());
        }
        let left = self.server.levels.len().min(self.queued.unwrap_or(usize::MAX));
        let open = self.server.levels[..left].iter().map(|level| level.id);
        if !open.eq(self.owners.iter().map(|owner| owner.id)) {
            return self.wrong("sent in a transaction that is not its caller's, or is over");
        }
        Ok(())
    }

    fn begin(&mut self) -> Done {
        self.settle(Purpose::Any)?;
        let conflict_before = self.track.is_conflict();
        let id = self.number();
        self.is_where_it_belongs()?;
        self.track.begins();
        self.ask(Leaves::Nothing, Effect::Begin(id))?;
        self.track.begun();
        self.depth += 1;
        self.owners.push(Owner { id, conflict_before });
        Ok(())
    }

    fn commit(&mut self) -> Done {
        let owners = self.owners.len();
        let outcome = self.try_commit();
        if matches!(outcome, Err(Stop::Failed | Stop::Dropped)) && self.owners.len() == owners {
            self.abandon();
        }
        outcome
    }

    fn try_commit(&mut self) -> Done {
        self.settle(Purpose::Any)?;
        match self.track.commit(self.depth) {
            End::Send => {}
            End::Look { conflict } => {
                let is_gone = self.server.levels.is_empty();
                let can = match self.kind {
                    Kind::Postgres | Kind::Unprepared if is_gone => return Err(Stop::Failed),
                    Kind::Postgres | Kind::Unprepared => !self.is_aborted(),
                    Kind::MySql if conflict => false,
                    Kind::MySql if is_gone => return Err(Stop::Failed),
                    Kind::MySql | Kind::Sqlite => true,
                };
                if !can {
                    self.try_rollback()?;
                    return Err(Stop::Failed);
                }
            }
            End::Over { .. } | End::Gone => return Err(Stop::Failed),
        }
        let is_there = !self.server.levels.is_empty() || self.server.by_hand || self.server.dead;
        let is_aborted = self.is_aborted();
        let before = self.server.committed.clone();
        self.ask(Leaves::Nothing, Effect::Commit)?;
        self.depth -= 1;
        self.track.ended();
        self.owners.pop();
        if !is_there || is_aborted {
            return self.wrong("called committed what was not");
        }
        if self.server.committed.difference(&before).any(|write| self.denied.contains(write)) {
            return self.wrong("committed what its caller was told was not made");
        }
        Ok(())
    }

    fn rollback(&mut self) -> Done {
        let outcome = self.try_rollback();
        if matches!(outcome, Err(Stop::Failed | Stop::Dropped)) {
            self.abandon();
        }
        outcome
    }

    fn try_rollback(&mut self) -> Done {
        self.settle(Purpose::Rollback)?;
        match self.track.rollback(self.depth) {
            End::Send => {}
            End::Look { .. } if self.server.levels.is_empty() => return Err(Stop::Failed),
            End::Look { .. } => {}
            End::Over { .. } | End::Gone => return Err(Stop::Failed),
        }
        self.ask(Leaves::Nothing, Effect::RollBackTo(self.depth.saturating_sub(1)))?;
        self.depth -= 1;
        let owner = self.owners.pop().expect("BUG: there is one");
        if !self.owners.is_empty() && self.kind != Kind::MySql {
            self.track.forgives(owner.conflict_before);
        }
        self.track.ended();
        Ok(())
    }

    /// The owner of the innermost transaction is dropped.
    fn abandon(&mut self) {
        let owner = self.owners.pop().expect("BUG: there is one");
        if !self.owners.is_empty() && self.kind != Kind::MySql {
            self.track.forgives(owner.conflict_before);
        }
        self.track.abandoned();
        if self.depth > 0 {
            self.depth -= 1;
            self.queued = Some(self.depth);
        }
    }

    /// sqlx's own connection is used.
    fn bypass(&mut self) {
        self.track.bypassed();
        if self.server.running.is_some() || self.server.dead {
            // Documented as not covered: sqlx reads on by itself.
            self.finish_running(false);
        }
        if let Some(depth) = self.queued.take() {
            self.apply(Effect::RollBackTo(depth));
        }
        match self.roll(5) {
            0 => self.apply(Effect::BeginByHand),
            1 => self.apply(Effect::LeaveSomething),
            2 if self.kind.aborts_blocks() => self.server.shifted = true,
            3 => {
                self.server.by_hand = true;
                self.server.levels.clear();
            }
            _ => {}
        }
    }

    fn change_setting(&mut self) -> Done {
        self.settle(Purpose::Any)?;
        self.track.changes_setting();
        self.ask(Leaves::Nothing, Effect::Set)
    }

    fn give_back(&mut self) -> Done {
        while !self.owners.is_empty() {
            self.abandon();
        }
        match self.track.on_return() {
            Return::Keep => {
                self.kept += 1;
                let Server { levels, running, shifted, setting, something, cancel, dead, .. } = &self.server;
                if !levels.is_empty() || running.is_some() || *shifted || *setting || *something || *cancel || *dead {
                    return self.wrong("called clean what is not");
                }
            }
            Return::Clean if self.clean()? => {
                self.cleaned += 1;
                let Server { levels, running, shifted, setting, cancel, .. } = &self.server;
                if !levels.is_empty() || running.is_some() || *shifted || *setting || *cancel {
                    return self.wrong("cleaned and not clean");
                }
                // `reset` decides what else is left.
                (self.server.something, self.server.by_hand) = (false, false);
            }
            Return::Clean | Return::Lost => self.reconnect(),
        }
        (self.depth, self.queued) = (0, None);
        Ok(())
    }

    /// `false`: the connection has to be closed.
    fn clean(&mut self) -> Done<bool> {
        let (cancel, verify, undo) = match self.track.cleaning(self.server.running.is_some()) {
            Cleaning::Close(_) | Cleaning::GiveUp => return Ok(false),
            Cleaning::Do { cancel, verify, undo, .. } => (cancel, verify, undo),
        };
        if self.server.dead || (cancel && self.cancel().is_err()) {
            return Ok(false);
        }
        if self.server.running.is_some() {
            return self.wrong("the rollback waits for an answer that was not read");
        }
        if self.server.cancel {
            return self.wrong("cleaned where a cancellation may hit the next user");
        }
        (self.queued, self.depth) = (None, 0);
        self.apply(Effect::RollBackAll);
        if verify && (self.server.shifted || self.kind == Kind::MySql) {
            return Ok(false);
        }
        if undo {
            self.apply(Effect::Unset);
        }
        Ok(self.track.cleaned().is_ok())
    }

    fn reconnect(&mut self) {
        let planted = self.track.planted;
        self.track = Track::new(self.kind.rules());
        self.track.planted = planted;
        self.server = Server { committed: std::mem::take(&mut self.server.committed), ..Server::default() };
    }

    fn step(&mut self) -> Result<(), String> {
        let kind = self.roll(22);
        let owners: Vec<u32> = self.owners.iter().map(|owner| owner.id).collect();
        self.log.push(format!("{kind} in {owners:?}"));
        let class = [Class::Query, Class::Conflict, Class::LockTimeout, Class::Cancelled][self.roll(4)];
        let done = match kind {
            0..=3 => self.statement(Leaves::Nothing, Effect::Read),
            4..=6 => {
                let id = self.number();
                self.statement(Leaves::Nothing, Effect::Write(id))
            }
            7 => self.statement(Leaves::Nothing, Effect::Fail(class)),
            8 => self.statement(Leaves::Anything, Effect::LeaveSomething),
            9 if self.owners.is_empty() && self.kind != Kind::Unprepared => {
                self.statement(Leaves::Anything, Effect::BeginByHand)
            }
            10 => self.change_setting(),
            11 if self.kind != Kind::Unprepared => {
                self.bypass();
                Ok(())
            }
            12..=14 if self.owners.len() < 3 => self.begin(),
            15 | 16 if !self.owners.is_empty() => self.commit(),
            17 if !self.owners.is_empty() => self.rollback(),
            18 if !self.owners.is_empty() => {
                self.abandon();
                Ok(())
            }
            19..=21 => self.give_back(),
            _ => Ok(()),
        };
        match done {
            Err(Stop::Wrong(what)) => Err(what),
            Ok(()) | Err(Stop::Dropped | Stop::Failed) => Ok(()),
        }
    }
}

/// Walks, and says what went wrong where.
fn walk(kind: Kind, seed: u64, steps: u32, planted: Option<Planted>) -> Result<(u32, u32), String> {
    let mut walk = Walk::new(kind, seed, planted);
    for _ in 0..steps {
        if let Err(what) = walk.step() {
            let last = walk.log.len().saturating_sub(30);
            return Err(format!("{kind:?}, seed {seed}: {what}\n{}", walk.log[last..].join("\n")));
        }
    }
    Ok((walk.kept, walk.cleaned))
}

const KINDS: [Kind; 4] = [Kind::Postgres, Kind::Unprepared, Kind::MySql, Kind::Sqlite];

#[test]
fn what_is_called_clean_is_clean() {
    for kind in KINDS {
        let (mut kept, mut cleaned) = (0, 0);
        for seed in 0..200 {
            let (k, c) = walk(kind, seed, 500, None).unwrap_or_else(|what| panic!("{what}"));
            (kept, cleaned) = (kept + k, cleaned + c);
        }
        assert!(kept > 1000 && (cleaned > 1000 || kind == Kind::MySql), "{kind:?}: {kept} kept, {cleaned} cleaned");
    }
}

#[test]
fn every_planted_fault_is_caught() {
    for planted in ALL {
        let caught = KINDS.iter().any(|kind| (0..200).any(|seed| walk(*kind, seed, 500, Some(planted)).is_err()));
        assert!(caught, "{planted:?}");
    }
}
