//! A statement as telemetry sees it: a span while it runs, a measurement when it has ended.

use super::{counters::Tally, recorders::Ended};
use crate::{
    Backend,
    error::error_type,
    sql::{self, Dialect, Shape},
};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::{Span, field::Empty};

/// A statement under way. Dropped before its end, the statement was cancelled. Without spans and recorders it costs two loads; by default it
/// records nothing.
#[derive(Default)]
#[must_use]
pub(crate) struct Watch(Option<Box<Observed>>);

struct Observed {
    span: Span,
    tally: Arc<Tally>,
    shape: Shape,
    begun: Instant,
    rows: u64,
    /// The caller has not asked for more since the last row.
    at_row: bool,
}

impl Watch {
    /// Begins to watch a statement. Its span is a child of the current one.
    pub(crate) fn begin<DB: Backend>(tally: &Arc<Tally>, pool: &str, sql: &str) -> Self {
        let wants_span = tracing::span_enabled!(target: "pool::statement", tracing::Level::INFO, otel.name);
        if !wants_span && !tally.recorders().any() {
            return Self::default();
        }
        let dialect = Dialect::of(DB::NAME);
        let shape = sql::shape(sql, dialect);
        let span = match wants_span {
            true => span_of(tally, pool, &shape, sql::masked(sql, dialect).as_deref()),
            false => Span::none(),
        };
        Self(Some(Box::new(Observed {
            span,
            tally: Arc::clone(tally),
            shape,
            begun: Instant::now(),
            rows: 0,
            at_row: false,
        })))
    }

    /// Does something within the statement's span.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(observed) => observed.span.in_scope(work),
            None => work(),
        }
    }

    /// Rows have arrived.
    pub(crate) fn rows(&mut self, n: usize) {
        if let Some(observed) = &mut self.0 {
            observed.rows += n as u64;
            observed.at_row = true;
        }
    }

    /// The caller asks for the next row.
    pub(crate) fn asked(&mut self) {
        if let Some(observed) = &mut self.0 {
            observed.at_row = false;
        }
    }

    /// It has ended well.
    pub(crate) fn done(&mut self) {
        self.end(End::Well);
    }

    /// It has failed with an error of the database, or of the connection.
    pub(crate) fn failed(&mut self, error: &sqlx::Error) {
        if self.0.is_some() {
            let code = error_type(error);
            let status_code = matches!(error, sqlx::Error::Database(_)).then_some(&*code);
            self.end(End::Failed { error_type: &code, status_code });
        }
    }

    /// It got no answer in time.
    pub(crate) fn given_up(&mut self) {
        self.end(End::Failed { error_type: "statement_timeout", status_code: None });
    }

    fn end(&mut self, end: End<'_>) {
        let Some(observed) = self.0.take() else { return };
        let Observed { span, tally, shape, begun, rows, .. } = &*observed;
        let (error_type, status_code) = match end {
            End::Failed { error_type, status_code } => (Some(error_type), status_code),
            End::Cancelled => (Some("cancelled"), None),
            End::Well | End::Early => (None, None),
        };
        span.record("error.type", error_type);
        span.record("db.response.status_code", status_code);
        if matches!(end, End::Failed { .. }) {
            span.record("otel.status_code", "ERROR");
        }
        let rows = Some(*rows).filter(|rows| matches!(end, End::Well) && (*rows > 0 || shape.is_question()));
        // An unsigned field becomes a text in OpenTelemetry's traces.
        span.record("db.response.returned_rows", rows.map(|rows| i64::try_from(rows).unwrap_or(i64::MAX)));
        if tally.recorders().any() {
            tally.recorders().record(&Ended {
                system: tally.system(),
                port: port(tally),
                took: begun.elapsed(),
                rows,
                shape,
                error_type,
                status_code,
            });
        }
    }
}

/// Dropped: the caller has read the rows it wants, or has given up.
impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(observed) = &self.0 {
            self.end(if observed.at_row { End::Early } else { End::Cancelled });
        }
    }
}

/// How a statement ends.
enum End<'a> {
    Well,
    /// With unread rows: how many it would have returned is not known.
    Early,
    /// The caller gave up, which is no error of the trace.
    Cancelled,
    Failed {
        error_type: &'a str,
        status_code: Option<&'a str>,
    },
}

/// Fields that are known beforehand are set at once, because samplers read them. None of them has a value of the statement.
fn span_of(tally: &Tally, pool: &str, shape: &Shape, text: Option<&str>) -> Span {
    let (place, system) = (tally.place(), tally.system());
    tracing::info_span!(
        target: "pool::statement",
        "statement",
        otel.name = shape.known_summary().unwrap_or(system),
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = system,
        db.namespace = place.database,
        db.operation.name = shape.operation,
        db.collection.name = shape.collection,
        db.query.summary = shape.known_summary(),
        db.query.text = text,
        db.client.connection.pool.name = pool,
        db.response.status_code = Empty,
        db.response.returned_rows = Empty,
        "error.type" = Empty,
        server.address = place.host,
        server.port = port(tally).map(i64::from),
    )
}

/// The port, unless it is the default one.
fn port(tally: &Tally) -> Option<u16> {
    let expected = match tally.system() {
        "postgresql" => 5432,
        _ => 3306,
    };
    tally.place().port.filter(|port| *port != expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Place;

    #[test]
    fn only_an_unusual_port_is_told() {
        #[track_caller]
        fn check(system: &'static str, given: Option<u16>, told: Option<u16>) {
            let place = Place { port: given, ..Place::default() };
            assert_eq!(port(&Tally::new(String::new(), place, system)), told, "{system} {given:?}");
        }
        check("postgresql", Some(5432), None);
        check("postgresql", Some(6432), Some(6432));
        check("mysql", Some(3306), None);
        check("mariadb", Some(3307), Some(3307));
        check("sqlite", None, None);
    }

    #[test]
    #[cfg(all(feature = "postgres", feature = "mysql", feature = "sqlite"))]
    fn sqlx_writes_no_lines_of_its_own() {
        #[track_caller]
        fn check<DB: Backend>(url: &str) {
            let options = DB::configure(&crate::DatabaseSettings::new(url).unwrap(), None).unwrap();
            let options = format!("{options:?}");
            assert!(options.contains("statements_level: Off, slow_statements_level: Off"), "{url}: {options}");
        }
        check::<sqlx::Postgres>("postgres://db/app");
        check::<sqlx::MySql>("mysql://db/app");
        check::<sqlx::Sqlite>("sqlite::memory:");
    }
}
