//! PostgreSQL: limits are the server's own, given at start-up; the transaction status is asked for in one round trip.

mod environment;

use super::{
    Again, Answer, Backend, Dial, Interrupt, Keeper, Limit, Login, Prepared, Rows, Server, Session, Statements, Target,
    Transactions, Whom, dial::dial, executor_of_sqlx, hidden, poolers, tls, without_brackets,
};
use crate::{
    DatabaseSettings, Error, Pooler, Reset, Secret,
    config::without_unread,
    words::{Class, Place, TxOptions, class::postgres::is_unnamed_lost},
};
use futures_util::StreamExt;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Postgres, Row, SqlSafeStr, SqlStr,
    postgres::{PgConnectOptions, PgDatabaseError, PgRow, PgSeverity, PgSslMode},
};
use std::{
    net::IpAddr,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How long a statement that its caller dropped may still answer before it is cancelled on the server.
const PATIENCE: Duration = Duration::from_millis(20);

/// Ends what runs for a client that is gone, where the server can tell (PostgreSQL 14, Linux) and nobody has set it otherwise.
/// `RESET ALL` undoes it. With a condition, for behind a pooler it would stay with strangers.
fn notice_lost_clients(condition: &str) -> String {
    format!(
        "CASE WHEN {condition} AND current_setting('client_connection_check_interval', true) = '0' \
         AND version() LIKE '%linux%' THEN set_config('client_connection_check_interval', '500ms', false) END"
    )
}

/// What a server says of itself, and no other that stands behind the same address.
const SERVER: &str = "extract(epoch from pg_postmaster_start_time())::text";

/// A setting of nobody's, given at start-up: where it is not known afterwards, a pooler stands in between.
const MARK: (&str, &str) = ("pool_sqlx.direct", "on");

/// What is known of a session.
#[derive(Debug, Default)]
pub struct State {
    /// By what another connection can cancel what this one does; `None` where a pooler makes that somebody else's.
    target: Option<Target>,
    /// The server did not get our start-up options.
    swallowed: bool,
}

impl Backend for Postgres {}

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
        let mut options = PgConnectOptions::from_str(&without_unread(&settings.url, is_read))?;
        environment::check(settings, options.get_options())?;
        // sqlx's own lines have the text as it is, and of a slow statement as a warning. Our span has it without its values.
        options = options.disable_statement_logging();
        let asked = match options.get_ssl_mode() {
            PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => tls::Asked::Optional,
            PgSslMode::Require => tls::Asked::Encrypted,
            PgSslMode::VerifyCa | PgSslMode::VerifyFull => tls::Asked::Verified,
        };
        if (asked, tls::settle(settings, asked, &TLS)?) == (tls::Asked::Encrypted, tls::Asked::Verified) {
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

    fn pool_settings(settings: &DatabaseSettings) -> pool_core::Settings {
        settings.pool.clone()
    }

    fn is_volatile(_: &DatabaseSettings) -> bool {
        false
    }

    fn with_password(options: &PgConnectOptions, password: &str) -> Option<PgConnectOptions> {
        Some(options.clone().password(password))
    }

    fn guess(url: &Secret) -> Option<&'static str> {
        poolers::guess(url).map(|(_, reason)| reason)
    }

    fn host(options: &PgConnectOptions) -> Option<(&str, u16)> {
        let is_plain = match options.get_ssl_mode() {
            PgSslMode::Disable | PgSslMode::Allow => true,
            PgSslMode::Prefer => !hidden::has_tls(),
            PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => false,
        };
        let host = options.get_host();
        let is_remote = options.get_socket().is_none() && !host.starts_with('/');
        (is_plain && is_remote).then(|| (host, options.get_port()))
    }

    fn at(options: &PgConnectOptions, address: IpAddr) -> PgConnectOptions {
        options.clone().host(&address.to_string())
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

impl Session for Postgres {
    const DRAINS: bool = true;

    /// sqlx counts no `COPY`, so [`is_busy`](Self::is_busy) does not see one.
    const IS_REMOTE: bool = true;

    const MISSES_CLIENTS: bool = true;

    async fn limits_of(conn: &mut PgConnection) -> Result<Option<Server>, sqlx::Error> {
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
        let login = Login {
            server: row.try_get(8)?,
            user: row.try_get(9)?,
            database: row.try_get(10)?,
            program: row.try_get(11)?,
        };
        let ask = "SELECT usename::text, datname::text, count(*) FROM pg_stat_activity \
                   WHERE application_name = current_setting('application_name') AND backend_type = 'client backend' \
                   AND usename IS NOT NULL AND datname IS NOT NULL GROUP BY 1, 2";
        let mut named = Vec::new();
        for row in conn.fetch_all(sqlx::raw_sql(ask)).await? {
            let login = Login { user: row.try_get(0)?, database: row.try_get(1)?, ..login.clone() };
            named.push((login, u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX)));
        }
        Ok(Some(Server {
            limits,
            instances: u32::try_from(number(7)?).unwrap_or(1),
            idle_limit: idle.map(|limit| (limit, "idle_session_timeout")),
            login,
            named,
        }))
    }

    async fn probe(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        // The first answer after a cancellation may be the cancelled statement's error; a settled connection needs one round.
        for _ in 0..4 {
            // A `BEGIN` that is none: it succeeds only inside a transaction that is open already.
            let error = match conn.begin_with("SELECT 1").await {
                Err(sqlx::Error::BeginFailed) => return Ok(()),
                Ok(leaked) => return leaked.rollback().await,
                Err(error) => error,
            };
            match error {
                // sqlx counts a transaction that was never ended.
                sqlx::Error::InvalidSavePointStatement => hidden::rollback::<Postgres>(conn).await?,
                sqlx::Error::Database(error) if error.code().as_deref() == Some("25P02") => {
                    conn.execute("ROLLBACK").await?;
                }
                sqlx::Error::Database(error) if severity(&*error) == Some(PgSeverity::Error) => {}
                error => return Err(error),
            }
        }
        Err(sqlx::Error::Protocol("the connection did not settle after four probes".into()))
    }

    async fn verify(conn: &mut PgConnection, session: &State) -> Result<(), sqlx::Error> {
        // A notification that comes later, for a LISTEN that nobody saw, would break the next user's connection. And what sqlx believes to
        // be prepared has to be there, unless a pooler keeps it under names of its own.
        let are_there = match session.target.is_some().then(|| conn.cached_statements_size()) {
            None | Some(0) => "true".to_owned(),
            Some(believed) => format!("(SELECT count(*) FROM pg_prepared_statements) >= {believed}"),
        };
        match heeds(conn, |word| format!("UNLISTEN *; SELECT '{word}', {are_there}")).await {
            Ok(row) if row.try_get_raw(1)?.as_str().is_ok_and(|are_there| are_there == "t") => Ok(()),
            Ok(_) => Err(sqlx::Error::Protocol("prepared statements were given up behind the back of sqlx".into())),
            Err(sqlx::Error::Database(_)) => Err(shifted()),
            Err(error) => Err(error),
        }
    }

    async fn heeds(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
        // Without a query: before its first one, a transaction can still be told how to run.
        match heeds(conn, |word| format!("SET LOCAL pool_sqlx.word = '{word}'; SHOW pool_sqlx.word")).await {
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

impl Transactions for Postgres {
    const FORGIVES_CONFLICTS: bool = true;
    const READ_ONLY_LINGERS: bool = false;
    const LIMITS_TRANSACTIONS: bool = true;

    fn begin_statement(settings: &DatabaseSettings, options: TxOptions) -> Option<SqlStr> {
        let TxOptions { isolation, read_only, deferrable, statement_timeout, retries: _ } = options;
        let is_pooled = settings.pooler != Pooler::Direct;
        if isolation.is_none() && !read_only && !deferrable && statement_timeout.is_none() && !is_pooled {
            return None;
        }
        let mut sql = String::from("BEGIN");
        if let Some(level) = isolation {
            sql += " ISOLATION LEVEL ";
            sql += level.sql();
        }
        if read_only {
            sql += " READ ONLY";
        }
        if deferrable {
            sql += " DEFERRABLE";
        }
        // In the same message, so that it costs no round trip; it ends with the transaction.
        let mut set = |(key, limit): (&str, String)| sql += &format!("; SET LOCAL {key} = '{limit}'");
        if is_pooled {
            limits(settings, statement_timeout.or(settings.statement_timeout)).for_each(&mut set);
        } else if let Some(limit) = statement_timeout {
            set(("statement_timeout", written(limit)));
        }
        Some(AssertSqlSafe(sql).into_sql_str())
    }

    async fn is_committable(conn: &mut PgConnection, _: bool) -> Result<bool, sqlx::Error> {
        // To the commit of an aborted block the server answers ROLLBACK, as a success, and sqlx does not look. To one without a
        // transaction, which somebody has ended by hand, it gives a warning.
        let error = match conn.execute("SAVEPOINT pool_check; RELEASE SAVEPOINT pool_check").await {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        match error.as_database_error().and_then(|error| error.code()).as_deref() {
            Some("25P02") => Ok(false),
            Some("25P01") => Err(Error::transaction_gone().into()),
            _ => Err(error),
        }
    }

    async fn has_ended(_: &mut PgConnection, _: Class) -> Result<bool, sqlx::Error> {
        // The block is aborted: it takes nothing but its end.
        Ok(false)
    }
}

impl Statements for Postgres {
    const KEEPS_DEADLINES: bool = false;

    fn keeper(settings: &DatabaseSettings, session: &State) -> Keeper {
        match settings.pooler {
            Pooler::Direct if session.swallowed => Keeper::Us,
            Pooler::Direct | Pooler::Unprepared => Keeper::Server,
            // The server is told with each transaction. Between the two it knows of no limit.
            Pooler::Prepared => Keeper::Us,
        }
    }

    fn deadline(_: &State, _: Option<Duration>) {}

    async fn limit(conn: &mut PgConnection, _: &State, statement_timeout: Duration) -> Result<(), sqlx::Error> {
        let set = format!("SET statement_timeout = '{}'", written(statement_timeout));
        conn.execute(AssertSqlSafe(set)).await.map(drop)
    }

    const SINGLE: bool = true;

    fn lingers(_: &str) -> bool {
        false
    }

    fn fetch_many<'e>(conn: &'e mut PgConnection, mut query: Prepared<Postgres>) -> Rows<'e, Postgres> {
        let Some((again, copy)) = query.again() else { return Executor::fetch_many(conn, query) };
        Box::pin(async_stream::stream! {
            if let Err(error) = again.prepare(conn).await {
                yield Err(error);
                return;
            }
            let mut copy = Some(copy);
            let mut next = Some(query);
            while let Some(query) = next.take() {
                let mut rows = Executor::fetch_many(&mut *conn, query);
                while let Some(row) = rows.next().await {
                    match row {
                        Err(error) if is_forgotten(&error) && copy.is_some() => {
                            next = copy.take();
                            break;
                        }
                        Err(error) => {
                            yield Err(error);
                            return;
                        }
                        Ok(row) => yield Ok(row),
                    }
                }
                drop(rows);
                if next.is_some()
                    && let Err(error) = again.restart(conn).await
                {
                    yield Err(error);
                    return;
                }
            }
            if let Err(error) = again.finish(conn).await {
                yield Err(error);
            }
        })
    }

    fn fetch_optional<'e>(conn: &'e mut PgConnection, mut query: Prepared<Postgres>) -> Answer<'e, Option<PgRow>> {
        let Some((again, copy)) = query.again() else { return Executor::fetch_optional(conn, query) };
        Box::pin(async move {
            again.prepare(conn).await?;
            let row = match Executor::fetch_optional(&mut *conn, query).await {
                Err(error) if is_forgotten(&error) => {
                    again.restart(conn).await?;
                    Executor::fetch_optional(&mut *conn, copy).await?
                }
                row => row?,
            };
            again.finish(conn).await?;
            Ok(row)
        })
    }

    executor_of_sqlx!(without fetch);
}

impl Again {
    async fn prepare(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        match self {
            Self::Savepoint => conn.execute("SAVEPOINT pool_types").await.map(drop),
            Self::Anew(_) | Self::Never => Ok(()),
        }
    }

    async fn restart(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        match self {
            Self::Savepoint => conn.execute("ROLLBACK TO SAVEPOINT pool_types").await.map(drop),
            Self::Anew(begin) => conn.execute(sqlx::raw_sql(begin.clone())).await.map(drop),
            Self::Never => Ok(()),
        }
    }

    async fn finish(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        match self {
            Self::Savepoint => conn.execute("RELEASE SAVEPOINT pool_types").await.map(drop),
            Self::Anew(_) | Self::Never => Ok(()),
        }
    }
}

/// Whether the server has lost a statement without a name before it ran: sqlx has looked types up meanwhile, and knows them now.
fn is_forgotten(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    error.is_some_and(|error| is_unnamed_lost(error.code(), error.routine()))
}

/// Makes sure that the answers are those to our statements. An error of the database, too, may have been said to another.
///
/// A `COPY` that was dropped leaves an end behind which sqlx takes for that of the next statement: from then on each answer is that of
/// the statement before. So we ask for a word that nobody else asks for.
async fn heeds(conn: &mut PgConnection, ask: impl FnOnce(&str) -> String) -> Result<PgRow, sqlx::Error> {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let word = format!("settled {}", ASKED.fetch_add(1, Ordering::Relaxed));
    let mut rows = conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(ask(&word)))).await?;
    let said = rows.first().and_then(|row| row.try_get_raw(0).ok()?.as_str().ok());
    if said == Some(&*word) { Ok(rows.swap_remove(0)) } else { Err(shifted()) }
}

