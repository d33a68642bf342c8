//! What an error of sqlx means, and what OpenTelemetry calls it.

use crate::{Error, words::Class};
use std::{borrow::Cow, error::Error as StdError, io};

impl Class {
    /// Classes any error of sqlx, whatever the database.
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(io) => Self::of_io(io),
            sqlx::Error::Tls(error) => match error.downcast_ref::<io::Error>() {
                // The peer went away in the handshake; anything else is about certificates.
                Some(io) if io.kind() != io::ErrorKind::InvalidData => Self::of_io(io),
                _ => Self::Denied,
            },
            sqlx::Error::WorkerCrashed => Self::Lost,
            sqlx::Error::Protocol(_) => Self::Protocol,
            sqlx::Error::Configuration(_) => Self::Denied,
            sqlx::Error::Database(error) => Self::of_database(&**error),
            _ => Self::Other,
        }
    }

    fn of_io(error: &io::Error) -> Self {
        match error.get_ref() {
            Some(inner) if (inner as &(dyn StdError + 'static)).is::<Error>() => Self::Other,
            _ if error.kind() == io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Lost,
        }
    }
}

/// What OpenTelemetry calls `error.type`: the server's own code where there is one, else a word of a short list.
pub(crate) fn error_type(error: &sqlx::Error) -> Cow<'_, str> {
    let word = match error {
        sqlx::Error::Database(error) => {
            // Its SQLSTATE is the same for most of its errors.
            #[cfg(feature = "mysql")]
            if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
                return Cow::Owned(error.number().to_string());
            }
            return error.code().unwrap_or(Cow::Borrowed("_OTHER"));
        }
        sqlx::Error::Io(error) => match error.get_ref().and_then(|inner| Error::find(inner)) {
            Some(ours) => return Cow::Owned(ours.kind().code().replace('-', "_")),
            None => match error.kind() {
                io::ErrorKind::ConnectionRefused => "connection_refused",
                io::ErrorKind::ConnectionReset => "connection_reset",
                io::ErrorKind::BrokenPipe => "broken_pipe",
                io::ErrorKind::TimedOut => "timeout",
                _ => "io",
            },
        },
        sqlx::Error::Tls(_) => "tls",
        sqlx::Error::Protocol(_) => "protocol",
        _ => "_OTHER",
    };
    Cow::Borrowed(word)
}
