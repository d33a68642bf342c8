//! Making a session of PostgreSQL as good as new, and ending what a caller has left.

use super::{SERVER, State, limits};
use crate::{
    DatabaseSettings, Reset,
    backend::{Interrupt, Server, Target, Upkeep, hidden},
};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, Postgres, Row,
    postgres::{PgDatabaseError, PgRow, PgSeverity},
};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How long a statement that its caller dropped may still answer before it is cancelled on the server.
const PATIENCE: Duration = Duration::from_millis(20);

impl Upkeep for Postgres {
    /// sqlx counts no `COPY`, so [`is_busy`](Self::is_busy) does not see one.
    const IS_REMOTE: bool = true;

    const MISSES_CLIENTS: bool = true;

    async fn limits_of(conn: &mut PgConnection) -> Result<Option<Server>, sqlx::Error> {
        limits::limits_of(conn).await.map(Some)
    }

    async fn probe(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let left = |error: sqlx::Error| match &error {
            sqlx::Error::Database(said) if said.code().as_deref() == Some("25P02") => Ok(Some("ROLLBACK")),
            sqlx::Error::Database(said) if severity(&**said) == Some(PgSeverity::Error) => Ok(None),
            _ => Err(error),
        };
        hidden::settle::<Postgres>(conn, left).await
    }

    async fn verify(conn: &mut PgConnection, session: &State) -> Result<(), sqlx::Error> {
        // A notification that comes later, for a LISTEN that nobody saw, would break the next user's connection. And what sqlx believes to
        // be prepared has to be there, unless a pooler keeps it under names of its own.
        let are_there = match session.target.is_some().then(|| conn.cached_statements_size()) {
            None | Some(0) => "true".to_owned(),
            Some(believed) => format!("(SELECT count(*) FROM pg_prepared_statements) >= {believed}"),
        };
        match answered(conn, |word| format!("UNLISTEN *; SELECT '{word}', {are_there}")).await {
            Ok(row) if row.try_get_raw(1)?.as_str().is_ok_and(|are_there| are_there == "t") => Ok(()),
            Ok(_) => Err(sqlx::Error::Protocol("prepared statements were given up behind the back of sqlx".into())),
            Err(sqlx::Error::Database(_)) => Err(shifted()),
            Err(error) => Err(error),
        }
    }

    async fn in_step(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
        // Without a query: before its first one, a transaction can still be told how to run.
        match answered(conn, |word| format!("SET LOCAL pool_sqlx.word = '{word}'; SHOW pool_sqlx.word")).await {
            Ok(_) => Ok(true),
            // The same error is said to every statement of an aborted transaction.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("25P02") => Ok(false),
            Err(sqlx::Error::Database(_)) => Err(shifted()),
            Err(error) => Err(error),
        }
    }

    async fn restore(conn: &mut PgConnection, session: &State, reset: Reset) -> Result<(), sqlx::Error> {
        let notice = || notice_lost_clients(if session.swallowed { "false" } else { "true" });
        match reset {
            Reset::Rollback => Ok(()),
            // Leaves the prepared statements alone. `DISCARD ALL` alone would make each of them fail for ever.
            Reset::Session => {
                // `RESET ALL` leaves the role alone.
                let clean = "RESET SESSION AUTHORIZATION; RESET ROLE; \
                    SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL; DISCARD TEMP; SELECT";
                conn.execute(AssertSqlSafe(format!("{clean} {}", notice()))).await.map(drop)
            }
            Reset::Full => {
                conn.clear_cached_statements().await?;
                conn.execute("DISCARD ALL").await?;
                conn.execute(AssertSqlSafe(format!("SELECT {}", notice()))).await.map(drop)
            }
        }
    }

    async fn undo(conn: &mut PgConnection, _: &State, _: &DatabaseSettings) -> Result<(), sqlx::Error> {
        conn.execute("RESET statement_timeout; UNLISTEN *").await.map(drop)
    }

    fn is_busy(conn: &mut PgConnection) -> bool {
        hidden::is_busy(conn)
    }

    async fn interrupt(conn: &mut PgConnection, session: &State) -> Result<Interrupt, sqlx::Error> {
        let ended = match &session.target {
            // The pooler's session cannot be cancelled: the statement ends by itself within `reset_timeout`, or the connection is closed.
            None => conn.ping().await,
            // Most statements end by themselves at once.
            Some(target) => match tokio::time::timeout(PATIENCE, conn.ping()).await {
                Ok(ended) => ended,
                Err(_) => return Ok(Interrupt::Cancel(target.clone())),
            },
        };
        match ended {
            // An error of the statement belongs to the caller that dropped it.
            Ok(()) | Err(sqlx::Error::Database(_)) => Ok(Interrupt::Ended),
            Err(error) => Err(error),
        }
    }

    fn target(session: &State) -> Option<&Target> {
        session.target.as_ref()
    }

    async fn server(conn: &mut PgConnection) -> Result<String, sqlx::Error> {
        conn.fetch_one(sqlx::raw_sql(AssertSqlSafe(format!("SELECT {SERVER}")))).await?.try_get(0)
    }

    async fn end(conn: &mut PgConnection, pids: &[u64]) -> Result<(), sqlx::Error> {
        let pids = pids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let cancel = format!("SELECT pg_cancel_backend(pid) FROM unnest(ARRAY[{pids}]::int[]) pid");
        conn.execute(AssertSqlSafe(cancel)).await.map(drop)
    }

    async fn is_there(conn: &mut PgConnection, pid: u64) -> Result<bool, sqlx::Error> {
        let ask = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}");
        Ok(conn.fetch_optional(sqlx::raw_sql(AssertSqlSafe(ask))).await?.is_some())
    }
}

/// Ends what runs for a client that is gone, where the server can tell (PostgreSQL 14, Linux) and nobody has set it otherwise.
/// `RESET ALL` undoes it. With a condition, for behind a pooler it would stay with strangers.
pub(super) fn notice_lost_clients(condition: &str) -> String {
    format!(
        "CASE WHEN {condition} AND current_setting('client_connection_check_interval', true) = '0' \
         AND version() LIKE '%linux%' THEN set_config('client_connection_check_interval', '500ms', false) END"
    )
}

/// Makes sure that the answers are those to our statements. An error of the database, too, may have been said to another.
///
/// A `COPY` that was dropped leaves an end behind which sqlx takes for that of the next statement: from then on each answer is that of
/// the statement before. So we ask for a word that nobody else asks for.
async fn answered(conn: &mut PgConnection, ask: impl FnOnce(&str) -> String) -> Result<PgRow, sqlx::Error> {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let word = format!("settled {}", ASKED.fetch_add(1, Ordering::Relaxed));
    let mut rows = conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(ask(&word)))).await?;
    let said = rows.first().and_then(|row| row.try_get_raw(0).ok()?.as_str().ok());
    if said == Some(&*word) { Ok(rows.swap_remove(0)) } else { Err(shifted()) }
}

fn shifted() -> sqlx::Error {
    sqlx::Error::Protocol("the answer was another statement's: a COPY was dropped in the middle".into())
}

fn severity(error: &dyn sqlx::error::DatabaseError) -> Option<PgSeverity> {
    error.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity)
}
