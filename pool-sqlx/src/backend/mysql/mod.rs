//! MySQL and MariaDB: limits are set after the connect, and a connection in doubt is closed, for it cannot be trusted again.

use super::{
    Answer, Backend, Dial, Interrupt, Keeper, Limit, Login, Prepared, Server, Session, Statements, Target,
    Transactions, Whom, executor_of_sqlx, hidden, refuse, tls, without_brackets,
};
use crate::{
    DatabaseSettings, Error, Pooler, Reset,
    config::without_unread,
    sql::{self, Dialect, statements},
    words::{Class, Place, TxOptions},
};
use futures_util::TryStreamExt;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Executor, MySql, MySqlConnection, Row, SqlSafeStr, SqlStr,
    mysql::{MySqlConnectOptions, MySqlRow, MySqlSslMode},
};
use std::{net::IpAddr, str::FromStr, time::Duration};

/// What a server says of itself, and no other that stands behind the same address.
const SERVER: &str = "@@hostname, @@port, @@server_id, @@datadir";

/// When it was started, for after a restart it counts its sessions from one again. Exactly to the second: both parts count from that of the
/// statement. Of the comments MariaDB reads the first and MySQL the second.
const STARTED: &str = "UNIX_TIMESTAMP() - (SELECT variable_value FROM \
     /*M! information_schema */ /*!50706 performance_schema */ .global_status WHERE variable_name = 'Uptime')";

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

