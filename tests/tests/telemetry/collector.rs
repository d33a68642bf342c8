//! A collector: takes what OTLP brings over HTTP, decodes the protobuf, and keeps it.

use axum::{Router, body::Bytes, extract::State, http::header, response::IntoResponse, routing::post};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any},
    metrics::v1::{AggregationTemporality, metric::Data, number_data_point::Value as Number},
    trace::v1::{span::SpanKind, status::StatusCode},
};
use prost::Message;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;

/// How long something may take to arrive.
const LIMIT: Duration = Duration::from_secs(50);

pub(crate) type Attributes = BTreeMap<String, Value>;

/// The value of an attribute, of the kind that it arrived as.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Int(i64),
    Double(f64),
    Other(String),
}

impl Value {
    /// What it says, if it is a text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("{other:?} is no text"),
        }
    }
}

/// Asserts that what we send are texts, but for what the conventions have as numbers, and seconds.
#[track_caller]
pub(crate) fn assert_kinds(attributes: &Attributes) {
    for (key, value) in attributes {
        let is_ours = ["db.", "pool", "server."].iter().any(|own| key.starts_with(own));
        let is_right = match &**key {
            "db.response.returned_rows" | "server.port" | "more" => matches!(value, Value::Int(_)),
            "pool.wait" => matches!(value, Value::Double(_)),
            "error.type" | "outcome" | "problem" | "reason" | "source" => matches!(value, Value::Text(_)),
            _ => !is_ours || matches!(value, Value::Text(_)),
        };
        assert!(is_right, "{key} is {value:?} in {attributes:#?}");
    }
}

/// What was received of one metric, the latest last.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    pub(crate) scope: String,
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) description: String,
    pub(crate) kind: Kind,
    pub(crate) points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    UpDownCounter,
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) attributes: Attributes,
    pub(crate) is_cumulative: bool,
    /// The number, or the sum of a distribution.
    pub(crate) value: f64,
    pub(crate) count: u64,
    pub(crate) bounds: Vec<f64>,
    pub(crate) buckets: Vec<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) is_error: bool,
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) parent: Vec<u8>,
    pub(crate) took: Duration,
    pub(crate) attributes: Attributes,
    /// What was logged within it.
    pub(crate) events: Vec<Attributes>,
}

#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) level: String,
    pub(crate) text: String,
    pub(crate) trace: Vec<u8>,
    pub(crate) attributes: Attributes,
}

#[derive(Default)]
struct Received {
    metrics: Vec<Metric>,
    spans: Vec<Span>,
    logs: Vec<Log>,
}

/// Where it is kept, and whom to tell that there is more.
type Inbox = (Arc<Mutex<Received>>, Arc<watch::Sender<()>>);

