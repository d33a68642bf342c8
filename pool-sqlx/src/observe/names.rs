//! Names, units and limits of the metrics: OpenTelemetry's conventions for database clients, and ours where they have nothing.
//!
//! The constants of the conventions' own crate may be renamed in any release, and then dashboards would change with them. These stay;
//! a test compares the two.

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What is counted.
    pub kind: MetricKind,
    /// Its unit, as UCUM writes it.
    pub unit: &'static str,
    /// The attributes of each of its series.
    pub attributes: &'static [&'static str],
    /// What it says, in a line.
    pub description: &'static str,
}

/// How a metric's numbers are to be read.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A number at this moment.
    UpDownCounter,
    /// A number that only grows.
    Counter,
    /// A distribution, with the upper limits of its buckets.
    Histogram(&'static [f64]),
}

/// The version of the conventions.
#[cfg_attr(not(any(feature = "otel-0-33", feature = "otel-0-32")), allow(dead_code))]
pub(crate) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

pub(crate) const POOL_NAME: &str = "db.client.connection.pool.name";
pub(crate) const STATE: &str = "db.client.connection.state";
pub(crate) const SYSTEM: &str = "db.system.name";
pub(crate) const NAMESPACE: &str = "db.namespace";
pub(crate) const OPERATION: &str = "db.operation.name";
pub(crate) const COLLECTION: &str = "db.collection.name";
pub(crate) const SUMMARY: &str = "db.query.summary";
pub(crate) const STATUS_CODE: &str = "db.response.status_code";
pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const SERVER_ADDRESS: &str = "server.address";
pub(crate) const SERVER_PORT: &str = "server.port";
pub(crate) const OUTCOME: &str = "outcome";
pub(crate) const REASON: &str = "reason";
pub(crate) const SOURCE: &str = "source";
pub(crate) const SITE: &str = "pool.site";

/// Limits of durations in a pool: less than a millisecond is usual, and the top is beyond any `pool_timeout`. Each is an edge of
/// `pool_core::Histogram`'s buckets, so nothing is counted on the wrong side. The conventions leave them open.
const TIMES: &[f64] = &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0];

const STATEMENT: &[&str] =
    &[SYSTEM, NAMESPACE, OPERATION, COLLECTION, SUMMARY, STATUS_CODE, ERROR_TYPE, SERVER_ADDRESS, SERVER_PORT];

macro_rules! metrics {
    ($($constant:ident: $name:literal, $kind:expr, $unit:literal, $attributes:expr, $description:literal;)*) => {
        $(pub(crate) const $constant: Metric = Metric {
            name: $name,
            kind: $kind,
            unit: $unit,
            attributes: $attributes,
            description: $description,
        };)*

        /// Every metric, in the order of the reference page.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

use MetricKind::*;

metrics! {
    COUNT: "db.client.connection.count", UpDownCounter, "{connection}", &[POOL_NAME, STATE],
        "Connections that are open: `idle`, and `used` by a caller or by the pool itself on a caller's behalf.";
    MAX: "db.client.connection.max", UpDownCounter, "{connection}", &[POOL_NAME],
        "The most connections that may be open: `pool_size` + `max_overflow`. Absent if `max_overflow` is unlimited.";
    IDLE_MAX: "db.client.connection.idle.max", UpDownCounter, "{connection}", &[POOL_NAME],
        "The most connections that stay open when nobody uses them: `pool_size`.";
    IDLE_MIN: "db.client.connection.idle.min", UpDownCounter, "{connection}", &[POOL_NAME],
        "Idle connections that are kept ready: `min_idle`.";
    PENDING: "db.client.connection.pending_requests", UpDownCounter, "{request}", &[POOL_NAME],
        "Callers that wait for a connection.";
    TIMEOUTS: "db.client.connection.timeouts", Counter, "{timeout}", &[POOL_NAME],
        "Callers that got no connection in time.";
    WAIT_TIME: "db.client.connection.wait_time", Histogram(TIMES), "s", &[POOL_NAME],
        "How long callers waited that got a connection; those served at once count as zero.";
    USE_TIME: "db.client.connection.use_time", Histogram(TIMES), "s", &[POOL_NAME],
        "How long connections were held, from getting to giving back.";
    CREATE_TIME: "db.client.connection.create_time", Histogram(TIMES), "s", &[POOL_NAME],
        "How long it took to open connections.";
    OPERATION_DURATION: "db.client.operation.duration",
        Histogram(&[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]), "s", STATEMENT,
        "How long tracked statements took, from sending to the last row.";
    RETURNED_ROWS: "db.client.response.returned_rows",
        Histogram(&[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0]), "{row}", STATEMENT,
        "Rows that tracked statements returned, of those that return rows and ended well.";
    POOL_SIZE: "pool.size", UpDownCounter, "{connection}", &[POOL_NAME],
        "Persistent connections allowed, the 100 % of utilisation: `pool_size`.";
    ACQUIRES: "pool.acquires", Counter, "{acquire}", &[POOL_NAME, OUTCOME],
        "Acquires by how they ended: `immediate`, `waited`, `timeout`, `refused`, `connect_error`, `cancelled`, `closed`.";
    ACQUIRE_ERRORS: "pool.acquire.errors", Counter, "{acquire}", &[POOL_NAME, ERROR_TYPE],
        "Acquires that ended with an error, by its code: timed out or turned away, `exhausted` is a pool that is full, `connecting` a database \
         that cannot be reached.";
    CLOSED: "pool.connections.closed", Counter, "{connection}", &[POOL_NAME, REASON],
        "Connections closed, by reason.";
    CONNECTION_ERRORS: "pool.connection.errors", Counter, "{error}", &[POOL_NAME, ERROR_TYPE],
        "Attempts to open a connection that failed.";
    STATEMENT_TIMEOUTS: "pool.statement.timeouts", Counter, "{timeout}", &[POOL_NAME, SOURCE],
        "Tracked statements that ran into `statement_timeout`: ended by the `server`, or given up by the `client`.";
    SITE_USE_TIME: "pool.site.use_time", Histogram(TIMES), "s", &[POOL_NAME, SITE],
        "How long connections were held, by who held them: a `#[pooled]` function or a line of code. The first 64 are told apart.";
}
