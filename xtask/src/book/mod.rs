//! `cargo xtask book`: the guide, built with nothing installed, and its links checked.
//!
//! The builder is a hundred crates, so it stands behind the feature `book`: without it this verb starts xtask again with it.

#[cfg(feature = "book")]
mod build;
#[cfg(feature = "book")]
mod links;

use crate::cargo::cargo;
use std::process::Command;

/// What to do with the book once it is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Stop,
    Open,
}

/// The command that builds and checks the book.
pub(crate) fn command(then: Then) -> Command {
    let mut command = cargo(&["run", "--quiet", "--package", "xtask", "--features", "book", "--", "book"]);
    if then == Then::Open {
        command.arg("--open");
    }
    command
}

#[cfg(not(feature = "book"))]
pub(crate) fn run(then: Then) -> crate::report::Verdict {
    use std::process::ExitCode;
    eprintln!("building mdBook first, if this is the first time: a minute or two");
    Ok(if command(then).status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(feature = "book")]
pub(crate) use build::run;
