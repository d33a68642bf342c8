//! A Chromium without a window, at the end of a pipe.
//!
//! It speaks the DevTools protocol: messages of JSON, each with a zero byte at its end. No port is opened, and when the pipe breaks it ends.

use super::{
    Error,
    process::{self, Stop},
    scratch::Scratch,
};
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

/// How long it may take to end once the pipe is closed.
const END_LIMIT: Duration = Duration::from_secs(20);

/// A browser of our own with an empty profile, gone when dropped.
#[derive(Debug)]
pub struct Chromium {
    /// Closed before we wait for the end.
    to: Option<ChildStdin>,
    from: Receiver<String>,
    child: Child,
    scratch: Scratch,
}

impl Chromium {
    /// Starts one.
    pub fn start() -> Result<Self, Error> {
        let program = program().ok_or_else(|| Error::new(format!("Chromium is not installed; {INSTALL}")))?;
        let scratch = Scratch::new("nobody")?;
        // It reads from descriptor 3 and writes to 4, which only a shell can set up without unsafe code.
        let mut command = process::server(Path::new("sh"), scratch.user(), Stop::Term);
        command.args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >&2"#]).arg(program);
        command.args([
            "--headless",
            "--remote-debugging-pipe",
            // It shows pages of ours only. Its sandbox needs rights that containers do not give.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            // Nothing of its own accord.
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-breakpad",
            "--hide-scrollbars",
        ]);
        command.arg(format!("--user-data-dir={}", scratch.path().join("profile").display()));
        command.env("HOME", scratch.path()).env("TMPDIR", scratch.path());
        let log = File::create(scratch.path().join("log")).map_err(Error::doing("create the log"))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(Error::doing("start Chromium"))?;
        let output = child.stdout.take().expect("BUG: it was piped");
        let (tell, from) = mpsc::channel();
        thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                if tell.send(String::from_utf8_lossy(&message).into_owned()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { to: child.stdin.take(), from, child, scratch })
    }

    /// Sends it a message.
    pub fn send(&mut self, message: &str) -> Result<(), Error> {
        let to = self.to.as_mut().expect("BUG: open until it is dropped");
        to.write_all(&[message.as_bytes(), &[0]].concat()).map_err(Error::doing("write to Chromium"))
    }

    /// Waits for its next message.
    pub fn receive(&mut self, limit: Duration) -> Result<String, Error> {
        self.from.recv_timeout(limit).map_err(|why| {
            let log = std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default();
            Error::new(format!("no message from Chromium within {limit:?} ({why}); its log says:\n{log}"))
        })
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        self.to = None;
        if !process::wait_until(END_LIMIT, || self.child.try_wait().is_ok_and(|ended| ended.is_some())) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What to run where there is no Chromium.
pub const INSTALL: &str = "run `apt-get install chromium`";

/// Where it is on `PATH`, by one of its names.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    std::env::split_paths(&path)
        .flat_map(|directory| names.map(|name| directory.join(name)))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_its_version_and_ends_with_its_directory() {
        let mut browser = Chromium::start().unwrap();
        browser.send(r#"{"id":1,"method":"Browser.getVersion"}"#).unwrap();
        let answer = browser.receive(Duration::from_secs(60)).unwrap();
        assert!(answer.contains(r#""id":1"#) && answer.contains("Chrome"), "{answer}");
        let (directory, pid) = (browser.scratch.path().to_owned(), browser.child.id());
        drop(browser);
        assert!(!directory.exists() && !Path::new(&format!("/proc/{pid}")).exists());
    }
}
