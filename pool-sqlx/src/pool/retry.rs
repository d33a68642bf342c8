//! Running a transaction again that lost against another.

use crate::{Backend, Error, ErrorKind, Pool, Tx, TxOptions};
use pool_core::{Site, dice, pause};
use std::{future::Future, time::Duration};

impl<DB: Backend, Key> Pool<DB, Key> {
    /// Runs work in a transaction: commits when it succeeds, rolls back when it fails, and runs it again when it lost against another
    /// transaction (PostgreSQL's 40001 and 40P01, MySQL's deadlocks, SQLite's stale snapshots).
    ///
    /// The work may run up to four times, each time in a new transaction, with growing pauses of up to half a second between, during
    /// which no connection is held; so it must have no effect outside of the database. Conflicts are noticed in statements that run on
    /// `&mut *tx` as the transaction, not on [`Session::raw`](crate::Session::raw). Work that ended the transaction by hand is not run again.
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
            let mut tx = Tx::on(conn, options).await?;
            let (lost, error) = match work(&mut tx).await {
                Ok(value) => match tx.commit().await {
                    Ok(()) => return Ok(value),
                    Err(error) => (error.kind() == ErrorKind::Conflict, error.into()),
                },
                // The work's error is the answer.
                Err(error) => (tx.give_up().await.unwrap_or(false), error),
            };
            if !lost || attempt == options.retries {
                return Err(error);
            }
            tokio::time::sleep(after_conflict(attempt)).await;
            attempt += 1;
        }
    }
}

/// The pause after a conflict between transactions: 5 ms doubling to 500 ms.
pub(crate) fn after_conflict(attempt: u32) -> Duration {
    pause(Duration::from_millis(5), Duration::from_millis(500), attempt, dice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pauses_differ() {
        let draws: std::collections::HashSet<_> = (0..20).map(|_| after_conflict(7)).collect();
        assert!(draws.len() > 10, "{draws:?}");
    }
}
