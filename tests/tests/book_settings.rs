//! The settings table of the book, held against the types. `UPDATE_BOOK=1 cargo test -p tests --test book_settings` writes it.
#![allow(clippy::unwrap_used)]

use pool_sqlx::{Setting, SettingKind, reference};
use std::{fmt::Write, fs, path::Path};

const BEGINS: &str = "<!-- table begins -->\n";
const ENDS: &str = "<!-- table ends -->";

#[test]
fn the_settings_page_says_what_the_types_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../book/src/reference/settings.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGINS).expect("the table's beginning is marked");
    let (committed, after) = rest.split_once(ENDS).expect("the table's end is marked");
    let written = table(reference());
    if std::env::var_os("UPDATE_BOOK").is_some() {
        fs::write(&path, format!("{before}{BEGINS}{written}{ENDS}{after}")).unwrap();
    } else {
        assert_eq!(committed, written, "UPDATE_BOOK=1 cargo test -p tests --test book_settings writes the table");
    }
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
