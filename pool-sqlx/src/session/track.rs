//! What a session has open, and what follows from it: the deciding half of `session`, without I/O.
//!
//! Each place of [`Track`] holds one fact: the transaction and its owner, the answer under way, the order of answers, the use of the
//! connection, a cancellation, and what was left in the session. The other half reports what happened, asks what follows, and does it.

use crate::words::Class;
use std::time::Duration;

/// How many statements may be dropped in the middle before their connection is replaced. A statement that was dropped while it was prepared
/// may have left its name on the server. The name takes memory, and sqlx, which does not know it, never closes it.
pub(super) const MOST_DROPPED: u32 = 50;

/// What differs between databases and settings, as far as decisions depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The connection can go on after a statement on it was dropped in the middle.
    pub(crate) drains: bool,
    /// The session is on a server, where a statement may run on unseen.
    pub(crate) is_remote: bool,
    /// The server ends a statement by itself when its client is gone.
    pub(crate) misses_clients: bool,
    /// A transaction may leave a setting of the session behind, which has to be taken back.
    pub(crate) transactions_leave_settings: bool,
    /// A statement outside a transaction gets one of its own (`pooler = "unprepared"`).
    pub(crate) wraps: bool,
    /// A return resets the session whatever was done in it (`reset`).
    pub(crate) resets: bool,
}

/// What is known of a session from its tracked statements.
#[derive(Debug)]
pub(crate) struct Track {
    rules: Rules,
    transaction: Transaction,
    answer: Answer,
    order: Order,
    fitness: Fitness,
    cancel: Cancel,
    left: Left,
    /// Statements that were dropped in the middle since the connect.
    dropped: u32,
    #[cfg(test)]
    pub(super) planted: Option<super::walk::Planted>,
}

/// The transaction that is open on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    /// One may be open that has no owner. Its BEGIN or its end has no answer, or its owner was dropped.
    /// Nothing else may be sent before it is rolled back: it would share the transaction's fate.
    Ownerless,
    Owned(Owned),
}

/// Transactions that have an owner, one inside the other. The server has acknowledged the beginning of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Owned {
    depth: u32,
    /// It is not known what is open: a savepoint has no answer yet, or never gets one. Or a statement has no answer, and its caller was told
    /// that it was not made. Nothing may follow but the rollback.
    is_over: bool,
    doubt: Doubt,
    /// A statement lost against another transaction.
    conflict: bool,
    /// sqlx's own connection was used, and may have ended the transaction.
    bypassed: bool,
}

/// Whether the server still has the transaction as we know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doubt {
    #[default]
    None,
    /// It may have been aborted, or ended past us: a look is due before it is committed.
    Aborted,
    /// A statement failed like this, and the database may have ended the transaction: a look is due before anything else is sent.
    Ended(Class),
}

/// The answer of the server that is under way. A statement that was dropped leaves it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    None,
    /// Its next part is awaited. Dropped now, it may leave half a message behind.
    Awaited,
    /// A row was passed on, and the next part was not asked for.
    BetweenRows,
}

/// Whether the next answer belongs to the next statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Kept,
    /// A statement bypassed tracking and may have left an unread answer, which the next statement would receive.
    Unverified,
    /// As before, and an aborted transaction gives every statement the same answer. The next statement is preceded by another look.
    Undecided,
}

/// What the connection is good for. Later ones prevail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    Usable,
    /// A statement whose limit the server enforces got no answer within it.
    Unresponsive(Duration),
    /// Client and server no longer agree about what was prepared or answered.
    Desynchronized,
    /// The server does not answer.
    Lost,
}

/// A cancellation of the statement that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    None,
    /// It has begun. Dropped now, it may arrive at any time.
    Begun,
    /// It failed, and may arrive at any time.
    Failed,
    /// The server has taken it.
    Sent,
    /// The server had no room for a connection to send it on.
    NoRoom,
}

/// What the loan has left in the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    /// A setting that we changed for this loan, and take back.
    setting: bool,
    /// Anything: a statement went past us, or was of a kind that may leave something open.
    unseen: bool,
}

/// What is to be done with a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Send it.
    Send,
    /// Send it in a transaction of its own.
    Wrap,
    /// Take this step, and ask again.
    First(Step),
    /// Refuse it.
    Refuse(Refusal),
}

/// What a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Whatever needs its own answer.
    Any,
    /// To roll back, which is right whatever the answer is.
    Rollback,
}

