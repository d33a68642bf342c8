//! pool-sqlx on a real MariaDB: limits, what a return cleans, and what is closed because it is in doubt.
#![allow(clippy::unwrap_used)]

use futures_util::StreamExt;
use pool_sqlx::{
    DatabaseSettings, Error, ErrorKind, Isolation, MySqlConn, MySqlPool, MySqlTx, Reset, TxOptions, pooled, sqlx,
};
use sqlx::{
    Connection, Executor,
    migrate::{Migration, MigrationType, Migrator},
};
use std::{
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};
use tests::{MariaDb, proxy::Proxy, server::mariadb::Database};

fn database() -> Database<'static> {
    let database = MariaDb::shared().database().unwrap();
    database.sql("create table t (n bigint primary key) engine = innodb").unwrap();
    database
}

fn settings(database: &Database<'_>) -> DatabaseSettings {
    let settings = DatabaseSettings::new(database.url()).unwrap().with_pool_size(1u32).with_max_overflow(0u32);
    // A busy machine may take its time.
    settings.with_reset_timeout(Duration::from_secs(8)).with_ping_timeout(Duration::from_secs(8))
}

/// Connections of ours to that database which run something now.
fn active(database: &Database<'_>) -> String {
    let name = database.name();
    let count = format!(
        "select count(*) from information_schema.processlist where db = '{name}' and command = 'Query' and id <> connection_id()"
    );
    database.sql(&count).unwrap()
}

/// Whether the server is MySQL: it keeps the time of a `SELECT` only, and has other words for some things.
fn is_mysql() -> bool {
    !MariaDb::shared().sql("", "select version()").unwrap().contains("MariaDB")
}

/// How many cleanings an action costs, and how many connections were opened. The next user must find no transaction in any case.
async fn cost(action: impl AsyncFnOnce(&mut MySqlConn)) -> (u64, u64) {
    let database = database();
    let pool = MySqlPool::connect(settings(&database)).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    action(&mut conn).await;
    drop(conn);
    let mut next = pool.acquire().await.unwrap();
    let resets = pool.status().totals.resets;
    let open: i64 = sqlx::query_scalar(match is_mysql() {
        true => {
            "select count(*) from performance_schema.events_transactions_current join performance_schema.threads using (thread_id) \
             where processlist_id = connection_id() and state = 'ACTIVE' and autocommit = 'NO'"
        }
        false => "select cast(@@in_transaction as signed)",
    })
    .fetch_one(&mut next)
    .await
    .unwrap();
    assert_eq!(open, 0, "the last user's transaction is still open");
    assert_eq!(database.sql("select count(*) from t").unwrap(), "0", "something was committed");
    (resets, pool.status().totals.opened)
}

macro_rules! costs {
    ($($name:ident: $expected:expr, |$conn:ident| $action:block)*) => {$(
        #[tokio::test]
        async fn $name() {
            assert_eq!(cost(async |$conn: &mut MySqlConn| { $action; }).await, $expected);
        }
    )*};
}

/// Kept and not cleaned, kept and cleaned, replaced.
const NOTHING: (u64, u64) = (0, 1);
const CLEANED: (u64, u64) = (1, 1);
const REPLACED: (u64, u64) = (1, 2);

