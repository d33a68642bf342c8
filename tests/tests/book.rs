//! The pages of the book that follow from the code. `UPDATE_BOOK=1 cargo test -p tests --test book` writes the settings table.
#![allow(clippy::unwrap_used)]

use pool_sqlx::{Setting, SettingKind, Verdict, reference};
use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
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

/// `cargo xtask tidy` holds the imports against its own list of layers; the page shows the same ones.
#[test]
fn the_picture_of_the_core_has_every_module() {
    let rules = fs::read_to_string(in_repository("xtask/src/tidy/architecture.rs")).unwrap();
    let (_, rules) = rules.split_once("const LAYERS").expect("tidy knows the layers");
    let (rules, _) = rules.split_once("const DEPENDENCIES").expect("the layers come first");
    let modules: Vec<&str> = rules.split('"').skip(1).step_by(2).collect();
    assert!(modules.contains(&"state"), "{modules:?}");
    let page = fs::read_to_string(in_repository("book/src/contributing/architecture.md")).unwrap();
    let (_, picture) = page.split_once("## Which module of `pool-core` may use which?").expect("there is a picture");
    let (picture, _) = picture.split_once("*In words:*").expect("the picture has a caption");
    let drawn: Vec<&str> = picture.split(|c: char| !c.is_alphanumeric()).collect();
    let missing: Vec<_> = modules.into_iter().filter(|module| !drawn.contains(module)).collect();
    assert!(missing.is_empty(), "draw {missing:?} in book/src/contributing/architecture.md");
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn table(settings: &[Setting]) -> String {
    let mut table = "\n| key | variable | value | default | meaning |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for setting in settings {
        let (key, variable, kind) = (setting.key, setting.variable(), kind(setting.kind));
        writeln!(table, "| `{key}` | `{variable}` | {kind} | {} | {} |", setting.default, setting.meaning).unwrap();
    }
    table + "\n"
}

fn kind(kind: SettingKind) -> String {
    match kind {
        SettingKind::Url => "url".into(),
        SettingKind::Text => "text".into(),
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
