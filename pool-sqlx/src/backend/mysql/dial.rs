//! MySQL's options, and what is found out at each connect.

use super::{Flavour, State, ask};
use crate::{
    ConfigError, DatabaseSettings, Error, Pooler, Reset,
    backend::{Dial, Target, dial::without_brackets, tls},
    config::without_unread,
    words::Place,
};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Executor, MySql, MySqlConnection, Row,
    mysql::{MySqlConnectOptions, MySqlSslMode},
};
use std::{str::FromStr, time::Duration};

impl Dial for MySql {
    type State = State;

    const SYSTEM: &'static str = "mysql";

    fn system(session: &State) -> &'static str {
        match session.flavour {
            Flavour::MySql => Self::SYSTEM,
            Flavour::MariaDb => "mariadb",
        }
    }

    fn place(options: &MySqlConnectOptions) -> Place {
        let socket = options.get_socket().map(|path| path.display().to_string());
        let port = socket.is_none().then(|| options.get_port());
        let host = Some(socket.unwrap_or_else(|| options.get_host().to_owned()));
        Place { host, port, database: options.get_database().map(str::to_owned) }
    }

    fn refused(settings: &DatabaseSettings) -> Vec<&'static str> {
        let reset = (settings.reset != Reset::Rollback).then_some("reset");
        let pooler = (settings.pooler != Pooler::Direct).then_some("pooler");
        let never = ["idle_in_transaction_timeout", "application_name", "listen_url"];
        reset.into_iter().chain(pooler).chain(never).collect()
    }

    fn configure(settings: &DatabaseSettings, _: Option<Duration>) -> Result<MySqlConnectOptions, Error> {
        // What sqlx says of it may quote anything.
        let options = MySqlConnectOptions::from_str(&without_unread(&settings.url, is_read));
        let unreadable =
            "sqlx cannot read a parameter of the url; look for a value of another kind, such as text for a number";
        let mut options = options.map_err(|_| ConfigError::from(settings.fault("url", unreadable)))?;
        // sqlx's own lines have the text as it is, and of a slow statement as a warning. Our span has it without its values.
        options = options.disable_statement_logging();
        let asked = match options.get_ssl_mode() {
            MySqlSslMode::Disabled | MySqlSslMode::Preferred => tls::Asked::Optional,
            MySqlSslMode::Required => tls::Asked::Encrypted,
            MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity => tls::Asked::Verified,
        };
        if (asked, tls::settle(settings, asked)?) == (tls::Asked::Encrypted, tls::Asked::Verified) {
            options = options.ssl_mode(MySqlSslMode::VerifyCa);
        }
        if let Some(address) = without_brackets(options.get_host()) {
            options = options.host(&address);
        }
        if let Some(capacity) = settings.statement_cache {
            options = options.statement_cache_capacity(capacity);
        }
        Ok(options)
    }

    fn with_password(options: &MySqlConnectOptions, password: &str) -> Option<MySqlConnectOptions> {
        Some(options.clone().password(password))
    }

    async fn on_connect(conn: &mut MySqlConnection, settings: &DatabaseSettings) -> Result<State, sqlx::Error> {
        // sqlx is told both at the handshake and keeps them to itself.
        let row = ask(conn, "CONNECTION_ID(), VERSION()").await?;
        let version: String = row.try_get(1)?;
        let flavour = if version.contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
        let session = State { target: Target { number: row.try_get(0)?, server: row.try_get(2)? }, flavour };
        let mut limits: Vec<String> =
            settings.statement_timeout.map(|limit| flavour.limit(limit)).into_iter().collect();
        if let Some(limit) = settings.lock_timeout {
            // Rows, then tables. In whole seconds, rounded up.
            let seconds = limit.as_millis().div_ceil(1000);
            limits.push(format!("innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}"));
        }
        if !limits.is_empty() {
            conn.execute(AssertSqlSafe(format!("SET SESSION {}", limits.join(", ")))).await?;
        }
        Ok(session)
    }
}

/// Whether sqlx reads a parameter of the url. It would drop any other without a word.
fn is_read(parameter: &str) -> bool {
    match parameter {
        "sslmode" | "ssl-mode" | "statement-cache-capacity" | "socket" => true,
        "charset" | "collation" | "timezone" | "time-zone" => true,
        _ => tls::names_a_file("mysql", parameter),
    }
}
