//! Chance against real servers: a short run as a test, a long one by `cargo xtask soak`.
#![allow(clippy::unwrap_used)]

mod cancel;
mod walk;

use std::time::SystemTime;

/// How many requests are cancelled, and how many loans are walked through. `cargo xtask soak` sets it.
const COUNT: &str = "POOL_SOAK";
/// Repeats a run, as far as time can be repeated.
const SEED: &str = "POOL_SOAK_SEED";

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn seed() -> u64 {
    number(SEED).unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64)
}

/// splitmix64.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}
