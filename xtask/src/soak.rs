//! `cargo xtask soak`: the cancel fuzz and the random walk of the tests, for longer.

use crate::{cargo::cargo, report::Verdict, servers};
use ::tests::server::{mariadb, postgres};
use std::process::ExitCode;

/// Cancels this many requests, and walks through this many loans, on each database.
pub(crate) fn run(count: &str) -> Verdict {
    count.parse::<u32>().map_err(|_| format!("`{count}` is no number"))?;
    let (cluster, mariadb) = (servers::postgres()?, servers::mariadb()?);
    // One after the other: each wants the machine for itself.
    let mut command = cargo(&["test", "-p", "tests", "--test", "soak", "--", "--nocapture", "--test-threads=1"]);
    command.env(postgres::SHARED, cluster.socket()).env(mariadb::SHARED, mariadb.directory());
    let status = command.env("POOL_SOAK", count).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
