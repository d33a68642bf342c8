//! Making a session of MySQL as good as new, or else closing it.

use super::{State, ask};
use crate::{
    DatabaseSettings,
    backend::{Interrupt, Limit, Login, Server, Target, Upkeep, Whom, hidden},
};
use sqlx::{AssertSqlSafe, Executor, MySql, MySqlConnection, Row};
use std::time::Duration;

impl Upkeep for MySql {
    const DRAINS: bool = false;

    async fn limits_of(conn: &mut MySqlConnection) -> Result<Option<Server>, sqlx::Error> {
        let limits = "CAST(@@max_connections AS SIGNED), CAST(@@max_user_connections AS SIGNED), CAST(@@wait_timeout AS SIGNED), \
                      CURRENT_USER()";
        let row = ask(conn, limits).await?;
        let (all, user, idle): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        // 0 is no limit. Who else is connected is shown to privileged users only.
        let limits =
            [(all, "max_connections of the server", Whom::Everybody), (user, "max_user_connections", Whom::User)];
        let limits = limits.into_iter().filter(|(n, ..)| *n > 0);
        let limit = |(n, what, whom)| Some(Limit { most: u32::try_from(n).ok()?, what, whom, others: 0 });
        let idle = u64::try_from(idle).ok().map(Duration::from_secs);
        Ok(Some(Server {
            limits: limits.filter_map(limit).collect(),
            instances: 1,
            idle_limit: idle.map(|limit| (limit, "wait_timeout")),
            login: Login { server: row.try_get(4)?, user: row.try_get(3)?, ..Login::default() },
            named: Vec::new(),
        }))
    }

    async fn probe(conn: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        // What sqlx counts, and then what it may not have counted. Outside of a transaction this is silent. Any error is a doubt.
        while hidden::depth::<MySql>(conn) > 0 {
            hidden::rollback::<MySql>(conn).await?;
        }
        conn.execute("ROLLBACK").await.map(drop)
    }

    async fn verify(_: &mut MySqlConnection, _: &State) -> Result<(), sqlx::Error> {
        // `autocommit`, a lock by name, a temporary table, a variable: there is no statement that takes all of them back, and sqlx does
        // not speak the protocol's own reset.
        Err(sqlx::Error::Protocol(
            "not everything that was done in the session was seen: the connection is closed".into(),
        ))
    }

    async fn undo(conn: &mut MySqlConnection, session: &State, settings: &DatabaseSettings) -> Result<(), sqlx::Error> {
        let set = match settings.statement_timeout {
            Some(limit) => session.flavour.limit(limit),
            // The server's own.
            None => format!("{} = DEFAULT", session.flavour.key()),
        };
        conn.execute(AssertSqlSafe(format!("SET SESSION {set}"))).await.map(drop)
    }

    fn is_busy(_: &mut MySqlConnection) -> bool {
        // Not to be known.
        false
    }

    async fn interrupt(_: &mut MySqlConnection, session: &State) -> Result<Interrupt, sqlx::Error> {
        // A statement dropped in the middle of a packet breaks the connection for good.
        Ok(Interrupt::End(session.target.clone()))
    }

    fn target(session: &State) -> Option<&Target> {
        Some(&session.target)
    }

    async fn server(conn: &mut MySqlConnection) -> Result<String, sqlx::Error> {
        ask(conn, "1").await?.try_get(1)
    }

    async fn end(conn: &mut MySqlConnection, sessions: &[u64]) -> Result<(), sqlx::Error> {
        for session in sessions {
            // It may have ended by itself.
            let _ = conn.execute(AssertSqlSafe(format!("KILL CONNECTION {session}"))).await;
        }
        Ok(())
    }

    async fn is_there(conn: &mut MySqlConnection, session: u64) -> Result<bool, sqlx::Error> {
        let ask = format!("SELECT 1 FROM information_schema.processlist WHERE id = {session}");
        Ok(conn.fetch_optional(sqlx::raw_sql(AssertSqlSafe(ask))).await?.is_some())
    }
}
