//! The picture of the crates and of `pool-core`'s modules, held against their `use` lines. The same picture is in the book.

use super::{Finding, Source, rust};
use std::collections::HashMap;

/// The modules of `pool-core`, lowest first: each may use its own layer and those below.
const LAYERS: &[&[&str]] = &[
    &["error", "event", "histogram", "manager", "settings", "status", "timeline"],
    &["state"],
    &["nested", "outbox"],
    &["shared"],
    &["acquire", "pooled", "job"],
    &["driver"],
    &["pool"],
];

/// Modules of `pool-core` that use no other, and that all may use.
const ALONE: &[&str] = &["backoff", "bits", "sync"];

/// Modules of `pool-core` for its users' tests: they may use all, and no one uses them.
const ABOVE: &[&str] = &["testing"];

/// What each crate may depend on, its own tests aside.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("pool-core", &["pin-project-lite", "serde", "shuttle", "tokio", "tracing"]),
    ("pool-macros", &["proc-macro2", "quote", "strsim", "syn"]),
];

const CORE: &str = "pool-core/src/";

/// Every module of `pool-core` uses only its own layer and those below.
pub(super) fn imports(sources: &[Source]) -> Vec<Finding> {
    let core: Vec<(&str, &Source)> = sources.iter().filter_map(|source| Some((module(source)?, source))).collect();
    let reexports: HashMap<String, String> =
        core.iter().filter(|(module, _)| *module == "lib").flat_map(|(_, lib)| rust::reexports(&lib.text)).collect();
    let mut findings = Vec::new();
    for (from, source) in &core {
        if *from == "lib" {
            continue;
        }
        if height(from).is_none() {
            let what = format!("module `{from}` has no place in the picture; give it one in xtask's LAYERS");
            findings.push(Finding { file: source.path.clone(), line: 1, what });
            continue;
        }
        for path in rust::paths(&source.text) {
            let Some(names) = from_crate_root(&path.segments, &source.path) else { continue };
            let Some(first) = names.first() else { continue };
            let targets: Vec<&str> = match first.as_str() {
                // Everything that the crate shows.
                "*" => reexports.values().map(String::as_str).collect(),
                name if core.iter().any(|(module, _)| module == &name) => vec![name],
                name => reexports.get(name).map(String::as_str).into_iter().collect(),
            };
            if let Some(to) = targets.into_iter().find(|to| !may_use(from, to)) {
                let what = format!("`{from}` uses `{to}` by `{}`, which is not below it", path.segments.join("::"));
                findings.push(Finding { file: source.path.clone(), line: path.line, what });
            }
        }
    }
    findings
}

/// The deciding half knows neither clock nor runtime nor any crate.
pub(super) fn state_is_std_only(sources: &[Source]) -> Vec<Finding> {
    const CLOCKS: [[&str; 2]; 2] = [["Instant", "now"], ["SystemTime", "now"]];
    let crates = sources
        .iter()
        .filter(|source| source.path == "pool-core/Cargo.toml")
        .flat_map(|source| dependencies_of(&source.text).into_iter().map(|(name, _)| name.replace('-', "_")))
        .collect::<Vec<_>>();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| module(source) == Some("state")) {
        for path in rust::paths(&source.text) {
            let root = &path.segments[0];
            let what = if crates.contains(root) {
                format!("the state uses std only, not `{root}`")
            } else if path.segments.windows(2).any(|pair| CLOCKS.iter().any(|clock| pair == clock)) {
                format!("the state is told the time, it never asks: `{}`", path.segments.join("::"))
            } else {
                continue;
            };
            findings.push(Finding { file: source.path.clone(), line: path.line, what });
        }
    }
    findings
}

/// No crate depends on what it must not know.
pub(super) fn dependencies(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, allowed) in DEPENDENCIES {
        let manifest = format!("{name}/Cargo.toml");
        for source in sources.iter().filter(|source| source.path == manifest) {
            for (dependency, line) in dependencies_of(&source.text) {
                if !allowed.contains(&dependency.as_str()) {
                    let what = format!("{name} may depend on {} only, not on `{dependency}`", allowed.join(", "));
                    findings.push(Finding { file: manifest.clone(), line, what });
                }
            }
        }
    }
    findings
}

/// The first-level module of `pool-core` that a file belongs to; `lib` for the crate's root; none for files of tests.
fn module(source: &Source) -> Option<&str> {
    let inside = source.path.strip_prefix(CORE)?.strip_suffix(".rs")?;
    if inside.ends_with("/tests") || inside.contains("/tests/") {
        return None;
    }
    inside.split('/').next()
}

