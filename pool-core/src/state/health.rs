//! What is believed of the database, and when the next connect may begin.

use super::Ns;
use crate::{Health, backoff, error::ConnectError};
use std::time::Duration;

/// The pause after the first failed connect.
const FIRST: Duration = Duration::from_millis(20);
/// So that a database that comes back is noticed within half a second.
const LONGEST: Duration = Duration::from_millis(500);

/// The outcome of recent connects and pings.
pub(crate) struct Pulse<E> {
    pub(crate) health: Health,
    /// Connects failed in a row.
    failures: u32,
    /// When the first of them began.
    failing_since: Ns,
    /// No connect begins earlier.
    not_before: Ns,
    /// The last failure; forgotten when a connect succeeds.
    last_error: Option<ConnectError<E>>,
}

impl<E> Pulse<E> {
    pub(crate) fn new() -> Self {
        Self { health: Health::Warm, failures: 0, failing_since: 0, not_before: 0, last_error: None }
    }

    /// A connection was established. Says whether that is news, and hands back the last failure, to be dropped where that can do no harm.
    pub(crate) fn connected(&mut self) -> (bool, Option<ConnectError<E>>) {
        (self.failures, self.not_before) = (0, 0);
        (self.answered(), self.last_error.take())
    }

    /// A connection answered a ping, which says nothing of whether another can be opened. Says whether that is news.
    pub(crate) fn answered(&mut self) -> bool {
        std::mem::replace(&mut self.health, Health::Warm) != Health::Warm
    }

    /// A connection was found dead.
    pub(crate) fn suspect(&mut self) {
        self.health = Health::Suspect;
    }

    /// A connect that began at `began` has failed. Returns the pause before the next, and the failure before this one.
    pub(crate) fn connect_failed(
        &mut self,
        error: ConnectError<E>,
        began: Ns,
        now: Ns,
        dice: u64,
    ) -> (Ns, Option<ConnectError<E>>) {
        if self.failures == 0 {
            self.failing_since = began;
        }
        let pause = backoff::pause(FIRST, LONGEST, self.failures, dice).as_nanos() as Ns;
        self.failures += 1;
        self.not_before = now.saturating_add(pause);
        (pause, self.last_error.replace(error))
    }

    pub(crate) fn last_error(&self) -> Option<&ConnectError<E>> {
        self.last_error.as_ref()
    }

    pub(crate) fn not_before(&self) -> Ns {
        self.not_before
    }

    /// Lets the next connect begin at once.
    pub(crate) fn forget_pause(&mut self) {
        self.not_before = 0;
    }

    /// For how long a caller that arrived then has seen nothing but failing connects.
    pub(crate) fn failing_for(&self, arrived: Ns, now: Ns) -> Ns {
        if self.failures == 0 { 0 } else { now.saturating_sub(arrived.max(self.failing_since)) }
    }

    /// Connects that failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the last connect failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }
}
