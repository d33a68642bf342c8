//! The architecture, held by a machine: the floors of each crate against the names in its code, and what a crate may depend on.

use super::{
    floors::{HOUSE, height},
    source::{Finding, Source},
    uses::{Crate, Use},
};
use std::collections::HashSet;
use toml::{Table, Value};

/// What each crate may depend on, its own tests aside.
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("pool-core", &["pin-project-lite", "serde", "shuttle", "tokio", "tracing"]),
    ("pool-macros", &["proc-macro2", "quote", "strsim", "syn"]),
];

/// Every module has a floor and uses only what stands before it in the table, and no two files lead to each other.
pub(super) fn imports(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, floors) in HOUSE {
        let house = match Crate::read(name, sources) {
            Ok(house) => house,
            Err(unreadable) => {
                findings.push(unreadable);
                continue;
            }
        };
        // The root has no room: it is above all.
        let height = |module: &[String]| module.first().map_or(Some(usize::MAX), |room| height(floors, room));
        for (module, read) in house.modules.iter().filter(|(module, _)| module.len() == 1 && height(module).is_none()) {
            let what = format!("`{}` has no floor; give it one in xtask/src/tidy/floors.rs", shown(module));
            findings.push(Finding { file: read.file.into(), line: 1, what });
        }
        // The root of a folder is what its files have in common, so each of them may use it. The crate's root is above all.
        let is_of_its_own_folder = |used: &Use<'_>| !used.to.is_empty() && used.from.starts_with(used.to);
        let uses: Vec<_> = house.uses().into_iter().filter(|used| !is_of_its_own_folder(used)).collect();
        for used in &uses {
            let which = match (way_back(used, &uses), height(used.from), height(used.to)) {
                (Some(way), ..) => format!("leads back: {way}"),
                (None, Some(from), Some(to)) if from < to => "is not below it".into(),
                _ => continue,
            };
            let what = format!("`{}` uses `{}` by `{}`, which {which}", shown(used.from), shown(used.to), used.by);
            findings.push(Finding { file: used.file.into(), line: used.line, what });
        }
    }
    findings
}

fn shown(module: &[String]) -> String {
    if module.is_empty() { "lib".into() } else { module.join("/") }
}

/// The shortest way from what is used to what uses it.
fn way_back(of: &Use<'_>, uses: &[Use<'_>]) -> Option<String> {
    let mut ways = vec![(of.to, shown(of.to))];
    let mut seen = HashSet::from([of.to]);
    let mut next = 0;
    while let Some((last, way)) = ways.get(next).cloned() {
        if last == of.from {
            return Some(way);
        }
        let further = uses.iter().filter(|used| used.from == last && seen.insert(used.to));
        ways.extend(further.map(|used| (used.to, format!("{way} -> {}", shown(used.to)))));
        next += 1;
    }
    None
}

/// The deciding half knows neither clock nor runtime nor any crate.
pub(super) fn state_is_std_only(sources: &[Source]) -> Vec<Finding> {
    const CLOCKS: [[&str; 2]; 2] = [["Instant", "now"], ["SystemTime", "now"]];
    // What else it might name, `dependencies` refuses.
    let crates: Vec<_> = DEPENDENCIES[0].1.iter().map(|name| name.replace('-', "_")).collect();
    let core = Crate::read("pool-core", sources).unwrap_or_default();
    let mut findings = Vec::new();
    for module in core.modules.iter().filter(|(module, _)| module.first().is_some_and(|room| room == "state")) {
        for path in &module.1.paths {
            let what = if crates.contains(&path.names[0]) {
                format!("the state uses std only, not `{}`", path.names[0])
            } else if path.names.windows(2).any(|pair| CLOCKS.iter().any(|clock| pair == clock)) {
                format!("the state is told the time, it never asks: `{}`", path.names.join("::"))
            } else {
                continue;
            };
            findings.push(Finding { file: module.1.file.into(), line: path.line, what });
        }
    }
    findings
}

