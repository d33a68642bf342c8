//! Statements of MySQL: the server keeps the limits of some, or of all.

use super::{Flavour, State};
use crate::{
    DatabaseSettings,
    backend::{Keeper, Statements, query::executor_of_sqlx},
};
use sqlx::{AssertSqlSafe, Executor, MySql, MySqlConnection};
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

    executor_of_sqlx!();
}
