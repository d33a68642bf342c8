//! What differs between the databases: the texts of the statements, and what the judge asks the server.

use super::plan::{End, Op};
use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture};
use pool_sqlx::{Backend, Error, Reset, Session, sqlx};
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, PgConnection, Postgres, Row, Sqlite, SqliteConnection};

pub(super) type Answer<'a, T> = LocalBoxFuture<'a, Result<T, Error>>;

/// A statement.
pub(super) struct Sent {
    pub(super) text: String,
    /// The only parameter. Without one, the text is sent by the simple protocol.
    pub(super) bound: Option<i64>,
    /// The stream of its rows is dropped after this many.
    pub(super) rows: usize,
}

impl From<String> for Sent {
    fn from(text: String) -> Self {
        Self { text, bound: None, rows: usize::MAX }
    }
}

/// What runs statements: a session, or sqlx's own connection.
pub(super) trait Voice {
    /// Returns the first column of each row as text.
    fn send(&mut self, sent: Sent) -> Answer<'_, Vec<String>>;
}

/// The walk is generic over databases; sqlx implements its executors for each database alone.
pub(super) trait Seats: Backend<Connection: Voice> {
    fn voice(session: &mut Session<Self>) -> &mut dyn Voice;
}

macro_rules! voice {
    ($voice:ty) => {
        impl Voice for $voice {
            fn send(&mut self, Sent { text, bound, rows }: Sent) -> Answer<'_, Vec<String>> {
                async move {
                    let text = AssertSqlSafe(text);
                    let mut stream = match bound {
                        Some(bound) => sqlx::query(text).bind(bound).fetch(&mut *self),
                        None => sqlx::raw_sql(text).fetch(&mut *self),
                    };
                    let mut read = Vec::new();
                    while read.len() < rows
                        && let Some(row) = stream.next().await
                    {
                        read.push(row?.try_get_unchecked(0).unwrap_or_default());
                    }
                    Ok(read)
                }
                .boxed_local()
            }
        }
    };
}

macro_rules! seats {
    ($db:ty, $connection:ty) => {
        impl Seats for $db {
            fn voice(session: &mut Session<Self>) -> &mut dyn Voice {
                session
            }
        }

        voice!($connection);
        voice!(Session<$db>);
    };
}

seats!(Postgres, PgConnection);
seats!(MySql, MySqlConnection);
seats!(Sqlite, SqliteConnection);

/// The table of the walk: its only column `n` is unique and holds a 0.
pub(super) const TABLE: &str = "create table walk (n bigint not null primary key); insert into walk values (0)";

/// Rows that [`Walked::ROWS`] selects.
pub(super) const ROWS: usize = 200;

/// What a database does differently.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// A connection can go on after a statement on it was dropped.
    pub(super) drains: bool,
    /// An error aborts its transaction.
    pub(super) aborts: bool,
    /// Writers lock each other out of the whole database.
    pub(super) locks_all: bool,
    /// The pool refuses a statement that would end its transaction.
    pub(super) refuses_ends: bool,
    /// After this one of [`Walked::BEGINS`], each end begins another transaction.
    pub(super) begins_again: Option<usize>,
}

/// A database, and its judge: a connection of sqlx outside of the pool.
pub(super) trait Walked: Seats {
    const HABITS: Habits;
    /// The parameter of a statement.
    const PARAMETER: &'static str;
    /// Selects the parameter as text.
    const ECHO: &'static str;
    /// Selects the numbers from 1 to [`ROWS`] as text.
    const ROWS: &'static str;
    /// Statements that begin a transaction.
    const BEGINS: [&'static str; 2];
    /// Statements that leave something in the session. `{n}` stands for a number that no other statement has.
    const LEAVES: &'static [&'static str];

    /// Selects one row after this many milliseconds.
    fn slow(milliseconds: u64) -> String;

