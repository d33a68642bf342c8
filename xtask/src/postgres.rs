//! The scratch PostgreSQL of a run, and its programs where they are missing.

use crate::Verdict;
use ::tests::{
    Postgres,
    server::postgres::{self, SHARED},
};
use std::{
    error::Error,
    fs,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

/// Starts a cluster for this run, after installing PostgreSQL if we are root on a Debian-like system.
pub(crate) fn start() -> Result<Postgres, Box<dyn Error>> {
    if postgres::binaries().is_none() {
        if !may_install() {
            return Err(format!("PostgreSQL is not installed; {}", postgres::INSTALL).into());
        }
        install()?;
    }
    let cluster = Postgres::start()?;
    eprintln!("scratch PostgreSQL in {}", cluster.socket().display());
    Ok(cluster)
}

/// `cargo xtask postgres`: keeps a cluster until standard input has a line or ends.
pub(crate) fn hold() -> Verdict {
    let cluster = start()?;
    println!("export {SHARED}={}", cluster.socket().display());
    println!("export DATABASE_URL='{}'", cluster.url("postgres"));
    io::stdout().flush()?;
    eprintln!("press Enter to stop it");
    io::stdin().read_line(&mut String::new())?;
    Ok(ExitCode::SUCCESS)
}

fn may_install() -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|us| us.uid() == 0);
    is_root && Path::new("/usr/bin/apt-get").is_file()
}

/// Installs the programs only: the distribution's own cluster would take a port, memory and a second of every boot.
fn install() -> Result<(), Box<dyn Error>> {
    eprintln!("PostgreSQL is not installed: installing it with apt-get (programs only, no service)");
    apt_get(&["update", "-q"])?;
    apt_get(&["install", "-qy", "--no-install-recommends", "postgresql-common"])?;
    let habits = Path::new("/etc/postgresql-common/createcluster.conf");
    if habits.is_file() {
        // The last line about a setting counts.
        writeln!(fs::OpenOptions::new().append(true).open(habits)?, "create_main_cluster = false")?;
    }
    apt_get(&["install", "-qy", "--no-install-recommends", "postgresql"])
}

fn apt_get(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new("apt-get");
    command.args(["-o", "Dpkg::Options::=--force-confold"]).args(arguments);
    let status = command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("`apt-get {}` failed ({status})", arguments.join(" ")).into()) }
}
