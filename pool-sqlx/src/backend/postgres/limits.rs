//! What a server of PostgreSQL limits.

use super::SERVER;
use crate::backend::{Limit, Login, Server, Whom};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};
use std::time::Duration;

/// Asks with two statements: one for the limits, one for the sessions of this program's name.
pub(super) async fn limits_of(conn: &mut PgConnection) -> Result<Server, sqlx::Error> {
    // Each limit counts whom it holds for: everybody, the role, the database; for superusers only the first holds. What another
    // user's sessions are called, and of what type they are, is not shown to everybody; whose they are is.
    let ask = format!(
        "SELECT current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8 \
             - coalesce(current_setting('reserved_connections', true)::int8, 0), count(*) FILTER (WHERE NOT ours), \
             (SELECT rolconnlimit::int8 FROM pg_roles WHERE rolname = session_user AND NOT rolsuper), \
             count(*) FILTER (WHERE usename = session_user AND NOT ours), \
             (SELECT datconnlimit::int8 FROM pg_database, pg_roles \
             WHERE datname = current_database() AND rolname = session_user AND NOT rolsuper), \
             count(*) FILTER (WHERE datname = current_database() AND NOT ours), \
             coalesce(extract(epoch from current_setting('idle_session_timeout', true)::interval)::int8, 0), \
             count(DISTINCT coalesce(host(client_addr), '')) FILTER (WHERE ours), \
             {SERVER}, session_user::text, current_database()::text, current_setting('application_name') \
             FROM (SELECT *, coalesce(application_name = current_setting('application_name') \
             AND usename = session_user AND datname = current_database(), false) AS ours \
             FROM pg_stat_activity WHERE datid IS NOT NULL \
             AND coalesce(backend_type, 'client backend') = 'client backend') sessions"
    );
    let row = conn.fetch_one(sqlx::raw_sql(AssertSqlSafe(ask))).await?;
    let number = |i: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(i)?.unwrap_or(-1));
    let mut limits = Vec::new();
    for (i, what, whom) in [
        (0, "max_connections of the server without its reserve", Whom::Everybody),
        (2, "the role's connection limit", Whom::User),
        (4, "the database's connection limit", Whom::Database),
    ] {
        // -1 is no limit.
        if let Ok(most) = u32::try_from(number(i)?) {
            limits.push(Limit { most, what, whom, others: u32::try_from(number(i + 1)?).unwrap_or(0) });
        }
    }
    let idle = u64::try_from(number(6)?).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let login =
        Login { server: row.try_get(8)?, user: row.try_get(9)?, database: row.try_get(10)?, program: row.try_get(11)? };
    let ask = "SELECT usename::text, datname::text, count(*) FROM pg_stat_activity \
               WHERE application_name = current_setting('application_name') AND backend_type = 'client backend' \
               AND usename IS NOT NULL AND datname IS NOT NULL GROUP BY 1, 2";
    let mut named = Vec::new();
    for row in conn.fetch_all(sqlx::raw_sql(ask)).await? {
        let login = Login { user: row.try_get(0)?, database: row.try_get(1)?, ..login.clone() };
        named.push((login, u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX)));
    }
    Ok(Server {
        limits,
        instances: u32::try_from(number(7)?).unwrap_or(1),
        idle_limit: idle.map(|limit| (limit, "idle_session_timeout")),
        login,
        named,
    })
}
