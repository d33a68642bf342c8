//! SQLite: no server, so limits are kept by the connection's own thread, and memory databases live as long as a connection.

use super::{
    Answer, Backend, Dial, Interrupt, Prepared, Statements, Transactions, Upkeep, hidden, query::executor_of_sqlx,
};
use crate::{
    DatabaseSettings, Error, Pooler, Reset,
    words::{Class, Place, TxOptions},
};
use sqlx::{
    ConnectOptions, Connection, Executor, Row, SqlSafeStr, SqlStr, Sqlite, SqliteConnection,
    error::DatabaseError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow},
};
use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Instructions of SQLite's machine between two looks at the clock: about 0.1 ms.
const STEPS: i32 = 1000;

/// What of a session changes the answers to its next user: settings, attached files, temporary tables.
const HELD: &str = "SELECT (SELECT foreign_keys FROM pragma_foreign_keys) || (SELECT defer_foreign_keys FROM pragma_defer_foreign_keys) \
    || (SELECT ignore_check_constraints FROM pragma_ignore_check_constraints) || (SELECT query_only FROM pragma_query_only) \
    || (SELECT recursive_triggers FROM pragma_recursive_triggers) || (SELECT writable_schema FROM pragma_writable_schema) \
    || (SELECT reverse_unordered_selects FROM pragma_reverse_unordered_selects) || ('a' LIKE 'A') \
    || (SELECT full_column_names FROM pragma_full_column_names) || (SELECT short_column_names FROM pragma_short_column_names) \
    || (SELECT trusted_schema FROM pragma_trusted_schema) || (SELECT locking_mode FROM pragma_locking_mode) \
    || ' ' || (SELECT count(*) FROM sqlite_temp_master) \
    || coalesce((SELECT group_concat(name || ' ' || file) FROM pragma_database_list WHERE name NOT IN ('main', 'temp')), '')";

/// What is known of a session.
pub struct State {
    base: Instant,
    /// When the statement under way has to end, in microseconds since `base`. `u64::MAX`: no limit.
    deadline: Arc<AtomicU64>,
    /// What it held when it was opened, if a return has to look.
    held: Option<String>,
}

impl Backend for Sqlite {}

impl Dial for Sqlite {
    type State = State;

    const SYSTEM: &'static str = "sqlite";

    fn place(options: &SqliteConnectOptions) -> Place {
        Place { database: Some(options.get_filename().display().to_string()), ..Place::default() }
    }

    fn adapt(settings: &mut DatabaseSettings) {
        let is_set = |key| settings.explicit(key).is_some();
        let default = pool_core::Settings::default();
        let is_sized = is_set("pool_size")
            || is_set("max_overflow")
            || settings.pool.pool_size != default.pool_size
            || settings.pool.max_overflow != default.max_overflow;
        // A file does not go away behind a connection's back.
        let pings = is_set("pool_pre_ping") && settings.pool.pool_pre_ping;
        let is_volatile = Self::is_volatile(settings);
        let pool = &mut settings.pool;
        pool.pool_pre_ping = pings;
        if is_volatile {
            pool.pool_recycle = None;
            pool.idle_timeout = None;
            if !is_sized {
                // Connections to one database in memory share a cache and lock whole tables, so more than one has to be asked for.
                pool.pool_size = 1;
                pool.max_overflow = 0.into();
            }
        }
    }

    fn refused(settings: &DatabaseSettings) -> Vec<&'static str> {
        let pooler = (settings.pooler != Pooler::Direct).then_some("pooler");
        let never =
            ["before_connect", "password_file", "listen_url", "idle_in_transaction_timeout", "application_name"];
        pooler.into_iter().chain(never).collect()
    }

    fn configure(settings: &DatabaseSettings, limit: Option<Duration>) -> Result<SqliteConnectOptions, Error> {
        let url = settings.url.expose();
        // A lock wait is a part of the statement. 5 s is sqlx's default.
        let busy = settings.lock_timeout.unwrap_or(Duration::from_secs(5)).min(limit.unwrap_or(Duration::MAX));
        let mut options = SqliteConnectOptions::from_str(url)?.busy_timeout(busy);
        // sqlx's own lines have the text as it is, and of a slow statement as a warning. Our span has it without its values.
        options = options.disable_statement_logging();
        if let Some(capacity) = settings.statement_cache {
            options = options.statement_cache_capacity(capacity);
        }
        if parameter(url, "mode").is_none() {
            options = options.create_if_missing(true);
        }
        if !is_read_only(url) && !Self::is_volatile(settings) {
            // Readers and one writer side by side: what a pool of connections needs.
            options = options.journal_mode(SqliteJournalMode::Wal);
        }
        Ok(options)
    }

    /// SQLite says that it cannot open the file, and not which.
    fn reworded(options: &SqliteConnectOptions, said: &dyn DatabaseError) -> Option<String> {
        let file = options.get_filename();
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let hint = folder.map(|folder| format!(": there is no folder {}", folder.display())).unwrap_or_default();
        (said.code()? == "14").then(|| format!("unable to open database file {}{hint}", file.display()))
    }

    fn is_volatile(settings: &DatabaseSettings) -> bool {
        let url = settings.url.expose();
        url.contains(":memory:") || parameter(url, "mode") == Some("memory")
    }

    async fn on_connect(conn: &mut SqliteConnection, settings: &DatabaseSettings) -> Result<State, sqlx::Error> {
        let (base, deadline) = (Instant::now(), Arc::new(AtomicU64::new(u64::MAX)));
        let at = Arc::clone(&deadline);
        conn.lock_handle().await?.set_progress_handler(STEPS, move || match at.load(Ordering::Relaxed) {
            u64::MAX => true,
            at => micros(base.elapsed()) < at,
        });
        // Each lock leaves a command in a bounded channel; without this the next ones could wait for each other for ever.
        conn.ping().await?;
        let held = match settings.reset {
            Reset::Rollback => None,
            Reset::Session | Reset::Full => Some(held(conn).await?),
        };
        Ok(State { base, deadline, held })
    }
}

