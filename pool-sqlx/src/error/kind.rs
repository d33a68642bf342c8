//! What kinds of errors there are, what each is to a client, and where in a chain of errors one is found.

use super::Error;
use crate::{ConfigError, words::Class};
use pool_core::{AcquireError, SettingsError, Site, TryAcquireError, Verdict};
use sqlx::error::DatabaseError;
use std::{error::Error as StdError, io, sync::LazyLock, time::Duration};

pub(super) enum Cause {
    Acquire(AcquireError<sqlx::Error>),
    TryAcquire {
        pool: String,
        error: TryAcquireError,
    },
    /// Our own limit, or the server's recognised as such (`source`).
    StatementTimeout {
        limit: Duration,
        source: Option<sqlx::Error>,
    },
    /// The limit of a `#[pooled]` function, which is not the server's.
    Overdue {
        limit: Duration,
    },
    /// No answer within a limit that is not a statement's.
    Silent {
        setting: &'static str,
        limit: Duration,
    },
    /// As many calls of a `#[pooled]` function as it allows hold a connection.
    Limit {
        site: Site,
        limit: u32,
        waited: Duration,
    },
    /// A pooler stands in the way.
    Pooler(String),
    /// No word on whether the commit happened, or a bad one.
    CommitUnknown(sqlx::Error),
    /// Asked to commit, the database could only roll back.
    RolledBack {
        conflict: bool,
    },
    /// A savepoint was dropped while it was being made.
    TransactionGone,
    /// A statement before it was dropped in the middle, and nothing can follow on its connection.
    Spent,
    Database(sqlx::Error),
    Config(ConfigError),
    Settings(SettingsError),
    #[cfg(feature = "migrate")]
    Migrate(sqlx::migrate::MigrateError),
}

/// What went wrong, as far as a program may want to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection became free in time.
    PoolTimeout,
    /// The pool turned the caller away: too many wait or run the same `#[pooled(limit = ..)]` function, lending is paused, a nested
    /// acquire was refused, or nothing was free for `try_acquire`.
    Refused,
    /// No connection could be opened.
    Connect,
    /// The pool is closed.
    Closed,
    /// The statement ran longer than `statement_timeout`, or the server fell silent in the middle of it.
    StatementTimeout,
    /// The statement waited too long for a lock (`lock_timeout`; SQLite: the database is busy).
    LockTimeout,
    /// The transaction lost against another one (serialization failure, deadlock): running it again may succeed.
    Conflict,
    /// The statement was cancelled by somebody.
    Cancelled,
    /// The connection was lost in the middle of a statement: whether it took effect is unknown.
    Lost,
    /// The connection was lost while committing: the changes may have been made or not, so look before trying again.
    CommitUnknown,
    /// The settings are wrong, or the database cannot honour them.
    Config,
    /// A migration failed.
    Migrate,
    /// Anything else that sqlx or the database reports: wrong SQL, a violated constraint, a missing row.
    Database,
}

impl ErrorKind {
    /// The stable code. [`Error::problem_type`] ends in it, unless a verdict says more or the failure is nobody's business outside.
    pub fn code(self) -> &'static str {
        match self {
            Self::PoolTimeout => "pool-timeout",
            Self::Refused => "refused",
            Self::Connect => "connect",
            Self::Closed => "closed",
            Self::StatementTimeout => "statement-timeout",
            Self::LockTimeout => "lock-timeout",
            Self::Conflict => "conflict",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
            Self::CommitUnknown => "commit-unknown",
            Self::Config => "config",
            Self::Migrate => "migrate",
            Self::Database => "database",
        }
    }

    /// A sentence for the client, without a word about the inside.
    pub fn title(self) -> &'static str {
        match self {
            Self::PoolTimeout => "No database connection became free in time",
            Self::Refused => "Too many requests are waiting for the database",
            Self::Connect | Self::Lost => "The database cannot be reached",
            Self::CommitUnknown => "It is not known whether the change was made",
            Self::Closed => "The service is shutting down",
            Self::StatementTimeout => "The database took too long to answer",
            Self::LockTimeout => "The database was busy for too long",
            Self::Conflict => "The request collided with another one",
            Self::Cancelled => "The database cancelled the request",
            Self::Config | Self::Migrate | Self::Database => "Internal server error",
        }
    }

    /// The HTTP status, unless `statement_timeout_status` says otherwise.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Config | Self::Migrate | Self::Database => 500,
            _ => 503,
        }
    }

    /// When another try may succeed, where the pool does not know better.
    pub(crate) fn retry_after(self) -> Option<Duration> {
        match self {
            Self::PoolTimeout | Self::Refused | Self::Connect | Self::LockTimeout | Self::Conflict | Self::Lost => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }
}

