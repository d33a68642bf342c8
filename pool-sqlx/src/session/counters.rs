//! What the adapter counts, beside what the pool does.

use super::{notices::Notices, recorders::Recorders};
use crate::{Error, Site, Status, Timings, Totals, Verdict, backend::Server, error::shown, words::Place};
use pool_core::AcquireError;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// The pool's totals from before its last change of size. The pool itself starts anew with each size.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    pub(crate) totals: Totals,
    pub(crate) timings: Timings,
}

/// An acquire that ended with an error.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// When.
    pub at: SystemTime,
    /// Why.
    pub verdict: Verdict,
    /// Who asked.
    pub site: Site,
    /// How long it had waited.
    pub waited: Duration,
    /// The error's message, with the database's code in the place of what it said: that may name a user.
    pub message: String,
}

/// What the adapter counts, beside what the pool does.
pub(crate) struct Tally {
    /// Name of the pool.
    name: String,
    place: Place,
    system: Mutex<&'static str>,
    /// The limits that the server reported, and when it was asked.
    server: Mutex<(Option<Server>, Option<Instant>)>,
    swallowed: AtomicBool,
    /// The totals from before the last change of size.
    past: Mutex<Option<Past>>,
    refused: [AtomicU64; VERDICTS.len()],
    /// Calls that found no place within their function's own limit. Part of `Refused`.
    without_place: AtomicU64,
    refusals: Mutex<VecDeque<Refusal>>,
    /// Uses of sqlx's own connection, by the line that asked for it.
    bypassed: Mutex<Vec<(Site, u64)>>,
    connect_errors: Mutex<BTreeMap<String, u64>>,
    /// The latest errors of connects: the text of the log, and the text that may be shown publicly.
    said: Mutex<VecDeque<(String, String)>>,
    by_server: AtomicU64,
    by_client: AtomicU64,
    notices: Notices,
    recorders: Recorders,
}

/// How long the reported limits of the server count as current.
const CURRENT: Duration = Duration::from_secs(600);
/// Refusals that are kept.
pub(crate) const KEPT: usize = 32;
/// How the core's message about a connect that ran out of time begins.
const UNANSWERED: &str = "the server did not answer within ";
/// How many types of connect errors are counted separately. Servers have a few dozen codes that can end a connect.
const TYPES: usize = 32;
/// Lines that used sqlx's own connection and are counted separately.
const SITES: usize = 64;

const VERDICTS: [Verdict; 7] = [
    Verdict::Exhausted,
    Verdict::Leaking,
    Verdict::Nested,
    Verdict::Connecting,
    Verdict::Refused,
    Verdict::Paused,
    Verdict::Closed,
];

impl Tally {
    pub(crate) fn new(name: String, place: Place, system: &'static str) -> Self {
        Self {
            name,
            place,
            system: Mutex::new(system),
            server: Mutex::default(),
            swallowed: AtomicBool::new(false),
            past: Mutex::default(),
            refused: Default::default(),
            without_place: AtomicU64::new(0),
            refusals: Mutex::default(),
            bypassed: Mutex::default(),
            connect_errors: Mutex::default(),
            said: Mutex::default(),
            by_server: AtomicU64::new(0),
            by_client: AtomicU64::new(0),
            notices: Notices::default(),
            recorders: Recorders::default(),
        }
    }

    /// Name of the pool.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The recorders of its statements.
    pub(crate) fn recorders(&self) -> &Recorders {
        &self.recorders
    }

