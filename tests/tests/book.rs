//! The pages of the book that follow from the code. `UPDATE_BOOK=1 cargo test -p tests --test book` writes the settings table.
#![allow(clippy::unwrap_used)]

use pool_sqlx::{
    DatabaseSettings, MySqlPool, PgPool, Pooler, Reset, Secret, Setting, SettingKind, SqlitePool, Verdict, reference,
    sqlx,
};
use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const BEGINS: &str = "<!-- table begins -->\n";
const ENDS: &str = "<!-- table ends -->";

#[test]
fn the_settings_page_says_what_the_types_say() {
    let path = in_repository("book/src/reference/settings.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGINS).expect("the table's beginning is marked");
    let (committed, after) = rest.split_once(ENDS).expect("the table's end is marked");
    let written = table(reference());
    if std::env::var_os("UPDATE_BOOK").is_some() {
        fs::write(&path, format!("{before}{BEGINS}{written}{ENDS}{after}")).unwrap();
    } else {
        assert_eq!(committed, written, "UPDATE_BOOK=1 cargo test -p tests --test book writes the table");
    }
}

/// What a database refuses, it refuses when a pool is made of the settings: no server is needed to hold the table against it.
#[test]
fn the_table_of_refused_settings_is_what_happens() {
    type Set = fn(DatabaseSettings) -> DatabaseSettings;
    const SECOND: Duration = Duration::from_secs(1);
    let sets: [(&str, Set); 8] = [
        ("`application_name`", |settings| settings.with_application_name("app")),
        ("`idle_in_transaction_timeout`", |settings| settings.with_idle_in_transaction_timeout(SECOND)),
        ("`listen_url`", |settings| settings.with_listen_url("postgres://db/app").unwrap()),
        ("`with_before_connect`", |settings| settings.with_before_connect(|| async { Ok(Secret::new("")) })),
        ("`reset = ", |settings| settings.with_reset(Reset::Full)),
        ("`pooler = ", |settings| settings.with_pooler(Pooler::Unprepared)),
        ("`statement_cache = 0`", |settings| settings.with_statement_cache(0)),
        ("`lock_timeout`", |settings| settings.with_lock_timeout(SECOND)),
    ];
    let page = fs::read_to_string(in_repository("book/src/reference/settings.md")).unwrap();
    let (_, section) = page.split_once("\n## Which settings does a database refuse?\n").expect("there is a table");
    let section = section.split("\n## ").next().unwrap_or_default();
    for (named, set) in sets {
        let row = section.lines().find(|line| line.starts_with('|') && line.contains(named)).expect(named);
        let said: Vec<bool> = row.split(" | ").skip(1).map(|cell| !cell.starts_with("refused")).collect();
        let settings = |url: &str| set(DatabaseSettings::new(url).unwrap());
        let seen = [
            PgPool::connect_lazy(settings("postgres://db/app")).is_ok(),
            MySqlPool::connect_lazy(settings("mysql://db/app")).is_ok(),
            SqlitePool::connect_lazy(settings("sqlite::memory:")).is_ok(),
        ];
        assert_eq!(said, seen, "PostgreSQL, MySQL, SQLite: {row}");
    }
}

/// Messages end in `see errors/<code>`: there must be something to see.
#[test]
fn every_verdict_has_a_page_that_the_index_lists() {
    let source = fs::read_to_string(in_repository("pool-core/src/error.rs")).unwrap();
    let (_, codes) = source.split_once("pub fn code(self)").expect("verdicts have codes");
    let (codes, _) = codes.split_once("\n    }\n").expect("the function ends");
    let codes: Vec<&str> = codes.split('"').skip(1).step_by(2).collect();
    assert!(codes.contains(&Verdict::Exhausted.code()), "{codes:?}");
    let index = fs::read_to_string(in_repository("book/src/reference/errors.md")).unwrap();
    for code in codes {
        let page = fs::read_to_string(in_repository(&format!("book/src/errors/{code}.md"))).unwrap_or_default();
        assert!(page.starts_with(&format!("# errors/{code}: ")), "book/src/errors/{code}.md has no such heading");
        for part in ["## What it means", "## How to confirm it", "## Causes and cures", "## What the client gets"] {
            assert!(page.contains(part), "{part} is missing in errors/{code}");
        }
        assert!(index.contains(&format!("(../errors/{code}.md)")), "reference/errors.md does not list {code}");
    }
}

#[test]
fn every_event_and_every_step_has_its_row() {
    let page = fs::read_to_string(in_repository("book/src/reference/events.md")).unwrap();
    for (path, name) in [("pool-core/src/event.rs", "Event"), ("pool-core/src/timeline.rs", "Step")] {
        let source = fs::read_to_string(in_repository(path)).unwrap();
        let (_, variants) = source.split_once(&format!("pub enum {name} {{\n")).expect("there is such an enum");
        let (variants, _) = variants.split_once("\n}\n").expect("it ends");
        // Variants are indented once, their fields twice.
        let variants = variants.lines().filter_map(|line| line.strip_prefix("    "));
        let variants = variants.filter(|line| line.starts_with(char::is_uppercase));
        let names: Vec<&str> = variants.filter_map(|line| line.split(|c: char| !c.is_alphanumeric()).next()).collect();
        assert!(names.len() > 8, "{names:?}");
        for variant in names {
            assert!(page.contains(&format!("| `{variant}` |")), "reference/events.md has no row for {name}::{variant}");
        }
    }
}

/// Whoever knows only that document finds each of its headings, in its order, and a page behind each.
#[test]
fn every_heading_of_the_requirement_document_is_answered() {
    const HEADINGS: [&str; 27] = [
        "## overview",
        "## configuration",
        "### timeouts",
        "### connection pool sizing",
        "## Neon serverless considerations",
        "### the cold start problem",
        "### production solution: disable scale-to-zero",
        "### fallback mitigations",
        "### incident history",
        "## production best practices",
        "### current deployment",
        "### if seeing pool exhaustion",
        "### tuning statement timeout",
        "## monitoring",
        "### what to watch",
        "### observability",
        "## how it works",
        "### connection lifecycle",
        "### failure modes",
        "## troubleshooting",
        "### 503 errors (pool exhausted)",
        "### connection timeouts",
        "### statement timeouts",
        "## implementation details",
        "### asyncpg-specific configuration",
        "### LIFO pool strategy",
        "## references",
    ];
    let page = fs::read_to_string(in_repository("book/src/understanding/requirement-document.md")).unwrap();
    let mut rest = page.as_str();
    for heading in HEADINGS {
        let (_, after) = rest.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{heading} is missing"));
        let answer = after.split("\n#").next().unwrap_or_default();
        // A heading that only holds others together needs no page of its own.
        let holds_others = answer.trim().is_empty() && heading.starts_with("## ");
        assert!(holds_others || answer.contains(".md"), "{heading} leads nowhere");
        rest = after;
    }
    let front = fs::read_to_string(in_repository("book/src/README.md")).unwrap();
    assert!(front.contains("](understanding/requirement-document.md)"), "one click from the front page");
}

/// Whoever finds the repository reads one of them, whoever finds the package the other.
#[tokio::test]
async fn both_front_pages_have_the_same_facts_and_the_versions_that_are_locked() {
    let page = fs::read_to_string(in_repository("README.md")).unwrap();
    let of_package = fs::read_to_string(in_repository("pool-sqlx/README.md")).unwrap();
    let section = |page: &str, heading: &str| {
        let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("{heading} is missing"));
        let section = rest.split("\n## ").next().unwrap_or_default();
        section.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n")
    };
    for heading in ["Why not sqlx's own pool?", "Tested with"] {
        assert_eq!(section(&page, heading), section(&of_package, heading), "{heading}");
    }
    let tested = section(&page, "Tested with");
    let lock = fs::read_to_string(in_repository("Cargo.lock")).unwrap();
    for name in ["sqlx", "axum", "actix-web", "tonic", "opentelemetry", "logfire"] {
        let entry = format!("name = \"{name}\"\nversion = \"");
        let versions: Vec<&str> = lock.split(&entry).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(!versions.is_empty(), "{name}");
        assert!(versions.iter().all(|version| tested.contains(version)), "{name} is locked as {versions:?}: {tested}");
    }
    let pool = SqlitePool::connect_lazy(DatabaseSettings::new("sqlite::memory:").unwrap()).unwrap();
    let sqlite: String = sqlx::query_scalar("select sqlite_version()").fetch_one(&pool).await.unwrap();
    assert!(tested.contains(&format!("| SQLite | {sqlite}, compiled in |")), "{sqlite}: {tested}");
    // What was tried by hand is told twice, with other words around it.
    let testing = fs::read_to_string(in_repository("book/src/contributing/testing.md")).unwrap();
    let versions = |page: &str, server: &str| {
        let row = page.lines().find(|line| line.starts_with(&format!("| {server}"))).expect("its row").to_owned();
        let words = row.split(|c: char| !c.is_ascii_digit() && c != '.').map(|word| word.trim_matches('.').to_owned());
        words.filter(|word| word.contains('.')).collect::<Vec<_>>()
    };
    for server in ["PostgreSQL", "PgBouncer", "MariaDB", "MySQL"] {
        let told = versions(&tested, server);
        assert!(!told.is_empty(), "{server}: {tested}");
        assert_eq!(told, versions(&testing, server), "{server}: README.md, and contributing/testing.md");
    }
    // The number of crates is that of the generated table.
    let features = fs::read_to_string(in_repository("book/src/reference/features.md")).unwrap();
    let row = features.lines().find(|line| line.starts_with("| `postgres` |")).expect("its row");
    let ours = row.trim_end_matches([' ', '|']).rsplit("| ").next().expect("a number");
    assert!(page.contains(&format!("| {ours} more, for PostgreSQL |")), "{ours}");
}

