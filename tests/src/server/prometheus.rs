//! A scratch Prometheus that scrapes a service on this machine, and `promtool`, which comes with it.

use super::{
    Error, http,
    process::{self, Process, Stop},
    scratch::Scratch,
};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long it may take to be ready. A second is usual.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How often it scrapes, and looks at its rules.
const INTERVAL: &str = "250ms";

/// A Prometheus of our own, gone when dropped.
#[derive(Debug)]
pub struct Prometheus {
    // Before the directory.
    _process: Process,
    _scratch: Scratch,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts one that scrapes `/metrics` of a service four times a second, with rules (a file's text) if there are any.
    pub fn start(service: SocketAddr, rules: &str) -> Result<Self, Error> {
        let program = program("prometheus")?;
        let scratch = Scratch::new("nobody")?;
        let directory = scratch.path();
        let config = format!(
            "global:\n  scrape_interval: {INTERVAL}\n  scrape_timeout: {INTERVAL}\n  evaluation_interval: {INTERVAL}\n\
             rule_files: [rules.yml]\nscrape_configs:\n- job_name: service\n  static_configs:\n  - targets: ['{service}']\n"
        );
        let rules = if rules.is_empty() { "groups: []\n" } else { rules };
        for (file, text) in [("prometheus.yml", &*config), ("rules.yml", rules)] {
            fs::write(directory.join(file), text).map_err(Error::doing(format!("write {file}")))?;
        }
        // Another program may take the port between our asking for it and its own.
        let mut attempts = 5;
        loop {
            attempts -= 1;
            match Self::launch(&program, &scratch) {
                Ok((process, address)) => return Ok(Self { _process: process, address, _scratch: scratch }),
                Err(error) if attempts == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn launch(program: &Path, scratch: &Scratch) -> Result<(Process, SocketAddr), Error> {
        let directory = scratch.path();
        // It does not say which port it was given, so it is told one that is free.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.map_err(Error::doing("find a free port"))?;
        // As ourselves: another account may not reach a program below our home.
        let mut command = process::server(program, None, Stop::Term);
        command.arg(format!("--config.file={}", directory.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let log = fs::File::create(directory.join("log")).map_err(Error::doing("create the log"))?;
        let copy = log.try_clone().map_err(Error::doing("share the log"))?;
        command.stdout(log).stderr(copy);
        let process = Process::start(command, Stop::Term)?;
        let is_ready = || http::get(address, "/-/ready").is_ok_and(|answer| answer.contains("Ready"));
        if process::wait_until(READY_LIMIT, || is_ready() || process.has_ended()) && !process.has_ended() {
            Ok((process, address))
        } else {
            let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
            Err(Error::new(format!("Prometheus did not become ready; its log says:\n{log}")))
        }
    }

    /// What it answers to an expression of PromQL: the JSON of its HTTP API.
    pub fn query(&self, expression: &str) -> Result<String, Error> {
        let escaped: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        self.get(&format!("/api/v1/query?query={escaped}"))
    }

    /// The body of what it answers at this path, such as `/api/v1/alerts`.
    pub fn get(&self, path: &str) -> Result<String, Error> {
        http::get(self.address, path)
    }
}

/// What to run where there is no Prometheus.
pub const INSTALL: &str =
    "run `apt-get install prometheus`, or `cargo xtask test`, which gets the programs without the service";

/// Where `cargo xtask test` unpacks the package: the service that comes with it is nothing for a machine of developers.
pub fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools")
}

/// Where `prometheus` or `promtool` is: on `PATH`, else where it was unpacked.
pub fn program(name: &str) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([unpacked().join("usr/bin")]);
    let mut programs = places.map(|directory| directory.join(name));
    programs.find(|program| program.is_file()).ok_or_else(|| Error::new(format!("there is no {name}; {INSTALL}")))
}
