//! pool-sqlx through a real PgBouncer in transaction mode.
#![allow(clippy::unwrap_used)]

mod log;

use futures_util::{FutureExt, StreamExt};
use log::Log;
use pool_sqlx::{DatabaseSettings, Error, ErrorKind, PgConn, PgPool, Pooler, pooled, sqlx};
use sqlx::Executor;
use std::time::{Duration, Instant};
use tests::{PgBouncer, Postgres, proxy::Proxy, server::postgres::Database};

const CLIENTS: i64 = 20;
const QUERIES: i64 = 100;

struct Through {
    database: Database<'static>,
    bouncer: PgBouncer,
}

fn through(settings: &[(&str, &str)]) -> Through {
    let cluster = Postgres::shared();
    let database = cluster.database().unwrap();
    database.psql("create table t (n bigint primary key, word text)").unwrap();
    database.psql("insert into t select n, 'word ' || n from generate_series(0, 3000) n").unwrap();
    Through { database, bouncer: PgBouncer::start(cluster, 2, settings).unwrap() }
}

impl Through {
    fn settings(&self, pooler: Pooler) -> DatabaseSettings {
        DatabaseSettings::new(self.bouncer.url(self.database.name())).unwrap().with_pooler(pooler)
    }

    async fn pool(&self) -> PgPool {
        PgPool::connect(self.settings(Pooler::Unprepared).with_pool_size(20u32).with_max_overflow(0u32)).await.unwrap()
    }

    fn count(&self, what: &str) -> u32 {
        let sql = format!("select count(*) from {what}");
        self.database.psql(&sql).unwrap().parse().unwrap()
    }
}

/// One of three shapes of query; the answer says whose it was.
async fn ask(pool: &PgPool, client: i64, n: i64) -> Result<(), Error> {
    let number = client * QUERIES + n;
    match n % 3 {
        0 => {
            let sum: i64 =
                sqlx::query_scalar("select $1::bigint + $2").bind(number).bind(1_i64).fetch_one(pool).await?;
            assert_eq!(sum, number + 1);
        }
        1 => {
            let word: String = sqlx::query_scalar("select word from t where n = $1")
                .bind(number)
                .persistent(false)
                .fetch_one(pool)
                .await?;
            assert_eq!(word, format!("word {number}"));
        }
        _ => {
            let rows: Vec<(i64, String)> =
                sqlx::query_as("select n, word from t where n between $1 and $1 + 4 order by n")
                    .bind(number)
                    .fetch_all(pool)
                    .await?;
            let expected: Vec<_> = (number..number + 5).map(|n| (n, format!("word {n}"))).collect();
            assert_eq!(rows, expected);
        }
    }
    Ok(())
}

