//! The last minutes: a look at each pool once a second.

use super::Pool;
use crate::{Histogram, Status, Timings, Totals, Watched};
use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime},
};

/// Time between two looks.
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// Looks that are kept: five minutes.
const KEPT: usize = 300;
/// Looks between two marks, and marks that are kept: a minute.
const MARK_EVERY: u64 = 10;
const MARKS: usize = 6;

pub(super) struct History {
    /// Number of the next look.
    next: u64,
    /// When the last look was, by the clock that refusals have.
    last: SystemTime,
    looks: VecDeque<Look>,
    pools: Vec<PoolHistory>,
}

/// What each pool was like at one instant.
pub(super) struct Look {
    pub(super) at: Instant,
    /// In the order of the pools.
    pub(super) pools: Vec<Point>,
}

/// What a plot shows of one second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) utilisation: f64,
    /// The longest of what 95 of 100 of those who were served in this second waited at most, what any of those had waited who were turned away
    /// in it, and what the first in the queue has waited so far; `None` if there is nobody of these.
    pub(super) wait: Option<Duration>,
    /// Acquires that ended with an error in this second.
    pub(super) failed: u64,
}

struct PoolHistory {
    last: Mark,
    /// The oldest first.
    marks: VecDeque<Mark>,
}

/// The numbers of a pool at one instant.
#[derive(Clone)]
pub(super) struct Mark {
    at: Instant,
    pub(super) status: Status,
    pub(super) timings: Timings,
}

/// What was added lately: in the last minute, or since the page was made.
pub(super) struct Recent {
    then: Mark,
    pub(super) now: Mark,
}

impl Recent {
    pub(super) fn span(&self) -> Duration {
        self.now.at.saturating_duration_since(self.then.at)
    }

    /// How much this total has grown.
    pub(super) fn added(&self, of: impl Fn(&Totals) -> u64) -> u64 {
        of(&self.now.status.totals).saturating_sub(of(&self.then.status.totals))
    }

    pub(super) fn waits(&self) -> Histogram {
        self.now.timings.acquire_wait.since(&self.then.timings.acquire_wait)
    }

    pub(super) fn holds(&self) -> Histogram {
        self.now.timings.hold.since(&self.then.timings.hold)
    }

    /// The time within which this share of all who asked were served; `None` if fewer were, or nobody asked.
    ///
    /// Who was turned away or gave up was not served within any time, so that a pool that serves few does not look like a quick one. Who
    /// waits now counts with what the first of them has waited so far.
    pub(super) fn served_within(&self, share: f64) -> Option<Duration> {
        let Status { waiting, oldest_wait, .. } = self.now.status;
        let (waits, waiting) = (self.waits(), u64::from(waiting));
        let so_far = oldest_wait.filter(|_| waiting > 0).map(|so_far| (so_far, waiting));
        let mut served: Vec<_> = waits.stand_ins().chain(so_far).collect();
        served.sort();
        nth(served, share, waits.count() + waiting + self.added(failed) + self.added(|totals| totals.cancelled))
    }
}

impl History {
    pub(super) fn new(pools: &[Pool], now: Instant) -> Self {
        let begin = |pool: &Pool| {
            let mark = Mark::of(&pool.watched, now);
            PoolHistory { last: mark.clone(), marks: VecDeque::from([mark]) }
        };
        let pools = pools.iter().map(begin).collect();
        Self { next: 0, last: SystemTime::now(), looks: VecDeque::new(), pools }
    }

    /// Looks at each pool.
    pub(super) fn look(&mut self, pools: &[Pool], now: Instant) {
        let last = std::mem::replace(&mut self.last, SystemTime::now());
        let points = pools.iter().zip(&mut self.pools);
        let points = points.map(|(pool, history)| history.look(&pool.watched, last, now));
        let look = Look { at: now, pools: points.collect() };
        if self.looks.len() == KEPT {
            self.looks.pop_front();
        }
        self.looks.push_back(look);
        self.next += 1;
        if self.next.is_multiple_of(MARK_EVERY) {
            self.pools.iter_mut().for_each(PoolHistory::mark);
        }
    }

