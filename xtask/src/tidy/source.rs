//! The files that the rules read, and what a rule finds in them.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Something wrong in a file, at a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// A file of the repository.
#[derive(Debug)]
pub(super) struct Source {
    /// From the top, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

/// Every text file, but for what is built: the same as `git ls-files`, plus what is about to be added.
pub(super) fn below(root: &Path) -> io::Result<Vec<Source>> {
    const BUILT: [&str; 3] = [".git", "target", "book/book"];
    let mut sources = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            let name = path.to_string_lossy().replace('\\', "/");
            let kind = entry.file_type()?;
            if BUILT.contains(&name.as_str()) {
            } else if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file()
                && let Ok(text) = String::from_utf8(fs::read(entry.path())?)
            {
                sources.push(Source { path: name, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

#[cfg(test)]
pub(super) fn source(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo;

    #[test]
    fn sources_are_found_and_what_is_built_is_not() {
        let sources = below(cargo::root()).unwrap();
        let has = |path: &str| sources.iter().any(|source| source.path == path);
        assert!(has("Cargo.toml") && has("xtask/src/tidy/mod.rs") && has(".ci/run"));
        assert!(!sources.iter().any(|source| source.path.starts_with("target/") || source.path.starts_with(".git/")));
    }
}