/// Has all clients ask at once, over two server connections.
async fn all_ask(through: &Through, pool: &PgPool) {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for n in 0..QUERIES {
                    ask(&pool, client, n).await.unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    // The bouncer kept its word, and so did we.
    let servers = format!("pg_stat_activity where datname = '{}' and pid <> pg_backend_pid()", through.database.name());
    let count = through.count(&servers);
    assert!((1..=2).contains(&count), "{count}");
    assert_eq!(pool.status().totals.resets, 0, "every transaction of ours was acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_clients_on_two_server_connections_get_their_own_answers_without_prepared_statements() {
    let through = through(&[]);
    all_ask(&through, &through.pool().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PgBouncer of 1.21 or later first on PATH; Debian 12 has 1.18"]
async fn twenty_clients_on_two_server_connections_get_their_own_answers_with_prepared_statements() {
    assert!(PgBouncer::version() >= Some((1, 21)), "{:?} keeps no prepared statements", PgBouncer::version());
    let through = through(&[("max_prepared_statements", "100")]);
    let settings = through.settings(Pooler::Prepared).with_pool_size(20u32).with_max_overflow(0u32);
    let pool = PgPool::connect(settings.with_statement_timeout(Duration::from_secs(5))).await.unwrap();
    all_ask(&through, &pool).await;
    // sqlx's own connection is as good there, a transaction too, and a failed statement spoils nothing.
    let mut conn = pool.acquire().await.unwrap();
    let raw: i64 = sqlx::query_scalar("select $1::bigint + 1").bind(1_i64).fetch_one(conn.raw()).await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    let tracked: i64 = sqlx::query_scalar("select $1::bigint + 2").bind(1_i64).fetch_one(&mut tx).await.unwrap();
    let failed = sqlx::query_scalar::<_, i64>("select 1 / $1").bind(0_i64).fetch_one(&mut tx).await;
    assert_eq!((raw, tracked, failed.map_err(Error::from).unwrap_err().kind()), (2, 3, ErrorKind::Database));
    drop(tx);
    drop(conn);
    ask(&pool, 1, 1).await.unwrap();
    let open = format!("pg_stat_activity where datname = '{}' and state like 'idle in%'", through.database.name());
    assert_eq!(through.count(&open), 0);
}

#[tokio::test]
async fn writes_and_transactions_work_without_prepared_statements() {
    let through = through(&[]);
    let pool = through.pool().await;
    let inserted =
        sqlx::query("insert into t values ($1, $2)").bind(5000_i64).bind("five").execute(&pool).await.unwrap();
    assert_eq!(inserted.rows_affected(), 1);
    let duplicate = sqlx::query("insert into t values ($1, $2)").bind(5000_i64).bind("five").execute(&pool).await;
    assert_eq!(Error::from(duplicate.unwrap_err()).kind(), ErrorKind::Database);
    let mut tx = pool.begin().await.unwrap();
    for n in 6000..6010_i64 {
        sqlx::query("insert into t values ($1, 'x')").bind(n).execute(&mut tx).await.unwrap();
    }
    tx.rollback().await.unwrap();
    assert_eq!(through.count("t where n >= 5000"), 1);
    let open = "pg_stat_activity where datname = current_database() and state like 'idle in%'";
    assert_eq!((pool.status().totals.resets, through.count(open)), (0, 0));
}

#[tokio::test]
async fn limits_hold_and_stay_with_their_statement() {
    let through = through(&[]);
    let limits = through
        .settings(Pooler::Unprepared)
        .with_statement_timeout(Duration::from_secs(1))
        .with_lock_timeout(Duration::from_millis(900));
    let pool = PgPool::connect(limits).await.unwrap();
    let asked = Instant::now();
    let error = Error::from(sqlx::query("select pg_sleep($1)").bind(60.0).execute(&pool).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    let lock: String = sqlx::query_scalar("select current_setting('lock_timeout')").fetch_one(&pool).await.unwrap();
    assert_eq!(lock, "900ms");
    // A stranger on the same server connections.
    let url = through.bouncer.url(through.database.name());
    let shown = Postgres::shared().run_psql(&["-XqAt", "-d", &url, "-c", "show statement_timeout"]).unwrap();
    assert_eq!(shown, "0");
}

#[tokio::test]
async fn what_needs_a_session_is_refused_with_the_way_out() {
    let through = through(&[]);
    let pool = through.pool().await;
    for (sql, way_out) in [
        ("listen tracks", "listen_url"),
        ("set search_path = other", "SET LOCAL"),
        ("select pg_advisory_lock(1)", "pg_advisory_xact_lock"),
        ("begin", "pool.begin()"),
    ] {
        let error = Error::from(pool.execute(sql).await.unwrap_err());
        assert_eq!((error.kind(), error.status()), (ErrorKind::Config, 500), "{sql}");
        assert!(error.to_string().contains(way_out), "{error}");
    }
    let error = Error::from(pool.prepare(sqlx::SqlSafeStr::into_sql_str("select 1")).await.map(drop).unwrap_err());
    assert!(error.to_string().contains("cannot be prepared"), "{error}");
    assert_eq!(pool.status().totals.resets, 0, "nothing was sent");
}

/// What would stay on the server connection, in the place of other clients' tables, is refused in transactions too.
#[tokio::test]
async fn nothing_temporary_is_left_to_strangers() {
    let cluster = Postgres::shared();
    let database = cluster.database().unwrap();
    database.psql("create table t (n bigint); insert into t values (1)").unwrap();
    let bouncer = PgBouncer::start(cluster, 1, &[]).unwrap();
    let url = bouncer.url(database.name());
    let settings = DatabaseSettings::new(&url).unwrap().with_pooler(Pooler::Unprepared);
    let pool = PgPool::connect(settings.with_pool_size(1u32).with_max_overflow(0u32)).await.unwrap();
    for (sql, way_out) in [
        ("create temp table t (n bigint)", "ON COMMIT DROP"),
        ("create local temporary table t (n bigint)", "ON COMMIT DROP"),
        ("create or replace temp view t as select 666::bigint as n", "ON COMMIT DROP"),
        ("select 666::bigint as n into temp t", "ON COMMIT DROP"),
        ("declare c cursor with hold for select 1", "WITH HOLD"),
    ] {
        let outside = Error::from(pool.execute(sql).await.unwrap_err());
        let mut tx = pool.begin().await.unwrap();
        let inside = Error::from(tx.execute(sql).await.unwrap_err());
        tx.commit().await.unwrap();
        for error in [outside, inside] {
            assert!(error.kind() == ErrorKind::Config && error.to_string().contains(way_out), "{sql}: {error}");
        }
    }
    let mut tx = pool.begin().await.unwrap();
    tx.execute("create temp table t (n bigint) on commit drop").await.unwrap();
    tx.execute("insert into t values (666)").await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i64>("select n from t").fetch_one(&mut tx).await.unwrap(), 666);
    tx.commit().await.unwrap();
    let look = ["-c", "select n from t", "-c", "select count(*) from pg_cursors"];
    let stranger = cluster.run_psql(&[&["-XqAt", "-d", &url], &look[..]].concat()).unwrap();
    assert_eq!(stranger, "1\n0");
}

#[tokio::test]
async fn what_cannot_run_in_a_transaction_is_refused_with_the_way_out_and_not_sent() {
    let through = through(&[]);
    let pool = through.pool().await;
    for sql in
        ["vacuum t", "create index concurrently on t (word)", "create database another", "alter system reset all"]
    {
        let error = Error::from(pool.execute(sql).await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Config, "{sql}: {error}");
        assert!(error.to_string().contains("pool.migrate"), "{error}");
    }
    pool.execute("create index on t (word)").await.unwrap();
    // Of a procedure nobody knows beforehand.
    through
        .database
        .psql(
            "create procedure quiet() language sql as 'update t set word = word where n = 0';
            create procedure commits() language plpgsql as 'begin commit; end'",
        )
        .unwrap();
    pool.execute("call quiet()").await.unwrap();
    let error = pool.execute("call commits()").await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("2D000"));
}

#[tokio::test]
#[should_panic(expected = "would return wrong rows with pooler = \"unprepared\"")]
async fn sqlx_s_own_connection_is_not_handed_out() {
    let through = through(&[]);
    let mut conn = through.pool().await.acquire().await.unwrap();
    let _ = conn.raw();
}

#[tokio::test]
async fn a_statement_nobody_waits_for_is_no_other_client_s_concern() {
    let through = through(&[]);
    let pool = through.pool().await;
    let sleep = sqlx::query("select pg_sleep($1)").bind(0.6).execute(&pool);
    tokio::time::timeout(Duration::from_millis(50), sleep).await.unwrap_err();
    for n in 0..50 {
        ask(&pool, 7, n).await.unwrap();
    }
    assert_eq!(pool.close().await.still_held, []);
}

/// Prepared statements by name, and limits in transactions. To the server itself, whose names are those of sqlx and do no harm.
#[tokio::test]
async fn prepared_mode_keeps_limits_in_transactions_and_outside() {
    let database = Postgres::shared().database().unwrap();
    let settings = DatabaseSettings::new(database.url()).unwrap().with_pooler(Pooler::Prepared);
    let settings = settings.with_pool_size(1u32).with_max_overflow(0u32);
    let pool = PgPool::connect(settings.with_statement_timeout(Duration::from_secs(1))).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    let shown: String =
        sqlx::query_scalar("select current_setting('statement_timeout')").fetch_one(&mut tx).await.unwrap();
    assert_eq!(shown, "1s");
    tx.commit().await.unwrap();
    // Outside of a transaction the server has no limit: ours holds.
    let asked = Instant::now();
    let error = Error::from(pool.execute("select pg_sleep(60)").await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
}

/// Connects, in vain, and hears of the way out at once.
async fn is_refused(settings: DatabaseSettings, way_out: &str) {
    let asked = Instant::now();
    let error = PgPool::connect(settings).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Connect, None), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(8) && error.to_string().contains(way_out), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_mode_is_refused_where_the_pooler_does_not_keep_statements_apart() {
    let settings: &[_] = if PgBouncer::version() >= Some((1, 21)) { &[("max_prepared_statements", "0")] } else { &[] };
    let through = through(settings);
    for _ in 0..2 {
        is_refused(through.settings(Pooler::Prepared), "or set pooler = \"unprepared\"").await;
    }
    // Nothing is left behind for strangers.
    let url = through.bouncer.url(through.database.name());
    let left = ["-XqAt", "-d", &url, "-c", "select count(*) from pg_prepared_statements"];
    assert_eq!(Postgres::shared().run_psql(&left).unwrap(), "0");
}

/// That the limit is the pool's proves nothing.
#[tokio::test]
async fn a_pooler_that_swallows_start_up_options_is_refused_although_the_database_has_the_same_limit() {
    let through = through(&[("ignore_startup_parameters", "options,extra_float_digits")]);
    let name = through.database.name();
    through.database.psql(&format!("alter database {name} set statement_timeout = '10s'")).unwrap();
    let unset = DatabaseSettings::new(through.bouncer.url(name)).unwrap();
    is_refused(unset.with_statement_timeout(Duration::from_secs(10)), "set pooler = \"unprepared\"").await;
}

#[tokio::test]
async fn a_pooler_that_swallows_start_up_options_is_refused_unless_it_was_named() {
    let through = through(&[("ignore_startup_parameters", "options,extra_float_digits")]);
    let unset = DatabaseSettings::new(through.bouncer.url(through.database.name())).unwrap();
    for settings in [unset.clone(), unset.clone().with_statement_timeout(None)] {
        is_refused(settings, "set pooler = \"unprepared\"").await;
    }
    // A pool of sqlx's own would mix them up, too.
    // It goes on trying until its time is up.
    let of_sqlx = |settings: DatabaseSettings| PgPool::connect_lazy(settings).unwrap().sqlx_pool(1).unwrap();
    let theirs = of_sqlx(unset.clone().with_pool_timeout(Duration::from_secs(1)));
    assert!(matches!(theirs.acquire().await, Err(sqlx::Error::PoolTimedOut)));
    of_sqlx(unset.clone().with_pooler(Pooler::Direct)).acquire().await.unwrap();
    // It was found out without leaving a setting to strangers.
    let url = through.bouncer.url(through.database.name());
    let show = ["-XqAt", "-d", &url, "-c", "show client_connection_check_interval"];
    assert_eq!(Postgres::shared().run_psql(&show).unwrap(), "0");
    // Named wrongly, its limits are kept by the client.
    let direct = unset.with_pooler(Pooler::Direct).with_statement_timeout(Duration::from_secs(1));
    let pool = PgPool::connect(direct).await.unwrap();
    // What the server says of room is not said of the pooler, so nothing is made of it.
    pool.reconfigure(|settings| settings.with_max_overflow(10_000)).unwrap();
    let about: Vec<_> = pool.advice().iter().map(|advice| advice.setting).collect();
    assert!(about.contains(&"statement_timeout") && !about.contains(&"pool_size"), "{about:?}");
    let asked = Instant::now();
    let error = Error::from(pool.execute("select pg_sleep(60)").await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    // No setting of a session is left to strangers.
    #[pooled(statement_timeout = "77s")]
    async fn long(conn: &mut PgConn) -> Result<String, Error> {
        Ok(sqlx::query_scalar("select current_setting('statement_timeout')").fetch_one(conn).await?)
    }
    #[pooled(statement_timeout = "77s")]
    async fn unwatched(_conn: &mut sqlx::PgConnection) -> Result<(), Error> {
        Ok(())
    }
    assert_eq!(long(pool.clone()).await.unwrap(), "0");
    assert_eq!(unwatched(pool).await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
#[should_panic(expected = "would return wrong rows with pooler = \"unprepared\"")]
async fn a_connection_cannot_be_taken_out_of_a_pool_that_keeps_it_from_wrong_rows() {
    let through = through(&[]);
    drop(through.pool().await.acquire().await.unwrap().detach());
}

#[tokio::test]
async fn a_direct_pool_is_told_that_it_faces_a_pooler() {
    let through = through(&[]);
    let asked = Instant::now();
    let error = PgPool::connect(through.settings(Pooler::Direct)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Connect, None), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(8) && error.to_string().contains("startup parameter"), "{error}");
}

/// What may go wrong with a transaction must not show in what the same loan does next.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_open_is_settled_before_the_next_statement_of_the_same_loan() {
    let through = through(&[]);
    let pool = through.pool().await;
    through.database.psql("alter table t add constraint late check (word <> 'bad')").unwrap();
    through.database.psql("create table d (n bigint unique deferrable initially deferred)").unwrap();
    let clients: Vec<_> = (0..8_i64)
        .map(|client| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut conn = pool.acquire().await.unwrap();
                for n in 0..30_i64 {
                    match n % 4 {
                        0 => drop(conn.begin().await.unwrap()),
                        1 => drop(conn.begin().now_or_never()),
                        2 => {
                            let mut tx = conn.begin().await.unwrap();
                            tx.execute("insert into d values (1), (1)").await.unwrap();
                            tx.commit().await.unwrap_err();
                        }
                        _ => {
                            let mut rows = sqlx::query("select n from t order by n").fetch(&mut conn);
                            rows.next().await.unwrap().unwrap();
                        }
                    }
                    let number = 10_000 + client * 100 + n;
                    let word = format!("word {number}");
                    sqlx::query("insert into t values ($1, $2)")
                        .bind(number)
                        .bind(&word)
                        .execute(&mut conn)
                        .await
                        .unwrap();
                    let sql = "select word from t where n = $1";
                    let read: String = sqlx::query_scalar(sql).bind(number).fetch_one(&mut conn).await.unwrap();
                    assert_eq!(read, word, "after case {}", n % 4);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!((through.count("t where n >= 10000"), through.count("d")), (240, 0));
}

/// sqlx looks types that it does not know up in the middle of a statement, which the server loses by that.
#[tokio::test]
async fn types_that_sqlx_has_to_look_up_work_at_the_first_try_without_prepared_statements() {
    let through = through(&[]);
    through
        .database
        .psql(
            "create type mood as enum ('sad', 'glad');
            create type pair as (a int, m mood);
            create table p (id bigint primary key, m mood);
            insert into p values (1, 'sad')",
        )
        .unwrap();
    let ask = "select id, m::text as word, m from p where id = $1";
    let texts = [
        ask,
        "insert into p values ($1 + 1, 'glad') returning m",
        "select array_agg(m) from p where id >= $1",
        "select row($1::bigint, 'sad'::mood)::text, (1, 'sad')::pair",
        "select 'int4'::regtype, $1 + 1",
        "select indkey, $1 + 1 from pg_index limit 1",
    ];
    // Each on a connection that knows nothing yet: alone, in a transaction, as one row, as a stream, twice.
    for (n, text) in texts.into_iter().enumerate() {
        for in_transaction in [false, true] {
            for as_stream in [false, true] {
                through.database.psql("delete from p where id > 1").unwrap();
                let pool = through.pool().await;
                let mut conn = pool.acquire().await.unwrap();
                for _ in 0..2 {
                    let query = sqlx::query(text).bind(1_i64);
                    let rows = match (in_transaction, as_stream) {
                        (false, false) => query.fetch_one(&mut conn).await.map(|row| vec![row]),
                        (false, true) => query.fetch_all(&mut conn).await,
                        (true, _) => {
                            let mut tx = conn.begin().await.unwrap();
                            let rows = match as_stream {
                                false => query.fetch_one(&mut tx).await.map(|row| vec![row]),
                                true => query.fetch_all(&mut tx).await,
                            };
                            // The transaction is as good as before.
                            let one: i64 =
                                sqlx::query_scalar("select $1::bigint").bind(7_i64).fetch_one(&mut tx).await.unwrap();
                            assert_eq!(one, 7);
                            tx.rollback().await.unwrap();
                            rows
                        }
                    };
                    assert_eq!(rows.unwrap().len(), 1, "{text}, {in_transaction}, {as_stream}");
                    through.database.psql("delete from p where id > 1").unwrap();
                }
                drop(conn);
                assert_eq!((pool.status().totals.opened, pool.status().totals.resets), (20, 0), "{n}");
            }
        }
    }
    // What it did before the savepoint stays, and what fails fails the transaction as ever.
    let pool = through.pool().await;
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("insert into p values ($1, 'sad')").bind(2_i64).execute(&mut tx).await.unwrap();
    sqlx::query(ask).bind(2_i64).fetch_one(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(through.count("p"), 2);
    let mut tx = pool.begin().await.unwrap();
    let twice = sqlx::query("insert into p values ($1, 'sad') returning m").bind(2_i64).fetch_one(&mut tx).await;
    assert!(twice.unwrap_err().as_database_error().unwrap().is_unique_violation());
    let after = sqlx::query(ask).bind(2_i64).fetch_one(&mut tx).await.unwrap_err();
    assert_eq!(after.as_database_error().unwrap().code().as_deref(), Some("25P02"));
    tx.rollback().await.unwrap();
}

/// The round trips that a statement took, in a transaction of its own and of ours.
#[tokio::test]
async fn types_that_sqlx_knows_cost_no_round_trip() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let settings = DatabaseSettings::new(proxy.url(&database.url())).unwrap().with_pooler(Pooler::Unprepared);
    let pool = PgPool::connect(settings.with_pool_size(1u32).with_max_overflow(0u32)).await.unwrap();
    let ask = |number: i64| sqlx::query_scalar::<_, i64>("select $1::bigint").bind(number);
    let trips = || proxy.traffic().round_trips;
    let before = trips();
    assert_eq!(ask(1).fetch_one(&pool).await.unwrap(), 1);
    assert_eq!(trips() - before, 4, "begin, prepare, run, commit");
    let mut tx = pool.begin().await.unwrap();
    let before = trips();
    assert_eq!(ask(2).fetch_one(&mut tx).await.unwrap(), 2);
    assert_eq!(trips() - before, 2, "prepare, run");
    // A savepoint around what this connection has not run yet.
    let new = || sqlx::query_scalar::<_, i64>("select $1::bigint + 1").bind(1_i64);
    for expected in [4, 2] {
        let before = trips();
        assert_eq!(new().fetch_one(&mut tx).await.unwrap(), 2);
        assert_eq!(trips() - before, expected);
    }
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_direct_pool_recovers_from_a_type_that_was_looked_up_as_sqlx_does() {
    let database = Postgres::shared().database().unwrap();
    database.psql("create type mood as enum ('sad', 'glad')").unwrap();
    let settings = DatabaseSettings::new(database.url()).unwrap().with_pool_size(1u32).with_max_overflow(0u32);
    let pool = PgPool::connect(settings).await.unwrap();
    let ask = || sqlx::query("select 'sad'::mood where $1 = 1").bind(1_i64).persistent(false);
    let lost = Error::from(ask().fetch_one(&pool).await.unwrap_err());
    assert_eq!(lost.kind(), ErrorKind::Database, "{lost}");
    ask().fetch_one(&pool).await.unwrap();
    assert_eq!(pool.status().totals.opened, 1);
}

/// The session would be another one than was asked for, and answer with the rows of another schema.
#[tokio::test]
async fn start_up_options_that_a_pooler_would_lose_are_refused() {
    for pooler in [Pooler::Prepared, Pooler::Unprepared] {
        for options in ["options=-c%20search_path%3Dtenant", "options[search_path]=tenant"] {
            let settings = DatabaseSettings::new(format!("postgres://app@db/app?{options}")).unwrap();
            let error = PgPool::connect_lazy(settings.clone().with_pooler(pooler)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("ALTER ROLE .. SET search_path"), "{error}");
            PgPool::connect_lazy(settings).unwrap();
        }
    }
    // Guessed, it loses them as well. What the proxy before it reads is none of them.
    let neon = |options: &str| {
        let url = format!("postgres://app@ep-cool-rain-123-pooler.eu-central-1.aws.neon.tech/app?{options}");
        PgPool::connect_lazy(DatabaseSettings::new(url).unwrap())
    };
    assert!(neon("options=-c%20search_path%3Dtenant").unwrap_err().to_string().contains("SET LOCAL"));
    neon("options=endpoint%3Dep-cool-rain-123").unwrap();
}

#[tokio::test]
async fn a_guess_is_logged_with_its_reason() {
    let log = Log::begin();
    let url = "postgres://app@ep-cool-rain-123-pooler.eu-central-1.aws.neon.tech/app";
    let pool = PgPool::connect_lazy(DatabaseSettings::new(url).unwrap()).unwrap();
    let said = "pooler = Prepared, for a -pooler. host of neon.tech is a PgBouncer that keeps prepared statements; set pooler to say \
                otherwise";
    log.says(said).await;
    drop((pool, log));
    let log = Log::begin();
    let settings = DatabaseSettings::new(url).unwrap().with_pooler(Pooler::Unprepared);
    PgPool::connect_lazy(settings).unwrap();
    assert!(!log.text().contains("set pooler to say otherwise"), "{}", log.text());
}

/// One connection beside the pool's looks whether it is the server itself that answers, and all connects wait for its word.
#[tokio::test(flavor = "multi_thread")]
async fn one_connect_at_a_time_looks_whether_statements_are_kept_apart() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let settings = DatabaseSettings::new(proxy.url(&database.url())).unwrap().with_pooler(Pooler::Prepared);
    let pool = PgPool::connect_lazy(settings.with_pool_size(4u32).with_max_overflow(0u32)).unwrap();
    let held = futures_util::future::join_all((0..4).map(|_| pool.acquire())).await;
    assert!(held.iter().all(Result::is_ok));
    assert_eq!(proxy.traffic().accepted, pool.status().totals.opened + 1);
}
