//! What the callers know from their answers: which numbers are in the table, and which errors are legitimate.
//!
//! 1. A number whose insert or commit was acknowledged is present. One that was refused, rolled back or never committed is absent. Either
//!    is right if the insert or the commit was dropped, or ended with an error that leaves it open.
//! 2. A statement fails only after a cause on the same loan: a dropped statement, a failed one in the transaction, a transaction begun or
//!    ended by hand, a limit, or a use of sqlx's own connection that went wrong.
//! 3. After a cause, the kind of the error has to fit the cause: [`Ledger::accepts`].
//! 4. An answer belongs to its statement, whatever happened before. Only sqlx's own connection is excused, after a drop or an error.
//! 5. A commit does not succeed after the transaction was ended by hand, or after one of its statements got no answer in time.

use super::{
    database::Habits,
    plan::{End, Op},
};
use pool_sqlx::{Error, ErrorKind};
use std::{collections::BTreeMap, mem};

/// Whether a number is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Present,
    Absent,
    /// The caller cannot know.
    Either,
}

/// What the caller learned of an operation.
#[derive(Debug)]
pub(super) enum Told {
    Done,
    Failed(Error),
    /// Its future was dropped.
    Cut,
}

impl Told {
    pub(super) fn of<T>(outcome: Option<Result<T, Error>>) -> Self {
        match outcome {
            Some(Ok(_)) => Self::Done,
            Some(Err(error)) => Self::Failed(error),
            None => Self::Cut,
        }
    }

    /// Whether it may have happened although it was not acknowledged.
    fn is_open(&self) -> bool {
        match self {
            Self::Done => false,
            Self::Cut => true,
            Self::Failed(error) => match error.kind() {
                ErrorKind::Lost | ErrorKind::CommitUnknown => true,
                // The server's own error is an answer.
                ErrorKind::StatementTimeout => error.sqlx().is_none(),
                _ => false,
            },
        }
    }
}

/// A transaction that was begun by hand, outside of the pool's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hand {
    #[default]
    No,
    Open,
    /// It may be open, and may be aborted.
    Shaky,
}

/// A number, and whether its insert was acknowledged.
type Pending = (i64, bool);

/// A transaction of the pool's, or a savepoint in one.
#[derive(Debug, Default)]
struct Scope {
    pending: Vec<Pending>,
    /// A statement before the savepoint had failed.
    failed: bool,
    /// A statement got no answer. It may yet be made, and its caller was told that it failed.
    doomed: bool,
}

/// The outermost transaction of the pool's.
#[derive(Debug, Default)]
struct InTx {
    /// A statement failed, and that aborted it.
    failed: bool,
    /// A statement or an end was dropped.
    cut: bool,
    /// It was ended by hand. `Some(false)`: perhaps.
    ended: Option<bool>,
    limited: bool,
    read_only: bool,
}

/// What happened on the loan.
#[derive(Debug, Default)]
struct Loaned {
    hand: Hand,
    /// The transaction begun by hand is followed by another one.
    hand_again: bool,
    hand_pending: Vec<Pending>,
    scopes: Vec<Scope>,
    tx: InTx,
    cut: bool,
    raw: bool,
    copy: bool,
    /// The last statement through the pool was not read to its end.
    busy: bool,
    /// No statement through the pool succeeded since one was dropped or failed: sqlx's own connection is not covered.
    unsettled: bool,
    /// The connection may refuse whatever follows.
    broken: bool,
    /// sqlx may have sent half a message, unseen by the pool: nothing may follow.
    spent: bool,
}

#[derive(Debug)]
pub(super) struct Ledger {
    habits: Habits,
    /// Numbers that were not compared yet.
    pub(super) fates: BTreeMap<i64, Fate>,
    loan: Loaned,
}

impl Ledger {
    pub(super) fn new(habits: Habits) -> Self {
        Self { habits, fates: BTreeMap::new(), loan: Loaned::default() }
    }

