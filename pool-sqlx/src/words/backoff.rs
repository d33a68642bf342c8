//! How long to wait before trying again, so that those who failed together do not come back together.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// Doubling from `first` to `longest` with each failure, of which the upper half is drawn at random.
pub(crate) fn pause(first: Duration, longest: Duration, failures: u32) -> Duration {
    let whole = first.saturating_mul(1 << failures.min(20)).min(longest);
    let dice = RandomState::new().build_hasher().finish();
    whole.mul_f64(0.5 + (dice >> 11) as f64 / (1u64 << 54) as f64)
}

/// After a conflict between transactions: 5 ms doubling to 500 ms.
pub(crate) fn after_conflict(attempt: u32) -> Duration {
    pause(Duration::from_millis(5), Duration::from_millis(500), attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_never_less_than_half() {
        for (failures, whole) in [(0, 100), (1, 200), (5, 3_200), (10, 60_000), (1_000, 60_000)] {
            let pause = pause(Duration::from_millis(100), Duration::from_secs(60), failures).as_millis();
            assert!((whole / 2..=whole).contains(&pause), "{failures}: {pause}");
        }
    }

    #[test]
    fn two_pauses_differ() {
        let draws: std::collections::HashSet<_> = (0..20).map(|_| after_conflict(7)).collect();
        assert!(draws.len() > 10, "{draws:?}");
    }
}
