//! The metrics: every row of the conventions' table, and the numbers in it.

use crate::{
    collector::{self, Collector, Kind, Metric, Point, Value, assert_kinds},
    log::Lines,
};
use futures_util::StreamExt;
use logfire::config::{AdvancedOptions, MetricsOptions};
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::metrics::{
    Aggregation, InMemoryMetricExporter, Instrument, PeriodicReader, SdkMeterProvider, Stream, Temporality,
    in_memory_exporter::InMemoryMetricExporterBuilder,
};
use pool_sqlx::{
    DatabaseSettings, Error, METRICS, MetricKind, MySqlPool, PgConn, PgPool, Pools, SqlitePool, Watchable, otel_0_32,
    otel_0_33, pooled,
};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tests::{MariaDb, Postgres, server::postgres::Listen};
use tracing::Level;

const SECOND: Duration = Duration::from_secs(1);

/// A provider whose reader is this program.
struct Reader {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Reader {
    fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        Self { provider: SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build(), exporter }
    }

    /// What it reads now.
    fn read(&self) -> Vec<Metric> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        latest(&self.exporter)
    }
}

fn latest(exporter: &InMemoryMetricExporter) -> Vec<Metric> {
    let found = exporter.get_finished_metrics().unwrap();
    let metrics = found.last().map(|found| collector::metrics(ExportMetricsServiceRequest::from(found)));
    let metrics = metrics.unwrap_or_default();
    metrics.iter().flat_map(|metric| &metric.points).for_each(|point| assert_kinds(&point.attributes));
    metrics
}

fn points<'m>(metrics: &'m [Metric], name: &str) -> &'m [Point] {
    metrics.iter().find(|metric| metric.name == name).map_or(&[], |metric| &metric.points)
}

/// The number of the one series that has this attribute, of any if there is none to choose by.
#[track_caller]
fn value(metrics: &[Metric], name: &str, by: Option<(&str, &str)>) -> f64 {
    let is_meant =
        |point: &&Point| by.is_none_or(|(key, value)| point.attributes.get(key).is_some_and(|is| is.text() == value));
    let found: Vec<_> = points(metrics, name).iter().filter(is_meant).collect();
    let [point] = found[..] else { panic!("{name} {by:?} has {} series: {found:#?}", found.len()) };
    point.value
}

