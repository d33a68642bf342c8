//! Pools seen from outside: what metrics, the status page and advice are made from.

use crate::{
    Advice, Backend, Error, Event, Holder, Observer, Pool, Settings, Site, SiteTimings, Status, Timings, Verdict,
    advice::{Facts, Past, Server, advice},
    error::shown,
    manager::Sqlx,
    siblings,
    telemetry::Recorders,
    words::Place,
};
use pool_core::{AcquireError, WeakPool};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// What has pools that can be watched: a [`Pool`], a struct with `#[derive(Pools)]`, or several of them in a list.
pub trait Watchable {
    /// A handle to each pool.
    fn watched(&self) -> Vec<Watched>;
}

impl<DB: Backend, Key> Watchable for Pool<DB, Key> {
    fn watched(&self) -> Vec<Watched> {
        vec![Watched { pool: Arc::new(self.core().clone()) }]
    }
}

impl Watchable for Watched {
    fn watched(&self) -> Vec<Watched> {
        vec![self.clone()]
    }
}

impl<W: Watchable> Watchable for [W] {
    fn watched(&self) -> Vec<Watched> {
        self.iter().flat_map(Watchable::watched).collect()
    }
}

impl<W: Watchable> Watchable for Vec<W> {
    fn watched(&self) -> Vec<Watched> {
        self.as_slice().watched()
    }
}

/// A pool whose type of database and key are forgotten. Like a [`Pool`], it keeps the pool.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_sqlx::{DatabaseSettings, SqlitePool, Watchable};
///
/// let pool = SqlitePool::connect_lazy(DatabaseSettings::new("sqlite::memory:")?)?;
/// for watched in pool.watched() {
///     println!("{}: {}", watched.place(), watched.status()); // file:sqlx-in-memory-1: in use 0 of 1, idle 0, waiting 0
/// }
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Watched {
    pool: Arc<dyn Watch>,
}

impl Watched {
    /// Name of the pool: the section of the configuration, or `pool`.
    pub fn name(&self) -> String {
        self.pool.status().name
    }

    /// Where its database is.
    pub fn place(&self) -> &Place {
        &self.pool.tally().place
    }

    /// The database as OpenTelemetry names it: `postgresql`, `mysql`, `mariadb` or `sqlite`. Until the first connect MariaDB passes for
    /// `mysql`.
    pub fn system(&self) -> &'static str {
        self.pool.tally().system()
    }

    /// As [`Pool::status`].
    pub fn status(&self) -> Status {
        self.pool.status()
    }

    /// As [`Pool::holders`].
    pub fn holders(&self) -> Vec<Holder> {
        self.pool.holders()
    }

    /// As [`Pool::timings`].
    pub fn timings(&self) -> Timings {
        self.pool.timings()
    }

    /// As [`Pool::sites`].
    pub fn sites(&self) -> Vec<SiteTimings> {
        self.pool.sites()
    }

    /// As [`Pool::settings`].
    pub fn settings(&self) -> Settings {
        self.pool.settings()
    }

    /// As [`Pool::observe`].
    pub fn observe(&self, observer: impl Observer) {
        self.pool.observe(Box::new(observer));
    }

    /// How many acquires ended with each verdict, timed out or turned away.
    pub fn refused(&self) -> Vec<(Verdict, u64)> {
        self.pool.tally().refused()
    }

    /// The latest acquires that ended with an error, 32 at most, the newest last.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.pool.tally().refusals()
    }

    /// Connects that failed, by what OpenTelemetry calls `error.type`: the database's own code, or a word of ours.
    pub fn connect_errors(&self) -> BTreeMap<String, u64> {
        self.pool.tally().connect_errors()
    }

    /// Statements that ran out of time: ended by the server's limit, and given up by ours. Watched ones only.
    pub fn statement_timeouts(&self) -> StatementTimeouts {
        self.pool.tally().statement_timeouts()
    }

    /// As [`Pool::advice`].
    pub fn advice(&self) -> Vec<Advice> {
        self.pool.advice()
    }

    /// Notes what the telemetry of a statement needs.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        self.pool.tally()
    }

    /// A handle that does not keep the pool.
    pub(crate) fn downgrade(&self) -> Box<dyn Fn() -> Option<Self> + Send + Sync> {
        self.pool.downgrade()
    }
}