    /// The connection went back: what was not committed is absent.
    pub(super) fn returned(&mut self) {
        let loan = mem::take(&mut self.loan);
        assert!(loan.scopes.is_empty(), "BUG: a transaction outlived its loan");
        self.settle(loan.hand_pending, Some(Fate::Absent));
    }

    fn is_in_tx(&self) -> bool {
        !self.loan.scopes.is_empty()
    }

    /// Whether no further step makes sense.
    pub(super) fn is_over(&self) -> bool {
        self.loan.spent || self.loan.tx.ended.is_some()
    }

    /// Whether a transaction must not even be ended.
    pub(super) fn is_spent(&self) -> bool {
        self.loan.spent
    }

    /// Whether an operation makes no sense here.
    pub(super) fn skips(&self, op: &Op, raw: bool) -> bool {
        let hand = self.loan.hand;
        // sqlx's own connection may wait without end then, or panic.
        (raw && self.loan.broken)
            || match op {
                // Around transactions that were begun by hand the pool promises nothing.
                Op::Inside(_) => hand != Hand::No,
                Op::HandBegin(_) => self.is_in_tx() || hand != Hand::No,
                Op::HandEnd(_) => !self.is_in_tx() && hand == Hand::No,
                _ => false,
            }
    }

    /// Whether the pool vouches for what runs here.
    pub(super) fn covers(&self, raw: bool) -> bool {
        !(raw && self.loan.unsettled)
    }

    /// Whether a statement that is right has no cause to fail.
    pub(super) fn must_succeed(&self) -> bool {
        let Loaned { broken, hand, tx, .. } = &self.loan;
        match self.is_in_tx() {
            _ if *broken => false,
            true => !(tx.failed || tx.cut || tx.ended.is_some() || tx.limited),
            false => *hand == Hand::No,
        }
    }

    /// Whether the pool refuses it, with an error of the kind `Config`.
    pub(super) fn is_refused(&self, op: &Op, raw: bool) -> bool {
        self.habits.refuses_ends && self.is_in_tx() && !raw && matches!(op, Op::HandEnd(_))
    }

    /// Whether it cannot succeed here.
    pub(super) fn must_fail(&self, op: &Op) -> bool {
        matches!(op, Op::Fail(_)) || (matches!(op, Op::Insert(_) | Op::Several) && self.loan.tx.read_only)
    }

    /// Whether the database may refuse it where it was drawn.
    pub(super) fn may_fail(&self, op: &Op) -> bool {
        matches!(op, Op::Leave(_) | Op::Copy { .. }) && (!self.habits.aborts || self.loan.tx.read_only)
    }

    /// Whether an error is one that the caller has to expect here.
    pub(super) fn accepts(&self, error: &Error) -> bool {
        let Loaned { broken, cut, raw, copy, hand, tx, .. } = &self.loan;
        match error.kind() {
            ErrorKind::Database => true,
            ErrorKind::Lost => *broken || *cut || *raw || tx.limited,
            ErrorKind::CommitUnknown => self.is_in_tx() && (*broken || *cut || tx.limited),
            ErrorKind::StatementTimeout => *broken || tx.limited,
            ErrorKind::Conflict | ErrorKind::LockTimeout => self.habits.locks_all && *hand != Hand::No,
            // The code with which PostgreSQL reports the end of a `COPY` whose client gave up.
            ErrorKind::Cancelled => *copy,
            _ => false,
        }
    }

    /// An operation ended where the pool does not vouch for it: nothing follows on the loan.
    pub(super) fn ran_uncovered(&mut self, op: &Op, n: i64) {
        match op {
            Op::Insert(_) | Op::Several => self.settle(vec![(n, false)], None),
            Op::HandEnd(_) => self.end_by_hand(None),
            _ => {}
        }
        (self.loan.broken, self.loan.spent) = (true, true);
    }

