//! Transactions on a real PostgreSQL: options, conflicts, and what a commit may answer.
#![allow(clippy::unwrap_used)]

use futures_util::{FutureExt, StreamExt};
use pool_sqlx::{DatabaseSettings, Error, ErrorKind, Isolation, PgConn, PgPool, PgTx, TxOptions, pooled};
use sqlx::Executor;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use tests::{
    Postgres,
    proxy::{Mode, Proxy},
};

fn settings(url: impl AsRef<str>) -> DatabaseSettings {
    DatabaseSettings::new(url).unwrap().with_pool_size(1u32).with_max_overflow(0u32)
}

async fn show(tx: &mut PgTx, setting: &'static str) -> String {
    sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(&mut *tx).await.unwrap()
}

#[tokio::test]
async fn options_hold_for_the_transaction_and_no_longer() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let options = TxOptions::new()
        .isolation(Isolation::Serializable)
        .read_only()
        .deferrable()
        .statement_timeout(Duration::from_millis(1234));
    let mut tx = pool.begin_with(options).await.unwrap();
    for (setting, value) in [
        ("transaction_isolation", "serializable"),
        ("transaction_read_only", "on"),
        ("transaction_deferrable", "on"),
        ("statement_timeout", "1234ms"),
    ] {
        assert_eq!(show(&mut tx, setting).await, value);
    }
    let refused = Error::from(tx.execute("create table t ()").await.unwrap_err());
    assert!(refused.to_string().contains("read-only"), "{refused}");
    tx.rollback().await.unwrap();

    let mut tx = pool.begin().await.unwrap();
    assert_eq!(show(&mut tx, "transaction_isolation").await, "read committed");
    assert_eq!(show(&mut tx, "statement_timeout").await, "10s");
    tx.commit().await.unwrap();
    assert_eq!((pool.status().totals.opened, pool.status().totals.resets), (1, 0));
}

#[tokio::test]
async fn a_transaction_may_take_longer_than_the_pool_s_statements_and_only_it() {
    let database = Postgres::shared().database().unwrap();
    let pool =
        PgPool::connect(settings(database.url()).with_statement_timeout(Duration::from_millis(500))).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let mut tx = conn.begin_with(TxOptions::new().statement_timeout(Duration::from_secs(30))).await.unwrap();
    // Longer than the pool's limit and its margin.
    tx.execute("select pg_sleep(1.2)").await.unwrap();
    tx.commit().await.unwrap();
    let asked = Instant::now();
    let error = Error::from(conn.execute("select pg_sleep(60)").await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::StatementTimeout);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_commit_that_the_server_turns_into_a_rollback_is_an_error() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer)").unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let mut seen = pool.begin().await.unwrap();
    seen.execute("insert into t values (1)").await.unwrap();
    seen.execute("select 1 / 0").await.unwrap_err();
    let error = seen.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Database);
    assert!(error.to_string().contains("rolled back instead of committed"), "{error}");
    assert_eq!(pool.status().totals.resets, 0, "the rollback was acknowledged");

    let mut unseen = pool.begin().await.unwrap();
    unseen.execute("insert into t values (1)").await.unwrap();
    unseen.raw().execute("select 1 / 0").await.unwrap_err();
    unseen.commit().await.unwrap_err();

    // Only doubt costs a look: a savepoint has taken this failure back.
    let mut saved = pool.begin().await.unwrap();
    let mut inner = saved.begin().await.unwrap();
    inner.execute("select 1 / 0").await.unwrap_err();
    inner.rollback().await.unwrap();
    saved.execute("insert into t values (2)").await.unwrap();
    saved.commit().await.unwrap();
    assert_eq!(database.psql("select string_agg(n::text, ',') from t").unwrap(), "2");
}

