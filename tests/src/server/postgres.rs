//! A scratch PostgreSQL cluster.

use super::{
    Error,
    process::{self, Process, Stop},
    scratch::Scratch,
};
use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

/// Names the socket directory of a running scratch cluster, for [`Postgres::shared`]. `cargo xtask test` sets it.
pub const SHARED: &str = "POOL_TEST_POSTGRES";

/// How long a cluster may take to be ready. A second is usual.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A PostgreSQL cluster of our own, empty at the start and gone when dropped.
///
/// Ready in about a second. Anyone on the machine who may enter its private directory is its superuser `postgres`, without a password.
/// Crash safety is off.
#[derive(Debug)]
pub struct Postgres {
    // Before the directory: the server must have ended when its files go.
    _process: Option<Process>,
    scratch: Option<Scratch>,
    socket: PathBuf,
    port: Option<u16>,
    binaries: PathBuf,
}

/// Where a cluster listens besides its Unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere: no port, so no two clusters race for one.
    #[default]
    Socket,
    /// On a free port of 127.0.0.1.
    Loopback,
}

impl Postgres {
    /// The cluster of this test run: the one that `cargo xtask test` started, else one of this process's own.
    ///
    /// cargo-nextest runs each test in a process of its own, so without `cargo xtask test` each pays a second for a cluster. To run single
    /// tests often, keep one with `cargo xtask postgres` and set the variable that it prints.
    ///
    /// # Panics
    /// If there is no cluster and none can be started; the message says what to install.
    pub fn shared() -> &'static Self {
        static CLUSTER: LazyLock<Postgres> = LazyLock::new(|| {
            let cluster = match std::env::var_os(SHARED) {
                Some(socket) => Postgres::attach(Path::new(&socket)),
                None => Postgres::start(),
            };
            cluster.unwrap_or_else(|error| panic!("no PostgreSQL for this test: {error}"))
        });
        &CLUSTER
    }

    /// Starts a cluster that listens on its Unix socket only.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(Listen::Socket, &[])
    }

    /// Starts a cluster with server settings of your choice, such as `("max_connections", "20")`.
    pub fn start_with(listen: Listen, settings: &[(&str, &str)]) -> Result<Self, Error> {
        Self::start_with_files(listen, settings, &[])
    }

    /// The same, with files of your choice in the directory of its data, such as `pg_hba.conf` or `server.key`.
    pub fn start_with_files(listen: Listen, settings: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Self, Error> {
        let binaries = binaries().ok_or_else(|| Error::new(format!("PostgreSQL is not installed; {INSTALL}")))?;
        let scratch = Scratch::new("postgres")?;
        let data = scratch.path().join("data");
        let mut initdb = process::server(&binaries.join("initdb"), scratch.user(), Stop::Int);
        initdb.args(["-U", "postgres", "-A", "trust", "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"]);
        initdb.arg("-D").arg(&data);
        process::run(initdb)?;
        files.iter().try_for_each(|(name, contents)| scratch.write(Path::new("data").join(name), contents))?;
        // Another program may take the port between our asking for it and the server's.
        let mut attempts = match listen {
            Listen::Socket => 1,
            Listen::Loopback => 5,
        };
        loop {
            attempts -= 1;
            let port = (listen == Listen::Loopback).then(free_port).transpose()?;
            match launch(&binaries, &scratch, port, settings) {
                Ok(process) => {
                    let socket = scratch.path().to_owned();
                    return Ok(Self { _process: Some(process), scratch: Some(scratch), socket, port, binaries });
                }
                Err(error) if attempts == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// The running cluster whose socket is in that directory. Dropping it stops nothing.
    pub fn attach(socket: &Path) -> Result<Self, Error> {
        let binaries = binaries().ok_or_else(|| Error::new(format!("PostgreSQL is not installed; {INSTALL}")))?;
        let cluster = Self { _process: None, scratch: None, socket: socket.to_owned(), port: None, binaries };
        cluster.psql("postgres", "select 1").map_err(|error| {
            Error::new(format!("the cluster in {} ({SHARED}) does not answer: {error}", socket.display()))
        })?;
        Ok(cluster)
    }

    /// Creates an empty database.
    pub fn database(&self) -> Result<Database<'_>, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Many processes of one run share a cluster, and process numbers come round again: the time keeps them apart.
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_micros());
        let name = format!("t{now}_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // template0, because nobody can be connected to it, which would make the copy fail.
        self.psql("postgres", &format!("create database {name} template template0"))?;
        Ok(Database { cluster: self, name })
    }

    /// Runs SQL by `psql`, outside any pool, and gives its rows: columns parted by `|`, no headings.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, Error> {
        self.run_psql(&["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-c", sql])
    }

    /// Runs `psql` with arguments of your choice, which name the server too, and gives its standard output.
    pub fn run_psql(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut psql = process::client(&self.binaries.join("psql"));
        psql.args(arguments);
        process::run(psql)
    }

    /// The URL of a database, by the Unix socket.
    pub fn url(&self, database: &str) -> String {
        // The port is part of the socket's name, also where no port is open.
        let port = self.port.unwrap_or(5432);
        format!("postgres://postgres@localhost:{port}/{database}?host={}", self.socket.display())
    }

    /// The URL of a database by TCP, if the cluster was started with [`Listen::Loopback`].
    pub fn tcp_url(&self, database: &str) -> Option<String> {
        self.port.map(|port| format!("postgres://postgres@127.0.0.1:{port}/{database}"))
    }

    /// Where a file of [`start_with_files`](Self::start_with_files) is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.socket.join("data").join(name)
    }

    /// The directory of its Unix socket, which is what [`SHARED`] holds.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The server's log so far; empty for a cluster that we did not start.
    pub fn log(&self) -> String {
        self.scratch.as_ref().map(|scratch| log_of(scratch.path())).unwrap_or_default()
    }
}

