//! `cargo xtask release`: whether the packages are fit to be published. It publishes nothing.

use crate::{
    cargo::{self, cargo},
    report::{Counts, Outcome, Report, Verdict},
};
use std::fs;

/// In the order in which they need each other.
const PACKAGES: [&str; 3] = ["pool-core", "pool-macros", "pool-sqlx"];

/// What every package must bring, beside its sources.
const CONTENTS: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];

pub(crate) fn run() -> Verdict {
    let mut report = Report::default();
    report.group("changelog", changelog);
    report.group("contents", || {
        let mut counts = Counts::default();
        PACKAGES.iter().for_each(|package| counts.add(Counts::one(is_complete(package))));
        Outcome::Ran(counts)
    });
    report.group("licences", || {
        if !cargo::has("deny") {
            eprintln!("error: `cargo deny` is missing; run `cargo install cargo-deny --locked`");
            return Outcome::Ran(Counts::ONE_FAILURE);
        }
        succeeds(&["deny", "check", "licenses", "bans", "sources"])
    });
    // Builds each from its package. What is not committed would be missing there.
    report.group("packages", || succeeds(&["publish", "--workspace", "--dry-run", "--all-features"]));
    Ok(report.finish())
}

/// Whether the changelog has a section for the version in the manifest.
fn changelog() -> Outcome {
    let read = |path| fs::read_to_string(cargo::root().join(path)).unwrap_or_default();
    let Some(version) = version(&read("Cargo.toml")).map(str::to_owned) else {
        eprintln!("error: Cargo.toml has no version");
        return Outcome::Ran(Counts::ONE_FAILURE);
    };
    let has_section = has_section(&read("CHANGELOG.md"), &version);
    if !has_section {
        eprintln!("error: CHANGELOG.md has no `## [{version}]`; what is unreleased goes there");
    }
    Outcome::Ran(Counts::one(has_section))
}

fn version(manifest: &str) -> Option<&str> {
    let (_, package) = manifest.split_once("[workspace.package]\n")?;
    package.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
}

fn has_section(changelog: &str, version: &str) -> bool {
    changelog.lines().any(|line| line.starts_with(&format!("## [{version}]")))
}

fn is_complete(package: &str) -> bool {
    let output = cargo(&["package", "--list", "--allow-dirty", "--package", package]).output();
    let list = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let missing: Vec<_> = CONTENTS.iter().filter(|file| !list.lines().any(|line| line == **file)).collect();
    if !missing.is_empty() {
        eprintln!("error: {package} is packaged without {missing:?}");
    }
    missing.is_empty()
}

fn succeeds(arguments: &[&str]) -> Outcome {
    Outcome::Ran(Counts::one(cargo(arguments).status().is_ok_and(|status| status.success())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_brings_its_readme_and_its_licences() {
        for package in PACKAGES {
            assert!(is_complete(package), "{package}");
        }
    }

    #[test]
    fn the_version_and_its_section_are_found() {
        let manifest = "[workspace]\nresolver = \"3\"\n[workspace.package]\nversion = \"0.2.1\"\nedition = \"2024\"\n";
        assert_eq!(version(manifest), Some("0.2.1"));
        assert!(has_section("# Changelog\n\n## [0.2.1] - 2026-11-23\n", "0.2.1"));
        assert!(!has_section("# Changelog\n\n## [Unreleased]\n\nfor 0.2.1\n", "0.2.1"));
    }

    #[test]
    fn our_own_crates_are_asked_for_by_the_version_that_is_released() {
        let manifest = fs::read_to_string(cargo::root().join("Cargo.toml")).unwrap();
        let version = version(&manifest).expect("there is one");
        for package in PACKAGES {
            let line = manifest.lines().find(|line| line.starts_with(&format!("{package} = ")));
            let line = line.unwrap_or_else(|| panic!("{package} is no dependency of the workspace"));
            assert!(
                line.contains(&format!("version = \"{version}\""))
                    || line.contains(&format!("version = \"={version}\"")),
                "{line}"
            );
        }
    }
}
