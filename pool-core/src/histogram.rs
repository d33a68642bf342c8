//! Distributions of durations, cheap enough to keep always.

use crate::Site;
use std::time::Duration;

/// Upper edges of the buckets in each power of ten: a value is known to within 25 %, and the round numbers that dashboards use as limits
/// (1, 2, 5, 2.5 and their tenfolds) are edges, so that counts up to them are exact.
const STEPS: [u64; 13] = [100, 125, 150, 175, 200, 250, 300, 350, 400, 500, 600, 700, 800];
const BUCKETS: usize = 256;

/// The longest value of each bucket, in nanoseconds. The first holds nothing but zero.
const EDGES: [u64; BUCKETS] = edges();

/// For each number of leading zeros, the first bucket that a value with so many may lie in.
const FIRST: [u8; 65] = first();

/// A distribution of durations: count, sum and quantiles to within 25 %. Recording is one increment; nothing is ever forgotten.
///
/// Each power of ten has buckets that end at 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7 and 8 times it, inclusive.
#[derive(Clone)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    /// Nanoseconds; 584 years until it saturates.
    sum: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, sum: 0 }
    }

    pub(crate) fn record(&mut self, nanos: u64) {
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(nanos);
    }

    /// Adds values of zero that were counted elsewhere.
    pub(crate) fn with_zeros(mut self, n: u64) -> Self {
        self.buckets[0] += n;
        self.count += n;
        self
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// Their mean; `None` before the first.
    pub fn mean(&self) -> Option<Duration> {
        (self.count > 0).then(|| self.sum().div_f64(self.count as f64))
    }

    /// The value that this share of them does not exceed, to within 25 %: `quantile(0.99)`. `None` before the first.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (share.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets().find_map(|(up_to, n)| {
            seen += n;
            (seen >= rank).then_some(up_to)
        })
    }

    /// The buckets that are not empty: the longest duration of each, and how many fell into it.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.filled().map(|(i, n)| (Duration::from_nanos(EDGES[i]), n))
    }

    /// What was recorded since an earlier look at the same histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut news = self.clone();
        for (now, then) in news.buckets.iter_mut().zip(earlier.buckets.iter()) {
            *now = now.saturating_sub(*then);
        }
        news.count = news.buckets.iter().sum();
        news.sum = self.sum.saturating_sub(earlier.sum);
        news
    }

    /// Stand-ins for what was recorded, for histograms of another make: one value in each bucket that is not empty, and how often it
    /// counts. Together they have the same sum, and whatever limit is an edge of ours has as many on either side of it.
    pub fn stand_ins(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let (lowest, highest) = self.filled().fold((0.0, 0.0), |(lowest, highest), (i, n)| {
            (lowest + below(i) as f64 * n as f64, highest + EDGES[i] as f64 * n as f64)
        });
        // All at the same height of their buckets, such that the sum comes out right.
        let height = if highest > lowest { (self.sum as f64 - lowest) / (highest - lowest) } else { 1.0 };
        self.filled().map(move |(i, n)| {
            let (low, top) = (below(i), EDGES[i]);
            let value = low.saturating_add(((top - low) as f64 * height.clamp(0.0, 1.0)).round() as u64);
            (Duration::from_nanos(value.clamp(top.min(low + 1), top)), n)
        })
    }

    fn filled(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.buckets.iter().copied().enumerate().filter(|(_, n)| *n > 0)
    }

    /// Adds what another has recorded.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let q = |share| self.quantile(share).unwrap_or_default();
        write!(f, "Histogram(count {}, p50 {:?}, p99 {:?}, max {:?})", self.count, q(0.5), q(0.99), q(1.0))
    }
}

/// The bucket of a value: a few steps up from the first that its highest bit allows.
fn bucket(nanos: u64) -> usize {
    let mut bucket = usize::from(FIRST[nanos.leading_zeros() as usize]);
    while EDGES[bucket] < nanos {
        bucket += 1;
    }
    bucket
}

/// The longest value of the bucket before.
fn below(bucket: usize) -> u64 {
    if bucket == 0 { 0 } else { EDGES[bucket - 1] }
}

const fn edges() -> [u64; BUCKETS] {
    // What is not filled below ends the table: longer than any value.
    let mut edges = [u64::MAX; BUCKETS];
    let (mut n, mut power) = (1, 1u64);
    edges[0] = 0;
    loop {
        let mut step = 0;
        while step < STEPS.len() {
            let edge = STEPS[step] as u128 * power as u128 / 100;
            if edge > u64::MAX as u128 {
                return edges;
            }
            // Below a hundred nanoseconds some fall together.
            if edge as u64 > edges[n - 1] {
                edges[n] = edge as u64;
                n += 1;
            }
            step += 1;
        }
        power = match power.checked_mul(10) {
            Some(power) => power,
            None => return edges,
        };
    }
}

