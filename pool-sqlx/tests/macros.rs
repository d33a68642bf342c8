//! `#[pooled]` and its options on a real database.
#![allow(clippy::unwrap_used)]

mod common;

use common::{ENDLESS, File, LONG};
use futures_util::FutureExt;
use pool_sqlx::{
    DatabaseSettings, Error, ErrorKind, SqliteConn, SqlitePool, SqliteSession, SqliteTx, Verdict, Watchable, pooled,
};
use std::time::{Duration, Instant};
use tokio::sync::watch;

fn memory() -> SqlitePool {
    SqlitePool::connect_lazy(DatabaseSettings::new("sqlite::memory:").unwrap()).unwrap()
}

/// Five connections to one file, with a table.
async fn five(file: &File) -> SqlitePool {
    let settings = file.settings().with_pool_size(5u32).with_pool_timeout(Duration::from_secs(1));
    let pool = SqlitePool::connect_lazy(settings).unwrap();
    sqlx::query("create table t (n integer)").execute(&pool).await.unwrap();
    pool
}

#[pooled(limit = 2)]
async fn export(_conn: &mut SqliteConn, mut done: watch::Receiver<bool>) -> Result<(), Error> {
    done.wait_for(|done| *done).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn a_limit_leaves_the_other_connections_to_others() {
    let file = File::new();
    let pool = five(&file).await;
    let (finish, done) = watch::channel(false);
    let [mut first, mut second, mut third] = std::array::from_fn(|_| Box::pin(export(pool.clone(), done.clone())));
    // SQLite's connections are opened by another thread: until both hold one there is something to wait for.
    while pool.status().in_use < 2 {
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    // What was granted is collected, or it would go to another caller at the end of `pool_timeout`.
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    let asked = Instant::now();
    let error = (&mut third).await.unwrap_err();
    assert_eq!((error.kind(), error.verdict(), error.status()), (ErrorKind::Refused, Some(Verdict::Refused), 503));
    assert_eq!((error.problem_type(), error.retry_after()), ("urn:pool:refused".into(), Some(Duration::from_secs(1))));
    assert!(asked.elapsed() >= Duration::from_secs(1), "it waits as long as for a connection");
    let line = error.to_string();
    for part in ["macros::export", "tests/macros.rs", "2 calls", "limit = 2", "errors/refused"] {
        assert!(line.contains(part), "{part:?} is missing in: {line}");
    }
    assert_eq!((pool.status().in_use, pool.status().totals.refused), (2, 1));
    let watched = &pool.watched()[0];
    let refusals: Vec<_> =
        watched.refusals().iter().map(|refusal| (refusal.verdict, refusal.message.clone())).collect();
    assert_eq!((refusals, watched.status().totals.refused), (vec![(Verdict::Refused, line)], 1));
    assert!(watched.refused().contains(&(Verdict::Refused, 1)), "{:?}", watched.refused());
    pool.acquire().await.expect("the pool has three more");

    finish.send(true).unwrap();
    first.await.unwrap();
    second.await.unwrap();
    third.as_mut().set(export(pool.clone(), done));
    third.await.expect("the places are free again");
}

#[pooled(limit = 1, timeout = "10s")]
async fn one_by_one(_conn: &mut SqliteConn, order: &std::cell::RefCell<Vec<u32>>, n: u32) -> Result<(), Error> {
    order.borrow_mut().push(n);
    tokio::task::yield_now().await;
    Ok(())
}

#[tokio::test]
async fn who_waits_for_a_place_gets_it_in_order_of_arrival() {
    let (pool, order) = (memory(), Default::default());
    let calls = (0..20).map(|n| one_by_one(pool.clone(), &order, n));
    futures_util::future::try_join_all(calls).await.unwrap();
    assert_eq!(order.into_inner(), Vec::from_iter(0..20));
}

#[pooled(limit = 1, timeout = "500ms", retry_after = "7s")]
async fn owned(conn: SqliteConn, mut done: watch::Receiver<bool>) -> Result<(), Error> {
    drop(conn);
    done.wait_for(|done| *done).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn a_place_is_kept_until_the_end_where_the_connection_is_given() {
    let (pool, (finish, done)) = (memory(), watch::channel(false));
    let mut first = Box::pin(owned(pool.clone(), done.clone()));
    while pool.status().totals.released == 0 {
        assert!((&mut first).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.status().in_use, 0);
    let error = owned(pool.clone(), done.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Refused, Some(Duration::from_secs(7))));
    finish.send(true).unwrap();
    first.await.unwrap();
}

#[pooled(limit = 1, timeout = "5s")]
async fn alone(_conn: &mut SqliteConn, mut done: watch::Receiver<bool>) -> Result<(), Error> {
    done.wait_for(|done| *done).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn a_cancelled_call_gives_its_place_back() {
    let (pool, (finish, done)) = (memory(), watch::channel(false));
    for calls in 1..=3 {
        let mut call = Box::pin(alone(pool.clone(), done.clone()));
        while pool.status().totals.acquired < calls {
            assert!((&mut call).now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        drop(call);
    }
    finish.send(true).unwrap();
    alone(pool, done).await.unwrap();
}

#[pooled(statement_timeout = "20ms")]
async fn impatient(conn: &mut SqliteConn, sql: &'static str) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(sql).fetch_one(conn).await?)
}

#[pooled(statement_timeout = "20ms")]
async fn impatient_tx(tx: &mut SqliteTx, sql: &'static str) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(sql).fetch_one(tx).await?)
}

#[tokio::test]
async fn a_function_s_own_limit_ends_its_statements_and_nobody_else_s() {
    let pool = memory();
    for error in [impatient(pool.clone(), ENDLESS).await, impatient_tx(pool.clone(), ENDLESS).await] {
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::StatementTimeout, 503), "{error}");
        assert!(error.to_string().contains("20ms"), "{error}");
        let began = Instant::now();
        sqlx::query_scalar::<_, i64>(LONG).fetch_one(&pool).await.expect("the pool's own limit is 10 s");
        assert!(began.elapsed() > Duration::from_millis(20), "{:?} is too short to show anything", began.elapsed());
    }
    assert_eq!(pool.status().totals.opened, 1);
}

#[pooled(read_only, isolation = "serializable")]
async fn sum(tx: &mut SqliteTx, and: &'static str) -> Result<i64, Error> {
    let sum = sqlx::query_scalar("select count(*) from t").fetch_one(&mut *tx).await?;
    sqlx::query(and).execute(tx).await?;
    Ok(sum)
}

#[tokio::test]
async fn a_reader_reads_beside_a_writer_and_writes_nothing() {
    let file = File::new();
    let pool = five(&file).await;
    let mut writer = pool.begin().await.unwrap();
    sqlx::query("insert into t values (1)").execute(&mut writer).await.unwrap();
    assert_eq!(sum(pool.clone(), "select 1").await.unwrap(), 0);
    writer.commit().await.unwrap();
    let error = sum(pool.clone(), "insert into t values (2)").await.unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
    for n in 0..5 {
        let conns = futures_util::future::join_all((0..5).map(|_| pool.acquire())).await;
        sqlx::query("insert into t values (3)").execute(&mut conns.into_iter().nth(n).unwrap().unwrap()).await.unwrap();
    }
}

mod shadowed {
    //! A user's names are no concern of ours, nor ours of his.
    #![allow(dead_code, unused_macros, non_camel_case_types)]

    use super::*;

    struct Ok;
    struct Err;
    struct Some;
    struct None;
    struct Result;
    struct Option;
    struct String;
    mod core {}
    mod std {}
    macro_rules! concat {
        () => {};
    }
    macro_rules! module_path {
        () => {};
    }
    static __CALL: () = ();

    #[pooled(timeout = "2s", limit = 3, retry = 2)]
    pub(super) async fn add(held: i64, reply: i64, tx: &mut SqliteTx, error: i64) -> ::std::result::Result<i64, Error> {
        let (success, attempt, left) = (held, reply, error);
        let sum = sqlx::query_scalar("select ? + ? + ?").bind(success).bind(attempt).bind(left).fetch_one(tx).await?;
        ::std::result::Result::Ok(sum)
    }
}

#[tokio::test]
async fn shadowed_names_change_nothing() {
    assert_eq!(shadowed::add(memory(), 1, 2, 4).await.unwrap(), 7);
}

#[pooled]
async fn small(conn: &mut SqliteConn, text: [u8; 1000]) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select ?").bind(text[0]).fetch_one(conn).await?)
}

#[pooled(limit = 5, statement_timeout = "2s")]
async fn small_with_options(conn: &mut SqliteConn, text: [u8; 1000]) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select ?").bind(text[0]).fetch_one(conn).await?)
}

#[pooled]
async fn small_tx(tx: &mut SqliteTx, text: [u8; 1000]) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("select ?").bind(text[0]).fetch_one(tx).await?)
}

