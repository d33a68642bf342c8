//! What can go wrong, in words that tell the reader what to do.

mod kind;
mod meaning;
mod shown;
mod text;

use crate::{ConfigError, words::Class};
use kind::Cause;
use pool_core::{AcquireError, SettingsError, Site, TryAcquireError, Verdict};
use std::{io, time::Duration};

pub use kind::ErrorKind;
pub(crate) use kind::{is_conflict, kind_in};
pub(crate) use meaning::error_type;
pub(crate) use shown::shown;

/// Anything that can go wrong with a pool, a connection or a statement.
///
/// [`kind`](Self::kind) tells the cases apart, [`status`](Self::status) is the HTTP answer, and [`find`](Self::find) gets it
/// back out of whatever it has travelled in.
///
/// A message that ends in `see errors/<code>` names a page of the guide, with causes and cures:
/// [all of them](https://github.com/pooled-rs/pooled/blob/main/book/src/reference/errors.md).
///
/// # Example
///
/// Through sqlx, which has an error type of its own, and out again:
///
/// ```
/// use pool_sqlx::{Error, ErrorKind};
///
/// let travelling: sqlx::Error = Error::from(sqlx::Error::PoolTimedOut).into();
/// assert_eq!(Error::from(travelling).kind(), ErrorKind::PoolTimeout);
/// ```
#[doc(alias = "503")]
#[doc(alias = "PoolTimedOut")]
pub struct Error {
    cause: Box<Cause>,
    /// What [`Error::status`] says of a statement timeout: `statement_timeout_status`.
    timeout_status: u16,
    /// What the call site wants said instead of our own advice.
    retry_after: Option<Duration>,
}

impl Error {
    /// What kept the caller from getting a connection, if that is what went wrong.
    pub fn verdict(&self) -> Option<Verdict> {
        match &*self.cause {
            Cause::Acquire(error) => Some(error.verdict()),
            Cause::Limit { .. } => Some(Verdict::Refused),
            _ => None,
        }
    }

    /// Why no connection was lent: sizes, waiters, holders, the last connect error.
    pub fn acquire(&self) -> Option<&AcquireError<sqlx::Error>> {
        match &*self.cause {
            Cause::Acquire(error) => Some(error),
            _ => None,
        }
    }

    /// What sqlx said, if the error came from there.
    pub fn sqlx(&self) -> Option<&sqlx::Error> {
        match &*self.cause {
            Cause::Database(error)
            | Cause::CommitUnknown(error)
            | Cause::StatementTimeout { source: Some(error), .. } => Some(error),
            _ => None,
        }
    }

    fn new(cause: Cause) -> Self {
        Self { cause: Box::new(cause), timeout_status: 503, retry_after: None }
    }

    /// The statement was not answered within `limit`; `source` is what the server said, if it said anything.
    pub(crate) fn statement_timeout(limit: Duration, status: u16, source: Option<sqlx::Error>) -> Self {
        Self { timeout_status: status, ..Self::new(Cause::StatementTimeout { limit, source }) }
    }

    /// The statement was not answered within its caller's limit, of which the server does not know.
    pub(crate) fn overdue(limit: Duration, status: u16) -> Self {
        Self { timeout_status: status, ..Self::new(Cause::Overdue { limit }) }
    }

    /// The server did not answer within this setting.
    pub(crate) fn silent(setting: &'static str, limit: Duration) -> Self {
        Self::new(Cause::Silent { setting, limit })
    }

    pub(crate) fn limit(site: Site, limit: u32, waited: Duration) -> Self {
        Self::new(Cause::Limit { site, limit, waited })
    }

    /// Why something cannot work through a pooler, and the way out.
    pub(crate) fn pooler(problem: impl Into<String>) -> Self {
        Self::new(Cause::Pooler(problem.into()))
    }

