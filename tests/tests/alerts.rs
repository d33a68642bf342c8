//! The alerts and the dashboard of the book: each name in them is exported, and real faults make the alerts fire until they are cured.
#![allow(clippy::unwrap_used)]

use axum::{Router, routing::get};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use pool_sqlx::{DatabaseSettings, PgPool, SqlitePool, Watchable, Watched, otel_0_33};
use prometheus::{Registry, TextEncoder};
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tests::{
    Mode, Postgres, Prometheus, Proxy,
    monitoring::{self, Expression},
};
use tokio::task::{AbortHandle, JoinSet, block_in_place};

const MILLIS: Duration = Duration::from_millis(1);

fn file(name: &str) -> String {
    fs::read_to_string(monitoring::directory().join(name)).unwrap()
}

/// What Prometheus would scrape of a service with these pools.
struct Exported {
    registry: Registry,
    _provider: SdkMeterProvider,
}

impl Exported {
    fn of(pools: &[Watched]) -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().unwrap();
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        otel_0_33::install(&provider, pools);
        Self { registry, _provider: provider }
    }

    fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }

    /// The names of all series.
    fn names(&self) -> BTreeSet<String> {
        let text = self.text();
        let series = text.lines().filter(|line| !line.starts_with('#'));
        series.filter_map(|line| line.split(['{', ' ']).next().map(str::to_owned)).collect()
    }

    async fn serve(&self) -> SocketAddr {
        let registry = self.registry.clone();
        let text = move || async move { TextEncoder::new().encode_to_string(&registry.gather()).unwrap() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/metrics", get(text));
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    }
}

/// The metrics in these expressions that are neither exported nor recorded by a rule.
fn unknown(expressions: &[Expression], exported: &BTreeSet<String>) -> Vec<String> {
    let recorded: BTreeSet<_> = monitoring::of_rules(&file("alerts.yml")).into_iter().map(|rule| rule.of).collect();
    let mut unknown = Vec::new();
    for Expression { of, text, .. } in expressions {
        let metrics = monitoring::metrics(text).into_iter();
        // Prometheus' own series of what fires.
        let known = |metric: &&str| *metric == "ALERTS" || exported.contains(*metric) || recorded.contains(*metric);
        unknown.extend(metrics.filter(|metric| !known(metric)).map(|metric| format!("{of}: {metric}")));
    }
    unknown
}

#[tokio::test]
async fn every_metric_in_the_alerts_and_on_the_dashboard_is_exported() {
    let pool = SqlitePool::connect(DatabaseSettings::new("sqlite::memory:").unwrap()).await.unwrap();
    let exported = Exported::of(&pool.watched());
    sqlx::query("select 1").fetch_all(&pool).await.unwrap();
    let names = exported.names();
    let mut expressions = monitoring::of_rules(&file("alerts.yml"));
    expressions.extend(monitoring::of_dashboard(&file("dashboard.json"), "5m").unwrap());
    assert_eq!(unknown(&expressions, &names), [""; 0]);

    // One letter less in any of them is noticed.
    for expression in &mut expressions {
        let metric = monitoring::metrics(&expression.text).pop().unwrap().to_owned();
        expression.text = expression.text.replace(&metric, &metric[..metric.len() - 1]);
    }
    assert!(unknown(&expressions, &names).len() >= expressions.len());
}

/// The rules as they are, but for time: what takes minutes takes seconds. Thresholds, expressions and labels stay.
fn in_a_hurry(rules: &str) -> String {
    let mut hurried = rules.replace("[5m]", "[3s]").replace("[90s]", "[1s]");
    for minutes in ["5m", "2m", "1m"] {
        hurried = hurried.replace(&format!("for: {minutes}\n"), "for: 1s\n");
    }
    assert!(!hurried.contains("m]") && !hurried.contains("m\n    labels"), "{hurried}");
    hurried
}

/// The alerts that are in this state, each with its pool.
fn alerts(prometheus: &Prometheus, is_meant: impl Fn(&str) -> bool) -> BTreeSet<(String, String)> {
    let answer = block_in_place(|| prometheus.get("/api/v1/alerts")).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let alerts = answer["data"]["alerts"].as_array().unwrap().iter();
    let meant = alerts.filter(|alert| is_meant(alert["state"].as_str().unwrap()));
    let label = |alert: &serde_json::Value, key: &str| alert["labels"][key].as_str().unwrap().to_owned();
    meant.map(|alert| (label(alert, "alertname"), label(alert, "db_client_connection_pool_name"))).collect()
}

/// Asks Prometheus again and again: it has no way to tell.
async fn until(limit: Duration, what: &str, mut is_so: impl FnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while let Err(error) = is_so() {
        assert!(begun.elapsed() < limit, "{what} not within {limit:?}: {error}");
        tokio::time::sleep(100 * MILLIS).await;
    }
}

/// Work that goes on until it is cured.
#[derive(Default)]
struct Faults(JoinSet<()>);

