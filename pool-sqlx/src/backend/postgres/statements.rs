//! Statements of PostgreSQL: the server keeps their limits where no pooler is in between.

use super::{State, retype};
use crate::{
    DatabaseSettings, Pooler,
    backend::{
        Again, Answer, Keeper, Prepared, Rows, Statements,
        query::{executor_of_sqlx, first},
    },
};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Postgres, postgres::PgRow};
use std::time::Duration;

impl Statements for Postgres {
    fn keeper(settings: &DatabaseSettings, session: &State) -> Keeper {
        match settings.pooler {
            Pooler::Direct if session.swallowed => Keeper::Us,
            Pooler::Direct | Pooler::Unprepared => Keeper::Server,
            // The server is told with each transaction. Between the two it knows of no limit.
            Pooler::Prepared => Keeper::Us,
        }
    }

    async fn limit(conn: &mut PgConnection, _: &State, statement_timeout: Duration) -> Result<(), sqlx::Error> {
        let set = format!("SET statement_timeout = '{}'", written(statement_timeout));
        conn.execute(AssertSqlSafe(set)).await.map(drop)
    }

    fn fetch_many<'e>(conn: &'e mut PgConnection, query: Prepared<Postgres>) -> Rows<'e, Postgres> {
        retype::fetch_many(conn, query)
    }

    fn fetch_optional<'e>(conn: &'e mut PgConnection, query: Prepared<Postgres>) -> Answer<'e, Option<PgRow>> {
        match query.again {
            Again::Never => Executor::fetch_optional(conn, query),
            _ => first::<Postgres>(retype::fetch_many(conn, query)),
        }
    }

    executor_of_sqlx!(without fetch_many);
}

/// The server's own limits.
pub(super) fn limits(
    settings: &DatabaseSettings,
    statement: Option<Duration>,
) -> impl Iterator<Item = (&'static str, String)> {
    let limits = [
        ("statement_timeout", statement),
        ("lock_timeout", settings.lock_timeout),
        ("idle_in_transaction_session_timeout", settings.idle_in_transaction_timeout),
    ];
    limits.into_iter().filter_map(|(key, limit)| Some((key, written(limit?))))
}

/// As PostgreSQL reads it; never 0, which would mean no limit.
pub(super) fn written(limit: Duration) -> String {
    format!("{}ms", limit.as_millis().clamp(1, i32::MAX as u128))
}