    /// Number of the next look.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The looks from that number on, the oldest first; all, if the number is another page's.
    pub(super) fn since(&self, number: u64) -> impl Iterator<Item = &Look> {
        let number = if number > self.next { 0 } else { number };
        let gone = self.next - self.looks.len() as u64;
        self.looks.iter().skip(number.saturating_sub(gone) as usize)
    }

    /// What a pool has done in the last minute.
    pub(super) fn recent(&self, pool: usize, watched: &Watched, now: Instant) -> Recent {
        let then = self.pools[pool].marks.front().expect("BUG: there is a mark from the beginning on");
        Recent { then: then.clone(), now: Mark::of(watched, now) }
    }
}

impl PoolHistory {
    /// `since`: when the last look was.
    fn look(&mut self, watched: &Watched, since: SystemTime, now: Instant) -> Point {
        let now = Mark::of(watched, now);
        let seen = Recent { then: std::mem::replace(&mut self.last, now.clone()), now };
        let served = quantile(&seen.waits(), 0.95);
        // Who comes and goes between two looks is in no queue that they see.
        let turned_away = watched.refusals().iter().filter(|refusal| refusal.at > since).map(|r| r.waited).max();
        let status = &seen.now.status;
        let wait = served.max(turned_away).max(status.oldest_wait);
        Point { utilisation: status.utilisation(), wait, failed: seen.added(failed) }
    }

    /// Keeps what was seen last as a beginning.
    fn mark(&mut self) {
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(self.last.clone());
    }
}

impl Mark {
    fn of(watched: &Watched, at: Instant) -> Self {
        Self { at, status: watched.status(), timings: watched.timings() }
    }
}

/// Acquires that ended with an error.
pub(super) fn failed(totals: &Totals) -> u64 {
    totals.timeouts + totals.refused + totals.connect_failures + totals.rejected_closed
}

/// The value that about this share does not exceed; `None` if there is none.
///
/// Not the upper edge of its bucket: a wait that ends at `pool_timeout` must not look longer than that.
pub(super) fn quantile(values: &Histogram, share: f64) -> Option<Duration> {
    nth(values.stand_ins(), share, values.count())
}