    /// `COPY`, if the database has it.
    fn copy(_: &mut Self::Connection, _out: bool, _finishes: bool) -> Option<Answer<'_, Vec<String>>> {
        None
    }

    /// Selects what a loan finds in its session, as one text.
    fn found(reset: Reset) -> String;

    /// What the judge asks while no connection is lent. No row, an empty text and 0 are right; any other answer and any error is a complaint.
    /// `sessions`: how many the pool may have.
    fn questions(reset: Reset, sessions: u64) -> Vec<String>;

    /// The statement of an operation.
    fn sent(op: &Op, n: i64) -> Sent {
        let bound = |text| Sent { bound: Some(n), ..Sent::from(text) };
        let pick = |texts: &[&str], which: usize| texts[which % texts.len()].to_owned();
        match *op {
            Op::Echo => bound(Self::ECHO.to_owned()),
            Op::Insert(0) => bound(format!("insert into walk values ({})", Self::PARAMETER)),
            Op::Insert(ms) => {
                bound(format!("insert into walk select {} from ({}) as slow", Self::PARAMETER, Self::slow(ms)))
            }
            Op::Rows(rows) => Sent { rows, ..Sent::from(Self::ROWS.to_owned()) },
            Op::Slow(ms) => Self::slow(ms).into(),
            Op::Fail(which) => pick(FAILURES, which).into(),
            Op::Several => format!("select 1; insert into walk values ({n}); select 2").into(),
            Op::Leave(which) => pick(Self::LEAVES, which).replace("{n}", &n.to_string()).into(),
            Op::HandBegin(which) => pick(&Self::BEGINS, which).into(),
            Op::HandEnd(End::Commit) => "commit".to_owned().into(),
            Op::HandEnd(_) => "rollback".to_owned().into(),
            Op::Inside(_) | Op::Copy { .. } => unreachable!("{op:?} is no text"),
        }
    }
}

/// Statements that fail.
const FAILURES: &[&str] =
    &["select nothing_of_that_name", "insert into walk values (0)", "selec 1", "insert into walk values (null)"];

impl Walked for Postgres {
    const HABITS: Habits =
        Habits { drains: true, aborts: true, locks_all: false, refuses_ends: false, begins_again: None };
    const PARAMETER: &'static str = "$1::bigint";
    const ECHO: &'static str = "select $1::bigint::text";
    const ROWS: &'static str = "select n::text from generate_series(1, 200) n";
    const BEGINS: [&'static str; 2] = ["begin", "start transaction isolation level serializable"];
    const LEAVES: &'static [&'static str] = &[
        "create temporary table temp_{n} (n bigint)",
        "set lock_timeout = '17s'",
        "set local work_mem = '6MB'",
        "set session characteristics as transaction isolation level repeatable read",
        "select set_config('walk.a', 'b', false)",
        // A lock of the first kind ends with its transaction, one of the second kind with its session.
        "select pg_advisory_xact_lock(1, {n})",
        "select pg_advisory_lock(2, {n})",
        // Only the judge notifies: sqlx takes a notification inside an answer for an error.
        "listen walk",
        "unlisten *",
        "declare held cursor with hold for select n from walk; fetch 1 from held; close held",
    ];

    fn slow(milliseconds: u64) -> String {
        format!("select pg_sleep({milliseconds} / 1000.0)")
    }

    fn copy(conn: &mut PgConnection, out: bool, finishes: bool) -> Option<Answer<'_, Vec<String>>> {
        let copy = async move {
            if out {
                let mut lines =
                    conn.copy_out_raw("copy (select repeat('x', 1000) from generate_series(1, 200)) to stdout").await?;
                for _ in 0..if finishes { usize::MAX } else { 3 } {
                    let Some(line) = lines.next().await else { break };
                    line?;
                }
            } else {
                let mut copy = conn.copy_in_raw("copy copied from stdin").await?;
                copy.send(&b"1\n"[..]).await?;
                if finishes {
                    copy.finish().await?;
                }
            }
            Ok(Vec::new())
        };
        Some(copy.boxed_local())
    }

    fn found(reset: Reset) -> String {
        // now() is the begin of the transaction: by the simple protocol an older one shows.
        let always = "select concat_ws(' ', now() < statement_timestamp(), current_setting('statement_timeout'), \
            (select count(*) from pg_listening_channels())";
        let session = "(select string_agg(name || '=' || setting, ',' order by name) from pg_settings where source = 'session'), \
            coalesce(current_setting('walk.a', true), ''), (select count(*) from pg_class where relnamespace = pg_my_temp_schema()), \
            (select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory')";
        if reset == Reset::Rollback { format!("{always})") } else { format!("{always}, {session})") }
    }

    fn questions(reset: Reset, sessions: u64) -> Vec<String> {
        let of_pool = "from pg_stat_activity where datname = current_database() and backend_type = 'client backend' \
            and pid <> pg_backend_pid()";
        // The default reset leaves locks and temporary tables of the session to the application.
        let (locks, tables) = match reset {
            Reset::Rollback => ("and not (locktype = 'advisory' and classid = 2)", "and false"),
            _ => ("", ""),
        };
        let state = format!(
            "select concat_ws('; ', \
                (select 'not idle: ' || string_agg(pid || ' ' || state || ' ' || query, ', ') {of_pool} and state is distinct from 'idle'), \
                (select 'locks: ' || string_agg(distinct locktype || ' ' || mode, ', ') from pg_locks where pid in (select pid {of_pool}) {locks}), \
                (select 'temporary tables: ' || string_agg(relname, ', ') from pg_class where relname like 'temp!_%' escape '!' {tables}), \
                (select count(*) || ' sessions, not {sessions}' {of_pool} having count(*) > {sessions}))"
        );
        // A session that still listens finds it between two answers.
        vec![state, "notify walk, 'from the judge'".into()]
    }
}

