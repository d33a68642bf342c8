//! MySQL and MariaDB: limits are set after the connect, and a connection in doubt is closed, for it cannot be trusted again.

mod dial;
mod session;
mod statements;
mod transactions;

use super::{Backend, Target};
use sqlx::{AssertSqlSafe, Executor, MySql, MySqlConnection, mysql::MySqlRow};
use std::time::Duration;

impl Backend for MySql {}

/// Which server it is, and by what another connection can end this one.
pub struct State {
    target: Target,
    flavour: Flavour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavour {
    /// Limits the time of `SELECT` only.
    MySql,
    /// Limits the time of every statement.
    MariaDb,
}

impl Flavour {
    /// The variable that limits statements.
    fn key(self) -> &'static str {
        match self {
            Self::MySql => "max_execution_time",
            Self::MariaDb => "max_statement_time",
        }
    }

    /// The assignment that limits statements; never to 0, which would mean no limit.
    fn limit(self, limit: Duration) -> String {
        let (key, limit) = (self.key(), limit.max(Duration::from_millis(1)));
        match self {
            Self::MySql => format!("{key} = {}", limit.as_millis()),
            Self::MariaDb => format!("{key} = {}", limit.as_secs_f64()),
        }
    }
}

/// What a server says of itself, and no other that stands behind the same address.
const SERVER: &str = "@@hostname, @@port, @@server_id, @@datadir";

/// When it was started, for after a restart it counts its sessions from one again. Exactly to the second: both parts count from that of the
/// statement. Of the comments MariaDB reads the first and MySQL the second.
const STARTED: &str = "UNIX_TIMESTAMP() - (SELECT variable_value FROM \
     /*M! information_schema */ /*!50706 performance_schema */ .global_status WHERE variable_name = 'Uptime')";

/// Asks the server for this, and last for what it says of itself.
async fn ask(conn: &mut MySqlConnection, what: &str) -> Result<MySqlRow, sqlx::Error> {
    let ask = |itself| sqlx::raw_sql(AssertSqlSafe(format!("SELECT {what}, CONCAT_WS(' ', {itself})")));
    match conn.fetch_one(ask(format!("{SERVER}, {STARTED}"))).await {
        // What only speaks the protocol may not know its age.
        Err(sqlx::Error::Database(_)) => conn.fetch_one(ask(SERVER.to_owned())).await,
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_so_short_that_it_becomes_none() {
        let shortest = Duration::from_nanos(1);
        assert_eq!(Flavour::MySql.limit(shortest), "max_execution_time = 1");
        assert_eq!(Flavour::MariaDb.limit(shortest), "max_statement_time = 0.001");
    }
}
