//! The traces: what a statement and a wait look like, and that a refusal's log line leads to its request.

use crate::collector::{Collector, Value, assert_kinds};
use axum::{Router, body::Body, http::Request, routing::get};
use futures_util::FutureExt;
use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_sdk::{logs::SdkLoggerProvider, trace::SdkTracerProvider};
use pool_sqlx::{DatabaseSettings, Error, ErrorKind, PgConn, PgPool, SqliteConn, SqlitePool, pooled};
use sqlx::Row;
use std::time::Duration;
use tests::{Postgres, server::postgres::Listen};
use tokio::sync::watch;
use tower::ServiceExt;
use tracing::{Instrument, Level, info_span, subscriber::DefaultGuard};
use tracing_subscriber::{filter::Targets, prelude::*};

const SECRET: &str = "hunter2";

/// Sends what happens on this thread to a collector.
struct Tracing {
    collector: Collector,
    spans: SdkTracerProvider,
    logs: SdkLoggerProvider,
    _on: DefaultGuard,
}

impl Tracing {
    async fn start() -> Self {
        crate::choose_tls();
        crate::ask_all_subscribers();
        let collector = Collector::start().await;
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        let spans = exporter.with_endpoint(format!("{}/v1/traces", collector.url)).build().unwrap();
        let exporter = LogExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        let logs = exporter.with_endpoint(format!("{}/v1/logs", collector.url)).build().unwrap();
        let spans = SdkTracerProvider::builder().with_batch_exporter(spans).build();
        let logs = SdkLoggerProvider::builder().with_batch_exporter(logs).build();
        let ours = Targets::new().with_targets([("pool", Level::INFO), ("telemetry", Level::INFO)]);
        let subscriber = tracing_subscriber::registry()
            .with(ours)
            .with(tracing_opentelemetry::layer().with_tracer(spans.tracer("test")))
            .with(OpenTelemetryTracingBridge::new(&logs));
        Self { collector, spans, logs, _on: subscriber.set_default() }
    }

    async fn flush(&self) -> &Collector {
        let (spans, logs) = (self.spans.clone(), self.logs.clone());
        let flushed = tokio::task::spawn_blocking(move || (spans.force_flush(), logs.force_flush())).await.unwrap();
        assert!(flushed.0.is_ok() && flushed.1.is_ok(), "{flushed:?}");
        for span in self.collector.spans() {
            span.events.iter().chain([&span.attributes]).for_each(assert_kinds);
        }
        self.collector.logs().iter().for_each(|log| assert_kinds(&log.attributes));
        &self.collector
    }
}

async fn postgres() -> (tests::Database<'static>, PgPool) {
    let database = Postgres::shared().database().unwrap();
    database.psql("create table users (name text primary key)").unwrap();
    let settings = DatabaseSettings::new(database.url()).unwrap().with_name("primary");
    let pool = PgPool::connect(settings.with_pool_size(1).with_max_overflow(0)).await.unwrap();
    (database, pool)
}

#[tokio::test]
async fn a_statement_is_a_span_of_its_request_and_shows_no_value() {
    let tracing = Tracing::start().await;
    let (database, pool) = postgres().await;
    let request = async {
        let insert = format!("insert into users /* {SECRET} */ values ('{SECRET}') returning name");
        let row = sqlx::query(sqlx::AssertSqlSafe(insert)).fetch_one(&pool).await.unwrap();
        assert_eq!(row.get::<&str, _>(0), SECRET);
        sqlx::query("insert into users values ($1)").bind(SECRET).execute(&pool).await.unwrap_err();
    };
    request.instrument(info_span!("request")).await;
    let collector = tracing.flush().await;

    let request = collector.span(|span| span.name == "request").await;
    let span = collector.span(|span| span.name == "insert users" && !span.is_error).await;
    assert_eq!((span.kind, &span.parent, &span.trace), (SpanKind::Client, &request.id, &request.trace));
    let said = |key: &str| span.attributes.get(key).map(Value::text);
    for (key, value) in [
        ("db.system.name", "postgresql"),
        ("db.namespace", database.name()),
        ("db.operation.name", "insert"),
        ("db.collection.name", "users"),
        ("db.query.summary", "insert users"),
        ("db.query.text", "insert into users values (?) returning name"),
        ("db.client.connection.pool.name", "primary"),
    ] {
        assert_eq!(said(key), Some(value), "{key}");
    }
    assert_eq!(span.attributes["db.response.returned_rows"], Value::Int(1));
    assert!(said("server.address").unwrap().starts_with('/'), "a socket has no port: {span:#?}");
    assert_eq!((said("server.port"), said("error.type")), (None, None));

    let failed = collector.span(|span| span.name == "insert users" && span.is_error).await;
    assert_eq!(failed.attributes["db.query.text"].text(), "insert into users values ($1)");
    assert_eq!(
        (failed.attributes["error.type"].text(), failed.attributes["db.response.status_code"].text()),
        ("23505", "23505")
    );
    for span in [request, span, failed] {
        assert!(!format!("{span:?}").contains(SECRET), "{span:#?}");
    }
}