/// The same of values in order with how often each counts, of so many in all. Those that are not there are longer than any.
fn nth(values: impl IntoIterator<Item = (Duration, u64)>, share: f64, of: u64) -> Option<Duration> {
    let rank = (share * of as f64).ceil().max(1.0) as u64;
    let mut seen = 0;
    values.into_iter().find_map(|(value, n)| {
        seen += n;
        (seen >= rank).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatabaseSettings, SqlitePool, Watchable};

    async fn small() -> (SqlitePool, Vec<Pool>) {
        let settings = DatabaseSettings::new("sqlite::memory:").expect("a good url");
        let settings = settings.with_pool_size(2).with_max_overflow(0);
        let pool = SqlitePool::connect(settings).await.expect("a pool");
        let watched = pool.watched().into_iter().map(Pool::new).collect();
        (pool, watched)
    }

    #[tokio::test]
    async fn a_look_sees_what_was_added_since_the_last_one() {
        let (pool, pools) = small().await;
        let begun = Instant::now();
        let mut history = History::new(&pools, begun);
        let at = |s| begun + SECOND * s;
        let points = |history: &History| history.since(0).map(|look| look.pools[0]).collect::<Vec<_>>();

        history.look(&pools, at(1));
        assert_eq!(points(&history), [Point { utilisation: 0.0, wait: None, failed: 0 }]);

        let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
        pool.acquire_timeout(Duration::ZERO).await.unwrap_err();
        history.look(&pools, at(2));
        let Point { utilisation, wait, failed } = points(&history)[1];
        assert_eq!((utilisation, failed), (1.0, 1));
        assert!(wait.is_some_and(|wait| wait < Duration::from_millis(100)), "nobody has waited: {wait:?}");

        let waiting = pool.acquire();
        tokio::pin!(waiting);
        assert!(futures_util::future::poll_immediate(&mut waiting).await.is_none());
        history.look(&pools, at(3));
        let last = points(&history)[2];
        assert!(last.wait.is_some() && last.failed == 0, "nobody was served, but one waits: {last:?}");

        let recent = history.recent(0, &pools[0].watched, at(4));
        let [acquired, waited] = [recent.added(|totals| totals.acquired), recent.added(|totals| totals.waited)];
        assert_eq!((recent.span(), acquired, waited, recent.added(super::failed)), (SECOND * 4, 2, 0, 1));
        drop(held);
    }

    #[tokio::test]
    async fn a_wait_that_ends_in_an_error_between_two_looks_is_seen() {
        let (pool, pools) = small().await;
        let begun = Instant::now();
        let mut history = History::new(&pools, begun);
        let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
        history.look(&pools, begun + SECOND);
        let limit = Duration::from_millis(50);
        pool.acquire_timeout(limit).await.unwrap_err();
        history.look(&pools, begun + SECOND * 2);
        history.look(&pools, begun + SECOND * 3);
        let waits: Vec<_> = history.since(0).map(|look| look.pools[0].wait).collect();
        assert!(waits[0] == Some(Duration::ZERO) && waits[1] >= Some(limit) && waits[2].is_none(), "{waits:?}");
        drop(held);
    }

    #[tokio::test]
    async fn who_was_not_served_counts_as_never_served() {
        let (pool, pools) = small().await;
        let history = History::new(&pools, Instant::now());
        let recent = || history.recent(0, &pools[0].watched, Instant::now());
        assert_eq!(recent().served_within(0.95), None, "nobody asked");

        for _ in 0..17 {
            drop(pool.acquire().await.unwrap());
        }
        let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
        pool.acquire_timeout(Duration::ZERO).await.unwrap_err();
        assert_eq!(recent().served_within(0.95), Some(Duration::ZERO), "19 of 20");

        {
            let mut waits = Box::pin(pool.acquire());
            assert!(futures_util::future::poll_immediate(&mut waits).await.is_none());
            let now = recent();
            let Status { waiting, oldest_wait, .. } = now.now.status;
            assert_eq!((waiting, now.served_within(0.9)), (1, Some(Duration::ZERO)));
            assert!(oldest_wait.is_some());
            // As long as it has waited so far, while the one that was turned away is longer than that.
            assert_eq!((now.served_within(0.95), now.served_within(1.0)), (oldest_wait, None));
        }
        let gave_up = recent();
        let counts =
            (gave_up.added(|totals| totals.timeouts), gave_up.added(failed), gave_up.added(|totals| totals.cancelled));
        assert_eq!(counts, (1, 1, 1));
        assert_eq!(gave_up.served_within(0.95), None, "19 of 21");
        drop(held);
    }

    #[tokio::test]
    async fn a_minute_ends_and_five_minutes_are_kept() {
        let (pool, pools) = small().await;
        let begun = Instant::now();
        let mut history = History::new(&pools, begun);
        drop(pool.acquire().await.unwrap());
        (1..=305).for_each(|s| history.look(&pools, begun + SECOND * s));
        assert_eq!((history.next(), history.since(0).count()), (305, KEPT));
        let recent = history.recent(0, &pools[0].watched, begun + SECOND * 305);
        assert_eq!(
            (recent.span(), recent.added(|totals| totals.acquired), recent.holds().count()),
            (SECOND * 55, 0, 0)
        );
        // What the asker has not seen, and everything if it asked another process before.
        let since = |number| history.since(number).map(|look| (look.at - begun).as_secs()).collect::<Vec<_>>();
        assert_eq!((since(303), since(305).len(), since(306).len()), (vec![304, 305], 0, KEPT));
    }
}
