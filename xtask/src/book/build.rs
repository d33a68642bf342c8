//! Building with mdBook as a library.

use super::{Then, links};
use crate::{cargo, report::Verdict};
use mdbook_driver::MDBook;
use std::process::{Command, ExitCode};

/// Builds `book/`, checks every link between its pages, and opens it if asked.
pub(crate) fn run(then: Then) -> Verdict {
    let book = MDBook::load(cargo::root().join("book"))?;
    book.build()?;
    let pages = book.build_dir_for("html");
    let checked = links::check(&pages)?;
    checked.broken.iter().for_each(|broken| eprintln!("error: {broken}"));
    println!("{} ({} links checked)", pages.join("index.html").display(), checked.links);
    if !checked.broken.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if then == Then::Open {
        let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let status = Command::new(opener).arg(pages.join("index.html")).status();
        status.map_err(|error| format!("{opener}: {error}; open the page above by hand"))?;
    }
    Ok(ExitCode::SUCCESS)
}
