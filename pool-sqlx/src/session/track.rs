//! What is known of a session from the statements that were watched.

use crate::{Error, words::Class};
use std::time::Duration;

/// What is known about a connection's session from the statements that were watched.
#[derive(Debug, Default)]
pub(crate) struct Track {
    /// A statement is under way. Still set when nobody waits for it any more: it was dropped in the middle.
    pub(super) running: bool,
    /// Its next row, or its end, is waited for. Dropped now, it may leave half a message behind; between two rows it does not.
    pub(super) midway: bool,
    /// Transactions that somebody owns, one inside the other, and whose beginning the server has acknowledged.
    pub(super) owned: u32,
    /// A transaction may be open that nobody owns: a `begin`, a `commit` or a statement within a transaction of ours has no answer yet, or
    /// will never get one. Nothing else may be sent before that is settled: it would share the transaction's fate.
    pub(super) astray: bool,
    /// A statement of the transaction failed or went past us: it may have been aborted.
    pub(super) doubtful: bool,
    /// A statement of the transaction failed, and the database may have ended it for that: to be looked at before anything else is sent.
    pub(super) suspect: Option<Class>,
    /// A statement of the transaction lost against another transaction.
    pub(super) conflict: bool,
    /// sqlx's own connection was used in the transaction, where anything may have been done to it.
    pub(super) bypassed: bool,
    /// Something went past us or may have left something open.
    pub(super) unknown: bool,
    /// Something went past us that may have left an answer behind, which would be taken for the next statement's.
    pub(super) unheard: bool,
    /// Client and server no longer understand each other.
    pub(super) garbled: bool,
    /// The server is gone.
    pub(super) lost: bool,
    /// A statement of which it did not keep the time has no answer within this limit: it may be gone, or at work.
    pub(super) silent: Option<Duration>,
    /// We changed a setting of the session for this loan.
    pub(super) changed: bool,
}

impl Track {
    /// Whether the session is as it was when the connection was opened, as far as transactions go.
    pub(crate) fn is_clean(&self) -> bool {
        !(self.running || self.owned > 0 || self.astray || self.unknown || self.garbled || self.lost || self.changed)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.unknown
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    pub(crate) fn is_garbled(&self) -> bool {
        self.garbled
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silent.is_some()
    }

    /// The server does not answer.
    pub(crate) fn lost(&mut self) {
        self.lost = true;
    }

    /// A setting of the session is about to change, and has to be undone.
    pub(crate) fn changed(&mut self) {
        self.changed = true;
    }

    /// From here on anything may happen unseen.
    pub(crate) fn unknown(&mut self) {
        (self.unknown, self.doubtful, self.unheard, self.bypassed) = (true, true, true, true);
    }

    /// The change has been undone.
    pub(crate) fn unchanged(&mut self) {
        self.changed = false;
    }

    /// Whether it takes a look to know if the open transaction can be committed.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Whether the transaction lost against another one.
    pub(crate) fn is_conflict(&self) -> bool {
        self.conflict
    }

    /// A savepoint was rolled back to, before which that was known.
    pub(crate) fn forgiven(&mut self, conflict: bool) {
        self.conflict = conflict;
    }

    /// Whether sqlx's own connection was used in the transaction.
    pub(crate) fn is_bypassed(&self) -> bool {
        self.bypassed
    }

    /// Why a transaction takes no more statements and cannot commit.
    pub(crate) fn gone(&self) -> Error {
        if self.conflict { Error::rolled_back(true) } else { Error::transaction_gone() }
    }

    /// Whether somebody, past us, has ended a transaction that has an owner.
    pub(crate) fn is_outlived_by(&self, depth: usize) -> bool {
        self.doubtful && depth < self.owned as usize
    }

    /// Whether it is not known which transaction is open.
    pub(crate) fn is_astray(&self) -> bool {
        self.astray
    }

    /// Whether there is something to find out before the next statement.
    pub(super) fn is_unsettled(&self) -> bool {
        self.running || self.astray || self.suspect.is_some() || self.unheard
    }

    /// A transaction begins, before the server knows. Says whether it is inside another.
    pub(crate) fn begins(&mut self) -> bool {
        if self.owned == 0 {
            (self.doubtful, self.suspect, self.conflict, self.bypassed) = (false, None, false, false);
        }
        self.astray = true;
        self.owned > 0
    }

    /// The beginning was acknowledged: the transaction has an owner.
    pub(crate) fn begun(&mut self) {
        (self.owned, self.astray) = (self.owned + 1, false);
    }

    /// The end was acknowledged.
    pub(crate) fn ended(&mut self) {
        (self.owned, self.astray) = (self.owned - 1, false);
    }

    /// The owner has gone without an acknowledged end. Of a savepoint that is the business of the transaction around it.
    pub(crate) fn abandoned(&mut self) {
        self.owned -= 1;
        self.astray |= self.owned == 0;
    }

    /// No transaction is open, whatever there was.
    pub(super) fn settled(&mut self) {
        self.astray = false;
    }

    /// What the server has prepared is gone, and sqlx does not know: the connection is of no use to anybody.
    pub(super) fn garbled(&mut self) {
        self.garbled = true;
    }

    pub(super) fn start(&mut self, tidy: bool) {
        // An earlier statement was dropped in the middle: it may be anything.
        let unseen = self.running || !tidy;
        self.unknown |= unseen;
        self.doubtful |= unseen;
        (self.running, self.midway) = (true, true);
    }

    pub(super) fn finish(&mut self) {
        self.running = false;
    }

    /// A statement failed like this.
    pub(super) fn suspects(&mut self, class: Class) {
        self.suspect = (self.owned > 0).then_some(class);
    }

    /// A statement that was dropped in the middle has ended, and its answer was read. What it did is not known.
    pub(super) fn stopped(&mut self) {
        self.running = false;
        (self.unknown, self.doubtful) = (true, true);
        self.suspects(Class::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_after_one_that_was_dropped_does_not_clean_it() {
        let mut track = Track::default();
        track.start(true);
        track.finish();
        assert!(track.is_clean());
        track.start(true);
        track.start(true);
        track.finish();
        assert!(!track.is_clean());
    }

    #[test]
    fn a_transaction_is_astray_until_its_beginning_and_its_end_have_an_answer() {
        let mut track = Track::default();
        assert!(!track.begins(), "there is none around it");
        assert!(track.is_astray() && !track.is_clean(), "dropped here, it may be open");
        track.begun();
        assert!(!track.is_astray() && !track.is_clean());
        assert!(track.begins(), "a savepoint");
        track.begun();
        track.abandoned();
        assert!(!track.is_astray(), "its rollback is on its way, and the outer one is known");
        track.conflict = true;
        track.abandoned();
        assert!(track.is_astray());
        track.settled();
        track.begins();
        assert!(!track.is_conflict(), "that was another transaction's");
        track.begun();
        track.ended();
        assert!(track.is_clean());
    }
}
