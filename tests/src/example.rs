//! The examples as programs: those that cargo has built with the tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The program of an example.
///
/// # Panics
/// If it is missing or older than one of its sources, as happens when a test is built alone.
pub fn example(name: &str) -> PathBuf {
    let built = std::env::current_exe().expect("a program knows its file");
    let program = built.parent().and_then(Path::parent).expect("tests are below deps").join("examples").join(name);
    // Beside it, cargo lists what it was made of: `program: source source ..`.
    let sources = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let changed = |path: &str| fs::metadata(path).and_then(|file| file.modified());
    let is_current = changed(&program.to_string_lossy()).is_ok_and(|made| {
        let sources = sources.replace("\\ ", "\0"); // a space in a path
        let mut sources = sources.split_whitespace().skip(1).map(|source| source.replace('\0', " "));
        sources.all(|source| changed(&source).is_ok_and(|changed| changed <= made))
    });
    assert!(is_current, "{} is missing or stale: `cargo build --workspace --examples` makes it", program.display());
    program
}
