//! The scratch servers of a run, and their programs where they are missing.

use crate::report::Verdict;
use ::tests::{
    MariaDb, Postgres,
    server::{
        chromium, mariadb, pgbouncer,
        postgres::{self, SHARED},
        prometheus,
    },
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
pub(crate) fn postgres() -> Result<Postgres, Box<dyn Error>> {
    if postgres::binaries().is_none() {
        ensure_may_install("PostgreSQL", postgres::INSTALL)?;
        install_postgres()?;
    }
    let cluster = Postgres::start()?;
    eprintln!("scratch PostgreSQL in {}", cluster.socket().display());
    Ok(cluster)
}

/// Starts a MariaDB for this run, after installing it where it is missing.
pub(crate) fn mariadb() -> Result<MariaDb, Box<dyn Error>> {
    if !mariadb::is_installed() {
        ensure_may_install("MariaDB", mariadb::INSTALL)?;
        // The cores are the programs only, without a service.
        install("MariaDB", &["mariadb-server-core", "mariadb-client-core"])?;
    }
    let server = MariaDb::start()?;
    eprintln!("scratch MariaDB in {}", server.directory().display());
    Ok(server)
}

/// Sees to it that the tests find a PgBouncer. Each starts its own.
pub(crate) fn pgbouncer() -> Result<(), Box<dyn Error>> {
    if pgbouncer::program().is_some() {
        return Ok(());
    }
    ensure_may_install("PgBouncer", pgbouncer::INSTALL)?;
    install("PgBouncer", &["pgbouncer"])
}

/// Sees to it that the tests find a Prometheus and its promtool. Each starts its own.
pub(crate) fn prometheus() -> Result<(), Box<dyn Error>> {
    if prometheus::program("prometheus").and(prometheus::program("promtool")).is_ok() {
        return Ok(());
    }
    ensure_may_install("Prometheus", prometheus::INSTALL)?;
    // Unpacked only: installed it would run as a service from now on.
    eprintln!("Prometheus is not installed: unpacking it with apt-get and dpkg");
    let unpacked = prometheus::unpacked();
    fs::create_dir_all(&unpacked)?;
    apt_get(Path::new("/"), &["update", "-q"])?;
    apt_get(&unpacked, &["download", "-q", "prometheus"])?;
    for package in fs::read_dir(&unpacked)? {
        let package = package?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            let status = Command::new("dpkg").arg("-x").args([&package, &unpacked]).status()?;
            fs::remove_file(&package)?;
            if !status.success() {
                return Err(format!("`dpkg -x {}` failed ({status})", package.display()).into());
            }
        }
    }
    prometheus::program("prometheus").map(drop).map_err(Into::into)
}

/// Sees to it that the tests find a Chromium. Each starts its own.
pub(crate) fn chromium() -> Result<(), Box<dyn Error>> {
    if chromium::program().is_some() {
        return Ok(());
    }
    ensure_may_install("Chromium", chromium::INSTALL)?;
    install("Chromium", &["chromium"])
}

/// `cargo xtask postgres`: keeps a cluster until standard input has a line or ends.
pub(crate) fn hold() -> Verdict {
    let cluster = postgres()?;
    println!("export {SHARED}={}", cluster.socket().display());
    println!("export DATABASE_URL='{}'", cluster.url("postgres"));
    io::stdout().flush()?;
    eprintln!("press Enter to stop it");
    io::stdin().read_line(&mut String::new())?;
    Ok(ExitCode::SUCCESS)
}

fn ensure_may_install(what: &str, how: &str) -> Result<(), Box<dyn Error>> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|us| us.uid() == 0);
    let may = is_root && Path::new("/usr/bin/apt-get").is_file();
    if may { Ok(()) } else { Err(format!("{what} is not installed; {how}").into()) }
}

/// Installs the programs only: the distribution's own cluster would take a port, memory and a second of every boot.
fn install_postgres() -> Result<(), Box<dyn Error>> {
    install("PostgreSQL", &["postgresql-common"])?;
    let habits = Path::new("/etc/postgresql-common/createcluster.conf");
    if habits.is_file() {
        // The last line about a setting counts.
        writeln!(fs::OpenOptions::new().append(true).open(habits)?, "create_main_cluster = false")?;
    }
    install("PostgreSQL", &["postgresql"])
}

fn install(what: &str, packages: &[&str]) -> Result<(), Box<dyn Error>> {
    eprintln!("{what} is not installed: installing {} with apt-get", packages.join(" and "));
    apt_get(Path::new("/"), &["update", "-q"])?;
    apt_get(Path::new("/"), &[&["install", "-qy", "--no-install-recommends"], packages].concat())
}

fn apt_get(directory: &Path, arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new("apt-get");
    command.current_dir(directory);
    command.args(["-o", "Dpkg::Options::=--force-confold"]).args(arguments);
    let status = command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("`apt-get {}` failed ({status})", arguments.join(" ")).into()) }
}