impl Error {
    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        match &*self.cause {
            Cause::Acquire(error) => match error.verdict() {
                Verdict::Closed => ErrorKind::Closed,
                Verdict::Connecting => ErrorKind::Connect,
                Verdict::Refused | Verdict::Paused => ErrorKind::Refused,
                _ if error.is_timeout() => ErrorKind::PoolTimeout,
                _ => ErrorKind::Refused,
            },
            Cause::TryAcquire { error: TryAcquireError::Closed, .. } => ErrorKind::Closed,
            Cause::TryAcquire { .. } => ErrorKind::Refused,
            Cause::StatementTimeout { .. } | Cause::Overdue { .. } => ErrorKind::StatementTimeout,
            Cause::Silent { .. } => ErrorKind::Lost,
            Cause::Limit { .. } => ErrorKind::Refused,
            Cause::CommitUnknown(_) => ErrorKind::CommitUnknown,
            Cause::RolledBack { conflict: true } => ErrorKind::Conflict,
            Cause::RolledBack { conflict: false } | Cause::TransactionGone | Cause::Spent => ErrorKind::Database,
            Cause::Database(error) => kind_of(error),
            Cause::Config(_) | Cause::Settings(_) | Cause::Pooler(_) => ErrorKind::Config,
            #[cfg(feature = "migrate")]
            Cause::Migrate(_) => ErrorKind::Migrate,
        }
    }

    /// The HTTP status: 503 for what another moment or another server may cure, 500 for the rest.
    ///
    /// A statement timeout is 503 too unless `statement_timeout_status` says otherwise.
    pub fn status(&self) -> u16 {
        match self.kind() {
            ErrorKind::StatementTimeout => self.timeout_status,
            kind => kind.status(),
        }
    }

    /// When another try may succeed; `None` where trying again cannot help.
    pub fn retry_after(&self) -> Option<Duration> {
        let ours = match &*self.cause {
            Cause::Acquire(error) => error.retry_after(),
            _ => self.kind().retry_after(),
        };
        ours.map(|ours| self.retry_after.unwrap_or(ours))
    }

    /// The `type` of an RFC 9457 problem: `urn:pool:exhausted`, `urn:pool:statement-timeout` and so on.
    ///
    /// After a failed acquire it ends in the verdict, which is the name of a page of the book (`errors/exhausted`);
    /// otherwise in the kind's code. What is nobody's business outside is `about:blank`.
    pub fn problem_type(&self) -> String {
        match (self.verdict(), self.kind()) {
            (Some(verdict), _) => format!("urn:pool:{}", verdict.code()),
            (None, ErrorKind::Config | ErrorKind::Migrate | ErrorKind::Database) => "about:blank".to_owned(),
            (None, kind) => format!("urn:pool:{}", kind.code()),
        }
    }

    /// Finds one of ours in a chain of errors, however wrapped: in `anyhow`, in an `io::Error`, in `sqlx::Error`.
    ///
    /// Also recognises the bare timeout of `sqlx::Pool`, for a program that uses one beside ours.
    ///
    /// # Example
    ///
    /// ```
    /// use pool_sqlx::{Error, ErrorKind};
    ///
    /// fn status(error: &anyhow::Error) -> u16 {
    ///     Error::find(error.as_ref()).map_or(500, Error::status)
    /// }
    ///
    /// let error = anyhow::Error::from(sqlx::Error::PoolTimedOut).context("cannot list the tracks");
    /// assert_eq!(status(&error), 503);
    /// ```
    pub fn find<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e Self> {
        static TIMED_OUT: LazyLock<Error> = LazyLock::new(|| Error::new(Cause::Database(sqlx::Error::PoolTimedOut)));
        static CLOSED: LazyLock<Error> = LazyLock::new(|| Error::new(Cause::Database(sqlx::Error::PoolClosed)));
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(ours) = error.downcast_ref::<Self>() {
                return Some(ours);
            }
            let io = match error.downcast_ref::<sqlx::Error>() {
                Some(sqlx::Error::PoolTimedOut) => return Some(&TIMED_OUT),
                Some(sqlx::Error::PoolClosed) => return Some(&CLOSED),
                Some(sqlx::Error::Io(io)) => Some(io),
                _ => error.downcast_ref::<io::Error>(),
            };
            // `io::Error::source` skips the error it was made of.
            next = match io.and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        None
    }
}

