//! pool-sqlx on a real PostgreSQL: what goes over the wire, what a return cleans, which limit ends what.
#![allow(clippy::unwrap_used)]

use futures_util::{FutureExt, StreamExt};
use pool_sqlx::{
    CloseReason, DatabaseSettings, Error, ErrorKind, Health, ListenEvent, PgConn, PgPool, Pooler, Reset, Secret,
    Verdict,
};
use sqlx::{
    ConnectOptions, Connection, Executor,
    migrate::{Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
    testing::{TestArgs, TestFn},
};
use std::{
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tests::{
    Postgres,
    proxy::{Mode, Proxy},
    server::postgres::Listen,
};

/// Less than a statement may take, more than anything that is to be done at once takes on any machine.
const SOON: Duration = Duration::from_secs(7);

fn settings(url: impl AsRef<str>) -> DatabaseSettings {
    DatabaseSettings::new(url).unwrap().with_pool_size(1u32).with_max_overflow(0u32)
}

/// A busy machine may take its time to clean, test and connect: none of that is an end of a connection here.
fn patient(url: impl AsRef<str>) -> DatabaseSettings {
    let limit = Duration::from_secs(8);
    let settings = settings(url).with_reset_timeout(limit).with_ping_timeout(limit).with_pre_ping_after(limit * 8);
    settings.with_connection_timeout(limit * 4)
}

/// Holds so many connections, each with a statement that the server is running, and then drops all of them at once.
async fn drop_statements(pool: &PgPool, many: u32, running: impl Fn() -> u32) {
    let conns = futures_util::future::join_all((0..many).map(|_| pool.acquire())).await;
    let sleepers = conns.into_iter().map(|conn| async {
        let mut conn = conn.unwrap();
        sqlx::query("select pg_sleep(60)").execute(&mut conn).await.map(drop)
    });
    let mut sleepers = futures_util::future::join_all(sleepers);
    while running() < many {
        let ended = tokio::time::timeout(Duration::from_millis(50), &mut sleepers).await;
        assert!(ended.is_err(), "{ended:?}");
    }
}

const RUNNING: &str = "select count(*) from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active'
    and datname = current_database() and pid <> pg_backend_pid()";

/// How many cleanings an action costs under `reset = rollback`. Under every reset the next user must find the same connection, with
/// no transaction open and working statements.
async fn cleanings(action: impl AsyncFn(&mut PgConn)) -> u64 {
    let mut cleanings = 0;
    for reset in [Reset::Full, Reset::Session, Reset::Rollback] {
        let database = Postgres::shared().database().unwrap();
        database.psql("create table t (n integer primary key)").unwrap();
        let pool = PgPool::connect(patient(database.url()).with_reset(reset)).await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        action(&mut conn).await;
        drop(conn);
        let mut next = pool.acquire().await.unwrap();
        cleanings = pool.status().totals.resets;
        let clean = next.raw().begin_with("SELECT 1").await.map(drop);
        assert!(matches!(clean, Err(sqlx::Error::BeginFailed)), "the last user's transaction is still open, {reset:?}");
        let answer: i32 = sqlx::query_scalar("select $1 + 1").bind(1).fetch_one(&mut next).await.unwrap();
        assert_eq!((answer, pool.status().totals.opened), (2, 1), "the connection was kept, {reset:?}");
        drop(next);
        let _ = pool.close().await;
    }
    cleanings
}

macro_rules! costs {
    ($($name:ident: $n:literal = |$conn:ident| $action:block)*) => {$(
        #[tokio::test]
        async fn $name() {
            assert_eq!(cleanings(async |$conn: &mut PgConn| { $action; }).await, $n);
        }
    )*};
}

costs! {
    nothing_done_costs_nothing: 0 = |_conn| {}
    a_watched_query_costs_nothing: 0 = |conn| { sqlx::query("select 1").execute(conn).await.unwrap() }
    a_watched_string_costs_nothing: 0 = |conn| { conn.execute("insert into t values (1)").await.unwrap() }
    a_failed_query_costs_nothing: 0 = |conn| {
        let divided = sqlx::query_scalar::<_, i32>("select 1 / $1").bind(0);
        assert_eq!(Error::from(divided.fetch_one(conn).await.unwrap_err()).kind(), ErrorKind::Database);
    }
    a_query_that_cannot_be_prepared_costs_nothing: 0 = |conn| { sqlx::query("select nothing").execute(conn).await.unwrap_err() }
    a_query_with_a_semicolon_in_it_costs_nothing: 0 = |conn| {
        sqlx::query("select ';' || $1").bind("x").execute(conn).await.unwrap()
    }
    a_committed_transaction_costs_nothing: 0 = |conn| {
        let mut tx = conn.begin().await.unwrap();
        sqlx::query("insert into t values (1)").execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    a_failed_transaction_rolled_back_costs_nothing: 0 = |conn| {
        let mut tx = conn.begin().await.unwrap();
        sqlx::query("select 1 / 0").execute(&mut tx).await.unwrap_err();
        tx.rollback().await.unwrap();
    }
    a_savepoint_rolled_back_costs_nothing: 0 = |conn| {
        let mut tx = conn.begin().await.unwrap();
        let mut inner = tx.begin().await.unwrap();
        sqlx::query("select 1 / 0").execute(&mut inner).await.unwrap_err();
        inner.rollback().await.unwrap();
        sqlx::query("insert into t values (1)").execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    a_failed_commit_costs_one: 1 = |conn| {
        let mut tx = conn.begin().await.unwrap();
        tx.execute("create table c (n integer unique deferrable initially deferred)").await.unwrap();
        tx.execute("insert into c values (1)").await.unwrap();
        tx.execute("insert into c values (1)").await.unwrap();
        tx.commit().await.unwrap_err();
    }
    a_dropped_transaction_costs_one: 1 = |conn| { drop(conn.begin().await.unwrap()) }
    a_begin_by_hand_costs_one: 1 = |conn| { sqlx::query("begin").execute(conn).await.unwrap() }
    an_aborted_block_costs_one: 1 = |conn| { conn.execute("begin; select 1 / 0").await.unwrap_err() }
    a_begin_behind_our_back_costs_one: 1 = |conn| { conn.raw().execute("begin").await.unwrap() }
    a_transaction_of_sqlx_that_is_forgotten_costs_one: 1 = |conn| {
        std::mem::forget(sqlx::Acquire::begin(conn).await.unwrap())
    }
    a_begin_dropped_on_its_way_costs_one: 1 = |conn| { drop(conn.begin().now_or_never()) }
    a_stream_left_half_read_costs_one: 1 = |conn| {
        let mut rows = sqlx::query("select generate_series(1, 10000)").fetch(conn);
        rows.next().await.unwrap().unwrap();
    }
    a_statement_dropped_on_its_way_costs_one: 1 = |conn| {
        let sleep = sqlx::query("select pg_sleep(60)").execute(conn);
        tokio::time::timeout(Duration::from_millis(50), sleep).await.unwrap_err();
    }
    a_failed_statement_dropped_before_its_error_costs_one: 1 = |conn| {
        // Waits a little before it fails, so that nobody hears of it.
        let failing = "select 1 / (case when pg_sleep(0.005) is null then 1 else 0 end)";
        // A quick server may answer before it can be dropped.
        while sqlx::query(failing).execute(&mut *conn).now_or_never().is_some() {}
    }
}

/// A `COPY` that was not ended leaves an answer behind that sqlx does not count: the connection is closed, for the next user would be
/// given the answers of others.
async fn replaces(copy: impl AsyncFn(&mut PgConn)) {
    for reset in [Reset::Full, Reset::Session, Reset::Rollback] {
        let database = Postgres::shared().database().unwrap();
        database.psql("create table t (n integer primary key)").unwrap();
        let pool = PgPool::connect(patient(database.url()).with_reset(reset)).await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        copy(&mut conn).await;
        drop(conn);
        let dropped = Instant::now();
        for n in 0..5 {
            let answer: String =
                sqlx::Row::get(&pool.fetch_one(sqlx::AssertSqlSafe(format!("select '{n}'"))).await.unwrap(), 0);
            assert_eq!(answer, n.to_string(), "{reset:?}");
            let answer: i32 = sqlx::query_scalar("select $1 + 1").bind(n).fetch_one(&pool).await.unwrap();
            assert_eq!(answer, n + 1, "{reset:?}");
        }
        assert!(dropped.elapsed() < SOON, "{:?}", dropped.elapsed());
        assert_eq!((pool.status().totals.opened, database.psql("select count(*) from t").unwrap().as_str()), (2, "0"));
        let copies = "select count(*) from pg_stat_activity where query like 'copy %' and state = 'active'
            and datname = current_database() and pid <> pg_backend_pid()";
        assert_eq!(database.psql(copies).unwrap(), "0");
        let _ = pool.close().await;
    }
}

macro_rules! replaces {
    ($($name:ident: |$conn:ident| $copy:block)*) => {$(
        #[tokio::test]
        async fn $name() {
            replaces(async |$conn: &mut PgConn| { $copy; }).await;
        }
    )*};
}

replaces! {
    a_copy_in_that_is_dropped_costs_the_connection: |conn| {
        let mut copy = conn.raw().copy_in_raw("copy t from stdin").await.unwrap();
        copy.send(&b"1\n"[..]).await.unwrap();
    }
    a_copy_in_that_is_forgotten_costs_the_connection: |conn| {
        std::mem::forget(conn.raw().copy_in_raw("copy t from stdin").await.unwrap())
    }
    a_copy_out_that_is_dropped_costs_the_connection: |conn| {
        drop(conn.raw().copy_out_raw("copy (select 1) to stdout").await.unwrap())
    }
    a_copy_out_left_half_read_costs_the_connection: |conn| {
        let mut copy = conn.raw().copy_out_raw("copy (select generate_series(1, 100000)) to stdout").await.unwrap();
        copy.next().await.unwrap().unwrap();
    }
    a_copy_out_that_fails_costs_the_connection: |conn| {
        conn.raw().copy_out_raw("copy nothing to stdout").await.err().unwrap()
    }
    a_copy_out_that_is_dropped_while_it_runs_is_stopped: |conn| {
        let slow = "copy (select pg_sleep(case when g > 50000 then 60 else 0 end) from generate_series(1, 60000) g) to stdout";
        drop(conn.raw().copy_out_raw(slow).await.unwrap())
    }
}

/// The caller of the `COPY` may go on with the same connection.
#[tokio::test]
async fn after_a_copy_that_was_not_ended_no_statement_of_the_same_loan_gets_another_s_answer() {
    async fn begin_to_copy(conn: &mut sqlx::PgConnection, which: usize) {
        match which {
            0 => drop(conn.copy_in_raw("copy t from stdin").await.unwrap()),
            1 => std::mem::forget(conn.copy_in_raw("copy t from stdin").await.unwrap()),
            2 => drop(conn.copy_out_raw("copy (select 1) to stdout").await.unwrap()),
            _ => drop(conn.copy_out_raw("copy nothing to stdout").await.err().unwrap()),
        }
    }
    fn check<T: PartialEq + std::fmt::Debug>(which: usize, answer: Result<T, sqlx::Error>, right: T) {
        match answer {
            Ok(answer) => assert_eq!(answer, right, "{which}"),
            Err(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => {}
            Err(error) => panic!("{which}: an error of the server's is an answer, too: {error}"),
        }
    }
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer primary key); insert into t values (1), (2), (3)").unwrap();
    for which in 0..4 {
        let pool = PgPool::connect(patient(database.url())).await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        begin_to_copy(conn.raw(), which).await;
        for n in 0..3 {
            let answer = sqlx::query_scalar::<_, i32>("select $1 + 1").bind(n).fetch_one(&mut conn).await;
            check(which, answer, n + 1);
            let deleted = (&mut conn).execute("delete from t where n = 1 and false").await;
            check(which, deleted.map(|done| done.rows_affected()), 0);
            let some = sqlx::query_scalar::<_, String>("select '2'").fetch_optional(&mut conn).await;
            check(which, some, Some("2".to_owned()));
        }
        drop(conn);

        let mut tx = pool.begin().await.unwrap();
        tx.execute("insert into t values (9)").await.unwrap();
        begin_to_copy(tx.raw(), which).await;
        assert!(tx.commit().await.is_err(), "{which}: neither is committed what was made before");
        assert_eq!(database.psql("select count(*) from t where n = 9").unwrap(), "0", "{which}");

        let mut tx = pool.begin().await.unwrap();
        tx.execute("select 1 / 0").await.unwrap_err();
        tx.raw();
        let error = tx.execute("select 1").await.unwrap_err();
        assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("25P02"));
        tx.rollback().await.unwrap();
        let _ = pool.close().await;
    }
}

/// As behind the address of several readers.
#[tokio::test]
async fn a_cancel_that_reaches_another_server_ends_nobody_else_s_statement_and_is_tried_again() {
    let (here, there) = (
        Postgres::shared().database().unwrap(),
        Postgres::start_with(Listen::Socket, &[("log_statement", "all")]).unwrap(),
    );
    there.psql("postgres", &format!("create database {}", here.name())).unwrap();
    let proxy = Proxy::start(&here.url()).unwrap();
    let pool = PgPool::connect(patient(proxy.url(&here.url()))).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let sleeper = sqlx::query("select pg_sleep(60)").execute(&mut conn);
    let is_asleep = async || {
        let asleep = "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active' \
            and datname = current_database()";
        while here.psql(asleep).unwrap() != "1" {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { _ = sleeper => unreachable!("it sleeps"), () = is_asleep() => {} }
    let traffic = proxy.traffic();
    proxy.lead_to(&there.url("postgres")).unwrap();
    drop(conn);
    proxy.until(|now| now.accepted > traffic.accepted + 1).await;
    proxy.lead_to(&here.url()).unwrap();
    assert_eq!(sqlx::query_scalar::<_, i32>("select 1").fetch_one(&pool).await.unwrap(), 1);
    assert_eq!(pool.status().totals.opened, 1, "the connection was cleaned in the end");
    assert!(there.log().contains("pg_postmaster_start_time"), "the first connect led there");
    assert!(!there.log().contains("pg_cancel_backend"), "{}", there.log());
}

#[tokio::test]
async fn one_select_per_request_is_one_round_trip_on_a_warm_connection() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let pool = PgPool::connect(patient(proxy.url(&database.url()))).await.unwrap();
    let request = async || {
        let mut conn = pool.acquire().await.unwrap();
        sqlx::query_scalar::<_, i32>("select $1 + 1").bind(1).fetch_one(&mut conn).await.unwrap()
    };
    request().await;
    let before = proxy.traffic().round_trips;
    proxy.take_messages();
    for _ in 0..50 {
        request().await;
    }
    assert_eq!(proxy.traffic().round_trips - before, 50, "{}", proxy.take_messages());
}

/// What the front page says of it.
#[tokio::test]
async fn one_select_per_request_is_three_round_trips_with_the_pool_of_sqlx() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let pool = sqlx::PgPool::connect_lazy(&proxy.url(&database.url())).unwrap();
    let request = async || {
        let mut conn = pool.acquire().await.unwrap();
        sqlx::query_scalar::<_, i32>("select $1 + 1").bind(1).fetch_one(&mut *conn).await.unwrap();
        drop(conn);
        // The ping on release runs in a task of its own.
        while pool.num_idle() == 0 {
            tokio::task::yield_now().await;
        }
    };
    request().await;
    let before = proxy.traffic().round_trips;
    proxy.take_messages();
    for _ in 0..50 {
        request().await;
    }
    assert_eq!(proxy.traffic().round_trips - before, 150, "{}", proxy.take_messages());
}

/// Within 100 ms: the 20 ms in which it might have ended by itself, a connect, and the cancel. Where a connect alone takes long, as on
/// a machine that is busy with other tests, as much longer.
#[tokio::test]
async fn a_statement_nobody_waits_for_is_gone_from_the_server_at_once() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(patient(database.url())).await.unwrap();
    let (mut took, mut connects) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let mut conn = pool.acquire().await.unwrap();
        let sleep = sqlx::query("select pg_sleep(60)").execute(&mut conn);
        tokio::time::timeout(Duration::from_millis(50), sleep).await.unwrap_err();
        let dropped = Instant::now();
        drop(conn);
        // Lent again: so it was proved idle.
        let mut conn = pool.acquire().await.unwrap();
        took.push(dropped.elapsed());
        let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut conn).await.unwrap();
        assert!(pid > 0 && pool.status().totals.opened == 1);
        let connect = Instant::now();
        let _ = sqlx::PgConnection::connect(&database.url()).await.unwrap().close().await;
        connects.push(connect.elapsed());
    }
    let asleep = database.psql(
        "select count(*) from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active'
        and datname = current_database() and pid <> pg_backend_pid()",
    );
    assert_eq!(asleep.unwrap(), "0");
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let (took, connect) = (median(&mut took), median(&mut connects));
    let limit = Duration::from_millis(100).max(Duration::from_millis(50) + 3 * connect);
    eprintln!("cancelled and lent again after {took:?}; a connect takes {connect:?}");
    assert!(took < limit, "{took:?} of {limit:?}");
}

