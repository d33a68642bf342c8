//! What the compiler says of mistakes with our macros, where its own words matter: each of `tests/ui/*.rs` has one mistake or a few,
//! and beside it what is said of them. After a change on purpose: `UPDATE=1 cargo test -p pool-sqlx --test compile_errors`.
//!
//! rustc is called itself, with the library that was built for this test: no second build of everything.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

#[rustversion::attr(
    not(stable(1.95)),
    ignore = "the words are those of rustc 1.95, and this is another one: see tests/ui"
)]
#[test]
fn each_mistake_is_told_as_it_was_when_somebody_read_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let mut cases: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    cases.sort();
    assert!(cases.len() > 10, "{cases:?}");
    let library = library();
    let mut changed = String::new();
    for case in cases {
        let output = compile(&library, &case);
        assert!(!output.status.success(), "{} compiles", case.display());
        let told = told(&String::from_utf8(output.stderr).unwrap());
        let expected = case.with_extension("stderr");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(expected, told).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            writeln!(changed, "--- {} says now:\n{told}", case.file_name().unwrap().display()).unwrap();
        }
    }
    assert!(changed.is_empty(), "{changed}");
}

#[test]
fn what_is_right_compiles_in_both_editions_without_a_warning() {
    let library = library();
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui/fine/all_ways.rs");
    for edition in ["2021", "2024"] {
        let output = compile_as(edition, &library, &case);
        assert!(output.status.success(), "edition {edition}:\n{}", told(&String::from_utf8(output.stderr).unwrap()));
    }
}

/// The library as it was built last with all that the cases use. There may be others beside it, of other features.
fn library() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let libraries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libpool_sqlx-") && name.ends_with(".rlib")
    });
    let mut libraries: Vec<_> =
        libraries.map(|path| (fs::metadata(&path).unwrap().modified().unwrap(), path)).collect();
    libraries.sort();
    let probe = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui/fine/probe.rs");
    let fits = libraries.into_iter().rev().map(|(_, path)| path).find(|path| compile(path, &probe).status.success());
    fits.expect("no library with sqlite, axum and actix beside the test")
}

fn compile(library: &Path, case: &Path) -> Output {
    compile_as("2024", library, case)
}

fn compile_as(edition: &str, library: &Path, case: &Path) -> Output {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let folder = library.parent().unwrap();
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    command.args(["--edition", edition, "--crate-type=bin", "--error-format=json", "--emit=metadata", "-o"]);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let metadata = std::env::temp_dir().join(format!("pool-sqlx-case-{}-{number}.rmeta", std::process::id()));
    command.arg(&metadata);
    command.arg(format!("-Ldependency={}", folder.display())).arg(format!("--extern=pool_sqlx={}", library.display()));
    let output = command.arg(case).output().unwrap();
    let _ = fs::remove_file(metadata);
    output
}

/// The messages and where they point to; what concerns other files than the case is left out.
fn told(stderr: &str) -> String {
    let mut told = String::new();
    for line in stderr.lines() {
        let message: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        let text = message["message"].as_str().unwrap_or_default();
        if message["spans"].as_array().is_none_or(Vec::is_empty) {
            continue; // "aborting due to 3 previous errors"
        }
        writeln!(told, "{}: {text}", message["level"].as_str().unwrap()).unwrap();
        let here = |span: &&Value| span["file_name"].as_str().is_some_and(|name| name.contains("tests/ui/"));
        for span in message["spans"].as_array().unwrap().iter().filter(here) {
            let is_primary = span["is_primary"] == true;
            if !is_primary && span["label"].as_str().is_none_or(|label| label.starts_with("in this ")) {
                continue; // where our own macro stands
            }
            let source = &span["text"][0];
            let [from, to] = ["highlight_start", "highlight_end"].map(|key| source[key].as_u64().unwrap() as usize - 1);
            let marked: String = source["text"].as_str().unwrap().chars().skip(from).take(to - from).collect();
            let label = span["label"].as_str().map(|label| format!(": {label}")).unwrap_or_default();
            let indent = if is_primary { "  " } else { "    " };
            writeln!(told, "{indent}{}: `{marked}`{label}", span["line_start"]).unwrap();
        }
        for child in message["children"].as_array().unwrap() {
            let text = child["message"].as_str().unwrap_or_default();
            // Which other types there are changes with each of them.
            let chatter =
                ["the following other", "this error originates", "the full name", "consider using `--verbose`"];
            if child["spans"].as_array().unwrap().is_empty() && !chatter.iter().any(|start| text.starts_with(start)) {
                writeln!(told, "  {}: {}", child["level"].as_str().unwrap(), text.lines().next().unwrap_or_default())
                    .unwrap();
            }
            for span in child["spans"].as_array().unwrap() {
                if let Some(write) = span["suggested_replacement"].as_str() {
                    writeln!(told, "  {}: {text} `{}`", span["line_start"], write.trim()).unwrap();
                }
            }
        }
        told.push('\n');
    }
    told.replace(concat!(env!("CARGO_MANIFEST_DIR"), "/"), "")
}