/// Whether the transaction lost against another one, however the error is wrapped.
pub(crate) fn is_conflict(error: &(dyn StdError + 'static)) -> bool {
    let mut errors = std::iter::successors(Some(error), |error| (*error).source());
    errors.any(|error| kind_in(error) == Some(ErrorKind::Conflict))
        || Error::find(error).is_some_and(|error| error.kind() == ErrorKind::Conflict)
}

/// What one link of a chain of errors is, if it is one of sqlx's.
pub(crate) fn kind_in(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    // An error that is transparent shows the source of what it wraps, and not the thing itself.
    let database =
        error.downcast_ref::<Box<dyn DatabaseError>>().map(|error| kind_of_class(Class::of_database(&**error)));
    database.or_else(|| error.downcast_ref().map(kind_of))
}

/// What an error of sqlx's own is.
fn kind_of(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::PoolTimedOut => ErrorKind::PoolTimeout,
        sqlx::Error::PoolClosed => ErrorKind::Closed,
        sqlx::Error::Configuration(_) => ErrorKind::Config,
        #[cfg(feature = "migrate")]
        sqlx::Error::Migrate(_) => ErrorKind::Migrate,
        error => kind_of_class(Class::of(error)),
    }
}

fn kind_of_class(class: Class) -> ErrorKind {
    match class {
        Class::Lost => ErrorKind::Lost,
        Class::Overloaded | Class::StartingUp => ErrorKind::Connect,
        Class::StatementTimeout => ErrorKind::StatementTimeout,
        Class::LockTimeout => ErrorKind::LockTimeout,
        Class::Conflict => ErrorKind::Conflict,
        Class::Cancelled => ErrorKind::Cancelled,
        Class::Denied | Class::Query | Class::Protocol | Class::Other => ErrorKind::Database,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Error {
        Error::statement_timeout(Duration::from_secs(10), 504, None)
    }

    #[test]
    fn find_reaches_through_anyhow_and_io() {
        let error = anyhow::Error::from(sqlx::Error::from(silent())).context("outer").context("outermost");
        assert_eq!(Error::find(error.as_ref()).map(Error::status), Some(504));
        let error = io::Error::other(silent());
        assert_eq!(Error::find(&error).map(Error::kind), Some(ErrorKind::StatementTimeout));
    }

    #[test]
    fn find_recognises_the_timeout_of_sqlx_and_nothing_else() {
        assert_eq!(Error::find(&sqlx::Error::PoolTimedOut).map(Error::status), Some(503));
        assert!(Error::find(&sqlx::Error::RowNotFound).is_none());
        assert!(Error::find(&sqlx::Error::Io(io::ErrorKind::TimedOut.into())).is_none());
    }
}
