//! Distributions of durations, cheap enough to keep always.

use std::time::Duration;

/// Buckets in each doubling: a value is known to within 25 %.
const PER_OCTAVE: usize = 4;
const BUCKETS: usize = 64 * PER_OCTAVE;

/// A distribution of durations: count, sum and quantiles to within 25 %. Recording is one increment; nothing is ever forgotten.
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
        (0..).zip(self.buckets.iter()).filter(|(_, n)| **n > 0).map(|(i, n)| (Duration::from_nanos(longest(i)), *n))
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let q = |share| self.quantile(share).unwrap_or_default();
        write!(f, "Histogram(count {}, p50 {:?}, p99 {:?}, max {:?})", self.count, q(0.5), q(0.99), q(1.0))
    }
}

/// The bucket of a value: its highest bit and the two below it.
fn bucket(nanos: u64) -> usize {
    match nanos {
        0..4 => nanos as usize,
        _ => {
            let octave = nanos.ilog2() as usize;
            let fraction = (nanos >> (octave - 2)) as usize & 3;
            octave * PER_OCTAVE + fraction
        }
    }
}

/// The largest value of a bucket.
fn longest(bucket: usize) -> u64 {
    match bucket {
        0..4 => bucket as u64,
        _ => {
            let (octave, fraction) = (bucket / PER_OCTAVE, (bucket % PER_OCTAVE) as u64);
            let step = 1u64 << (octave - 2);
            (4 + fraction) * step + (step - 1)
        }
    }
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
                let top = longest(bucket(nanos));
                assert!(top >= nanos, "{nanos} is above its bucket's {top}");
                assert!((top - nanos) as f64 <= nanos as f64 * 0.25, "{nanos} is reported as {top}");
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
}
