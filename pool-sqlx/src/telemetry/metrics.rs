// Included once for each version of OpenTelemetry, which is `otel` here.

use super::{
    names::{self, Metric, MetricKind},
    statement::{Ended, Record},
};
use crate::{
    CloseReason, Histogram, MaxOverflow, Place, Site, Status, Verdict, Watchable, Watched, watch::StatementTimeouts,
};
use otel::{
    InstrumentationScope, KeyValue, StringValue,
    metrics::{Meter, MeterProvider},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Has a provider's readers told of these pools.
///
/// Call it once for each provider, after it was built. Pools that are dropped are told of no more; the provider does not keep them, so shut it
/// down before they are dropped if the last interval matters. If nobody reads the metrics, one warning says what may be the matter.
pub fn install(provider: &dyn MeterProvider, pools: &(impl Watchable + ?Sized)) {
    let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"));
    let scope = scope.with_version(env!("CARGO_PKG_VERSION")).with_schema_url(names::SCHEMA_URL).build();
    let meter = provider.meter_with_scope(scope);
    let pools = super::unique_names(pools);
    pools.iter().for_each(|(_, pool)| pool.tally().recorders().add(Box::new(Statements::new(&meter, pool.place()))));
    let read = Arc::new(AtomicBool::new(false));
    let board = Arc::new(Board::new(&meter, pools, Arc::clone(&read)));
    board.observe(&meter);
    super::warn_unless_read(read, VERSION);
}

/// As [`install`], for the provider that is the global one at this moment.
///
/// One that is set later does not get anything: set it first.
pub fn install_global(pools: &(impl Watchable + ?Sized)) {
    install(&*otel::global::meter_provider(), pools);
}

/// The pools of one install, and what was told of them already.
struct Board {
    pools: Vec<Source>,
    times: Times,
    cycle: Mutex<Cycle>,
    /// Whether any reader has ever asked.
    read: Arc<AtomicBool>,
}

/// A pool, which is not kept alive, and its name.
struct Source {
    pool: Box<dyn Fn() -> Option<Watched> + Send + Sync>,
    name: KeyValue,
}

/// Distributions. OpenTelemetry has no observable ones.
struct Times {
    wait: otel::metrics::Histogram<f64>,
    hold: otel::metrics::Histogram<f64>,
    create: otel::metrics::Histogram<f64>,
    site: otel::metrics::Histogram<f64>,
}

/// One round of a reader through all callbacks.
struct Cycle {
    /// The callback that ran last. One that does not come after it begins another round.
    last: usize,
    news: Vec<Option<News>>,
    told: Vec<Told>,
}

/// The numbers of a pool in this round: the same for all callbacks.
struct News {
    name: KeyValue,
    status: Status,
    min_idle: u32,
    refused: Vec<(Verdict, u64)>,
    connect_errors: BTreeMap<String, u64>,
    statement_timeouts: StatementTimeouts,
}

/// What has been replayed of a pool's distributions.
#[derive(Default)]
struct Told {
    wait: Option<Histogram>,
    hold: Option<Histogram>,
    create: Option<Histogram>,
    sites: HashMap<Site, Option<Histogram>>,
}

impl Board {
    fn new(meter: &Meter, pools: Vec<(String, Watched)>, read: Arc<AtomicBool>) -> Self {
        let told = pools.iter().map(|_| Told::default()).collect();
        let source = |(name, pool): (String, Watched)| Source {
            pool: pool.downgrade(),
            name: KeyValue::new(names::POOL_NAME, name),
        };
        Self {
            pools: pools.into_iter().map(source).collect(),
            times: Times {
                wait: histogram(meter, &names::WAIT_TIME),
                hold: histogram(meter, &names::USE_TIME),
                create: histogram(meter, &names::CREATE_TIME),
                site: histogram(meter, &names::SITE_USE_TIME),
            },
            cycle: Mutex::new(Cycle { last: 0, news: Vec::new(), told }),
            read,
        }
    }

    /// Makes the observable instruments. A callback runs while its reader holds the pipeline's lock: it may record, and must not make
    /// instruments.
    fn observe(self: &Arc<Self>, meter: &Meter) {
        let numbers: [(&Metric, Read<i64>); 6] = [
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
        let counts: [(&Metric, Read<u64>); 6] = [
            (&names::TIMEOUTS, |news, tell| tell(news.status.totals.timeouts, None)),
            (&names::ACQUIRES, |news, tell| {
                let totals = &news.status.totals;
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
            (&names::ACQUIRE_ERRORS, |news, tell| {
                news.refused.iter().for_each(|(verdict, n)| tell(*n, Some((names::ERROR_TYPE, verdict.code()))));
            }),
            (&names::CLOSED, |news, tell| {
                for reason in CloseReason::ALL {
                    tell(news.status.totals.closed_by.of(reason), Some((names::REASON, reason.as_str())));
                }
            }),
            (&names::CONNECTION_ERRORS, |news, tell| {
                // The commonest are there from the start: a rate misses a series' first value.
                for error_type in ["connection_refused", "connect_timeout"] {
                    if !news.connect_errors.contains_key(error_type) {
                        tell(0, Some((names::ERROR_TYPE, error_type)));
                    }
                }
                news.connect_errors.iter().for_each(|(error_type, n)| tell(*n, Some((names::ERROR_TYPE, error_type))));
            }),
            (&names::STATEMENT_TIMEOUTS, |news, tell| {
                tell(news.statement_timeouts.server, Some((names::SOURCE, "server")));
                tell(news.statement_timeouts.client, Some((names::SOURCE, "client")));
            }),
        ];
        for (turn, (metric, read)) in numbers.into_iter().enumerate() {
            let board = Arc::clone(self);
            meter
                .i64_observable_up_down_counter(metric.name)
                .with_unit(metric.unit)
                .with_description(metric.description)
                .with_callback(move |observer| board.each(turn, read, |n, attributes| observer.observe(n, attributes)))
                .build();
        }
        for (turn, (metric, read)) in (numbers.len()..).zip(counts) {
            let board = Arc::clone(self);
            meter
                .u64_observable_counter(metric.name)
                .with_unit(metric.unit)
                .with_description(metric.description)
                .with_callback(move |observer| board.each(turn, read, |n, attributes| observer.observe(n, attributes)))
                .build();
        }
    }

    /// Tells a callback of every pool that is still there.
    fn each<T>(&self, turn: usize, read: Read<T>, observe: impl Fn(T, &[KeyValue])) {
        self.read.store(true, Ordering::Relaxed);
        // Nothing under it can panic half-way.
        let mut cycle = self.cycle.lock().unwrap_or_else(PoisonError::into_inner);
        if turn <= cycle.last {
            self.look(&mut cycle);
        }
        cycle.last = turn;
        for news in cycle.news.iter().flatten() {
            read(news, &mut |value, attribute| match attribute {
                None => observe(value, std::slice::from_ref(&news.name)),
                Some((key, word)) => observe(value, &[news.name.clone(), KeyValue::new(key, word.to_owned())]),
            });
        }
    }

    /// Reads all pools, and replays what has happened since the last time.
    fn look(&self, cycle: &mut Cycle) {
        cycle.news.clear();
        for (source, told) in self.pools.iter().zip(&mut cycle.told) {
            let pool = (source.pool)();
            cycle.news.push(pool.map(|pool| {
                self.replay(&pool, told, &source.name);
                News {
                    name: source.name.clone(),
                    status: pool.status(),
                    min_idle: pool.settings().min_idle,
                    refused: pool.refused(),
                    connect_errors: pool.connect_errors(),
                    statement_timeouts: pool.statement_timeouts(),
                }
            }));
        }
    }

    fn replay(&self, pool: &Watched, told: &mut Told, name: &KeyValue) {
        let timings = pool.timings();
        let pool_only = std::slice::from_ref(name);
        replay(&self.times.wait, timings.acquire_wait, &mut told.wait, pool_only);
        replay(&self.times.hold, timings.hold, &mut told.hold, pool_only);
        replay(&self.times.create, timings.connect, &mut told.create, pool_only);
        for timings in pool.sites() {
            let site = match timings.site.name() {
                Some(name) => StringValue::from(name),
                None => timings.site.to_string().into(),
            };
            let attributes = [name.clone(), KeyValue::new(names::SITE, site)];
            replay(&self.times.site, timings.hold, told.sites.entry(timings.site).or_default(), &attributes);
        }
    }
}

/// Reads numbers of a pool, each with an attribute beside the pool's name.
type Read<T> = fn(&News, &mut dyn FnMut(T, Option<(&'static str, &str)>));

/// Records what is new. The pool's own histogram has every limit of ours as an edge, so each value gets into its right bucket, and the sum is
/// kept.
fn replay(into: &otel::metrics::Histogram<f64>, now: Histogram, told: &mut Option<Histogram>, attributes: &[KeyValue]) {
    let news = told.as_ref().map(|told| now.since(told));
    for (value, times) in news.as_ref().unwrap_or(&now).stand_ins() {
        let seconds = value.as_secs_f64();
        (0..times).for_each(|_| into.record(seconds, attributes));
    }
    *told = Some(now);
}

/// Records the statements of a pool as they end.
struct Statements {
    duration: otel::metrics::Histogram<f64>,
    rows: otel::metrics::Histogram<u64>,
    /// What all of them have in common: cheap to clone.
    place: Vec<KeyValue>,
}

impl Statements {
    fn new(meter: &Meter, place: &Place) -> Self {
        let rows = &names::RETURNED_ROWS;
        let rows = meter.u64_histogram(rows.name).with_unit(rows.unit).with_description(rows.description);
        let text =
            |key, value: &Option<String>| value.as_deref().map(|value| KeyValue::new(key, Arc::<str>::from(value)));
        let known = [text(names::NAMESPACE, &place.database), text(names::SERVER_ADDRESS, &place.host)];
        Self {
            duration: histogram(meter, &names::OPERATION_DURATION),
            rows: rows.with_boundaries(boundaries(&names::RETURNED_ROWS)).build(),
            place: known.into_iter().flatten().collect(),
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
        ended.each(|key, value| attributes.push(KeyValue::new(key, value.to_owned())));
        self.duration.record(ended.took.as_secs_f64(), &attributes);
        if let Some(rows) = ended.rows {
            self.rows.record(rows, &attributes);
        }
    }
}

fn histogram(meter: &Meter, metric: &Metric) -> otel::metrics::Histogram<f64> {
    meter
        .f64_histogram(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.description)
        .with_boundaries(boundaries(metric))
        .build()
}

fn boundaries(metric: &Metric) -> Vec<f64> {
    match metric.kind {
        MetricKind::Histogram(limits) => limits.to_vec(),
        MetricKind::UpDownCounter | MetricKind::Counter => Vec::new(),
    }
}
