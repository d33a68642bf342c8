//! PostgreSQL's options, and what is found out at each connect.

use super::{MARK, SERVER, State, environment, session::notice_lost_clients, statements::limits};
use crate::{
    ConfigError, DatabaseSettings, Error, Pooler,
    backend::{
        Dial, Target,
        dial::{dial, without_brackets},
        poolers, tls,
    },
    config::without_unread,
    words::{Class, Place},
};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Postgres, Row,
    error::DatabaseError,
    postgres::{PgConnectOptions, PgSslMode},
};
use std::{str::FromStr, time::Duration};

impl Dial for Postgres {
    type State = State;

    const SYSTEM: &'static str = "postgresql";

    fn place(options: &PgConnectOptions) -> Place {
        let socket = options.get_socket().map(|path| path.display().to_string());
        let port = socket.is_none().then(|| options.get_port());
        let host = Some(socket.unwrap_or_else(|| options.get_host().to_owned()));
        // Without a name it is the user's.
        let database = Some(options.get_database().unwrap_or(options.get_username()).to_owned());
        Place { host, port, database }
    }

    fn adapt(settings: &mut DatabaseSettings) {
        if settings.explicit("pooler").is_none()
            && settings.pooler == Pooler::Direct
            && let Some((guess, reason)) = poolers::guess(&settings.url)
        {
            let name = &settings.pool.name;
            tracing::info!(target: "pool", "pool {name}: pooler = {guess:?}, for {reason}; set pooler to say otherwise");
            settings.pooler = guess;
        }
    }

    fn configure(settings: &DatabaseSettings, limit: Option<Duration>) -> Result<PgConnectOptions, Error> {
        // What sqlx says of it may quote anything.
        let options = PgConnectOptions::from_str(&without_unread(&settings.url, is_read));
        let unreadable =
            "sqlx cannot read a parameter of the url; look for a value of another kind, such as text for a number";
        let mut options = options.map_err(|_| ConfigError::from(settings.fault("url", unreadable)))?;
        environment::check(settings, options.get_options())?;
        // sqlx's own lines have the text as it is, and of a slow statement as a warning. Our span has it without its values.
        options = options.disable_statement_logging();
        let asked = match options.get_ssl_mode() {
            PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => tls::Asked::Optional,
            PgSslMode::Require => tls::Asked::Encrypted,
            PgSslMode::VerifyCa | PgSslMode::VerifyFull => tls::Asked::Verified,
        };
        if (asked, tls::settle(settings, asked)?) == (tls::Asked::Encrypted, tls::Asked::Verified) {
            options = options.ssl_mode(PgSslMode::VerifyCa);
        }
        if let Some(address) = without_brackets(options.get_host()) {
            options = options.host(&address);
        }
        // Ours by default is no reason to drop the url's.
        let is_named = settings.explicit("application_name").is_none() && options.get_application_name().is_some();
        if let Some(name) = settings.application_name.as_ref().filter(|_| !is_named) {
            options = options.application_name(name);
        }
        if let Some(capacity) = settings.statement_cache {
            options = options.statement_cache_capacity(capacity);
        }
        if settings.pooler != Pooler::Direct {
            // A pooler refuses start-up parameters that it does not know; the limits travel with each transaction instead.
            return Ok(options.extra_float_digits(None::<i8>));
        }
        // Start-up options cost no round trip, and `RESET ALL` comes back to them.
        Ok(options.options(limits(settings, limit)).options([MARK]))
    }

    /// sqlx adds the line of the server's own source.
    fn reworded(_: &PgConnectOptions, said: &dyn DatabaseError) -> Option<String> {
        Some(said.message().to_owned())
    }

    fn with_password(options: &PgConnectOptions, password: &str) -> Option<PgConnectOptions> {
        Some(options.clone().password(password))
    }

    async fn on_connect(conn: &mut PgConnection, settings: &DatabaseSettings) -> Result<State, sqlx::Error> {
        if settings.pooler != Pooler::Direct {
            return Ok(State::default());
        }
        // sqlx is told this number at start-up and keeps it to itself. The simple protocol takes one round trip.
        // The limits prove nothing: the role may have the same.
        let arrived = is_marked();
        let notice = notice_lost_clients(&arrived);
        let ask = format!("SELECT pg_backend_pid(), {arrived}, {SERVER}, {notice}");
        let row = conn.fetch_one(sqlx::raw_sql(AssertSqlSafe(ask))).await?;
        let (pid, swallowed): (i32, bool) = (row.try_get(0)?, !row.try_get::<bool, _>(1)?);
        let target = Target { server: row.try_get(2)?, number: u64::from(pid.unsigned_abs()) };
        // What does not pass start-up options on stands between us and the server, whose numbers are then not ours.
        Ok(State { target: Some(target).filter(|_| !swallowed), swallowed })
    }

    async fn is_marked(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
        conn.fetch_one(sqlx::raw_sql(AssertSqlSafe(format!("SELECT {}", is_marked())))).await?.try_get(0)
    }

    fn is_swallowed(session: &State) -> bool {
        session.swallowed
    }

    async fn mixes_statements(
        conn: &mut PgConnection,
        settings: &DatabaseSettings,
        options: &PgConnectOptions,
    ) -> Result<bool, sqlx::Error> {
        if settings.pooler != Pooler::Prepared {
            return Ok(false);
        }
        // What keeps the statements of its clients apart gives them names of its own. In a transaction, the server stays the same.
        let mut tx = conn.begin().await?;
        let ask = "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%FROM pg_prepared_statements%'";
        let names = sqlx::query_scalar::<_, String>(ask).fetch_all(&mut *tx).await;
        let is_ours = match names {
            Ok(names) => names.iter().any(|name| name.starts_with("sqlx_s_")),
            // There is one of that name; or none, any more.
            Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("42P05" | "26000")) => true,
            Err(error) => return Err(error),
        };
        tx.clear_cached_statements().await?;
        tx.rollback().await?;
        if !is_ours {
            return Ok(false);
        }
        // So would the server itself, which is harmless. It takes start-up options, where a pooler refuses or swallows them.
        match dial::<Postgres>(&options.clone().options([MARK])).await {
            Ok(mut direct) => {
                let marked = Self::is_marked(&mut direct).await?;
                direct.close().await?;
                Ok(!marked)
            }
            Err(error) if matches!(Class::of(&error), Class::Overloaded | Class::StartingUp) => Err(error),
            Err(_) => Ok(true),
        }
    }
}

/// Whether the [`MARK`] has arrived, in SQL.
fn is_marked() -> String {
    format!("coalesce(current_setting('{}', true) = '{}', false)", MARK.0, MARK.1)
}

/// Whether sqlx reads a parameter of the url. It would log any other with its value.
fn is_read(parameter: &str) -> bool {
    match parameter {
        "sslmode" | "ssl-mode" | "statement-cache-capacity" | "options" | "application_name" => true,
        "host" | "hostaddr" | "port" | "dbname" | "user" | "password" => true,
        _ => parameter.starts_with("options[") || tls::names_a_file("postgres", parameter),
    }
}
