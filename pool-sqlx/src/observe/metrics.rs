// Included once for each version of OpenTelemetry, which is `otel` here.

use crate::{
    CloseReason, Histogram, MaxOverflow, Place, SiteTimings, Status, Timings, Totals, Watchable, Watched,
    observe::{
        WeakWatched,
        installed::{self, Exported, Installed},
        lock,
        names::{self, Metric, MetricKind},
        shapes::Shapes,
    },
    session::{Ended, Record},
};
use otel::{
    InstrumentationScope, KeyValue,
    metrics::{Counter, Meter, MeterProvider},
};
use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicBool, Ordering},
};

/// Has a provider's readers told of these pools.
///
/// Call it after the provider was built. A pool has one provider at a time: installed again it goes on there, where the other stopped, and a
/// line in the log says so. For two outlets, give one provider two readers.
///
/// Pools that are dropped are told of no more; the provider does not keep them, so shut it down before they are dropped if the last interval
/// matters. If nobody reads the metrics, one warning says what may be the matter, provided that there is a tokio runtime.
pub fn install(provider: &dyn MeterProvider, pools: &(impl Watchable + ?Sized)) {
    let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"));
    let scope = scope.with_version(env!("CARGO_PKG_VERSION")).with_schema_url(names::SCHEMA_URL).build();
    let meter = provider.meter_with_scope(scope);
    let sources = installed::named(VERSION, pools).into_iter().map(|pool| Source::new(&meter, pool)).collect();
    let board = Arc::new(Board::new(&meter, sources));
    board.observe(&meter);
    installed::warn_unless_read(VERSION, move || board.is_missed());
}

/// As [`install`], for the provider that is the global one at this moment.
///
/// One that is set later does not get anything: set it first.
pub fn install_global(pools: &(impl Watchable + ?Sized)) {
    install(&*otel::global::meter_provider(), pools);
}

/// The pools of one install.
struct Board {
    sources: Vec<Source>,
    times: Vec<otel::metrics::Histogram<f64>>,
    site_times: otel::metrics::Histogram<f64>,
    counters: Vec<Counter<u64>>,
    cycle: Mutex<Cycle>,
    /// Whether any reader has ever asked.
    read: AtomicBool,
}

/// A pool, which is not kept alive.
struct Source {
    pool: WeakWatched,
    name: KeyValue,
    exported: Arc<Mutex<Exported>>,
    /// Gone when the pool is, or has been installed again.
    current: Weak<dyn Record>,
}

impl Source {
    fn new(meter: &Meter, Installed { name, pool, exported }: Installed) -> Self {
        let statements: Arc<dyn Record> = Arc::new(Statements::new(meter, pool.place()));
        let current = Arc::downgrade(&statements);
        if pool.tally().recorders().install(VERSION, statements).is_some() {
            tracing::warn!(
                target: "pool",
                pool = name,
                "pool {name} was installed for OpenTelemetry {VERSION} before: from now on only the provider of this install has its metrics; \
                 for two outlets give one provider two readers, see guide/watching"
            );
        }
        Self { pool: pool.downgrade(), name: KeyValue::new(names::POOL_NAME, name), exported, current }
    }

    fn pool(&self) -> Option<Watched> {
        if self.current.strong_count() == 0 { None } else { self.pool.upgrade() }
    }
}

/// One round of a reader through all callbacks.
struct Cycle {
    /// The callback that ran last, if any has. One that does not come after it begins another round: which is the first of a round is for
    /// the views to say, since the callback of what they drop does not run.
    last: Option<usize>,
    news: Vec<News>,
}

/// The numbers of a pool in this round: the same for all callbacks.
struct News {
    name: KeyValue,
    status: Status,
    min_idle: u32,
}

/// Numbers of this moment.
const NUMBERS: [(&Metric, Read<News, i64>); 6] = [
    (&names::COUNT, |news, tell| {
        let idle = news.status.idle;
        tell(idle.into(), Some((names::STATE, "idle")));
        tell(news.status.open.saturating_sub(idle).into(), Some((names::STATE, "used")));
    }),
    (&names::MAX, |news, tell| {
        if let MaxOverflow::Limited(overflow) = news.status.max_overflow {
            tell(i64::from(news.status.pool_size) + i64::from(overflow), None);
        }
    }),
    (&names::IDLE_MAX, |news, tell| tell(news.status.pool_size.into(), None)),
    (&names::IDLE_MIN, |news, tell| tell(news.min_idle.into(), None)),
    (&names::PENDING, |news, tell| tell(news.status.waiting.into(), None)),
    (&names::POOL_SIZE, |news, tell| tell(news.status.pool_size.into(), None)),
];