#[tokio::test]
async fn what_follows_a_statement_that_was_dropped_on_the_same_loan_has_its_own_answer_and_waits_for_nobody() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer primary key); insert into t values (1)").unwrap();
    let pool = PgPool::connect(patient(database.url()).with_statement_timeout(Duration::from_secs(60))).await.unwrap();
    let answer = || sqlx::query_scalar::<_, i32>("select 42");
    for dropped in ["insert into t select 1 from pg_sleep(0.3)", "select pg_sleep(60)"] {
        let mut conn = pool.acquire().await.unwrap();
        tokio::time::timeout(Duration::from_millis(100), conn.execute(dropped)).await.unwrap_err();
        let asked = Instant::now();
        assert_eq!(answer().fetch_one(&mut conn).await.unwrap(), 42, "{dropped}");
        assert!(asked.elapsed() < SOON, "{dropped}: {:?}", asked.elapsed());
        assert_eq!(database.psql(RUNNING).unwrap(), "0");
    }
    // A stream that was left early is one as well.
    let mut conn = pool.acquire().await.unwrap();
    let slow = "select repeat('x', 10000), pg_sleep(1) from generate_series(1, 60)";
    let mut rows = sqlx::query(slow).fetch(&mut conn);
    rows.next().await.unwrap().unwrap();
    drop(rows);
    let asked = Instant::now();
    assert_eq!(answer().fetch_one(&mut conn).await.unwrap(), 42);
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    drop(conn);
    assert_eq!(answer().fetch_one(&pool).await.unwrap(), 42);
    assert_eq!(pool.status().totals.opened, 1);
}