/// Each rule gives its advice by `warning("setting", …)` or `hint("setting", …)`; the page has a row for each of them and no other.
#[test]
fn the_page_of_advice_has_every_rule() {
    let mut given = Vec::new();
    for file in ["settings", "server", "tracking", "waits"] {
        let source = in_repository(&format!("pool-sqlx/src/observe/advice/{file}.rs"));
        let source = fs::read_to_string(source).unwrap();
        let (rules, _) = source.split_once("#[cfg(test)]").expect("tests come last");
        for weight in ["warning", "hint"] {
            let call = format!("{weight}(");
            let calls = rules.split(&call).skip(1);
            let settings = calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next());
            given.extend(settings.map(|setting| format!("| `{setting}` | {weight} |")));
        }
    }
    let page = fs::read_to_string(in_repository("book/src/guide/advice.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let mut shown: Vec<_> =
        rows.filter_map(|row| row.match_indices('|').nth(2).map(|(at, _)| row[..=at].to_owned())).collect();
    given.sort_unstable();
    shown.sort_unstable();
    assert!(given.len() >= 14, "{given:?}");
    assert_eq!(shown, given, "the tables of book/src/guide/advice.md, and the rules of pool-sqlx/src/observe/advice");
}

/// A reader pastes them.
#[test]
fn every_command_names_something_that_is_there() {
    let verbs = fs::read_to_string(in_repository("xtask/src/main.rs")).unwrap();
    let targets = |kind: &str, name: &str| {
        let mut crates = ["pool-core", "pool-macros", "pool-sqlx", "tests", "xtask"].into_iter();
        crates.any(|of| {
            let path = in_repository(&format!("{of}/{kind}/{name}"));
            path.with_extension("rs").is_file() || path.join("main.rs").is_file()
        })
    };
    let mut commands = 0;
    for (path, page) in pages() {
        let mut named = |before: &str, is_there: &dyn Fn(&str) -> bool| {
            for rest in page.split(before).skip(1) {
                let name =
                    rest.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').next().unwrap_or_default();
                commands += 1;
                assert!(is_there(name), "{path}: there is no `{before}{name}`");
            }
        };
        named("cargo xtask ", &|verb| verbs.contains(&format!("\n  {verb} ")));
        named(" --example ", &|name| targets("examples", name));
        named(" --test ", &|name| targets("tests", name));
    }
    assert!(commands > 30, "{commands}");
}

/// Every page of the book and the front pages, by its path.
fn pages() -> Vec<(String, String)> {
    let mut directories = vec!["book/src".to_owned()];
    let mut paths: Vec<String> =
        ["", "pool-core/", "pool-macros/", "pool-sqlx/"].map(|of| format!("{of}README.md")).into();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(in_repository(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                directories.push(path);
            } else if path.ends_with(".md") {
                paths.push(path);
            }
        }
    }
    let read = |path: String| {
        let page = fs::read_to_string(in_repository(&path)).unwrap();
        (path, page)
    };
    paths.into_iter().map(read).collect()
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn table(settings: &[Setting]) -> String {
    // What matters most comes first: on a phone the rest is out of sight.
    let mut table = "\n| key | default | meaning | value |\n| --- | --- | --- | --- |\n".to_owned();
    for setting in settings {
        let (key, kind) = (setting.key, kind(setting.kind));
        assert_eq!(setting.variable(), format!("DATABASE_{}", key.to_uppercase()), "the page says so of all of them");
        writeln!(table, "| `{key}` | {} | {} | {kind} |", setting.default, setting.meaning).unwrap();
    }
    table + "\n"
}

fn kind(kind: SettingKind) -> String {
    match kind {
        SettingKind::Url => "url".into(),
        SettingKind::Text => "text".into(),
        SettingKind::Path => "path".into(),
        SettingKind::Count => "whole number".into(),
        SettingKind::CountOrNone => "whole number, or none".into(),
        SettingKind::Overflow => "whole number, or unlimited".into(),
        SettingKind::Duration => "duration".into(),
        SettingKind::DurationOrNone => "duration, or none".into(),
        SettingKind::Switch => "true or false".into(),
        SettingKind::Choice(words) => words.join(", "),
        // The enum may grow.
        other => format!("{other:?}").to_lowercase(),
    }
}
