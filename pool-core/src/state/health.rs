//! What is believed of the database, and when the next connect may begin.

use super::Ns;
use crate::{Health, backoff, error::ConnectError};
use std::time::Duration;

/// The pause after the first failed connect.
const FIRST: Duration = Duration::from_millis(20);
/// So that a database that comes back is noticed within half a second.
const LONGEST: Duration = Duration::from_millis(500);

/// A second; much less in the random walk, which counts in microseconds.
const SECOND: Ns = if cfg!(test) { 20_000 } else { 1_000_000_000 };

/// The longest pause after an error that waiting cannot cure.
const LONGEST_REFUSAL: Ns = 30 * SECOND;

/// How long connects fail beside connections that work until the server is taken to grant no more.
const NO_MORE: Ns = SECOND;

/// How long a server that grants no more is not asked for connections that nobody waits for.
const REST: Ns = 60 * SECOND;

/// The outcome of recent connects and pings.
pub(crate) struct Pulse<E> {
    pub(crate) health: Health,
    /// Connects failed in a row.
    failures: u32,
    /// When the first of them began.
    failing_since: Ns,
    /// No connect begins earlier.
    not_before: Ns,
    /// No connect that nobody waits for begins earlier, where others work.
    rest_until: Ns,
    /// How often in a row waiting could not cure the failure. Attempts that were under way together count once.
    refusals: u32,
    /// When the last of them was.
    refused_at: Ns,
    /// Until when it is the answer to every caller.
    refused_until: Ns,
    /// The last failure; forgotten when a connect succeeds.
    last_error: Option<ConnectError<E>>,
}

impl<E> Pulse<E> {
    pub(crate) fn new() -> Self {
        Self {
            health: Health::Warm,
            failures: 0,
            failing_since: 0,
            not_before: 0,
            rest_until: 0,
            refusals: 0,
            refused_at: 0,
            refused_until: 0,
            last_error: None,
        }
    }

    /// A connection was established. Says whether that is news, and hands back the last failure, to be dropped where that can do no harm.
    pub(crate) fn connected(&mut self) -> (bool, Option<ConnectError<E>>) {
        self.failures = 0;
        self.try_again();
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

    /// Something was changed that may cure any failure: the next connect need not wait.
    pub(crate) fn try_again(&mut self) {
        (self.not_before, self.rest_until, self.refusals, self.refused_until) = (0, 0, 0, 0);
    }

    /// Lets connects that nobody waits for begin at once.
    pub(crate) fn end_rest(&mut self) {
        self.rest_until = 0;
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
        let mut pause = backoff::pause(FIRST, LONGEST, self.failures, dice).as_nanos() as Ns;
        self.failures += 1;
        if !error.class.is_hopeless() {
            (self.refusals, self.refused_until) = (0, 0);
        } else {
            if self.refusals == 0 || began >= self.refused_at {
                self.refusals += 1;
                self.refused_at = now;
                self.refused_until = now.saturating_add(memory(self.refusals));
            }
            pause = pause.max(self.refused_until.saturating_sub(now));
        }
        self.not_before = now.saturating_add(pause);
        if now.saturating_sub(self.failing_since) >= NO_MORE {
            self.rest_until = now.saturating_add(REST);
        }
        (pause, self.last_error.replace(error))
    }

    pub(crate) fn last_error(&self) -> Option<&ConnectError<E>> {
        self.last_error.as_ref()
    }

    /// The error that is the answer to every caller who needs a connect now: waiting cannot cure it, and it has just come up again.
    pub(crate) fn refusal(&self, now: Ns) -> Option<&ConnectError<E>> {
        self.last_error.as_ref().filter(|_| now < self.refused_until)
    }

    /// For how long that will be so.
    pub(crate) fn refused_for(&self, now: Ns) -> Ns {
        self.refused_until.saturating_sub(now)
    }

    pub(crate) fn not_before(&self) -> Ns {
        self.not_before
    }

    pub(crate) fn rest_until(&self) -> Ns {
        self.rest_until
    }

    /// Every caller has had its answer: the next one is worth an attempt at once, unless it is known too well how that would end.
    pub(crate) fn all_told(&mut self) {
        self.not_before = self.refused_until;
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

/// For how long an error that waiting cannot cure is the answer to every caller, after so many in a row: not at all after the first, which
/// may have been cured already, then 1 s, doubling to 30 s.
fn memory(refusals: u32) -> Ns {
    match refusals {
        0 | 1 => 0,
        n => SECOND.saturating_mul(1 << (n - 2).min(10)).min(LONGEST_REFUSAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_cannot_cure_is_remembered_for_a_second_doubling_to_thirty() {
        for (refusals, seconds) in [(1, 0), (2, 1), (3, 2), (4, 4), (6, 16), (7, 30), (u32::MAX, 30)] {
            assert_eq!(memory(refusals), seconds * SECOND, "after {refusals}");
        }
    }
}