#[tokio::test]
async fn a_server_that_does_not_take_a_cancellation_holds_nobody_up_on_the_same_loan() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let limits = settings(proxy.url(&database.url())).with_statement_timeout(Duration::from_secs(60));
    let pool = PgPool::connect(limits.with_reset_timeout(Duration::from_millis(500))).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    proxy.set(Mode::Silent);
    tokio::time::timeout(Duration::from_millis(50), conn.execute("select 1")).await.unwrap_err();
    let asked = Instant::now();
    let error = Error::from(conn.execute("select 2").await.unwrap_err());
    assert!(error.to_string().contains("reset_timeout") && asked.elapsed() < SOON, "{error}: {:?}", asked.elapsed());
    proxy.set(Mode::Pass);
}

#[tokio::test]
async fn a_statement_nobody_waits_for_is_stopped_on_a_connection_that_is_to_be_replaced_too() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(patient(database.url())).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let sleep = sqlx::query("select pg_sleep(60)").execute(&mut conn);
    tokio::time::timeout(Duration::from_millis(50), sleep).await.unwrap_err();
    pool.invalidate();
    let dropped = Instant::now();
    drop(conn);
    sqlx::query("select 1").execute(&pool).await.unwrap();
    assert!(dropped.elapsed() < SOON, "{:?}", dropped.elapsed());
    let asleep = database.psql(
        "select count(*) from pg_stat_activity where query like '%pg_sleep(60)%' and state = 'active'
        and datname = current_database() and pid <> pg_backend_pid()",
    );
    assert_eq!((asleep.unwrap().as_str(), pool.status().totals.opened, pool.status().abandoned), ("0", 2, 0));
}

#[tokio::test]
async fn a_storm_of_cancelled_statements_costs_a_few_connects_and_is_soon_over() {
    const MANY: u32 = 20;
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let pool = PgPool::connect(patient(proxy.url(&database.url())).with_pool_size(MANY)).await.unwrap();
    drop_statements(&pool, MANY, || database.psql(RUNNING).unwrap().parse().unwrap()).await;
    let dropped = Instant::now();
    let conns = futures_util::future::join_all((0..MANY).map(|_| pool.acquire())).await;
    assert!(conns.iter().all(Result::is_ok) && dropped.elapsed() < SOON, "{:?}", dropped.elapsed());
    assert_eq!(database.psql(RUNNING).unwrap(), "0");
    assert_eq!(pool.status().totals.opened, u64::from(MANY), "all were kept");
    let controls = proxy.traffic().accepted - u64::from(MANY);
    assert!((1..=5).contains(&controls), "{controls} connects to cancel {MANY} statements");
}

#[tokio::test]
async fn a_connection_on_which_many_statements_were_dropped_is_replaced() {
    let names = "select count(*) from pg_prepared_statements";
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(patient(database.url())).await.unwrap();
    for n in 1..=50 {
        let mut conn = pool.acquire().await.unwrap();
        assert_eq!(pool.status().totals.opened, 1, "after {n} it is still the first");
        // Dropped while it is prepared: sqlx forgets its name, and the server keeps it.
        assert!(sqlx::query("select pg_sleep(60 * $1)").bind(1.0).execute(&mut conn).now_or_never().is_none());
    }
    let left: i64 = sqlx::query_scalar(names).fetch_one(&pool).await.unwrap();
    assert_eq!((left, pool.status().totals.opened, pool.status().abandoned), (1, 2, 0), "this one's own");
}

#[tokio::test]
async fn the_server_ends_a_statement_that_runs_too_long_and_the_connection_goes_on() {
    let database = Postgres::shared().database().unwrap();
    let limits =
        settings(database.url()).with_statement_timeout(Duration::from_secs(1)).with_statement_timeout_status(504u16);
    let pool = PgPool::connect(limits).await.unwrap();
    let error = Error::from(sqlx::query("select pg_sleep(60)").execute(&pool).await.unwrap_err());
    assert_eq!((error.kind(), error.status()), (ErrorKind::StatementTimeout, 504), "{error}");
    let code = error.sqlx().and_then(|e| e.as_database_error()).and_then(|e| e.code().map(String::from));
    assert_eq!(code.as_deref(), Some("57014"));
    sqlx::query("select 1").execute(&pool).await.unwrap();
    assert_eq!((pool.status().totals.opened, pool.status().totals.resets), (1, 0));
}

