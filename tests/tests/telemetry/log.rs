//! The log: what is a line, and what must never be in one.

use pool_sqlx::{DatabaseSettings, MySqlPool, PgPool, SqlitePool};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tests::{MariaDb, Postgres};
use tracing::{Instrument, Level, subscriber::DefaultGuard};
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged on this thread.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn capture(level: Level) -> (Self, DefaultGuard) {
        crate::ask_all_subscribers();
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(level).with_ansi(false);
        (lines, subscriber.with_writer(move || writer.clone()).finish().set_default())
    }

    pub(crate) fn read(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().expect("nobody panics with it").clone()).expect("lines are text");
        text.lines().map(str::to_owned).collect()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with it").write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_line_has_the_values_of_a_statement_however_slow_it_was() {
    let (lines, _on) = Lines::capture(Level::DEBUG);
    // What sqlx would take for slow.
    let (postgres, maria) = (Postgres::shared().database().unwrap(), MariaDb::shared().database().unwrap());
    let pool = PgPool::connect(DatabaseSettings::new(postgres.url()).unwrap()).await.unwrap();
    sqlx::query("select pg_sleep(1.1), 'hunter2'").execute(&pool).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    sqlx::query("select 'hunter2'").execute(conn.raw()).await.unwrap();
    let pool = MySqlPool::connect(DatabaseSettings::new(maria.url()).unwrap()).await.unwrap();
    sqlx::query("select sleep(1.1), 'hunter2'").execute(&pool).await.unwrap();
    let lines = lines.read();
    assert!(lines.iter().any(|line| line.contains("opened a connection")), "the pool's lines: {lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("hunter2")), "{lines:#?}");
}

#[tokio::test]
async fn advice_is_logged_once_when_the_first_connection_is_open_of_a_lazy_pool_too() {
    let (lines, _on) = Lines::capture(Level::INFO);
    let advice =
        || lines.read().into_iter().filter(|line| line.contains("advice: statement_timeout: there is none")).count();
    let settings = || DatabaseSettings::new("sqlite::memory:").unwrap().with_statement_timeout(None).with_pool_size(2);
    let lazy = SqlitePool::connect_lazy(settings()).unwrap();
    assert_eq!(advice(), 0, "{:#?}", lines.read());
    let _held = [lazy.acquire().await.unwrap(), lazy.acquire().await.unwrap()];
    assert_eq!(advice(), 1, "{:#?}", lines.read());
    let _connected = SqlitePool::connect(settings()).await.unwrap();
    assert_eq!(advice(), 2, "{:#?}", lines.read());
}

#[tokio::test]
async fn what_fails_a_caller_is_told_where_it_happens_and_no_more_than_one_in_a_second() {
    let (lines, _on) = Lines::capture(Level::INFO);
    let database = Postgres::shared().database().unwrap();
    let settings = DatabaseSettings::new(database.url()).unwrap().with_name("noticed");
    let settings = settings.with_pool_size(1).with_max_overflow(0).with_statement_timeout(Duration::from_millis(200));
    let pool = PgPool::connect(settings).await.unwrap();
    let of = |target: &str| {
        let lines = lines.read();
        lines.into_iter().filter(|line| line.contains(&format!(" {target}: "))).collect::<Vec<_>>()
    };
    let begun = Instant::now();
    let failing = async {
        let held = pool.acquire().await.unwrap();
        for _ in 0..300 {
            pool.acquire_timeout(Duration::ZERO).await.unwrap_err();
        }
        drop(held);
        for _ in 0..4 {
            sqlx::query("select pg_sleep(5), 'hunter2'").execute(&pool).await.unwrap_err();
        }
    };
    failing.instrument(tracing::error_span!("request")).await;
    // One at once, and one for each second that has passed: a machine may take its time.
    let most = 1 + begun.elapsed().as_secs() as usize;
    let (acquires, statements) = (of("pool::acquire"), of("pool::statement"));
    assert!((1..=most).contains(&acquires.len()), "{most}: {acquires:#?}");
    assert!((1..=most).contains(&statements.len()), "{most}: {statements:#?}");
    let acquire = &acquires[0];
    for part in ["INFO request: ", "pool=\"noticed\"", "error.type=\"exhausted\"", "more=0", "in use 1 of 1", "log.rs:"]
    {
        assert!(acquire.contains(part), "{part} is not in {acquire}");
    }
    let statement = &statements[0];
    for part in ["INFO request: ", "pool=\"noticed\"", "error.type=\"statement_timeout\"", "200ms"] {
        assert!(statement.contains(part), "{part} is not in {statement}");
    }
    assert!(lines.read().iter().all(|line| !line.contains("hunter2")), "{:#?}", lines.read());
}

#[tokio::test]
async fn a_leak_and_a_database_that_is_lost_and_found_are_lines() {
    let (lines, _on) = Lines::capture(Level::INFO);
    let database = Postgres::shared().database().unwrap();
    let settings = DatabaseSettings::new(database.url()).unwrap().with_name("told").with_pre_ping_after(Duration::ZERO);
    let settings = settings.with_pool_size(1).with_max_overflow(0).with_leak_after(Duration::from_millis(20));
    let pool = PgPool::connect(settings).await.unwrap();
    let told = async |what: &str| {
        let begun = Instant::now();
        loop {
            let found = lines.read().into_iter().find(|line| line.contains(what));
            match found {
                Some(line) => return line,
                None => assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {:#?}", lines.read()),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let held = pool.acquire().await.unwrap();
    let leak = told("has held a connection for").await;
    for part in [" WARN pool: ", "log.rs:", "pool=\"told\""] {
        assert!(leak.contains(part), "{part} is not in {leak}");
    }
    drop(held);
    told("gave back the connection reported as leaking").await;

    let others = "pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    database.psql(&format!("select pg_terminate_backend(pid) from {others}")).unwrap();
    while database.backends().unwrap() > 0 {}
    sqlx::query("select 1").execute(&pool).await.unwrap();
    assert!(told("a connection was found dead").await.contains(" WARN pool: "));
    assert!(told("the database answers again").await.contains(" INFO pool: "));
}
