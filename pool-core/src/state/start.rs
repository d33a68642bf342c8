//! The warm-up: connections opened ahead of need, on behalf of one or several callers.

use super::{Ns, State, effects::Effects};

/// The warm-up that is under way, if one is, and how the last one ended.
#[derive(Default)]
pub(super) struct Start {
    /// Connections to open ahead of need; 0 when no warm-up is under way.
    aim: u32,
    /// Callers that wait for it.
    callers: u32,
    /// Whether it goes on when the last of them has left.
    alone: bool,
    /// Whether the last one ended short of its aim.
    gave_up: bool,
    /// Warm-ups that have ended.
    ended: u32,
}

/// A caller's part in one warm-up.
#[derive(Clone, Copy)]
pub(crate) struct Share(u32);

/// How far the warm-up is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warmth {
    Warm,
    Warming,
    /// Some are open, and the server grants no more for now.
    Resting,
    GivenUp,
}

impl Start {
    pub(super) fn aim(&self) -> u32 {
        self.aim
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.aim > 0
    }

    /// Ends it.
    pub(super) fn end(&mut self, gave_up: bool) {
        *self = Self { gave_up, ended: self.ended.wrapping_add(1), ..Self::default() };
    }
}

impl<C, E> State<C, E> {
    /// Opens connections ahead of need until `pool_size` are open: as long as the caller wants it, or, `alone`, whoever wants it.
    pub(crate) fn warm_up(&mut self, alone: bool, now: Ns, fx: &mut Effects<C, E>) -> Share {
        let share = Share(self.start.ended);
        if !self.closed {
            self.start.aim = self.settings.pool_size;
            self.start.gave_up = false;
            self.start.alone |= alone;
            self.start.callers += u32::from(!alone);
            self.pulse.end_rest();
            self.check_start(fx);
            self.advance(now, fx);
        }
        share
    }

    /// A caller no longer waits for a warm-up: for its part that ends, or goes on alone.
    pub(crate) fn leave_warm_up(&mut self, share: Share, goes_on: bool, fx: &mut Effects<C, E>) {
        if share.0 != self.start.ended || !self.start.is_under_way() {
            return; // it has ended
        }
        self.start.callers -= 1;
        self.start.alone |= goes_on;
        if self.start.callers == 0 && !self.start.alone {
            self.start.end(true);
            fx.news = true;
        }
    }

    /// Ends the warm-up when what it aims at is there.
    pub(super) fn check_start(&mut self, fx: &mut Effects<C, E>) {
        if self.start.is_under_way() && self.slots.established() >= self.start.aim {
            self.start.end(false);
            fx.news = true;
        }
    }

    /// Follows a size that has changed: more could not be kept.
    pub(super) fn resize_start(&mut self, fx: &mut Effects<C, E>) {
        if self.start.is_under_way() {
            self.start.aim = self.settings.pool_size;
            if self.start.aim == 0 {
                self.start.end(false);
                fx.news = true;
            }
            self.check_start(fx);
        }
    }

    /// Whether a warm-up is under way, has ended well (or never began), or was given up.
    pub(crate) fn warmth(&self, now: Ns) -> Warmth {
        match (self.start.is_under_way(), self.start.gave_up) {
            (true, _) if self.rest_until() > now => Warmth::Resting,
            (true, _) => Warmth::Warming,
            (false, true) => Warmth::GivenUp,
            (false, false) => Warmth::Warm,
        }
    }
}
