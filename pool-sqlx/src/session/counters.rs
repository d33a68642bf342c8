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

/// What had happened before a pool got its present size, of which it says nothing.
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
    /// What the server said of its limits, and when it was asked.
    server: Mutex<(Option<Server>, Option<Instant>)>,
    swallowed: AtomicBool,
    /// What had happened when the pool got its present size.
    past: Mutex<Option<Past>>,
    refused: [AtomicU64; VERDICTS.len()],
    /// Calls that found no place within their function's own limit; of the `Refused`.
    without_place: AtomicU64,
    refusals: Mutex<VecDeque<Refusal>>,
    connect_errors: Mutex<BTreeMap<String, u64>>,
    /// What connects failed with lately: the words of the log, and those for anybody.
    said: Mutex<VecDeque<(String, String)>>,
    by_server: AtomicU64,
    by_client: AtomicU64,
    notices: Notices,
    recorders: Recorders,
}

/// How long what the server said of its limits counts as current.
const CURRENT: Duration = Duration::from_secs(600);
/// Refusals that are kept.
pub(crate) const KEPT: usize = 32;
/// How the core begins what it says of a connect that ran out of time.
const UNANSWERED: &str = "the server did not answer within ";
/// Types of connect errors that are told apart. Servers have a few dozen codes that can end a connect.
const TYPES: usize = 32;

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

    /// What records its statements.
    pub(crate) fn recorders(&self) -> &Recorders {
        &self.recorders
    }

    pub(crate) fn system(&self) -> &'static str {
        *lock(&self.system)
    }

    /// Which server it turned out to be.
    pub(crate) fn set_system(&self, system: &'static str) {
        *lock(&self.system) = system;
    }

    /// Whether it is time to ask the server for its limits. Says so once for each answer that is wanted.
    pub(crate) fn wants_server(&self) -> bool {
        let mut server = lock(&self.server);
        let due = server.1.is_none_or(|asked| asked.elapsed() >= CURRENT);
        if due {
            server.1 = Some(Instant::now());
        }
        due
    }

    /// What the server said of its limits.
    pub(crate) fn set_server(&self, said: Server) {
        lock(&self.server).0 = Some(said);
    }

    pub(crate) fn server(&self) -> Option<Server> {
        lock(&self.server).0.clone()
    }

    /// The server did not take the statement timeout. Says whether that is news.
    pub(crate) fn swallowed(&self) -> bool {
        !self.swallowed.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_swallowed(&self) -> bool {
        self.swallowed.load(Ordering::Relaxed)
    }

    /// The pool has got another size, after this.
    pub(crate) fn resized(&self, past: Past) {
        *lock(&self.past) = Some(past);
    }

    pub(crate) fn past(&self) -> Option<Past> {
        lock(&self.past).clone()
    }

    /// The pool's numbers, with what ended before it was asked.
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

    /// `said` is for the log, `message` for anybody.
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

    /// A connect has failed.
    pub(crate) fn connect_failed(&self, error_type: &str) {
        let mut errors = lock(&self.connect_errors);
        let known = errors.len() < TYPES || errors.contains_key(error_type);
        *errors.entry(if known { error_type } else { "_OTHER" }.to_owned()).or_default() += 1;
    }

    /// What this connect failed with.
    pub(crate) fn note(&self, error: &sqlx::Error) {
        // As the core says it, in one line.
        let words = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let mut said = lock(&self.said);
        said.retain(|(known, _)| *known != words);
        if said.len() == KEPT {
            said.pop_front();
        }
        said.push_back((words, shown(error)));
    }

    /// What may be shown to anybody of a failed connect of which the log says this.
    #[cfg_attr(not(feature = "status-page"), allow(dead_code))]
    pub(crate) fn shown(&self, words: &str) -> String {
        let known = lock(&self.said).iter().find(|(known, _)| known == words).map(|(_, shown)| shown.clone());
        // The core's own words.
        known.unwrap_or_else(|| match words.starts_with(UNANSWERED) {
            true => words.to_owned(),
            false => "the log says why".to_owned(),
        })
    }

    /// A statement ran out of time. `by_server`: the server ended it, and did not leave that to us.
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

/// Nothing under these locks can panic half-way.
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