    pub(crate) fn system(&self) -> &'static str {
        *lock(&self.system)
    }

    /// Sets the name of the system that the first connect has found.
    pub(crate) fn set_system(&self, system: &'static str) {
        *lock(&self.system) = system;
    }

    /// Whether it is time to ask the server for its limits. Returns `true` to one caller at a time.
    pub(crate) fn wants_server(&self) -> bool {
        let mut server = lock(&self.server);
        let due = server.1.is_none_or(|asked| asked.elapsed() >= CURRENT);
        if due {
            server.1 = Some(Instant::now());
        }
        due
    }

    /// Keeps the limits that the server reported.
    pub(crate) fn set_server(&self, said: Server) {
        lock(&self.server).0 = Some(said);
    }

    pub(crate) fn server(&self) -> Option<Server> {
        lock(&self.server).0.clone()
    }

    /// The server did not get the statement timeout. Returns whether this is the first time.
    pub(crate) fn swallowed(&self) -> bool {
        !self.swallowed.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_swallowed(&self) -> bool {
        self.swallowed.load(Ordering::Relaxed)
    }

    /// The size of the pool has changed. `past`: its totals until then.
    pub(crate) fn resized(&self, past: Past) {
        *lock(&self.past) = Some(past);
    }

    pub(crate) fn past(&self) -> Option<Past> {
        lock(&self.past).clone()
    }

    /// The pool's numbers, with the calls that were refused before they reached it.
    pub(crate) fn complete(&self, mut status: Status) -> Status {
        status.totals.refused += self.without_place.load(Ordering::Relaxed);
        status
    }

    /// An acquire has ended with an error.
    pub(crate) fn refuse(&self, error: &AcquireError<sqlx::Error>) {
        let mut message = error.to_string();
        if let Some(failure) = error.connect_error()
            && let Some(error) = failure.error()
        {
            message = message.replace(&failure.to_string(), &shown(error));
        }
        self.note_refusal(error.verdict(), error.site(), error.waited(), error, message);
    }

    /// A call has found no place within its function's own limit in time.
    pub(crate) fn refuse_place(&self, site: Site, waited: Duration, error: &Error) {
        self.without_place.fetch_add(1, Ordering::Relaxed);
        self.note_refusal(Verdict::Refused, site, waited, error, error.to_string());
    }

    /// `said` is for the log, `message` may be shown publicly.
    fn note_refusal(&self, verdict: Verdict, site: Site, waited: Duration, said: &dyn fmt::Display, message: String) {
        self.notices.refused(&self.name, verdict, said);
        if let Some(i) = VERDICTS.iter().position(|known| *known == verdict) {
            self.refused[i].fetch_add(1, Ordering::Relaxed);
        }
        let refusal = Refusal { at: SystemTime::now(), verdict, site, waited, message };
        let mut refusals = lock(&self.refusals);
        if refusals.len() == KEPT {
            refusals.pop_front();
        }
        refusals.push_back(refusal);
    }

    /// A caller took sqlx's own connection.
    pub(crate) fn bypassed(&self, site: Site) {
        let mut bypassed = lock(&self.bypassed);
        if let Some((_, uses)) = bypassed.iter_mut().find(|(known, _)| *known == site) {
            *uses += 1;
        } else if bypassed.len() < SITES {
            bypassed.push((site, 1));
        }
    }

    /// Uses of sqlx's own connection, by the line that asked for it, the most frequent first.
    pub(crate) fn untracked(&self) -> Vec<(Site, u64)> {
        let mut uses = lock(&self.bypassed).clone();
        uses.sort_by_key(|(_, uses)| std::cmp::Reverse(*uses));
        uses
    }

    /// A connect has failed.
    pub(crate) fn connect_failed(&self, error_type: &str) {
        let mut errors = lock(&self.connect_errors);
        let known = errors.len() < TYPES || errors.contains_key(error_type);
        *errors.entry(if known { error_type } else { "_OTHER" }.to_owned()).or_default() += 1;
    }

    /// Keeps the error of a connect.
    pub(crate) fn note(&self, error: &sqlx::Error) {
        // In one line, as in the core's messages.
        let words = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let mut said = lock(&self.said);
        said.retain(|(known, _)| *known != words);
        if said.len() == KEPT {
            said.pop_front();
        }
        said.push_back((words, shown(error)));
    }

    /// The public text for a failed connect with this text in the log.
    #[cfg_attr(not(feature = "status-page"), allow(dead_code))]
    pub(crate) fn shown(&self, words: &str) -> String {
        let known = lock(&self.said).iter().find(|(known, _)| known == words).map(|(_, shown)| shown.clone());
        // The core's own words.
        known.unwrap_or_else(|| match words.starts_with(UNANSWERED) {
            true => words.to_owned(),
            false => "the log says why".to_owned(),
        })
    }

    /// A statement ran out of time. `by_server`: the server ended it; otherwise we gave it up.
    pub(crate) fn timed_out(&self, error: &Error, by_server: bool) {
        let count = if by_server { &self.by_server } else { &self.by_client };
        count.fetch_add(1, Ordering::Relaxed);
        self.notices.timed_out(&self.name, error);
    }

    pub(crate) fn refused(&self) -> Vec<(Verdict, u64)> {
        VERDICTS.into_iter().zip(self.refused.iter().map(|n| n.load(Ordering::Relaxed))).collect()
    }

    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        lock(&self.refusals).iter().cloned().collect()
    }

    pub(crate) fn connect_errors(&self) -> BTreeMap<String, u64> {
        lock(&self.connect_errors).clone()
    }

    pub(crate) fn statement_timeouts_by_server(&self) -> u64 {
        self.by_server.load(Ordering::Relaxed)
    }

    pub(crate) fn statement_timeouts_by_client(&self) -> u64 {
        self.by_client.load(Ordering::Relaxed)
    }
}

/// A poisoned lock is used on: no code under these locks can panic in the middle of a change.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_errors_that_never_end_share_one_count() {
        let tally = Tally::new(String::new(), Place::default(), "sqlite");
        (0..TYPES + 5).for_each(|i| tally.connect_failed(&format!("{i:05}")));
        tally.connect_failed("00000");
        let counts = tally.connect_errors();
        assert_eq!((counts.len(), counts["00000"], counts["_OTHER"]), (TYPES + 1, 2, 5));
    }
}