#[tokio::test]
async fn an_unusual_port_is_a_number_on_a_span() {
    let tracing = Tracing::start().await;
    let server = Postgres::start_with(Listen::Loopback, &[]).unwrap();
    let url = server.tcp_url("postgres").unwrap();
    let port = url.rsplit(':').next().and_then(|rest| rest.split('/').next()).unwrap().parse().unwrap();
    let pool = PgPool::connect(DatabaseSettings::new(&url).unwrap().with_name("by tcp")).await.unwrap();
    sqlx::query("select 1").execute(&pool).await.unwrap();
    let span = tracing.flush().await.span(|span| span.name == "select").await;
    let said = |key: &str| span.attributes.get(key);
    assert_eq!(said("server.port"), Some(&Value::Int(port)));
    assert_eq!(said("server.address"), Some(&Value::Text("127.0.0.1".into())));
}

#[tokio::test]
async fn a_statement_that_nobody_waits_for_ends_its_span_as_cancelled() {
    let tracing = Tracing::start().await;
    let (_database, pool) = postgres().await;
    let sleep = sqlx::query("select pg_sleep(5) from pg_class").execute(&pool);
    tokio::time::timeout(Duration::from_millis(50), sleep).await.unwrap_err();
    let span = tracing.flush().await.span(|span| span.name == "select pg_class").await;
    assert_eq!((span.attributes["error.type"].text(), span.is_error), ("cancelled", false));
    assert!(span.took >= Duration::from_millis(40) && span.took < Duration::from_secs(4), "{:?}", span.took);
}

#[tokio::test]
async fn only_an_acquire_that_waits_or_fails_is_a_span() {
    let tracing = Tracing::start().await;
    let settings = DatabaseSettings::new("sqlite::memory:").unwrap().with_name("primary");
    let pool = SqlitePool::connect(settings.with_pool_size(1).with_max_overflow(0)).await.unwrap();
    let held = pool.acquire().instrument(info_span!("at once")).await.unwrap();
    let waited = async {
        let acquire = async { pool.acquire().await.unwrap() }.instrument(info_span!("later"));
        let release = async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            drop(held);
        };
        tokio::join!(acquire, release)
    };
    let (held, ()) = waited.await;
    async { pool.acquire_timeout(Duration::from_millis(30)).await.unwrap_err() }
        .instrument(info_span!("too late"))
        .await;
    async { pool.acquire_timeout(Duration::ZERO).await.unwrap_err() }.instrument(info_span!("never")).await;
    drop(held);
    let collector = tracing.flush().await;

    let later = collector.span(|span| span.name == "later").await;
    let wait = collector.span(|span| span.name == "pool.acquire" && !span.is_error).await;
    assert_eq!((wait.kind, &wait.parent), (SpanKind::Internal, &later.id));
    assert!(wait.attributes["pool.site"].text().contains("spans.rs:"), "{wait:#?}");
    let Value::Double(seconds) = wait.attributes["pool.wait"] else { panic!("{wait:#?}") };
    assert!((0.05..10.0).contains(&seconds) && wait.took.as_secs_f64() <= seconds + 1.0, "{wait:#?}");

    let too_late = collector.span(|span| span.name == "too late").await;
    let refused = collector.span(|span| span.name == "pool.acquire" && span.parent == too_late.id).await;
    assert_eq!((refused.attributes["error.type"].text(), refused.is_error), ("exhausted", true));

    // What fails at once has one, too: nothing else in the trace would tell.
    let never = collector.span(|span| span.name == "never").await;
    let refused = collector.span(|span| span.name == "pool.acquire" && span.parent == never.id).await;
    assert!(refused.is_error, "{refused:#?}");

    let at_once = collector.span(|span| span.name == "at once").await;
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.parent != at_once.id), "{spans:#?}");
}