impl Upkeep for Sqlite {
    const IS_REMOTE: bool = false;

    async fn probe(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        hidden::settle::<Sqlite>(conn, Err).await
    }

    async fn in_step(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        // A statement that was dropped there may still run. Interrupting it ends its transaction, and a statement queued behind it would
        // then be committed by itself.
        conn.ping().await.map(|()| true)
    }

    async fn restore(conn: &mut SqliteConnection, session: &State, _: Reset) -> Result<(), sqlx::Error> {
        // Nothing takes all of it back, and a new connection costs little.
        match &session.held {
            Some(before) if held(conn).await? != *before => {
                Err(sqlx::Error::Protocol("the session is not as it was opened: the connection is closed".into()))
            }
            _ => Ok(()),
        }
    }

    async fn undo(conn: &mut SqliteConnection, _: &State, _: &DatabaseSettings) -> Result<(), sqlx::Error> {
        conn.execute("PRAGMA query_only = 0").await.map(drop)
    }

    fn is_busy(_: &mut SqliteConnection) -> bool {
        // Not to be known, and stopping nothing costs nothing.
        true
    }

    async fn interrupt(conn: &mut SqliteConnection, session: &State) -> Result<Interrupt, sqlx::Error> {
        session.deadline.store(0, Ordering::Relaxed);
        let idle = conn.ping().await;
        session.deadline.store(u64::MAX, Ordering::Relaxed);
        idle.map(|()| Interrupt::Ended)
    }
}

impl Transactions for Sqlite {
    const READ_ONLY_LINGERS: bool = true;

    fn begin_statement(settings: &DatabaseSettings, options: TxOptions) -> Option<SqlStr> {
        match (options.read_only, is_read_only(settings.url.expose())) {
            (_, true) => None,
            (true, false) => Some("BEGIN; PRAGMA query_only = 1".into_sql_str()),
            // A transaction that starts as a reader and turns writer fails at once when another one has written meanwhile.
            (false, false) => Some("BEGIN IMMEDIATE".into_sql_str()),
        }
    }

    async fn is_committable(_: &mut SqliteConnection, _: bool) -> Result<bool, sqlx::Error> {
        // A failed statement leaves the transaction as it was, or `has_ended` has seen that it ended it. Ended by hand, the commit fails.
        Ok(true)
    }

    async fn has_ended(conn: &mut SqliteConnection, _: Class) -> Result<bool, sqlx::Error> {
        // A limit, a full disk and `ON CONFLICT ROLLBACK` end it. Then this begins one, which stays, for whoever rolls back to find.
        Ok(conn.execute("BEGIN").await.is_ok())
    }
}

impl Statements for Sqlite {
    const KEEPS_DEADLINES: bool = true;

    fn deadline(state: &State, limit: Option<Duration>) {
        let at = limit.map_or(u64::MAX, |limit| micros(state.base.elapsed() + limit));
        state.deadline.store(at, Ordering::Relaxed);
    }

    fn fetch_optional<'e>(conn: &'e mut SqliteConnection, query: Prepared<Sqlite>) -> Answer<'e, Option<SqliteRow>> {
        // Its thread stops after the first row.
        Executor::fetch_optional(conn, query)
    }

    executor_of_sqlx!();
}

async fn held(conn: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    conn.fetch_one(sqlx::raw_sql(HELD)).await?.try_get(0)
}

fn is_read_only(url: &str) -> bool {
    parameter(url, "mode") == Some("ro") || parameter(url, "immutable") == Some("true")
}

/// A query parameter of the URL.
fn parameter<'u>(url: &'u str, name: &str) -> Option<&'u str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
