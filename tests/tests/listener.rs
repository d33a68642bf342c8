//! LISTEN on a real PostgreSQL: what is heard, what is told of gaps, and how it ends.
#![allow(clippy::unwrap_used)]

use pool_sqlx::{DatabaseSettings, ErrorKind, ListenEvent, Listener, PgPool, Pooler, sqlx};
use std::time::Duration;
use tests::{
    PgBouncer, Postgres,
    proxy::{Mode, Proxy},
    server::postgres::Database,
};

fn settings(url: impl AsRef<str>) -> DatabaseSettings {
    DatabaseSettings::new(url).unwrap().with_pool_size(2u32).with_max_overflow(0u32)
}

async fn next(listener: &mut Listener) -> Option<ListenEvent> {
    tokio::time::timeout(Duration::from_secs(40), listener.next()).await.expect("an event within 40 s")
}

fn note(payload: &str) -> Option<ListenEvent> {
    Some(ListenEvent::Notification { channel: "tracks".into(), payload: payload.into() })
}

fn notify(database: &Database<'_>, payload: &str) {
    database.psql(&format!("notify tracks, '{payload}'")).unwrap();
}

/// Ends the backends that listen, and gives their number.
fn kill_listeners(database: &Database<'_>) -> String {
    let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and application_name <> 'psql'";
    database.psql(kill).unwrap()
}

#[tokio::test]
async fn a_killed_connection_is_replaced_and_the_gap_is_told() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect_lazy(settings(database.url())).unwrap();
    let mut listener = pool.listen(["tracks"]).unwrap();
    assert_eq!(next(&mut listener).await, Some(ListenEvent::Resync));
    notify(&database, "one");
    notify(&database, "two");
    assert_eq!((next(&mut listener).await, next(&mut listener).await), (note("one"), note("two")));
    assert_eq!(pool.status().open, 0, "it has a connection of its own");

    assert_eq!(kill_listeners(&database), "1");
    notify(&database, "missed, perhaps");
    assert_eq!(next(&mut listener).await, Some(ListenEvent::Resync));
    notify(&database, "three");
    let heard = [next(&mut listener).await];
    assert!(heard.contains(&note("three")), "{heard:?}");
}

#[tokio::test]
async fn the_pool_hears_of_a_connection_that_is_killed() {
    let database = Postgres::shared().database().unwrap();
    // Nobody else finds out.
    let pool = PgPool::connect(settings(database.url()).with_keepalive(None)).await.unwrap();
    let mut listener = pool.listen(["tracks"]).unwrap();
    assert_eq!(next(&mut listener).await, Some(ListenEvent::Resync));
    let open = pool.status().open;
    database
        .psql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
        .unwrap();
    let heard = async {
        while pool.status().totals.closed() < u64::from(open) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), heard).await.expect("the pool gave its connections up");
}

#[tokio::test]
async fn closing_the_pool_ends_the_stream_and_dropping_it_ends_the_connection() {
    let database = Postgres::shared().database().unwrap();
    let pool = PgPool::connect_lazy(settings(database.url())).unwrap();
    let (mut listener, mut other) = (pool.listen(["tracks"]).unwrap(), pool.listen(["tracks"]).unwrap());
    assert_eq!(next(&mut listener).await, Some(ListenEvent::Resync));
    assert_eq!(next(&mut other).await, Some(ListenEvent::Resync));
    drop(other);
    assert_eq!(pool.close().await.still_held, []);
    assert_eq!(next(&mut listener).await, None);
    drop(listener);
    let gone = async {
        while database.backends().unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the server sees them go");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed_by_the_heartbeat_and_the_pool_hears_of_it() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let limits = settings(proxy.url(&database.url())).with_ping_timeout(Duration::from_millis(200));
    let pool = PgPool::connect(limits).await.unwrap();
    let before = pool.status();
    let mut listener = pool.listen(["tracks"]).unwrap();
    assert_eq!(next(&mut listener).await, Some(ListenEvent::Resync));
    proxy.set(Mode::Silent);
    // Nobody uses the pool. The heartbeat goes out after 5 s and is given 5 s.
    let noticed = async {
        while pool.status().totals.closed() == before.totals.closed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(25), noticed).await.expect("the pool gave its connections up");
    proxy.set(Mode::Pass);
    assert_eq!(next(&mut listener).await, Some(ListenEvent::Resync));
    notify(&database, "back");
    assert_eq!(next(&mut listener).await, note("back"));
    sqlx::query("select 1").execute(&pool).await.unwrap();
}

#[tokio::test]
async fn behind_a_pooler_it_goes_to_listen_url_or_says_so() {
    let cluster = Postgres::shared();
    let database = cluster.database().unwrap();
    let bouncer = PgBouncer::start(cluster, 1, &[]).unwrap();
    let through = settings(bouncer.url(database.name())).with_pooler(Pooler::Unprepared);
    let pool = PgPool::connect_lazy(through.clone()).unwrap();
    let error = pool.listen(["tracks"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("listen_url"), "{error}");

    let pool = PgPool::connect_lazy(through.with_listen_url(database.url()).unwrap()).unwrap();
    let mut listener = pool.listen(["tracks"]).unwrap();
    assert_eq!(next(&mut listener).await, Some(ListenEvent::Resync));
    sqlx::query("select pg_notify('tracks', $1)").bind("through the pooler").execute(&pool).await.unwrap();
    assert_eq!(next(&mut listener).await, note("through the pooler"));
}
