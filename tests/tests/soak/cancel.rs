//! Requests that are cancelled at random moments, on real servers.
//!
//! Whoever comes next must find a connection that works, outside of any transaction, and hear his own answers; and on the server
//! nothing may run on for somebody who has left.

use super::{COUNT, Dice, SEED, number, seed};
use futures_util::StreamExt;
use pool_sqlx::{DatabaseSettings, Error, MySqlPool, PgPool, SqlitePool, sqlx};
use sqlx::Executor;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tests::{MariaDb, Postgres};

const POOL: u32 = 4;
const OVERFLOW: u32 = 2;
const WORKERS: u64 = 8;

#[derive(Default)]
struct Tally {
    done: AtomicU64,
    cancelled: AtomicU64,
}

/// The requests on one database. A wrong answer or an error that nobody asked for panics.
macro_rules! fuzz {
    ($fuzz:ident, $pool:ty, echo: $echo:literal, rows: $rows:literal, sleep: $sleep:literal, unseen: $unseen:path, is_clean: $clean:path) => {
        async fn $fuzz(pool: $pool, cancellations: u64, seed: u64) {
            eprintln!("{cancellations} cancellations, {SEED}={seed}");
            let tally = Arc::new(Tally::default());
            let worker = |worker: u64| {
                let (pool, tally) = (pool.clone(), Arc::clone(&tally));
                async move {
                    let mut dice = Dice(seed ^ worker.wrapping_mul(0x1234_5678_9abc_def1));
                    let mut number = (worker * 1_000_000_000) as i64;
                    while tally.cancelled.load(Ordering::Relaxed) < cancellations {
                        number += 1;
                        let patience = Duration::from_micros(dice.roll(4000));
                        let kind = dice.roll(11);
                        // One in four is cancelled on its way to a connection, too.
                        let held = if dice.roll(4) == 0 { None } else { Some(pool.acquire().await.unwrap()) };
                        let request = async {
                            let mut conn = match held {
                                Some(conn) => conn,
                                None => pool.acquire().await?,
                            };
                            match kind {
                                0 | 1 => {
                                    let echo: i64 = sqlx::query_scalar($echo).bind(number).fetch_one(&mut conn).await?;
                                    assert_eq!(echo, number, "somebody else's answer");
                                }
                                2 => {
                                    let mut tx = conn.begin().await?;
                                    let echo: i64 = sqlx::query_scalar($echo).bind(number).fetch_one(&mut tx).await?;
                                    assert_eq!(echo, number, "somebody else's answer");
                                    tx.commit().await?;
                                }
                                3 => {
                                    let rows: Vec<i64> = sqlx::query_scalar($rows).fetch_all(&mut conn).await?;
                                    assert!(rows.into_iter().eq(1..=200), "somebody else's rows");
                                }
                                4 => {
                                    let mut rows = sqlx::query($rows).fetch(&mut conn);
                                    for _ in 0..number % 7 {
                                        rows.next().await.unwrap()?;
                                    }
                                }
                                5 => {
                                    sqlx::query("select nothing_of_that_name").execute(&mut conn).await.unwrap_err();
                                }
                                6 => {
                                    conn.execute("begin").await?;
                                    let echo: i64 = sqlx::query_scalar($echo).bind(number).fetch_one(&mut conn).await?;
                                    assert_eq!(echo, number, "somebody else's answer");
                                }
                                7 => {
                                    let echo: i64 =
                                        sqlx::query_scalar($echo).bind(number).fetch_one(conn.raw()).await?;
                                    assert_eq!(echo, number, "somebody else's answer");
                                }
                                8 => {
                                    let mut tx = conn.begin().await?;
                                    let mut inner = tx.begin().await?;
                                    let echo: i64 =
                                        sqlx::query_scalar($echo).bind(number).fetch_one(&mut inner).await?;
                                    assert_eq!(echo, number, "somebody else's answer");
                                    match number % 3 {
                                        0 => inner.commit().await?,
                                        1 => inner.rollback().await?,
                                        _ => drop(inner),
                                    }
                                    tx.commit().await?;
                                }
                                9 => $unseen(&mut conn, number).await?,
                                _ => {
                                    sqlx::query($sleep).execute(&mut conn).await?;
                                }
                            }
                            Ok::<_, Error>(())
                        };
                        match tokio::time::timeout(patience, request).await {
                            Ok(outcome) => {
                                outcome.unwrap_or_else(|error| panic!("request {number} of kind {kind}: {error}"));
                                tally.done.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(_) => {
                                tally.cancelled.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        // The next user, who is patient.
                        let mut conn = pool.acquire().await.unwrap();
                        assert!($clean(&mut conn).await, "the last user's transaction is still open");
                        let echo: i64 = sqlx::query_scalar($echo).bind(number).fetch_one(&mut conn).await.unwrap();
                        assert_eq!(echo, number, "somebody else's answer");
                    }
                }
            };
            let workers: Vec<_> = (0..WORKERS).map(|n| tokio::spawn(worker(n))).collect();
            for worker in workers {
                worker.await.unwrap();
            }
            assert_eq!(pool.close().await.still_held, []);
            let (done, cancelled) = (tally.done.load(Ordering::Relaxed), tally.cancelled.load(Ordering::Relaxed));
            eprintln!("{done} answered, {cancelled} cancelled; {:?}", pool.status().totals);
            assert!(done > 0, "nothing was answered");
        }
    };
}

fuzz!(
    fuzz_postgres, PgPool,
    echo: "select $1::bigint",
    rows: "select n::bigint from generate_series(1, 200) n",
    sleep: "select pg_sleep(60)",
    unseen: on_postgres::unseen,
    is_clean: on_postgres::is_clean
);
fuzz!(
    fuzz_mariadb, MySqlPool,
    echo: "select cast(? as signed)",
    rows: "select cast(seq as signed) from seq_1_to_200",
    sleep: "select sleep(60)",
    unseen: on_mariadb::unseen,
    is_clean: on_mariadb::is_clean
);
fuzz!(
    fuzz_sqlite, SqlitePool,
    echo: "select ?",
    rows: "with recursive c(n) as (select 1 union all select n + 1 from c limit 200) select n from c",
    sleep: "with recursive c(n) as (select 1 union all select n + 1 from c) select count(*) from c",
    unseen: on_sqlite::unseen,
    is_clean: on_sqlite::is_clean
);

/// What each database has of its own: a way past us, and to find out whether a transaction is open.
mod on_postgres {
    use super::*;
    use pool_sqlx::PgConn;

    /// `COPY`, to its end or not.
    pub(super) async fn unseen(conn: &mut PgConn, number: i64) -> Result<(), Error> {
        if number % 2 == 0 {
            let mut copy = conn.raw().copy_in_raw("copy copied from stdin").await?;
            copy.send(&b"1\n"[..]).await?;
            if number % 4 == 0 {
                copy.finish().await?;
            }
        } else {
            let out = "copy (select repeat('x', 1000) from generate_series(1, 200)) to stdout";
            let mut copy = conn.raw().copy_out_raw(out).await?;
            let mut left = if number % 4 == 1 { i64::MAX } else { number % 7 };
            while left > 0
                && let Some(line) = copy.next().await
            {
                line?;
                left -= 1;
            }
        }
        Ok(())
    }

    pub(super) async fn is_clean(conn: &mut PgConn) -> bool {
        // Its time stands still in a transaction, if asked by the simple protocol.
        let open = "select (now() < statement_timestamp())::int::bigint";
        sqlx::Row::get::<i64, _>(&conn.fetch_one(sqlx::raw_sql(open)).await.unwrap(), 0) == 0
    }
}

mod on_mariadb {
    use super::*;
    use pool_sqlx::MySqlConn;

    /// What no statement takes back, and an answer that is not read.
    pub(super) async fn unseen(conn: &mut MySqlConn, number: i64) -> Result<(), Error> {
        match number % 3 {
            0 => {
                conn.raw().execute("set autocommit = 0").await?;
            }
            1 => {
                conn.execute("select get_lock('soak', 0)").await?;
            }
            _ => drop(sqlx::query("select seq from seq_1_to_200").fetch_one(conn.raw()).await?),
        }
        Ok(())
    }

    pub(super) async fn is_clean(conn: &mut MySqlConn) -> bool {
        let held = "select cast(@@in_transaction + 1 - @@autocommit + coalesce(is_used_lock('soak') = connection_id(), 0) as signed)";
        sqlx::Row::get::<i64, _>(&conn.fetch_one(sqlx::raw_sql(held)).await.unwrap(), 0) == 0
    }
}

mod on_sqlite {
    use super::*;
    use pool_sqlx::SqliteConn;

    /// A transaction that nobody ends, and an answer that is not read.
    pub(super) async fn unseen(conn: &mut SqliteConn, number: i64) -> Result<(), Error> {
        if number % 2 == 0 {
            conn.raw().execute("begin").await?;
        }
        let mut rows = sqlx::query("select 1 union all select 2").fetch(conn.raw());
        rows.next().await.unwrap()?;
        Ok(())
    }

    pub(super) async fn is_clean(conn: &mut SqliteConn) -> bool {
        // Inside a transaction it is refused.
        conn.execute("begin").await.is_ok() && conn.execute("rollback").await.is_ok()
    }
}

fn settings(url: impl AsRef<str>) -> DatabaseSettings {
    DatabaseSettings::new(url).unwrap().with_pool_size(POOL).with_max_overflow(OVERFLOW)
}

/// Looks at the server until it is dropped, and keeps what must not be.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Watch {
    fn start(mut look: impl FnMut() -> Option<String> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut found = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                found.extend(look());
                std::thread::sleep(Duration::from_millis(200));
            }
            found.extend(look());
            found
        });
        Self { stop, thread: Some(thread) }
    }

    fn findings(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// More connections than the pool may have: its cap, one more that may be cancelling, and those it has counted as abandoned.
fn crowd(mut backends: impl FnMut() -> usize, abandoned: impl Fn() -> u64) -> Option<String> {
    let mut look = || {
        let (backends, allowed) = (backends(), (POOL + OVERFLOW) as usize + 1 + abandoned() as usize);
        (backends > allowed).then_some((backends, allowed))
    };
    let (backends, allowed) = look()?;
    // Those that were told goodbye take a moment to go; so does the one of the last look.
    match backends > allowed + (POOL + OVERFLOW) as usize {
        true => Some((backends, allowed)),
        false => lasting(&mut look),
    }
    .map(|(backends, allowed)| format!("{backends} backends of {allowed}"))
}

/// What is found for a second, which may be long on a busy machine: the last of it.
fn lasting<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let found = look()?;
        if begun.elapsed() > Duration::from_secs(1) {
            return Some(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_cancelled_requests_is_left_for_others_on_postgresql() {
    let database: &'static _ = Box::leak(Box::new(Postgres::shared().database().unwrap()));
    database.psql("create table copied (n bigint)").unwrap();
    let pool = PgPool::connect(settings(database.url())).await.unwrap();
    // Every sleeper is cancelled within 4 ms.
    let old = "select count(*) from pg_stat_activity where datname = current_database() and state = 'active'
        and query like '%pg_sleep%' and pid <> pg_backend_pid() and clock_timestamp() - query_start > interval '1 s'";
    let watched = pool.clone();
    let watch = Watch::start(move || {
        let crowd = crowd(|| database.backends().unwrap(), || watched.status().abandoned);
        let old = lasting(|| {
            let old = database.psql(old).unwrap();
            (old != "0").then(|| format!("{old} old statements"))
        });
        old.or(crowd)
    });
    fuzz_postgres(pool, number(COUNT).unwrap_or(100), seed()).await;
    assert_eq!(watch.findings(), Vec::<String>::new());
    let open = "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'";
    assert_eq!(database.psql(open).unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_cancelled_requests_is_left_for_others_on_mariadb() {
    let database: &'static _ = Box::leak(Box::new(MariaDb::shared().database().unwrap()));
    let pool = MySqlPool::connect(settings(database.url())).await.unwrap();
    let name = database.name().to_owned();
    let old = format!(
        "select count(*) from information_schema.processlist
            where db = '{name}' and command = 'Query' and info like '%sleep%' and info not like '%processlist%' and time_ms > 1000"
    );
    let count =
        format!("select count(*) from information_schema.processlist where db = '{name}' and id <> connection_id()");
    let watched = pool.clone();
    let watch = Watch::start(move || {
        let crowd = crowd(|| database.sql(&count).unwrap().parse().unwrap(), || watched.status().abandoned);
        let old = lasting(|| {
            let old = database.sql(&old).unwrap();
            (old != "0").then(|| format!("{old} old statements"))
        });
        old.or(crowd)
    });
    fuzz_mariadb(pool, number(COUNT).unwrap_or(100), seed()).await;
    assert_eq!(watch.findings(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_cancelled_requests_is_left_for_others_on_sqlite() {
    let file = std::env::temp_dir().join(format!("pool-soak-{}.db", std::process::id()));
    let pool = SqlitePool::connect(settings(format!("sqlite://{}", file.display()))).await.unwrap();
    fuzz_sqlite(pool, number(COUNT).unwrap_or(100), seed()).await;
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
}