impl Backend for MySql {}

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

    fn adapt(_: &mut DatabaseSettings) {}

    fn configure(settings: &DatabaseSettings, _: Option<Duration>) -> Result<MySqlConnectOptions, Error> {
        if settings.reset != Reset::Rollback {
            refuse(settings, "MySQL", &["reset"])?;
        }
        if settings.pooler != Pooler::Direct {
            refuse(settings, "MySQL", &["pooler"])?;
        }
        refuse(settings, "MySQL", &["idle_in_transaction_timeout", "application_name", "listen_url"])?;
        let mut options = MySqlConnectOptions::from_str(&without_unread(&settings.url, is_read))?;
        // sqlx's own lines have the text as it is, and of a slow statement as a warning. Our span has it without its values.
        options = options.disable_statement_logging();
        let asked = match options.get_ssl_mode() {
            MySqlSslMode::Disabled | MySqlSslMode::Preferred => tls::Asked::Optional,
            MySqlSslMode::Required => tls::Asked::Encrypted,
            MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity => tls::Asked::Verified,
        };
        if (asked, tls::settle(settings, asked, &TLS)?) == (tls::Asked::Encrypted, tls::Asked::Verified) {
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

    fn pool_settings(settings: &DatabaseSettings) -> pool_core::Settings {
        settings.pool.clone()
    }

    fn is_volatile(_: &DatabaseSettings) -> bool {
        false
    }

    fn with_password(options: &MySqlConnectOptions, password: &str) -> Option<MySqlConnectOptions> {
        Some(options.clone().password(password))
    }

    fn host(options: &MySqlConnectOptions) -> Option<(&str, u16)> {
        let is_plain = match options.get_ssl_mode() {
            MySqlSslMode::Disabled => true,
            MySqlSslMode::Preferred => !hidden::has_tls(),
            MySqlSslMode::Required | MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity => false,
        };
        (is_plain && options.get_socket().is_none()).then(|| (options.get_host(), options.get_port()))
    }

    fn at(options: &MySqlConnectOptions, address: IpAddr) -> MySqlConnectOptions {
        options.clone().host(&address.to_string())
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

    fn is_swallowed(_: &State) -> bool {
        false
    }

    async fn mixes_statements(
        _: &mut MySqlConnection,
        _: &DatabaseSettings,
        _: &MySqlConnectOptions,
    ) -> Result<bool, sqlx::Error> {
        Ok(false)
    }
}

impl Session for MySql {
    const DRAINS: bool = false;
    const IS_REMOTE: bool = true;

    async fn limits_of(conn: &mut MySqlConnection) -> Result<Option<Server>, sqlx::Error> {
        let limits = "CAST(@@max_connections AS SIGNED), CAST(@@max_user_connections AS SIGNED), CAST(@@wait_timeout AS SIGNED), \
                      CURRENT_USER()";
        let row = ask(conn, limits).await?;
        let (all, user, idle): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        // 0 is no limit. Who else is connected is shown to privileged users only.
        let limits =
            [(all, "max_connections of the server", Whom::Everybody), (user, "max_user_connections", Whom::User)];
        let limits = limits.into_iter().filter(|(n, ..)| *n > 0);
        let limit = |(n, what, whom)| Some(Limit { most: u32::try_from(n).ok()?, what, whom, others: 0 });
        let idle = u64::try_from(idle).ok().map(Duration::from_secs);
        Ok(Some(Server {
            limits: limits.filter_map(limit).collect(),
            instances: 1,
            idle_limit: idle.map(|limit| (limit, "wait_timeout")),
            login: Login { server: row.try_get(4)?, user: row.try_get(3)?, ..Login::default() },
            named: Vec::new(),
        }))
    }

    async fn probe(conn: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        // What sqlx counts, and then what it may not have counted. Outside of a transaction this is silent. Any error is a doubt.
        while hidden::depth::<MySql>(conn) > 0 {
            hidden::rollback::<MySql>(conn).await?;
        }
        conn.execute("ROLLBACK").await.map(drop)
    }

    async fn verify(_: &mut MySqlConnection, _: &State) -> Result<(), sqlx::Error> {
        // `autocommit`, a lock by name, a temporary table, a variable: there is no statement that takes all of them back, and sqlx does
        // not speak the protocol's own reset.
        Err(sqlx::Error::Protocol(
            "not everything that was done in the session was seen: the connection is closed".into(),
        ))
    }

    async fn restore(_: &mut MySqlConnection, _: &State, _: Reset) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn undo(conn: &mut MySqlConnection, session: &State, settings: &DatabaseSettings) -> Result<(), sqlx::Error> {
        let set = match settings.statement_timeout {
            Some(limit) => session.flavour.limit(limit),
            // The server's own.
            None => format!("{} = DEFAULT", session.flavour.key()),
        };
        conn.execute(AssertSqlSafe(format!("SET SESSION {set}"))).await.map(drop)
    }

    fn is_busy(_: &mut MySqlConnection) -> bool {
        // Not to be known.
        false
    }

    async fn interrupt(_: &mut MySqlConnection, session: &State) -> Result<Interrupt, sqlx::Error> {
        // A statement dropped in the middle of a packet breaks the connection for good.
        Ok(Interrupt::End(session.target.clone()))
    }

    fn target(session: &State) -> Option<&Target> {
        Some(&session.target)
    }

    async fn server(conn: &mut MySqlConnection) -> Result<String, sqlx::Error> {
        ask(conn, "1").await?.try_get(1)
    }

    async fn end(conn: &mut MySqlConnection, sessions: &[u64]) -> Result<(), sqlx::Error> {
        for session in sessions {
            // It may have ended by itself.
            let _ = conn.execute(AssertSqlSafe(format!("KILL CONNECTION {session}"))).await;
        }
        Ok(())
    }

    async fn is_there(conn: &mut MySqlConnection, session: u64) -> Result<bool, sqlx::Error> {
        let ask = format!("SELECT 1 FROM information_schema.processlist WHERE id = {session}");
        Ok(conn.fetch_optional(sqlx::raw_sql(AssertSqlSafe(ask))).await?.is_some())
    }
}

impl Transactions for MySql {
    const FORGIVES_CONFLICTS: bool = false;
    const READ_ONLY_LINGERS: bool = false;
    const LIMITS_TRANSACTIONS: bool = false;

    fn begin_statement(_: &DatabaseSettings, options: TxOptions) -> Option<SqlStr> {
        let TxOptions { isolation, read_only, deferrable: _, statement_timeout: _, retries: _ } = options;
        let start = if read_only { "START TRANSACTION READ ONLY" } else { "START TRANSACTION" };
        match isolation {
            None if !read_only => None,
            None => Some(start.into_sql_str()),
            // For the next transaction only.
            Some(level) => {
                Some(AssertSqlSafe(format!("SET TRANSACTION ISOLATION LEVEL {}; {start}", level.sql())).into_sql_str())
            }
        }
    }

    async fn is_committable(conn: &mut MySqlConnection, conflict: bool) -> Result<bool, sqlx::Error> {
        if conflict {
            return Ok(false);
        }
        // Somebody past us may have lost against another transaction, or have ended this one.
        if is_in_transaction(conn).await? { Ok(true) } else { Err(Error::transaction_gone().into()) }
    }

    async fn has_ended(conn: &mut MySqlConnection, failure: Class) -> Result<bool, sqlx::Error> {
        match failure {
            // A deadlock has rolled everything back.
            Class::Conflict => Ok(true),
            // Everything or the statement alone, as `innodb_rollback_on_timeout` says.
            Class::LockTimeout => is_in_transaction(conn).await.map(|is| !is),
            _ => Ok(false),
        }
    }
}

impl Statements for MySql {
    const KEEPS_DEADLINES: bool = false;

    fn keeper(_: &DatabaseSettings, session: &State) -> Keeper {
        match session.flavour {
            Flavour::MySql => Keeper::Both,
            Flavour::MariaDb => Keeper::Server,
        }
    }

    fn deadline(_: &State, _: Option<Duration>) {}

    async fn limit(
        conn: &mut MySqlConnection,
        session: &State,
        statement_timeout: Duration,
    ) -> Result<(), sqlx::Error> {
        let set = format!("SET SESSION {}", session.flavour.limit(statement_timeout));
        conn.execute(AssertSqlSafe(set)).await.map(drop)
    }

    const SINGLE: bool = true;

    fn refusal(sql: &str, alone: bool) -> Option<String> {
        let (words, way_out) = match alone {
            true => sql::mysql::ends_transactions(sql),
            false => statements(sql, Dialect::MySql).find_map(sql::mysql::ends_transactions),
        }?;
        Some(format!("refused in a transaction, which {words} would end, as MySQL and MariaDB have it: {way_out}"))
    }

    fn lingers(sql: &str) -> bool {
        let has =
            |what: &str| sql.as_bytes().windows(what.len()).any(|text| text.eq_ignore_ascii_case(what.as_bytes()));
        // A lock by name, a variable of the session, a temporary table.
        ["get_lock", ":="].into_iter().any(has)
            || sql::mysql::fills_variable(sql)
            || (sql::first_words(sql).any(|word| word.eq_ignore_ascii_case("create")) && has("temporary"))
    }

    fn fetch_optional<'e>(conn: &'e mut MySqlConnection, query: Prepared<MySql>) -> Answer<'e, Option<MySqlRow>> {
        // sqlx goes home with the first row, whatever the server still does: the next user would wait for its end. The end of an
        // answer of one row comes with it.
        let mut answer = conn.fetch_many(query);
        Box::pin(async move {
            let mut first = None;
            while let Some(item) = answer.try_next().await? {
                first = first.or(item.right());
            }
            Ok(first)
        })
    }

    executor_of_sqlx!(without fetch_optional);
}

