//! What is left of a scratch PostgreSQL when the program that started it ends, well or badly.

use ::tests::Postgres;
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// `cargo xtask postgres` as a child, and the directory of its cluster.
fn start() -> (Child, PathBuf) {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.arg("postgres").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = xtask.spawn().expect("xtask starts");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut line).expect("xtask says where its cluster is");
    let (_, socket) = line.trim().split_once("POOL_TEST_POSTGRES=").expect("the first line names the directory");
    (child, PathBuf::from(socket))
}

/// Whether a server still runs in that directory.
fn is_running(directory: &Path) -> bool {
    let pid = std::fs::read_to_string(directory.join("data/postmaster.pid")).unwrap_or_default();
    let pid = pid.lines().next().unwrap_or_default().to_owned();
    // A zombie has no command line.
    !pid.is_empty() && std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn within_forty_seconds(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(40), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn cluster_is_gone_when_its_program_ends() {
    let (mut child, directory) = start();
    assert_eq!(Postgres::attach(&directory).unwrap().psql("postgres", "select 1").unwrap(), "1");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!directory.exists());
}

#[test]
fn cluster_of_a_killed_program_stops_and_the_next_one_sweeps_it() {
    let (mut child, directory) = start();
    assert!(is_running(&directory));
    // SIGKILL: it cannot clean up.
    child.kill().unwrap();
    child.wait().unwrap();
    within_forty_seconds("the server stops", || !is_running(&directory));
    drop(Postgres::start().unwrap());
    // Somebody else's start may be about it already.
    within_forty_seconds("the directory is swept", || !directory.exists());
}
