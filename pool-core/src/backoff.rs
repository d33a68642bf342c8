//! How long to wait before trying again, so that callers that failed together do not come back together.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The pause after `failures` earlier failures: doubling from `first` to `longest`, of which the upper half is drawn by `dice`.
///
/// The jitter keeps many processes from dialling in step ("equal jitter", Brooker, *Exponential Backoff And Jitter*, 2015).
pub fn pause(first: Duration, longest: Duration, failures: u32, dice: u64) -> Duration {
    let half = first.saturating_mul(1 << failures.min(20)).min(longest) / 2;
    half + half.mul_f64((dice >> 11) as f64 / (1u64 << 53) as f64)
}

/// A number that differs from call to call.
pub fn dice() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_never_less_than_half() {
        fn check(first: u64, longest: u64, failures: u32, whole: u64) {
            let [first, longest, whole] = [first, longest, whole].map(Duration::from_millis);
            let pause = |dice| pause(first, longest, failures, dice);
            assert_eq!(pause(0), whole / 2, "{failures}");
            assert!(pause(u64::MAX) <= whole, "{failures}");
            assert!(pause(u64::MAX) > whole - Duration::from_millis(1), "{failures}");
            assert!((whole / 2..=whole).contains(&pause(dice())), "{failures}");
        }
        for (failures, whole) in [(0, 20), (1, 40), (2, 80), (3, 160), (4, 320), (5, 500), (50, 500)] {
            check(20, 500, failures, whole);
        }
        for (failures, whole) in [(0, 100), (1, 200), (5, 3_200), (10, 60_000), (1_000, 60_000)] {
            check(100, 60_000, failures, whole);
        }
    }

    #[test]
    fn two_draws_differ() {
        let draws: std::collections::HashSet<_> = (0..20).map(|_| dice()).collect();
        assert!(draws.len() > 10, "{draws:?}");
    }
}
