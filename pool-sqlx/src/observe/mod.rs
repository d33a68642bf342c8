//! Pools seen from outside: what metrics, the status page and advice are made from.

mod advice;
#[cfg_attr(not(any(feature = "otel-0-33", feature = "otel-0-32")), allow(dead_code))]
pub(crate) mod installed;
mod names;
#[cfg(any(feature = "otel-0-33", feature = "otel-0-32"))]
mod otel;
#[cfg(any(feature = "otel-0-33", feature = "otel-0-32"))]
mod shapes;
mod siblings;
#[cfg(feature = "status-page")]
mod status_page;
mod watched;

pub use advice::{Advice, Weight};
pub use names::{METRICS, Metric, MetricKind};
#[cfg(feature = "otel-0-32")]
pub use otel::otel_0_32;
#[cfg(feature = "otel-0-33")]
pub use otel::otel_0_33;
pub(crate) use siblings::join;
#[cfg(feature = "status-page")]
pub use status_page::StatusPage;
use watched::WeakWatched;
pub use watched::{Watchable, Watched};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Nothing under the locks of this room can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