#[tokio::test]
async fn somebody_else_s_cancel_is_no_timeout() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let statement = sqlx::query("select pg_cancel_backend(pg_backend_pid()), pg_sleep(60)").execute(&pool);
    assert_eq!(Error::from(statement.await.unwrap_err()).kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_server_that_falls_silent_in_mid_statement_is_given_up_within_a_second_of_the_limit() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let limit = Duration::from_millis(500);
    let pool = PgPool::connect(settings(proxy.url(&database.url())).with_statement_timeout(limit)).await.unwrap();
    // A busy machine may be late, but not every time.
    let mut took = Vec::new();
    for opened in 2..=4 {
        let mut conn = pool.acquire().await.unwrap();
        sqlx::query("select 1").execute(&mut conn).await.unwrap();
        proxy.set(Mode::Silent);
        let asked = Instant::now();
        let error = Error::from(sqlx::query("select 1").execute(&mut conn).await.unwrap_err());
        took.push(asked.elapsed());
        assert_eq!((error.kind(), error.status()), (ErrorKind::StatementTimeout, 503), "{error}");
        drop(conn);
        proxy.set(Mode::Pass);
        sqlx::query("select 1").execute(&pool).await.unwrap();
        assert_eq!(pool.status().totals.opened, opened);
    }
    assert!(took.iter().any(|took| *took < limit + Duration::from_secs(1)), "{took:?}");
}

#[tokio::test]
async fn a_peer_that_vanished_while_nobody_asked_is_found_by_keepalive_or_by_the_next_caller() {
    let database = Postgres::shared().database().unwrap();
    let limit = Duration::from_millis(200);
    for keepalive in [Some(Duration::from_millis(300)), None] {
        let proxy = Proxy::start(&database.url()).unwrap();
        let url = proxy.url(&database.url());
        let limits = settings(url).with_keepalive(keepalive).with_pre_ping_after(Duration::ZERO);
        let limits = limits.with_ping_timeout(limit).with_pool_timeout(limit * 150).with_connection_timeout(limit * 10);
        let pool = PgPool::connect(limits).await.unwrap();
        let closed = || pool.status().totals.closed();
        proxy.set(Mode::Silent);
        let found = async {
            while closed() == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::pin!(found);
        let patience = if keepalive.is_some() { limit * 100 } else { Duration::from_millis(1500) };
        let unasked = tokio::time::timeout(patience, &mut found).await.is_ok();
        assert_eq!(unasked, keepalive.is_some(), "nobody has asked for a connection");
        if !unasked {
            let _ = pool.acquire_timeout(limit * 2).await;
            tokio::time::timeout(limit * 100, found).await.expect("the next caller's ping finds it");
        }
        proxy.set(Mode::Pass);
        sqlx::query("select 1").execute(&pool).await.unwrap();
    }
}

#[tokio::test]
async fn a_host_with_several_addresses_costs_one_connection_by_whichever_answers() {
    let cluster = Postgres::start_with(Listen::Loopback, &[]).unwrap();
    // `localhost` is often ::1 as well, where nobody listens.
    let url = cluster.tcp_url("postgres").unwrap().replace("127.0.0.1", "localhost");
    let pool = PgPool::connect(settings(url + "?sslmode=disable")).await.unwrap();
    let by: String = sqlx::query_scalar("select host(inet_server_addr())").fetch_one(&pool).await.unwrap();
    assert_eq!((by.as_str(), pool.status().totals.connect_errors), ("127.0.0.1", 0));
    assert_eq!(cluster.psql("postgres", "select count(*) from pg_stat_activity where client_port > 0").unwrap(), "1");
    let mut listener = pool.listen(["tracks"]).unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(30), listener.next()).await;
    assert_eq!(heard.unwrap(), Some(ListenEvent::Resync));
}

#[tokio::test]
async fn a_slow_reader_of_a_stream_is_not_the_server_s_fault() {
    let database = Postgres::shared().database().unwrap();
    let pool =
        PgPool::connect(settings(database.url()).with_statement_timeout(Duration::from_millis(500))).await.unwrap();
    let mut rows = sqlx::query("select generate_series(1, 3)").fetch(&pool);
    let mut read = 0;
    while let Some(row) = rows.next().await {
        row.unwrap();
        read += 1;
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    assert_eq!(read, 3);
}

#[tokio::test]
async fn a_connection_the_server_ends_is_replaced() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let suicide = sqlx::query("select pg_terminate_backend(pg_backend_pid())").execute(&pool).await.unwrap_err();
    let error = Error::from(suicide);
    assert_eq!((error.kind(), error.status()), (ErrorKind::Lost, 503), "{error}");
    sqlx::query("select 1").execute(&pool).await.unwrap();
    assert_eq!(pool.status().totals.opened, 2);
}

