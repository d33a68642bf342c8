//! Statements that the pool could not track.

use super::{Advice, Facts, hint};

/// Fewer uses are not worth a line: a migration, a start.
const ENOUGH: u64 = 100;

/// Sqlx's own connection was used for at least one acquire in a hundred.
pub(super) fn untracked(facts: &Facts<'_>) -> Option<Advice> {
    let uses: u64 = facts.untracked.iter().map(|(_, uses)| uses).sum();
    let (site, most) = facts.untracked.first()?;
    if uses < ENOUGH || uses.saturating_mul(100) < facts.status.totals.acquired {
        return None;
    }
    hint(
        "raw",
        &format!("sqlx's own connection was used {uses} times, {most} of them at {site}"),
        "the pool cannot track statements there, so each return of such a connection costs two round trips on PostgreSQL, one statement on \
         SQLite, and the connection itself on MySQL and MariaDB",
        "let helpers take &mut PgSession (SqliteSession, MySqlSession) in place of sqlx's &mut PgConnection, and keep raw() for COPY",
    )
}

#[cfg(test)]
mod tests {
    use super::super::{
        advice,
        tests::{facts, idle_pool, postgres},
    };
    use super::*;
    use crate::{Site, Watchable};

    #[tokio::test]
    async fn lines_that_often_use_sqlx_own_connection_are_named() {
        let pool = idle_pool().await;
        let (mut status, timings) = (pool.status(), pool.watched()[0].timings());
        let database = postgres("postgres://app@db/app");
        let (often, seldom) = (Site::named("app::list"), Site::named("app::export"));
        let mut given = |uses: u64, acquired: u64| {
            status.totals.acquired = acquired;
            let untracked = [(often, uses - 10), (seldom, 10)];
            let facts = Facts { untracked: &untracked, ..facts(&database, &status, &timings) };
            advice(&facts)
                .into_iter()
                .map(|advice| format!("{}: {}", advice.setting, advice.finding))
                .collect::<Vec<_>>()
        };
        let said = vec![format!("raw: sqlx's own connection was used 120 times, 110 of them at {often}")];
        assert_eq!(given(120, 12_000), said);
        assert_eq!(given(120, 12_001), [""; 0], "fewer than one in a hundred");
        assert_eq!(given(99, 99), [""; 0], "a few");
    }
}
