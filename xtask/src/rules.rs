//! `cargo xtask rules`: the alerts and the dashboard that the book offers, checked with Prometheus' own promtool.
//!
//! That the metrics in them exist, and that real faults make the alerts fire, are tests: `cargo test -p tests --test alerts`.

use crate::{
    Verdict, cargo,
    report::{Counts, Outcome, Report},
    servers,
};
use ::tests::{monitoring, server::prometheus};
use std::{
    error::Error,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
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
    ("a test notices each number that is changed", sensitive),
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
    test(&files.alerts, &files.tests)
}

/// A number that no test is near is a guess: with each of them halved or doubled, some test must fail.
fn sensitive(files: &Files) -> Result<(), Box<dyn Error>> {
    let mutants = mutants(&files.alerts);
    let next = AtomicUsize::new(0);
    let work = || -> Vec<&str> {
        let taken = std::iter::from_fn(|| mutants.get(next.fetch_add(1, Ordering::Relaxed)));
        let survives = |mutant: &&Mutant| test(&mutant.alerts, &files.tests).is_ok();
        taken.filter(survives).map(|mutant| &*mutant.what).collect()
    };
    let survivors: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("BUG: it does not panic")).collect()
    });
    match (mutants.is_empty(), survivors.is_empty()) {
        (true, _) => Err(format!("{ALERTS} has no numbers to change").into()),
        (_, true) => Ok(()),
        (_, false) => Err(format!("{TESTS} passes with {}", survivors.join(", and with ")).into()),
    }
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

fn test(alerts: &str, tests: &str) -> Result<(), Box<dyn Error>> {
    let place = Place::new()?;
    place.file(ALERTS, alerts)?;
    promtool("test", &place.file(TESTS, tests)?)
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

/// The alerts with one number changed.
#[derive(Debug, PartialEq)]
struct Mutant {
    what: String,
    alerts: String,
}

/// Each with one of the [`changes`].
fn mutants(alerts: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let mut rule = "";
    for (at, line) in alerts.lines().enumerate() {
        let text = line.trim();
        if let Some(name) = ["- alert: ", "- record: "].iter().find_map(|key| text.strip_prefix(key)) {
            rule = name;
        }
        for (place, instead) in changes(text) {
            let what = format!("`{instead}` instead of `{}` in {rule}", &text[place.clone()]);
            let mut changed = text.to_owned();
            changed.replace_range(place, &instead);
            let changed = line.replace(text, &changed);
            let lines = alerts.lines().enumerate().map(|(i, line)| if i == at { &*changed } else { line });
            mutants.push(Mutant { what, alerts: lines.flat_map(|line| [line, "\n"]).collect() });
        }
    }
    mutants
}

/// Twice and half of a threshold (`> 0.8` on a line of its own), of a `for: 5m`, of a window (`[5m]`) and of a limit (`clamp_min(x, 1)`); and
/// the last without its limit.
fn changes(line: &str) -> Vec<(Range<usize>, String)> {
    if line.starts_with('#') {
        return Vec::new();
    }
    let mut changes: Vec<_> = of_whole(line).into_iter().flatten().map(|instead| (0..line.len(), instead)).collect();
    for (at, _) in line.match_indices('[') {
        let Some((window, _)) = line[at + 1..].split_once(']') else { continue };
        let Some(seconds) = seconds(window) else { continue };
        let place = at..at + window.len() + 2;
        changes.extend([seconds * 2, seconds / 2].map(|seconds| (place.clone(), format!("[{seconds}s]"))));
    }
    for (at, name) in ["clamp_min", "clamp_max"].iter().flat_map(|name| line.match_indices(name)) {
        let Some(call) = call(&line[at..]) else { continue };
        let Some((of, limit)) = call[name.len() + 1..call.len() - 1].rsplit_once(", ") else { continue };
        let Ok(limit) = limit.parse::<f64>() else { continue };
        let limits = [limit * 2.0, limit / 2.0].map(|limit| format!("{name}({of}, {limit})"));
        let place = at..at + call.len();
        changes.extend(limits.into_iter().chain([format!("({of})")]).map(|instead| (place.clone(), instead)));
    }
    changes
}

fn of_whole(line: &str) -> Option<[String; 2]> {
    let (key, value) = line.split_once(' ')?;
    match key {
        ">" | ">=" | "<" | "<=" => match value.parse::<f64>().ok()? {
            0.0 => Some(["-1", "2"].map(|number| format!("{key} {number}"))),
            number => Some([number * 2.0, number / 2.0].map(|number| format!("{key} {number}"))),
        },
        "for:" => seconds(value).map(|seconds| [seconds * 2, seconds / 2].map(|seconds| format!("for: {seconds}s"))),
        _ => None,
    }
}

/// Of `5m` or `90s`.
fn seconds(duration: &str) -> Option<u32> {
    let (number, unit) = duration.split_at_checked(duration.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(number.parse::<u32>().ok()? * unit)
}

/// The call of a function that a text begins with, up to the end of its parentheses.
fn call(text: &str) -> Option<&str> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(&text[..=at]),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_an_alert_is_changed_up_and_down() {
        let alerts = "  # Not [1m].\n  - record: used\n    expr: a[90s] / clamp_min(max(b, 2), 1)\n  - alert: Full\n    expr: |\n      \
                      used\n        >= 0.8\n      and waiting\n        > 0\n    for: 5m\n";
        let changes: Vec<_> = mutants(alerts).into_iter().map(|mutant| mutant.what).collect();
        assert_eq!(
            changes,
            [
                "`[180s]` instead of `[90s]` in used",
                "`[45s]` instead of `[90s]` in used",
                "`clamp_min(max(b, 2), 2)` instead of `clamp_min(max(b, 2), 1)` in used",
                "`clamp_min(max(b, 2), 0.5)` instead of `clamp_min(max(b, 2), 1)` in used",
                "`(max(b, 2))` instead of `clamp_min(max(b, 2), 1)` in used",
                "`>= 1.6` instead of `>= 0.8` in Full",
                "`>= 0.4` instead of `>= 0.8` in Full",
                "`> -1` instead of `> 0` in Full",
                "`> 2` instead of `> 0` in Full",
                "`for: 600s` instead of `for: 5m` in Full",
                "`for: 150s` instead of `for: 5m` in Full",
            ]
        );
        assert_eq!(mutants(alerts)[1].alerts, alerts.replace("90s", "45s"));
        assert_eq!(mutants(alerts)[6].alerts, alerts.replace("0.8", "0.4"));
    }

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