#[tokio::test]
async fn limits_are_the_server_s_own_and_survive_a_full_reset() {
    let database = Postgres::shared().database().unwrap();
    for reset in [Reset::Rollback, Reset::Session, Reset::Full] {
        let limits = settings(database.url())
            .with_reset(reset)
            .with_application_name("limits test")
            .with_statement_timeout(Duration::from_millis(7000))
            .with_lock_timeout(Duration::from_millis(6000))
            .with_idle_in_transaction_timeout(Duration::from_millis(5000));
        let pool = PgPool::connect(limits).await.unwrap();
        for _ in 0..2 {
            for (setting, value) in [
                ("statement_timeout", "7s"),
                ("lock_timeout", "6s"),
                ("idle_in_transaction_session_timeout", "5s"),
                ("application_name", "limits test"),
            ] {
                let show = sqlx::query_scalar::<_, String>("select current_setting($1)").bind(setting);
                assert_eq!(show.fetch_one(&pool).await.unwrap(), value, "{setting}, {reset:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_session_holds_is_seen_by_the_next_user_or_not_as_reset_says() {
    use Reset::{Full, Rollback, Session};
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
    for (left_behind, look, seen_under) in [
        (
            "set my.setting = 'other'",
            "select count(*) from (select nullif(current_setting('my.setting', true), '') s) x where s is not null",
            &[Rollback][..],
        ),
        (
            "create temp table mine ()",
            "select count(*) from (select to_regclass('mine') t) x where t is not null",
            &[Rollback],
        ),
        ("select pg_advisory_lock(1)", locks, &[Rollback]),
        ("declare c cursor with hold for select 1", "select count(*) from pg_cursors where name = 'c'", &[Rollback]),
        ("prepare p as select 1", "select count(*) from pg_prepared_statements where name = 'p'", &[Rollback, Session]),
        ("set role pg_monitor", "select count(*) from (select current_user = 'pg_monitor' r) x where r", &[Rollback]),
        (
            "set session authorization pg_monitor",
            "select count(*) from (select session_user = 'pg_monitor' r) x where r",
            &[Rollback],
        ),
        // Under none: a notification between two statements would break the connection.
        ("listen tracks", "select count(*) from pg_listening_channels()", &[]),
    ] {
        for reset in [Rollback, Session, Full] {
            let database = Postgres::shared().database().unwrap();
            let pool = PgPool::connect(patient(database.url()).with_reset(reset)).await.unwrap();
            sqlx::query("select 1 + $1").bind(1).execute(&pool).await.unwrap();
            pool.acquire().await.unwrap().execute(left_behind).await.unwrap();
            database.psql("notify tracks").unwrap();
            let seen: i64 = sqlx::query_scalar(look).fetch_one(&pool).await.unwrap();
            assert_eq!(seen > 0, seen_under.contains(&reset), "{left_behind}, {reset:?}");
            sqlx::query("select 1 + $1").bind(1).execute(&pool).await.expect("cached statements work after any reset");
            assert_eq!(pool.status().totals.opened, 1);
        }
    }
}

#[tokio::test]
async fn what_sqlx_s_own_connection_left_running_is_gone_from_the_server_at_once() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(patient(database.url())).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let sleep = conn.raw().execute("select pg_sleep(60)");
    tokio::time::timeout(Duration::from_millis(50), sleep).await.unwrap_err();
    let dropped = Instant::now();
    drop(conn);
    sqlx::query("select 1").execute(&pool).await.unwrap();
    assert!(dropped.elapsed() < SOON, "{:?}", dropped.elapsed());
    assert_eq!(pool.status().totals.opened, 1);
}

#[tokio::test]
async fn the_server_notices_a_client_that_is_gone_whatever_is_reset() {
    let database = Postgres::shared().database().unwrap();
    for reset in [Reset::Rollback, Reset::Session, Reset::Full] {
        let pool = PgPool::connect(settings(database.url()).with_reset(reset)).await.unwrap();
        for _ in 0..2 {
            let shown = sqlx::query_scalar("select current_setting('client_connection_check_interval')");
            let shown: String = shown.fetch_one(&pool).await.unwrap();
            assert_eq!(shown, "500ms", "{reset:?}");
        }
        assert_eq!(pool.status().totals.opened, 1);
    }
    let long = settings(database.url()).with_statement_timeout(Duration::from_secs(60));
    let mut alone = PgPool::connect(long).await.unwrap().acquire().await.unwrap().detach();
    tokio::time::timeout(Duration::from_millis(50), alone.execute("select pg_sleep(60)")).await.unwrap_err();
    drop(alone);
    let left =
        "select count(*) from pg_stat_activity where datname = current_database() and query like '%pg_sleep(60)%'
        and state = 'active' and pid <> pg_backend_pid()";
    let gone = async {
        while database.psql(left).unwrap() != "0" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the statement ends with its client");
}

#[tokio::test]
async fn each_connect_asks_for_the_password_of_the_moment() {
    let rules = ("pg_hba.conf", "local all rotating scram-sha-256\nlocal all all trust\n");
    let cluster = Postgres::start_with_files(Listen::Socket, &[], &[rules]).unwrap();
    cluster.psql("postgres", "create role rotating login password 'one'").unwrap();
    let url = cluster.url("postgres").replace("postgres@", "rotating:stale@");
    let password = Arc::new(Mutex::new("one"));
    let asked = Arc::clone(&password);
    let pool = PgPool::connect_lazy(settings(url).with_before_connect(move || {
        let password = Secret::new(*asked.lock().unwrap());
        async { Ok(password) }
    }))
    .unwrap();
    let who = async || sqlx::query_scalar::<_, String>("select current_user::text").fetch_one(&pool).await;
    assert_eq!(who().await.unwrap(), "rotating");

    cluster.psql("postgres", "alter role rotating password 'two'").unwrap();
    pool.invalidate();
    let error = Error::from(who().await.unwrap_err());
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Connect, None), "{error}");
    assert!(!error.to_string().contains(" at line "), "a line of the server's source: {error}");
    *password.lock().unwrap() = "two";
    assert_eq!(who().await.unwrap(), "rotating");
    assert!(!format!("{pool:?}{error}").contains("two"));
}

#[tokio::test]
async fn a_password_in_a_file_counts_from_the_next_connect_on() {
    let rules = ("pg_hba.conf", "local all rotating scram-sha-256\nlocal all all trust\n");
    let cluster = Postgres::start_with_files(Listen::Socket, &[], &[rules]).unwrap();
    cluster.psql("postgres", "create role rotating login password 'one'").unwrap();
    let url = cluster.url("postgres").replace("postgres@", "rotating@");
    let file = std::env::temp_dir().join(format!("pool-password-{}", std::process::id()));
    std::fs::write(&file, "one\n").unwrap();
    let pool = PgPool::connect_lazy(settings(url).with_password_file(&file).unwrap()).unwrap();
    let who = async || sqlx::query_scalar::<_, String>("select current_user::text").fetch_one(&pool).await;
    assert_eq!(who().await.unwrap(), "rotating");

    cluster.psql("postgres", "alter role rotating password 'two'").unwrap();
    std::fs::write(&file, "two\n").unwrap();
    pool.invalidate();
    assert_eq!(who().await.unwrap(), "rotating");

    std::fs::remove_file(&file).unwrap();
    pool.invalidate();
    let error = pool.acquire_timeout(Duration::from_millis(200)).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("password_file failed"), "{error}");
    assert!(!error.contains("two"), "{error}");
}

/// As people have them, from before there was a pool.
mod helpers {
    use pool_sqlx::sqlx;
    use sqlx::{FromRow, PgConnection, PgExecutor, Postgres, QueryBuilder};

    #[derive(Debug, FromRow, PartialEq)]
    pub(crate) struct Track {
        pub(crate) id: i64,
        pub(crate) title: String,
    }

    pub(crate) async fn insert(conn: &mut PgConnection, tracks: &[Track]) -> Result<u64, sqlx::Error> {
        let mut insert = QueryBuilder::<Postgres>::new("insert into tracks (id, title) ");
        insert.push_values(tracks, |mut row, track| {
            row.push_bind(track.id).push_bind(&track.title);
        });
        Ok(insert.build().execute(conn).await?.rows_affected())
    }

    pub(crate) async fn all(executor: impl PgExecutor<'_>) -> Result<Vec<Track>, sqlx::Error> {
        sqlx::query_as("select id, title from tracks order by id").fetch_all(executor).await
    }
}

#[tokio::test]
async fn what_was_written_for_sqlx_works_as_it_is() {
    use helpers::{Track, all, insert};
    let database = Postgres::shared().database().unwrap();
    database.psql("create table tracks (id bigint, title text)").unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let tracks = || (1..=3).map(|id| Track { id, title: format!("track {id}") }).collect::<Vec<_>>();
    let mut conn = pool.acquire().await.unwrap();
    assert_eq!(insert(&mut conn, &tracks()).await.unwrap(), 3);
    assert_eq!(all(&mut conn).await.unwrap(), tracks());
    assert_eq!(all(&mut *conn).await.unwrap(), tracks());
    let mut tx = conn.begin().await.unwrap();
    assert_eq!(all(&mut tx).await.unwrap(), tracks());
    tx.rollback().await.unwrap();

    let mut copy = conn.raw().copy_in_raw("copy tracks from stdin").await.unwrap();
    copy.send(&b"4\ttrack 4\n"[..]).await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 1);
    drop(conn);
    assert_eq!(all(&pool).await.unwrap().len(), 4);
    assert_eq!(pool.status().totals.opened, 1);
}

#[tokio::test]
async fn a_library_that_insists_on_sqlx_s_pool_gets_one_with_the_same_limits_and_a_budget() {
    let database = Postgres::shared().database().unwrap();
    let limits = settings(database.url()).with_statement_timeout(Duration::from_millis(1234));
    let pool = PgPool::connect(limits).await.unwrap();
    let theirs: sqlx::PgPool = pool.sqlx_pool(2).unwrap();
    let show = sqlx::query_scalar::<_, String>("select current_setting('statement_timeout')");
    assert_eq!(show.fetch_one(&theirs).await.unwrap(), "1234ms");
    let held = (theirs.acquire().await.unwrap(), theirs.acquire().await.unwrap());
    assert!(theirs.try_acquire().is_none());
    assert_eq!((database.backends().unwrap(), pool.status().open), (3, 1));
    drop(held);
    theirs.close().await;
}

/// What `#[sqlx::test]` expands to. sqlx reads `DATABASE_URL` of the process, so this runs itself again with one.
#[test]
fn a_database_of_sqlx_s_own_test_is_lent_from_by_our_pool() {
    const AGAIN: &str = "POOL_TEST_AGAIN";
    async fn test(_: PgPoolOptions, options: PgConnectOptions) -> Result<(), Error> {
        let pool = PgPool::connect(settings(options.to_url_lossy())).await?;
        let tables: i64 = sqlx::query_scalar("select count(*) from m").fetch_one(&pool).await?;
        assert_eq!(tables, 0, "their migrations have been run, in a database of this test's own");
        assert!(pool.close().await.still_held.is_empty());
        Ok(())
    }
    if std::env::var_os(AGAIN).is_some() {
        static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
            let sql = sqlx::SqlSafeStr::into_sql_str("create table m (n integer)");
            Migrator::with_migrations(vec![Migration::new(1, "m".into(), MigrationType::Simple, sql, false)])
        });
        let mut args = TestArgs::new(concat!(module_path!(), "::a_database"));
        args.migrator(&MIGRATOR);
        let test: fn(PgPoolOptions, PgConnectOptions) -> _ = test;
        return TestFn::run_test(test, args).unwrap();
    }
    let database = Postgres::shared().database().unwrap();
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "a_database_of_sqlx_s_own_test_is_lent_from_by_our_pool", "--nocapture"]);
    let output = again.env(AGAIN, "").env("DATABASE_URL", database.url()).output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    let left = database.psql("select datname from pg_database where datname like '\\_sqlx\\_test\\_%'");
    assert_eq!(left.unwrap(), "", "sqlx could drop it, for our pool was closed");
}