impl Walked for MySql {
    const HABITS: Habits =
        Habits { drains: false, aborts: false, locks_all: false, refuses_ends: true, begins_again: Some(1) };
    const PARAMETER: &'static str = "?";
    const ECHO: &'static str = "select cast(? as char)";
    const ROWS: &'static str = "select cast(seq as char) from seq_1_to_200";
    const BEGINS: [&'static str; 2] = ["begin", "set autocommit = 0"];
    const LEAVES: &'static [&'static str] = &[
        // One name: a table that is left fails the next loan's.
        "create temporary table temp_of_walk (n bigint)",
        "set @walk = 1",
        "set session lock_wait_timeout = 17",
        "set session transaction isolation level serializable",
        "select 1 into @walk",
        "select @walk := 2",
        "select get_lock('walk', 0)",
        "do release_lock('walk')",
    ];

    fn slow(milliseconds: u64) -> String {
        format!("select sleep({milliseconds} / 1000)")
    }

    fn found(_: Reset) -> String {
        "select cast(concat_ws(' ', @@in_transaction, @@autocommit, coalesce(@walk, 'none'), coalesce(is_used_lock('walk') = connection_id(), 0), \
            @@max_statement_time, @@tx_isolation, @@tx_read_only, @@lock_wait_timeout) as char)"
            .into()
    }

    fn questions(_: Reset, sessions: u64) -> Vec<String> {
        let of_pool = "from information_schema.processlist where db = database() and id <> connection_id()";
        let state = format!(
            "select cast(concat_ws('; ', \
                (select concat('at work: ', group_concat(concat_ws(' ', id, command, state, info))) {of_pool} and command <> 'Sleep'), \
                (select concat('transactions: ', group_concat(concat_ws(' ', trx_mysql_thread_id, trx_state, trx_query))) \
                    from information_schema.innodb_trx where trx_mysql_thread_id in (select id {of_pool})), \
                concat('the lock is held by ', is_used_lock('walk')), \
                (select concat(count(*), ' sessions, not {sessions}') {of_pool} having count(*) > {sessions})) as char)"
        );
        // A metadata lock shows only to a session that waits for it.
        vec![state, "set statement lock_wait_timeout = 1 for lock tables walk write; unlock tables".into()]
    }
}

impl Walked for Sqlite {
    const HABITS: Habits =
        Habits { drains: true, aborts: false, locks_all: true, refuses_ends: false, begins_again: None };
    const PARAMETER: &'static str = "?";
    const ECHO: &'static str = "select ?";
    const ROWS: &'static str =
        "with recursive c(n) as (select 1 union all select n + 1 from c limit 200) select n from c";
    const BEGINS: [&'static str; 2] = ["begin", "begin immediate"];
    const LEAVES: &'static [&'static str] = &[
        "create temporary table temp_{n} (n integer)",
        "pragma foreign_keys = off",
        "pragma recursive_triggers = on",
        "pragma reverse_unordered_selects = on",
        "pragma case_sensitive_like = on",
        "attach ':memory:' as attached_{n}",
        "pragma table_info(walk)",
    ];

    fn slow(milliseconds: u64) -> String {
        // About as many rows as take SQLite so long in a debug build.
        let rows = milliseconds * 4000;
        format!(
            "select count(*) from (with recursive c(n) as (select 1 union all select n + 1 from c limit {rows}) select n from c)"
        )
    }

    fn found(reset: Reset) -> String {
        let session = "(select foreign_keys from pragma_foreign_keys) || ('a' like 'A') \
            || (select recursive_triggers from pragma_recursive_triggers) \
            || (select reverse_unordered_selects from pragma_reverse_unordered_selects) \
            || ' ' || (select count(*) from temp.sqlite_master) || ' ' || (select count(*) from pragma_database_list where seq > 1)";
        format!(
            "select query_only || ' ' || {} from pragma_query_only",
            if reset == Reset::Rollback { "''" } else { session }
        )
    }

    fn questions(_: Reset, _: u64) -> Vec<String> {
        // The first succeeds if no other connection writes. The second returns 0 if none reads, for the log can begin anew.
        vec!["begin immediate; rollback".into(), "pragma wal_checkpoint(truncate)".into()]
    }
}
