//! What a loan does. It is drawn before it runs, so a seed repeats it whatever the server answers.

use super::super::Dice;

/// One loan of a connection.
#[derive(Debug)]
pub(super) enum Loan {
    /// `pool.acquire()`, steps, and a drop. `looks`: the first step reads what the session holds.
    Conn { acquire: Option<Cut>, looks: bool, steps: Vec<Step> },
    /// `pool.begin_with()`.
    Tx { begin: Option<Cut>, tx: Tx },
}

/// A transaction, or a savepoint in one.
#[derive(Debug)]
pub(super) struct Tx {
    pub(super) kind: Kind,
    pub(super) steps: Vec<Step>,
    pub(super) end: End,
    pub(super) cut: Option<Cut>,
}

/// The options of a transaction. A savepoint ignores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    ReadOnly,
    Serializable,
    /// With a statement timeout in milliseconds.
    Limited(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Commit,
    Rollback,
    Drop,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) op: Op,
    /// Where its future is dropped.
    pub(super) cut: Option<Cut>,
    /// It runs on sqlx's own connection.
    pub(super) raw: bool,
}

/// Where a future is dropped, unless it ends before.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// At the poll of this number that returns `Pending`.
    Polls(u64),
    /// After this many microseconds.
    Micros(u64),
}

#[derive(Debug)]
pub(super) enum Op {
    /// Selects a number that no other statement selects.
    Echo,
    /// Inserts a number that no other statement inserts, after some milliseconds of work.
    Insert(u64),
    /// Streams many rows. The stream is dropped after this many.
    Rows(usize),
    /// Works for some milliseconds.
    Slow(u64),
    /// One of several statements that fail.
    Fail(usize),
    /// A transaction, or a savepoint in one.
    Inside(Tx),
    /// Several statements in one text; one of them inserts.
    Several,
    /// Leaves a setting, a lock, a listener or a temporary table in the session.
    Leave(usize),
    /// Begins a transaction by a statement of its own.
    HandBegin(usize),
    /// Ends a transaction by a statement of its own.
    HandEnd(End),
    /// `COPY` on sqlx's own connection. It is dropped midway unless it finishes.
    Copy { out: bool, finishes: bool },
}

/// The deepest savepoint: a transaction and two savepoints.
const DEEPEST: usize = 3;

impl Loan {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let temper = dice.roll(3);
        Draw { dice, wild: temper == 0, cuts: temper != 1 }.loan()
    }
}

/// Draws one loan.
struct Draw<'a> {
    dice: &'a mut Dice,
    /// It may leave the tracked path. A wild loan costs MariaDB's connection, so the others are what is lent again.
    wild: bool,
    /// Futures and streams are dropped. The same holds for them.
    cuts: bool,
}

impl Draw<'_> {
    fn loan(&mut self) -> Loan {
        match self.dice.roll(5) {
            0..=2 => Loan::Conn { acquire: self.cut(8), looks: self.dice.roll(2) == 0, steps: self.steps(0) },
            _ => Loan::Tx { begin: self.cut(8), tx: self.tx(1) },
        }
    }

    fn tx(&mut self, depth: usize) -> Tx {
        let kind = match self.dice.roll(12) {
            0 => Kind::ReadOnly,
            1 => Kind::Serializable,
            2 => Kind::Limited(5 + self.dice.roll(10)),
            _ => Kind::Plain,
        };
        let end = match self.dice.roll(6) {
            0..=2 => End::Commit,
            3 => End::Rollback,
            _ => End::Drop,
        };
        Tx { kind, steps: self.steps(depth), end, cut: self.cut(6) }
    }

    fn steps(&mut self, depth: usize) -> Vec<Step> {
        // Fewer steps inside, or most loans would be one deep transaction.
        let many = 1 + self.dice.roll([8, 6, 3, 2][depth]);
        (0..many).map(|_| self.step(depth)).collect()
    }

    fn step(&mut self, depth: usize) -> Step {
        let dice = &mut *self.dice;
        let op = match dice.roll(if self.wild { 40 } else { 28 }) {
            0..=4 => Op::Echo,
            5..=10 => Op::Insert(0),
            11 | 12 => Op::Insert(1 + dice.roll(20)),
            13..=15 if self.cuts => Op::Rows(dice.roll(8) as usize * dice.roll(40) as usize),
            13..=15 => Op::Rows(usize::MAX),
            16..=18 => Op::Slow(1 + dice.roll(30)),
            19..=21 => Op::Fail(dice.roll(12) as usize),
            22..=27 if depth < DEEPEST => Op::Inside(self.tx(depth + 1)),
            22..=27 => Op::Insert(0),
            28 | 29 => Op::Several,
            30..=33 => Op::Leave(dice.roll(60) as usize),
            34 | 35 => Op::HandBegin(dice.roll(2) as usize),
            36 | 37 => Op::HandEnd(if dice.roll(2) == 0 { End::Commit } else { End::Rollback }),
            _ => Op::Copy { out: dice.roll(2) == 0, finishes: dice.roll(3) == 0 },
        };
        let slow = matches!(op, Op::Slow(_) | Op::Insert(1..));
        let raw = self.wild && self.dice.roll(6) == 0 && !matches!(op, Op::Inside(_));
        Step { cut: self.cut(if slow { 2 } else { 6 }), raw: raw || matches!(op, Op::Copy { .. }), op }
    }

    fn cut(&mut self, one_in: u64) -> Option<Cut> {
        let (is_cut, how) = (self.cuts && self.dice.roll(one_in) == 0, self.dice.roll(3));
        is_cut.then(|| match how {
            0 => Cut::Polls(1 + self.dice.roll(4)),
            1 => Cut::Micros(self.dice.roll(800)),
            _ => Cut::Micros(self.dice.roll(6000)),
        })
    }
}
