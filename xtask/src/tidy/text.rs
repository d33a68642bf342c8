//! Words that must not be in the repository. They are put together here from halves, so that these files need no exception.

use super::source::{Finding, Source};

const UNFINISHED: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimpl", "emented!(")];

/// Directories of people and of machines; each counts only where a path begins.
const DIRECTORIES: &[&str] =
    &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];

/// What only the configuration of somebody's mirror says.
const MIRRORS: &[&str] = &[concat!("artif", "actory"), concat!("replace", "-with"), concat!("sparse+", "http")];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Nothing is left to do: an issue is the place for that.
pub(super) fn unfinished(sources: &[Source]) -> Vec<Finding> {
    find(sources, |line| {
        let word = UNFINISHED.iter().find(|word| line.contains(*word))?;
        Some(format!("`{word}`: finish it, or open an issue"))
    })
}

/// No path, registry or mirror of one machine: another one has others.
pub(super) fn machines(sources: &[Source]) -> Vec<Finding> {
    let mut findings = find(sources, |line| {
        let at_start = |directory: &&&str| line.match_indices(**directory).any(|(at, _)| starts_path(&line[..at]));
        if let Some(directory) = DIRECTORIES.iter().find(at_start) {
            return Some(format!("`{directory}…` is a path of one machine"));
        }
        let mirror = MIRRORS.iter().find(|mirror| line.contains(*mirror))?;
        Some(format!("`{mirror}` belongs to one machine's configuration"))
    });
    let locks: Vec<_> = sources.iter().filter(|source| source.path.ends_with("Cargo.lock")).collect();
    for source in locks {
        for (number, line) in source.text.lines().enumerate() {
            if let Some(from) = line.strip_prefix("source = ")
                && from.trim_matches('"') != CRATES_IO
            {
                let what = format!("{from} is not crates.io");
                findings.push(Finding { file: source.path.clone(), line: number + 1, what });
            }
        }
    }
    findings
}

/// Whether a path can start after this text: not in the middle of a longer path or an address.
fn starts_path(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "._-}~$".contains(c))
}

fn find(sources: &[Source], wrong: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            if let Some(what) = wrong(line) {
                findings.push(Finding { file: source.path.clone(), line: number + 1, what });
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::source;

    fn lines(rule: fn(&[Source]) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&[source(path, text)]).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unfinished_work_is_found() {
        let text = format!("fn f() {{\n  {}) }}\n// {}: later\n", UNFINISHED[2], UNFINISHED[0]);
        assert_eq!(lines(unfinished, "a.rs", &text), [2, 3]);
        assert_eq!(lines(unfinished, "a.rs", "// all done\n"), [0; 0]);
    }

    #[test]
    fn path_of_a_machine_is_found_where_it_begins() {
        let text =
            format!("cd {}me\nhttps://example.org{}page\n{{dir}}{}", DIRECTORIES[0], DIRECTORIES[0], DIRECTORIES[3]);
        assert_eq!(lines(machines, "notes.md", &text), [1]);
    }

    #[test]
    fn mirror_is_found() {
        assert_eq!(lines(machines, ".cargo/config.toml", &format!("[source.crates-io]\n{} = \"x\"", MIRRORS[1])), [2]);
    }

    #[test]
    fn locked_source_other_than_crates_io_is_found() {
        let text = format!("source = \"{CRATES_IO}\"\nsource = \"registry+https://example.org/index\"\n");
        assert_eq!(lines(machines, "Cargo.lock", &text), [2]);
    }
}
