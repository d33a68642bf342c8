//! SQLite's own ways: memory, files, settings, migrations, and errors that need no server.
#![allow(clippy::unwrap_used)]

mod common;

use common::File;
use pool_sqlx::{DatabaseSettings, Error, ErrorKind, PgPool, Reset, SqliteConn, SqlitePool, Verdict, pooled};
use sqlx::{
    ConnectOptions, Executor,
    migrate::{Migration, MigrationType, Migrator},
};
use std::time::{Duration, Instant};

fn memory() -> DatabaseSettings {
    DatabaseSettings::new("sqlite::memory:").unwrap()
}

#[tokio::test]
async fn a_memory_database_outlives_its_connections() {
    let pool = SqlitePool::connect(memory()).await.unwrap();
    sqlx::query("create table t (n integer)").execute(&pool).await.unwrap();
    drop(pool.acquire().await.unwrap().detach());
    pool.invalidate();
    let n: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&pool).await.unwrap();
    assert_eq!((n, pool.status().totals.opened), (0, 2));
}

#[tokio::test]
async fn a_memory_database_has_one_connection_unless_asked_otherwise() {
    let size = |settings| SqlitePool::connect_lazy(settings).unwrap().status();
    let plain = size(memory());
    assert_eq!((plain.pool_size, plain.max_overflow), (1, 0.into()));
    assert_eq!(size(memory().with_pool_size(3u32)).pool_size, 3);
}

#[tokio::test]
async fn two_memory_databases_know_nothing_of_each_other() {
    let one = SqlitePool::connect(memory()).await.unwrap();
    let two = SqlitePool::connect(memory()).await.unwrap();
    sqlx::query("create table t (n integer)").execute(&one).await.unwrap();
    sqlx::query("select * from t").execute(&two).await.unwrap_err();
}

#[tokio::test]
async fn a_file_is_made_and_lets_readers_read_beside_a_writer() {
    let file = File::new();
    let pool = SqlitePool::connect(file.settings()).await.unwrap();
    let mode: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&pool).await.unwrap();
    let keys: bool = sqlx::query_scalar("pragma foreign_keys").fetch_one(&pool).await.unwrap();
    assert_eq!((&*mode, keys), ("wal", true));
    sqlx::query("create table t (n integer)").execute(&pool).await.unwrap();
    let mut writer = pool.begin().await.unwrap();
    sqlx::query("insert into t values (1)").execute(&mut writer).await.unwrap();
    let n: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&pool).await.unwrap();
    assert_eq!(n, 0);
    writer.commit().await.unwrap();
}

