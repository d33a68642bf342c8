//! A service with `#[pooled]` handlers behind a database that fails in the ways of the incidents: waking slowly, silent from the
//! first byte, silent in mid-statement, gone and back. Every request gets an answer or an honest 503, in time.
#![allow(clippy::unwrap_used)]

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
    routing::get,
};
use pool_sqlx::{DatabaseSettings, Error, PgConn, PgPool, pooled};
use std::time::{Duration, Instant};
use tests::{
    Postgres,
    proxy::{Mode, Proxy},
};
use tokio::task::JoinSet;
use tower::ServiceExt;

#[pooled]
async fn answer(conn: &mut PgConn) -> Result<String, Error> {
    let n: i32 = sqlx::query_scalar("select 42").fetch_one(conn).await?;
    Ok(n.to_string())
}

/// What a client saw: status, `Retry-After`, content type, body, and how long it took.
struct Seen {
    status: StatusCode,
    retry_after: Option<String>,
    kind: String,
    body: String,
    took: Duration,
}

async fn request(app: Router) -> Seen {
    let begun = Instant::now();
    let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    let took = begun.elapsed();
    let (parts, body) = response.into_parts();
    let text = |name| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, retry_after) = (parts.status, text(header::RETRY_AFTER));
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let body = axum::body::to_bytes(body, 10_000).await.unwrap();
    Seen { status, retry_after, kind, body: String::from_utf8(body.to_vec()).unwrap(), took }
}

/// The requirement document's sizes, with limits that a test can wait for.
fn service(url: &str, limit: Duration) -> (PgPool, Router) {
    let settings = DatabaseSettings::new(url).unwrap().with_name("primary").with_connection_timeout(limit);
    let pool = PgPool::connect_lazy(settings.with_pool_timeout(limit).with_statement_timeout(limit)).unwrap();
    (pool.clone(), Router::new().route("/", get(answer)).with_state(pool))
}

fn burst(app: &Router, n: usize) -> JoinSet<Seen> {
    let mut requests = JoinSet::new();
    for _ in 0..n {
        requests.spawn(request(app.clone()));
    }
    requests
}

fn is_honest_503(seen: &Seen) {
    assert_eq!(seen.status, StatusCode::SERVICE_UNAVAILABLE, "{}", seen.body);
    assert_eq!(seen.kind, "application/problem+json");
    // The same slow statement again would not be faster; everything else may be over in a moment.
    let slow = seen.body.contains("urn:pool:statement-timeout");
    assert_eq!(seen.retry_after.is_some(), !slow, "{}", seen.body);
    assert!(seen.body.contains("\"type\":\"urn:pool:"), "{}", seen.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifteen_requests_survive_a_database_that_wakes_while_they_wait() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let (pool, app) = service(&proxy.url(&database.url()), Duration::from_secs(30));
    proxy.set(Mode::Hold);
    let requests = burst(&app, 15);
    // Asleep until as many dial as ever do at once, and everybody else waits without a slot.
    proxy.until(|traffic| traffic.accepted == 4).await;
    while pool.status().waiting < 15 {
        tokio::task::yield_now().await;
    }
    assert_eq!((pool.status().opening, pool.status().open), (4, 0));
    proxy.set(Mode::Pass);
    for seen in requests.join_all().await {
        assert_eq!((seen.status, seen.body.as_str()), (StatusCode::OK, "42"));
    }
    assert_eq!(pool.status().totals.timeouts, 0);
    assert_eq!(pool.close().await.still_held, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_silent_from_the_first_byte_gets_every_request_a_503_in_time() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let limit = Duration::from_secs(2);
    let (pool, app) = service(&proxy.url(&database.url()), limit);
    proxy.set(Mode::Silent);
    for seen in burst(&app, 30).join_all().await {
        is_honest_503(&seen);
        assert!(seen.body.contains("urn:pool:connecting"), "{}", seen.body);
        // The promise is 100 ms; a busy machine may be slower than the pool.
        assert!(seen.took >= limit && seen.took < limit + Duration::from_secs(10), "{:?}", seen.took);
    }
    proxy.set(Mode::Pass);
    proxy.reset_all();
    for seen in burst(&app, 15).join_all().await {
        assert_eq!(seen.status, StatusCode::OK, "it recovers by itself: {}", seen.body);
    }
    drop(pool.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_costs_each_request_its_limit_and_the_pool_nothing() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let limit = Duration::from_secs(2);
    let (pool, app) = service(&proxy.url(&database.url()), limit);
    for seen in burst(&app, 15).join_all().await {
        assert_eq!(seen.status, StatusCode::OK);
    }
    proxy.set(Mode::Silent);
    for seen in burst(&app, 15).join_all().await {
        is_honest_503(&seen);
        // Connections that are still fresh run into the statement's limit, the others into the pool's.
        assert!(seen.took < limit + Duration::from_secs(10), "{:?}", seen.took);
    }
    proxy.set(Mode::Pass);
    proxy.reset_all();
    for seen in burst(&app, 15).join_all().await {
        assert_eq!(seen.status, StatusCode::OK, "{}", seen.body);
    }
    let status = pool.status();
    assert_eq!((status.in_use, status.waiting), (0, 0), "no slot is lost");
    drop(pool.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_is_dialled_a_few_times_a_second_and_noticed_when_it_is_back() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let (pool, app) = service(&proxy.url(&database.url()), Duration::from_secs(30));
    proxy.set(Mode::Refuse);
    let requests = burst(&app, 15);
    while pool.status().totals.connect_errors < 3 {
        tokio::task::yield_now().await;
    }
    proxy.set(Mode::Pass);
    for seen in requests.join_all().await {
        assert_eq!(seen.status, StatusCode::OK, "{}", seen.body);
    }
    drop(pool.close().await);
}
