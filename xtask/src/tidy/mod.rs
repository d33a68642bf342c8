//! `cargo xtask tidy`: everything about the source that is not a test.

mod architecture;
mod floors;
mod source;
mod text;
mod uses;

use crate::{
    book,
    cargo::{self, EVERYTHING, cargo},
    features,
    report::{Counts, Outcome, Report, Verdict},
};
use source::{Finding, Source};
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Runs every group; each tells all that it finds.
pub(crate) fn run() -> Verdict {
    let mut report = Report::default();
    report.group("format", || component("fmt", "rustfmt", cargo(&["fmt", "--all", "--check"])));
    report.group("rules", || rules(cargo::root()));
    report.group("clippy", || {
        let mut clippy = cargo(&["clippy", "--all-targets"]);
        clippy.args(EVERYTHING).args(["--", "-D", "warnings"]);
        component("clippy", "clippy", clippy)
    });
    report.group("features", combinations);
    report.group("table", features::check);
    report.group("docs", || {
        let mut docs = cargo(&["doc", "--no-deps"]);
        docs.args(EVERYTHING).env("RUSTDOCFLAGS", "-D warnings");
        check(docs)
    });
    report.group("alerts", crate::rules::check);
    report.group("book", || check(book::command(book::Then::Stop)));
    Ok(report.finish())
}

/// What users switch on, alone and in company: each must build by itself without a warning.
const FEATURES: &[(&str, &str)] = &[
    ("pool-core", ""),
    ("pool-sqlx", ""),
    ("pool-sqlx", "sqlite"),
    ("pool-sqlx", "postgres"),
    ("pool-sqlx", "mysql"),
    ("pool-sqlx", "sqlite axum migrate"),
    ("pool-sqlx", "sqlite status-page"),
    ("pool-sqlx", "postgres actix"),
    ("pool-sqlx", "mysql tonic testing otel-0-32"),
    ("pool-sqlx", "sqlite otel-0-33"),
    ("pool-sqlx", "postgres tls-rustls tls-rustls-ring tls-rustls-ring-webpki tls-rustls-ring-native-roots"),
];

fn combinations() -> Outcome {
    let mut counts = Counts::default();
    for (package, features) in FEATURES {
        println!("{package} [{features}]");
        let mut command = cargo(&["clippy", "--package", package, "--no-default-features", "--features", features]);
        command.args(["--", "-D", "warnings"]);
        match command.status().is_ok_and(|status| status.success()) {
            true => counts.passed += 1,
            false => counts.failed += 1,
        }
    }
    Outcome::Ran(counts)
}

type Rule = (&'static str, fn(&[Source]) -> Vec<Finding>);

/// The rules of the house. Each is a function from the files to what is wrong with them.
const RULES: &[Rule] = &[
    ("imports run one way", architecture::imports),
    ("the book shows the floors", floors::picture),
    ("the deciding half uses std only", architecture::state_is_std_only),
    ("each crate depends on what it may", architecture::dependencies),
    ("nothing is left to do", text::unfinished),
    ("no path or host of one machine", text::machines),
];

fn rules(root: &Path) -> Outcome {
    let sources = match source::below(root) {
        Ok(sources) => sources,
        Err(error) => {
            eprintln!("error: {error}");
            return Outcome::Ran(Counts::ONE_FAILURE);
        }
    };
    let mut counts = Counts::default();
    for (name, rule) in RULES {
        let findings = rule(&sources);
        findings.iter().for_each(|finding| eprintln!("error: {finding} ({name})"));
        counts.add(Counts::one(findings.is_empty()));
    }
    Outcome::Ran(counts)
}

/// A check that needs a component of the toolchain, which is added in CI where rustup can.
fn component(subcommand: &str, component: &str, command: Command) -> Outcome {
    if !cargo::has(subcommand) && cargo::is_ci() {
        eprintln!("`cargo {subcommand}` is missing: adding it with rustup");
        let _ = Command::new("rustup").args(["component", "add", component]).stdin(Stdio::null()).status();
    }
    if cargo::has(subcommand) {
        check(command)
    } else {
        Outcome::Skipped(format!("`cargo {subcommand}` is missing; run `rustup component add {component}`"))
    }
}

fn check(mut command: Command) -> Outcome {
    let passed = match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("error: {:?}: {error}", command.get_program());
            false
        }
    };
    Outcome::Ran(Counts::one(passed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_feature_is_built_by_itself_or_in_company() {
        let built: Vec<&str> = FEATURES.iter().flat_map(|(_, features)| features.split(' ')).collect();
        for manifest in ["pool-core/Cargo.toml", "pool-sqlx/Cargo.toml"] {
            let manifest = fs::read_to_string(cargo::root().join(manifest)).unwrap();
            for (feature, _) in features::features(&manifest).unwrap() {
                assert!(built.contains(&feature.as_str()), "add {feature} to FEATURES");
            }
        }
    }

    #[test]
    fn the_repository_keeps_the_rules() {
        assert!(matches!(rules(cargo::root()), Outcome::Ran(counts) if counts.failed == 0));
    }

    #[test]
    fn failing_command_fails_its_group() {
        assert!(matches!(check(Command::new("false")), Outcome::Ran(Counts::ONE_FAILURE)));
    }
}
