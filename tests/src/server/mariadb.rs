//! A scratch MariaDB.

use super::{
    Error,
    process::{self, Process, Stop},
    scratch::Scratch,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

/// Names the directory of a running scratch server, for [`MariaDb::shared`]. `cargo xtask test` sets it.
pub const SHARED: &str = "POOL_TEST_MARIADB";

/// How long it may take to be ready. Two seconds are usual.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A MariaDB server of our own, empty at the start and gone when dropped.
///
/// It listens on a Unix socket only. Whoever may enter its private directory is its `root`, without a password. Crash safety is off.
#[derive(Debug)]
pub struct MariaDb {
    // Before the directory: the server must have ended when its files go.
    process: Option<Process>,
    scratch: Option<Scratch>,
    directory: PathBuf,
    arguments: Vec<String>,
    programs: Programs,
}

impl MariaDb {
    /// The server of this test run: the one that `cargo xtask test` started, else one of this process's own.
    ///
    /// # Panics
    /// If there is none and none can be started; the message says what to install.
    pub fn shared() -> &'static Self {
        static SERVER: LazyLock<MariaDb> = LazyLock::new(|| {
            let server = match std::env::var_os(SHARED) {
                Some(directory) => MariaDb::attach(Path::new(&directory)),
                None => MariaDb::start(),
            };
            server.unwrap_or_else(|error| panic!("no MariaDB for this test: {error}"))
        });
        &SERVER
    }

    /// Starts a server.
    pub fn start() -> Result<Self, Error> {
        Self::start_with_files(&[], &[])
    }

    /// Starts a server with arguments of your choice and files of your choice in the directory of its data.
    pub fn start_with_files(arguments: &[&str], files: &[(&str, &str)]) -> Result<Self, Error> {
        let programs = programs().ok_or_else(|| Error::new(format!("MariaDB is not installed; {INSTALL}")))?;
        let scratch = Scratch::new("mysql")?;
        let directory = scratch.path().to_owned();
        let data = format!("--datadir={}", directory.join("data").display());
        let mut install = process::server(&programs.install, scratch.user(), Stop::Term);
        // Its temporary tables: one that starts removes those of others from a directory that they share.
        install.env("TMPDIR", scratch.path());
        install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", &data]);
        process::run(install)?;
        files.iter().try_for_each(|(name, contents)| scratch.write(Path::new("data").join(name), contents))?;
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut server = Self { process: None, scratch: Some(scratch), directory, arguments, programs };
        server.run()?;
        Ok(server)
    }

    /// Ends the server and starts it again, in the same place.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.process = None;
        let _ = fs::remove_file(self.directory.join("pid"));
        self.run()
    }

    fn run(&mut self) -> Result<(), Error> {
        let at = |what: &str, file: &str| format!("--{what}={}", self.directory.join(file).display());
        let user = self.scratch.as_ref().and_then(Scratch::user);
        let mut command = process::server(&self.programs.server, user, Stop::Term);
        command.arg("--no-defaults").arg(format!("--tmpdir={}", self.directory.display()));
        command.args(["--skip-networking", "--max-connections=300", "--skip-log-bin", &at("datadir", "data")]);
        command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M"]);
        command.args(&self.arguments).args([at("socket", "socket"), at("pid-file", "pid")]);
        let log = fs::File::create(self.directory.join("log")).map_err(Error::doing("create the log"))?;
        let copy = log.try_clone().map_err(Error::doing("share the log"))?;
        command.stdout(log).stderr(copy);
        let process = Process::start(command, Stop::Term)?;
        // It writes its number once it is ready for connections.
        let is_ready = || self.directory.join("pid").exists() && self.sql("", "select 1").is_ok();
        let ready = process::wait_until(READY_LIMIT, || process.has_ended() || is_ready());
        if ready && !process.has_ended() {
            self.process = Some(process);
            Ok(())
        } else {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            Err(Error::new(format!("MariaDB did not become ready; its log says:\n{log}")))
        }
    }

    /// The running server in that directory. Dropping it stops nothing.
    pub fn attach(directory: &Path) -> Result<Self, Error> {
        let programs = programs().ok_or_else(|| Error::new(format!("MariaDB is not installed; {INSTALL}")))?;
        let directory = directory.to_owned();
        let server = Self { process: None, scratch: None, directory, arguments: Vec::new(), programs };
        server.sql("", "select 1").map_err(|error| {
            Error::new(format!("the MariaDB in {} ({SHARED}) does not answer: {error}", server.directory.display()))
        })?;
        Ok(server)
    }

    /// Creates an empty database.
    pub fn database(&self) -> Result<Database<'_>, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // As with PostgreSQL: the time keeps processes with the same number apart.
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_micros());
        let name = format!("t{now}_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql("", &format!("create database {name}"))?;
        Ok(Database { server: self, name })
    }

    /// Runs SQL by MariaDB's own client and gives its rows: columns parted by tabs, no headings. An empty name is no database.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, Error> {
        let mut client = process::client(&self.programs.client);
        client.args(["--no-defaults", "-u", "root", "-N", "-B", "-e", sql]);
        client.arg(format!("--socket={}", self.directory.join("socket").display()));
        if !database.is_empty() {
            client.arg(database);
        }
        process::run(client)
    }

    /// Where a file of [`start_with_files`](Self::start_with_files) is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join("data").join(name)
    }

    /// Its directory, which is what [`SHARED`] holds.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// A database on a scratch server, dropped when this is.
#[derive(Debug)]
pub struct Database<'s> {
    server: &'s MariaDb,
    name: String,
}

impl Database<'_> {
    /// Its URL, by the Unix socket.
    pub fn url(&self) -> String {
        format!("mysql://root@localhost/{}?socket={}", self.name, self.server.directory.join("socket").display())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs SQL in it, as [`MariaDb::sql`] does.
    pub fn sql(&self, sql: &str) -> Result<String, Error> {
        self.server.sql(&self.name, sql)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        let _ = self.server.sql("", &format!("drop database {}", self.name));
    }
}

/// What to run where there is no MariaDB.
pub const INSTALL: &str = "run `apt-get install mariadb-server-core mariadb-client-core`";

#[derive(Debug)]
struct Programs {
    install: PathBuf,
    server: PathBuf,
    client: PathBuf,
}

/// Whether all of its programs are there.
pub fn is_installed() -> bool {
    programs().is_some()
}

fn programs() -> Option<Programs> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).collect();
    let find = |name: &str| directories.iter().map(|directory| directory.join(name)).find(|program| program.is_file());
    Some(Programs { install: find("mariadb-install-db")?, server: find("mariadbd")?, client: find("mariadb")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_is_empty_at_first_and_gone_when_dropped() {
        let server = MariaDb::shared();
        let database = server.database().unwrap();
        database.sql("create table tracks (id bigint)").unwrap();
        assert_eq!(database.sql("show tables").unwrap(), "tracks");
        let count =
            format!("select count(*) from information_schema.schemata where schema_name = '{}'", database.name());
        assert_eq!(server.sql("", &count).unwrap(), "1");
        drop(database);
        assert_eq!(server.sql("", &count).unwrap(), "0");
    }
}
