//! Transactions of MySQL, which a deadlock rolls back and some statements commit.

use crate::{
    DatabaseSettings, Error,
    backend::{Transactions, hidden},
    words::{Class, TxOptions},
};
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, SqlSafeStr, SqlStr};

impl Transactions for MySql {
    const FORGIVES_CONFLICTS: bool = false;
    const LIMITS_TRANSACTIONS: bool = false;

    fn begin_statement(_: &DatabaseSettings, options: TxOptions) -> Option<SqlStr> {
        let TxOptions { isolation, read_only, deferrable: _, statement_timeout: _, retries: _ } = options;
        let start = if read_only { "START TRANSACTION READ ONLY" } else { "START TRANSACTION" };
        match isolation {
            None if !read_only => None,
            None => Some(start.into_sql_str()),
            // For the next transaction only.
            Some(level) => {
                Some(AssertSqlSafe(format!("SET TRANSACTION ISOLATION LEVEL {}; {start}", level.sql())).into_sql_str())
            }
        }
    }

    async fn is_committable(conn: &mut MySqlConnection, conflict: bool) -> Result<bool, sqlx::Error> {
        if conflict {
            return Ok(false);
        }
        // Somebody past us may have lost against another transaction, or have ended this one.
        if is_in_transaction(conn).await? { Ok(true) } else { Err(Error::transaction_gone().into()) }
    }

    async fn has_ended(conn: &mut MySqlConnection, failure: Class) -> Result<bool, sqlx::Error> {
        match failure {
            // A deadlock has rolled everything back.
            Class::Conflict => Ok(true),
            // Everything or the statement alone, as `innodb_rollback_on_timeout` says.
            Class::LockTimeout => is_in_transaction(conn).await.map(|is| !is),
            _ => Ok(false),
        }
    }
}

/// Whether a transaction is open that sqlx counts: it tells by the server's answer whether a savepoint is in one.
async fn is_in_transaction(conn: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    match hidden::begin::<MySql>(conn, None).await {
        Ok(()) => hidden::commit::<MySql>(conn).await.map(|()| true),
        Err(sqlx::Error::BeginFailed) => Ok(false),
        Err(error) => Err(error),
    }
}
