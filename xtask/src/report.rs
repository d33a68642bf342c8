//! What ran, what did not, and how it went.

use crate::cargo;
use std::{
    error::Error,
    fmt,
    process::ExitCode,
    time::{Duration, Instant},
};

/// What a verb gives: whether all is well, or why it could not say.
pub(crate) type Verdict = Result<ExitCode, Box<dyn Error>>;

/// How many passed, failed and were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Counts {
    pub(crate) const ONE_FAILURE: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// A group that is one check.
    pub(crate) fn one(passed: bool) -> Self {
        if passed { Self { passed: 1, ..Self::default() } } else { Self::ONE_FAILURE }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// What became of a group of checks.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It ran.
    Ran(Counts),
    /// It did not run, for this reason.
    Skipped(String),
}

/// Every group of a verb, in order.
#[derive(Debug, Default)]
pub(crate) struct Report {
    groups: Vec<(&'static str, Outcome, Duration)>,
}

impl Report {
    /// Runs one group under its name.
    pub(crate) fn group(&mut self, name: &'static str, check: impl FnOnce() -> Outcome) {
        eprintln!("--- {name}");
        let start = Instant::now();
        let outcome = check();
        self.groups.push((name, outcome, start.elapsed()));
    }

    /// Prints a line for each group and the total as the last line.
    pub(crate) fn finish(self) -> ExitCode {
        let (text, code) = self.conclude(cargo::is_ci());
        print!("\n{text}");
        if code { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The text, and whether all is well: something passed, nothing failed, and in CI no group was left out.
    fn conclude(&self, is_ci: bool) -> (String, bool) {
        let mut text = String::new();
        let mut total = Counts::default();
        for (name, outcome, time) in &self.groups {
            match outcome {
                Outcome::Ran(counts) => {
                    total.add(*counts);
                    text += &format!("{name:<10} {counts} ({:.1} s)\n", time.as_secs_f64());
                }
                Outcome::Skipped(reason) => {
                    // Where nobody reads the remark, it is a failure.
                    total.failed += usize::from(is_ci);
                    text += &format!("{name:<10} SKIPPED: {reason}\n");
                }
            }
        }
        text += &format!("{} passed, {} failed\n", total.passed, total.failed);
        (text, total.failed == 0 && total.passed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: Vec<Outcome>) -> Report {
        Report { groups: outcomes.into_iter().map(|outcome| ("group", outcome, Duration::ZERO)).collect() }
    }

    fn ran(passed: usize, failed: usize) -> Outcome {
        Outcome::Ran(Counts { passed, failed, skipped: 0 })
    }

    #[test]
    fn total_is_the_last_line() {
        let (text, good) = report(vec![ran(3, 0), ran(4, 0)]).conclude(true);
        assert_eq!(text.lines().last(), Some("7 passed, 0 failed"));
        assert!(good);
    }

    #[test]
    fn one_failure_fails_the_whole() {
        assert!(!report(vec![ran(3, 0), ran(4, 1)]).conclude(false).1);
    }

    #[test]
    fn skipped_group_is_named_and_fails_in_ci_only() {
        let skipped = || report(vec![ran(3, 0), Outcome::Skipped("no rustfmt".into())]);
        let (text, good) = skipped().conclude(true);
        assert!(text.contains("SKIPPED: no rustfmt") && text.ends_with("3 passed, 1 failed\n"), "{text}");
        assert!(!good);
        assert!(skipped().conclude(false).1);
    }

    #[test]
    fn nothing_run_is_a_failure() {
        assert!(!report(vec![ran(0, 0)]).conclude(false).1);
    }
}
