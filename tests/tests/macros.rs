//! The options of `#[pooled]` on a real PostgreSQL: what the server is told, what that costs, and what the next user finds.
#![allow(clippy::unwrap_used)]

use pool_sqlx::{DatabaseSettings, Error, ErrorKind, PgConn, PgPool, PgTx, Pooler, TxOptions, pooled};
use sqlx::PgConnection;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use tests::{Postgres, Proxy};
use tokio::sync::Barrier;

fn settings(url: impl AsRef<str>) -> DatabaseSettings {
    let settings = DatabaseSettings::new(url).unwrap().with_pool_size(1u32).with_max_overflow(0u32);
    // A busy machine may take its time to clean, and a test of a connection would be a round trip.
    settings.with_reset_timeout(Duration::from_secs(8)).with_pre_ping_after(Duration::from_secs(60))
}

/// What the server says about one of its settings.
const SHOW: &str = "select current_setting($1)";

async fn show(pool: &PgPool, setting: &str) -> String {
    sqlx::query_scalar(SHOW).bind(setting).fetch_one(pool).await.unwrap()
}

#[pooled(statement_timeout = "500ms")]
async fn brief(conn: &mut PgConn, sql: &'static str) -> Result<(), Error> {
    sqlx::query(sql).execute(conn).await?;
    Ok(())
}

#[tokio::test]
async fn a_shorter_limit_costs_no_round_trip_and_ends_the_statement_on_the_server() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let pool = PgPool::connect(settings(proxy.url(&database.url()))).await.unwrap();
    brief(pool.clone(), "select 1").await.unwrap();
    let before = proxy.traffic().round_trips;
    brief(pool.clone(), "select 1").await.unwrap();
    assert_eq!(proxy.traffic().round_trips - before, 1);

    let asked = Instant::now();
    let error = brief(pool.clone(), "select pg_sleep(60)").await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::StatementTimeout, 503), "{error}");
    assert!(error.to_string().contains("500ms") && asked.elapsed() < Duration::from_secs(7), "{error}");
    // The same connection, so it was cancelled and cleaned; and the limit was that of the function only.
    sqlx::query("select pg_sleep(0.8)").execute(&pool).await.unwrap();
    let asleep = "select count(*) from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active' and pid <> pg_backend_pid()
        and datname = current_database()";
    assert_eq!((database.psql(asleep).unwrap().as_str(), pool.status().totals.opened), ("0", 1));
}

#[pooled(statement_timeout = "300ms")]
async fn with_a_fallback(conn: &mut PgConn) -> Result<i32, Error> {
    let slow = sqlx::query("select pg_sleep(60)").execute(&mut *conn).await.unwrap_err();
    assert_eq!(Error::from(slow).kind(), ErrorKind::StatementTimeout);
    Ok(sqlx::query_scalar("select 42").fetch_one(conn).await?)
}

#[tokio::test]
async fn what_follows_a_statement_that_ran_out_of_its_function_s_time_is_answered() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    assert_eq!(with_a_fallback(pool.clone()).await.unwrap(), 42);
    assert_eq!(pool.status().totals.opened, 1);
}

#[pooled(statement_timeout = "20s")]
async fn long(conn: &mut PgConn) -> Result<String, Error> {
    sqlx::query("select pg_sleep(1.2)").execute(&mut *conn).await?;
    Ok(sqlx::query_scalar(SHOW).bind("statement_timeout").fetch_one(conn).await?)
}

#[tokio::test]
async fn a_longer_limit_than_the_pool_s_is_told_to_the_server_and_taken_back() {
    let database = Postgres::shared().database().unwrap();
    let limits = settings(database.url()).with_statement_timeout(Duration::from_secs(1));
    let pool = PgPool::connect(limits).await.unwrap();
    assert_eq!(long(pool.clone()).await.unwrap(), "20s");
    assert_eq!((show(&pool, "statement_timeout").await.as_str(), pool.status().totals.opened), ("1s", 1));
    let error = Error::from(sqlx::query("select pg_sleep(60)").execute(&pool).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::StatementTimeout);
}