#[tokio::test]
async fn an_acquire_that_nobody_waits_for_ends_its_span_as_cancelled_and_says_how_long_it_waited() {
    let tracing = Tracing::start().await;
    let settings = DatabaseSettings::new("sqlite::memory:").unwrap().with_name("primary");
    let pool = SqlitePool::connect(settings.with_pool_size(1).with_max_overflow(0)).await.unwrap();
    let held = pool.acquire().await.unwrap();
    let given_up = async { tokio::time::timeout(Duration::from_millis(50), pool.acquire()).await.unwrap_err() };
    given_up.instrument(info_span!("given up")).await;
    // Who leaves at once has not waited.
    let at_once = async { assert!(futures_util::FutureExt::now_or_never(pool.acquire()).is_none()) };
    at_once.instrument(info_span!("at once")).await;
    drop(held);
    let collector = tracing.flush().await;

    let caller = collector.span(|span| span.name == "given up").await;
    let wait = collector.span(|span| span.name == "pool.acquire" && span.parent == caller.id).await;
    assert_eq!((wait.attributes["error.type"].text(), wait.is_error), ("cancelled", false));
    let Value::Double(seconds) = wait.attributes["pool.wait"] else { panic!("{wait:#?}") };
    assert!((0.05..10.0).contains(&seconds), "{wait:#?}");
    let at_once = collector.span(|span| span.name == "at once").await;
    let spans = collector.spans();
    assert!(
        spans.iter().all(|span| span.parent != at_once.id || at_once.took > Duration::from_millis(1)),
        "{spans:#?}"
    );
}

#[pooled(limit = 1, timeout = "30ms")]
async fn one_at_a_time(_conn: &mut SqliteConn, mut done: watch::Receiver<bool>) -> Result<(), Error> {
    done.wait_for(|done| *done).await.expect("it is told");
    Ok(())
}

#[tokio::test]
async fn a_wait_for_a_place_within_a_limit_is_a_span_too() {
    let tracing = Tracing::start().await;
    let pool = SqlitePool::connect(DatabaseSettings::new("sqlite::memory:").unwrap().with_pool_size(2)).await.unwrap();
    let (finish, done) = watch::channel(false);
    let mut first = Box::pin(one_at_a_time(pool.clone(), done.clone()));
    assert!((&mut first).now_or_never().is_none());
    let second = one_at_a_time(pool.clone(), done).instrument(info_span!("second")).await;
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Refused);
    finish.send(true).unwrap();
    first.await.unwrap();
    let collector = tracing.flush().await;

    let second = collector.span(|span| span.name == "second").await;
    let wait = collector.span(|span| span.name == "pool.acquire" && span.parent == second.id).await;
    assert_eq!((wait.attributes["error.type"].text(), wait.is_error), ("refused", true));
    assert!(wait.attributes["pool.site"].text().contains("one_at_a_time"), "{wait:#?}");
    let Value::Double(seconds) = wait.attributes["pool.wait"] else { panic!("{wait:#?}") };
    assert!(seconds >= 0.03, "{wait:#?}");
}

#[pooled(timeout = "20ms")]
async fn users(conn: &mut PgConn) -> Result<String, Error> {
    let n: i64 = sqlx::query_scalar("select count(*) from users").fetch_one(conn).await?;
    Ok(n.to_string())
}

#[tokio::test]
async fn a_refusal_s_log_line_has_the_trace_of_its_request() {
    let tracing = Tracing::start().await;
    let (_database, pool) = postgres().await;
    let app = Router::new().route("/", get(users)).with_state(pool.clone());
    let held = pool.acquire().await.unwrap();
    let asked = app.oneshot(Request::get("/").body(Body::empty()).unwrap());
    assert_eq!(asked.instrument(info_span!("request")).await.unwrap().status(), 503);
    drop(held);
    let collector = tracing.flush().await;

    let request = collector.span(|span| span.name == "request").await;
    let line = collector.log(|log| log.attributes.contains_key("problem")).await;
    assert_eq!((&*line.level, &line.trace), ("WARN", &request.trace));
    assert!(line.text.contains("in use 1 of 1") && line.text.contains("spans.rs:"), "{}", line.text);
    // The pool's own line is within the request's span, too.
    let told = request.events.iter().find_map(|event| event.get("more"));
    assert_eq!(told, Some(&Value::Int(0)), "{request:#?}");
}