    /// An operation other than [`Op::Inside`] ended or was dropped.
    pub(super) fn ran(&mut self, op: &Op, n: i64, told: &Told, raw: bool) {
        match op {
            Op::Insert(_) => self.inserted(n, told),
            // The insert may have succeeded, and another of the statements failed.
            Op::Several if !matches!(told, Told::Done) => self.inserted(n, &Told::Cut),
            Op::Several => self.inserted(n, told),
            _ => {}
        }
        let loan = &mut self.loan;
        loan.raw |= raw;
        match told {
            Told::Done if !raw => (loan.unsettled, loan.busy) = (false, false),
            Told::Done => {}
            Told::Failed(_) => self.failed(told),
            Told::Cut => {
                loan.spent |= raw && !self.habits.drains;
                loan.broken |= raw;
                self.was_cut(!raw);
            }
        }
        let loan = &mut self.loan;
        match *op {
            // The stream was dropped, perhaps behind its last row.
            Op::Rows(rows) if !raw && matches!(told, Told::Done) => {
                (loan.busy, loan.unsettled) = (rows < usize::MAX, true)
            }
            Op::Copy { finishes, .. } if !finishes || !matches!(told, Told::Done) => {
                (loan.copy, loan.broken, loan.unsettled) = (true, true, true);
            }
            Op::HandBegin(which) => self.begun_by_hand(which, told),
            Op::HandEnd(end) => self.end_by_hand(Some((end, told))),
            _ => {}
        }
    }

    fn failed(&mut self, told: &Told) {
        let is_in_tx = self.is_in_tx();
        let loan = &mut self.loan;
        loan.unsettled = true;
        loan.broken |= told.is_open();
        if let Some(scope) = loan.scopes.last_mut() {
            scope.doomed |= told.is_open();
        }
        if is_in_tx {
            loan.tx.failed |= self.habits.aborts || told.is_open();
        } else if loan.hand == Hand::Open {
            loan.hand = Hand::Shaky;
        }
    }

    /// A statement was dropped. `tracked`: it ran through the pool.
    fn was_cut(&mut self, tracked: bool) {
        let is_in_tx = self.is_in_tx();
        let loan = &mut self.loan;
        // Dropped while it cancelled the one before, perhaps: that cancel may hit whatever follows, so the pool refuses it.
        loan.broken |= loan.busy || !self.habits.drains;
        loan.busy |= tracked;
        (loan.cut, loan.unsettled) = (true, true);
        loan.tx.cut |= is_in_tx;
        if !is_in_tx && loan.hand == Hand::Open {
            loan.hand = Hand::Shaky;
        }
    }

    fn inserted(&mut self, n: i64, told: &Told) {
        let sure = match told {
            Told::Done => true,
            told if told.is_open() => false,
            _ => {
                self.fates.insert(n, Fate::Absent);
                return;
            }
        };
        match (self.loan.scopes.last_mut(), self.loan.hand) {
            (Some(scope), _) => scope.pending.push((n, sure)),
            (None, Hand::Open) => self.loan.hand_pending.push((n, sure)),
            (None, Hand::No) => self.settle(vec![(n, sure)], None),
            (None, Hand::Shaky) => self.settle(vec![(n, false)], None),
        }
    }

    /// Numbers have this fate, or the one that their inserts reported.
    fn settle(&mut self, numbers: Vec<Pending>, fate: Option<Fate>) {
        let reported = |sure| if sure { Fate::Present } else { Fate::Either };
        self.fates.extend(numbers.into_iter().map(|(n, sure)| (n, fate.unwrap_or(reported(sure)))));
    }

    fn begun_by_hand(&mut self, which: usize, told: &Told) {
        self.loan.hand_again |= self.habits.begins_again == Some(which);
        match told {
            Told::Done => self.loan.hand = Hand::Open,
            told if told.is_open() => self.loan.hand = Hand::Shaky,
            _ => {}
        }
    }