#[tokio::test]
async fn a_refused_commit_is_told_from_one_that_may_have_happened() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer unique deferrable initially deferred)").unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let limits = settings(proxy.url(&database.url())).with_statement_timeout(Duration::from_secs(1));
    let limits = limits.with_pre_ping_after(Duration::from_secs(60));
    let pool = PgPool::connect(limits).await.unwrap();
    let begin = async || {
        let mut tx = pool.begin().await.unwrap();
        tx.execute("insert into t values (1)").await.unwrap();
        tx
    };
    let mut refused = begin().await;
    refused.execute("insert into t values (1)").await.unwrap();
    assert_eq!(refused.commit().await.unwrap_err().kind(), ErrorKind::Database);

    for fail in [|proxy: &Proxy| proxy.set(Mode::Silent), Proxy::reset_all] {
        let tx = begin().await;
        fail(&proxy);
        let error = tx.commit().await.unwrap_err();
        proxy.set(Mode::Pass);
        assert_eq!(
            (error.kind(), error.status(), error.retry_after()),
            (ErrorKind::CommitUnknown, 503, None),
            "{error}"
        );
        assert!(error.sqlx().is_some() && error.to_string().contains("may have been made or not"), "{error}");
    }
}

#[tokio::test]
async fn conflicts_are_run_again_until_every_increment_is_there() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer); insert into t values (0)").unwrap();
    let pool = PgPool::connect(settings(database.url()).with_pool_size(4u32)).await.unwrap();
    let serializable = TxOptions::new().isolation(Isolation::Serializable).retries(50);
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            // Spawned: so its future is `Send`.
            tokio::spawn(async move {
                for _ in 0..10 {
                    let work = async |tx: &mut PgTx| -> Result<(), Error> {
                        let n: i32 = sqlx::query_scalar("select n from t").fetch_one(&mut *tx).await?;
                        sqlx::query("update t set n = $1").bind(n + 1).execute(&mut *tx).await?;
                        Ok(())
                    };
                    pool.transaction_with(serializable, work).await.unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(database.psql("select n from t").unwrap(), "40");
}

#[tokio::test]
async fn work_runs_again_after_a_conflict_only_and_as_often_as_asked() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let attempts = async |state: &'static str, retries| {
        let (mut times, options) = (0, TxOptions::new().retries(retries));
        let raise = format!("do $$ begin raise sqlstate '{state}'; end $$");
        let outcome: Result<(), anyhow::Error> = pool
            .transaction_with(options, async |tx: &mut PgTx| {
                times += 1;
                tx.execute(sqlx::AssertSqlSafe(raise.clone())).await?;
                Ok(())
            })
            .await;
        outcome.unwrap_err();
        times
    };
    assert_eq!(attempts("40001", 2).await, 3);
    assert_eq!(attempts("40P01", 1).await, 2);
    assert_eq!(attempts("40001", 0).await, 1);
    assert_eq!(attempts("23505", 2).await, 1);
    assert_eq!((pool.status().in_use, pool.status().totals.opened), (0, 1));
}

#[tokio::test]
async fn a_conflict_that_a_savepoint_took_back_is_no_reason_to_run_again() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let attempts = async |end: &str| {
        let mut times = 0;
        let outcome: Result<(), anyhow::Error> = pool
            .transaction(async |tx: &mut PgTx| {
                times += 1;
                let lose = "do $$ begin raise sqlstate '40P01'; end $$";
                if end == "not taken back" {
                    tx.execute(lose).await.unwrap_err();
                } else {
                    let mut inner = tx.begin().await?;
                    inner.execute(lose).await.unwrap_err();
                    if end == "rolled back" {
                        inner.rollback().await?;
                    }
                }
                anyhow::bail!("not enough money")
            })
            .await;
        outcome.unwrap_err();
        times
    };
    assert_eq!(attempts("rolled back").await, 1);
    assert_eq!(attempts("dropped").await, 1);
    assert_eq!(attempts("not taken back").await, 4);
}

#[tokio::test]
async fn a_begin_dropped_on_its_way_takes_nothing_of_the_same_loan_along() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer)").unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    drop(conn.begin_with(TxOptions::new().statement_timeout(Duration::from_millis(50))).now_or_never());
    conn.execute("insert into t select 1 from pg_sleep(0.2)").await.unwrap();
    assert_eq!(
        database.psql("select count(*) from t").unwrap(),
        "1",
        "seen by others, and not cut off by the dropped limit"
    );
    let mut tx = conn.begin().await.unwrap();
    tx.execute("insert into t values (2)").await.unwrap();
    drop(tx);
    conn.execute("insert into t values (3)").await.unwrap();
    drop(conn);
    assert_eq!(database.psql("select string_agg(n::text, ' ' order by n) from t").unwrap(), "1 3");
}

