//! The example service as a child process.

use crate::cargo::{self, cargo};
use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

const EXAMPLE: [&str; 5] = ["--package", "pool-sqlx", "--example", "tracks", "--all-features"];

/// A small pool, so that a burst which a laptop can send is beyond it.
pub(super) const POOL_SIZE: u32 = 5;
pub(super) const MAX_OVERFLOW: u32 = 3;
pub(super) const POOL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long it may take to listen, migrations included.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long it may take to end: longer than its `shutdown_grace`.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// The running example. Killed when dropped without [`stop`](Self::stop).
pub(super) struct Service {
    child: Child,
    url: String,
    log: Arc<Mutex<Vec<String>>>,
    directory: PathBuf,
}

/// Builds the example, with the compiler's words on the terminal.
pub(super) fn build() -> Result<(), Box<dyn Error>> {
    let status = cargo(&["build"]).args(EXAMPLE).status()?;
    if status.success() { Ok(()) } else { Err("the example does not build".into()) }
}

impl Service {
    /// Starts it on a free port, with a new SQLite file where there is no URL.
    pub(super) fn start(database_url: Option<String>) -> Result<Self, Box<dyn Error>> {
        let directory = std::env::temp_dir().join(format!("pool-demo-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let mut command = cargo(&["run", "--quiet"]);
        command.args(EXAMPLE);
        // Nothing of the caller's settings, files included, may change what is shown.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("DATABASE_") || name.starts_with("POOL_") || name == "RUST_LOG" {
                command.env_remove(&*name);
            }
        }
        command
            .env("ADDR", "127.0.0.1:0")
            .env("DATABASE_POOL_SIZE", POOL_SIZE.to_string())
            .env("DATABASE_MAX_OVERFLOW", MAX_OVERFLOW.to_string())
            .env("DATABASE_POOL_TIMEOUT", POOL_TIMEOUT.as_secs_f64().to_string())
            .env("POOL_CONFIG", directory.join("Pool.toml"))
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        match database_url {
            Some(url) => command.env("DATABASE_URL", url),
            None => command.env("TRACKS_DB", directory.join("tracks.db")),
        };
        fs::write(directory.join("Pool.toml"), "")?;
        let mut child = command.spawn()?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            read(out, log.clone(), tell.clone());
        }
        if let Some(err) = child.stderr.take() {
            read(err, log.clone(), tell);
        }
        let mut service = Self { child, url: String::new(), log, directory };
        match told.recv_timeout(START_LIMIT) {
            Ok(url) => service.url = url,
            // Both streams ended, or it says nothing.
            Err(_) => {
                return Err(
                    format!("the service did not start within {START_LIMIT:?}; it said:\n{}", service.said()).into()
                );
            }
        }
        Ok(service)
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// A line of its log that tells of a refused request.
    pub(super) fn refusal(&self) -> Option<String> {
        let log = self.log.lock().expect("BUG: nothing panics under this lock");
        log.iter().find(|line| line.contains(" WARN ") && line.contains("timed out after")).cloned()
    }

    /// Asks it to end, as a supervisor would, and waits until it has.
    pub(super) fn stop(mut self) -> Result<ExitStatus, Box<dyn Error>> {
        let kill = format!("kill -TERM {}", self.child.id());
        Command::new("sh").args(["-c", &kill]).current_dir(cargo::root()).status()?;
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(format!("the service did not end within {STOP_LIMIT:?} of SIGTERM; it said:\n{}", self.said()).into())
    }

    fn said(&self) -> String {
        self.log.lock().expect("BUG: nothing panics under this lock").join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Keeps what a stream says, and tells the address when it comes by.
fn read(stream: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>, tell: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some(url) = address(&line) {
                let _ = tell.send(url);
            }
            log.lock().expect("BUG: nothing panics under this lock").push(line);
        }
    });
}

/// From `… listening on http://127.0.0.1:4000`, wherever it stands in a log line.
fn address(line: &str) -> Option<String> {
    let (_, url) = line.split_once("listening on ")?;
    let end = url.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(url.len());
    url[..end].starts_with("http://").then(|| url[..end].trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_from_a_log_line() {
        let line = "2026-11-23T05:00:00Z  INFO tracks: listening on http://127.0.0.1:4000 database=\"primary\"";
        assert_eq!(address(line).as_deref(), Some("http://127.0.0.1:4000"));
        assert_eq!(address("listening on a port"), None);
    }
}