/// Asks the server for this, and last for what it says of itself.
async fn ask(conn: &mut MySqlConnection, what: &str) -> Result<MySqlRow, sqlx::Error> {
    let ask = |itself| sqlx::raw_sql(AssertSqlSafe(format!("SELECT {what}, CONCAT_WS(' ', {itself})")));
    match conn.fetch_one(ask(format!("{SERVER}, {STARTED}"))).await {
        // What only speaks the protocol may not know its age.
        Err(sqlx::Error::Database(_)) => conn.fetch_one(ask(SERVER.to_owned())).await,
        answer => answer,
    }
}

/// Whether a transaction is open that sqlx counts: it tells by the server's answer whether a savepoint is in one.
async fn is_in_transaction(conn: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    match hidden::begin::<MySql>(conn, None).await {
        Ok(()) => hidden::commit::<MySql>(conn).await.map(|()| true),
        Err(sqlx::Error::BeginFailed) => Ok(false),
        Err(error) => Err(error),
    }
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

/// How sqlx spells the parameters of TLS that name files.
const TLS: tls::Parameters =
    tls::Parameters { authority: &["sslca", "ssl-ca"], own: &["sslcert", "ssl-cert", "sslkey", "ssl-key"] };

/// Whether sqlx reads a parameter of the url. It would drop any other without a word.
fn is_read(parameter: &str) -> bool {
    const READ: [&str; 13] = [
        "sslmode",
        "ssl-mode",
        "sslca",
        "ssl-ca",
        "charset",
        "collation",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "statement-cache-capacity",
        "socket",
        "timezone",
    ];
    READ.contains(&parameter) || parameter == "time-zone"
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

    #[test]
    fn what_ends_a_transaction_past_its_owner_is_refused_in_it() {
        fn check(sql: &str, expected: Option<&str>) {
            let refusal = MySql::refusal(sql, false);
            assert_eq!(refusal.is_some(), expected.is_some(), "{sql}: {refusal:?}");
            assert!(refusal.unwrap_or_default().contains(expected.unwrap_or_default()), "{sql}");
        }
        check("create table t (n int)", Some("CREATE TABLE would end"));
        check("/* why */ Truncate t", Some("after it"));
        check("lock tables t write", Some("LOCK TABLES"));
        check("grant select on t to u", Some("GRANT"));
        check("analyze local table t", Some("ANALYZE"));
        check("analyze format=json select 1", None);
        check("set session autocommit = 1", Some("SET SESSION"));
        check("set @@autocommit=1", Some("SET"));
        check("set @@session.autocommit=1", Some("SET"));
        check("set `autocommit` = 1", Some("SET"));
        check("set @n = 1, @m = 'a', autocommit = 1", Some("SET"));
        check("set @n = 1", None);
        check("set @autocommit = 1", None);
        check("set @n = 'autocommit'", None);
        check("commit", Some("tx.commit()"));
        check("start transaction", Some("begin_nested"));
        check("BEGIN", Some("tx.commit()"));
        check("begin not atomic select 1; end", None);
        check("rollback", Some("tx.rollback()"));
        check("rollback work to savepoint a", None);
        check("rollback /* all of it */ work to savepoint a", None);
        check("rollback /* to */", Some("tx.rollback()"));
        check("create temporary table t (n int)", None);
        check("create or replace temporary table t (n int)", None);
        check("create /* mine */ temporary table t (n int)", None);
        check("drop temporary table t", None);
        check("drop /*!40005 temporary */ table t", None);
        check("drop prepare p", None);
        check("check table t", Some("CHECK TABLE"));
        check("cache index t in c", Some("CACHE INDEX"));
        check("change master to master_port = 1", Some("CHANGE MASTER"));
        check("load data infile 'f' into table t", None);
        check("insert into t values (1)", None);
        check("insert into t values (1); drop table t", Some("DROP TABLE"));
        check(r#"insert into t values ('; drop table t', "\"; drop table t", 'it''s; drop table t')"#, None);
        check(r"insert into t values ('it\'s'); commit", Some("COMMIT"));
        check(r"insert into t values ('it\'s; commit')", None);
        check("insert into `a;commit` values (1)", None);
        check("insert into t values (1); -- then; drop nothing\n insert into t values (2)", None);
        check("insert into t values (1); # then; drop nothing\n insert into t values (2)", None);
        check("-- don't wait\ninsert into t values (1); commit", Some("COMMIT"));
        check("insert into t values (1) /* don't wait */; commit", Some("COMMIT"));
        check("select 5--1; commit", Some("COMMIT"));
        check("select 1 /* ; commit */", None);
        check("/*!50000 create table t (n int) */", Some("CREATE TABLE"));
        check("/*!80000 create*/ table t (n int)", Some("CREATE TABLE"));
        check("/*M! commit */", Some("COMMIT"));
        check("select 1; /*M!100100commit */", Some("COMMIT"));
        check("select /*!50000 2 */* 3; commit", Some("COMMIT"));
        check("select /*!50000 high_priority */ n from t", None);
        check("select n as a$$ from t; commit; select n as $$ from t", Some("COMMIT"));
        check("", None);
        check(";; ;", None);
        assert_eq!(
            MySql::refusal("insert into t values (1); drop table t", true),
            None,
            "the server takes one statement"
        );
    }

    #[test]
    fn what_a_harmless_statement_leaves_in_the_session_is_known_by_its_words() {
        fn check(sql: &str, expected: bool) {
            assert_eq!(MySql::lingers(sql), expected, "{sql}");
        }
        check("CREATE TEMPORARY TABLE t (n int)", true);
        check("select n from files where is_temporary = 0", false);
        check("select Get_Lock('a', 1)", true);
        check("select @n := n from t", true);
        for into in ["INTO @n", "into  @n", "into\n@n", "into\t@n", "into@n", "into/**/@n", "into -- why\n @'n'"] {
            check(&format!("select n {into} from t"), true);
        }
        check("select 'ä' as é into @n", true);
        check("insert into users values ('a@b.example')", false);
        check("insert into t select @@max_statement_time", false);
        check("select n from pinto @", false);
        check("select @@max_statement_time, 'a@b.example' from t where n = ?", false);
    }
}
