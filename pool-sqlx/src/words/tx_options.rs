//! How a transaction runs.

use std::time::Duration;

/// How a transaction runs: isolation, access, time, and how often it may run again.
///
/// For [`Pool::begin_with`](crate::Pool::begin_with), [`Conn::begin_with`](crate::Conn::begin_with) and
/// [`Pool::transaction_with`](crate::Pool::transaction_with). What is not said stays as
/// the database has it.
///
/// # Example
///
/// ```
/// use pool_sqlx::{Isolation, TxOptions};
/// use std::time::Duration;
///
/// const REPORT: TxOptions =
///     TxOptions::new().isolation(Isolation::RepeatableRead).read_only().statement_timeout(Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "it does nothing until a transaction begins with it"]
pub struct TxOptions {
    pub(crate) isolation: Option<Isolation>,
    pub(crate) read_only: bool,
    pub(crate) deferrable: bool,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) retries: u32,
}

/// What a transaction may see of others that run at the same time.
///
/// SQLite has one level, which is the strictest, so any of these is kept there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isolation {
    /// Each statement sees what was committed before it began. PostgreSQL's default.
    ReadCommitted,
    /// Every statement sees what was committed before the first one began.
    RepeatableRead,
    /// As if transactions ran one after the other. One that cannot be fitted in fails with
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict).
    Serializable,
}

impl TxOptions {
    /// The database's own habits, and up to three more attempts by [`Pool::transaction_with`](crate::Pool::transaction_with).
    pub const fn new() -> Self {
        Self { isolation: None, read_only: false, deferrable: false, statement_timeout: None, retries: 3 }
    }

    /// Sets the isolation level.
    pub const fn isolation(mut self, level: Isolation) -> Self {
        self.isolation = Some(level);
        self
    }

    /// Has the server refuse what writes.
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// PostgreSQL: waits until a serializable, read-only transaction can run without a risk of conflict. Others ignore it.
    pub const fn deferrable(mut self) -> Self {
        self.deferrable = true;
        self
    }

    /// Replaces `statement_timeout` for the time of the transaction, in either direction.
    pub const fn statement_timeout(mut self, limit: Duration) -> Self {
        self.statement_timeout = Some(limit);
        self
    }

    /// How often [`Pool::transaction_with`](crate::Pool::transaction_with) may run the work again after a conflict. Default: 3.
    pub const fn retries(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }
}

impl Default for TxOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Isolation {
    /// The level in SQL.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::ReadCommitted => "READ COMMITTED",
            Self::RepeatableRead => "REPEATABLE READ",
            Self::Serializable => "SERIALIZABLE",
        }
    }
}