fn shifted() -> sqlx::Error {
    sqlx::Error::Protocol("the answer was another statement's: a COPY was dropped in the middle".into())
}

/// How sqlx spells the parameters of TLS that name files.
const TLS: tls::Parameters = tls::Parameters {
    authority: &["sslrootcert", "ssl-root-cert", "ssl-ca"],
    own: &["sslcert", "ssl-cert", "sslkey", "ssl-key"],
};

/// Whether the [`MARK`] has arrived, in SQL.
fn is_marked() -> String {
    format!("coalesce(current_setting('{}', true) = '{}', false)", MARK.0, MARK.1)
}

/// Whether sqlx reads a parameter of the url. It would log any other with its value.
fn is_read(parameter: &str) -> bool {
    const READ: [&str; 18] = [
        "sslmode",
        "ssl-mode",
        "sslrootcert",
        "ssl-root-cert",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "statement-cache-capacity",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "application_name",
        "options",
    ];
    READ.contains(&parameter) || parameter.starts_with("options[")
}

fn severity(error: &dyn sqlx::error::DatabaseError) -> Option<PgSeverity> {
    error.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity)
}

/// The server's own limits.
fn limits(settings: &DatabaseSettings, statement: Option<Duration>) -> impl Iterator<Item = (&'static str, String)> {
    let limits = [
        ("statement_timeout", statement),
        ("lock_timeout", settings.lock_timeout),
        ("idle_in_transaction_session_timeout", settings.idle_in_transaction_timeout),
    ];
    limits.into_iter().filter_map(|(key, limit)| Some((key, written(limit?))))
}

/// As PostgreSQL reads it.
fn written(limit: Duration) -> String {
    format!("{}ms", milliseconds(limit))
}

/// As PostgreSQL takes it; never 0, which would mean no limit.
fn milliseconds(limit: Duration) -> i64 {
    i64::try_from(limit.as_millis()).unwrap_or(i64::MAX).clamp(1, i32::MAX.into())
}