costs! {
    a_watched_query_costs_nothing: NOTHING, |conn| { sqlx::query("select ?").bind(1).execute(conn).await.unwrap() }
    a_failed_query_costs_nothing: NOTHING, |conn| { sqlx::query("select nothing").execute(conn).await.unwrap_err() }
    a_transaction_rolled_back_costs_nothing: NOTHING, |conn| {
        let mut tx = conn.begin().await.unwrap();
        tx.execute("insert into t values (1)").await.unwrap();
        tx.rollback().await.unwrap();
    }
    a_dropped_transaction_is_rolled_back: CLEANED, |conn| {
        let mut tx = conn.begin().await.unwrap();
        tx.execute("insert into t values (1)").await.unwrap();
    }
    // What went past us, or may have left something open: any doubt closes the connection.
    a_begin_by_hand_is_rolled_back: REPLACED, |conn| {
        conn.execute("begin").await.unwrap();
        conn.execute("insert into t values (1)").await.unwrap();
    }
    a_begin_behind_our_back_is_rolled_back: REPLACED, |conn| {
        conn.raw().execute("begin").await.unwrap();
        conn.raw().execute("insert into t values (1)").await.unwrap();
    }
    a_transaction_of_sqlx_that_is_forgotten_is_rolled_back: REPLACED, |conn| {
        let mut tx = sqlx::Acquire::begin(conn).await.unwrap();
        (&mut *tx).execute("insert into t values (1)").await.unwrap();
        std::mem::forget(tx);
    }
    the_first_of_many_rows_costs_nothing: NOTHING, |conn| {
        let many = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 200) select i, repeat('x', 2000) from n";
        sqlx::query(many).fetch_one(conn).await.unwrap()
    }
    the_first_of_many_rows_behind_our_back_closes_the_connection: REPLACED, |conn| {
        let many = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 200) select i, repeat('x', 2000) from n";
        sqlx::query(many).fetch_one(conn.raw()).await.unwrap()
    }
    a_statement_dropped_on_its_way_closes_the_connection: REPLACED, |conn| {
        let sleep = sqlx::query("select sleep(60)").execute(conn);
        tokio::time::timeout(Duration::from_millis(50), sleep).await.unwrap_err();
    }
    a_stream_left_half_read_closes_the_connection: REPLACED, |conn| {
        let mut rows = sqlx::query(
            "with recursive n (i) as (select 1 union all select i + 1 from n where i < 320) select a.i from n a, n b",
        )
        .fetch(conn);
        rows.next().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_statement_nobody_waits_for_is_gone_from_the_server_at_once() {
    let database = database();
    let pool = MySqlPool::connect(settings(&database)).await.unwrap();
    let sleep = sqlx::query("select sleep(60)").execute(&pool);
    tokio::time::timeout(Duration::from_millis(50), sleep).await.unwrap_err();
    let dropped = Instant::now();
    sqlx::query("select 1").execute(&pool).await.unwrap();
    assert!(dropped.elapsed() < Duration::from_secs(7), "{:?}", dropped.elapsed());
    assert_eq!(active(&database), "0");
}

/// Polls at most so often, and then drops it.
async fn polls<F: Future>(times: u32, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), times);
    poll_fn(|cx| {
        left = match left.checked_sub(1) {
            Some(left) => left,
            None => return Poll::Ready(None),
        };
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_follows_a_statement_that_was_dropped_on_the_same_loan() {
    let database = database();
    let pool = MySqlPool::connect(settings(&database).with_pool_size(2u32)).await.unwrap();
    let (mut answered, mut refused) = (0, 0);
    for n in 0..300_i64 {
        let mut conn = pool.acquire().await.unwrap();
        let times = 1 + (n * 7919 % 5) as u32;
        match n % 3 {
            0 => drop(polls(times, sqlx::query("select cast(? as signed)").bind(-n).execute(&mut conn)).await),
            1 => drop(polls(times, sqlx::query("select nothing_of_that_name").execute(&mut conn)).await),
            _ => drop(polls(times, conn.fetch_all("select 1 union select 2 union select 3")).await),
        }
        for echo in [n, n + 1] {
            let answer = sqlx::query_scalar::<_, i64>("select cast(? as signed)").bind(echo).fetch_one(&mut conn);
            match tokio::time::timeout(Duration::from_secs(20), answer).await.expect("at once") {
                Ok(answer) => {
                    assert_eq!(answer, echo);
                    answered += 1;
                }
                Err(error) => {
                    assert!(error.to_string().contains("acquire another"), "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(answered > 0 && refused > 0, "{answered} and {refused}");

    let mut tx = pool.begin().await.unwrap();
    tx.execute("insert into t values (1)").await.unwrap();
    tokio::time::timeout(Duration::from_millis(50), tx.execute("select sleep(60)")).await.unwrap_err();
    let error = tx.commit().await.unwrap_err();
    assert!(error.to_string().contains("acquire another"), "{error}");
    // Between two rows nothing is torn.
    let mut tx = pool.begin().await.unwrap();
    tx.execute("insert into t values (2)").await.unwrap();
    let mut rows =
        sqlx::query("with recursive n (i) as (select 1 union all select i + 1 from n where i < 300) select i from n")
            .fetch(&mut tx);
    rows.next().await.unwrap().unwrap();
    drop(rows);
    tx.execute("insert into t values (3)").await.unwrap();
    tx.commit().await.unwrap();
    drop(pool.close().await);
    let rows = database.sql("select group_concat(n) from t").unwrap();
    assert_eq!((rows.as_str(), active(&database).as_str()), ("2,3", "0"));
}

#[tokio::test]
async fn a_statement_whose_owner_panics_is_gone_from_the_server_and_so_is_his_transaction() {
    let database = database();
    let pool = MySqlPool::connect(settings(&database)).await.unwrap();
    let owner = pool.clone();
    let panicked = tokio::spawn(async move {
        let mut tx = owner.begin().await.unwrap();
        sqlx::query("insert into t values (1)").execute(&mut tx).await.unwrap();
        let mut sleep = std::pin::pin!(sqlx::query("select sleep(60)").execute(&mut tx));
        // It is dropped by the panic.
        let slept = tokio::time::timeout(Duration::from_millis(50), &mut sleep).await.expect("on purpose");
        slept.unwrap();
    });
    assert!(panicked.await.unwrap_err().is_panic());
    let n: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&pool).await.unwrap();
    assert_eq!((n, pool.status().totals.opened, &*active(&database)), (0, 2, "0"));
}

#[tokio::test]
async fn work_that_was_committed_by_hand_is_not_run_again_whatever_it_lost_then() {
    let database = database();
    let pool = MySqlPool::connect(settings(&database)).await.unwrap();
    let mut runs = 0;
    let lost = pool.transaction(async |tx: &mut MySqlTx| {
        runs += 1;
        sqlx::query("insert into t values (?)").bind(runs).execute(&mut *tx).await?;
        tx.raw().execute("commit").await?;
        sqlx::query("signal sqlstate '40001' set mysql_errno = 1213, message_text = 'x'").execute(&mut *tx).await?;
        Ok::<_, Error>(())
    });
    lost.await.unwrap_err();
    assert_eq!((runs, &*database.sql("select count(*) from t").unwrap()), (1, "1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_take_their_time_to_end_take_up_room_until_they_have() {
    const CAP: i64 = 6;
    const CANCELLED: u32 = 800;
    let database = database();
    let limits = settings(&database).with_pool_size(CAP as u32).with_reset_timeout(Duration::from_secs(1));
    let pool = MySqlPool::connect(limits).await.unwrap();
    let mut server = sqlx::MySqlConnection::connect(&database.url()).await.unwrap();
    let name = database.name();
    let sessions = format!(
        "select cast(count(*) as signed) from information_schema.processlist where db = '{name}' and id <> connection_id()"
    );
    // MariaDB takes up to two seconds to end those that sleep while others fall asleep; their sockets are gone at once.
    let sleepers = (0..8).map(|worker| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for n in 0..CANCELLED / 8 {
                let sleep = sqlx::query("select sleep(60)").execute(&pool);
                let patience = Duration::from_millis(u64::from((worker * 7 + n * 11) % 30));
                tokio::time::timeout(patience, sleep).await.unwrap_err();
            }
        })
    });
    let sleepers: Vec<_> = sleepers.collect();
    let mut most = 0;
    while !sleepers.iter().all(tokio::task::JoinHandle::is_finished) {
        let row = server.fetch_one(sqlx::raw_sql(sqlx::AssertSqlSafe(sessions.clone()))).await.unwrap();
        let sessions: i64 = sqlx::Row::get(&row, 0);
        most = most.max(sessions - i64::try_from(pool.status().abandoned).unwrap());
    }
    futures_util::future::try_join_all(sleepers).await.unwrap();
    // One that cancels, and a goodbye or two that the server has not read yet.
    assert!(most <= CAP + 3, "{most} sessions of {CAP}");
}

#[tokio::test]
async fn the_first_of_many_rows_leaves_no_statement_running_for_the_next_user_to_wait_for() {
    let database = database();
    let pool = MySqlPool::connect(settings(&database)).await.unwrap();
    let many = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 200)
        select i, repeat('x', 2000), if(i = 150, sleep(3), 0) from n";
    for sql in [many, "select 1", "select 1 limit 1"] {
        let first: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
        assert_eq!((first, active(&database).as_str()), (1, "0"), "{sql}");
        let asked = Instant::now();
        sqlx::query("select 1").execute(&pool).await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "{sql}: {:?}", asked.elapsed());
    }
    assert_eq!((pool.status().totals.opened, pool.status().totals.resets), (1, 0));
}

#[tokio::test]
async fn what_a_session_holds_is_never_seen_by_the_next_user() {
    const NONE: &str = "none";
    let locks = "select concat('', coalesce(is_used_lock('a'), 'none') = connection_id())";
    for (left_behind, look, clean) in [
        ("set autocommit = 0", "select if(@@autocommit, 'none', 'off')", NONE),
        ("set @x = 5", "select if(@x is null, 'none', 'set')", NONE),
        ("select @x := 5", "select if(@x is null, 'none', 'set')", NONE),
        ("select 5 into @x", "select if(@x is null, 'none', 'set')", NONE),
        ("select 5 into\n\t@x", "select if(@x is null, 'none', 'set')", NONE),
        ("select 5 into/* five */@x", "select if(@x is null, 'none', 'set')", NONE),
        ("set session sql_mode = 'ANSI'", "select if(@@sql_mode like '%ANSI_QUOTES%', 'ansi', 'none')", NONE),
        ("select get_lock('a', 0)", locks, "0"),
        (
            "create temporary table t (n varchar(10)) as select 'theirs' as n",
            "select coalesce(max(n), 'none') from t",
            NONE,
        ),
        ("lock tables t write", "select concat('', count(*)) from u", "0"),
    ] {
        for raw in [false, true] {
            let database = database();
            database.sql("create table u (n bigint)").unwrap();
            let pool = MySqlPool::connect(settings(&database)).await.unwrap();
            let mut conn = pool.acquire().await.unwrap();
            match raw {
                false => conn.execute(left_behind).await.unwrap(),
                true => conn.raw().execute(left_behind).await.unwrap(),
            };
            drop(conn);
            let seen: String =
                sqlx::query_scalar(look).fetch_one(&pool).await.unwrap_or_else(|e| panic!("{left_behind}: {e}"));
            assert_eq!((seen.as_str(), pool.status().totals.opened), (clean, 2), "{left_behind}, raw: {raw}");
        }
    }
}

#[tokio::test]
async fn a_pool_without_a_limit_gives_a_function_s_limit_back_to_the_server_s_own() {
    let database = database();
    let (time, set) = match is_mysql() {
        true => ("select cast(@@max_execution_time / 1000 as double)", "set global max_execution_time = 900000"),
        false => ("select cast(@@max_statement_time as double)", "set global max_statement_time = 900"),
    };
    database.sql(set).unwrap();
    let pool = MySqlPool::connect(settings(&database).with_statement_timeout(None)).await.unwrap();
    let show = || sqlx::query_scalar::<_, f64>(time);
    assert_eq!(show().fetch_one(&pool).await.unwrap(), 900.0);
    #[pooled(statement_timeout = "77s")]
    async fn longer(conn: &mut sqlx::MySqlConnection, time: &'static str) -> Result<f64, Error> {
        Ok(sqlx::query_scalar(time).fetch_one(conn).await?)
    }
    assert_eq!(longer(pool.clone(), time).await.unwrap(), 77.0);
    let after = show().fetch_one(&pool).await;
    database.sql(&set.replace("900000", "0").replace("900", "0")).unwrap();
    assert_eq!(after.unwrap(), 900.0);
}

#[tokio::test]
async fn a_function_s_limit_is_what_it_was_after_a_transaction_with_one_of_its_own() {
    #[pooled(statement_timeout = "77s")]
    async fn longer(conn: &mut MySqlConn, own: Option<u64>, time: &'static str) -> Result<f64, Error> {
        match own {
            Some(own) => {
                let options = TxOptions::new().statement_timeout(Duration::from_secs(own));
                conn.begin_with(options).await?.commit().await?;
            }
            None => drop(conn.begin().await?),
        }
        Ok(sqlx::query_scalar(time).fetch_one(conn).await?)
    }
    let database = database();
    let pool = MySqlPool::connect(settings(&database)).await.unwrap();
    let time = match is_mysql() {
        true => "select cast(@@max_execution_time / 1000 as double)",
        false => "select cast(@@max_statement_time as double)",
    };
    for own in [Some(2), Some(99), None] {
        assert_eq!(longer(pool.clone(), own, time).await.unwrap(), 77.0, "{own:?}");
        assert_eq!(sqlx::query_scalar::<_, f64>(time).fetch_one(&pool).await.unwrap(), 10.0, "{own:?}");
    }
    assert_eq!(pool.status().totals.opened, 1);
}

#[tokio::test]
async fn the_server_ends_a_statement_of_any_kind_that_runs_too_long_and_the_connection_goes_on() {
    let database = database();
    database.sql("insert into t values (1)").unwrap();
    let pool =
        MySqlPool::connect(settings(&database).with_statement_timeout(Duration::from_millis(500))).await.unwrap();
    // MySQL keeps the time of a SELECT only. A mere sleep may end without an error, with MariaDB too.
    let long = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 900) select count(*) from n a, n b, n c, n d";
    let writes = [format!("update t set n = ({long})"), format!("delete from t where n < ({long})")];
    let kept = if is_mysql() { &[][..] } else { &writes[..] };
    for sql in std::iter::once(long).chain(kept.iter().map(String::as_str)) {
        let asked = Instant::now();
        let error = Error::from(sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap_err());
        assert_eq!((error.kind(), error.status()), (ErrorKind::StatementTimeout, 503), "{error}");
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    }
    assert_eq!((pool.status().totals.opened, pool.status().totals.resets), (1, 0));
    if is_mysql() {
        // The rest is ours: the caller is told in time, the server is told to stop, and the connection is replaced.
        let asked = Instant::now();
        let error = Error::from(sqlx::query("update t set n = sleep(60)").execute(&pool).await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error}");
        sqlx::query("select 1").execute(&pool).await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
        assert_eq!((active(&database).as_str(), pool.status().totals.opened), ("0", 2));
    }
}

#[tokio::test]
async fn limits_and_options_reach_the_server() {
    let database = database();
    let limits = settings(&database)
        .with_statement_timeout(Duration::from_millis(1500))
        .with_lock_timeout(Duration::from_millis(2500));
    let pool = MySqlPool::connect(limits).await.unwrap();
    let time = if is_mysql() {
        "select cast(@@max_execution_time / 1000 as double)"
    } else {
        "select cast(@@max_statement_time as double)"
    };
    let shown: f64 = sqlx::query_scalar(time).fetch_one(&pool).await.unwrap();
    let lock: i64 =
        sqlx::query_scalar("select cast(@@innodb_lock_wait_timeout as signed)").fetch_one(&pool).await.unwrap();
    assert_eq!((shown, lock), (1.5, 3));

    let mut conn = pool.acquire().await.unwrap();
    let options =
        TxOptions::new().isolation(Isolation::Serializable).read_only().statement_timeout(Duration::from_secs(7));
    let mut tx = conn.begin_with(options).await.unwrap();
    let shown: f64 = sqlx::query_scalar(time).fetch_one(&mut tx).await.unwrap();
    assert_eq!(shown, 7.0);
    let refused = Error::from(tx.execute("insert into t values (1)").await.unwrap_err());
    assert!(refused.to_string().contains("READ ONLY"), "{refused}");
    tx.commit().await.unwrap();
    drop(conn);
    let shown: f64 = sqlx::query_scalar(time).fetch_one(&pool).await.unwrap();
    assert_eq!((shown, pool.status().totals.opened), (1.5, 1));
}

#[tokio::test]
async fn a_transaction_that_lost_a_deadlock_cannot_commit_what_is_left_of_it() {
    let database = database();
    database.sql("insert into t values (1), (2)").unwrap();
    let pool = MySqlPool::connect(settings(&database).with_pool_size(2u32)).await.unwrap();
    let (mut one, mut other) = (pool.begin().await.unwrap(), pool.begin().await.unwrap());
    one.execute("update t set n = 11 where n = 1").await.unwrap();
    other.execute("update t set n = 12 where n = 2").await.unwrap();
    let (first, second) = tokio::join!(one.execute("select * from t where n = 2 for update"), async {
        other.execute("select * from t where n = 1 for update").await
    });
    let (mut loser, winner) = if first.is_err() { (one, other) } else { (other, one) };
    let error = first.and(second).map(drop).unwrap_err();
    assert_eq!(Error::from(error).kind(), ErrorKind::Conflict);
    // It would be made for good at once.
    let refused = loser.execute("insert into t values (3)").await.unwrap_err();
    assert_eq!(Error::from(refused).kind(), ErrorKind::Conflict);
    assert_eq!(loser.commit().await.unwrap_err().kind(), ErrorKind::Conflict);
    winner.rollback().await.unwrap();
    assert_eq!(database.sql("select count(*) from t where n = 3").unwrap(), "0");
}

#[tokio::test]
async fn a_transaction_that_the_server_ended_for_a_lock_s_timeout_takes_no_more() {
    for (rolls_back, argument) in
        [(true, "--innodb-rollback-on-timeout=ON"), (false, "--innodb-rollback-on-timeout=OFF")]
    {
        let server = MariaDb::start_with_files(&[argument], &[]).unwrap();
        let database = server.database().unwrap();
        database.sql("create table t (n int primary key, m int) engine = innodb; insert into t values (1, 0)").unwrap();
        let limits = settings(&database).with_pool_size(2u32).with_lock_timeout(Duration::from_secs(1));
        let pool = MySqlPool::connect(limits).await.unwrap();
        let mut other = pool.begin().await.unwrap();
        other.execute("update t set m = 1 where n = 1").await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        tx.execute("insert into t values (2, 0)").await.unwrap();
        let error = Error::from(tx.execute("update t set m = 2 where n = 1").await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::LockTimeout, "{error}");
        let next = tx.execute("insert into t values (3, 0)").await;
        let seen = || database.sql("select group_concat(n order by n) from t").unwrap();
        let before = seen();
        let committed = tx.commit().await;
        other.rollback().await.unwrap();
        let outcome = (next.is_err(), &*before, committed.is_err(), &*seen());
        let expected = (rolls_back, "1", rolls_back, if rolls_back { "1" } else { "1,2,3" });
        assert_eq!(outcome, expected, "{argument}: {next:?}, {committed:?}");
    }
}

#[tokio::test]
async fn what_would_commit_a_transaction_without_a_word_is_refused_in_it() {
    let database = database();
    database.sql("create table y (n int) engine = innodb").unwrap();
    let pool = MySqlPool::connect(settings(&database)).await.unwrap();
    for sql in
        ["create table x (n int)", "truncate table y", "alter table y add column m int", "analyze table y", "commit"]
    {
        let mut tx = pool.begin().await.unwrap();
        tx.execute("insert into t values (1)").await.unwrap();
        let refused = [tx.execute(sql).await.unwrap_err(), sqlx::query(sql).execute(&mut tx).await.unwrap_err()];
        assert!(refused.iter().all(|error| error.to_string().contains("refused in a transaction")), "{refused:?}");
        tx.execute("insert into t values (2)").await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(database.sql("select count(*) from t").unwrap(), "0", "{sql}");
    }
    let mut attempts = 0;
    let outcome: Result<(), Error> = pool
        .transaction(async |tx: &mut MySqlTx| {
            attempts += 1;
            tx.execute("insert into t values (7)").await?;
            tx.execute("create table x (n int)").await?;
            Ok(())
        })
        .await;
    assert_eq!((outcome.unwrap_err().kind(), attempts), (ErrorKind::Config, 1));
    // Outside it is nobody's business, and what is temporary commits nothing.
    pool.execute("alter table y add column m int").await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    tx.execute("insert into t values (1)").await.unwrap();
    tx.execute("create temporary table x (n int)").await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(database.sql("select count(*) from t").unwrap(), "0");
}

#[tokio::test]
async fn a_transaction_goes_on_after_a_failed_statement_unless_somebody_ended_it() {
    let database = database();
    database.sql("create table k (n int primary key) engine = innodb").unwrap();
    let pool = MySqlPool::connect(settings(&database)).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    tx.execute("insert into k values (1)").await.unwrap();
    tx.execute("insert into k values (1)").await.unwrap_err();
    tx.execute("insert into k values (2)").await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    tx.execute("insert into k values (3)").await.unwrap();
    tx.raw().execute("rollback").await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(error.to_string().contains("the transaction is over"), "{error}");
    assert_eq!(database.sql("select group_concat(n order by n) from k").unwrap(), "1,2");
}

#[tokio::test]
async fn conflicts_are_run_again_until_every_increment_is_there() {
    let database = database();
    database.sql("create table c (n bigint) engine = innodb; insert into c values (0)").unwrap();
    let pool = MySqlPool::connect(settings(&database).with_pool_size(4u32)).await.unwrap();
    let serializable = TxOptions::new().isolation(Isolation::Serializable).retries(100);
    let worker = async || {
        for _ in 0..5 {
            let work = async |tx: &mut MySqlTx| -> Result<(), Error> {
                let n: i64 = sqlx::query_scalar("select n from c").fetch_one(&mut *tx).await?;
                sqlx::query("update c set n = ?").bind(n + 1).execute(&mut *tx).await?;
                Ok(())
            };
            pool.transaction_with(serializable, work).await.unwrap();
        }
    };
    tokio::join!(worker(), worker(), worker(), worker());
    assert_eq!(database.sql("select n from c").unwrap(), "20");
}

#[tokio::test]
async fn an_error_s_kind_follows_its_number() {
    let database = database();
    let pool = MySqlPool::connect(settings(&database)).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    for (number, kind) in [
        (1205, ErrorKind::LockTimeout),
        (1213, ErrorKind::Conflict),
        (1317, ErrorKind::Cancelled),
        (1969, ErrorKind::StatementTimeout),
        (1040, ErrorKind::Connect),
        (1062, ErrorKind::Database),
        (1146, ErrorKind::Database),
    ] {
        let raise = format!("signal sqlstate 'HY000' set mysql_errno = {number}, message_text = 'on purpose'");
        let error = Error::from(conn.execute(sqlx::AssertSqlSafe(raise)).await.unwrap_err());
        assert_eq!(error.kind(), kind, "{number}: {error}");
    }
}

#[tokio::test]
async fn what_mysql_cannot_honour_is_refused_where_it_was_asked_for() {
    let database = database();
    let error = MySqlPool::connect_lazy(settings(&database).with_reset(Reset::Session)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("MySQL cannot honour reset"), "{error}");
    let wrong = database.url().replace(database.name(), "nowhere");
    let settings = DatabaseSettings::new(wrong).unwrap();
    let asked = Instant::now();
    let error = MySqlPool::connect(settings).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Connect, None), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(8), "{error}");
}