#[tokio::test]
async fn a_savepoint_dropped_on_its_way_ends_the_transaction_around_it_and_says_so() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer)").unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    tx.execute("insert into t values (1)").await.unwrap();
    // A quick server may answer before it can be dropped on its way: then the savepoint was there, and goes alone.
    while let Some(begun) = tx.begin().now_or_never() {
        drop(begun.unwrap());
    }
    let refused = Error::from(tx.execute("insert into t values (2)").await.unwrap_err());
    assert!(refused.to_string().contains("nested begin"), "{refused}");
    let refused = tx.commit().await.unwrap_err();
    assert!(refused.to_string().contains("begin again"), "{refused}");
    conn.execute("insert into t values (3)").await.unwrap();
    drop(conn);
    assert_eq!(database.psql("select string_agg(n::text, ' ') from t").unwrap(), "3");
}

#[tokio::test]
async fn a_statement_that_was_dropped_is_cancelled_before_what_follows_and_the_transaction_with_it() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer primary key)").unwrap();
    let limits = settings(database.url()).with_reset_timeout(Duration::from_secs(8));
    let pool = PgPool::connect(limits.with_statement_timeout(Duration::from_secs(60))).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let begun = Instant::now();
    for end in ["commit", "rollback", "drop", "a statement and a commit"] {
        let mut tx = conn.begin().await.unwrap();
        tx.execute("insert into t values (1)").await.unwrap();
        let slow = tx.execute("insert into t select 2 from pg_sleep(60)");
        tokio::time::timeout(Duration::from_millis(100), slow).await.unwrap_err();
        match end {
            "commit" => drop(tx.commit().await.unwrap_err()),
            "rollback" => tx.rollback().await.unwrap(),
            "drop" => drop(tx),
            _ => {
                let refused = tx.execute("insert into t values (3)").await.unwrap_err();
                assert!(refused.to_string().contains("current transaction is aborted"), "{refused}");
                drop(tx.commit().await.unwrap_err());
            }
        }
        assert_eq!(sqlx::query_scalar::<_, i64>("select count(*) from t").fetch_one(&mut conn).await.unwrap(), 0);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // What a savepoint takes back is no end of the transaction around it.
    let mut tx = conn.begin().await.unwrap();
    for end in ["rollback", "drop"] {
        let mut inner = tx.begin().await.unwrap();
        let slow = inner.execute("insert into t select 2 from pg_sleep(60)");
        tokio::time::timeout(Duration::from_millis(100), slow).await.unwrap_err();
        match end {
            "rollback" => inner.rollback().await.unwrap(),
            _ => drop(inner),
        }
    }
    tx.execute("insert into t values (3)").await.unwrap();
    tx.commit().await.unwrap();
    // One that had done its work when it was dropped is no reason to end the transaction.
    let mut tx = conn.begin().await.unwrap();
    let slow = tx.execute("insert into t select 4 from pg_sleep(0.5)");
    tokio::time::timeout(Duration::from_millis(100), slow).await.unwrap_err();
    let done =
        "select count(*) from pg_stat_activity where query like '%select 4 from%' and state = 'idle in transaction'";
    while database.psql(done).unwrap() == "0" {}
    tx.execute("insert into t values (5)").await.unwrap();
    tx.commit().await.unwrap();
    drop(conn);
    assert_eq!(database.psql("select string_agg(n::text, ' ' order by n) from t").unwrap(), "3 4 5");
    assert_eq!(pool.status().totals.opened, 1);
}

#[tokio::test]
async fn a_stream_that_was_left_early_is_no_end_of_its_transaction() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer)").unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    tx.execute("insert into t values (1)").await.unwrap();
    // Longer than a statement has that is to be cancelled.
    let slow = "select repeat('x', 10000), pg_sleep(0.01) from generate_series(1, 100)";
    let mut rows = sqlx::query(slow).fetch(&mut tx);
    rows.next().await.unwrap().unwrap();
    drop(rows);
    tx.execute("insert into t values (2)").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(database.psql("select count(*) from t").unwrap(), "2");
}

