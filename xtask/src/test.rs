//! `cargo xtask test`: every test, on real servers.

use crate::{
    cargo::{self, EVERYTHING, Stream, cargo},
    report::{Counts, Outcome, Report, Verdict},
    servers,
};
use ::tests::server::{mariadb, postgres};
use std::process::Command;

/// Runs all tests, or those that the arguments choose as for `cargo test`.
pub(crate) fn run(arguments: &[&str]) -> Verdict {
    let filter = arguments.strip_prefix(&["--"]).unwrap_or(arguments);
    // Whoever set a variable keeps a server of his own.
    let is_missing = |variable: &str| std::env::var_os(variable).is_none();
    let cluster = is_missing(postgres::SHARED).then(servers::postgres).transpose()?;
    let mariadb = is_missing(mariadb::SHARED).then(servers::mariadb).transpose()?;
    servers::pgbouncer()?;
    servers::chromium()?;
    servers::prometheus()?;
    let prepare = |mut command: Command| {
        command.args(EVERYTHING);
        if let Some(cluster) = &cluster {
            command.env(postgres::SHARED, cluster.socket());
        }
        if let Some(mariadb) = &mariadb {
            command.env(mariadb::SHARED, mariadb.directory());
        }
        command
    };
    let mut report = Report::default();
    report.group("tests", || tests(&prepare, filter));
    report.group("doctests", || doctests(&prepare, filter));
    report.group("schedules", || schedules(filter));
    Ok(report.finish())
}

fn tests(prepare: &dyn Fn(Command) -> Command, filter: &[&str]) -> Outcome {
    // Built first and apart: the compiler keeps the terminal, and only the tests' words are read.
    let built = prepare(cargo(&["test", "--no-run"])).status().is_ok_and(|status| status.success());
    if !built {
        return Outcome::Ran(Counts::ONE_FAILURE);
    }
    if cargo::has("nextest") {
        let mut command = prepare(cargo(&["nextest", "run", "--no-tests=pass", cargo::colour(Stream::Err)]));
        command.arg("--").args(filter);
        counted(command, Stream::Err, nextest_counts)
    } else {
        let mut command = prepare(cargo(&["test", "--no-fail-fast", "--lib", "--bins", "--tests", "--examples"]));
        command.args(["--", cargo::colour(Stream::Out)]).args(filter);
        counted(command, Stream::Out, libtest_counts)
    }
}

fn doctests(prepare: &dyn Fn(Command) -> Command, filter: &[&str]) -> Outcome {
    let mut command = prepare(cargo(&["test", "--doc", "--no-fail-fast"]));
    command.args(["--", cargo::colour(Stream::Out)]).args(filter);
    counted(command, Stream::Out, libtest_counts)
}

/// The tests that decide who runs next: built with another `cfg`, so they have a target directory of their own.
fn schedules(filter: &[&str]) -> Outcome {
    let mut command = cargo(&["test", "--package", "pool-core", "--test", "schedules", "--features", "shuttle"]);
    command.args(["--target-dir", "target/shuttle"]);
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    command.env("RUSTFLAGS", format!("{flags} --cfg shuttle").trim_start());
    command.args(["--", cargo::colour(Stream::Out)]).args(filter);
    counted(command, Stream::Out, libtest_counts)
}

/// Runs it and counts; a command that failed without a failed test (it did not build, say) counts as one failure.
fn counted(command: Command, stream: Stream, count: fn(&[String]) -> Counts) -> Outcome {
    match cargo::tee(command, stream) {
        Ok((status, lines)) => {
            let mut counts = count(&lines);
            if !status.success() && counts.failed == 0 {
                counts.failed = 1;
            }
            Outcome::Ran(counts)
        }
        Err(error) => {
            eprintln!("error: {error}");
            Outcome::Ran(Counts::ONE_FAILURE)
        }
    }
}

/// From `Summary [ 2.1s] 12 tests run: 10 passed (1 slow), 2 failed, 3 skipped`.
fn nextest_counts(lines: &[String]) -> Counts {
    let mut counts = Counts::default();
    let Some(summary) = lines.iter().rev().find(|line| line.trim_start().starts_with("Summary [")) else {
        return counts;
    };
    let (_, tail) = summary.split_once(" run: ").unwrap_or_default();
    // What stands in brackets qualifies the number before it.
    let mut depth = 0;
    let tail: String = tail
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '(');
            let outside = depth == 0;
            depth -= i32::from(*c == ')');
            outside
        })
        .collect();
    for part in tail.split(',') {
        let Some((number, what)) = part.trim().split_once(' ') else { continue };
        let number = number.parse().unwrap_or(0);
        match what.trim() {
            "passed" => counts.passed += number,
            "skipped" => counts.skipped += number,
            // failed, timed out, exec failed
            _ => counts.failed += number,
        }
    }
    counts
}

/// From every `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.1s`.
fn libtest_counts(lines: &[String]) -> Counts {
    let mut counts = Counts::default();
    for line in lines {
        let Some((_, tail)) = line.strip_prefix("test result: ").and_then(|tail| tail.split_once(". ")) else {
            continue;
        };
        for part in tail.split(';') {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" | "filtered out" => counts.skipped += number,
                _ => {}
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn summary_of_nextest_is_read() {
        let check = |summary: &str, passed, failed, skipped| {
            assert_eq!(nextest_counts(&lines(summary)), Counts { passed, failed, skipped }, "{summary}");
        };
        check("     Summary [   5.186s] 10 tests run: 10 passed, 0 skipped", 10, 0, 0);
        check("     Summary [   3.590s] 5/10 tests run: 4 passed, 1 failed, 0 skipped", 4, 1, 0);
        check("     Summary [ 3s] 9 tests run: 6 passed (1 slow, 2 leaky), 1 failed, 2 timed out, 4 skipped", 6, 3, 4);
        check("error: could not compile", 0, 0, 0);
    }

    #[test]
    fn results_of_every_binary_are_added_up() {
        let text = "\
test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.10s
running 3 tests
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(libtest_counts(&lines(text)), Counts { passed: 7, failed: 1, skipped: 3 });
    }

    #[test]
    fn command_that_fails_without_a_failed_test_counts_as_a_failure() {
        let outcome = counted(Command::new("false"), Stream::Out, libtest_counts);
        assert!(matches!(outcome, Outcome::Ran(counts) if counts == Counts::ONE_FAILURE), "{outcome:?}");
    }
}
