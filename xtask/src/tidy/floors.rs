//! Every crate as a house: its rooms are the modules below its root, and each room uses only rooms that stand before it in this table.
//!
//! The crate's root is the face, above all of them.

use super::source::{Finding, Source};
use crate::{cargo, features};
use std::fs;

/// A row of rooms, and what they are for.
pub(super) type Floor = (&'static [&'static str], &'static str);

/// The floors of each crate, lowest first. Within a floor, a room may use those to its left.
pub(super) const HOUSE: &[(&str, &[Floor])] = &[
    (
        "pool-core",
        &[
            (&["backoff", "bits", "shield", "short", "sync"], "small things that use no other room"),
            (
                &["settings", "status", "manager", "timeline", "error", "event", "histogram"],
                "vocabulary: plain data, and the contract with the adapter",
            ),
            (&["state"], "decides which connection goes to which caller; std only, no clock"),
            (&["outbox", "nested"], "the events on their way to observers; the loans that a task holds"),
            (&["shared"], "the one lock"),
            (&["job", "pooled", "acquire"], "a task with one connection, a loan, a wait for a loan"),
            (&["driver"], "the task that wakes up at the state's next deadline"),
            (&["pool"], "what users hold"),
            (
                &["steps", "testing"],
                "how long turns take; a manager that answers from a script, for the tests of users",
            ),
        ],
    ),
    (
        "pool-macros",
        &[
            (&["fault"], "collects every mistake, each on the user's own token"),
            (&["duration", "names", "option"], "what attributes take, and what names say"),
            (&["pooled", "pools", "service_error"], "one macro each: parse, own tree, check, expand"),
        ],
    ),
    (
        "pool-sqlx",
        &[
            (&["words"], "plain data: class, endpoint, secret, options of a transaction"),
            (&["config", "error"], "what a pool is configured with; what can go wrong"),
            (&["sql"], "text only: tokens, words, mask, shape, what a pooler must refuse"),
            (&["backend"], "what differs between databases; hidden parts of sqlx; dialling, TLS"),
            (&["session"], "one connection on loan: what a statement needs and what it leaves behind"),
            (&["pool"], "what users hold: pool, connection, transaction, listener"),
            (&["observe"], "pools seen from outside: advice, metrics, status page"),
            (&["open", "web", "private"], "what makes pools; web frameworks; what the output of the macros calls"),
        ],
    ),
    (
        "xtask",
        &[
            (&["cargo"], "starts cargo and other programs"),
            (&["report"], "what ran, and how it went"),
            (&["servers"], "scratch servers of a run"),
            (&["features", "book", "rules"], "commands that `tidy` runs, too"),
            (&["demo", "test", "soak", "tidy", "release"], "the other commands"),
        ],
    ),
];

/// Where a room stands: the higher may use the lower.
pub(super) fn height(floors: &[Floor], room: &str) -> Option<usize> {
    floors.iter().flat_map(|(rooms, _)| *rooms).position(|known| *known == room)
}

const PAGE: &str = "book/src/contributing/architecture.md";

/// The book shows the table. With `UPDATE_BOOK=1` this writes it.
pub(super) fn picture(sources: &[Source]) -> Vec<Finding> {
    let pages = sources.iter().filter(|source| source.path == PAGE);
    let wrong = pages.filter_map(|page| match features::filled(&page.text, &drawn()) {
        Ok(current) if current == page.text => None,
        Ok(current) if std::env::var_os("UPDATE_BOOK").is_some() => {
            fs::write(cargo::root().join(PAGE), current).err().map(|error| error.to_string())
        }
        Ok(_) => Some("the floors are not those of the table; `UPDATE_BOOK=1 cargo xtask tidy` writes them".into()),
        Err(error) => Some(error),
    });
    wrong.map(|what| Finding { file: PAGE.into(), line: 1, what }).collect()
}

/// The floors of all crates, highest first.
fn drawn() -> String {
    let mut page = "\n".to_owned();
    for (name, floors) in HOUSE {
        let rooms = |floor: &Floor| floor.0.join(" ");
        let width = floors.iter().map(|floor| rooms(floor).len()).max().unwrap_or_default();
        page += &format!("### `{name}`\n\n```text\n");
        for (number, floor) in floors.iter().enumerate().rev() {
            page += &format!("{}  {:width$}  {}\n", number + 1, rooms(floor), floor.1);
        }
        page += "```\n\n";
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source;

    #[test]
    fn the_book_shows_the_floors() {
        assert_eq!(picture(&source::below(cargo::root()).unwrap()), []);
    }

    #[test]
    fn the_highest_floor_is_drawn_first() {
        let drawn = drawn();
        let lines: Vec<_> = drawn.lines().skip_while(|line| *line != "### `pool-macros`").skip(3).take(3).collect();
        let numbers: Vec<_> = lines.iter().map(|line| &line[..1]).collect();
        assert_eq!(numbers, ["3", "2", "1"], "{lines:?}");
        assert_eq!(lines[2], "1  fault                       collects every mistake, each on the user's own token");
    }
}
