//! What can go wrong, in words that tell the reader what to do.

mod meaning;
mod shown;

use crate::{ConfigError, words::Class};
use pool_core::{AcquireError, SettingsError, Site, TryAcquireError, Verdict};
use sqlx::error::DatabaseError;
use std::{
    error::Error as StdError,
    fmt::{self, Write as _},
    io,
    sync::LazyLock,
    time::Duration,
};

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

enum Cause {
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

/// One line, whatever a server put into its message.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = OneLine(f);
        match &*self.cause {
            Cause::Acquire(error) => write!(line, "{error}"),
            Cause::TryAcquire { pool, error } => write!(line, "pool {pool}: {error}"),
            Cause::StatementTimeout { limit, source: Some(source) } => {
                write!(line, "the statement ran longer than statement_timeout = {limit:?}: {source}")
            }
            Cause::StatementTimeout { limit, source: None } => write!(
                line,
                "the server gave no answer within statement_timeout = {limit:?} and a margin; the connection is given up"
            ),
            Cause::Overdue { limit } => write!(
                line,
                "the statement ran longer than statement_timeout = {limit:?}, which the client keeps; it is cancelled on the server, or behind a \
                 pooler runs on to its own end"
            ),
            Cause::Silent { setting, limit } => write!(line, "the server did not answer within {setting} = {limit:?}"),
            Cause::Limit { site, limit, waited } => write!(
                line,
                "refused by {site} after {waited:.1?}: {limit} calls of it hold a connection, as many as its limit = {limit} allows; see errors/refused"
            ),
            Cause::CommitUnknown(error) => {
                write!(line, "the connection was lost while committing, the changes may have been made or not: {error}")
            }
            Cause::Pooler(problem) => line.write_str(problem),
            Cause::RolledBack { .. } => line.write_str(
                "rolled back instead of committed: a statement of the transaction had failed and its error was not passed on; \
                 return it, or put what may fail into a savepoint (begin_nested)",
            ),
            Cause::TransactionGone => line.write_str(
                "the transaction is over: a statement in it failed or ran out of time, a begin_nested was dropped on its way, or somebody ended \
                 it by hand; give it up and begin again",
            ),
            Cause::Spent => line.write_str(
                "refused: an earlier statement on this connection was dropped in the middle or ran out of time, and what is left of its answer \
                 would be taken for this one's; drop the connection (or the transaction) and acquire another",
            ),
            Cause::Database(error) => write!(line, "{error}"),
            Cause::Config(error) => write!(line, "{error}"),
            Cause::Settings(error) => write!(line, "{error}"),
            #[cfg(feature = "migrate")]
            Cause::Migrate(error) => write!(line, "cannot migrate: {error}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.kind())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.cause {
            Cause::Acquire(error) => error.source(),
            Cause::TryAcquire { error, .. } => Some(error),
            Cause::StatementTimeout { source, .. } => source.as_ref().map(|e| e as _),
            Cause::Database(error) => error.source(),
            Cause::CommitUnknown(error) => Some(error),
            Cause::RolledBack { .. } | Cause::TransactionGone | Cause::Spent | Cause::Pooler(_) => None,
            Cause::Config(error) => error.source(),
            Cause::Settings(_) | Cause::Overdue { .. } | Cause::Silent { .. } | Cause::Limit { .. } => None,
            #[cfg(feature = "migrate")]
            Cause::Migrate(error) => error.source(),
        }
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

/// Writes line breaks as semicolons.
struct OneLine<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for (i, part) in s.split('\n').enumerate() {
            if i > 0 {
                self.0.write_str("; ")?;
            }
            self.0.write_str(part.trim_end_matches('\r'))?;
        }
        Ok(())
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

    #[test]
    fn an_error_of_sqlx_comes_back_as_it_was() {
        let error = sqlx::Error::from(Error::from(sqlx::Error::RowNotFound));
        assert!(matches!(error, sqlx::Error::RowNotFound));
    }

    #[test]
    fn a_message_of_several_lines_is_shown_on_one() {
        let error = Error::from(sqlx::Error::Protocol("first\nsecond\r\nthird".into()));
        assert!(!error.to_string().contains(['\n', '\r']), "{error}");
    }

    #[test]
    fn the_call_site_decides_retry_after_only_where_a_retry_helps() {
        let asked = Some(Duration::from_secs(7));
        assert_eq!(Error::from(sqlx::Error::PoolTimedOut).with_retry_after(asked).retry_after(), asked);
        assert_eq!(silent().with_retry_after(asked).retry_after(), None);
    }
}
