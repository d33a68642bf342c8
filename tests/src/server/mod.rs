//! Real servers, started for a test run and gone with it: no Docker, no sudo, nothing left behind.
//!
//! A server lives in a directory of its own below `/tmp`, listens on a Unix socket there, runs as an ordinary user even
//! when the tests run as root, and is told by the kernel when the program that started it has died. A directory that a killed
//! program left is swept by the next one that starts a server.

pub mod chromium;
pub mod http;
pub mod mariadb;
pub mod pgbouncer;
pub mod postgres;
mod process;
pub mod prometheus;
mod scratch;

use std::{fmt, io};

/// Why a server could not be started or asked.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// For `map_err`: says what was being done when the system refused.
    fn doing(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