impl Faults {
    fn again_and_again<F: Future<Output = ()> + Send>(&mut self, once: impl Fn() -> F + Send + 'static) -> AbortHandle {
        self.0.spawn(async move {
            loop {
                once().await;
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_make_their_alerts_fire_and_show_on_the_dashboard_and_cures_resolve_them() {
    let cluster = Postgres::shared();
    let database = cluster.database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let pool = |name: &str, url: &str, size, overflow| {
        let settings = DatabaseSettings::new(url).unwrap().with_name(name).with_pool_size(size);
        let settings = settings.with_max_overflow(overflow).with_pool_timeout(500 * MILLIS);
        PgPool::connect_lazy(settings.with_statement_timeout(300 * MILLIS)).unwrap()
    };
    let busy = pool("busy", &database.url(), 4, 2);
    let full = pool("full", &database.url(), 1, 0);
    let slow = pool("slow", &database.url(), 5, 0);
    let lost = pool("lost", &proxy.url(&database.url()), 5, 0);
    let calm = pool("calm", &database.url(), 5, 0);
    let pools = [&busy, &full, &slow, &lost, &calm];
    for pool in pools {
        // The first connect on a busy machine may take longer than anybody waits.
        drop(pool.acquire_timeout(10_000 * MILLIS).await.unwrap());
        sqlx::query("select 1").fetch_one(pool).await.unwrap();
    }
    let exported = Exported::of(&pools.map(|pool| pool.watched()).concat());
    let prometheus = Prometheus::start(exported.serve().await, &in_a_hurry(&file("alerts.yml"))).unwrap();
    until(Duration::from_secs(30), "a first scrape is", || {
        let answer = block_in_place(|| prometheus.query("count(pool:utilisation:ratio)")).unwrap();
        if answer.contains("\"5\"]") { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(alerts(&prometheus, |_| true), BTreeSet::new(), "nothing has happened yet");

    // Four of four in use: no room for a burst, and nobody waits.
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(busy.acquire().await.unwrap());
    }
    // One of one in use, and a queue.
    held.push(full.acquire().await.unwrap());
    let mut faults = Faults::default();
    for _ in 0..3 {
        let full = full.clone();
        faults.again_and_again(move || {
            let full = full.clone();
            async move { assert!(full.acquire().await.is_err()) }
        });
    }
    // A statement that takes longer than it may.
    faults.again_and_again({
        let slow = slow.clone();
        move || {
            let slow = slow.clone();
            async move { assert!(sqlx::query("select pg_sleep(5)").execute(&slow).await.is_err()) }
        }
    });
    // A server that refuses.
    proxy.set(Mode::Refuse);
    proxy.reset_all();
    faults.again_and_again({
        let lost = lost.clone();
        move || {
            let lost = lost.clone();
            async move { assert!(sqlx::query("select 1").execute(&lost).await.is_err()) }
        }
    });
    // And one that is well.
    faults.again_and_again({
        let calm = calm.clone();
        move || {
            let calm = calm.clone();
            async move {
                // One that fails on a busy machine is no reason for an alert of its own, and would be seen as one.
                let _ = sqlx::query("select 1").fetch_one(&calm).await;
                tokio::time::sleep(10 * MILLIS).await;
            }
        }
    });

    let expected = [
        ("PoolConnectionErrors", "lost"),
        ("PoolExhausted", "full"),
        ("PoolStarved", "full"),
        ("PoolStatementTimeouts", "slow"),
        ("PoolUtilisationHigh", "busy"),
        ("PoolUtilisationHigh", "full"),
    ];
    let expected: BTreeSet<_> = expected.map(|(alert, pool)| (alert.to_owned(), pool.to_owned())).into();
    until(Duration::from_secs(40), "all alerts fire", || {
        let firing = alerts(&prometheus, |state| state == "firing");
        if firing == expected { Ok(()) } else { Err(format!("{firing:?}")) }
    })
    .await;

    let mut expressions = monitoring::of_dashboard(&file("dashboard.json"), "5s").unwrap();
    let rules = monitoring::of_rules(&file("alerts.yml"));
    expressions.extend(
        rules.into_iter().filter(|rule| rule.of.contains(':')).map(|rule| Expression { text: rule.of.clone(), ..rule }),
    );
    for Expression { of, text, legend } in expressions {
        let answer = block_in_place(|| prometheus.query(&text)).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let series = answer["data"]["result"].as_array().filter(|series| !series.is_empty());
        let series = series.unwrap_or_else(|| panic!("{of} shows nothing: {text} is {answer}"));
        for label in legend {
            let named = series.iter().any(|series| series["metric"][&label].is_string());
            assert!(named, "{of} has no {label}: {text} is {answer}");
        }
    }

    faults.0.shutdown().await;
    held.clear();
    proxy.set(Mode::Pass);
    until(Duration::from_secs(40), "all alerts are resolved", || {
        let active = alerts(&prometheus, |_| true);
        if active.is_empty() { Ok(()) } else { Err(format!("{active:?}")) }
    })
    .await;
    for pool in pools {
        sqlx::query("select 1").fetch_one(pool).await.unwrap();
    }
}
