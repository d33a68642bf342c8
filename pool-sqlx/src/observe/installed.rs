//! The pools that metrics are installed for, whatever the version of OpenTelemetry.

use super::{WeakWatched, lock};
use crate::{Histogram, Site, Watchable, Watched, session::Tally};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

/// What the metrics of one version have exported of a pool. It outlives a provider, so that nothing is exported twice.
#[derive(Default)]
pub(super) struct Exported {
    /// By the number of the counter, and the value of its attribute.
    counts: HashMap<(usize, String), u64>,
    /// By the number of the distribution, and the site if it is of one.
    times: HashMap<(usize, Option<Site>), Histogram>,
}

impl Exported {
    /// Returns how much of this count is new, and notes it as exported.
    pub(super) fn news(&mut self, counter: usize, attribute: &str, now: u64) -> u64 {
        let exported = self.counts.entry((counter, attribute.to_owned())).or_default();
        let news = now.saturating_sub(*exported);
        *exported += news;
        news
    }

    /// Returns which values of this distribution are new, and notes them as exported.
    pub(super) fn new_times(&mut self, distribution: usize, site: Option<Site>, now: Histogram) -> Histogram {
        match self.times.insert((distribution, site), now.clone()) {
            Some(exported) => now.since(&exported),
            None => now,
        }
    }
}

/// The pools that have a name in the metrics.
static NAMES: Mutex<Vec<Named>> = Mutex::new(Vec::new());

struct Named {
    name: String,
    /// Tells pools apart, and nothing else: the address stays taken as long as this is there.
    tally: Weak<Tally>,
    pool: WeakWatched,
    exported: HashMap<&'static str, Arc<Mutex<Exported>>>,
}

/// A pool under its name in the metrics.
pub(super) struct Installed {
    pub(super) name: String,
    pub(super) pool: Watched,
    pub(super) exported: Arc<Mutex<Exported>>,
}

/// Each of these pools once, with a name that no other pool of the process has: beside a `pool` another one is `pool#2`.
///
/// A pool keeps its name. The name of a dropped pool is free again, so a pool made anew continues its series.
pub(super) fn named(version: &'static str, pools: &(impl Watchable + ?Sized)) -> Vec<Installed> {
    let mut installed: Vec<Installed> = Vec::new();
    // A handle may be the last one of its pool, which then ends after the lock is released.
    let mut alive = Vec::new();
    let mut names = lock(&NAMES);
    names.retain(|named| named.pool.upgrade().map(|pool| alive.push(pool)).is_some());
    for pool in pools.watched() {
        if installed.iter().any(|known| Arc::ptr_eq(known.pool.tally(), pool.tally())) {
            continue;
        }
        let known = names.iter().position(|named| std::ptr::eq(named.tally.as_ptr(), Arc::as_ptr(pool.tally())));
        let at = known.unwrap_or_else(|| {
            let (name, tally) = (free(&names, pool.name()), Arc::downgrade(pool.tally()));
            names.push(Named { name, tally, pool: pool.downgrade(), exported: HashMap::new() });
            names.len() - 1
        });
        let exported = Arc::clone(names[at].exported.entry(version).or_default());
        installed.push(Installed { name: names[at].name.clone(), pool, exported });
    }
    installed
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
