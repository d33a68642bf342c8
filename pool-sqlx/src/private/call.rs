//! What a `#[pooled]` function asks for.

use crate::{Isolation, TxOptions};
use pool_core::Site;
use std::{sync::OnceLock, time::Duration};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// What a `#[pooled]` function asks for: one static for each.
#[derive(Debug)]
pub struct Call {
    pub(super) site: Site,
    pub(super) timeout: Option<Duration>,
    pub(super) retry_after: Option<Duration>,
    pub(super) begin: TxOptions,
    /// How many of these calls may hold a connection at a time. 0: as many as the pool has.
    pub(super) limit: u32,
    /// The places that `limit` gives, made when the first call comes.
    places: OnceLock<Semaphore>,
}

impl Call {
    pub const fn new(site: Site) -> Self {
        let begin = TxOptions::new();
        Self { site, timeout: None, retry_after: None, begin, limit: 0, places: OnceLock::new() }
    }

    pub const fn statement_timeout(mut self, limit: Duration) -> Self {
        self.begin.statement_timeout = Some(limit);
        self
    }

    pub const fn read_only(mut self) -> Self {
        self.begin.read_only = true;
        self
    }

    pub const fn isolation(mut self, level: Isolation) -> Self {
        self.begin.isolation = Some(level);
        self
    }

    pub const fn limit(mut self, calls: u32) -> Self {
        self.limit = calls;
        self
    }

    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    pub const fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Waits for a place, and tells how much of the time is left. An error: how long it waited in vain.
    pub(super) async fn enter(
        &'static self,
        patience: Duration,
    ) -> Result<(SemaphorePermit<'static>, Duration), Duration> {
        let places = self.places.get_or_init(|| Semaphore::new(self.limit as usize));
        // Who is free to go on does not overtake: a place that comes back goes to the first who waits.
        if let Ok(place) = places.try_acquire() {
            return Ok((place, patience));
        }
        let asked = Instant::now();
        // Boxed for the size of the futures of those who need not wait.
        match Box::pin(tokio::time::timeout(patience, places.acquire())).await {
            Ok(place) => Ok((place.expect("BUG: nobody closes the places"), patience.saturating_sub(asked.elapsed()))),
            Err(_) => Err(asked.elapsed()),
        }
    }
}
