//! Transactions of PostgreSQL: their limits travel with `BEGIN`, and an aborted one is found before its commit.

use super::statements::{limits, written};
use crate::{DatabaseSettings, Error, Pooler, backend::Transactions, words::TxOptions};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Postgres, SqlSafeStr, SqlStr};

impl Transactions for Postgres {
    fn begin_statement(settings: &DatabaseSettings, options: TxOptions) -> Option<SqlStr> {
        let TxOptions { isolation, read_only, deferrable, statement_timeout, retries: _ } = options;
        let is_pooled = settings.pooler != Pooler::Direct;
        if isolation.is_none() && !read_only && !deferrable && statement_timeout.is_none() && !is_pooled {
            return None;
        }
        let mut sql = String::from("BEGIN");
        if let Some(level) = isolation {
            sql += " ISOLATION LEVEL ";
            sql += level.sql();
        }
        if read_only {
            sql += " READ ONLY";
        }
        if deferrable {
            sql += " DEFERRABLE";
        }
        // In the same message, so that it costs no round trip; it ends with the transaction.
        let mut set = |(key, limit): (&str, String)| sql += &format!("; SET LOCAL {key} = '{limit}'");
        if is_pooled {
            limits(settings, statement_timeout.or(settings.statement_timeout)).for_each(&mut set);
        } else if let Some(limit) = statement_timeout {
            set(("statement_timeout", written(limit)));
        }
        Some(AssertSqlSafe(sql).into_sql_str())
    }

    /// The default of [`has_ended`](Self::has_ended) holds: a failed statement aborts the block, which then takes nothing but its end.
    async fn is_committable(conn: &mut PgConnection, _: bool) -> Result<bool, sqlx::Error> {
        // To the commit of an aborted block the server answers ROLLBACK, as a success, and sqlx does not look. To one without a
        // transaction, which somebody has ended by hand, it gives a warning.
        let error = match conn.execute("SAVEPOINT pool_check; RELEASE SAVEPOINT pool_check").await {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        match error.as_database_error().and_then(|error| error.code()).as_deref() {
            Some("25P02") => Ok(false),
            Some("25P01") => Err(Error::transaction_gone().into()),
            _ => Err(error),
        }
    }
}
