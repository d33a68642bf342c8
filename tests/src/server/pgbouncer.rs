//! A scratch PgBouncer before a scratch PostgreSQL.

use super::{
    Error,
    postgres::Postgres,
    process::{self, Process, Stop},
    scratch::Scratch,
};
use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long it may take to listen. Some milliseconds are usual.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A PgBouncer of our own, in transaction mode, before any database of one cluster; gone when dropped.
#[derive(Debug)]
pub struct PgBouncer {
    // Before the directory, and before anything that its clients may wait for.
    _process: Process,
    scratch: Scratch,
}

impl PgBouncer {
    /// Starts one that keeps at most `servers` connections to each database, with settings of your choice on top.
    pub fn start(cluster: &Postgres, servers: u32, settings: &[(&str, &str)]) -> Result<Self, Error> {
        let program = program().ok_or_else(|| Error::new(format!("PgBouncer is not installed; {INSTALL}")))?;
        // The account that may enter the cluster's directory.
        let scratch = Scratch::new("postgres")?;
        let directory = scratch.path().display();
        let mut file = format!(
            "[databases]\n* = host={} port=5432 user=postgres\n\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n\
             unix_socket_dir = {directory}\npidfile = {directory}/pid\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = {servers}\nmax_client_conn = 500\n",
            cluster.socket().display(),
        );
        settings.iter().for_each(|(name, value)| file.push_str(&format!("{name} = {value}\n")));
        let path = scratch.path().join("pgbouncer.ini");
        fs::write(&path, file).map_err(Error::doing("write pgbouncer.ini"))?;
        let mut command = process::server(&program, scratch.user(), Stop::Term);
        command.arg(&path);
        let log = fs::File::create(scratch.path().join("log")).map_err(Error::doing("create the log"))?;
        let copy = log.try_clone().map_err(Error::doing("share the log"))?;
        command.stdout(log).stderr(copy);
        let process = Process::start(command, Stop::Term)?;
        let socket = scratch.path().join(".s.PGSQL.6432");
        // The socket is there a moment before anybody listens.
        let is_ready = || UnixStream::connect(&socket).is_ok();
        if process::wait_until(READY_LIMIT, || is_ready() || process.has_ended()) && !process.has_ended() {
            Ok(Self { _process: process, scratch })
        } else {
            let log = fs::read_to_string(scratch.path().join("log")).unwrap_or_default();
            Err(Error::new(format!("PgBouncer did not become ready; its log says:\n{log}")))
        }
    }

    /// The URL of a database through it, by its Unix socket.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost:6432/{database}?host={}", self.scratch.path().display())
    }

    /// Its version, such as `(1, 18)`.
    pub fn version() -> Option<(u32, u32)> {
        let mut command = process::client(&program()?);
        command.arg("--version");
        let text = process::run(command).ok()?;
        let mut numbers = text.split_whitespace().nth(1)?.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

/// What to run where there is no PgBouncer.
pub const INSTALL: &str = "run `apt-get install pgbouncer`";

/// Where it is: below `/usr/sbin`, else on `PATH`.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|directory| directory.join("pgbouncer")).find(|program: &PathBuf| Path::is_file(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_share_its_few_server_connections() {
        let cluster = Postgres::shared();
        let database = cluster.database().unwrap();
        let bouncer = PgBouncer::start(cluster, 1, &[]).unwrap();
        let url = bouncer.url(database.name());
        let pid = || cluster.run_psql(&["-XqAt", "-d", &url, "-c", "select pg_backend_pid()"]).unwrap();
        assert_eq!(pid(), pid());
        assert!(PgBouncer::version().unwrap() >= (1, 0));
    }
}