/// Numbers that only grow. What is new is added to counters, and not observed as a total: a pool that was made anew begins at zero, and its
/// series goes on.
const COUNTS: [(&Metric, Read<Counted, u64>); 6] = [
    (&names::TIMEOUTS, |(_, totals), tell| tell(totals.timeouts, None)),
    (&names::ACQUIRES, |(_, totals), tell| {
        for (outcome, n) in [
            ("immediate", totals.acquired.saturating_sub(totals.waited)),
            ("waited", totals.waited),
            ("timeout", totals.timeouts),
            ("refused", totals.refused),
            ("connect_error", totals.connect_failures),
            ("cancelled", totals.cancelled),
            ("closed", totals.rejected_closed),
        ] {
            tell(n, Some((names::OUTCOME, outcome)));
        }
    }),
    (&names::ACQUIRE_ERRORS, |(pool, _), tell| {
        pool.refused().iter().for_each(|(verdict, n)| tell(*n, Some((names::ERROR_TYPE, verdict.code()))));
    }),
    (&names::CLOSED, |(_, totals), tell| {
        for reason in CloseReason::ALL {
            tell(totals.closed_by.of(reason), Some((names::REASON, reason.as_str())));
        }
    }),
    (&names::CONNECTION_ERRORS, |(pool, _), tell| {
        let errors = pool.connect_errors();
        // The commonest are there from the start: a rate misses a series' first value.
        for error_type in ["connection_refused", "connect_timeout"] {
            if !errors.contains_key(error_type) {
                tell(0, Some((names::ERROR_TYPE, error_type)));
            }
        }
        errors.iter().for_each(|(error_type, n)| tell(*n, Some((names::ERROR_TYPE, error_type))));
    }),
    (&names::STATEMENT_TIMEOUTS, |(pool, _), tell| {
        tell(pool.statement_timeouts_by_server(), Some((names::SOURCE, "server")));
        tell(pool.statement_timeouts_by_client(), Some((names::SOURCE, "client")));
    }),
];

/// Distributions of a pool. OpenTelemetry has no observable ones, so what is new is recorded.
const TIMES: [(&Metric, Pick); 3] = [
    (&names::WAIT_TIME, |timings| &timings.acquire_wait),
    (&names::USE_TIME, |timings| &timings.hold),
    (&names::CREATE_TIME, |timings| &timings.connect),
];

/// Begins an instrument as its row in the table of names describes it. The builders have no trait in common.
macro_rules! instrument {
    ($meter:ident.$kind:ident($metric:expr)) => {
        $meter.$kind($metric.name).with_unit($metric.unit).with_description($metric.description)
    };
}

impl Board {
    fn new(meter: &Meter, sources: Vec<Source>) -> Self {
        Self {
            sources,
            times: TIMES.iter().map(|(metric, _)| histogram(meter, metric)).collect(),
            site_times: histogram(meter, &names::SITE_USE_TIME),
            counters: COUNTS.iter().map(|(metric, _)| instrument!(meter.u64_counter(metric)).build()).collect(),
            cycle: Mutex::new(Cycle { last: None, news: Vec::new() }),
            read: AtomicBool::new(false),
        }
    }

    /// Whether there is something to read, and nobody ever did.
    fn is_missed(&self) -> bool {
        !self.read.load(Ordering::Relaxed) && self.sources.iter().any(|source| source.pool().is_some())
    }

    /// Makes the observable instruments. A callback runs while its reader holds the pipeline's lock: it may record, and must not make
    /// instruments.
    ///
    /// Only these have callbacks, and a view may drop any of them. So a counter or a distribution has one of its own name beside it, which
    /// never has a series: whatever the views leave, we are asked.
    fn observe(self: &Arc<Self>, meter: &Meter) {
        let silent: Read<News, i64> = |_, _| {};
        let others = names::METRICS.iter().filter(|metric| metric.kind != MetricKind::UpDownCounter);
        let all = NUMBERS.into_iter().chain(others.map(|metric| (metric, silent)));
        for (turn, (metric, read)) in all.enumerate() {
            let board = Arc::clone(self);
            instrument!(meter.i64_observable_up_down_counter(metric))
                .with_callback(move |observer| board.each(turn, read, |n, attributes| observer.observe(n, attributes)))
                .build();
        }
    }

    /// Tells a callback of every pool that is still there.
    fn each(&self, turn: usize, read: Read<News, i64>, observe: impl Fn(i64, &[KeyValue])) {
        self.read.store(true, Ordering::Relaxed);
        let mut cycle = lock(&self.cycle);
        if cycle.last.is_none_or(|last| turn <= last) {
            cycle.news = self.sources.iter().filter_map(|source| self.look(source)).collect();
        }
        cycle.last = Some(turn);
        for news in &cycle.news {
            read(news, &mut |n, attribute| news.with(attribute, |attributes| observe(n, attributes)));
        }
    }