/// Listens on a port of this machine for as long as it lives.
pub(crate) struct Collector {
    pub(crate) url: String,
    received: Arc<Mutex<Received>>,
    news: watch::Receiver<()>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let (received, (tell, news)) = (Arc::new(Mutex::new(Received::default())), watch::channel(()));
        let tell = Arc::new(tell);
        let take = |add: fn(&mut Received, Bytes)| {
            post(move |State((received, tell)): State<Inbox>, body: Bytes| {
                add(&mut received.lock().expect("nobody panics with it"), body);
                tell.send_replace(());
                // An empty answer is an empty message: all was taken.
                std::future::ready([(header::CONTENT_TYPE, "application/x-protobuf")].into_response())
            })
        };
        let app = Router::new()
            .route("/v1/metrics", take(|received, body| received.metrics.extend(metrics(decode(body)))))
            .route("/v1/traces", take(|received, body| received.spans.extend(spans(decode(body)))))
            .route("/v1/logs", take(|received, body| received.logs.extend(logs(decode(body)))))
            .with_state((Arc::clone(&received), tell));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, received, news }
    }

    /// Waits for what is wanted of the metrics.
    pub(crate) async fn metric<T>(&self, find: impl Fn(&[Metric]) -> Option<T>) -> T {
        self.until(|received| find(&received.metrics), |received| format!("{:#?}", received.metrics)).await
    }

    pub(crate) async fn span(&self, find: impl Fn(&Span) -> bool) -> Span {
        self.until(
            |received| received.spans.iter().find(|span| find(span)).cloned(),
            |received| format!("{:#?}", received.spans),
        )
        .await
    }

    pub(crate) fn logs(&self) -> Vec<Log> {
        self.received.lock().expect("nobody panics with it").logs.clone()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.received.lock().expect("nobody panics with it").spans.clone()
    }

    pub(crate) async fn log(&self, find: impl Fn(&Log) -> bool) -> Log {
        self.until(
            |received| received.logs.iter().find(|log| find(log)).cloned(),
            |received| format!("{:#?}", received.logs),
        )
        .await
    }

    async fn until<T>(&self, find: impl Fn(&Received) -> Option<T>, show: impl Fn(&Received) -> String) -> T {
        let mut news = self.news.clone();
        let found = tokio::time::timeout(LIMIT, async {
            loop {
                news.mark_unchanged();
                if let Some(found) = find(&self.received.lock().expect("nobody panics with it")) {
                    return found;
                }
                news.changed().await.expect("the collector lives");
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("it did not come; {}", show(&self.received.lock().expect("nobody panics with it"))),
        }
    }
}

fn decode<M: Message + Default>(body: Bytes) -> M {
    M::decode(body).expect("protobuf of OTLP")
}

/// The metrics of a message, flattened.
pub(crate) fn metrics(message: ExportMetricsServiceRequest) -> Vec<Metric> {
    let scopes = message.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    let metrics = scopes.flat_map(|scope| {
        let InstrumentationScope { name, version, .. } = scope.scope.unwrap_or_default();
        let scope_name = format!("{name} {version} {}", scope.schema_url);
        scope.metrics.into_iter().map(move |metric| (scope_name.clone(), metric))
    });
    let metric = |(scope, metric): (String, opentelemetry_proto::tonic::metrics::v1::Metric)| {
        let is_cumulative = |temporality| temporality == AggregationTemporality::Cumulative as i32;
        let (kind, points) = match metric.data.expect("a metric has data") {
            Data::Sum(sum) => {
                let cumulative = is_cumulative(sum.aggregation_temporality);
                let kind = if sum.is_monotonic { Kind::Counter } else { Kind::UpDownCounter };
                (kind, sum.data_points.into_iter().map(|point| number(point, cumulative)).collect())
            }
            Data::Gauge(gauge) => {
                (Kind::Gauge, gauge.data_points.into_iter().map(|point| number(point, true)).collect())
            }
            Data::Histogram(histogram) => {
                let cumulative = is_cumulative(histogram.aggregation_temporality);
                let points = histogram.data_points.into_iter().map(|point| Point {
                    attributes: attributes(point.attributes),
                    is_cumulative: cumulative,
                    value: point.sum.unwrap_or_default(),
                    count: point.count,
                    bounds: point.explicit_bounds,
                    buckets: point.bucket_counts,
                });
                (Kind::Histogram, points.collect())
            }
            other => panic!("unexpected kind of metric {other:?}"),
        };
        Metric { scope, name: metric.name, unit: metric.unit, description: metric.description, kind, points }
    };
    metrics.map(metric).collect()
}

fn number(point: opentelemetry_proto::tonic::metrics::v1::NumberDataPoint, is_cumulative: bool) -> Point {
    let value = match point.value.expect("a point has a value") {
        Number::AsDouble(value) => value,
        Number::AsInt(value) => value as f64,
    };
    Point {
        attributes: attributes(point.attributes),
        is_cumulative,
        value,
        count: 0,
        bounds: Vec::new(),
        buckets: Vec::new(),
    }
}

fn spans(message: ExportTraceServiceRequest) -> Vec<Span> {
    let scopes = message.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    let span = |span: opentelemetry_proto::tonic::trace::v1::Span| Span {
        kind: span.kind(),
        is_error: span.status.is_some_and(|status| status.code() == StatusCode::Error),
        name: span.name,
        trace: span.trace_id,
        id: span.span_id,
        parent: span.parent_span_id,
        took: Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano),
        attributes: attributes(span.attributes),
        events: span.events.into_iter().map(|event| attributes(event.attributes)).collect(),
    };
    scopes.flat_map(|scope| scope.spans).map(span).collect()
}

fn logs(message: ExportLogsServiceRequest) -> Vec<Log> {
    let scopes = message.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
    let log = |log: opentelemetry_proto::tonic::logs::v1::LogRecord| Log {
        level: log.severity_text,
        text: log.body.map_or_else(String::new, |body| value(body).text().to_owned()),
        trace: log.trace_id,
        attributes: attributes(log.attributes),
    };
    scopes.flat_map(|scope| scope.log_records).map(log).collect()
}

fn attributes(attributes: Vec<KeyValue>) -> Attributes {
    attributes.into_iter().map(|pair| (pair.key, pair.value.map_or(Value::Other(String::new()), value))).collect()
}

fn value(value: AnyValue) -> Value {
    match value.value {
        Some(Any::StringValue(text)) => Value::Text(text),
        Some(Any::IntValue(n)) => Value::Int(n),
        Some(Any::DoubleValue(n)) => Value::Double(n),
        other => Value::Other(format!("{other:?}")),
    }
}