/// What becomes of a function's own limit within a transaction, and after one.
#[pooled(statement_timeout = "20s")]
async fn around(conn: &mut PgConn, kind: &'static str) -> Result<String, Error> {
    let slow = "select pg_sleep(1.2)";
    match kind {
        "within" => {
            let mut tx = conn.begin().await?;
            sqlx::query(slow).execute(&mut tx).await?;
            let shown = sqlx::query_scalar(SHOW).bind("statement_timeout").fetch_one(&mut tx).await?;
            tx.commit().await?;
            return Ok(shown);
        }
        "after one of another" => {
            let options = TxOptions::new().statement_timeout(Duration::from_secs(2));
            conn.begin_with(options).await?.commit().await?;
        }
        _ => drop(conn.begin().await?),
    }
    let mut tx = conn.begin().await?;
    sqlx::query(slow).execute(&mut tx).await?;
    tx.commit().await?;
    sqlx::query(slow).execute(&mut *conn).await?;
    Ok(sqlx::query_scalar(SHOW).bind("statement_timeout").fetch_one(conn).await?)
}

#[tokio::test]
async fn a_function_s_limit_holds_within_a_transaction_and_after_it() {
    let database = Postgres::shared().database().unwrap();
    for (pooler, kinds) in [
        (Pooler::Direct, &["within", "after one of another", "after one that was dropped"][..]),
        // Between transactions the server knows of none, so what is shown after one is nothing.
        (Pooler::Prepared, &["within"]),
    ] {
        let limits = settings(database.url()).with_statement_timeout(Duration::from_secs(1)).with_pooler(pooler);
        let pool = PgPool::connect(limits).await.unwrap();
        for kind in kinds {
            assert_eq!(around(pool.clone(), kind).await.unwrap(), "20s", "{pooler:?}, {kind}");
            if pooler == Pooler::Direct {
                assert_eq!(show(&pool, "statement_timeout").await, "1s", "{kind}");
            }
        }
        assert_eq!(pool.status().totals.opened, 1);
    }
}

#[pooled(statement_timeout = "7s")]
async fn unseen(conn: &mut PgConnection) -> Result<String, Error> {
    Ok(sqlx::query_scalar(SHOW).bind("statement_timeout").fetch_one(conn).await?)
}

#[tokio::test]
async fn sqlx_s_own_connection_has_the_limit_from_the_server() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    assert_eq!(unseen(pool.clone()).await.unwrap(), "7s");
    assert_eq!((show(&pool, "statement_timeout").await.as_str(), pool.status().totals.opened), ("10s", 1));
}

#[pooled(statement_timeout = "7s", isolation = "repeatable read", read_only)]
async fn report(tx: &mut PgTx) -> Result<[String; 3], Error> {
    let mut found = Vec::new();
    for setting in ["statement_timeout", "transaction_isolation", "transaction_read_only"] {
        found.push(sqlx::query_scalar(SHOW).bind(setting).fetch_one(&mut *tx).await?);
    }
    Ok(found.try_into().unwrap())
}

#[pooled]
async fn plain(tx: &mut PgTx) -> Result<[String; 3], Error> {
    let mut found = Vec::new();
    for setting in ["statement_timeout", "transaction_isolation", "transaction_read_only"] {
        found.push(sqlx::query_scalar(SHOW).bind(setting).fetch_one(&mut *tx).await?);
    }
    Ok(found.try_into().unwrap())
}

#[tokio::test]
async fn a_transaction_s_options_travel_with_its_begin_and_end_with_it() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let pool = PgPool::connect(settings(proxy.url(&database.url()))).await.unwrap();
    let usual = ["10s", "read committed", "off"];
    assert_eq!(plain(pool.clone()).await.unwrap(), usual);
    let before = proxy.traffic().round_trips;
    assert_eq!(report(pool.clone()).await.unwrap(), ["7s", "repeatable read", "on"]);
    assert_eq!(proxy.traffic().round_trips - before, 5, "begin, three statements, commit: {}", proxy.take_messages());
    assert_eq!(plain(pool.clone()).await.unwrap(), usual);
    assert_eq!(pool.status().totals.resets, 0);
}

#[pooled(statement_timeout = "1s")]
async fn slow(tx: &mut PgTx) -> Result<(), Error> {
    sqlx::query("select pg_sleep(60)").execute(tx).await?;
    Ok(())
}

