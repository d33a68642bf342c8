//! `cargo xtask rules`: the alerts and the dashboard that the book offers, checked with Prometheus' own promtool.
//!
//! That the metrics in them exist, and that real faults make the alerts fire, are tests: `cargo test -p tests --test alerts`.

use crate::{
    cargo,
    report::{Counts, Outcome, Report, Verdict},
    servers,
};
use ::tests::{monitoring, server::prometheus};
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

const ALERTS: &str = "alerts.yml";
const TESTS: &str = "alerts_test.yml";
const DASHBOARD: &str = "dashboard.json";
/// Where the alerts tell people to look.
const PAGE: &str = "book/src/guide/alerts.md";

/// Checks them all.
pub(crate) fn run() -> Verdict {
    let mut report = Report::default();
    report.group("alerts", check);
    Ok(report.finish())
}

/// The same, as a group of another verb.
pub(crate) fn check() -> Outcome {
    if let Err(reason) = servers::prometheus() {
        return Outcome::Skipped(reason.to_string());
    }
    let mut counts = Counts::default();
    for (what, check) in CHECKS {
        let verdict = Files::read().and_then(|files| check(&files));
        if let Err(error) = &verdict {
            eprintln!("error: {error} ({what})");
        }
        counts.add(Counts::one(verdict.is_ok()));
    }
    Outcome::Ran(counts)
}

type Check = fn(&Files) -> Result<(), Box<dyn Error>>;

const CHECKS: &[(&str, Check)] = &[
    ("promtool understands the alerts", understood),
    ("the tests of the alerts pass", tested),
    ("each alert says what is so and what to do", helpful),
    ("each expression of the dashboard is one", drawable),
];

/// The files as they are.
struct Files {
    alerts: String,
    tests: String,
    dashboard: String,
    page: String,
}

impl Files {
    fn read() -> Result<Self, Box<dyn Error>> {
        let read = |path: PathBuf| fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()));
        let monitoring = monitoring::directory();
        Ok(Self {
            alerts: read(monitoring.join(ALERTS))?,
            tests: read(monitoring.join(TESTS))?,
            dashboard: read(monitoring.join(DASHBOARD))?,
            page: read(cargo::root().join(PAGE))?,
        })
    }
}

fn understood(files: &Files) -> Result<(), Box<dyn Error>> {
    let place = Place::new()?;
    promtool("check", &place.file(ALERTS, &files.alerts)?)
}

fn tested(files: &Files) -> Result<(), Box<dyn Error>> {
    let place = Place::new()?;
    place.file(ALERTS, &files.alerts)?;
    promtool("test", &place.file(TESTS, &files.tests)?)
}

fn helpful(files: &Files) -> Result<(), Box<dyn Error>> {
    let headings: Vec<_> = files.page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for rule in monitoring::rules(&files.alerts).filter(|rule| rule.starts_with("alert: ")) {
        let name = monitoring::name(rule);
        for key in ["summary: ", "description: ", "runbook_url: https://"] {
            if !rule.contains(&format!("\n      {key}")) {
                return Err(format!("{name} has no {}", key.trim_end()).into());
            }
        }
        if !["warning", "critical"].iter().any(|word| rule.contains(&format!("\n      severity: {word}\n"))) {
            return Err(format!("{name} is neither a warning nor critical").into());
        }
        if !rule.contains(&format!("/{PAGE}#{}\n", name.to_lowercase())) || !headings.contains(&name) {
            return Err(format!("{name} does not lead to a heading of that name in {PAGE}").into());
        }
    }
    Ok(())
}

/// Prometheus parses expressions only as rules.
fn drawable(files: &Files) -> Result<(), Box<dyn Error>> {
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (number, expression) in monitoring::of_dashboard(&files.dashboard, "5m")?.iter().enumerate() {
        // A string of JSON is one of YAML.
        rules += &format!("  - record: n{number}\n    expr: {}\n", serde_json::to_string(&expression.text)?);
    }
    let place = Place::new()?;
    promtool("check", &place.file(ALERTS, &rules)?)
}

fn promtool(verb: &str, file: &Path) -> Result<(), Box<dyn Error>> {
    let output = Command::new(prometheus::program("promtool")?).args([verb, "rules"]).arg(file).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            Err([output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat().into())
        }
    }
}

/// A directory of one run of promtool.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self, Box<dyn Error>> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pool-rules-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf, Box<dyn Error>> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alert_that_leads_nowhere_is_found() {
        let files = |page: &str| {
            Files {
            alerts: "\n  - alert: Full\n    labels:\n      severity: warning\n    annotations:\n      summary: a\n      description: b\n      \
                     runbook_url: https://example.org/book/src/guide/alerts.md#full\n"
                .into(),
            tests: String::new(),
            dashboard: String::new(),
            page: page.into(),
        }
        };
        assert!(helpful(&files("# Alerts\n\n## Full\n")).is_ok());
        let error = helpful(&files("# Alerts\n\n## Empty\n")).unwrap_err().to_string();
        assert_eq!(error, format!("Full does not lead to a heading of that name in {PAGE}"));
    }
}
