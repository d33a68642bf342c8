//! A statement in a transaction of ours, for a pooler that keeps no prepared statements.

use super::{Link, familiar::Familiar};
use crate::{
    Error, Pooler,
    backend::{Again, Backend, Prepared, Rows, hidden},
    words::TxOptions,
};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};
use std::future::poll_fn;

impl<DB: Backend> Link<DB> {
    /// How this statement is tried again if the server loses it while its types are looked up, and its text, to be learned.
    ///
    /// A savepoint costs two round trips, and a text that has run on this connection needs none. A transaction of ours begins anew at no
    /// cost unless that happens.
    pub(super) fn again(&self, query: &Prepared<DB>) -> (Again, Option<u64>) {
        if self.settings.pooler != Pooler::Unprepared || !matches!(query.arguments, Ok(Some(_))) {
            return (Again::Never, None);
        }
        let sql = query.sql.as_str();
        let text = Familiar::number(sql);
        let again = match self.track.in_transaction() {
            false => self.own_begin().map_or(Again::Never, |begin| {
                let anew = format!("ROLLBACK; {}", begin.as_str());
                Again::Anew(AssertSqlSafe(anew).into_sql_str())
            }),
            true if query.facts.may_answer() && !self.familiar.0.contains(&text) => Again::Savepoint,
            true => Again::Never,
        };
        (again, Some(text))
    }

    /// How a transaction begins that is there for one statement.
    fn own_begin(&self) -> Option<SqlStr> {
        let statement_timeout = self.limits.statement_timeout;
        self.begin_statement(TxOptions { statement_timeout, ..TxOptions::new() })
    }

    /// Sends a statement in a transaction of its own, and passes its answer on.
    pub(super) fn wrap_many(&mut self, query: Prepared<DB>) -> Rows<'_, DB> {
        Box::pin(async_stream::stream! {
            if let Err(error) = self.enclose().await {
                yield Err(error);
                return;
            }
            let mut failure = None;
            {
                let mut rows = self.send_many(query);
                while let Some(row) = poll_fn(|cx| rows.as_mut().poll_next(cx)).await {
                    match row {
                        Ok(row) => yield Ok(row),
                        Err(error) => failure = Some(error),
                    }
                }
            }
            // Before the error is passed on: after it, the caller may not ask for more.
            let done = self.conclude(failure.is_none()).await;
            if let Some(error) = failure.or(done.err().map(|error| Error::of_commit(error).into())) {
                yield Err(error);
            }
        })
    }

    /// Sends a statement in a transaction of its own, and reads its answer to the end.
    pub(super) async fn wrap_optional(&mut self, query: Prepared<DB>) -> Result<Option<DB::Row>, sqlx::Error> {
        self.enclose().await?;
        let row = self.send_optional(query).await;
        let done = self.conclude(row.is_ok()).await;
        let row = row?;
        done.map_err(Error::of_commit)?;
        Ok(row)
    }

    async fn enclose(&mut self) -> Result<(), sqlx::Error> {
        let statement = self.own_begin();
        self.track.begins();
        self.ask(|raw| hidden::begin::<DB>(raw, statement)).await
    }

    /// Commits, or rolls back after an error. If that fails, the connection is cleaned on return.
    async fn conclude(&mut self, success: bool) -> Result<(), sqlx::Error> {
        // A statement without an answer cannot be followed by anything.
        if !success && self.track.is_answering() {
            return Ok(());
        }
        let done = match success {
            true => self.ask(hidden::commit::<DB>).await,
            false => self.ask(hidden::rollback::<DB>).await,
        };
        if done.is_ok() {
            self.track.rolled_back();
        }
        done
    }
}