#[tokio::test]
async fn a_savepoint_that_was_dropped_is_rolled_back_alone() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer)").unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    tx.execute("insert into t values (1)").await.unwrap();
    let mut inner = tx.begin().await.unwrap();
    inner.execute("insert into t values (2)").await.unwrap();
    drop(inner);
    tx.execute("insert into t values (3)").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(database.psql("select string_agg(n::text, ' ' order by n) from t").unwrap(), "1 3");
    assert_eq!(pool.status().totals.resets, 0);
}

#[tokio::test]
async fn a_transaction_that_somebody_ended_past_its_owner_does_not_commit_as_if_nothing_were_missing() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer)").unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    for (n, end) in ["by hand", "by sqlx's connection", "by a begin of sqlx that was dropped"].into_iter().enumerate() {
        let mut conn = pool.acquire().await.unwrap();
        let mut tx = conn.begin().await.unwrap();
        tx.execute("insert into t values (1)").await.unwrap();
        match n {
            0 => drop(tx.execute("rollback").await.unwrap()),
            1 => drop(tx.raw().execute("rollback").await.unwrap()),
            _ => {
                let begun = sqlx::Connection::begin(tx.raw()).await.unwrap();
                drop(begun);
                tx.raw().execute("rollback").await.unwrap();
            }
        }
        let error = tx.commit().await.unwrap_err();
        assert!(error.to_string().contains("the transaction is over"), "{end}: {error}");
    }
    assert_eq!(database.psql("select count(*) from t").unwrap(), "0");
    // A savepoint by hand is nobody's end.
    let mut tx = pool.begin().await.unwrap();
    tx.execute("savepoint mine").await.unwrap();
    tx.execute("insert into t values (2)").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(database.psql("select count(*) from t").unwrap(), "1");
}

#[tokio::test]
async fn a_transaction_that_was_committed_by_hand_is_neither_rolled_back_with_success_nor_run_again() {
    #[pooled(retry = 3)]
    async fn by_hand(tx: &mut PgTx, attempts: &AtomicU32) -> Result<(), Error> {
        attempts.fetch_add(1, Ordering::Relaxed);
        committed_by_hand(tx).await
    }
    async fn committed_by_hand(tx: &mut PgTx) -> Result<(), Error> {
        tx.execute("insert into t values (2)").await?;
        tx.execute("commit").await?;
        tx.execute("do $$ begin raise sqlstate '40001'; end $$").await?;
        Ok(())
    }
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer)").unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    tx.execute("insert into t values (1)").await.unwrap();
    tx.execute("commit").await.unwrap();
    let error = tx.rollback().await.unwrap_err();
    assert!(error.to_string().contains("the transaction is over"), "{error}");

    let outcome: Result<(), Error> = pool.transaction(committed_by_hand).await;
    outcome.unwrap_err();
    assert_eq!(database.psql("select string_agg(n::text, ' ') from t").unwrap(), "1 2");
    let attempts = AtomicU32::new(0);
    let error = by_hand(pool.clone(), &attempts).await.unwrap_err();
    assert_eq!((attempts.into_inner(), error.retry_after()), (1, None), "{error}");

    // What failed or went past us without ending it is no reason.
    for sql in ["select 1 / 0", "savepoint mine"] {
        let mut tx = pool.begin().await.unwrap();
        drop(tx.execute(sql).await);
        tx.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn what_was_answered_with_a_timeout_is_not_committed_later() {
    #[pooled(statement_timeout = "300ms")]
    async fn late(conn: &mut PgConn) -> Result<(), Error> {
        let mut tx = conn.begin().await?;
        let slow = "insert into t select 1 from pg_sleep(1)";
        assert_eq!(Error::from(tx.execute(slow).await.unwrap_err()).kind(), ErrorKind::StatementTimeout);
        let refused = Error::from(tx.execute("insert into t values (2)").await.unwrap_err());
        assert!(refused.to_string().contains("ran out of time"), "{refused}");
        tx.commit().await
    }
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer)").unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    late(pool.clone()).await.unwrap_err();
    sqlx::query("select 1").execute(&pool).await.unwrap();
    assert_eq!(database.psql("select count(*) from t").unwrap(), "0");
}
