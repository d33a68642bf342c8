//! The examples, each sending to the real thing.

use crate::collector::{Collector, assert_kinds};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tests::{Prometheus, server::http};

/// The command that starts an example.
fn example(name: &str) -> Command {
    command(tests::example(name))
}

/// The command that starts a program, with nothing around it that configures what we do.
pub(crate) fn command(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name == "RUST_LOG" || ["OTEL_", "LOGFIRE_", "DATABASE_", "POOL_"].iter().any(|own| name.starts_with(own)) {
            command.env_remove(&*name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// The attribute of a span that has only begun.
const PENDING: &str = "logfire.pending_parent_id";

async fn run(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    said
}

/// Asserts that the span of the statement within that of the request, the metrics and the log line came, and no value with them.
async fn assert_all_came(collector: &Collector) {
    // logfire also tells of spans that have only begun.
    let statement = collector.span(|span| span.name == "select" && !span.attributes.contains_key(PENDING)).await;
    let request = collector.span(|span| span.name == "request" && span.id == statement.parent).await;
    assert_eq!(statement.trace, request.trace);
    assert_eq!(collector.log(|log| log.text == "answered").await.trace, request.trace);
    assert_eq!(statement.attributes["db.query.text"].text(), "select ?");
    assert_kinds(&statement.attributes);
    let count = collector.metric(|metrics| {
        let count = metrics.iter().find(|metric| metric.name == "db.client.connection.count");
        count.map(|metric| metric.points.iter().map(|point| point.value).sum::<f64>())
    });
    assert!(count.await >= 1.0);
    let statements = collector.metric(|metrics| {
        let durations = metrics.iter().find(|metric| metric.name == "db.client.operation.duration");
        durations.map(|metric| metric.points.iter().map(|point| point.count).sum::<u64>())
    });
    assert_eq!(statements.await, 1);
    let waits = collector.metric(|metrics| {
        let waits = metrics.iter().find(|metric| metric.name == "db.client.connection.wait_time");
        waits.map(|metric| metric.points[0].clone())
    });
    let waits = waits.await;
    assert_eq!((waits.count, waits.bounds.len()), (1, 12));
    let all = format!("{:?} {:?}", collector.spans(), collector.logs());
    assert!(!all.contains("a secret"), "{all}");
}

#[tokio::test]
async fn the_otlp_example_sends_all_three_signals_to_a_collector() {
    let collector = Collector::start().await;
    let mut command = example("otlp");
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let said = run(command).await;
    assert_eq!(said, "");
    assert_all_came(&collector).await;
}

#[tokio::test]
async fn the_logfire_example_sends_metrics_spans_and_log_lines_to_where_logfire_sends() {
    let collector = Collector::start().await;
    let mut command = example("logfire");
    command.env("LOGFIRE_BASE_URL", &collector.url).env("LOGFIRE_TOKEN", "pylf_v1_local_0000000000000000000000000000");
    run(command).await;
    assert_all_came(&collector).await;
}

#[tokio::test]
async fn the_console_example_prints_metrics_and_spans() {
    let said = run(example("console")).await;
    for part in ["db.client.connection.count", "db.client.operation.duration", "pool::statement", "select ?"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(!said.contains("a secret"), "{said}");
}

/// Ended with its owner.
struct Service {
    child: Child,
    address: SocketAddr,
}

impl Service {
    fn start(mut command: Command) -> Self {
        let mut child = command.env("ADDR", "127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().trim_start_matches("http://").trim_end_matches("/metrics").parse();
        Self { child, address: address.unwrap_or_else(|error| panic!("{error}: {line}")) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_prometheus_scrapes_the_example() {
    let service = Service::start(example("prometheus"));
    let prometheus = Prometheus::start(service.address, "").unwrap();
    for _ in 0..5 {
        assert_eq!(http::get(service.address, "/").unwrap(), "42");
    }
    let text = http::get(service.address, "/metrics").unwrap();
    assert!(!text.contains("otel_scope"), "{text}");

    // Names and labels as they come out at the other end, and what each has to be by now.
    let pool = r#"db_client_connection_pool_name="primary""#;
    for (expression, expected) in [
        (format!(r#"sum(db_client_connection_count{{{pool}}})"#), 1.0),
        (format!(r#"db_client_connection_count{{{pool},db_client_connection_state="used"}}"#), 0.0),
        (format!(r#"db_client_connection_max{{{pool}}}"#), 1.0),
        (format!(r#"db_client_connection_idle_max{{{pool}}}"#), 1.0),
        (format!(r#"db_client_connection_idle_min{{{pool}}}"#), 0.0),
        (format!(r#"db_client_connection_pending_requests{{{pool}}}"#), 0.0),
        (format!(r#"db_client_connection_timeouts_total{{{pool}}}"#), 0.0),
        (format!(r#"db_client_connection_wait_time_seconds_count{{{pool}}}"#), 5.0),
        (format!(r#"db_client_connection_use_time_seconds_count{{{pool}}}"#), 5.0),
        (format!(r#"db_client_connection_create_time_seconds_bucket{{{pool},le="+Inf"}}"#), 1.0),
        (r#"db_client_operation_duration_seconds_count{db_operation_name="select"}"#.into(), 5.0),
        (r#"db_client_response_returned_rows_sum"#.into(), 5.0),
        (format!(r#"pool_size{{{pool}}}"#), 1.0),
        (format!(r#"pool_acquires_total{{{pool},outcome="immediate"}}"#), 5.0),
        (format!(r#"pool_acquires_total{{{pool},outcome="timeout"}}"#), 0.0),
        (format!(r#"pool_connections_closed_total{{{pool},reason="broken"}}"#), 0.0),
        (format!(r#"pool_connection_errors_total{{{pool},error_type="connection_refused"}}"#), 0.0),
        (format!(r#"pool_statement_timeouts_total{{{pool},source="server"}}"#), 0.0),
        (format!(r#"pool_site_use_time_seconds_count{{{pool},pool_site=~".*answer"}}"#), 5.0),
        (
            format!(
                r#"sum without (db_client_connection_state) (db_client_connection_count{{db_client_connection_state="used"}}) / pool_size{{{pool}}}"#
            ),
            0.0,
        ),
    ] {
        let begun = Instant::now();
        loop {
            let answer = prometheus.query(&expression).unwrap();
            let json: Value = serde_json::from_str(&answer).unwrap();
            let found = json["data"]["result"][0]["value"][1].as_str().and_then(|n| n.parse::<f64>().ok());
            if found == Some(expected) && json["data"]["result"].as_array().map(Vec::len) == Some(1) {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(40), "{expression} is not {expected}: {answer}");
            tokio::time::sleep(Duration::from_millis(100)).await; // until the next scrape
        }
    }
}
