//! The developers' commands: `cargo xtask <verb>`.
//!
//! `.ci/run` runs `tidy` and `test`, which cover everything between them. Nothing has to be installed first but Rust and a C compiler.

mod book;
mod cargo;
mod demo;
mod features;
mod release;
mod report;
mod rules;
mod servers;
mod soak;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <verb>

  demo [--postgres]  the example service through calm, a burst and recovery; on SQLite unless told otherwise
  test [-- FILTER]   every test, on scratch servers; FILTER as for `cargo test`
  soak [NUMBER]      cancels requests at random moments and walks through loans on every database, 10000 of each by default
  postgres           a scratch PostgreSQL to try things on, until Enter is pressed
  tidy               format, clippy, docs, the rules of the house, the book
  book [--open]      builds the book and checks its links
  rules              the alerts and the dashboard of the book, checked with promtool
  release            whether the packages are fit to be published; publishes nothing
  features           writes the book's table of features, with the crates that each needs
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let verdict = match arguments.as_slice() {
        ["demo"] => demo::run(demo::Database::Sqlite),
        ["demo", "--postgres"] => demo::run(demo::Database::Postgres),
        ["test", rest @ ..] => test::run(rest),
        ["soak"] => soak::run("10000"),
        ["soak", count] => soak::run(count),
        ["postgres"] => servers::hold(),
        ["tidy"] => tidy::run(),
        ["book"] => book::run(book::Then::Stop),
        ["book", "--open"] => book::run(book::Then::Open),
        ["release"] => release::run(),
        ["rules"] => rules::run(),
        ["features"] => features::run(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprint!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    };
    verdict.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