/// With a name of its own: the process has one space of names, and all tests.
fn sqlite(pool_size: u32, max_overflow: u32) -> DatabaseSettings {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("pool {}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let settings = DatabaseSettings::new("sqlite::memory:").unwrap().with_name(name);
    settings.with_pool_size(pool_size).with_max_overflow(max_overflow)
}

/// The table of the conventions for database clients, version 1.42.0.
const POOL: &[&str] = &["db.client.connection.pool.name"];
const CONVENTIONS: &[(&str, Kind, &str, &[&str])] = &[
    (
        "db.client.connection.count",
        Kind::UpDownCounter,
        "{connection}",
        &["db.client.connection.pool.name", "db.client.connection.state"],
    ),
    ("db.client.connection.idle.max", Kind::UpDownCounter, "{connection}", POOL),
    ("db.client.connection.idle.min", Kind::UpDownCounter, "{connection}", POOL),
    ("db.client.connection.max", Kind::UpDownCounter, "{connection}", POOL),
    ("db.client.connection.pending_requests", Kind::UpDownCounter, "{request}", POOL),
    ("db.client.connection.timeouts", Kind::Counter, "{timeout}", POOL),
    ("db.client.connection.create_time", Kind::Histogram, "s", POOL),
    ("db.client.connection.wait_time", Kind::Histogram, "s", POOL),
    ("db.client.connection.use_time", Kind::Histogram, "s", POOL),
    (
        "db.client.operation.duration",
        Kind::Histogram,
        "s",
        &[
            "db.system.name",
            "db.namespace",
            "db.operation.name",
            "db.collection.name",
            "db.query.summary",
            "server.address",
        ],
    ),
    (
        "db.client.response.returned_rows",
        Kind::Histogram,
        "{row}",
        &[
            "db.system.name",
            "db.namespace",
            "db.operation.name",
            "db.collection.name",
            "db.query.summary",
            "server.address",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_conventions_arrives_at_a_collector() {
    let collector = Collector::start().await;
    crate::choose_tls();
    let exporter = MetricExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
    let exporter = exporter.with_endpoint(format!("{}/v1/metrics", collector.url)).build().unwrap();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter).build();
    let database = Postgres::shared().database().unwrap();
    database.psql("create table tracks (id integer primary key); insert into tracks values (1), (2)").unwrap();
    let pool = PgPool::connect(DatabaseSettings::new(database.url()).unwrap().with_name("primary")).await.unwrap();
    otel_0_33::install(&provider, &pool);

    let rows = sqlx::query("select id from tracks where id > $1").bind(0).fetch_all(&pool).await.unwrap();
    assert_eq!(rows.len(), 2);
    sqlx::query("insert into tracks values (1)").execute(&pool).await.unwrap_err();
    let flushed = provider.clone();
    tokio::task::spawn_blocking(move || flushed.force_flush()).await.unwrap().unwrap();

    let metrics = collector.metric(|metrics| (!metrics.is_empty()).then(|| metrics.to_vec())).await;
    for (name, kind, unit, attributes) in CONVENTIONS {
        let metric = metrics.iter().find(|metric| metric.name == *name);
        let metric = metric.unwrap_or_else(|| panic!("{name} did not arrive"));
        assert_eq!((metric.kind, &*metric.unit), (*kind, *unit), "{name}");
        assert!(!metric.description.is_empty(), "{name} has no description");
        assert!(metric.scope.starts_with("pool-sqlx ") && metric.scope.ends_with("/1.42.0"), "{}", metric.scope);
        let keys = |point: &Point| point.attributes.keys().cloned().collect::<Vec<_>>();
        let mut expected = attributes.to_vec();
        expected.sort_unstable();
        assert!(metric.points.iter().any(|point| keys(point) == expected), "{name} has {:#?}", metric.points);
    }
    // What only a failure has.
    let failed = points(&metrics, "db.client.operation.duration").iter();
    let failed: Vec<_> = failed.filter(|point| point.attributes.contains_key("error.type")).collect();
    let [failed] = failed[..] else { panic!("{failed:#?}") };
    let said = |key: &str| failed.attributes.get(key).map(Value::text);
    assert_eq!((said("error.type"), said("db.response.status_code")), (Some("23505"), Some("23505")));
    assert_eq!((said("db.system.name"), said("db.query.summary")), (Some("postgresql"), Some("insert tracks")));
    assert_eq!(said("db.namespace"), Some(database.name()));
    // And nothing beside what the reference page lists.
    for metric in &metrics {
        let row = METRICS.iter().find(|row| row.name == metric.name).unwrap();
        let kind = match row.kind {
            MetricKind::UpDownCounter => Kind::UpDownCounter,
            MetricKind::Counter => Kind::Counter,
            _ => Kind::Histogram,
        };
        assert_eq!(
            (metric.kind, &*metric.unit, &*metric.description),
            (kind, row.unit, row.description),
            "{}",
            row.name
        );
        metric.points.iter().for_each(|point| assert_kinds(&point.attributes));
        let keys = metric.points.iter().flat_map(|point| point.attributes.keys());
        keys.for_each(|key| assert!(row.attributes.contains(&&**key), "{} has {key}", row.name));
    }
    assert_eq!(metrics.len(), METRICS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusual_port_arrives_as_a_number() {
    let reader = Reader::new();
    let server = Postgres::start_with(Listen::Loopback, &[]).unwrap();
    let url = server.tcp_url("postgres").unwrap();
    let port = url.rsplit(':').next().and_then(|rest| rest.split('/').next()).unwrap().parse().unwrap();
    let pool = PgPool::connect(DatabaseSettings::new(&url).unwrap().with_name("by tcp")).await.unwrap();
    otel_0_33::install(&reader.provider, &pool);
    sqlx::query("select 1").execute(&pool).await.unwrap();
    let metrics = reader.read();
    for name in ["db.client.operation.duration", "db.client.response.returned_rows"] {
        let [point] = points(&metrics, name) else { panic!("{metrics:#?}") };
        assert_eq!(
            (point.attributes["server.address"].text(), &point.attributes["server.port"]),
            ("127.0.0.1", &Value::Int(port)),
            "{name}"
        );
    }
}

#[test]
fn the_reference_page_lists_what_the_code_sends() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../book/src/reference/metrics.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("<!-- table begins -->\n").unwrap();
    let (committed, after) = rest.split_once("<!-- table ends -->").unwrap();
    let mut table = "\n| metric | meaning | kind | unit | attributes |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for metric in METRICS {
        let kind = match metric.kind {
            MetricKind::UpDownCounter => "up-down counter".to_owned(),
            MetricKind::Counter => "counter".to_owned(),
            MetricKind::Histogram(limits) => {
                format!("histogram: {}", limits.iter().map(f64::to_string).collect::<Vec<_>>().join(", "))
            }
            other => panic!("{other:?} has no words"),
        };
        let attributes = metric.attributes.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let (name, unit, meaning) = (metric.name, metric.unit, metric.description);
        table += &format!("| `{name}` | {meaning} | {kind} | `{unit}` | {attributes} |\n");
    }
    table += "\n";
    if std::env::var_os("UPDATE_BOOK").is_some() {
        fs::write(&path, format!("{before}<!-- table begins -->\n{table}<!-- table ends -->{after}")).unwrap();
    } else {
        assert_eq!(committed, table, "UPDATE_BOOK=1 cargo test -p tests --test telemetry writes the table");
    }
}

#[test]
fn names_are_those_of_the_conventions() {
    use opentelemetry_semantic_conventions::{SCHEMA_URL, attribute as a, metric as m};
    let metrics = [
        m::DB_CLIENT_CONNECTION_COUNT,
        m::DB_CLIENT_CONNECTION_MAX,
        m::DB_CLIENT_CONNECTION_IDLE_MAX,
        m::DB_CLIENT_CONNECTION_IDLE_MIN,
        m::DB_CLIENT_CONNECTION_PENDING_REQUESTS,
        m::DB_CLIENT_CONNECTION_TIMEOUTS,
        m::DB_CLIENT_CONNECTION_WAIT_TIME,
        m::DB_CLIENT_CONNECTION_USE_TIME,
        m::DB_CLIENT_CONNECTION_CREATE_TIME,
        m::DB_CLIENT_OPERATION_DURATION,
        m::DB_CLIENT_RESPONSE_RETURNED_ROWS,
    ];
    let attributes = [
        a::DB_CLIENT_CONNECTION_POOL_NAME,
        a::DB_CLIENT_CONNECTION_STATE,
        a::DB_SYSTEM_NAME,
        a::DB_NAMESPACE,
        a::DB_OPERATION_NAME,
        a::DB_COLLECTION_NAME,
        a::DB_QUERY_SUMMARY,
        a::DB_RESPONSE_STATUS_CODE,
        a::ERROR_TYPE,
        a::SERVER_ADDRESS,
        a::SERVER_PORT,
    ];
    for metric in METRICS {
        assert!(metrics.contains(&metric.name) || metric.name.starts_with("pool."), "{}", metric.name);
        for key in metric.attributes {
            let ours = ["outcome", "reason", "source", "pool.site"];
            assert!(attributes.contains(key) || ours.contains(key), "{key} of {}", metric.name);
        }
    }
    let ours = METRICS.iter().filter(|metric| metric.name.starts_with("db.")).count();
    assert_eq!((ours, SCHEMA_URL), (metrics.len(), "https://opentelemetry.io/schemas/1.42.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pool_does_is_what_the_metrics_say() {
    let reader = Reader::new();
    let pool = SqlitePool::connect(sqlite(2, 1).with_min_idle(1)).await.unwrap();
    otel_0_33::install(&reader.provider, &pool);
    let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    pool.acquire_timeout(Duration::ZERO).await.unwrap_err();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(drop) }
    });
    while pool.status().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let metrics = reader.read();
    let is = |name: &str, by| value(&metrics, name, by);
    let state = |state| Some(("db.client.connection.state", state));
    assert_eq!(
        (is("db.client.connection.count", state("used")), is("db.client.connection.count", state("idle"))),
        (3., 0.)
    );
    assert_eq!((is("db.client.connection.max", None), is("pool.size", None)), (3., 2.));
    assert_eq!((is("db.client.connection.idle.max", None), is("db.client.connection.idle.min", None)), (2., 1.));
    assert_eq!(
        (is("db.client.connection.pending_requests", None), is("db.client.connection.timeouts", None)),
        (1., 1.)
    );
    let outcomes = ["immediate", "waited", "timeout", "refused", "connect_error", "cancelled", "closed"];
    let outcome = |metrics: &[Metric], outcome| value(metrics, "pool.acquires", Some(("outcome", outcome)));
    assert_eq!(outcomes.map(|one| outcome(&metrics, one)), [2., 1., 1., 0., 0., 0., 0.]);

    drop(held);
    waiting.await.unwrap().unwrap();
    while pool.status().open > 2 {
        tokio::task::yield_now().await;
    }
    let metrics = reader.read();
    assert_eq!(outcomes.map(|one| outcome(&metrics, one)), [2., 2., 1., 0., 0., 0., 0.]);
    let closed = |reason| value(&metrics, "pool.connections.closed", Some(("reason", reason)));
    assert_eq!((closed("overflow"), closed("broken")), (1., 0.));
    let site = points(&metrics, "pool.site.use_time").iter().map(|point| point.attributes["pool.site"].text());
    assert!(site.clone().all(|site| site.contains("metrics.rs:")), "{:?}", site.collect::<Vec<_>>());
    let name = pool.status().name;
    assert!(
        points(&metrics, "db.client.connection.count").iter().all(|point| point.attributes[POOL[0]].text() == name)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn times_arrive_as_the_pool_measured_them_at_every_reader() {
    let (total, news) = (InMemoryMetricExporter::default(), InMemoryMetricExporterBuilder::new());
    let news = news.with_temporality(Temporality::Delta).build();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(total.clone()).with_interval(600 * SECOND).build())
        .with_reader(PeriodicReader::builder(news.clone()).with_interval(600 * SECOND).build())
        .build();
    let pool = SqlitePool::connect(sqlite(1, 0)).await.unwrap();
    otel_0_33::install(&provider, &pool);
    let mut told = 0;
    for (round, holds) in [(1, 40), (2, 25)] {
        for n in 0..holds {
            let conn = pool.acquire().await.unwrap();
            tokio::time::sleep(Duration::from_micros(50 * n)).await;
            drop(conn);
        }
        total.reset();
        news.reset();
        provider.force_flush().unwrap();
        let timings = pool.timings();
        for (exporter, is_total) in [(&total, true), (&news, false)] {
            let metrics = latest(exporter);
            for (name, kept) in [
                ("db.client.connection.use_time", &timings.hold),
                ("db.client.connection.wait_time", &timings.acquire_wait),
            ] {
                let [point] = points(&metrics, name) else { panic!("{name} in round {round}") };
                let expected = if is_total { kept.count() } else { kept.count() - told };
                assert_eq!((point.count, point.is_cumulative), (expected, is_total), "{name} in round {round}");
                if is_total {
                    let off = (point.value - kept.sum().as_secs_f64()).abs();
                    assert!(off <= 1e-6 * kept.sum().as_secs_f64() + 1e-9, "{name}: the sums differ by {off}");
                    let mut below = 0;
                    for (bound, n) in point.bounds.iter().zip(&point.buckets) {
                        below += n;
                        let exact = kept.buckets().filter(|(top, _)| top.as_secs_f64() <= *bound);
                        assert_eq!(below, exact.map(|(_, n)| n).sum::<u64>(), "{name} up to {bound}");
                    }
                }
            }
        }
        told = timings.hold.count();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_gone_is_told_of_no_more_and_is_not_kept() {
    let reader = Reader::new();
    let pool = SqlitePool::connect(sqlite(2, 0).with_name("gone")).await.unwrap();
    let kept = SqlitePool::connect(sqlite(2, 0).with_name("kept")).await.unwrap();
    otel_0_33::install(&reader.provider, &[pool.watched(), kept.watched()].concat()[..]);
    assert_eq!(names(&reader.read()), ["gone", "kept"]);
    drop(pool);
    assert_eq!(names(&reader.read()), ["kept"]);
}

fn names(metrics: &[Metric]) -> Vec<String> {
    let mut names: Vec<_> =
        points(metrics, "pool.size").iter().map(|point| point.attributes[POOL[0]].text().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_made_again_under_its_name_goes_on_counting() {
    let (total, news) = (InMemoryMetricExporter::default(), InMemoryMetricExporterBuilder::new());
    let news = news.with_temporality(Temporality::Delta).build();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(total.clone()).with_interval(600 * SECOND).build())
        .with_reader(PeriodicReader::builder(news.clone()).with_interval(600 * SECOND).build())
        .build();
    let mut all = 0.;
    for acquires in [100, 3, 2] {
        let pool = SqlitePool::connect(sqlite(1, 0).with_name("made again")).await.unwrap();
        otel_0_33::install(&provider, &pool);
        for _ in 0..acquires {
            drop(pool.acquire().await.unwrap());
        }
        all += f64::from(acquires);
        total.reset();
        news.reset();
        provider.force_flush().unwrap();
        let [total, news] = [latest(&total), latest(&news)];
        let immediate = |metrics| value(metrics, "pool.acquires", Some(("outcome", "immediate")));
        assert_eq!((immediate(&total), immediate(&news)), (all, f64::from(acquires)));
        let closed = value(&news, "pool.connections.closed", Some(("reason", "idle")));
        assert_eq!((closed, names(&total)), (0., vec!["made again".to_owned()]));
        let held = points(&total, "db.client.connection.use_time").iter().map(|point| point.count as f64);
        assert_eq!(held.collect::<Vec<_>>(), [all]);
    }
}

#[derive(Pools)]
struct Databases {
    primary: SqlitePool,
    reports: SqlitePool<Reports>,
}

struct Reports;

/// One whose views drop what it does not keep.
fn picky(keeps: impl Fn(&str) -> bool + Send + Sync + 'static) -> Reader {
    let exporter = InMemoryMetricExporter::default();
    let drop_others = move |instrument: &Instrument| {
        let dropped = Stream::builder().with_aggregation(Aggregation::Drop);
        (!keeps(instrument.name())).then(|| dropped.build().expect("it has no name to be wrong"))
    };
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).with_view(drop_others).build();
    Reader { provider, exporter }
}

#[tokio::test]
async fn whatever_views_leave_is_told_at_the_first_reading_and_nobody_is_warned() {
    let (lines, _on) = Lines::capture(Level::WARN);
    let mut kept = Vec::new();
    for metric in METRICS {
        for alone in [true, false] {
            let reader = picky(move |name| (name == metric.name) == alone);
            let pool = SqlitePool::connect(sqlite(1, 0)).await.unwrap();
            otel_0_33::install(&reader.provider, &pool);
            sqlx::query("select 1").execute(&pool).await.unwrap();
            let metrics = reader.read();
            let read: BTreeSet<_> = metrics.iter().map(|metric| &*metric.name).collect();
            let left = METRICS.iter().map(|any| any.name).filter(|name| (*name == metric.name) == alone);
            assert_eq!(read, left.collect(), "{} alone: {alone}", metric.name);
            kept.push((reader, pool));
        }
    }
    tokio::time::pause();
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(lines.read(), Vec::<String>::new());
}

#[tokio::test]
async fn a_struct_of_pools_is_installed_whole() {
    let reader = Reader::new();
    let primary = SqlitePool::connect_lazy(sqlite(1, 0).with_name("orders")).unwrap();
    let reports = SqlitePool::connect_lazy(sqlite(2, 0).with_name("reports")).unwrap().keyed::<Reports>();
    let databases = Databases { primary, reports };
    otel_0_33::install(&reader.provider, &databases);
    let metrics = reader.read();
    let size = |pool| value(&metrics, "pool.size", Some((POOL[0], pool)));
    assert_eq!((size("orders"), size("reports")), (1., 2.));
}

#[tokio::test]
async fn pools_of_one_name_are_told_apart_whoever_installs_them() {
    let (lines, _on) = Lines::capture(Level::WARN);
    let (reader, other) = (Reader::new(), Reader::new());
    let pools: Vec<_> = (1..=4).map(|n| SqlitePool::connect_lazy(sqlite(n, 0).with_name("twin")).unwrap()).collect();
    otel_0_33::install(&reader.provider, &pools[..2]);
    otel_0_33::install(&reader.provider, &pools[2]);
    otel_0_33::install(&other.provider, &pools[3]);
    let metrics = reader.read();
    let size = |pool| value(&metrics, "pool.size", Some((POOL[0], pool)));
    assert_eq!((size("twin"), size("twin#2"), size("twin#3")), (1., 2., 3.));
    assert_eq!((names(&metrics).len(), names(&other.read())), (3, vec!["twin#4".to_owned()]));
    let told = lines.read();
    assert_eq!(told.iter().filter(|line| line.contains("two pools are called twin")).count(), 3, "{told:#?}");
}

#[tokio::test]
async fn a_pool_that_is_installed_twice_is_counted_once_and_said_to_be() {
    let (lines, _on) = Lines::capture(Level::WARN);
    let reader = Reader::new();
    let pool = SqlitePool::connect(sqlite(1, 0)).await.unwrap();
    let run = async || sqlx::query("select 1").execute(&pool).await.unwrap();
    let counts = |metrics: &[Metric], name: &str| points(metrics, name).iter().map(|point| point.count).sum::<u64>();
    let all_are = |metrics: &[Metric], n: u64| {
        assert_eq!(value(metrics, "pool.acquires", Some(("outcome", "immediate"))), n as f64);
        assert_eq!(counts(metrics, "db.client.connection.use_time"), n);
        assert_eq!(counts(metrics, "db.client.operation.duration"), n);
        assert_eq!(names(metrics), [pool.status().name]);
    };
    // One that is named twice at once is nothing to speak of.
    otel_0_33::install(&reader.provider, &[pool.watched(), pool.watched()].concat()[..]);
    run().await;
    all_are(&reader.read(), 1);
    assert_eq!(lines.read(), Vec::<String>::new());

    otel_0_33::install(&reader.provider, &pool);
    run().await;
    all_are(&reader.read(), 2);
    let [line] = &lines.read()[..] else { panic!("{:?}", lines.read()) };
    assert!(line.contains("was installed for OpenTelemetry 0.33 before"), "{line}");
}

#[tokio::test]
async fn another_provider_goes_on_where_the_first_stopped() {
    let (first, second) = (Reader::new(), Reader::new());
    let pool = SqlitePool::connect(sqlite(1, 0)).await.unwrap();
    let run = async || sqlx::query("select 1").execute(&pool).await.unwrap();
    let told = |reader: &Reader| {
        let metrics = reader.read();
        let statements = points(&metrics, "db.client.operation.duration").iter().map(|point| point.count).sum::<u64>();
        (value(&metrics, "pool.acquires", Some(("outcome", "immediate"))), statements, names(&metrics).len())
    };
    otel_0_33::install(&first.provider, &pool);
    run().await;
    assert_eq!(told(&first), (1., 1, 1));
    otel_0_33::install(&second.provider, &pool);
    run().await;
    run().await;
    assert_eq!((told(&first), told(&second)), ((1., 1, 0), (2., 2, 1)));
}

#[tokio::test]
async fn pools_may_be_installed_one_by_one() {
    let reader = Reader::new();
    let pools = ["one", "two"].map(|name| SqlitePool::connect_lazy(sqlite(1, 0).with_name(name)).unwrap());
    pools.iter().for_each(|pool| otel_0_33::install(&reader.provider, pool));
    for pool in &pools {
        sqlx::query("select 1").execute(pool).await.unwrap();
    }
    let metrics = reader.read();
    assert_eq!(metrics.iter().filter(|metric| metric.name == "pool.size").count(), 1);
    assert_eq!(points(&metrics, "pool.size").len(), 2);
    let statements = points(&metrics, "db.client.operation.duration").iter().map(|point| point.count).sum::<u64>();
    assert_eq!(statements, 2);
}

#[tokio::test]
async fn a_pool_without_a_limit_has_no_maximum() {
    let reader = Reader::new();
    let settings = sqlite(1, 0).with_max_overflow(pool_sqlx::MaxOverflow::Unlimited);
    let pool = SqlitePool::connect_lazy(settings).unwrap();
    otel_0_33::install(&reader.provider, &pool);
    let metrics = reader.read();
    assert!(points(&metrics, "db.client.connection.max").is_empty());
    assert_eq!(value(&metrics, "pool.size", None), 1.);
}

/// How the statements of each kind ended: `None` is well.
fn ends(metrics: &[Metric]) -> Vec<(String, Option<String>)> {
    let durations = points(metrics, "db.client.operation.duration");
    let text = |value: &Value| value.text().to_owned();
    let end =
        |point: &Point| (text(&point.attributes["db.operation.name"]), point.attributes.get("error.type").map(text));
    let mut ends: Vec<_> = durations.iter().map(end).collect();
    ends.sort();
    ends
}

#[pooled(statement_timeout = "200ms")]
async fn in_haste(conn: &mut PgConn) -> Result<(), Error> {
    sqlx::query("values (pg_sleep(10))").execute(conn).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_measured_by_how_they_ended() {
    let reader = Reader::new();
    let database = Postgres::shared().database().unwrap();
    let settings = DatabaseSettings::new(database.url()).unwrap().with_statement_timeout(Duration::from_secs(2));
    let pool = PgPool::connect(settings).await.unwrap();
    otel_0_33::install(&reader.provider, &pool);

    sqlx::query("select pg_sleep(10)").execute(&pool).await.unwrap_err();
    in_haste(pool.clone()).await.unwrap_err();
    let sleep = sqlx::query("select pg_sleep(1)").execute(&pool);
    tokio::time::timeout(Duration::from_millis(10), sleep).await.unwrap_err();
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("select from generate_series(1, 3)").execute(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    sqlx::query("show all").execute(conn.raw()).await.unwrap(); // nobody sees it
    drop(conn);

    let metrics = reader.read();
    let end = |operation: &str, error: Option<&str>| (operation.to_owned(), error.map(str::to_owned));
    let expected = [
        end("BEGIN", None),
        end("COMMIT", None),
        end("select", None),
        end("select", Some("57014")),
        end("select", Some("cancelled")),
        end("values", Some("statement_timeout")),
    ];
    assert_eq!(ends(&metrics), expected);
    let timeouts = |source| value(&metrics, "pool.statement.timeouts", Some(("source", source)));
    assert_eq!((timeouts("server"), timeouts("client")), (1., 1.));
    let rows: Vec<_> = points(&metrics, "db.client.response.returned_rows").iter().map(|point| point.value).collect();
    assert_eq!(rows, [3.]);
}

#[tokio::test]
async fn a_stream_whose_reader_has_enough_has_not_failed_and_one_that_is_still_awaited_is_cancelled() {
    let reader = Reader::new();
    let pool = SqlitePool::connect(sqlite(1, 0)).await.unwrap();
    otel_0_33::install(&reader.provider, &pool);
    let _never_begun = sqlx::query("values (0)").fetch(&pool);
    let read: Vec<_> = sqlx::query("values (1), (2), (3)").fetch(&pool).collect().await;
    assert_eq!(read.len(), 3);
    let mut enough = sqlx::query("values (4), (5)").fetch(&pool);
    enough.next().await.unwrap().unwrap();
    drop(enough);
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n where i = 0";
    let mut awaited = sqlx::query(endless).fetch(&pool);
    tokio::time::timeout(Duration::from_millis(20), awaited.next()).await.unwrap_err();
    drop(awaited);

    let metrics = reader.read();
    assert_eq!(ends(&metrics), [("select".into(), Some("cancelled".into())), ("values".into(), None)]);
    let streams = points(&metrics, "db.client.operation.duration").iter().map(|point| point.count).sum::<u64>();
    assert_eq!(streams, 3);
    let rows: Vec<_> = points(&metrics, "db.client.response.returned_rows").iter().map(|point| point.value).collect();
    assert_eq!(rows, [3.]);
}

#[tokio::test]
async fn no_more_than_two_hundred_kinds_of_statements_are_told_apart() {
    let reader = Reader::new();
    let pool = SqlitePool::connect(sqlite(1, 0)).await.unwrap();
    otel_0_33::install(&reader.provider, &pool);
    for n in 0..230 {
        sqlx::query(sqlx::AssertSqlSafe(format!("select * from made_up_{n}"))).execute(&pool).await.unwrap_err();
    }
    let metrics = reader.read();
    let (known, other): (Vec<_>, Vec<_>) = points(&metrics, "db.client.operation.duration")
        .iter()
        .partition(|point| point.attributes.contains_key("db.query.summary"));
    assert_eq!((known.len(), other.len(), other[0].count), (200, 1, 30));
    let keys: Vec<_> = other[0].attributes.keys().collect();
    assert_eq!(keys, ["db.namespace", "db.response.status_code", "db.system.name", "error.type"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_and_sqlite_are_named_with_their_own_codes() {
    let reader = Reader::new();
    let limit = Duration::from_secs(1);
    let database = MariaDb::shared().database().unwrap();
    let pool = MySqlPool::connect(
        DatabaseSettings::new(database.url()).unwrap().with_name("maria").with_statement_timeout(limit),
    );
    let maria = pool.await.unwrap();
    let lite = SqlitePool::connect(sqlite(1, 0).with_name("lite").with_statement_timeout(limit)).await.unwrap();
    otel_0_33::install(&reader.provider, &[maria.watched(), lite.watched()].concat()[..]);
    sqlx::query("select sleep(10)").execute(&maria).await.unwrap_err();
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n";
    sqlx::query(endless).execute(&lite).await.unwrap_err();
    sqlx::query("select * from nothing").execute(&lite).await.unwrap_err();

    let metrics = reader.read();
    let durations = points(&metrics, "db.client.operation.duration").iter();
    let mut said: Vec<_> = durations
        .map(|point| ["db.system.name", "db.response.status_code"].map(|key| point.attributes[key].text()))
        .collect();
    said.sort_unstable();
    assert_eq!(said, [["mariadb", "1969"], ["sqlite", "1"], ["sqlite", "9"]]);
    let timeouts = points(&metrics, "pool.statement.timeouts").iter();
    let timeouts = timeouts
        .filter(|point| point.value > 0.)
        .map(|point| ["source", POOL[0]].map(|key| point.attributes[key].text()));
    let mut timeouts: Vec<_> = timeouts.collect();
    timeouts.sort_unstable();
    assert_eq!(timeouts, [["server", "lite"], ["server", "maria"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_connects_are_counted_by_type_and_start_at_zero() {
    let reader = Reader::new();
    let settings = DatabaseSettings::new("postgres://app@127.0.0.1:1/app").unwrap().with_pool_timeout(SECOND / 2);
    let pool = PgPool::connect_lazy(settings.with_connection_timeout(SECOND * 20)).unwrap();
    otel_0_33::install(&reader.provider, &pool);
    let errors = |of| value(&reader.read(), "pool.connection.errors", Some(("error.type", of)));
    assert_eq!((errors("connection_refused"), errors("connect_timeout")), (0., 0.));
    pool.acquire().await.unwrap_err();
    // The caller may give up before the attempt has.
    while errors("connection_refused") < 1. {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_that_nobody_reads_are_warned_of_once() {
    let (lines, _on) = Lines::capture(Level::WARN);
    let pool = SqlitePool::connect_lazy(sqlite(1, 0)).unwrap();
    // The wrong order: this program has not set a provider.
    otel_0_33::install_global(&pool);
    tokio::time::sleep(89 * SECOND).await;
    assert_eq!(lines.read(), Vec::<String>::new());
    tokio::time::sleep(SECOND * 600).await;
    let [line] = &lines.read()[..] else { panic!("{:?}", lines.read()) };
    for part in [
        "nobody has read the metrics",
        "in the 90s",
        "intervals of 60s (OTEL_METRIC_EXPORT_INTERVAL)",
        "longer interval set in code",
        "OpenTelemetry 0.33",
        "set up after",
        "otel-0-32",
        "guide/watching",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

/// The provider of logfire is one of 0.32, for the whole process: a process of its own, then.
#[test]
fn pools_installed_for_another_version_than_the_global_provider_s_are_warned_of() {
    const ALONE: &str = "TELEMETRY_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return installed_for_another_version();
    }
    let itself = "metrics::pools_installed_for_another_version_than_the_global_provider_s_are_warned_of";
    let mut alone = crate::outlets::command(std::env::current_exe().unwrap());
    let output = alone.args(["--exact", itself, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::main(flavor = "current_thread")]
async fn installed_for_another_version() {
    crate::choose_tls();
    let collector = Collector::start().await;
    let options = AdvancedOptions::default().with_base_url(&collector.url);
    let logfire = logfire::configure().with_token("pylf_v1_local_0000000000000000000000000000").with_console(None);
    let logfire =
        logfire.with_metrics(Some(MetricsOptions::default())).with_advanced_options(options).finish().unwrap();
    let (lines, _on) = Lines::capture(Level::WARN);
    let [lost, told] = ["lost", "told"].map(|name| SqlitePool::connect_lazy(sqlite(1, 0).with_name(name)).unwrap());
    otel_0_33::install_global(&lost);
    otel_0_32::install_global(&told);
    let flushed = logfire.clone();
    tokio::task::spawn_blocking(move || flushed.force_flush()).await.unwrap().unwrap();
    let arrived = collector.metric(|metrics| (!points(metrics, "pool.size").is_empty()).then(|| names(metrics))).await;
    assert_eq!(arrived, ["told"]);

    tokio::time::pause(); // it has run until now
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(lines.read(), Vec::<String>::new());
    tokio::time::sleep(600 * SECOND).await;
    let [line] = &lines.read()[..] else { panic!("{:?}", lines.read()) };
    for part in ["nobody has read the metrics", "OpenTelemetry 0.33", "another version (features otel-0-33, otel-0-32)"]
    {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    tokio::task::spawn_blocking(move || logfire.shutdown()).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn metrics_that_somebody_reads_are_not_warned_of() {
    let (lines, _on) = Lines::capture(Level::WARN);
    let reader = Reader::new();
    let pool = SqlitePool::connect_lazy(sqlite(1, 0)).unwrap();
    otel_0_33::install(&reader.provider, &pool);
    reader.read();
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(lines.read(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn metrics_that_are_read_after_a_second_install_or_of_pools_that_are_gone_are_not_missed() {
    let (lines, _on) = Lines::capture(Level::WARN);
    let reader = Reader::new();
    let pool = SqlitePool::connect_lazy(sqlite(1, 0)).unwrap();
    otel_0_33::install_global(&pool); // in the wrong order
    otel_0_33::install(&reader.provider, &pool);
    reader.read();
    let gone = SqlitePool::connect_lazy(sqlite(1, 0)).unwrap();
    otel_0_33::install_global(&gone);
    drop(gone);
    tokio::time::sleep(600 * SECOND).await;
    let lines = lines.read();
    assert!(lines.iter().all(|line| !line.contains("nobody has read")), "{lines:#?}");
}
