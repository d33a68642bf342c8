//! Recorders: metrics install them, and each statement reports to them when it has ended.

use crate::sql::Shape;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A statement that has ended.
#[cfg_attr(not(any(feature = "otel-0-33", feature = "otel-0-32")), allow(dead_code))]
pub(crate) struct Ended<'a> {
    pub(crate) system: &'static str,
    pub(crate) port: Option<u16>,
    pub(crate) took: Duration,
    /// Rows that it returned, if it returns rows and ended well.
    pub(crate) rows: Option<u64>,
    pub(crate) shape: &'a Shape,
    pub(crate) error_type: Option<&'a str>,
    pub(crate) status_code: Option<&'a str>,
}

/// Records each statement of a pool that has ended.
pub(crate) trait Record: Send + Sync {
    fn record(&self, ended: &Ended<'_>);
}

/// The recorders of a pool, by version of OpenTelemetry.
#[derive(Default)]
pub(crate) struct Recorders {
    /// A pool without recorders pays one load for each statement.
    any: AtomicBool,
    all: RwLock<BTreeMap<&'static str, Arc<dyn Record>>>,
}

impl Recorders {
    /// Installs a recorder, and returns the one of the same version that it replaces.
    #[cfg_attr(not(any(feature = "otel-0-33", feature = "otel-0-32")), allow(dead_code))]
    pub(crate) fn install(&self, version: &'static str, record: Arc<dyn Record>) -> Option<Arc<dyn Record>> {
        let replaced = self.all.write().unwrap_or_else(PoisonError::into_inner).insert(version, record);
        self.any.store(true, Ordering::Release);
        replaced
    }

    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub(super) fn record(&self, ended: &Ended<'_>) {
        self.all.read().unwrap_or_else(PoisonError::into_inner).values().for_each(|recorder| recorder.record(ended));
    }
}