#[tokio::test]
async fn an_error_s_kind_follows_its_sqlstate() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    for (state, kind, status) in [
        ("55P03", ErrorKind::LockTimeout, 503),
        ("40001", ErrorKind::Conflict, 503),
        ("40P01", ErrorKind::Conflict, 503),
        ("57014", ErrorKind::Cancelled, 503),
        ("53300", ErrorKind::Connect, 503),
        ("57P03", ErrorKind::Connect, 503),
        ("23505", ErrorKind::Database, 500),
        ("42P01", ErrorKind::Database, 500),
    ] {
        let raise = format!("do $$ begin raise sqlstate '{state}' using message = 'on\npurpose'; end $$");
        let error = Error::from(conn.execute(sqlx::AssertSqlSafe(raise)).await.unwrap_err());
        assert_eq!((error.kind(), error.status()), (kind, status), "{state}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_said_at_once_and_one_that_is_down_in_time() {
    let database = Postgres::shared().database().unwrap();
    let asked = Instant::now();
    let nowhere = Postgres::shared().url("nowhere_at_all");
    let error = PgPool::connect(settings(nowhere)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Connect, None), "{error}");
    assert!(asked.elapsed() < SOON && error.to_string().contains("nowhere_at_all"), "{error}");

    let proxy = Proxy::start(&database.url()).unwrap();
    proxy.set(Mode::Refuse);
    let patience = Duration::from_millis(300);
    // A busy machine may be late, but not every time.
    let mut took = Vec::new();
    for _ in 0..5 {
        let asked = Instant::now();
        let limits = settings(proxy.url(&database.url())).with_pool_timeout(patience);
        let error = PgPool::connect(limits).await.unwrap_err();
        took.push(asked.elapsed());
        assert_eq!(
            (error.kind(), error.verdict(), error.status()),
            (ErrorKind::Connect, Some(Verdict::Connecting), 503)
        );
        assert!(error.retry_after().is_some(), "{error}");
    }
    assert!(took.iter().any(|took| *took < patience + Duration::from_millis(200)), "{took:?}");
}

#[tokio::test]
async fn migrations_run_without_a_statement_timeout_and_beside_the_pool() {
    let database = Postgres::shared().database().unwrap();
    let slow = "create table m (n integer); select pg_sleep(1.5); insert into m values (1)";
    let migration =
        Migration::new(1, "slow".into(), MigrationType::Simple, sqlx::SqlSafeStr::into_sql_str(slow), false);
    let migrator = Migrator::with_migrations(vec![migration]);
    let pool = PgPool::connect_lazy(settings(database.url()).with_statement_timeout(Duration::from_secs(1))).unwrap();
    pool.migrate(&migrator).await.unwrap();
    pool.migrate(&migrator).await.unwrap();
    let n: i64 = sqlx::query_scalar("select count(*) from m").fetch_one(&pool).await.unwrap();
    assert_eq!((n, pool.status().totals.opened), (1, 1));
}

#[tokio::test]
async fn a_thousand_cancelled_requests_leave_nothing_behind() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(patient(database.url()).with_pool_size(4u32)).await.unwrap();
    let request = async |n: u64| -> Result<(), Error> {
        let mut tx = pool.begin().await?;
        sqlx::query("select pg_sleep(0.0002)").execute(&mut tx).await?;
        assert_eq!(sqlx::query_scalar::<_, i64>("select $1").bind(n as i64).fetch_one(&mut tx).await?, n as i64);
        tx.commit().await
    };
    let begun = Instant::now();
    let usual: Vec<_> = futures_util::stream::iter(0..32).map(request).buffer_unordered(8).collect().await;
    assert!(usual.iter().all(Result::is_ok), "{usual:?}");
    let usual = begun.elapsed() / 4;
    let requests = futures_util::stream::iter(0..1000_u64).map(|n| {
        // Spread over twice the time a request takes here, by a multiplier that visits every remainder; one or the other has time.
        let share = (n * 7919 % 1000) as u32;
        let patience = if n % 50 == 49 { Duration::from_secs(30) } else { usual * share / 500 };
        tokio::time::timeout(patience, request(n))
    });
    let outcomes: Vec<_> = requests.buffer_unordered(8).collect().await;
    let (answered, cancelled): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!(answered.iter().all(|answer| matches!(answer, Ok(Ok(())))), "{answered:?}");
    assert!(!answered.is_empty() && !cancelled.is_empty(), "{} and {}", answered.len(), cancelled.len());
    let conns = futures_util::future::join_all((0..4).map(|_| pool.acquire())).await;
    for conn in conns {
        let clean = conn.unwrap().raw().begin_with("SELECT 1").await.map(drop);
        assert!(matches!(clean, Err(sqlx::Error::BeginFailed)), "{clean:?}");
    }
    // All slots come back, once the last probes of ours are cleaned up after.
    while pool.status().idle < 4 {
        tokio::task::yield_now().await;
    }
    let status = pool.status();
    assert_eq!(status.totals.closed_by.of(CloseReason::Broken), 0, "none broken");
    assert!(pool.close().await.still_held.is_empty());
    // The server needs a moment to see a goodbye.
    while database.backends().unwrap() > 0 {}
}

#[tokio::test]
async fn what_the_server_says_of_its_limits_becomes_advice() {
    let database = Postgres::shared().database().unwrap();
    let role = format!("modest_{}", database.name());
    database.psql(&format!("create role {role} login connection limit 7")).unwrap();
    database.psql(&format!("alter role {role} set idle_session_timeout = '5min'")).unwrap();
    let url = database.url().replacen("postgres://postgres@", &format!("postgres://{role}@"), 1);
    let modest = DatabaseSettings::new(&url).unwrap().with_application_name(role.as_str());
    let pool = PgPool::connect_lazy(modest.with_idle_timeout(Duration::from_secs(900))).unwrap();
    assert_eq!(pool.advice(), [], "nothing is known before the first connect");
    drop(pool.acquire().await.unwrap());
    let advice: Vec<_> = pool.advice().iter().map(ToString::to_string).collect();
    let [room, idle] = &advice[..] else { panic!("{advice:?}") };
    assert!(
        room.starts_with("pool_size: 1 of this program with up to 15 connections each and one to cancel statements"),
        "{room}"
    );
    assert!(room.contains("are more than the role's connection limit (7)"), "{room}");
    assert!(room.contains("the server refuses new connections to this user"), "{room}");
    assert!(idle.contains("keeps an idle connection for 900s, the server for 300s (idle_session_timeout)"), "{idle}");
    let _ = pool.close().await;

    // A limit leaves room for whom it does not count: another role's connections take none of this one's.
    let told = async |limit: u32, others: usize| {
        // Not by a connection to this database, whose end the server may not have noticed when it counts.
        let elsewhere = |sql: &str| Postgres::shared().psql("postgres", sql).unwrap();
        elsewhere(&format!("alter role {role} connection limit {limit}"));
        while database.backends().unwrap() != others {}
        let settings = DatabaseSettings::new(&url).unwrap().with_application_name(role.as_str());
        let pool = PgPool::connect_lazy(settings.with_idle_timeout(Duration::from_secs(60))).unwrap();
        drop(pool.acquire().await.unwrap());
        let told: Vec<_> = pool.advice().iter().map(|advice| advice.finding.clone()).collect();
        let _ = pool.close().await;
        told
    };
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(sqlx::PgConnection::connect(&database.url()).await.unwrap());
    }
    assert_eq!(told(32, 8).await, [""; 0]);
    // Those of another program of this role do.
    for _ in 0..3 {
        others.push(sqlx::PgConnection::connect(&url).await.unwrap());
    }
    let [beside] = &told(18, 11).await[..] else { panic!("one piece of advice") };
    assert!(beside.contains("beside 3 of others, are more than the role's connection limit (18)"), "{beside}");
    // And whoever is connected to the database counts for the database's limit.
    let limit = format!("alter database {} connection limit 26", database.name());
    Postgres::shared().psql("postgres", &limit).unwrap();
    let [beside] = &told(100, 11).await[..] else { panic!("one piece of advice") };
    assert!(beside.contains("beside 11 of others, are more than the database's connection limit (26)"), "{beside}");
    for other in others {
        let _ = other.close().await;
    }
    database.psql(&format!("drop role {role}")).unwrap();
}

