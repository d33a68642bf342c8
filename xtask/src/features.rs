//! `cargo xtask features`: the book's table of features, with the number of crates that each makes a user build.

use crate::{
    cargo::{self, cargo},
    report::{Counts, Outcome, Verdict},
};
use std::{
    collections::{HashMap, HashSet},
    error::Error,
    fs,
    process::ExitCode,
};

const MANIFEST: &str = "pool-sqlx/Cargo.toml";
const PAGE: &str = "book/src/reference/features.md";
const BEGINS: &str = "<!-- table begins -->\n";
const ENDS: &str = "<!-- table ends -->";

/// Crates that a user has anyway who switches such a feature on; what they need is theirs, not ours.
const HOSTS: &[&str] = &["sqlx", "axum", "actix-web", "tonic", "opentelemetry"];

/// One target, so that the numbers are the same wherever they are counted.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Writes the table.
pub(crate) fn run() -> Verdict {
    let [committed, current] = pages()?;
    fs::write(cargo::root().join(PAGE), &current)?;
    println!("{PAGE} is {}", if committed == current { "current" } else { "written" });
    Ok(ExitCode::SUCCESS)
}

/// Whether the committed table is what [`run`] would write.
pub(crate) fn check() -> Outcome {
    match pages() {
        Ok([committed, current]) if committed == current => return Outcome::Ran(Counts::one(true)),
        Ok(_) => eprintln!("error: the table in {PAGE} is stale; `cargo xtask features` writes it"),
        Err(error) => eprintln!("error: {error}"),
    }
    Outcome::Ran(Counts::ONE_FAILURE)
}

/// The page as it is, and as it should be.
fn pages() -> Result<[String; 2], Box<dyn Error>> {
    let page = fs::read_to_string(cargo::root().join(PAGE))?;
    let current = filled(&page, &table()?)?;
    Ok([page, current])
}

/// The page with this table between its marks.
pub(crate) fn filled(page: &str, table: &str) -> Result<String, String> {
    let parts = page.split_once(BEGINS).and_then(|(before, rest)| Some((before, rest.split_once(ENDS)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("the page has no `{}` and `{ENDS}`", BEGINS.trim_end()))?;
    Ok(format!("{before}{BEGINS}{table}{ENDS}{after}"))
}

fn table() -> Result<String, Box<dyn Error>> {
    let manifest = fs::read_to_string(cargo::root().join(MANIFEST))?;
    let mut table =
        "\n| feature | gives | crates | of these not sqlx's or the framework's |\n| --- | --- | --- | --- |\n"
            .to_owned();
    let none = [(String::new(), "the pool itself, and the macros, with no database".to_owned())];
    for (feature, gives) in none.into_iter().chain(features(&manifest)?) {
        let tree = tree(&feature)?;
        let graph = Graph::read(&tree);
        let name = if feature.is_empty() { "none".into() } else { format!("`{feature}`") };
        table += &format!("| {name} | {gives} | {} | {} |\n", graph.crates(), graph.without(HOSTS));
    }
    Ok(table + "\n")
}

/// The features of a manifest but `default`, each with the comment above it, which says what it gives.
pub(crate) fn features(manifest: &str) -> Result<Vec<(String, String)>, String> {
    let (_, section) = manifest.split_once("[features]\n").ok_or("the manifest has no features")?;
    let mut features = Vec::new();
    let mut gives = String::new();
    for line in section.lines().take_while(|line| !line.starts_with('[')) {
        if let Some(comment) = line.strip_prefix("# ") {
            gives = format!("{gives} {comment}").trim().trim_end_matches('.').to_owned();
        } else if let Some((feature, _)) = line.split_once(" = ") {
            let gives = std::mem::take(&mut gives);
            match feature {
                "default" => {}
                _ if gives.is_empty() => return Err(format!("say what `{feature}` gives in a comment above it")),
                _ => features.push((feature.to_owned(), gives)),
            }
        }
    }
    Ok(features)
}

/// What cargo would build for a user of this feature alone.
fn tree(feature: &str) -> Result<String, Box<dyn Error>> {
    let mut command = cargo(&["tree", "--package", "pool-sqlx", "--edges", "normal,build", "--prefix", "depth"]);
    command.args(["--target", TARGET, "--no-default-features", "--features", feature]);
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Which crate needs which: from `cargo tree --prefix depth`, which shows what a crate needs where it first comes up.
#[derive(Debug, Default)]
struct Graph<'a> {
    needs: HashMap<&'a str, Vec<&'a str>>,
    root: &'a str,
}

impl<'a> Graph<'a> {
    fn read(tree: &'a str) -> Self {
        let mut graph = Self::default();
        // The crates on the way from the root to this line.
        let mut way: Vec<&str> = Vec::new();
        for line in tree.lines() {
            let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len());
            let Ok(depth) = line[..digits].parse::<usize>() else { continue };
            // `serde v1.0.229`, without `(proc-macro)`, a path or `(*)`.
            let name = line[digits..].split(" (").next().unwrap_or_default();
            way.truncate(depth);
            match way.last() {
                Some(parent) => graph.needs.entry(parent).or_default().push(name),
                None => graph.root = name,
            }
            way.push(name);
        }
        graph
    }

    /// How many crates there are beside our own.
    fn crates(&self) -> usize {
        self.without(&[])
    }

    /// How many crates there are beside our own, these hosts, and what they need.
    fn without(&self, hosts: &[&str]) -> usize {
        let all = self.reached([self.root]);
        let is_host = |name: &&&str| name.split(' ').next().is_some_and(|name| hosts.contains(&name));
        let theirs = self.reached(all.iter().filter(is_host).copied());
        all.difference(&theirs).filter(|name| !name.starts_with("pool-")).count()
    }

    fn reached(&self, from: impl IntoIterator<Item = &'a str>) -> HashSet<&'a str> {
        let mut reached = HashSet::new();
        let mut next: Vec<&str> = from.into_iter().collect();
        while let Some(name) = next.pop() {
            if reached.insert(name) {
                next.extend(self.needs.get(name).into_iter().flatten());
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
0pool-sqlx v0.1.0 (/somewhere/pool-sqlx)
1either v1.19.0
1pool-core v0.1.0 (/somewhere/pool-core)
2serde v1.0.229
3serde_derive v1.0.229 (proc-macro)
1sqlx v0.9.0
2serde v1.0.229 (*)
2sha2 v0.10.9
2sha2 v0.11.0
";

    #[test]
    fn each_version_of_a_crate_counts_once_and_ours_do_not() {
        assert_eq!(Graph::read(TREE).crates(), 6);
    }

    #[test]
    fn what_a_host_needs_is_its_own_also_where_it_was_shown_before() {
        assert_eq!(Graph::read(TREE).without(&["sqlx"]), 1, "either alone");
    }

    #[test]
    fn a_feature_says_what_it_gives_in_the_comment_above_it() {
        let manifest = "[package]\n[features]\ndefault = []\n# Elephants,\n# and more.\npostgres = [\"dep:a\"]\n[dependencies]\nb = 1\n";
        assert_eq!(features(manifest), Ok(vec![("postgres".into(), "Elephants, and more".into())]));
        let mute = features("[features]\ndefault = []\npostgres = []\n");
        assert_eq!(mute, Err("say what `postgres` gives in a comment above it".into()));
    }

    #[test]
    fn only_what_stands_between_the_marks_is_written() {
        let page = format!("a\n{BEGINS}old{ENDS}\nb\n");
        assert_eq!(filled(&page, "new"), Ok(page.replace("old", "new")));
        assert!(filled("a\n", "new").is_err());
    }
}