async fn by_hand(pool: SqlitePool, text: [u8; 1000]) -> Result<i64, Error> {
    let mut conn = pool.acquire().await?;
    Ok(sqlx::query_scalar("select ?").bind(text[0]).fetch_one(&mut conn).await?)
}

async fn by_hand_tx(pool: SqlitePool, text: [u8; 1000]) -> Result<i64, Error> {
    let mut tx = pool.begin().await?;
    let n = sqlx::query_scalar("select ?").bind(text[0]).fetch_one(&mut tx).await?;
    tx.commit().await?;
    Ok(n)
}

#[test]
fn the_future_is_that_of_a_function_by_hand_and_at_most_256_bytes_beside_its_arguments() {
    let arguments = 1000 + size_of::<SqlitePool>();
    let [conn, tx] = [size_of_val(&by_hand(memory(), [0; 1000])), size_of_val(&by_hand_tx(memory(), [0; 1000]))];
    for (name, by_macro, by_hand) in [
        ("small", size_of_val(&small(memory(), [0; 1000])), conn),
        ("small_with_options", size_of_val(&small_with_options(memory(), [0; 1000])), conn),
        ("small_tx", size_of_val(&small_tx(memory(), [0; 1000])), tx),
    ] {
        let grown = by_macro.saturating_sub(by_hand + arguments);
        println!("{name}: {by_macro} bytes, {by_hand} by hand, {arguments} of arguments");
        assert!(grown < 256, "{name}: {by_macro} bytes, {by_hand} by hand, {arguments} of arguments");
    }
}

#[pooled(statement_timeout = "50ms")]
async fn by_session(session: &mut SqliteSession, sql: &'static str) -> Result<i64, Error> {
    sqlx::query("select 1").execute(&mut *session).await?;
    Ok(sqlx::query_scalar(sql).fetch_one(session).await?)
}

#[tokio::test]
async fn a_session_is_lent_as_the_connection_it_is() {
    let pool = memory();
    assert_eq!(by_session(pool.clone(), "select 7").await.unwrap(), 7);
    assert_eq!((pool.status().totals.resets, pool.status().in_use), (0, 0), "it was tracked");
    assert_eq!(pool.watched()[0].untracked(), []);
    let error = by_session(pool.clone(), ENDLESS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StatementTimeout);
}
