//! A statement in a transaction of ours, for a pooler that keeps no prepared statements.

use super::{Link, familiar::Familiar};
use crate::{
    Pooler,
    backend::{Again, Backend, Prepared, hidden},
    sql,
    words::TxOptions,
};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

impl<DB: Backend> Link<DB> {
    /// Whether a statement needs a transaction of ours around it, so that all of its round trips meet the same server, within limits.
    pub(super) fn is_wrapped(&self) -> bool {
        self.settings.pooler == Pooler::Unprepared && self.track.owned == 0
    }

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
        let again = match self.track.owned {
            0 => self.own_begin().map_or(Again::Never, |begin| {
                let anew = format!("ROLLBACK; {}", begin.as_str());
                Again::Anew(AssertSqlSafe(anew).into_sql_str())
            }),
            _ if sql::may_answer(sql) && !self.familiar.0.contains(&text) => Again::Savepoint,
            _ => Again::Never,
        };
        (again, Some(text))
    }

    /// How a transaction begins that is there for one statement.
    pub(super) fn own_begin(&self) -> Option<SqlStr> {
        let statement_timeout = self.limits.statement_timeout;
        self.begin_statement(TxOptions { statement_timeout, ..TxOptions::new() })
    }

    pub(super) async fn enclose(&mut self) -> Result<(), sqlx::Error> {
        let statement = self.own_begin();
        self.track.begins();
        self.ask(|raw| hidden::begin::<DB>(raw, statement)).await
    }

    /// Commits, or rolls back after an error. If that fails, the connection is cleaned on return.
    pub(super) async fn conclude(&mut self, success: bool) -> Result<(), sqlx::Error> {
        let done = match success {
            true => self.ask(hidden::commit::<DB>).await,
            false => self.ask(hidden::rollback::<DB>).await,
        };
        if done.is_ok() {
            self.track.settled();
        }
        done
    }
}
