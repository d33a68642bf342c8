//! The password of a connect, asked for at each.

use crate::words::{Secret, secret::redacted};
use std::{error::Error, fmt, io, pin::Pin, sync::Arc};

/// Gives the password of the next connect.
#[derive(Clone)]
pub(crate) struct BeforeConnect {
    /// The setting that asks for it.
    what: &'static str,
    ask: Arc<dyn Fn() -> Password + Send + Sync>,
}

type Password = Pin<Box<dyn Future<Output = Result<Secret, Box<dyn Error + Send + Sync>>> + Send>>;

impl BeforeConnect {
    pub(super) fn new(what: &'static str, ask: impl Fn() -> Password + Send + Sync + 'static) -> Self {
        Self { what, ask: Arc::new(ask) }
    }

    pub(crate) async fn password(&self) -> Result<Secret, io::Error> {
        (self.ask)().await.map_err(|error| io::Error::other(NoPassword::of(self.what, error)))
    }
}

/// There is no password. What was said of it is for the log, without the secrets of addresses in it.
#[derive(Debug)]
pub(crate) struct NoPassword {
    what: &'static str,
    said: String,
}

impl NoPassword {
    pub(crate) fn of(what: &'static str, error: Box<dyn Error + Send + Sync>) -> Self {
        Self { what, said: redacted(&error.to_string()) }
    }

    /// The setting that asks for it.
    pub(crate) fn what(&self) -> &'static str {
        self.what
    }
}

impl fmt::Display for NoPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.what, self.said)
    }
}

impl Error for NoPassword {}

impl fmt::Debug for BeforeConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}
