//! What a connection leaves behind, and what it costs to clean it: on SQLite, where nothing but this crate can go wrong.
#![allow(clippy::unwrap_used)]

mod common;

use common::{ENDLESS, File, LONG};
use futures_util::{FutureExt, StreamExt};
use pool_sqlx::{Error, ErrorKind, SqliteConn, SqlitePool, SqliteSession, SqliteTx, Watchable};
use sqlx::{Connection, Executor};
use std::time::Duration;

/// How many cleanings an action costs. The next user must find no transaction in any case.
async fn cleanings(pool: &SqlitePool, action: impl AsyncFnOnce(&mut SqliteConn)) -> u64 {
    let mut conn = pool.acquire().await.unwrap();
    conn.execute("create table if not exists t (n integer primary key)").await.unwrap();
    let before = pool.status().totals.resets;
    action(&mut conn).await;
    drop(conn);
    // There is one connection: it comes when it is clean.
    let mut next = pool.acquire().await.unwrap();
    let cleanings = pool.status().totals.resets - before;
    next.raw().begin_with("BEGIN").await.expect("the last user's transaction is over").rollback().await.unwrap();
    assert_eq!(pool.status().totals.opened, 1, "the connection was kept");
    cleanings
}

async fn count(session: &mut SqliteSession) -> i64 {
    sqlx::query("select 1").execute(&mut *session).await.unwrap();
    sqlx::query_scalar("select count(*) from t").fetch_one(session).await.unwrap()
}

async fn generic(executor: impl sqlx::SqliteExecutor<'_>) -> i64 {
    sqlx::query_scalar("select count(*) from t").fetch_one(executor).await.unwrap()
}

async fn of_sqlx(conn: &mut sqlx::SqliteConnection) -> i64 {
    sqlx::query_scalar("select count(*) from t").fetch_one(&mut *conn).await.unwrap()
}

macro_rules! costs {
    ($($name:ident: $n:literal = |$conn:ident| $action:block)*) => {$(
        #[tokio::test]
        async fn $name() {
            let file = File::new();
            assert_eq!(cleanings(&file.one(), async |$conn: &mut SqliteConn| { $action; }).await, $n);
        }
    )*};
}