/// What has to be settled before a statement can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Cancel the statement that was dropped in the middle, and read its answer: [`Track::stopped`].
    Cancel,
    /// Read a stream that was left between two rows to its end: [`Track::stopped`]. A cancellation would cost the transaction around it, or
    /// the connection.
    ReadOn,
    /// Find out whether answers belong to their statements: [`Track::verified`].
    Verify,
    /// Find out whether a statement that failed like this has ended the transaction: [`Track::looks`] and [`Track::looked`].
    Look(Class),
    /// Roll back what may be open and has no owner: [`Track::rolled_back`]. `undo`: then take back the settings that it may have left.
    RollBack { undo: bool },
}

/// Why a statement cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The transaction is over, and accepts no more statements.
    Over { conflict: bool },
    /// An earlier statement got no answer within this limit.
    Unresponsive(Duration),
    /// What is left of an earlier answer cannot be told from the next one.
    Spent,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Send COMMIT or ROLLBACK.
    Send,
    /// Find out first whether the transaction can be committed.
    Look { conflict: bool },
    /// It is over and was rolled back, or will be.
    Over { conflict: bool },
    /// It was ended past us, perhaps with success.
    Gone,
}

/// What a return needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    /// Nothing: the session is known to be clean.
    Keep,
    /// [`Track::cleaning`].
    Clean,
    /// The server is gone, and perhaps other connections to it.
    Lost,
}

/// How a session is made clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cleaning {
    /// It cannot be.
    Close(&'static str),
    /// Its statement got no answer in time: cancel it, and close the connection.
    GiveUp,
    /// In this order: cancel what runs, roll back, and then what is said here.
    Do {
        cancel: bool,
        /// The rollback may have to wait for something that was not seen. After some time it is to be cancelled.
        patient: bool,
        verify: bool,
        undo: bool,
    },
}

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// Drop the socket: the server notices that earlier than any cancellation.
    Hangup,
    /// Read the answer to its end, then close: the server reads no goodbye before its statement has ended.
    ReadOut,
    Goodbye,
}

/// What a statement leaves behind, whatever comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    Nothing,
    Anything,
}