    /// A statement ended what was begun by hand, or by the pool. `None`: it may have.
    fn end_by_hand(&mut self, ended: Option<(End, &Told)>) {
        let is_in_tx = self.is_in_tx();
        let loan = &mut self.loan;
        let sure = !loan.broken && if is_in_tx { !(loan.tx.cut || loan.tx.failed) } else { loan.hand == Hand::Open };
        let mut pending = mem::take(&mut loan.hand_pending);
        pending.extend(loan.scopes.iter_mut().flat_map(|scope| mem::take(&mut scope.pending)));
        let is_done = matches!(ended, Some((_, Told::Done)));
        if is_in_tx {
            loan.tx.ended = Some(is_done);
        } else {
            loan.hand = match is_done {
                true if loan.hand_again => Hand::Open,
                true => Hand::No,
                false => Hand::Shaky,
            };
        }
        let fate = match ended {
            Some((End::Commit, Told::Done)) if sure => None,
            Some((End::Rollback, Told::Done)) => Some(Fate::Absent),
            // What a text begins, only a text commits.
            Some((End::Rollback, _)) if !is_in_tx => Some(Fate::Absent),
            _ => Some(Fate::Either),
        };
        self.settle(pending, fate);
    }

    /// A transaction or a savepoint was begun.
    pub(super) fn begun(&mut self, limited: bool, read_only: bool) {
        let loan = &mut self.loan;
        if loan.scopes.is_empty() {
            loan.tx = InTx { limited, read_only, ..InTx::default() };
        }
        (loan.unsettled, loan.busy) = (false, false);
        loan.scopes.push(Scope { failed: loan.tx.failed, ..Scope::default() });
    }

    /// The begin of a transaction or a savepoint failed or was dropped.
    pub(super) fn not_begun(&mut self, told: &Told) {
        match told {
            Told::Cut => self.was_cut(true),
            told => {
                // A known weakness of the pool: the transaction is over, even if the savepoint between the two takes the failure back.
                self.loan.tx.cut |= self.is_in_tx();
                self.failed(told);
            }
        }
    }

    /// A transaction or a savepoint ended, was dropped, or failed to end. An error: it had no right to end like this.
    pub(super) fn ended(&mut self, end: End, told: &Told) -> Result<(), String> {
        let is_done = matches!(told, Told::Done);
        if self.loan.tx.ended == Some(true) && end == End::Commit && is_done {
            return Err("a transaction was committed that was ended by hand before".into());
        }
        match told {
            Told::Done => {}
            Told::Failed(_) => self.failed(told),
            Told::Cut => self.was_cut(true),
        }
        // A known fault of the pool: sqlx still counts a transaction that the database ended, and its rollback before the next statement fails. On
        // SQLite a statement that was cancelled ends its transaction, too.
        let tx = &self.loan.tx;
        self.loan.broken |= tx.ended.is_some() || (self.habits.locks_all && (tx.cut || tx.limited));
        let scope = self.loan.scopes.pop().expect("BUG: a transaction ends that never began");
        if scope.doomed && end == End::Commit && is_done {
            return Err("a transaction was committed after a statement without an answer".into());
        }
        let mut pending = scope.pending;
        if end != End::Commit || !(is_done || told.is_open()) {
            self.settle(mem::take(&mut pending), Some(Fate::Absent));
        } else if !is_done {
            pending.iter_mut().for_each(|(_, sure)| *sure = false);
        }
        let loan = &mut self.loan;
        match loan.scopes.last_mut() {
            Some(outer) => {
                outer.pending.extend(pending);
                // The savepoint takes its failures back.
                if is_done && end != End::Commit {
                    loan.tx.failed = scope.failed;
                }
            }
            None => {
                loan.tx = InTx::default();
                loan.unsettled |= end == End::Drop;
                self.settle(pending, None);
            }
        }
        Ok(())
    }
}