#[tokio::test]
async fn migrations_run_without_a_statement_timeout() {
    let database = database();
    let slow = "create table m (n integer); do sleep(1.5); insert into m values (1)";
    let migration =
        Migration::new(1, "slow".into(), MigrationType::Simple, sqlx::SqlSafeStr::into_sql_str(slow), false);
    let migrator = Migrator::with_migrations(vec![migration]);
    let pool = MySqlPool::connect_lazy(settings(&database).with_statement_timeout(Duration::from_secs(1))).unwrap();
    pool.migrate(&migrator).await.unwrap();
    pool.migrate(&migrator).await.unwrap();
    assert_eq!(database.sql("select n from m").unwrap(), "1");
}

#[tokio::test]
async fn cancelled_requests_leave_no_transaction_and_no_statement_behind() {
    let database = database();
    let pool = MySqlPool::connect(settings(&database).with_pool_size(4u32)).await.unwrap();
    let request = async |n: u64| -> Result<(), Error> {
        let mut tx = pool.begin().await?;
        assert_eq!(sqlx::query_scalar::<_, u64>("select ? + 0").bind(n).fetch_one(&mut tx).await?, n);
        tx.commit().await
    };
    let begun = Instant::now();
    let usual: Vec<_> = futures_util::stream::iter(0..32).map(request).buffer_unordered(8).collect().await;
    assert!(usual.iter().all(Result::is_ok), "{usual:?}");
    let usual = begun.elapsed() / 4;
    let requests = futures_util::stream::iter(0..500_u64).map(|n| {
        // Spread over twice the time a request takes here; one or the other has time.
        let share = (n * 7919 % 1000) as u32;
        let patience = if n % 50 == 49 { Duration::from_secs(30) } else { usual * share / 500 };
        tokio::time::timeout(patience, request(n))
    });
    let outcomes: Vec<_> = requests.buffer_unordered(8).collect().await;
    let (answered, cancelled): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!(answered.iter().all(|answer| matches!(answer, Ok(Ok(())))), "{answered:?}");
    assert!(!answered.is_empty() && !cancelled.is_empty(), "{} and {}", answered.len(), cancelled.len());
    for n in 0..20_u64 {
        assert_eq!(sqlx::query_scalar::<_, u64>("select ? + 0").bind(n).fetch_one(&pool).await.unwrap(), n);
    }
    assert_eq!((active(&database), pool.close().await.still_held.len()), ("0".to_owned(), 0));
}

