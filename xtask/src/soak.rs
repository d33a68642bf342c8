//! `cargo xtask soak`: the cancel fuzz of the tests, for longer.

use crate::{cargo::cargo, report::Verdict, servers};
use ::tests::server::{mariadb, postgres};
use std::process::ExitCode;

/// Cancels that many requests on each database.
pub(crate) fn run(cancellations: &str) -> Verdict {
    cancellations.parse::<u32>().map_err(|_| format!("`{cancellations}` is no number"))?;
    let (cluster, mariadb) = (servers::postgres()?, servers::mariadb()?);
    // One after the other: each wants the machine for itself.
    let mut command = cargo(&["test", "-p", "tests", "--test", "soak", "--", "--nocapture", "--test-threads=1"]);
    command.env(postgres::SHARED, cluster.socket()).env(mariadb::SHARED, mariadb.directory());
    let status = command.env("POOL_SOAK", cancellations).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