    /// Reads a pool, and replays what has happened since the last time. The reader takes counters and distributions after its callbacks.
    fn look(&self, source: &Source) -> Option<News> {
        let pool = source.pool()?;
        let mut exported = lock(&source.exported);
        let exported = &mut *exported;
        let news = News { name: source.name.clone(), status: pool.status(), min_idle: pool.settings().min_idle };
        let (timings, sites) = (pool.timings(), pool.sites());
        let counted = (pool, news.status.totals.clone());
        for (i, ((_, read), counter)) in COUNTS.into_iter().zip(&self.counters).enumerate() {
            read(&counted, &mut |n, attribute| {
                let n = exported.news(i, attribute.map_or("", |(_, word)| word), n);
                // Nothing at all makes a series, too.
                news.with(attribute, |attributes| counter.add(n, attributes));
            });
        }
        for (i, ((_, of), into)) in TIMES.into_iter().zip(&self.times).enumerate() {
            let times = exported.new_times(i, None, of(&timings).clone());
            news.with(None, |attributes| record(into, &times, attributes));
        }
        for SiteTimings { site, hold, .. } in sites {
            let times = exported.new_times(TIMES.len(), Some(site), hold);
            let site = site.name().map_or_else(|| site.to_string(), str::to_owned);
            news.with(Some((names::SITE, &site)), |attributes| record(&self.site_times, &times, attributes));
        }
        Some(news)
    }
}

impl News {
    /// The pool's name, and the attribute beside it.
    fn with(&self, attribute: Option<(&'static str, &str)>, tell: impl FnOnce(&[KeyValue])) {
        match attribute {
            None => tell(std::slice::from_ref(&self.name)),
            Some((key, word)) => tell(&[self.name.clone(), KeyValue::new(key, word.to_owned())]),
        }
    }
}

/// A pool and its totals, all of one reading.
type Counted = (Watched, Totals);

/// Picks a distribution.
type Pick = fn(&Timings) -> &Histogram;

/// Reads numbers of a pool, each with an attribute beside the pool's name.
type Read<Of, T> = fn(&Of, &mut dyn FnMut(T, Option<(&'static str, &str)>));

/// The pool's own histogram has every limit of ours as an edge, so each value gets into its right bucket, and the sum is kept.
fn record(into: &otel::metrics::Histogram<f64>, times: &Histogram, attributes: &[KeyValue]) {
    for (value, n) in times.stand_ins() {
        (0..n).for_each(|_| into.record(value.as_secs_f64(), attributes));
    }
}

/// Records the statements of a pool as they end.
struct Statements {
    duration: otel::metrics::Histogram<f64>,
    rows: otel::metrics::Histogram<u64>,
    /// What all of them have in common: cheap to clone.
    place: Vec<KeyValue>,
    shapes: Shapes,
}

impl Statements {
    fn new(meter: &Meter, place: &Place) -> Self {
        let rows = instrument!(meter.u64_histogram(names::RETURNED_ROWS));
        let text =
            |key, value: &Option<String>| value.as_deref().map(|value| KeyValue::new(key, Arc::<str>::from(value)));
        let known = [text(names::NAMESPACE, &place.database), text(names::SERVER_ADDRESS, &place.host)];
        Self {
            duration: histogram(meter, &names::OPERATION_DURATION),
            rows: rows.with_boundaries(boundaries(&names::RETURNED_ROWS)).build(),
            place: known.into_iter().flatten().collect(),
            shapes: Shapes::default(),
        }
    }
}

impl Record for Statements {
    fn record(&self, ended: &Ended<'_>) {
        let mut attributes = Vec::with_capacity(self.place.len() + 7);
        attributes.extend_from_slice(&self.place);
        attributes.push(KeyValue::new(names::SYSTEM, ended.system));
        if let Some(port) = ended.port {
            attributes.push(KeyValue::new(names::SERVER_PORT, i64::from(port)));
        }
        self.shapes.attributes(ended, |key, value| attributes.push(KeyValue::new(key, value.to_owned())));
        self.duration.record(ended.took.as_secs_f64(), &attributes);
        if let Some(rows) = ended.rows {
            self.rows.record(rows, &attributes);
        }
    }
}

fn histogram(meter: &Meter, metric: &Metric) -> otel::metrics::Histogram<f64> {
    instrument!(meter.f64_histogram(metric)).with_boundaries(boundaries(metric)).build()
}

fn boundaries(metric: &Metric) -> Vec<f64> {
    match metric.kind {
        MetricKind::Histogram(limits) => limits.to_vec(),
        MetricKind::UpDownCounter | MetricKind::Counter => Vec::new(),
    }
}
