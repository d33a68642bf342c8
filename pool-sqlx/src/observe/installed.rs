//! What is known of the pools that metrics were installed for, whatever the version of OpenTelemetry.

use crate::{Histogram, Site, Watchable, Watched, session::Tally};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

/// What has been told of a pool. It stays when the provider changes: nothing is told twice.
#[derive(Default)]
pub(crate) struct Told {
    pub(super) wait: Option<Histogram>,
    pub(super) hold: Option<Histogram>,
    pub(super) create: Option<Histogram>,
    pub(super) sites: HashMap<Site, Option<Histogram>>,
    /// By the number of the counter, and the value of its attribute.
    counts: HashMap<(usize, String), u64>,
}

impl Told {
    /// How much of this count has not been told yet, which then it has.
    pub(super) fn news(&mut self, counter: usize, attribute: &str, now: u64) -> u64 {
        let told = self.counts.entry((counter, attribute.to_owned())).or_default();
        let news = now.saturating_sub(*told);
        *told += news;
        news
    }
}

/// The pools that have a name in the metrics.
static NAMES: Mutex<Vec<Named>> = Mutex::new(Vec::new());

struct Named {
    name: String,
    tally: Weak<Tally>,
    pool: Box<dyn Fn() -> Option<Watched> + Send + Sync>,
}

/// Each of these pools once, with a name that no other pool of the process has: beside a `pool` another one is `pool#2`.
///
/// A pool keeps its name. That of a pool that is gone is free again, so one that is made anew goes on under it.
pub(super) fn named(pools: &(impl Watchable + ?Sized)) -> Vec<(String, Watched)> {
    let mut found: Vec<(String, Watched)> = Vec::new();
    // Nothing under it can panic half-way.
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.retain(|named| (named.pool)().is_some());
    for pool in pools.watched() {
        if found.iter().any(|(_, known)| Arc::ptr_eq(known.tally(), pool.tally())) {
            continue;
        }
        let known = names.iter().find(|named| std::ptr::eq(named.tally.as_ptr(), Arc::as_ptr(pool.tally())));
        let name = known.map(|named| named.name.clone()).unwrap_or_else(|| {
            let name = free(&names, pool.name());
            names.push(Named { name: name.clone(), tally: Arc::downgrade(pool.tally()), pool: pool.downgrade() });
            name
        });
        found.push((name, pool));
    }
    found
}

fn free(names: &[Named], name: String) -> String {
    let is_free = |name: &String| names.iter().all(|named| named.name != *name);
    if is_free(&name) {
        return name;
    }
    let mut numbered = (2..).map(|n| format!("{name}#{n}"));
    let unique = numbered.find(is_free).expect("BUG: numbers do not end");
    tracing::warn!(target: "pool", pool = name, "two pools are called {name}: metrics call this one {unique}; see with_name");
    unique
}

/// Warns once, if by then nobody has read metrics that are there to be read: OpenTelemetry itself loses them without a word.
pub(super) fn warn_unless_read(version: &'static str, is_missed: impl Fn() -> bool + Send + 'static) {
    // Without a runtime there is nobody to wait for it.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let asked = std::env::var("OTEL_METRIC_EXPORT_INTERVAL").ok().and_then(|millis| millis.parse().ok());
    // The SDK's own default is a minute. What a program gives its reader is not to be seen from here.
    let interval = asked.map_or(Duration::from_secs(60), Duration::from_millis);
    let patience = interval * 3 / 2;
    runtime.spawn(async move {
        tokio::time::sleep(patience).await;
        if is_missed() {
            tracing::warn!(
                target: "pool",
                "nobody has read the metrics of the pools in the {patience:?} since they were installed for OpenTelemetry {version}, which is \
                 one and a half export intervals of {interval:?} (OTEL_METRIC_EXPORT_INTERVAL): was the telemetry set up after that, or with \
                 another version (features otel-0-33, otel-0-32), does nothing collect them, or is a longer interval set in code? see \
                 guide/watching"
            );
        }
    });
}