#[tokio::test]
async fn pools_of_one_process_share_the_room_that_the_server_has_for_them() {
    let database = Postgres::shared().database().unwrap();
    let role = format!("shared_{}", database.name());
    database.psql(&format!("create role {role} login connection limit 57")).unwrap();
    let url = database.url().replacen("postgres://postgres@", &format!("postgres://{role}@"), 1);
    let connect = async |name: &str| {
        let settings =
            DatabaseSettings::new(&url).unwrap().with_name(name).with_pool_size(20u32).with_max_overflow(0u32);
        // One of them calls itself something else: the server counts it among others, and we do not.
        let settings = settings.with_application_name(if name == "d" { "other" } else { role.as_str() });
        let pool = PgPool::connect_lazy(settings.with_idle_timeout(Duration::from_secs(60))).unwrap();
        drop(pool.acquire().await.unwrap());
        pool
    };
    let told = |pool: &PgPool| -> Vec<String> { pool.advice().iter().map(|advice| advice.finding.clone()).collect() };
    let d = connect("d").await;
    let a = connect("a").await;
    let two = "1 of this program, each with 2 pools of up to 40 connections in all (a 20, d 20) and one per pool to cancel statements, \
               leave no room for one more within the role's connection limit (57)";
    assert_eq!(told(&a), [two]);
    let (b, c) = (connect("b").await, connect("c").await);
    let four = "1 of this program, each with 4 pools of up to 80 connections in all (a 20, b 20, c 20, d 20) and one per pool to cancel \
                statements, are more than the role's connection limit (57)";
    assert_eq!(told(&a), [four], "the others, too, as soon as they are there");
    assert!(told(&d)[0].contains("(d 20, a 20, b 20, c 20)"), "{:?}", told(&d));
    // One that shrinks, is closed or dropped leaves its room to the others.
    d.reconfigure(|settings| settings.with_pool_size(5)).unwrap();
    assert!(told(&a)[0].contains("up to 65 connections in all (a 20, b 20, c 20, d 5)"), "{:?}", told(&a));
    let _ = d.close().await;
    assert!(told(&a)[0].contains("3 pools of up to 60 connections in all (a 20, b 20, c 20)"), "{:?}", told(&a));
    drop((b, c));
    while !told(&a).is_empty() {
        tokio::task::yield_now().await;
    }
    let _ = a.close().await;
    while database.backends().unwrap() > 0 {}
    database.psql(&format!("drop role {role}")).unwrap();
}

#[tokio::test]
async fn the_pools_of_another_instance_are_not_counted_twice() {
    let databases = [Postgres::shared().database().unwrap(), Postgres::shared().database().unwrap()];
    let role = format!("instances_{}", databases[0].name());
    databases[0].psql(&format!("create role {role} login connection limit 30")).unwrap();
    let [one, two] =
        [0, 1].map(|n: usize| databases[n].url().replacen("postgres://postgres@", &format!("postgres://{role}@"), 1));
    // What is seen of another instance's two pools.
    let elsewhere = async |url: &str| {
        let options: PgConnectOptions = url.parse().unwrap();
        sqlx::PgConnection::connect_with(&options.application_name(&role)).await.unwrap()
    };
    let _theirs = [elsewhere(&one).await, elsewhere(&two).await, elsewhere(&two).await, elsewhere(&two).await];
    let connect = async |url: &str, name: &str| {
        let settings =
            DatabaseSettings::new(url).unwrap().with_name(name).with_pool_size(11u32).with_max_overflow(0u32);
        let settings = settings.with_application_name(role.as_str()).with_idle_timeout(Duration::from_secs(60));
        let pool = PgPool::connect_lazy(settings).unwrap();
        drop(pool.acquire().await.unwrap());
        pool
    };
    let pools = [connect(&two, "two").await, connect(&one, "one").await];
    let told: Vec<String> = pools[1].advice().iter().map(|advice| advice.finding.clone()).collect();
    // (11 + 1) * 2 leave room in 30: there is nobody else.
    assert_eq!(
        told,
        [
            "1 of this program, each with 2 pools of up to 22 connections in all (one 11, two 11) and one per pool to cancel statements, \
          leave no room for one more within the role's connection limit (30)"
        ]
    );
    for pool in pools {
        let _ = pool.close().await;
    }
}

#[tokio::test]
async fn statements_that_the_server_has_forgotten_trouble_one_loan_and_no_later_one() {
    for forget in [
        "discard all",
        "/* all of them */ deallocate all",
        "do $$ begin execute 'discard plans'; execute 'deallocate all'; end $$",
        "raw: deallocate all",
        "raw: discard all",
        "select forget()",
    ] {
        let database = Postgres::shared().database().unwrap();
        let body = "begin execute 'deallocate all'; end";
        database.psql(&format!("create function forget() returns void language plpgsql as $$ {body} $$")).unwrap();
        let pool = PgPool::connect(settings(database.url())).await.unwrap();
        let ask = || sqlx::query_scalar::<_, i32>("select $1 + 1").bind(1).fetch_one(&pool);
        assert_eq!(ask().await.unwrap(), 2);
        let mut conn = pool.acquire().await.unwrap();
        match forget.strip_prefix("raw: ") {
            Some(forget) => sqlx::raw_sql(forget).execute(conn.raw()).await.unwrap(),
            None => sqlx::raw_sql(forget).execute(&mut conn).await.unwrap(),
        };
        drop(conn);
        // What a function hides is not seen: the first to meet it gets the error, and nobody after.
        let seen = forget != "select forget()";
        assert_eq!(ask().await.is_ok(), seen, "{forget}");
        assert_eq!((ask().await.unwrap(), pool.status().totals.opened), (2, 2), "{forget}");
    }
}

#[tokio::test]
async fn a_table_that_was_altered_troubles_each_connection_once() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer)").unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let ask = || sqlx::query("select * from t where n <> $1").bind(1).fetch_optional(&pool);
    ask().await.unwrap();
    database.psql("alter table t add column more integer").unwrap();
    ask().await.map(drop).unwrap_err();
    ask().await.unwrap();
    assert_eq!(pool.status().totals.opened, 2);
}

#[tokio::test]
async fn a_statement_that_was_given_a_longer_limit_by_hand_costs_its_connection_and_no_other() {
    let database = Postgres::shared().database().unwrap();
    let limits = settings(database.url()).with_pool_size(3u32).with_statement_timeout(Duration::from_secs(1));
    let pool = PgPool::connect(limits).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    tx.execute("set local statement_timeout = '60s'").await.unwrap();
    let error = Error::from(tx.execute("select pg_sleep(60)").await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error}");
    drop(tx);
    while pool.status().totals.closed() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = pool.status();
    assert_eq!((status.health, status.totals.closed(), status.idle), (Health::Warm, 1, 2));
    let active = "select count(*) from pg_stat_activity where datname = current_database() and query like '%pg_sleep%' and pid <> pg_backend_pid()";
    assert_eq!(database.psql(active).unwrap(), "0", "it was cancelled");
}

