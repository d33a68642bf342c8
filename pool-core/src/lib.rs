//! The semantics of a connection pool, with no word of SQL.
//!
//! **The state decides, the driver does, the caller waits.**
//! One synchronous struct holds who waits, what is idle and who holds what; every rule is a method of it that takes the time and
//! returns what to do. A driver task does it: connecting, testing, cleaning and closing run in tasks of their own, each within a
//! limit. A caller only waits, so giving up at any moment loses nothing.
//!
//! Most users want `pool-sqlx`, which lends sqlx connections. Write a [`Manager`] to pool something else.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pool_core::{Pool, Settings, testing::Script};
//!
//! let pool = Pool::new(Script::new(), Settings::default().with_pool_size(2).with_max_overflow(0))?;
//! let conn = pool.acquire().await?;
//! assert_eq!(pool.status().in_use, 1);
//! drop(conn);
//! assert_eq!(pool.close().await.still_held, []);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

// Vocabulary: plain data.
mod error;
mod event;
mod histogram;
mod manager;
mod settings;
mod short;
mod status;
mod timeline;
// The deciding half.
mod state;
// The doing half.
mod acquire;
mod backoff;
mod bits;
mod driver;
mod job;
mod nested;
mod outbox;
mod pool;
mod pooled;
mod shared;
mod shield;
mod sync;

#[cfg(feature = "testing")]
mod steps;
#[cfg(any(test, feature = "testing"))]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;

pub use acquire::Acquire;
#[doc(hidden)]
pub use backoff::{dice, pause};
pub use error::{AcquireError, ConnectError, TryAcquireError, Verdict};
pub use event::Event;
pub use histogram::{Histogram, SiteTimings, Timings};
pub use manager::{Condition, ErrorClass, Manager};
pub use nested::Hold;
pub use outbox::Observer;
pub use pool::{Pool, WeakPool};
pub use pooled::Pooled;
pub use settings::{MaxOverflow, Nested, Pause, Settings, SettingsError, SettingsFault, Startup};
#[doc(hidden)]
pub use short::short;
pub use status::{CloseCounts, CloseReason, CloseReport, Health, Holder, Site, Status, Totals};
pub use timeline::{Moment, Step};