/// Two servers give the same numbers to their sessions.
#[tokio::test]
async fn a_kill_that_reaches_another_server_hits_nobody_there_and_is_tried_again() {
    let other = MariaDb::start().unwrap();
    let (here, there) = (database(), other.database().unwrap());
    let proxy = Proxy::start(&here.url()).unwrap();
    let url = format!("mysql://root@{}/{}?ssl-mode=disabled", proxy.address(), here.name());
    let patient = DatabaseSettings::new(url).unwrap().with_pool_size(1u32).with_reset_timeout(Duration::from_secs(8));
    let pool = MySqlPool::connect_lazy(patient).unwrap();
    there.sql(&format!("create database {}", here.name())).unwrap();
    let id = || sqlx::query_scalar::<_, u64>("select connection_id()");
    // A stranger on the other server who has our number.
    // The other server has given some numbers away already.
    for _ in 0..50 {
        // The server may be gone before the goodbye is.
        let _ = sqlx::MySqlConnection::connect(&here.url()).await.unwrap().close().await;
    }
    let mut conn = pool.acquire().await.unwrap();
    let ours = id().fetch_one(&mut conn).await.unwrap();
    let mut stranger = loop {
        let mut stranger = sqlx::MySqlConnection::connect(&there.url()).await.unwrap();
        let theirs = id().fetch_one(&mut stranger).await.unwrap();
        assert!(theirs <= ours, "numbers are given in order, and the other server is new");
        if theirs == ours {
            break stranger;
        }
        let _ = stranger.close().await;
    };
    let sleeper = (&mut conn).execute("select sleep(60)");
    let is_asleep = async || {
        while active(&here) != "1" {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { _ = sleeper => unreachable!("it sleeps"), () = is_asleep() => {} }
    let before = proxy.traffic().accepted;
    proxy.lead_to(&there.url()).unwrap();
    drop(conn);
    // The second look follows the first at once, so where that leads is settled before it.
    proxy.until(|now| now.accepted > before).await;
    proxy.lead_to(&here.url()).unwrap();
    while active(&here) != "0" {
        tokio::task::yield_now().await;
    }
    id().fetch_one(&mut stranger).await.expect("the stranger of the same number is well");
}

/// After a restart a server gives the numbers of its sessions again.
#[tokio::test]
async fn a_kill_that_comes_after_a_restart_hits_nobody() {
    let id = || sqlx::query_scalar::<_, u64>("select connection_id()");
    let mut server = MariaDb::start().unwrap();
    server.sql("", "create database app").unwrap();
    let url = format!("mysql://root@localhost/app?socket={}", server.directory().join("socket").display());
    let limits = DatabaseSettings::new(&url).unwrap().with_pool_size(1u32).with_reset_timeout(Duration::from_secs(8));
    let pool = MySqlPool::connect_lazy(limits).unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let ours = id().fetch_one(&mut conn).await.unwrap();
    tokio::time::timeout(Duration::from_millis(50), conn.execute("select sleep(60)")).await.unwrap_err();
    // It says when it was started to the second.
    let uptime = "show global status where variable_name = 'Uptime' and value > 1";
    while server.sql("", uptime).unwrap().is_empty() {}
    server.restart().unwrap();
    let mut stranger = loop {
        let mut stranger = sqlx::MySqlConnection::connect(&url).await.unwrap();
        let theirs = id().fetch_one(&mut stranger).await.unwrap();
        assert!(theirs <= ours, "numbers are given in order, and the server is new");
        if theirs == ours {
            break stranger;
        }
        let _ = stranger.close().await;
    };
    drop(conn);
    while pool.status().open > 0 {
        tokio::task::yield_now().await;
    }
    id().fetch_one(&mut stranger).await.expect("the stranger of the same number is well");
}

#[tokio::test]
async fn what_the_server_says_of_its_limits_becomes_advice() {
    let database = database();
    let greedy = settings(&database).with_pool_size(5000u32).with_pool_recycle(Duration::from_secs(90_000));
    let pool = MySqlPool::connect_lazy(greedy).unwrap();
    drop(pool.acquire().await.unwrap());
    let advice: Vec<_> = pool.advice().iter().map(ToString::to_string).collect();
    let told = |what: &str| advice.iter().any(|advice| advice.contains(what));
    assert!(told("are more than max_connections of the server ("), "{advice:?}");
    assert!(told("the pool keeps an idle connection for 90000s, the server for 28800s (wait_timeout)"), "{advice:?}");
}