/// No crate depends on what it must not know, on any platform.
pub(super) fn dependencies(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, allowed) in DEPENDENCIES {
        let path = format!("{name}/Cargo.toml");
        let Some(source) = sources.iter().find(|source| source.path == path) else { continue };
        let manifest = Value::Table(source.text.parse().expect("BUG: cargo has read it to start us"));
        let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
        let sections = targets.chain([&manifest]).flat_map(|of| [of.get("dependencies"), of.get("build-dependencies")]);
        for dependency in sections.flatten().filter_map(Value::as_table).flat_map(Table::keys) {
            if !allowed.contains(&dependency.as_str()) {
                let line = 1 + source.text.lines().take_while(|line| !line.contains(dependency)).count();
                let what = format!("{name} may depend on {} only, not on `{dependency}`", allowed.join(", "));
                findings.push(Finding { file: path.clone(), line, what });
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cargo, tidy::source};

    /// A `pool-core` of these files, one on each line, in which `⏎` is a line break. Rooms without one are empty, and the face shows some items.
    fn core(files: &str) -> Vec<Source> {
        let mut lib =
            "lib.rs pub use acquire::Acquire; pub use pool::Pool; pub use status::Status; pub struct Main;".to_owned();
        let mut all = files.to_owned();
        for room in HOUSE[0].1.iter().flat_map(|(rooms, _)| *rooms) {
            lib += &format!("mod {room};");
            let is_given = files.lines().any(|file| file.split(['/', '.']).next() == Some(room));
            all += &if is_given { String::new() } else { format!("\n{room}.rs ") };
        }
        let all = all.lines().chain([lib.as_str()]).filter_map(|file| file.split_once(' '));
        all.map(|(path, text)| source::source(&format!("pool-core/src/{path}"), &text.replace('⏎', "\n"))).collect()
    }

    fn check(rule: fn(&[Source]) -> Vec<Finding>, files: &str, expected: &[&str]) {
        check_sources(rule, &core(files), expected);
    }

    fn check_sources(rule: fn(&[Source]) -> Vec<Finding>, sources: &[Source], expected: &[&str]) {
        let found: Vec<_> = rule(sources).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            let found = found.strip_prefix("pool-core/src/").unwrap_or(found);
            assert!(found.starts_with(expected), "expected `{expected}`, found `{found}`");
        }
    }

    #[test]
    fn the_house_is_in_order() {
        /// Held already; `cargo xtask tidy` holds all.
        const HELD: [&str; 1] = ["xtask/"];
        let found = imports(&source::below(cargo::root()).unwrap());
        let found = found.into_iter().filter(|finding| HELD.iter().any(|held| finding.file.starts_with(held)));
        assert_eq!(found.map(|finding| format!("{finding}\n")).collect::<String>(), "");
    }

    #[test]
    fn every_crate_is_held_to_its_floors() {
        let sources = HOUSE.iter().flat_map(|(name, floors)| {
            let (low, high) = (floors[0].0[0], floors[1].0[0]);
            let root = if *name == "xtask" { "main" } else { "lib" };
            let file = |room: &str, text: &str| source::source(&format!("{name}/src/{room}.rs"), text);
            let uses = file(low, &format!("use crate::{high}::Item;"));
            [file(root, &format!("mod {low}; mod {high};")), uses, file(high, "pub struct Item;")]
        });
        let found = imports(&sources.collect::<Vec<_>>());
        assert_eq!(found.len(), HOUSE.len(), "{found:?}");
    }

    #[test]
    fn import_from_above_is_found() {
        check(imports, "shared.rs ⏎use crate::driver::Driver;", &["shared.rs:2: `shared` uses `driver`"]);
        check(imports, "pooled.rs use crate::acquire::Acquire;", &["pooled.rs:1: `pooled` uses `acquire`"]);
    }

    #[test]
    fn import_through_the_crates_root_is_found() {
        let files = "state/mod.rs mod idle;\nstate/idle.rs use crate::{Status, Acquire};";
        check(
            imports,
            files,
            &["state/idle.rs:1: `state/idle` uses `acquire` by `crate::Acquire`, which is not below it"],
        );
    }

    #[test]
    fn import_of_an_item_of_the_root_is_found() {
        check(imports, "pool.rs use crate::Main;", &["pool.rs:1: `pool` uses `lib` by `crate::Main`"]);
    }

    #[test]
    fn glob_counts_and_so_do_the_names_taken_from_it() {
        let found = ["error.rs:1: `error` uses `lib` by `crate::*`", "error.rs:2: `error` uses `acquire` by `Acquire`"];
        check(imports, "error.rs use crate::*;⏎fn f(_: Acquire) {}", &found);
        let files =
            "pool/mod.rs mod rows; pub use rows::*;\npool/rows.rs pub struct Row;\nerror.rs use crate::pool::Row;";
        check(imports, files, &["error.rs:1: `error` uses `pool/rows` by `crate::pool::Row`"]);
        check(imports, "error.rs use crate::pool::*;", &["error.rs:1: `error` uses `pool` by `crate::pool::*`"]);
    }

    #[test]
    fn import_through_the_face_of_a_room_is_found() {
        let files = "state/mod.rs mod query; mod rows; pub(crate) use query::Rows; pub use self::rows::*;\n\
                     state/query.rs use crate::shared::Shared; pub struct Rows;\n\
                     state/rows.rs pub struct Row;\n\
                     shared.rs use crate::state::{Row, Rows}; pub struct Shared;";
        let found = [
            "shared.rs:1: `shared` uses `state/query` by `crate::state::Rows`, which leads back: state/query -> shared",
            "state/query.rs:1: `state/query` uses `shared` by `crate::shared::Shared`, which leads back: shared -> state/query",
        ];
        check(imports, files, &found);
    }

    #[test]
    fn import_by_super_is_found() {
        let files = "state/mod.rs mod idle; mod queue;\nstate/idle.rs use super::{queue, super::Pool};";
        check(imports, files, &["state/idle.rs:1: `state/idle` uses `pool` by `super::super::Pool`"]);
        let inline = "state/mod.rs mod idle { use super::super::Pool; }";
        check(imports, inline, &["state/mod.rs:1: `state` uses `pool` by `super::super::Pool`"]);
    }

    #[test]
    fn import_of_an_import_leads_to_the_file_that_has_the_item() {
        check(imports, "state/mod.rs use crate::Status; mod idle;\nstate/idle.rs use super::Status;", &[]);
        let files = "status.rs use crate::{pool as p, Pool as P};\nsettings.rs use crate::status::{P, p};";
        let found =
            ["settings.rs:1: `settings` uses `pool` by `crate::status::P`", "status.rs:1: `status` uses `pool`"];
        check(imports, files, &found);
    }

    #[test]
    fn path_in_the_code_counts_as_an_import() {
        for text in [
            "⏎pub use crate::Pool;",
            "fn f() {⏎ crate::Pool::new() }",
            "fn f() {⏎ use crate::pool; pool::of(1) }",
            "fn f() {⏎ info!(size = self.pool.size, \"{}\", [crate::Pool::new()]) }",
            "macro_rules! of { () => {⏎ $crate::pool::of() } }",
            "#[cfg(any(test, unix))]⏎use crate::Pool;",
        ] {
            check(imports, &format!("status.rs {text}"), &["status.rs:2: `status` uses `pool`"]);
        }
    }

    #[test]
    fn import_from_below_or_beside_is_fine() {
        let files = "pool.rs use crate::{Acquire, Status, state::State, backoff::Backoff}; pub(in crate::testing) fn f() {}\n\
                     backoff.rs use std::time::Duration; use ::tests::pool; fn f(pool: u8, x: X) { x.pool(pool); }\n\
                     acquire.rs use crate::pooled::Pooled;";
        check(imports, files, &[]);
    }

    #[test]
    fn tests_may_name_anything() {
        let files = "status.rs #[cfg(test)] mod tests { use crate::Pool; } #[cfg(all(test, unix))] use crate::pool::{A, B};\n\
                     state/mod.rs #[cfg(test)] mod tests; struct State { #[cfg(test)] pool: crate::Pool, b: u8 }\n\
                     state/tests.rs use crate::Pool;";
        check(imports, files, &[]);
    }

    #[test]
    fn backoff_that_imports_anything_is_found() {
        check(imports, "backoff.rs use crate::Status;", &["backoff.rs:1"]);
    }

    #[test]
    fn import_of_the_testing_tools_is_found() {
        check(imports, "pool.rs use crate::testing::Script;", &["pool.rs:1"]);
    }

    #[test]
    fn module_without_a_place_is_found() {
        let lib =
            [source::source("pool-core/src/lib.rs", "mod helpers;"), source::source("pool-core/src/helpers.rs", "")];
        check_sources(imports, &lib, &["helpers.rs:1: `helpers` has no floor; give it one"]);
    }

    #[test]
    fn file_that_is_not_understood_is_found() {
        check(imports, "state.rs ⏎fn ;", &["state.rs:2: expected identifier"]);
    }

    #[test]
    fn files_in_a_circle_are_found() {
        let files = "settings.rs use crate::error::Error; pub struct Settings;\n\
                     error.rs use crate::Status; pub struct Error;\n\
                     status.rs use crate::settings::Settings; pub struct Status;\n\
                     pool.rs use crate::settings::Settings;";
        let found = [
            "error.rs:1: `error` uses `status` by `crate::Status`, which leads back: status -> settings -> error",
            "settings.rs:1: `settings` uses `error` by `crate::error::Error`, which leads back: error -> status -> settings",
            "status.rs:1: `status` uses `settings`",
        ];
        check(imports, files, &found);
    }

    #[test]
    fn a_file_may_use_the_root_of_its_own_folder() {
        for parent in ["pub struct State(queue::Queue);", "use queue::Queue; pub struct State(Queue);"] {
            let files = format!("state/mod.rs mod queue; {parent}\nstate/queue.rs use super::State; pub struct Queue;");
            check(imports, &files, &[]);
        }
    }

    #[test]
    fn files_of_one_folder_that_use_each_other_are_a_circle() {
        let files = "state/mod.rs mod idle; mod queue;\nstate/idle.rs use super::queue::Queue; pub struct Idle;\n\
                     state/queue.rs use super::idle::Idle; pub struct Queue;";
        check(
            imports,
            files,
            &[
                "state/idle.rs:1: `state/idle` uses `state/queue` by `super::queue::Queue`, which leads back: state/queue -> state/idle",
                "state/queue.rs:1: `state/queue` uses `state/idle` by `super::idle::Idle`, which leads back",
            ],
        );
    }

    #[test]
    fn parent_that_only_shows_what_its_child_has_is_no_circle() {
        for parent in [
            "pub use queue::Queue; pub struct State; fn f(queue: u8) { queue }",
            "pub(crate) use self::queue::*; pub struct State;",
            "pub use queue::queue; pub struct State; fn f() { info!(self.queue, x.queue()) }",
            "use ::queue::Queue; pub struct State;",
            "pub mod inner { pub use super::queue::Queue; } pub struct State;",
        ] {
            let files = format!("state/mod.rs mod queue; {parent}\nstate/queue.rs use super::State; pub struct Queue;");
            check(imports, &files, &[]);
        }
    }

    #[test]
    fn item_made_by_a_macro_is_that_of_the_module_named() {
        let files = "pool.rs make!(Thing);\nstate.rs use crate::pool::Thing;";
        check(imports, files, &["state.rs:1: `state` uses `pool` by `crate::pool::Thing`"]);
    }

    #[test]
    fn re_export_of_another_crate_leads_nowhere() {
        check(imports, "pool.rs pub use sqlx; pub use {a as f};\nstate.rs use crate::pool::{sqlx::X, f};", &[]);
    }

    #[test]
    fn state_that_asks_for_the_time_is_found() {
        let found = ["state/mod.rs:2: the state is told the time"];
        check(state_is_std_only, "state/mod.rs fn f() {⏎ std::time::Instant::now(); }", &found);
        check(state_is_std_only, "driver.rs fn f() { Instant::now(); }", &[]);
    }

    #[test]
    fn state_that_uses_a_crate_is_found() {
        let state = |text| format!("state/mod.rs mod live;\nstate/live.rs {text}");
        check(state_is_std_only, &state("use tokio::time::Instant;"), &["state/live.rs:1"]);
        check(state_is_std_only, &state("use std::time::Instant;"), &[]);
    }

    #[test]
    fn forbidden_dependency_is_found() {
        let check = |name: &str, manifest: &str, expected: &[&str]| {
            check_sources(dependencies, &[source::source(&format!("{name}/Cargo.toml"), manifest)], expected);
        };
        let allowed = "pool-core may depend on pin-project-lite, serde, shuttle, tokio, tracing only, not on `sqlx`";
        let found = format!("pool-core/Cargo.toml:3: {allowed}");
        check("pool-core", "[dependencies]\ntokio = \"1\"\nsqlx.workspace = true\n", &[&found]);
        let unix = "[target.'cfg(unix)'.dependencies]\naxum = \"1\"\n";
        check("pool-core", unix, &["pool-core/Cargo.toml:2"]);
        check("pool-macros", "[dependencies.pool-core]\npath = \"..\"\n", &["pool-macros/Cargo.toml:1"]);
        check("pool-core", "[dev-dependencies]\nsqlx = \"0.9\"\n", &[]);
    }
}