/// A database in a scratch cluster, dropped with everyone in it when this is.
#[derive(Debug)]
pub struct Database<'c> {
    cluster: &'c Postgres,
    name: String,
}

impl Database<'_> {
    /// Its URL, by the Unix socket.
    pub fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    /// Its URL by TCP, if the cluster listens there.
    pub fn tcp_url(&self) -> Option<String> {
        self.cluster.tcp_url(&self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs SQL in it by `psql`, as [`Postgres::psql`] does.
    pub fn psql(&self, sql: &str) -> Result<String, Error> {
        self.cluster.psql(&self.name, sql)
    }

    /// Connections that the server has open to it now, whatever they do.
    pub fn backends(&self) -> Result<usize, Error> {
        let count = format!("select count(*) from pg_stat_activity where datname = '{}'", self.name);
        let rows = self.cluster.psql("postgres", &count)?;
        rows.parse().map_err(|_| Error::new(format!("a count was expected, not `{rows}`")))
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        let _ = self.cluster.psql("postgres", &format!("drop database {} with (force)", self.name));
    }
}

/// What to run where there is no PostgreSQL.
pub const INSTALL: &str = "run `apt-get install postgresql`, or set PG_BIN to the directory that holds `initdb`";

/// Where PostgreSQL's programs are: `PG_BIN`, else Debian's newest, else `PATH`.
pub fn binaries() -> Option<PathBuf> {
    if let Some(chosen) = std::env::var_os("PG_BIN") {
        return Some(PathBuf::from(chosen)).filter(|directory| holds_server(directory));
    }
    let mut debian: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, directory)| holds_server(directory))
        .collect();
    debian.sort();
    let newest = debian.pop().map(|(_, directory)| directory);
    newest.or_else(|| std::env::split_paths(&std::env::var_os("PATH")?).find(|directory| holds_server(directory)))
}

fn holds_server(directory: &Path) -> bool {
    ["initdb", "postgres", "psql"].iter().all(|program| directory.join(program).is_file())
}