/// Name and numbers; no URL.
impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        write!(f, "Watched({}: {status})", status.name)
    }
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

/// Statements that ran out of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatementTimeouts {
    /// Ended by the server, or by SQLite's own thread.
    pub server: u64,
    /// Given up by us, because the server did not.
    pub client: u64,
}

/// A pool as an object.
trait Watch: Send + Sync {
    fn status(&self) -> Status;
    fn holders(&self) -> Vec<Holder>;
    fn timings(&self) -> Timings;
    fn sites(&self) -> Vec<SiteTimings>;
    fn settings(&self) -> Settings;
    fn observe(&self, observer: Box<dyn Observer>);
    fn advice(&self) -> Vec<Advice>;
    fn tally(&self) -> &Arc<Tally>;
    fn downgrade(&self) -> Box<dyn Fn() -> Option<Watched> + Send + Sync>;
}

impl<DB: Backend> Watch for pool_core::Pool<Sqlx<DB>> {
    fn status(&self) -> Status {
        self.manager().tally().complete(self.status())
    }

    fn holders(&self) -> Vec<Holder> {
        self.holders()
    }

    fn timings(&self) -> Timings {
        self.timings()
    }

    fn sites(&self) -> Vec<SiteTimings> {
        self.sites()
    }

    fn settings(&self) -> Settings {
        self.settings()
    }

    fn observe(&self, mut observer: Box<dyn Observer>) {
        self.observe(move |event: &Event| observer.on_event(event));
    }

    fn advice(&self) -> Vec<Advice> {
        let (settings, status, timings, sites) = (self.settings(), Watch::status(self), self.timings(), self.sites());
        let (database, tally) = (self.manager().settings(), self.manager().tally());
        let server = tally.server();
        let siblings = server.as_ref().map(|server| siblings::of(tally, &server.login));
        advice(&Facts {
            database,
            settings: &settings,
            server: server.as_ref(),
            siblings: &siblings.unwrap_or_default(),
            swallowed: tally.is_swallowed(),
            past: tally.past().as_ref(),
            status: &status,
            timings: &timings,
            sites: &sites,
        })
    }

    fn tally(&self) -> &Arc<Tally> {
        self.manager().tally()
    }

    fn downgrade(&self) -> Box<dyn Fn() -> Option<Watched> + Send + Sync> {
        let weak: WeakPool<Sqlx<DB>> = self.downgrade();
        Box::new(move || weak.upgrade().map(|pool| Watched { pool: Arc::new(pool) }))
    }
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
    /// What is to be done when a connection has been opened.
    first_connect: Mutex<Option<Box<dyn FnOnce() + Send>>>,
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
    recorders: Recorders,
}

/// How long what the server said of its limits counts as current.
const CURRENT: Duration = Duration::from_secs(600);
/// Refusals that are kept.
const KEPT: usize = 32;
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
            first_connect: Mutex::default(),
            past: Mutex::default(),
            refused: Default::default(),
            without_place: AtomicU64::new(0),
            refusals: Mutex::default(),
            connect_errors: Mutex::default(),
            said: Mutex::default(),
            by_server: AtomicU64::new(0),
            by_client: AtomicU64::new(0),
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

    /// Who is told when a statement has ended.
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

    /// Has this done once, when a connection has been opened.
    pub(crate) fn at_first_connect(&self, then: impl FnOnce() + Send + 'static) {
        *lock(&self.first_connect) = Some(Box::new(then));
    }

    /// A connection has been opened.
    pub(crate) fn connected(&self) {
        let then = lock(&self.first_connect).take();
        if let Some(then) = then {
            then();
        }
    }

    /// The pool has got another size, after this.
    pub(crate) fn resized(&self, past: Past) {
        *lock(&self.past) = Some(past);
    }

    fn past(&self) -> Option<Past> {
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
        self.recorders.notices.refused(&self.name, verdict, said);
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

    /// The server has ended a statement that ran too long.
    pub(crate) fn timed_out_by_server(&self, error: &Error) {
        self.by_server.fetch_add(1, Ordering::Relaxed);
        self.recorders.notices.timed_out(&self.name, error);
    }

    /// We have given up a statement that ran too long.
    pub(crate) fn timed_out_by_client(&self, error: &Error) {
        self.by_client.fetch_add(1, Ordering::Relaxed);
        self.recorders.notices.timed_out(&self.name, error);
    }

    fn refused(&self) -> Vec<(Verdict, u64)> {
        VERDICTS.into_iter().zip(self.refused.iter().map(|n| n.load(Ordering::Relaxed))).collect()
    }

    fn refusals(&self) -> Vec<Refusal> {
        lock(&self.refusals).iter().cloned().collect()
    }

    fn connect_errors(&self) -> BTreeMap<String, u64> {
        lock(&self.connect_errors).clone()
    }

    fn statement_timeouts(&self) -> StatementTimeouts {
        let [server, client] = [&self.by_server, &self.by_client].map(|n| n.load(Ordering::Relaxed));
        StatementTimeouts { server, client }
    }
}