const fn first() -> [u8; 65] {
    let mut first = [0; 65];
    let mut zeros = 0;
    while zeros < 64 {
        let shortest = 1u64 << (63 - zeros);
        let mut bucket = 0;
        while EDGES[bucket] < shortest {
            bucket += 1;
        }
        first[zeros] = bucket as u8;
        zeros += 1;
    }
    first
}

/// How long the connections were held that one site borrowed and gave back.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SiteTimings {
    /// Who borrowed.
    pub site: Site,
    /// From getting to giving back.
    pub hold: Histogram,
}

/// Distributions of what takes time in a pool.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timings {
    /// From asking to getting, of acquires that succeeded; those served at once count as zero.
    pub acquire_wait: Histogram,
    /// From getting to giving back.
    pub hold: Histogram,
    /// Of connects that succeeded.
    pub connect: Histogram,
    /// Of pings that were answered.
    pub ping: Histogram,
}

impl Timings {
    pub(crate) fn new() -> Self {
        Self {
            acquire_wait: Histogram::new(),
            hold: Histogram::new(),
            connect: Histogram::new(),
            ping: Histogram::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_that_is_at_most_a_quarter_too_wide() {
        for shift in 0..64 {
            for nanos in [1u64 << shift, (1u64 << shift) + (1u64 << shift) / 3, (1u64 << shift).saturating_mul(2) - 1] {
                let (low, top) = (below(bucket(nanos)), EDGES[bucket(nanos)]);
                assert!(low < nanos && nanos <= top, "{nanos} is not within its bucket's {low} to {top}");
                assert!(top == u64::MAX || (top - nanos) as f64 <= nanos as f64 * 0.25, "{nanos} is reported as {top}");
            }
        }
    }

    #[test]
    fn quantiles_of_a_ramp_are_within_their_promise() {
        let mut ramp = Histogram::new();
        assert_eq!((ramp.quantile(0.5), ramp.mean()), (None, None));
        (1..=1000).for_each(|ms| ramp.record(ms * 1_000_000));
        for (share, exact) in [(0.5, 500), (0.9, 900), (0.99, 990), (1.0, 1000)] {
            let found = ramp.quantile(share).expect("not empty").as_millis() as f64;
            assert!(found >= f64::from(exact) && found <= f64::from(exact) * 1.25, "p{share}: {found}");
        }
        assert_eq!(ramp.mean().map(|m| m.as_micros()), Some(500_500));
        assert_eq!(ramp.with_zeros(3000).quantile(0.5), Some(Duration::ZERO));
    }

    #[test]
    fn counts_up_to_a_round_number_are_exact() {
        for limit in
            [100_000, 500_000, 1_000_000, 5_000_000, 10_000_000, 50_000_000, 250_000_000, 1_000_000_000, 30_000_000_000]
        {
            assert_eq!(EDGES[bucket(limit)], limit, "{limit} is no edge");
            assert_eq!(bucket(limit + 1), bucket(limit) + 1);
        }
        assert_eq!((bucket(0), bucket(1), EDGES[bucket(u64::MAX)]), (0, 1, u64::MAX));
    }

    #[test]
    fn stand_ins_stay_in_their_buckets_and_keep_count_and_sum() {
        let mut recorded = Histogram::new();
        let values = [0, 0, 1, 7, 900, 1_000, 1_001, 99_999, 100_000, 4_321_000, 4_400_000, 61_000_000_000];
        values.iter().for_each(|&nanos| recorded.record(nanos));
        let mut again = Histogram::new();
        for (value, n) in recorded.stand_ins() {
            (0..n).for_each(|_| again.record(value.as_nanos() as u64));
        }
        assert_eq!(again.buckets().collect::<Vec<_>>(), recorded.buckets().collect::<Vec<_>>());
        let off = again.sum().abs_diff(recorded.sum());
        assert!(off < Duration::from_nanos(values.len() as u64), "the sums differ by {off:?}");
    }

    #[test]
    fn what_was_recorded_since_then_is_the_difference() {
        let mut all = Histogram::new();
        all.record(5_000);
        let before = all.clone();
        all.record(5_000);
        all.record(70_000);
        let news = all.since(&before);
        assert_eq!((news.count(), news.sum()), (2, Duration::from_micros(75)));
        assert_eq!(news.buckets().collect::<Vec<_>>(), [(Duration::from_micros(5), 1), (Duration::from_micros(70), 1)]);
        assert_eq!(all.since(&all).stand_ins().count(), 0);
    }
}