/// Starts the server itself, not `pg_ctl`, so that it is our child, and waits until it is ready.
fn launch(binaries: &Path, scratch: &Scratch, port: Option<u16>, settings: &[(&str, &str)]) -> Result<Process, Error> {
    let directory = scratch.path();
    let mut command = process::server(&binaries.join("postgres"), scratch.user(), Stop::Int);
    command.arg("-D").arg(directory.join("data")).arg("-k").arg(directory);
    let mut set = |name: &str, value: &str| {
        command.args(["-c", &format!("{name}={value}")]);
    };
    match port {
        Some(_) => set("listen_addresses", "127.0.0.1"),
        None => set("listen_addresses", ""),
    }
    ["fsync", "synchronous_commit", "full_page_writes"].iter().for_each(|name| set(name, "off"));
    // One cluster serves every test of a run, several at a time.
    set("max_connections", "300");
    settings.iter().for_each(|(name, value)| set(name, value));
    if let Some(port) = port {
        command.args(["-p", &port.to_string()]);
    }
    let log = fs::File::create(directory.join("log")).map_err(Error::doing("create the log"))?;
    let copy = log.try_clone().map_err(Error::doing("share the log"))?;
    command.stdout(log).stderr(copy);
    let process = Process::start(command, Stop::Int)?;
    // No connection is needed to know: the eighth line of this file says `ready`.
    let pid_file = directory.join("data/postmaster.pid");
    let is_ready = || fs::read_to_string(&pid_file).is_ok_and(|t| t.lines().nth(7).map(str::trim) == Some("ready"));
    process::wait_until(READY_LIMIT, || is_ready() || process.has_ended());
    if is_ready() && !process.has_ended() {
        Ok(process)
    } else {
        Err(Error::new(format!("PostgreSQL did not become ready; its log says:\n{}", log_of(directory))))
    }
}

fn log_of(directory: &Path) -> String {
    fs::read_to_string(directory.join("log")).unwrap_or_default()
}

fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::doing("find a free port"))?;
    Ok(listener.local_addr().map_err(Error::doing("find a free port"))?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_of_one_cluster_do_not_see_each_other() {
        let cluster = Postgres::shared();
        let (one, other) = (cluster.database().unwrap(), cluster.database().unwrap());
        one.psql("create table tracks (id bigint)").unwrap();
        assert_eq!(one.psql("select to_regclass('tracks')").unwrap(), "tracks");
        assert_eq!(other.psql("select to_regclass('tracks')").unwrap(), "");
    }

    #[test]
    fn dropped_database_is_gone() {
        let cluster = Postgres::shared();
        let database = cluster.database().unwrap();
        let exists = format!("select count(*) from pg_database where datname = '{}'", database.name());
        assert_eq!(cluster.psql("postgres", &exists).unwrap(), "1");
        drop(database);
        assert_eq!(cluster.psql("postgres", &exists).unwrap(), "0");
    }

    #[test]
    fn sql_error_is_told_with_the_servers_words() {
        let error = Postgres::shared().psql("postgres", "select * from nowhere").unwrap_err();
        assert!(error.to_string().contains("relation \"nowhere\" does not exist"), "{error}");
    }

    #[test]
    fn own_cluster_takes_settings_listens_on_loopback_and_leaves_nothing() {
        let cluster = Postgres::start_with(Listen::Loopback, &[("max_connections", "17")]).unwrap();
        assert_eq!(cluster.psql("postgres", "show max_connections").unwrap(), "17");
        let url = cluster.tcp_url("postgres").unwrap();
        let address = cluster.run_psql(&["-XqAt", "-d", &url, "-c", "select inet_server_addr()"]);
        assert_eq!(address.unwrap(), "127.0.0.1");
        let directory = cluster.socket().to_owned();
        drop(cluster);
        assert!(!directory.exists());
    }

    #[test]
    fn server_that_cannot_start_says_why() {
        let error = Postgres::start_with(Listen::Socket, &[("max_connections", "many")]).unwrap_err();
        assert!(error.to_string().contains("max_connections"), "{error}");
    }
}
