//! Administration: invalidating, pausing, resizing, closing.

use super::{Ns, State, effects::Effects, live::Phase, pieces::Away};
#[cfg(any(test, feature = "testing"))]
use crate::Verdict;
use crate::{CloseReason, Pause, Settings};

impl<C, E> State<C, E> {
    /// Retires every connection that exists or is being opened.
    pub(crate) fn invalidate(&mut self, now: Ns, fx: &mut Effects<C, E>) {
        if !self.closed {
            self.retire_all(now, fx);
            self.pulse.try_again();
            self.advance(now, fx);
        }
    }

    /// Ends the pool: turns the callers away, closes what is idle, and what is in use when it comes home.
    pub(crate) fn close(&mut self, now: Ns, fx: &mut Effects<C, E>) {
        if !self.closed {
            self.closed = true;
            self.start.end(false);
            (fx.closed, fx.news) = (true, true);
            self.turn_away(Away::Closed, fx);
            self.purge(now, fx);
        }
        fx.kick = true;
        self.advance(now, fx);
    }

    /// Stops lending. Connections in use stay in use; what comes home is kept.
    pub(crate) fn pause(&mut self, how: Pause, fx: &mut Effects<C, E>) {
        if !self.closed {
            self.paused = Some(how);
            if how == Pause::Refuse {
                self.turn_away(Away::Paused, fx);
            }
        }
    }

    /// Lends again, first to those who waited.
    pub(crate) fn resume(&mut self, now: Ns, fx: &mut Effects<C, E>) {
        self.paused = None;
        self.stop_refusing();
        self.advance(now, fx);
    }

    /// Has every acquire from now on end with this verdict, or none.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn inject(&mut self, verdict: Option<Verdict>) {
        self.injected = verdict;
    }

    /// Changes the settings. Connections above a lowered size are closed when they come home, idle ones now.
    pub(crate) fn reconfigure(&mut self, settings: Settings, now: Ns, fx: &mut Effects<C, E>) {
        self.idle.set_lifo(settings.pool_use_lifo);
        self.settings = settings;
        self.admitted = self.settings.cap().unwrap_or(u32::MAX).max(self.slots.used());
        self.slots.set_cap(self.settings.cap(), now);
        self.trim(now, fx);
        self.resize_start(fx);
        self.pulse.try_again();
        self.advance(now, fx);
        fx.kick = true; // every alarm may be another now
    }

    /// Whether any connection is established.
    pub(crate) fn has_some(&self) -> bool {
        self.slots.established() > 0
    }

    /// How many connects have failed so far.
    pub(crate) fn connect_errors(&self) -> u64 {
        self.totals.connect_errors
    }

    /// Slots that are not about to be freed.
    pub(super) fn staying(&self) -> u32 {
        self.slots.used() - self.slots.count(Phase::Closing(CloseReason::Excess))
    }

    /// Whether nothing is left: no slot, no caller, and none to come.
    pub(crate) fn is_drained(&self) -> bool {
        self.closed && self.slots.used() == 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }
}
