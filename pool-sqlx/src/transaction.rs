//! How a transaction runs, and running one again that lost against another.

use crate::{Backend, Error, Pool, Tx, backoff::after_conflict};
use pool_core::Site;
use std::{future::Future, time::Duration};

/// How a transaction runs: isolation, access, time, and how often it may run again.
///
/// For [`Pool::begin_with`], [`Conn::begin_with`](crate::Conn::begin_with) and [`Pool::transaction_with`]. What is not said stays as
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
    /// The database's own habits, and up to three more attempts by [`Pool::transaction_with`].
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

    /// How often [`Pool::transaction_with`] may run the work again after a conflict. Default: 3.
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

impl<DB: Backend, Key> Pool<DB, Key> {
    /// Runs work in a transaction: commits when it succeeds, rolls back when it fails, and runs it again when it lost against another
    /// transaction (PostgreSQL's 40001 and 40P01, MySQL's deadlocks, SQLite's stale snapshots).
    ///
    /// The work may run up to four times, each time in a new transaction, with growing pauses of up to half a second between, during
    /// which no connection is held; so it must have no effect outside of the database. Conflicts are noticed in statements that run on
    /// `&mut *tx` as the transaction, not on [`Tx::raw`]. Work that ended the transaction by hand is not run again.
    ///
    /// # Cancel safety
    ///
    /// Dropped before the commit is sent, nothing has changed; after that the outcome is unknown.
    ///
    /// # Errors
    ///
    /// The work's own; as [`acquire`](Self::acquire); what the database says to the commit. After
    /// [`ErrorKind::CommitUnknown`](crate::ErrorKind::CommitUnknown) it is not run again: it may have happened.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Example
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] mod example {
    /// use pool_sqlx::{Error, SqlitePool, SqliteTx};
    ///
    /// async fn play(pool: &SqlitePool, track: i64) -> Result<i64, Error> {
    ///     pool.transaction(async |tx: &mut SqliteTx| {
    ///         let plays: i64 = sqlx::query_scalar("select plays from tracks where id = ?").bind(track).fetch_one(&mut *tx).await?;
    ///         sqlx::query("update tracks set plays = ? where id = ?").bind(plays + 1).bind(track).execute(&mut *tx).await?;
    ///         Ok(plays + 1)
    ///     })
    ///     .await
    /// }
    /// # }
    /// ```
    #[track_caller]
    pub fn transaction<T, E: From<Error>>(
        &self,
        work: impl AsyncFnMut(&mut Tx<DB>) -> Result<T, E>,
    ) -> impl Future<Output = Result<T, E>> {
        self.transaction_at(Site::here(), TxOptions::new(), work)
    }

    /// As [`transaction`](Self::transaction), with options.
    ///
    /// # Cancel safety
    ///
    /// As [`transaction`](Self::transaction).
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[track_caller]
    pub fn transaction_with<T, E: From<Error>>(
        &self,
        options: TxOptions,
        work: impl AsyncFnMut(&mut Tx<DB>) -> Result<T, E>,
    ) -> impl Future<Output = Result<T, E>> {
        self.transaction_at(Site::here(), options, work)
    }

    async fn transaction_at<T, E: From<Error>>(
        &self,
        site: Site,
        options: TxOptions,
        mut work: impl AsyncFnMut(&mut Tx<DB>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut attempt = 0;
        loop {
            let conn = self.acquire_at(site, None).await?;
            let mut tx = Tx::begin_with(conn, options).await?;
            let outcome = work(&mut tx).await;
            let (outcome, lost) = match outcome {
                Ok(value) => match tx.commit().await {
                    Ok(()) => return Ok(value),
                    Err(error) => {
                        let lost = error.kind() == crate::ErrorKind::Conflict;
                        (error.into(), lost)
                    }
                },
                // The work's error is the answer.
                Err(error) => (error, tx.give_up().await.unwrap_or(false)),
            };
            if !lost || attempt == options.retries {
                return Err(outcome);
            }
            tokio::time::sleep(after_conflict(attempt)).await;
            attempt += 1;
        }
    }
}
