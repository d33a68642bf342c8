//! A statement in a transaction of ours, for a pooler that keeps no prepared statements.

use super::{Familiar, Session};
use crate::{
    Error, Pooler,
    backend::{Again, Backend, Prepared, hidden},
    words::TxOptions,
};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

impl<DB: Backend> Session<DB> {
    /// Sets how a statement is tried again if the server loses it while sqlx looks up its types. Returns the number of its text, for
    /// [`Familiar::learn`].
    ///
    /// A savepoint costs two round trips, and a text that has run on this connection needs none. A transaction of ours begins anew at no
    /// cost unless that happens.
    pub(super) fn again(&self, query: &mut Prepared<DB>) -> Option<u64> {
        if self.settings.pooler != Pooler::Unprepared || !matches!(query.arguments, Ok(Some(_))) {
            return None;
        }
        let text = Familiar::number(query.sql.as_str());
        query.again = match self.track.in_transaction() {
            false => self.own_begin().map_or(Again::Never, |begin| {
                let anew = format!("ROLLBACK; {}", begin.as_str());
                Again::Anew(AssertSqlSafe(anew).into_sql_str())
            }),
            true if query.facts.may_answer() && !self.familiar.0.contains(&text) => Again::Savepoint,
            true => Again::Never,
        };
        Some(text)
    }

    /// How the transaction of a single statement begins.
    fn own_begin(&self) -> Option<SqlStr> {
        let statement_timeout = self.limits.statement_timeout;
        self.begin_statement(TxOptions { statement_timeout, ..TxOptions::new() })
    }

    /// Begins the transaction of a statement that gets one of its own.
    pub(super) async fn enclose(&mut self) -> Result<(), sqlx::Error> {
        let statement = self.own_begin();
        self.track.begins();
        // Boxed for the size of the futures that wrap nothing.
        Box::pin(self.ask(|raw| hidden::begin::<DB>(raw, statement))).await
    }

    /// Commits the transaction of a statement that got one of its own, or rolls it back after an error. If that fails, the connection is
    /// cleaned on return.
    pub(super) async fn conclude<T>(&mut self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        // A statement without an answer cannot be followed by anything.
        if answer.is_err() && self.track.is_answering() {
            return answer;
        }
        let done = match &answer {
            Ok(_) => Box::pin(self.ask(hidden::commit::<DB>)).await,
            Err(_) => Box::pin(self.ask(hidden::rollback::<DB>)).await,
        };
        if done.is_ok() {
            self.track.rolled_back();
        }
        let value = answer?;
        done.map_err(Error::of_commit)?;
        Ok(value)
    }
}