#[tokio::test]
async fn a_transaction_s_limit_is_kept_by_the_server() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let error = slow(pool.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error}");
    let code = error.sqlx().and_then(|error| error.as_database_error()?.code().map(String::from));
    assert_eq!(code.as_deref(), Some("57014"));
}

/// An application's error, as `thiserror` would write it: transparent, so that what it is made of does not show itself.
#[derive(Debug)]
struct AppError(sqlx::Error);

impl std::fmt::Display for AppError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for AppError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<sqlx::Error> for AppError {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

/// Moves an amount, having read both accounts: two of these at once cannot both be right.
#[pooled(isolation = "serializable", retry = 3)]
async fn transfer(tx: &mut PgTx, amount: i64, met: &Barrier, attempts: &AtomicU32) -> Result<(), AppError> {
    let sum: i64 = sqlx::query_scalar("select sum(n)::bigint from t").fetch_one(&mut *tx).await?;
    if attempts.fetch_add(1, Ordering::Relaxed) < 2 {
        met.wait().await;
    }
    sqlx::query("insert into t values ($1)").bind(sum + amount).execute(tx).await?;
    Ok(())
}

#[tokio::test]
async fn who_loses_against_another_transaction_runs_again_and_wins() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n bigint); insert into t values (1)").unwrap();
    let pool = PgPool::connect(settings(database.url()).with_pool_size(2u32)).await.unwrap();
    let (met, attempts) = (Barrier::new(2), AtomicU32::new(0));
    let both = async || {
        let [one, two] = [10, 20].map(|n| transfer(pool.clone(), n, &met, &attempts));
        tokio::join!(one, two)
    };
    let (one, two) = both().await;
    one.unwrap();
    two.unwrap();
    assert!(attempts.load(Ordering::Relaxed) >= 3, "one of two lost");
    // 1 and 11 and 12 + 20, or 1 and 21 and 22 + 10: who came second saw what the first had done.
    let sum = database.psql("select sum(n) from t").unwrap();
    assert!(["44", "54"].contains(&&*sum), "{sum}");
    assert_eq!(pool.status().in_use, 0);
}

#[pooled(retry = 2)]
async fn hopeless(tx: &mut PgTx, sqlstate: &'static str, attempts: &AtomicU32) -> Result<(), Error> {
    attempts.fetch_add(1, Ordering::Relaxed);
    let raise = format!("do $$ begin raise sqlstate '{sqlstate}'; end $$");
    sqlx::query(sqlx::AssertSqlSafe(raise)).execute(tx).await?;
    Ok(())
}

#[tokio::test]
async fn a_body_runs_again_for_conflicts_only_and_not_for_ever() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    for (sqlstate, runs, kind) in
        [("40001", 3, ErrorKind::Conflict), ("40P01", 3, ErrorKind::Conflict), ("23505", 1, ErrorKind::Database)]
    {
        let attempts = AtomicU32::new(0);
        let error = hopeless(pool.clone(), sqlstate, &attempts).await.unwrap_err();
        assert_eq!((attempts.into_inner(), error.kind()), (runs, kind), "{sqlstate}");
    }
    assert_eq!((pool.status().in_use, pool.status().totals.opened), (0, 1));
}

/// The conflict shows at the commit, when the body has answered already.
#[pooled(retry = 1)]
async fn late(tx: &mut PgTx, attempts: &AtomicU32) -> Result<&'static str, Error> {
    let attempt = attempts.fetch_add(1, Ordering::Relaxed);
    sqlx::query("insert into t values ($1)").bind(if attempt == 0 { "conflict" } else { "fine" }).execute(tx).await?;
    Ok("answered")
}

#[tokio::test]
async fn a_commit_that_loses_runs_the_body_again() {
    let database = Postgres::shared().database().unwrap();
    database
        .psql(
            "create table t (word text);
            create function refuse() returns trigger language plpgsql as $$ begin raise sqlstate '40001'; end $$;
            create constraint trigger at_commit after insert on t deferrable initially deferred
                for each row when (new.word = 'conflict') execute function refuse()",
        )
        .unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let attempts = AtomicU32::new(0);
    assert_eq!(late(pool.clone(), &attempts).await.unwrap(), "answered");
    assert_eq!((attempts.into_inner(), database.psql("select word from t").unwrap().as_str()), (2, "fine"));
}