    /// Tells a commit that was refused from one that may have happened.
    pub(crate) fn of_commit(error: sqlx::Error) -> Self {
        let is_refusal = match &error {
            sqlx::Error::Database(said) => {
                let is_unknown = matches!(said.code().as_deref(), Some("40003" | "08007"));
                !is_unknown && Class::of(&error) != Class::Lost
            }
            // The server's own limit has a cause; without one it fell silent.
            error => Self::find(error)
                .is_some_and(|ours| matches!(&*ours.cause, Cause::StatementTimeout { source: Some(_), .. })),
        };
        if is_refusal { error.into() } else { Self::new(Cause::CommitUnknown(error)) }
    }

    /// The transaction could not be committed any more, and has been rolled back.
    pub(crate) fn rolled_back(conflict: bool) -> Self {
        Self::new(Cause::RolledBack { conflict })
    }

    /// Why a transaction takes no more statements and cannot commit.
    pub(crate) fn over(conflict: bool) -> Self {
        if conflict { Self::rolled_back(true) } else { Self::transaction_gone() }
    }

    /// A transaction that has an owner and is no more.
    pub(crate) fn transaction_gone() -> Self {
        Self::new(Cause::TransactionGone)
    }

    pub(crate) fn is_transaction_gone(&self) -> bool {
        matches!(&*self.cause, Cause::TransactionGone)
    }

    /// The connection takes no statement any more.
    pub(crate) fn spent() -> Self {
        Self::new(Cause::Spent)
    }

    pub(crate) fn try_acquire(pool: String, error: TryAcquireError) -> Self {
        Self::new(Cause::TryAcquire { pool, error })
    }

    /// Says `retry_after` where a retry can help, as the call site asked.
    pub(crate) fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }
}

impl From<AcquireError<sqlx::Error>> for Error {
    fn from(error: AcquireError<sqlx::Error>) -> Self {
        Self::new(Cause::Acquire(error))
    }
}

/// Recovers ours if it travelled inside.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(io) => match io.downcast::<Self>() {
                Ok(ours) => ours,
                Err(io) => Self::new(Cause::Database(sqlx::Error::Io(io))),
            },
            error => Self::new(Cause::Database(error)),
        }
    }
}

/// Travels as [`sqlx::Error::Io`], unless it was an error of sqlx's all along.
impl From<Error> for sqlx::Error {
    fn from(error: Error) -> Self {
        match *error.cause {
            Cause::Database(error) => error,
            cause => {
                let error = Error { cause: Box::new(cause), ..error };
                let kind = match error.kind() {
                    ErrorKind::PoolTimeout | ErrorKind::StatementTimeout => io::ErrorKind::TimedOut,
                    ErrorKind::Closed | ErrorKind::Connect => io::ErrorKind::NotConnected,
                    ErrorKind::Refused => io::ErrorKind::ResourceBusy,
                    ErrorKind::Config => io::ErrorKind::InvalidInput,
                    _ => io::ErrorKind::Other,
                };
                sqlx::Error::Io(io::Error::new(kind, error))
            }
        }
    }
}

/// For conversions that cannot fail.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::new(Cause::Config(error))
    }
}

impl From<SettingsError> for Error {
    fn from(error: SettingsError) -> Self {
        Self::new(Cause::Settings(error))
    }
}

#[cfg(feature = "migrate")]
impl From<sqlx::migrate::MigrateError> for Error {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self::new(Cause::Migrate(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Error {
        Error::statement_timeout(Duration::from_secs(10), 504, None)
    }

    #[test]
    fn ours_survives_the_journey_through_sqlx_with_its_status() {
        let back = Error::from(sqlx::Error::from(silent()));
        assert_eq!((back.kind(), back.status(), back.retry_after()), (ErrorKind::StatementTimeout, 504, None));
    }

    #[test]
    fn an_error_of_sqlx_comes_back_as_it_was() {
        let error = sqlx::Error::from(Error::from(sqlx::Error::RowNotFound));
        assert!(matches!(error, sqlx::Error::RowNotFound));
    }

    #[test]
    fn the_call_site_decides_retry_after_only_where_a_retry_helps() {
        let asked = Some(Duration::from_secs(7));
        assert_eq!(Error::from(sqlx::Error::PoolTimedOut).with_retry_after(asked).retry_after(), asked);
        assert_eq!(silent().with_retry_after(asked).retry_after(), None);
    }
}
