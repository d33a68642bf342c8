//! What comes of `#[pooled]` above and below other attributes.
#![deny(warnings)]
#![warn(clippy::pedantic)]

mod mock;

use mock::{Error, Log, Pool, SqliteConn, SqlitePool, now};
use pool_macros::pooled;
use std::sync::Arc;
use tracing::{Event, Metadata, Subscriber, instrument, span};

#[pooled(crate = crate::mock)]
#[instrument(skip(conn))]
async fn above(text: &str, conn: &mut SqliteConn) -> Result<usize, Error> {
    conn.query(text).await
}

#[instrument(skip(conn))]
#[pooled(crate = crate::mock)]
async fn below(text: &str, conn: &mut SqliteConn) -> Result<usize, Error> {
    conn.query(text).await
}

/// What happened, and when a span was entered: by each poll, and once more when its future is dropped.
fn told(run: impl FnOnce(SqlitePool) -> Result<usize, Error>) -> Vec<String> {
    let pool = SqlitePool::new();
    let spans = Spans(pool.log.clone());
    assert_eq!(tracing::subscriber::with_default(spans, || run(pool.clone())), Ok(3));
    pool.log.told().into_iter().map(|line| line.split(" for ").next().unwrap_or("").into()).collect()
}

#[test]
fn a_span_below_covers_the_wait_for_the_connection() {
    let told = told(|pool| now(above(pool, "abc")));
    assert_eq!(told, ["enter above", "acquire", "query abc", "release", "enter above"]);
}

#[test]
fn a_span_above_covers_the_body_only() {
    let told = told(|pool| now(below(pool, "abc")));
    assert_eq!(told, ["acquire", "enter below", "query abc", "enter below", "release"]);
}

#[async_trait::async_trait]
trait Lengths: Sync {
    async fn length(&self, text: &str) -> Result<usize, Error>;
    async fn twice(&self, text: &str) -> Result<usize, Error> {
        Ok(self.length(text).await? * 2)
    }
}

struct Service {
    db: Arc<SqlitePool>,
}

#[pooled]
#[async_trait::async_trait]
impl Lengths for Service {
    #[pooled(crate = crate::mock, from = self.db)]
    async fn length(&self, text: &str, conn: &mut SqliteConn) -> Result<usize, Error> {
        conn.query(text).await
    }
}

#[test]
fn a_bare_attribute_goes_above_async_trait() {
    let service: Box<dyn Lengths> = Box::new(Service { db: Arc::new(Pool::new()) });
    assert_eq!(now(service.twice("abc")), Ok(6));
}

/// Writes down which spans are entered.
struct Spans(Log);

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        // Two names, two numbers: enough for `enter`, which is told no more.
        span::Id::from_u64(if span.metadata().name() == "above" { 1 } else { 2 })
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &span::Id) {
        self.0.say(if span.into_u64() == 1 { "enter above" } else { "enter below" });
    }

    fn exit(&self, _: &span::Id) {}
}
