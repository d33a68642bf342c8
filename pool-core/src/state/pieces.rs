//! Long work, cut into pieces: no turn does more than a bounded part of what concerns many callers or connections.
//!
//! Every step that would end or wake a whole queue, or close a whole stack, notes that and does the first piece. `Shared` then releases
//! the lock, performs the effects, and comes back for the next piece until nothing is left. What others do in between is safe: the rules
//! in `rules.rs` hold for what has not had its turn yet.

use super::{Ns, SlotId, State, effects::Effects, live::Phase, nesting::Evidence, queue::Outcome};
use crate::{CloseReason, error::ConnectError};

/// Callers or connections in one piece.
pub(super) const PIECE: usize = if cfg!(test) { 2 } else { 256 };

/// Slots that one piece looks at to find those that it concerns.
const LOOKED_AT: usize = 4 * PIECE;

/// What is left to be done.
pub(super) struct Pieces<E> {
    /// Callers up to this number are turned away, for this reason.
    away: Option<(u64, Away<E>)>,
    /// Connections that must not stay are looked for, from this slot on.
    purge: Option<SlotId>,
    /// Idle connections above a lowered size are closed, the oldest first.
    trims: bool,
    /// Callers are woken to look for themselves, from this part of the queue on.
    rouses: Option<usize>,
    /// What was found for callers whose time has run out, some of which have not been told.
    pub(super) evidence: Option<Evidence>,
    /// Idle connections and callers that wait have not been matched to the end.
    pub(super) unsettled: bool,
}

impl<E> Default for Pieces<E> {
    fn default() -> Self {
        Self { away: None, purge: None, trims: false, rouses: None, evidence: None, unsettled: false }
    }
}

/// Why callers are turned away.
pub(super) enum Away<E> {
    Closed,
    Paused,
    Failed(ConnectError<E>),
}

impl<C, E> State<C, E> {
    /// Whether something is left for [`Self::go_on`].
    pub(crate) fn is_busy(&self) -> bool {
        let Pieces { away, purge, trims, rouses, unsettled, evidence: _ } = &self.pieces;
        away.is_some() || purge.is_some() || *trims || rouses.is_some() || *unsettled
    }

    /// Does the next piece of what is left.
    pub(crate) fn go_on(&mut self, now: Ns, fx: &mut Effects<C, E>) {
        self.turn_some_away(fx);
        self.purge_some(now, fx);
        self.trim_some(now, fx);
        self.rouse_some(fx);
        self.advance(now, fx);
    }

    /// Turns away every caller that waits now.
    pub(super) fn turn_away(&mut self, why: Away<E>, fx: &mut Effects<C, E>) {
        if let Some((_, Away::Failed(error))) = self.pieces.away.replace((self.queue.last_number(), why)) {
            fx.errors.push(error);
        }
        self.turn_some_away(fx);
    }

    /// Gives every caller that waits now this error.
    pub(crate) fn turn_all_away(&mut self, error: ConnectError<E>, fx: &mut Effects<C, E>) {
        self.turn_away(Away::Failed(error), fx);
    }

    /// Turns away those that wait for a connect which is not worth an attempt, because what they counted on instead has come to nothing.
    pub(super) fn tell_the_hopeless(&mut self, now: Ns, fx: &mut Effects<C, E>) {
        if self.pieces.away.is_none()
            && !self.queue.is_empty()
            && self.coming() == 0
            && let Some(error) = self.hopeless(now).cloned()
        {
            self.turn_away(Away::Failed(error), fx);
        }
    }

    /// Lets those stay who were to be refused because of a pause.
    pub(super) fn stop_refusing(&mut self) {
        if matches!(self.pieces.away, Some((_, Away::Paused))) {
            self.pieces.away = None;
        }
    }

    fn turn_some_away(&mut self, fx: &mut Effects<C, E>) {
        let Some((last, why)) = self.pieces.away.take() else { return };
        for _ in 0..PIECE {
            let first = self.queue.first().map(|(ticket, _)| ticket);
            let Some(ticket) = first.filter(|ticket| self.queue.number(*ticket) <= last) else {
                if let Away::Failed(error) = why {
                    fx.errors.push(error);
                }
                return;
            };
            let outcome = match &why {
                Away::Closed => {
                    self.totals.rejected_closed += 1;
                    Outcome::Closed
                }
                Away::Paused => {
                    self.totals.refused += 1;
                    Outcome::Paused
                }
                Away::Failed(error) => {
                    self.totals.connect_failures += 1;
                    Outcome::Failed(error.clone())
                }
            };
            let waker = self.end(ticket, outcome);
            fx.wake(waker);
        }
        self.pieces.away = Some((last, why));
    }

    /// Closes every idle connection that is of an earlier epoch, or of a closed pool, and gives up what a runtime has left.
    pub(super) fn purge(&mut self, now: Ns, fx: &mut Effects<C, E>) {
        self.pieces.purge = Some(0);
        self.purge_some(now, fx);
    }

    fn purge_some(&mut self, now: Ns, fx: &mut Effects<C, E>) {
        let Some(from) = self.pieces.purge.take() else { return };
        let end = self.slots.end();
        let mut closed = 0;
        for id in (from..end).take(LOOKED_AT) {
            if closed == PIECE {
                self.pieces.purge = Some(id);
                return;
            }
            let slot = &self.slots[id];
            if slot.is_forsaken() {
                self.forsake(id, now, fx);
                closed += 1;
            } else if slot.home.is_none() && slot.conn.is_some() {
                self.dispose(id, now, fx);
                closed += 1;
            } else if slot.phase() == Phase::Idle && (self.closed || slot.epoch != self.epoch) {
                let reason = if self.closed { CloseReason::Shutdown } else { CloseReason::Invalidated };
                self.close_idle(id, reason, now, fx);
                closed += 1;
            }
        }
        let next = from.saturating_add(LOOKED_AT as SlotId);
        self.pieces.purge = (next < end).then_some(next);
    }

    /// Closes idle connections above a lowered size.
    pub(super) fn trim(&mut self, now: Ns, fx: &mut Effects<C, E>) {
        self.pieces.trims = true;
        self.trim_some(now, fx);
    }

    fn trim_some(&mut self, now: Ns, fx: &mut Effects<C, E>) {
        if !std::mem::take(&mut self.pieces.trims) {
            return;
        }
        let cap = self.settings.cap().unwrap_or(u32::MAX);
        for _ in 0..PIECE {
            let above = self.idle.len() > self.settings.pool_size || self.staying() > cap;
            let Some(id) = self.idle.oldest().filter(|_| above) else { return };
            self.close_idle(id, CloseReason::Excess, now, fx);
        }
        self.pieces.trims = true;
    }

    /// Wakes every caller that waits, so that it looks for itself what has changed.
    pub(super) fn rouse(&mut self, fx: &mut Effects<C, E>) {
        self.pieces.rouses = Some(0);
        self.rouse_some(fx);
    }

    fn rouse_some(&mut self, fx: &mut Effects<C, E>) {
        let Some(part) = self.pieces.rouses.take() else { return };
        if let Some(wakers) = self.queue.rouse(part) {
            fx.more.extend(wakers);
            self.pieces.rouses = Some(part + 1);
        }
    }
}
