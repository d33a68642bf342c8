//! Statements of MySQL: the server keeps the limits of some, or of all.

use super::{Flavour, State};
use crate::{
    DatabaseSettings,
    backend::{
        Answer, Keeper, Prepared, Statements,
        query::{executor_of_sqlx, first},
    },
};
use sqlx::{AssertSqlSafe, Executor, MySql, MySqlConnection, mysql::MySqlRow};
use std::time::Duration;

impl Statements for MySql {
    fn keeper(_: &DatabaseSettings, session: &State) -> Keeper {
        match session.flavour {
            Flavour::MySql => Keeper::Both,
            Flavour::MariaDb => Keeper::Server,
        }
    }

    async fn limit(
        conn: &mut MySqlConnection,
        session: &State,
        statement_timeout: Duration,
    ) -> Result<(), sqlx::Error> {
        let set = format!("SET SESSION {}", session.flavour.limit(statement_timeout));
        conn.execute(AssertSqlSafe(set)).await.map(drop)
    }

    fn fetch_optional<'e>(conn: &'e mut MySqlConnection, query: Prepared<MySql>) -> Answer<'e, Option<MySqlRow>> {
        // sqlx goes home with the first row, whatever the server still does: the next user would wait for its end. The end of an
        // answer of one row comes with it.
        first::<MySql>(Self::fetch_many(conn, query))
    }

    executor_of_sqlx!(without fetch_optional);
}