impl Track {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            transaction: Transaction::None,
            answer: Answer::None,
            order: Order::Kept,
            fitness: Fitness::Usable,
            cancel: Cancel::None,
            left: Left::default(),
            dropped: 0,
            #[cfg(test)]
            planted: None,
        }
    }

    /// What is to be done with a statement that is about to be sent.
    pub(crate) fn plan(&self, purpose: Purpose) -> Plan {
        if let Transaction::Owned(Owned { is_over: true, conflict, .. }) = self.transaction {
            return match purpose {
                Purpose::Any => Plan::Refuse(Refusal::Over { conflict }),
                Purpose::Rollback => Plan::Send,
            };
        }
        if self.is_answering() {
            return self.plan_behind_an_answer();
        }
        if self.order == Order::Unverified && purpose == Purpose::Any {
            return Plan::First(Step::Verify);
        }
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::SkipsLook) && self.in_transaction() {
            return Plan::Send;
        }
        match self.transaction {
            Transaction::Owned(Owned { doubt: Doubt::Ended(failure), .. }) => Plan::First(Step::Look(failure)),
            Transaction::Ownerless => {
                Plan::First(Step::RollBack { undo: self.left.setting && self.rules.transactions_leave_settings })
            }
            Transaction::None if self.rules.wraps => Plan::Wrap,
            Transaction::None | Transaction::Owned(_) => Plan::Send,
        }
    }

    fn plan_behind_an_answer(&self) -> Plan {
        let is_midway = self.answer == Answer::Awaited;
        if let Fitness::Unresponsive(limit) = self.fitness {
            Plan::Refuse(Refusal::Unresponsive(limit))
        } else if self.fitness == Fitness::Desynchronized || self.may_be_hit() || (is_midway && !self.rules.drains) {
            Plan::Refuse(Refusal::Spent)
        } else if !is_midway && (self.in_transaction() || !self.rules.drains) {
            Plan::First(Step::ReadOn)
        } else {
            Plan::First(Step::Cancel)
        }
    }

    /// Whether a transaction with an owner is open.
    pub(crate) fn in_transaction(&self) -> bool {
        matches!(self.transaction, Transaction::Owned(_))
    }

    /// Whether the transaction lost against another one.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self.transaction, Transaction::Owned(Owned { conflict: true, .. }))
    }

    /// Whether a statement went past us, or may have left something open.
    pub(crate) fn has_unseen(&self) -> bool {
        self.left.unseen
    }

    /// Whether nothing can be read from the connection any more that belongs to a statement.
    pub(crate) fn is_broken(&self) -> bool {
        self.fitness >= Fitness::Desynchronized
    }

    /// Whether an answer is under way.
    pub(crate) fn is_answering(&self) -> bool {
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::ForgetsAnswer) {
            return false;
        }
        self.answer != Answer::None
    }

    /// A statement is sent.
    pub(crate) fn sends(&mut self, leaves: Leaves) {
        #[cfg(test)]
        let leaves = match self.planted {
            Some(super::walk::Planted::TrustsEveryStatement) => Leaves::Nothing,
            _ => leaves,
        };
        // Behind an answer that was not read to its end, a statement may be taken for anything.
        if self.is_answering() || leaves == Leaves::Anything {
            self.left.unseen = true;
            self.doubts(Doubt::Aborted);
        }
        self.answer = Answer::Awaited;
        if self.order == Order::Undecided {
            self.order = Order::Unverified;
        }
    }

    /// A row was passed on.
    pub(crate) fn passes_row(&mut self) {
        self.answer = Answer::BetweenRows;
    }

    /// The next part of the answer is awaited.
    pub(crate) fn awaits(&mut self) {
        self.answer = Answer::Awaited;
    }

    /// The answer was read to its end.
    pub(crate) fn answered(&mut self) {
        self.answer = Answer::None;
    }

    /// The answer was an error, after which sqlx reads on to the end by itself. `is_whole`: the error was the database's, and not one of
    /// reading its answer.
    pub(crate) fn failed(&mut self, class: Class, is_whole: bool) {
        self.answer = Answer::None;
        self.doubts(Doubt::Ended(class));
        if let Transaction::Owned(owned) = &mut self.transaction {
            owned.conflict |= class == Class::Conflict;
        }
        match class {
            Class::Lost => self.lost(),
            Class::Protocol => self.desynchronized(),
            _ => self.left.unseen |= !is_whole,
        }
    }

    /// There was no answer within a limit. `by_server`: the server enforces it, and reported nothing.
    pub(crate) fn timed_out(&mut self, limit: Duration, by_server: bool) {
        if by_server {
            self.unfit(Fitness::Unresponsive(limit));
        }
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::GoesOnAfterTimeout) {
            return;
        }
        // The statement may still take effect, but its caller got an error. So its transaction must not be committed.
        if let Transaction::Owned(owned) = &mut self.transaction {
            owned.is_over = true;
        }
    }

    /// sqlx's own connection is handed out: from here on anything may happen unseen.
    pub(crate) fn bypassed(&mut self) {
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::TrustsBypass) {
            return;
        }
        self.left.unseen = true;
        self.order = Order::Unverified;
        self.doubts(Doubt::Aborted);
        if let Transaction::Owned(owned) = &mut self.transaction {
            owned.bypassed = true;
        }
    }

    /// A setting of the session is about to change, and has to be taken back.
    pub(crate) fn changes_setting(&mut self) {
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::ForgetsSetting) {
            return;
        }
        self.left.setting = true;
    }

    /// The settings are as they were.
    pub(crate) fn took_back_settings(&mut self) {
        self.left.setting = false;
    }

    /// Client and server no longer agree about what was prepared or answered.
    pub(crate) fn desynchronized(&mut self) {
        self.unfit(Fitness::Desynchronized);
    }

    /// The server does not answer.
    pub(crate) fn lost(&mut self) {
        self.unfit(Fitness::Lost);
    }

    fn unfit(&mut self, fitness: Fitness) {
        // The first limit that ran out is the one to report.
        if !matches!((self.fitness, fitness), (Fitness::Unresponsive(_), Fitness::Unresponsive(_))) {
            self.fitness = self.fitness.max(fitness);
        }
    }

    /// What an error or a bypass casts doubt on. The latest failure counts.
    fn doubts(&mut self, doubt: Doubt) {
        if let Transaction::Owned(owned) = &mut self.transaction {
            match doubt {
                Doubt::None => {}
                Doubt::Aborted if owned.doubt != Doubt::None => {}
                doubt => owned.doubt = doubt,
            }
        }
    }

    /// A transaction begins, and the server does not know yet. Returns whether it is inside another one.
    pub(crate) fn begins(&mut self) -> bool {
        match &mut self.transaction {
            Transaction::Owned(owned) => {
                owned.is_over = true;
                true
            }
            transaction => {
                #[cfg(test)]
                if self.planted == Some(super::walk::Planted::ForgetsDroppedBegin) {
                    return false;
                }
                *transaction = Transaction::Ownerless;
                false
            }
        }
    }

    /// The server has acknowledged the beginning: the transaction has an owner.
    pub(crate) fn begun(&mut self) {
        match &mut self.transaction {
            Transaction::Owned(owned) => (owned.depth, owned.is_over) = (owned.depth + 1, false),
            transaction => {
                *transaction = Transaction::Owned(Owned { depth: 1, ..Owned::default() });
            }
        }
    }

    /// How the innermost transaction is committed, once [`plan`](Self::plan) has nothing to settle. `depth`: how many sqlx counts.
    pub(crate) fn commit(&self, depth: usize) -> End {
        match self.transaction {
            Transaction::Owned(owned) if owned.is_over || owned.is_ended_past_us(depth) => {
                End::Over { conflict: owned.conflict }
            }
            Transaction::Owned(Owned { doubt: Doubt::None, .. }) => End::Send,
            Transaction::Owned(Owned { conflict, .. }) => End::Look { conflict },
            Transaction::None | Transaction::Ownerless => End::Gone,
        }
    }

    /// How the innermost transaction is rolled back.
    pub(crate) fn rollback(&self, depth: usize) -> End {
        match self.transaction {
            Transaction::Owned(Owned { is_over: true, bypassed: false, conflict, .. }) => End::Over { conflict },
            Transaction::Owned(Owned { is_over: true, .. }) | Transaction::None | Transaction::Ownerless => End::Gone,
            Transaction::Owned(owned) if owned.is_ended_past_us(depth) => End::Gone,
            // No failure ends a transaction with success, but what went past us may have.
            Transaction::Owned(owned) if owned.doubt != Doubt::None && self.left.unseen => {
                End::Look { conflict: owned.conflict }
            }
            Transaction::Owned(_) => End::Send,
        }
    }

    /// The server has acknowledged the end of the innermost transaction.
    pub(crate) fn ended(&mut self) {
        self.transaction = match self.transaction {
            Transaction::Owned(owned) if owned.depth > 1 => {
                Transaction::Owned(Owned { depth: owned.depth - 1, is_over: false, ..owned })
            }
            _ => Transaction::None,
        };
    }

    /// The owner has gone without an acknowledged end. The end of a savepoint is the business of the transaction around it.
    pub(crate) fn abandoned(&mut self) {
        self.transaction = match self.transaction {
            Transaction::Owned(owned) if owned.depth > 1 => {
                Transaction::Owned(Owned { depth: owned.depth - 1, ..owned })
            }
            _ => Transaction::Ownerless,
        };
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::ForgetsDroppedTransaction)
            && self.transaction == Transaction::Ownerless
        {
            self.transaction = Transaction::None;
        }
    }

    /// A savepoint was rolled back to, before which a conflict was known or not.
    pub(crate) fn forgives(&mut self, conflict_before: bool) {
        if let Transaction::Owned(owned) = &mut self.transaction {
            owned.conflict = conflict_before;
        }
    }

    /// The transaction without an owner is no more.
    pub(crate) fn rolled_back(&mut self) {
        if self.transaction == Transaction::Ownerless {
            self.transaction = Transaction::None;
        }
    }

    /// The look at the transaction begins. Dropped in the middle, nothing is known of it.
    pub(crate) fn looks(&mut self) {
        if let Transaction::Owned(owned) = &mut self.transaction {
            owned.is_over = true;
        }
    }

    /// Whether the database has ended the transaction.
    pub(crate) fn looked(&mut self, has_ended: bool) {
        if let Transaction::Owned(owned) = &mut self.transaction {
            (owned.is_over, owned.doubt) = (has_ended, Doubt::Aborted);
        }
    }

    /// Answers belong to their statements; `false`: an aborted transaction does not show it.
    pub(crate) fn verified(&mut self, is_certain: bool) {
        self.order = if is_certain { Order::Kept } else { Order::Undecided };
    }

    /// The statement that was dropped in the middle has ended, and its answer was read. What it did is not known.
    pub(crate) fn stopped(&mut self, was_cancelled: bool) {
        self.answer = Answer::None;
        self.left.unseen = true;
        self.doubts(Doubt::Ended(Class::Cancelled));
        if was_cancelled {
            self.cancel = Cancel::None;
            self.dropped += 1;
        }
    }

    /// A cancellation begins.
    pub(crate) fn cancels(&mut self) {
        self.cancel = if self.was_told() { Cancel::Failed } else { Cancel::Begun };
    }

    /// The cancellation has ended. An error: the class of its failure.
    pub(crate) fn cancelled(&mut self, outcome: Result<(), Class>) {
        self.cancel = match outcome {
            Ok(()) => Cancel::Sent,
            Err(Class::Overloaded) => Cancel::NoRoom,
            Err(_) => Cancel::Failed,
        };
    }

    /// Whether the server had no room for the cancellation.
    pub(crate) fn had_no_room(&self) -> bool {
        self.cancel == Cancel::NoRoom
    }

    /// Whether a cancellation may yet arrive, and hit whatever runs then.
    fn may_be_hit(&self) -> bool {
        #[cfg(test)]
        if self.planted == Some(super::walk::Planted::ForgetsCancel) {
            return false;
        }
        matches!(self.cancel, Cancel::Begun | Cancel::Failed)
    }

    /// What the return of the connection needs.
    pub(crate) fn on_return(&self) -> Return {
        let is_clean = self.transaction == Transaction::None
            && !self.is_answering()
            && self.fitness == Fitness::Usable
            && self.left == Left::default();
        match self.fitness {
            Fitness::Lost => Return::Lost,
            _ if is_clean && !self.rules.resets => Return::Keep,
            _ => Return::Clean,
        }
    }

    /// How the session is made clean. `is_busy`: sqlx waits for an answer to a statement that was not seen.
    pub(crate) fn cleaning(&self, is_busy: bool) -> Cleaning {
        match self.fitness {
            Fitness::Desynchronized => return Cleaning::Close("client and server no longer understand each other"),
            _ if self.may_be_hit() => return Cleaning::Close(super::cancel::GIVEN_UP),
            Fitness::Unresponsive(_) => return Cleaning::GiveUp,
            Fitness::Usable | Fitness::Lost => {}
        }
        let unseen = self.left.unseen;
        let cancel = self.is_answering() || (unseen && is_busy);
        let patient = self.rules.is_remote && (unseen || cancel);
        Cleaning::Do { cancel, patient, verify: unseen, undo: self.left.setting }
    }

    /// The session is as it was when it was opened. `Err`: it was left in the middle of a statement too often.
    pub(crate) fn cleaned(&mut self) -> Result<(), String> {
        let dropped = self.dropped + u32::from(self.is_answering());
        if self.rules.is_remote && dropped >= MOST_DROPPED {
            return Err(format!(
                "{MOST_DROPPED} statements were dropped in the middle and may have left names on the server: the connection is closed"
            ));
        }
        *self = Self {
            dropped,
            #[cfg(test)]
            planted: self.planted,
            ..Self::new(self.rules)
        };
        Ok(())
    }

    /// Whether the statement has to be cancelled before the connection is closed. A connection that was retired while it was lent comes here at
    /// once, and so does one whose turn to be cancelled did not come in time.
    pub(crate) fn cancels_before_close(&self, is_busy: bool) -> bool {
        !self.was_told() && (self.is_answering() || (self.left.unseen && is_busy))
    }

    /// How the connection is closed.
    pub(crate) fn farewell(&self) -> Farewell {
        match self.cancel {
            Cancel::NoRoom if self.rules.misses_clients => Farewell::Hangup,
            _ if self.is_answering() || self.left.unseen => Farewell::ReadOut,
            _ => Farewell::Goodbye,
        }
    }

    /// Whether a cancellation was tried since the session was last clean.
    pub(crate) fn was_told(&self) -> bool {
        matches!(self.cancel, Cancel::Failed | Cancel::Sent | Cancel::NoRoom)
    }
}

impl Owned {
    /// Whether a transaction that has an owner was ended past us, by what sqlx counts.
    fn is_ended_past_us(self, depth: usize) -> bool {
        self.doubt != Doubt::None && depth < self.depth as usize
    }
}