/// What the server knows nothing of cannot be cancelled: it is waited for, and then counted.
#[tokio::test]
async fn a_connection_whose_statement_cannot_be_ended_is_abandoned_before_another_takes_its_place() {
    let database = Postgres::shared().database().unwrap();
    let limits = settings(database.url()).with_pool_size(2u32).with_reset_timeout(Duration::from_millis(100));
    let pool = PgPool::connect(limits.with_pooler(Pooler::Prepared)).await.unwrap();
    // On a busy machine it may take some rounds until a statement has begun when it is dropped.
    for round in 1.. {
        for _ in 0..2 {
            let sleep = sqlx::query("select pg_sleep(5)").execute(&pool);
            let _ = tokio::time::timeout(Duration::from_millis(50), sleep).await;
        }
        let (backends, status) = (database.backends().unwrap(), pool.status());
        assert!(backends <= 2 + status.abandoned as usize, "{backends} backends, round {round}: {status}");
        if round >= 3 && status.abandoned > 0 {
            break;
        }
        assert!(round < 200, "{status}");
    }
}

#[tokio::test]
async fn a_statement_whose_owner_panics_is_gone_from_the_server_and_so_is_his_transaction() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table t (n integer)").unwrap();
    let pool = PgPool::connect(patient(database.url())).await.unwrap();
    let owner = pool.clone();
    let panicked = tokio::spawn(async move {
        let mut tx = owner.begin().await.unwrap();
        sqlx::query("insert into t values (1)").execute(&mut tx).await.unwrap();
        let mut sleep = std::pin::pin!(sqlx::query("select pg_sleep(60)").execute(&mut tx));
        // It is dropped by the panic.
        let slept = tokio::time::timeout(Duration::from_millis(50), &mut sleep).await.expect("on purpose");
        slept.unwrap();
    });
    assert!(panicked.await.unwrap_err().is_panic());
    let left = Instant::now();
    let n: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&pool).await.unwrap();
    assert!(left.elapsed() < SOON, "{:?}", left.elapsed());
    assert_eq!((n, pool.status().totals.opened, &*database.psql(RUNNING).unwrap()), (0, 1, "0"));
}

#[tokio::test]
async fn a_cancel_that_was_given_up_on_its_way_hits_nobody_who_comes_later() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let limits = settings(proxy.url(&database.url())).with_reset_timeout(Duration::from_millis(300));
    let pool = PgPool::connect(limits).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let sleep = sqlx::query("select pg_sleep(1.5)").execute(&mut conn);
    tokio::time::timeout(Duration::from_millis(50), sleep).await.unwrap_err();
    // From here on nobody knows when the cancellation arrives.
    proxy.set(Mode::Hold);
    let error = Error::from(sqlx::query("select 1").execute(&mut conn).await.unwrap_err());
    assert!(error.to_string().contains("reset_timeout"), "{error}");
    let asleep = "select count(*) from pg_stat_activity where query = 'select pg_sleep(1.5)' and state = 'active'
        and datname = current_database()";
    while database.psql(asleep).unwrap() != "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // All is well with this connection, but for that.
    drop(conn);
    proxy.set(Mode::Pass);
    sqlx::query("select 1").execute(&pool).await.unwrap();
    assert_eq!(pool.status().totals.opened, 2);
}

#[tokio::test]
async fn what_comes_first_in_a_transaction_comes_first_after_raw_too() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    tx.raw().execute("set local role pg_monitor").await.unwrap();
    sqlx::raw_sql("set transaction isolation level serializable").execute(&mut tx).await.unwrap();
    let level: String = sqlx::query_scalar("show transaction_isolation").fetch_one(&mut tx).await.unwrap();
    assert_eq!(level, "serializable");
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn where_there_is_no_room_to_cancel_the_server_ends_what_runs_for_a_client_that_is_gone() {
    let cluster = Postgres::shared();
    let database = cluster.database().unwrap();
    let role = format!("tight_{}", database.name());
    cluster.psql("postgres", &format!("create role {role} login connection limit 2")).unwrap();
    let url = database.url().replacen("postgres://postgres@", &format!("postgres://{role}@"), 1);
    // As long as it would take if the statement were waited for.
    let limits =
        patient(&url).with_pool_size(2u32).with_reset_timeout(Duration::from_secs(50)).with_statement_timeout(None);
    let pool = PgPool::connect(limits).await.unwrap();
    let dropped = Instant::now();
    drop_statements(&pool, 2, || database.psql(RUNNING).unwrap().parse().unwrap()).await;
    while database.psql(RUNNING).unwrap() != "0" {
        assert!(dropped.elapsed() < Duration::from_secs(40), "they run on");
        // Time for the pool: `psql` holds this thread.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sqlx::query("select 1").execute(&pool).await.expect("there is room again");
    assert_eq!(pool.status().abandoned, 0, "the slots were kept until the sessions had gone");
    let _ = pool.close().await;
    while database.backends().unwrap() > 0 {}
    cluster.psql("postgres", &format!("drop role {role}")).unwrap();
}

#[tokio::test]
async fn a_reset_timeout_that_is_changed_is_kept_from_then_on() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let limit = Duration::from_secs(50);
    let limits = settings(proxy.url(&database.url())).with_statement_timeout(Duration::from_millis(500));
    let pool = PgPool::connect(limits.with_reset_timeout(limit).with_connection_timeout(limit)).await.unwrap();
    pool.reconfigure(|settings| settings.with_reset_timeout(Duration::from_millis(300))).unwrap();
    let dropped = Instant::now();
    proxy.set(Mode::Silent);
    let error = Error::from(sqlx::query("select 1").execute(&pool).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error}");
    // That the server does not take the cancellation either is known within the new limit, of which the pool hears.
    while pool.status().health != Health::Suspect {
        assert!(dropped.elapsed() < limit / 2, "{:?}", pool.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn passwords_for_cancels_are_asked_for_once_for_all_and_done_without_if_nobody_gives_one() {
    const MANY: u32 = 10;
    let database = Postgres::shared().database().unwrap();
    for fails in [false, true] {
        let (asked, connected) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (asks, is_connected) = (Arc::clone(&asked), Arc::clone(&connected));
        let limits = patient(database.url()).with_pool_size(MANY).with_before_connect(move || {
            asks.fetch_add(1, Ordering::Relaxed);
            let fails = fails && is_connected.load(Ordering::Relaxed);
            async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if fails { Err("no password today".into()) } else { Ok(Secret::new("any")) }
            }
        });
        let pool = PgPool::connect(limits).await.unwrap();
        connected.store(true, Ordering::Relaxed);
        let before = asked.load(Ordering::Relaxed);
        drop_statements(&pool, MANY, || database.psql(RUNNING).unwrap().parse().unwrap()).await;
        let dropped = Instant::now();
        let conns = futures_util::future::join_all((0..MANY).map(|_| pool.acquire())).await;
        assert!(conns.iter().all(Result::is_ok) && dropped.elapsed() < SOON, "{:?}", dropped.elapsed());
        let asked = asked.load(Ordering::Relaxed) - before;
        assert!((1..=4).contains(&asked), "asked {asked} times to cancel {MANY} statements");
        assert_eq!(pool.status().totals.opened, u64::from(MANY), "all were kept, fails: {fails}");
    }
}

#[tokio::test]
async fn who_listens_on_a_connection_on_loan_does_not_trouble_the_next_user() {
    let hidden = "do $$ begin execute 'listen tracks'; end $$";
    for (listen, raw) in
        [("listen tracks", false), ("/* app */ listen tracks", false), ("listen tracks", true), (hidden, false)]
    {
        let database = Postgres::shared().database().unwrap();
        let pool = PgPool::connect(settings(database.url())).await.unwrap();
        sqlx::query("select 2 + $1").bind(1).execute(&pool).await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        match raw {
            true => conn.raw().execute(listen).await.unwrap(),
            false => conn.execute(listen).await.unwrap(),
        };
        drop(conn);
        sqlx::query("select 1").execute(&pool).await.unwrap();
        database.psql("notify tracks").unwrap();
        // A session that listened would have the notification before this statement's answer.
        let answer: i32 = sqlx::query_scalar("select 2 + $1").bind(1).fetch_one(&pool).await.unwrap();
        assert_eq!(answer, 3, "{listen}");
    }
}
