//! The password of a connect, asked for in code.

use crate::words::{Secret, secret::redacted};
use std::{error::Error, fmt, io, pin::Pin, sync::Arc};

/// Gives the password of the next connect.
#[derive(Clone)]
pub(crate) struct BeforeConnect(pub(super) Arc<dyn Fn() -> Password + Send + Sync>);

type Password = Pin<Box<dyn Future<Output = Result<Secret, Box<dyn Error + Send + Sync>>> + Send>>;

impl BeforeConnect {
    pub(crate) async fn password(&self) -> Result<Secret, io::Error> {
        (self.0)().await.map_err(|error| io::Error::other(NoPassword::of(error)))
    }
}

/// The function gave no password. What it says is for the log, without the secrets of addresses in it.
#[derive(Debug)]
pub(crate) struct NoPassword(String);

impl NoPassword {
    pub(crate) fn of(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(redacted(&error.to_string()))
    }
}

impl fmt::Display for NoPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "before_connect failed: {}", self.0)
    }
}

impl Error for NoPassword {}

impl fmt::Debug for BeforeConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a function")
    }
}