#[tokio::test]
async fn a_file_that_must_exist_is_not_made() {
    let settings = DatabaseSettings::new("sqlite:///nowhere/at/all.db?mode=rw").unwrap();
    let error = SqlitePool::connect(settings).await.unwrap_err();
    assert_eq!((error.kind(), error.verdict()), (ErrorKind::Connect, Some(Verdict::Connecting)));
    assert!(error.retry_after().is_none(), "no retry makes the file: {error}");
    let expected = "unable to open database file /nowhere/at/all.db: there is no folder /nowhere/at";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn what_sqlite_cannot_honour_is_refused_all_at_once_and_by_name() {
    let settings = memory().with_application_name("app").with_idle_in_transaction_timeout(Duration::from_secs(1));
    let error = SqlitePool::connect_lazy(settings).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let message = error.to_string();
    assert!(message.contains("application_name") && message.contains("idle_in_transaction_timeout"), "{message}");
}

#[test]
fn a_url_of_another_database_is_refused_without_its_password() {
    let settings = DatabaseSettings::new("postgres://app:hunter2@db/app").unwrap();
    let error = SqlitePool::connect_lazy(settings).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(PgPool::connect_lazy(memory()).is_err());
}

#[test]
fn debug_of_a_pool_shows_no_password() {
    let settings = DatabaseSettings::new("postgres://app:hunter2@db/app").unwrap().with_name("primary");
    let pool = PgPool::connect_lazy(settings).unwrap();
    let shown = format!("{pool:?}");
    assert!(shown.contains("primary") && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn a_full_pool_says_why_even_through_sqlx_and_anyhow() {
    let settings = memory().with_pool_timeout(Duration::from_millis(500)).with_name("tracks");
    let pool = SqlitePool::connect(settings).await.unwrap();
    let _held = pool.acquire().await.unwrap();
    let error = sqlx::query("select 1").execute(&pool).await.unwrap_err();
    let error = anyhow::Error::from(error).context("cannot list the tracks");
    let ours = Error::find(error.as_ref()).expect("ours is in there");
    assert_eq!((ours.kind(), ours.status(), ours.verdict()), (ErrorKind::PoolTimeout, 503, Some(Verdict::Exhausted)));
    let line = ours.to_string();
    for part in ["tracks", "limit of size 1 overflow 0 reached", "sqlite.rs"] {
        assert!(line.contains(part), "{part:?} is missing in: {line}");
    }
}

#[tokio::test]
async fn try_acquire_takes_what_is_there_and_waits_for_nothing() {
    let pool = SqlitePool::connect(memory()).await.unwrap();
    let conn = pool.try_acquire().unwrap();
    assert_eq!(pool.try_acquire().unwrap_err().kind(), ErrorKind::Refused);
    drop(conn);
    assert!(pool.close().await.still_held.is_empty());
    assert_eq!(pool.try_acquire().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn ready_says_whether_a_request_would_get_a_connection() {
    let pool = SqlitePool::connect_lazy(memory()).unwrap();
    pool.ready().await.unwrap();
    assert_eq!((pool.status().in_use, pool.status().totals.resets), (0, 0));
    let _ = pool.close().await;
    assert_eq!(pool.ready().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn migrations_run_once_without_a_statement_timeout() {
    let slow = "create table t (n integer);
        insert into t with recursive c(n) as (select 1 union all select n + 1 from c limit 1000000) select n from c;";
    let migration =
        Migration::new(1, "slow".into(), MigrationType::Simple, sqlx::SqlSafeStr::into_sql_str(slow), false);
    let migrator = Migrator::with_migrations(vec![migration]);
    let file = File::new();
    for settings in [memory(), file.settings()] {
        let pool = SqlitePool::connect_lazy(settings.with_statement_timeout(Duration::from_millis(200))).unwrap();
        pool.migrate(&migrator).await.unwrap();
        pool.migrate(&migrator).await.unwrap();
        let n: i64 = sqlx::query_scalar("select n from t order by rowid desc limit 1").fetch_one(&pool).await.unwrap();
        assert_eq!(n, 1_000_000);
    }
}

/// Checked against `.sqlx`, as `cargo sqlx prepare` writes it, since a build has no database.
#[tokio::test]
async fn queries_that_sqlx_has_checked_run_on_whatever_is_lent() {
    struct Track {
        id: i64,
        title: String,
    }
    let pool = SqlitePool::connect(memory()).await.unwrap();
    const ID: i64 = 1;
    let row = sqlx::query!("select id, title from (select 1 as id, 'So What' as title) where id = ?", ID);
    assert_eq!(row.fetch_one(&pool).await.unwrap().title, "So What");
    let mut conn = pool.acquire().await.unwrap();
    let track = sqlx::query_as!(Track, "select id, title from (select 1 as id, 'So What' as title) where id = ?", ID);
    let track = track.fetch_one(&mut conn).await.unwrap();
    assert_eq!((track.id, &*track.title), (1, "So What"));
    let mut tx = conn.begin().await.unwrap();
    let none = sqlx::query!("select id, title from (select 1 as id, 'So What' as title) where id = ?", ID + 1);
    assert!(none.fetch_optional(&mut tx).await.unwrap().is_none());
    tx.commit().await.unwrap();
}

#[sqlx::test(migrations = false)]
async fn a_database_of_sqlx_s_own_test_is_lent_from_by_our_pool(theirs: sqlx::SqlitePool) -> Result<(), Error> {
    sqlx::query("create table t (n integer)").execute(&theirs).await?;
    let pool = SqlitePool::connect(DatabaseSettings::new(theirs.connect_options().to_url_lossy())?).await?;
    sqlx::query("insert into t values (7)").execute(&pool).await?;
    assert_eq!(sqlx::query_scalar::<_, i64>("select n from t").fetch_one(&theirs).await?, 7);
    assert!(pool.close().await.still_held.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_a_session_holds_is_seen_by_the_next_user_or_costs_the_connection_as_reset_says() {
    for (left_behind, look) in [
        ("pragma foreign_keys = off", "select foreign_keys = 0 from pragma_foreign_keys"),
        ("pragma ignore_check_constraints(1)", "select ignore_check_constraints from pragma_ignore_check_constraints"),
        ("pragma case_sensitive_like = on", "select 'a' not like 'A'"),
        ("pragma short_column_names = off", "select short_column_names = 0 from pragma_short_column_names"),
        ("create temp table mine (n)", "select count(*) from sqlite_temp_schema"),
        ("attach ':memory:' as other", "select count(*) from pragma_database_list where name = 'other'"),
        // Nothing at all.
        ("select 1", "select 0"),
    ] {
        for reset in [Reset::Rollback, Reset::Session, Reset::Full] {
            let file = File::new();
            let settings = file.settings().with_reset(reset).with_pool_size(1u32).with_max_overflow(0u32);
            let pool = SqlitePool::connect(settings).await.unwrap();
            pool.acquire().await.unwrap().execute(left_behind).await.unwrap();
            let seen: i64 = sqlx::query_scalar(look).fetch_one(&pool).await.unwrap();
            let expected = match reset {
                _ if left_behind == "select 1" => (0, 1),
                Reset::Rollback => (1, 1),
                Reset::Session | Reset::Full => (0, 2),
            };
            assert_eq!((seen, pool.status().totals.opened), expected, "{left_behind}, {reset:?}");
        }
    }
}

#[tokio::test]
async fn a_rollback_says_when_the_changes_had_been_made_by_hand() {
    let file = File::new();
    let pool = SqlitePool::connect(file.settings()).await.unwrap();
    sqlx::query("create table t (n integer)").execute(&pool).await.unwrap();
    for fails in [false, true] {
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("insert into t values (1)").execute(&mut tx).await.unwrap();
        tx.raw().execute("commit").await.unwrap();
        if fails {
            sqlx::query("select nothing").execute(&mut tx).await.unwrap_err();
        }
        tx.rollback().await.map(|()| format!("fails: {fails}")).unwrap_err();
    }
    let n: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&pool).await.unwrap();
    assert_eq!(n, 2);
}

#[tokio::test]
async fn a_limit_that_nobody_would_keep_is_refused() {
    #[pooled(statement_timeout = "100ms")]
    async fn unwatched(conn: &mut sqlx::SqliteConnection) -> Result<(), Error> {
        sqlx::query("select 1").execute(conn).await?;
        Ok(())
    }
    #[pooled(statement_timeout = "100ms")]
    async fn watched(conn: &mut SqliteConn) -> Result<(), Error> {
        sqlx::query("with recursive c(n) as (select 1 union all select n + 1 from c) select count(*) from c")
            .execute(conn)
            .await?;
        Ok(())
    }
    let pool = SqlitePool::connect(memory()).await.unwrap();
    let error = unwatched(pool.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("&mut SqliteConn"), "{error}");
    assert_eq!(watched(pool).await.unwrap_err().kind(), ErrorKind::StatementTimeout);
}

#[tokio::test]
async fn what_follows_a_statement_that_ended_its_transaction_is_not_made_for_good() {
    let file = File::new();
    let settings = file.settings().with_statement_timeout(Duration::from_millis(300));
    let pool = SqlitePool::connect(settings).await.unwrap();
    sqlx::query("create table t (n integer)").execute(&pool).await.unwrap();
    let endless = "insert into t with recursive c(n) as (select 1 union all select n + 1 from c) select n from c";
    for nested in [false, true] {
        let mut conn = pool.acquire().await.unwrap();
        let mut tx = conn.begin().await.unwrap();
        sqlx::query("insert into t values (1)").execute(&mut tx).await.unwrap();
        // A statement that fails and ends nothing.
        sqlx::query("insert into nothing values (1)").execute(&mut tx).await.unwrap_err();
        sqlx::query("insert into t values (2)").execute(&mut tx).await.unwrap();
        if nested {
            let mut inner = tx.begin().await.unwrap();
            sqlx::query(endless).execute(&mut inner).await.unwrap_err();
            sqlx::query("insert into t values (3)").execute(&mut inner).await.unwrap_err();
            inner.rollback().await.unwrap();
        } else {
            let error = Error::from(sqlx::query(endless).execute(&mut tx).await.unwrap_err());
            assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error}");
        }
        let refused = Error::from(sqlx::query("insert into t values (4)").execute(&mut tx).await.unwrap_err());
        assert!(refused.to_string().contains("the transaction is over"), "{refused}");
        tx.commit().await.unwrap_err();
        drop(conn);
        let n: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&pool).await.unwrap();
        assert_eq!(n, 0, "nested: {nested}");
    }
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("insert into nothing values (1)").execute(&mut tx).await.unwrap_err();
    sqlx::query("insert into t values (5)").execute(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let n: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&pool).await.unwrap();
    assert_eq!(n, 1);
}

#[tokio::test]
async fn a_statement_that_was_dropped_is_stopped_before_the_next_one_of_the_same_loan() {
    const ENDLESS: &str = "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n";
    let pool = SqlitePool::connect(memory().with_statement_timeout(Duration::from_secs(60))).await.unwrap();
    sqlx::query("create table t (n integer)").execute(&pool).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let asked = Instant::now();
    tokio::time::timeout(Duration::from_millis(50), conn.execute(ENDLESS)).await.unwrap_err();
    assert_eq!(sqlx::query_scalar::<_, i64>("select 42").fetch_one(&mut conn).await.unwrap(), 42);
    // An `insert` that is stopped ends its transaction.
    let mut tx = conn.begin().await.unwrap();
    tx.execute("insert into t values (1)").await.unwrap();
    let endless = "insert into t with recursive n (i) as (select 1 union all select i + 1 from n) select i from n limit 1 offset 100000000000";
    tokio::time::timeout(Duration::from_millis(50), tx.execute(endless)).await.unwrap_err();
    let refused = tx.execute("insert into t values (2)").await.unwrap_err();
    assert!(refused.to_string().contains("the transaction is over"), "{refused}");
    tx.commit().await.unwrap_err();
    assert_eq!(sqlx::query_scalar::<_, i64>("select count(*) from t").fetch_one(&mut conn).await.unwrap(), 0);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn what_follows_a_dropped_statement_of_sqlx_s_own_connection_is_not_committed_by_itself() {
    let file = File::new();
    let pool = SqlitePool::connect(file.settings().with_pool_size(1u32).with_max_overflow(0u32)).await.unwrap();
    sqlx::query("create table t (n integer)").execute(&pool).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    let endless = "insert into t with recursive c(n) as (select 1 union all select n + 1 from c) select n from c";
    tokio::time::timeout(Duration::from_millis(50), tx.raw().execute(endless)).await.unwrap_err();
    tokio::time::timeout(Duration::from_millis(50), tx.execute("insert into t values (0)")).await.unwrap_err();
    drop(tx);
    let n: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&pool).await.unwrap();
    assert_eq!(n, 0);
}