costs! {
    nothing_done_costs_nothing: 0 = |_conn| {}
    a_watched_query_costs_nothing: 0 = |conn| {
        let n: i64 = sqlx::query_scalar("select ?").bind(1).fetch_one(conn).await.unwrap();
        assert_eq!(n, 1);
    }
    a_watched_string_costs_nothing: 0 = |conn| { conn.execute("insert into t values (1)").await.unwrap() }
    a_stream_read_to_its_end_costs_nothing: 0 = |conn| {
        let rows: Vec<_> = sqlx::query("select 1 union select 2").fetch(conn).collect().await;
        assert_eq!(rows.len(), 2);
    }
    a_failed_statement_costs_nothing: 0 = |conn| { conn.execute("select * from nowhere").await.unwrap_err() }
    a_missing_row_costs_nothing: 0 = |conn| {
        sqlx::query("select 1 where false").fetch_one(conn).await.unwrap_err()
    }
    a_statement_on_the_dereferenced_guard_costs_nothing: 0 = |conn| {
        sqlx::query("insert into t values (1)").execute(&mut *conn).await.unwrap();
        sqlx::query("insert into t values (2)").execute(&mut **conn).await.unwrap();
    }
    a_statement_on_a_reference_to_a_borrowed_guard_costs_nothing: 0 = |conn| {
        let mut conn = conn;
        sqlx::query("insert into t values (1)").execute(&mut conn).await.unwrap();
    }
    statements_on_the_dereferenced_transaction_cost_nothing: 0 = |conn| {
        let mut tx = conn.begin().await.unwrap();
        sqlx::query("insert into t values (1)").execute(&mut *tx).await.unwrap();
        let mut inner = tx.begin().await.unwrap();
        sqlx::query("insert into t values (2)").execute(&mut *inner).await.unwrap();
        inner.commit().await.unwrap();
        let borrowed = &mut &mut tx;
        sqlx::query("insert into t values (3)").execute(borrowed).await.unwrap();
        tx.commit().await.unwrap();
    }
    helpers_for_a_session_cost_nothing: 0 = |conn| {
        count(conn).await;
        let mut tx = conn.begin().await.unwrap();
        count(&mut tx).await;
        count(&mut tx.begin().await.unwrap()).await;
        generic(&mut *tx).await;
        tx.commit().await.unwrap();
        generic(&mut *conn).await;
    }
    a_helper_for_sqlx_own_connection_costs_one: 1 = |conn| { of_sqlx(conn).await }
    a_prepared_statement_costs_nothing: 0 = |conn| { (&mut *conn).prepare(sqlx::SqlSafeStr::into_sql_str("select 1")).await.unwrap() }
    a_committed_transaction_costs_nothing: 0 = |conn| {
        let mut tx = conn.begin().await.unwrap();
        sqlx::query("insert into t values (1)").execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    a_transaction_rolled_back_costs_nothing: 0 = |conn| {
        let mut tx = conn.begin().await.unwrap();
        let inner = tx.begin().await.unwrap();
        inner.rollback().await.unwrap();
        tx.rollback().await.unwrap();
    }
    a_dropped_transaction_costs_one: 1 = |conn| { drop(conn.begin().await.unwrap()) }
    a_begin_by_hand_costs_one: 1 = |conn| { conn.execute("BEGIN").await.unwrap() }
    two_statements_in_one_string_cost_one: 1 = |conn| { conn.execute("select 1; begin").await.unwrap() }
    a_begin_that_is_a_query_costs_one: 1 = |conn| { sqlx::query("begin").execute(conn).await.unwrap() }
    sqlx_own_connection_costs_one: 1 = |conn| { conn.raw() }
    a_begin_behind_our_back_costs_one: 1 = |conn| { conn.raw().execute("BEGIN").await.unwrap() }
    a_transaction_of_sqlx_that_is_forgotten_costs_one: 1 = |conn| {
        std::mem::forget(sqlx::Acquire::begin(conn).await.unwrap())
    }
    a_stream_left_half_read_costs_one: 1 = |conn| {
        let mut rows = sqlx::query("select 1 union select 2").fetch(conn);
        rows.next().await.unwrap().unwrap();
    }
    a_query_never_polled_costs_nothing: 0 = |conn| { drop(sqlx::query("select 1").execute(conn)) }
    a_statement_dropped_on_its_way_costs_one: 1 = |conn| {
        assert!(sqlx::query(ENDLESS).execute(conn).now_or_never().is_none());
    }
    a_begin_dropped_on_its_way_costs_one: 1 = |conn| { drop(conn.begin().now_or_never()) }
    a_statement_after_a_dropped_one_does_not_hide_it: 1 = |conn| {
        // It may have ended where this thread is held up.
        while sqlx::query(LONG).execute(&mut *conn).now_or_never().is_some() {}
        sqlx::query("select 2").execute(&mut *conn).await.unwrap();
    }
}

#[tokio::test]
async fn a_known_clean_connection_is_idle_at_the_moment_of_its_return() {
    let file = File::new();
    let pool = file.one();
    let mut conn = pool.acquire().await.unwrap();
    sqlx::query("select 1").execute(&mut conn).await.unwrap();
    drop(conn);
    assert!(pool.try_acquire().is_ok());
}

#[tokio::test]
async fn a_statement_on_the_pool_gives_its_connection_back() {
    let file = File::new();
    let pool = file.one();
    for n in 0..3_i64 {
        assert_eq!(sqlx::query_scalar::<_, i64>("select ?").bind(n).fetch_one(&pool).await.unwrap(), n);
    }
    assert_eq!((pool.status().in_use, pool.status().totals.opened), (0, 1));
}

#[tokio::test]
async fn a_transaction_is_there_after_commit_and_gone_after_anything_else() {
    let file = File::new();
    let pool = file.one();
    sqlx::query("create table t (n integer)").execute(&pool).await.unwrap();
    let insert = async |n: i64| -> SqliteTx {
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("insert into t values (?)").bind(n).execute(&mut tx).await.unwrap();
        tx
    };
    insert(1).await.commit().await.unwrap();
    insert(2).await.rollback().await.unwrap();
    drop(insert(3).await);
    let tx = insert(4).await;
    let panicked = tokio::spawn(async move {
        let _tx = tx;
        panic!("on purpose");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    let mut tx = insert(5).await;
    let mut inner = tx.begin().await.unwrap();
    sqlx::query("insert into t values (6)").execute(&mut inner).await.unwrap();
    drop(inner);
    tx.commit().await.unwrap();
    let left: Vec<i64> = sqlx::query_scalar("select n from t order by n").fetch_all(&pool).await.unwrap();
    assert_eq!(left, [1, 5]);
}

#[tokio::test]
async fn a_statement_that_runs_too_long_ends_in_time_and_leaves_a_good_connection() {
    let file = File::new();
    let settings = file
        .settings()
        .with_pool_size(1u32)
        .with_statement_timeout(Duration::from_millis(500))
        .with_statement_timeout_status(504_u16);
    let pool = SqlitePool::connect(settings).await.unwrap();
    let began = std::time::Instant::now();
    let error = sqlx::query(ENDLESS).fetch_one(&pool).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let error = Error::from(error);
    assert_eq!((error.kind(), error.status(), error.retry_after()), (ErrorKind::StatementTimeout, 504, None));
    let answer: i64 = sqlx::query_scalar("select 7").fetch_one(&pool).await.unwrap();
    assert_eq!((answer, pool.status().totals.opened, pool.status().totals.resets), (7, 1, 0));
}

#[tokio::test]
async fn a_writer_that_waits_too_long_for_another_is_told_to_come_back() {
    let file = File::new();
    let settings = file.settings().with_pool_size(2u32).with_lock_timeout(Duration::from_millis(50));
    let pool = SqlitePool::connect(settings).await.unwrap();
    let writer = pool.begin().await.unwrap();
    let error = pool.begin().await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::LockTimeout, 503), "{error}");
    assert!(error.retry_after().is_some());
    writer.commit().await.unwrap();
    pool.begin().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn the_line_that_went_past_tracking_is_named() {
    let file = File::new();
    let pool = file.one();
    let mut conn = pool.acquire().await.unwrap();
    sqlx::query("create table t (n integer)").execute(&mut *conn).await.unwrap();
    let here = line!();
    of_sqlx(&mut conn).await;
    for _ in 0..3 {
        conn.raw();
    }
    sqlx::Acquire::acquire(&mut conn).await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    of_sqlx(&mut tx).await;
    let untracked = pool.watched()[0].untracked();
    let found: Vec<_> = untracked.iter().map(|(site, uses)| (site.to_string(), *uses)).collect();
    let line = |after: u32, uses: u64| (format!("{}:{}", file!(), here + after), uses);
    assert_eq!(found, [line(3, 3), line(1, 1), line(5, 1), line(7, 1)]);
}
