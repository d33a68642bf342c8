//! What happens inside a pool, told after the fact.

use crate::{CloseReason, Moment, Site, short};
use std::time::Duration;

/// Something that happened in a pool. Told after the lock is released, through `tracing` and to [observers](crate::Pool::observe).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A connection was established.
    Opened {
        /// How long the attempt took.
        took: Duration,
    },
    /// An attempt to open a connection failed.
    ConnectFailed {
        /// What the manager or the limit said.
        error: String,
        /// When the next attempt may begin, if somebody still needs it; `None` if the error was given to a caller, or the pool is closed.
        retry_in: Option<Duration>,
    },
    /// A connection was closed.
    Closed {
        /// Why.
        reason: CloseReason,
        /// How old it was.
        age: Duration,
    },
    /// A connection was found dead; the older ones are retired and nothing is lent untested.
    Suspect {
        /// How many idle connections were retired with it.
        retired: u32,
    },
    /// Something succeeded after the pool was suspect.
    Recovered,
    /// A close did not end in time: the server may still hold the connection.
    Abandoned,
    /// An acquire took longer than `slow_acquire`.
    SlowAcquire {
        /// Who asked.
        site: Site,
        /// How long it waited.
        waited: Duration,
        /// What happened meanwhile.
        timeline: Vec<Moment>,
    },
    /// Code that holds a connection asks the same pool for another: once for each pair of places. See [`Nested`](crate::Nested).
    Nested {
        /// The place that borrowed the first connection.
        outer: Site,
        /// The place that asks for another.
        inner: Site,
    },
    /// The observers were too slow; the oldest events are gone.
    Lost {
        /// How many.
        events: u64,
    },
    /// A connection has been held longer than `leak_after`.
    Leak {
        /// Who borrowed it.
        site: Site,
        /// How long ago.
        held: Duration,
    },
    /// A connection that was reported as leaking came home.
    LeakReturned {
        /// Who had borrowed it.
        site: Site,
        /// How long it was held.
        held: Duration,
    },
}

impl Event {
    /// Writes the event as a `tracing` event of target `pool`, with the field `pool`.
    pub(crate) fn trace(&self, name: &str) {
        match self {
            Self::Opened { took } => {
                tracing::debug!(target: "pool", pool = name, "opened a connection in {}", short(*took))
            }
            Self::ConnectFailed { error, retry_in: None } => {
                tracing::warn!(target: "pool", pool = name, "cannot open a connection: {error}");
            }
            Self::ConnectFailed { error, retry_in: Some(retry_in) } => {
                tracing::warn!(target: "pool", pool = name, "cannot open a connection: {error}; next attempt in {}", short(*retry_in));
            }
            Self::Closed { reason, age } => {
                tracing::debug!(target: "pool", pool = name, reason = reason.as_str(), "closed a connection after {}", short(*age));
            }
            Self::Suspect { retired } => {
                tracing::warn!(target: "pool", pool = name, "a connection was found dead; {retired} older idle ones retired with it");
            }
            Self::Recovered => tracing::info!(target: "pool", pool = name, "the database answers again"),
            Self::Abandoned => {
                tracing::warn!(target: "pool", pool = name, "a close did not end in time; the server may still hold the connection");
            }
            Self::SlowAcquire { site, waited, timeline } => {
                let timeline = crate::timeline::line(timeline);
                tracing::warn!(target: "pool", pool = name, "{site} waited {} for a connection: {timeline}", short(*waited));
            }
            Self::Nested { outer, inner } => {
                tracing::warn!(target: "pool", pool = name, "{inner} asks for a connection while {outer}, in the same task, holds one; a pool full of such tasks is stuck: see errors/nested");
            }
            Self::Lost { events } => {
                tracing::warn!(target: "pool", pool = name, "the observers missed {events} events")
            }
            Self::Leak { site, held } => {
                tracing::warn!(target: "pool", pool = name, "{site} has held a connection for {}: a leak, or work to be done without one", short(*held));
            }
            Self::LeakReturned { site, held } => {
                tracing::info!(target: "pool", pool = name, "{site} gave back the connection reported as leaking, after {}", short(*held));
            }
        }
    }
}