/// Nothing under these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, feature = "sqlite", feature = "postgres"))]
mod tests {
    use super::*;
    use crate::{DatabaseSettings, PgPool, SqlitePool};

    fn settings(url: &str) -> DatabaseSettings {
        DatabaseSettings::new(url).expect("a good url").with_connection_timeout(Duration::from_secs(1))
    }

    #[tokio::test]
    async fn refusals_are_kept_with_their_reason_and_counted_by_verdict() {
        let settings = settings("sqlite::memory:").with_pool_size(1).with_max_overflow(0);
        let pool = SqlitePool::connect(settings).await.unwrap();
        let _held = pool.acquire().await.unwrap();
        for _ in 0..KEPT + 1 {
            pool.acquire_timeout(Duration::ZERO).await.unwrap_err();
        }
        let watched = &pool.watched()[0];
        let refused = watched.refused();
        assert_eq!(refused[0], (Verdict::Exhausted, KEPT as u64 + 1));
        assert!(refused[1..].iter().all(|(_, n)| *n == 0), "{refused:?}");
        let refusals = watched.refusals();
        assert_eq!((refusals.len(), refusals[0].verdict), (KEPT, Verdict::Exhausted));
        assert!(refusals[0].site.file().ends_with("watch.rs"), "{}", refusals[0].site);
        assert!(refusals[0].message.contains("in use 1 of 1"), "{}", refusals[0].message);
    }

    #[tokio::test]
    async fn connect_errors_are_counted_by_type() {
        // The caller may give up before the attempt has, which is counted when it ends.
        async fn fail(pool: &PgPool) -> Vec<String> {
            pool.acquire_timeout(Duration::from_millis(100)).await.unwrap_err();
            let watched = &pool.watched()[0];
            while watched.connect_errors().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            watched.connect_errors().into_keys().collect()
        }
        // An attempt has what is left of this: enough to be refused.
        let refusing = settings("postgres://app@127.0.0.1:1/app").with_connection_timeout(Duration::from_secs(60));
        assert_eq!(fail(&PgPool::connect_lazy(refusing).unwrap()).await, ["connection_refused"]);

        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://app@{}/app", silent.local_addr().unwrap());
        let waiting = settings(&url).with_connection_timeout(Duration::from_millis(50));
        assert_eq!(fail(&PgPool::connect_lazy(waiting).unwrap()).await, ["connect_timeout"]);
    }

    #[test]
    fn types_of_errors_that_never_end_share_one_count() {
        let tally = Tally::new(String::new(), Place::default(), "sqlite");
        (0..TYPES + 5).for_each(|i| tally.connect_failed(&format!("{i:05}")));
        tally.connect_failed("00000");
        let counts = tally.connect_errors();
        assert_eq!((counts.len(), counts["00000"], counts["_OTHER"]), (TYPES + 1, 2, 5));
    }

    #[test]
    fn places_hold_no_secret() {
        let place = |url| PgPool::connect_lazy(settings(url)).unwrap().watched()[0].place().to_string();
        assert_eq!(place("postgres://app:hunter2@db.example.com/tracks"), "db.example.com:5432/tracks");
        assert_eq!(place("postgres://app:hunter2@localhost/tracks?host=/run/pg"), "/run/pg/tracks");
        let file = SqlitePool::connect_lazy(settings("sqlite://music/tracks.db")).unwrap();
        assert_eq!(file.watched()[0].place().to_string(), "music/tracks.db");
    }
}
