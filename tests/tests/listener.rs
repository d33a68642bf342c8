//! LISTEN on a real PostgreSQL: what is heard, what is told of gaps, and how it ends.
#![allow(clippy::unwrap_used)]

mod log;

use futures_util::FutureExt;
use log::Log;
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

/// A pooler that takes our start-up options and drops them.
const SWALLOWS: [(&str, &str); 1] = [("ignore_startup_parameters", "options,extra_float_digits")];

#[tokio::test]
async fn a_pooler_of_transactions_is_told_and_nothing_is_left_on_it() {
    let cluster = Postgres::shared();
    let database = cluster.database().unwrap();
    let bouncer = PgBouncer::start(cluster, 1, &SWALLOWS).unwrap();
    let through = bouncer.url(database.name());
    let unprepared = settings(&through).with_pooler(Pooler::Unprepared);
    for (settings, url) in [
        (settings(database.url()).with_listen_url(&through).unwrap(), "so listen_url leads to a pooler"),
        (unprepared.with_listen_url(&through).unwrap(), "so listen_url leads to a pooler"),
        (settings(&through), "so url leads to a pooler"),
    ] {
        let log = Log::begin();
        let pool = PgPool::connect_lazy(settings).unwrap();
        let mut listener = pool.listen(["tracks"]).unwrap();
        log.says(url).await;
        assert!(listener.next().now_or_never().is_none(), "no Resync, for it does not listen");
        assert!(log.text().contains("not listening, next attempt in"), "{}", log.text());
    }
    let look = ["-c", "select count(*) from pg_listening_channels()", "-c", "show client_connection_check_interval"];
    let stranger = cluster.run_psql(&[&["-XqAt", "-d", &through], &look[..]].concat()).unwrap();
    assert_eq!(stranger, "0\n0");

    // Migrations need a session as much.
    let pool = PgPool::connect_lazy(settings(database.url()).with_listen_url(&through).unwrap()).unwrap();
    let error = pool.migrate(&sqlx::migrate::Migrator::DEFAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("listen_url leads to a pooler"), "{error}");
}

#[tokio::test]
async fn a_pooler_of_sessions_is_listened_through_if_the_settings_say_so() {
    let cluster = Postgres::shared();
    let database = cluster.database().unwrap();
    let bouncer = PgBouncer::start(cluster, 2, &[SWALLOWS[0], ("pool_mode", "session")]).unwrap();
    let through = settings(bouncer.url(database.name())).with_pooler(Pooler::Direct);
    let pool = PgPool::connect_lazy(through).unwrap();
    let mut listener = pool.listen(["tracks"]).unwrap();
    assert_eq!(next(&mut listener).await, Some(ListenEvent::Resync));
    notify(&database, "heard");
    assert_eq!(next(&mut listener).await, note("heard"));
}

#[tokio::test]
async fn a_listen_url_that_is_known_for_a_pooler_is_refused() {
    let listen = |url: &str| {
        let pool = PgPool::connect_lazy(settings("postgres://app@db/app").with_listen_url(url).unwrap()).unwrap();
        pool.listen(["tracks"]).map(drop)
    };
    let error = listen("postgres://app@aws-0-eu-west-1.pooler.supabase.com:6543/app").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("port 6543 of pooler.supabase.com pools transactions"), "{error}");
    listen("postgres://app@aws-0-eu-west-1.pooler.supabase.com:5432/app").unwrap();
}

#[tokio::test]
async fn why_a_connect_failed_is_told() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    proxy.set(Mode::Refuse);
    let log = Log::begin();
    let pool = PgPool::connect_lazy(settings(proxy.url(&database.url()))).unwrap();
    let mut listener = pool.listen(["tracks"]).unwrap();
    log.says("onnection refused").await;
    proxy.set(Mode::Pass);
    assert_eq!(next(&mut listener).await, Some(ListenEvent::Resync));
    drop((listener, log));

    let role = format!("{}_full", database.name());
    database.psql(&format!("create role {role} login connection limit 0")).unwrap();
    let log = Log::begin();
    let pool = PgPool::connect_lazy(settings(database.url().replace("postgres@", &format!("{role}@")))).unwrap();
    let listener = pool.listen(["tracks"]).unwrap();
    log.says("too many connections for role").await;
    drop(listener);
    database.psql(&format!("drop role {role}")).unwrap();
}

#[tokio::test]
async fn a_connect_that_hangs_ends_with_connection_timeout_and_is_tried_again() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    proxy.set(Mode::Hold);
    let log = Log::begin();
    let limit = Duration::from_millis(300);
    let pool = PgPool::connect_lazy(settings(proxy.url(&database.url())).with_connection_timeout(limit)).unwrap();
    let mut listener = pool.listen(["tracks"]).unwrap();
    let again = async {
        while proxy.traffic().accepted < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.expect("it tries again");
    assert!(log.text().contains("no connection within connection_timeout = 300ms"), "{}", log.text());
    proxy.set(Mode::Pass);
    assert_eq!(next(&mut listener).await, Some(ListenEvent::Resync));
}
