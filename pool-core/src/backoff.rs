//! How long to wait before the next connect, as a value: no clock, no state.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(20);
/// So that a database that comes back is noticed within half a second.
const LONGEST: Duration = Duration::from_millis(500);

/// The pause after `failures` earlier failures: doubling from 20 ms to 500 ms, of which the upper half is drawn by `dice`.
///
/// The jitter keeps many processes from dialling in step ("equal jitter", Brooker, *Exponential Backoff And Jitter*, 2015).
pub(crate) fn delay(failures: u32, dice: u64) -> Duration {
    let full = FIRST.saturating_mul(1 << failures.min(10)).min(LONGEST);
    let half = full / 2;
    half + half.mul_f64((dice >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_half_a_second_and_never_falls_below_half_of_itself() {
        for (failures, full) in [(0, 20), (1, 40), (2, 80), (3, 160), (4, 320), (5, 500), (50, 500)] {
            let full = Duration::from_millis(full);
            assert_eq!(delay(failures, 0), full / 2);
            assert!(delay(failures, u64::MAX) <= full);
            assert!(delay(failures, u64::MAX) > full - Duration::from_millis(1));
        }
    }
}