fn height(module: &str) -> Option<usize> {
    if ALONE.contains(&module) {
        return Some(0);
    }
    if ABOVE.contains(&module) {
        return Some(LAYERS.len());
    }
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn may_use(from: &str, to: &str) -> bool {
    if from == to || ALONE.contains(&to) {
        return true;
    }
    if ALONE.contains(&from) || ABOVE.contains(&to) {
        return false;
    }
    height(from) >= height(to)
}

/// The path as seen from the crate's root, or none if it leads elsewhere.
fn from_crate_root(segments: &[String], file: &str) -> Option<Vec<String>> {
    let inside = file.strip_prefix(CORE)?.strip_suffix(".rs")?;
    let mut here: Vec<&str> = inside.split('/').filter(|part| *part != "mod").collect();
    match segments[0].as_str() {
        "crate" => Some(segments[1..].to_vec()),
        "super" => {
            let ups = segments.iter().take_while(|segment| *segment == "super").count();
            here.truncate(here.len().saturating_sub(ups));
            Some(here.iter().map(|part| (*part).to_owned()).chain(segments[ups..].iter().cloned()).collect())
        }
        _ => None,
    }
}

/// Names and lines of what a manifest's `[dependencies]` lists, platform-specific ones included.
fn dependencies_of(manifest: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (number, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let section = section.rsplit_once("'.").map_or(section, |(_, rest)| rest);
            inside = matches!(section, "dependencies" | "build-dependencies");
            if let Some(name) = section.strip_prefix("dependencies.") {
                found.push((name.to_owned(), number + 1));
            }
        } else if inside
            && let Some(end) = line.find(['.', '=', ' '])
            && !line.starts_with('#')
        {
            found.push((line[..end].trim_matches('"').to_owned(), number + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    const LIB: &str = "mod acquire; mod state; pub use acquire::Acquire; pub use status::Status; pub use pool::Pool;";

    fn check(rule: fn(&[Source]) -> Vec<Finding>, files: &[(&str, &str)], expected: &[&str]) {
        let mut sources: Vec<_> = files.iter().map(|(path, text)| source(path, text)).collect();
        sources.push(source("pool-core/src/lib.rs", LIB));
        let found: Vec<_> = rule(&sources).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "expected `{expected}`, found `{found}`");
        }
    }

    #[test]
    fn import_from_above_is_found() {
        check(
            imports,
            &[("pool-core/src/shared.rs", "\nuse crate::driver::Driver;"), ("pool-core/src/driver.rs", "")],
            &["pool-core/src/shared.rs:2: `shared` uses `driver`"],
        );
    }

    #[test]
    fn import_through_the_crates_root_is_found() {
        check(
            imports,
            &[("pool-core/src/state/idle.rs", "use crate::{Status, Acquire};")],
            &["pool-core/src/state/idle.rs:1: `state` uses `acquire` by `crate::Acquire`"],
        );
        check(imports, &[("pool-core/src/error.rs", "use crate::*;")], &["pool-core/src/error.rs:1: `error` uses"]);
    }

    #[test]
    fn import_by_super_is_found() {
        check(
            imports,
            &[("pool-core/src/state/idle.rs", "use super::{queue, super::Pool};")],
            &["pool-core/src/state/idle.rs:1: `state` uses `pool` by `super::super::Pool`"],
        );
    }

    #[test]
    fn path_in_the_code_counts_as_an_import() {
        check(
            imports,
            &[("pool-core/src/status.rs", "fn f() {\n crate::Pool::new() }")],
            &["pool-core/src/status.rs:2: `status` uses `pool`"],
        );
    }

    #[test]
    fn import_from_below_or_beside_is_fine() {
        check(
            imports,
            &[
                ("pool-core/src/pool.rs", "use crate::{Acquire, Status, state::State, backoff::Backoff};"),
                ("pool-core/src/backoff.rs", "use std::time::Duration;"),
                ("pool-core/src/acquire.rs", "use crate::pooled::Pooled;"),
                ("pool-core/src/pooled.rs", "use crate::Acquire;"),
                ("pool-core/src/status.rs", "#[cfg(test)] mod tests { use crate::Pool; }"),
                ("pool-core/src/state/tests.rs", "use crate::Pool;"),
            ],
            &[],
        );
    }

    #[test]
    fn backoff_that_imports_anything_is_found() {
        check(imports, &[("pool-core/src/backoff.rs", "use crate::Status;")], &["pool-core/src/backoff.rs:1"]);
    }

    #[test]
    fn import_of_the_testing_tools_is_found() {
        let files = [("pool-core/src/pool.rs", "use crate::testing::Script;"), ("pool-core/src/testing.rs", "")];
        check(imports, &files, &["pool-core/src/pool.rs:1"]);
    }

    #[test]
    fn module_without_a_place_is_found() {
        check(imports, &[("pool-core/src/helpers.rs", "")], &["pool-core/src/helpers.rs:1: module `helpers`"]);
    }

    #[test]
    fn state_that_asks_for_the_time_is_found() {
        check(
            state_is_std_only,
            &[("pool-core/src/state/mod.rs", "fn f() {\n std::time::Instant::now(); }")],
            &["pool-core/src/state/mod.rs:2: the state is told the time"],
        );
        check(state_is_std_only, &[("pool-core/src/driver.rs", "fn f() { Instant::now(); }")], &[]);
    }

    #[test]
    fn state_that_uses_a_crate_is_found() {
        let manifest = ("pool-core/Cargo.toml", "[dependencies]\ntokio = \"1\"\n");
        let state = |text| [manifest, ("pool-core/src/state/live.rs", text)];
        check(state_is_std_only, &state("use tokio::time::Instant;"), &["pool-core/src/state/live.rs:1"]);
        check(state_is_std_only, &state("use std::time::Instant;"), &[]);
    }

    #[test]
    fn forbidden_dependency_is_found() {
        check(
            dependencies,
            &[("pool-core/Cargo.toml", "[dependencies]\ntokio = \"1\"\nsqlx.workspace = true\n")],
            &[
                "pool-core/Cargo.toml:3: pool-core may depend on pin-project-lite, serde, shuttle, tokio, tracing only, not on `sqlx`",
            ],
        );
        check(
            dependencies,
            &[("pool-core/Cargo.toml", "[target.'cfg(unix)'.dependencies]\naxum = \"1\"\n")],
            &["pool-core/Cargo.toml:2"],
        );
        check(
            dependencies,
            &[("pool-macros/Cargo.toml", "[dependencies.pool-core]\npath = \"..\"\n")],
            &["pool-macros/Cargo.toml:1"],
        );
        check(dependencies, &[("pool-core/Cargo.toml", "[dev-dependencies]\nsqlx = \"0.9\"\n")], &[]);
    }
}
