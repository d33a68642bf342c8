//! A server process that cannot outlive the program that started it.

use super::{Error, scratch::User};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{LazyLock, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a server may take to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running server, ended when dropped.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    stop: Stop,
    owner: JoinHandle<()>,
}

/// The signal on which a server ends at once, without waiting for its clients.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    /// PostgreSQL.
    Int,
    /// PgBouncer, MariaDB.
    Term,
}

impl Stop {
    fn name(self) -> &'static str {
        match self {
            Self::Int => "INT",
            Self::Term => "TERM",
        }
    }
}

impl Process {
    /// Starts it from a thread of its own, which then waits for its end.
    ///
    /// The kernel sends the parent-death signal when the *thread* that forked ends, not the process: forked from a test's thread the server
    /// would die with the first test.
    pub(super) fn start(mut command: Command, stop: Stop) -> Result<Self, Error> {
        let (tell, told) = mpsc::channel();
        let owner = thread::Builder::new()
            .name("server-owner".into())
            .spawn(move || match command.stdin(Stdio::null()).spawn() {
                Ok(mut child) => {
                    let _ = tell.send(Ok(child.id()));
                    let _ = child.wait();
                }
                Err(error) => {
                    let _ = tell.send(Err(Error::doing(format!("start {:?}", command.get_program()))(error)));
                }
            })
            .map_err(Error::doing("start a thread"))?;
        let pid = told.recv().expect("BUG: the owner always tells")?;
        Ok(Self { pid, stop, owner })
    }

    pub(super) fn has_ended(&self) -> bool {
        self.owner.is_finished()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for signal in [self.stop.name(), "KILL"] {
            if !self.has_ended() {
                send(signal, self.pid);
                wait_until(STOP_LIMIT, || self.owner.is_finished());
            }
        }
    }
}

/// The command that runs a server's `program` as `user`, and is told by the kernel when its parent dies.
///
/// As root it drops to `user` without sudo. Where there is no `setpriv` (it is Linux's) the parent's death goes unnoticed and the next
/// sweep ends the server.
pub(super) fn server(program: &Path, user: Option<User>, stop: Stop) -> Command {
    static HAS_SETPRIV: LazyLock<bool> = LazyLock::new(|| Command::new("setpriv").arg("--version").output().is_ok());
    if !*HAS_SETPRIV {
        return client(program);
    }
    let mut command = client(Path::new("setpriv"));
    if let Some(User { uid, gid }) = user {
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()]);
    }
    command.args(["--pdeathsig", stop.name(), "--"]).arg(program);
    command
}

/// The command that runs `program` with nothing of the caller's environment that could lead it to another server.
pub(super) fn client(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    // Some programs complain when their account may not enter the current directory.
    command.current_dir("/").env("LC_ALL", "C");
    command
}

/// Runs a command to its end and gives its standard output, or says what it complained about.
pub(super) fn run(mut command: Command) -> Result<String, Error> {
    let output =
        command.stdin(Stdio::null()).output().map_err(Error::doing(format!("run {:?}", command.get_program())))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    } else {
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(Error::new(format!("{} ({})", complaint.trim(), output.status)))
    }
}

/// Ends the server that still runs in a dead program's directory, if there is one.
pub(super) fn end_server_of(directory: &Path) {
    let number = |file| fs::read_to_string(directory.join(file)).ok()?.lines().next()?.trim().parse::<u32>().ok();
    let Some(pid) = number("data/postmaster.pid").or_else(|| number("pid")) else { return };
    // The number may be another process's by now: ours has the directory on its command line.
    let is_ours = || {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*directory.to_string_lossy()))
    };
    for signal in ["INT", "TERM", "KILL"] {
        if is_ours() {
            send(signal, pid);
            wait_until(Duration::from_secs(5), || !is_ours());
        }
    }
}

/// By the shell's own `kill`: the program of that name is missing on small systems, and the system call is unsafe Rust.
fn send(signal: &str, pid: u32) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).stderr(Stdio::null()).status();
}

/// Polls every few milliseconds; false if `done` did not come true within the limit.
pub(super) fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if done() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
