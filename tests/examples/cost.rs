//! What it costs to be watched, as ratios: `cargo run --release -p tests --example cost`.
//!
//! On SQLite in memory, whose `select 1` is the shortest there is, and on PostgreSQL if `DATABASE_URL` names one.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::{
    metrics::{InMemoryMetricExporter, SdkMeterProvider},
    trace::{InMemorySpanExporter, SdkTracerProvider},
};
use pool_sqlx::{DatabaseSettings, PgPool, SqlitePool, otel_0_33};
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};
use tracing::{Dispatch, Level, dispatcher::with_default};
use tracing_subscriber::{filter::Targets, prelude::*};

const ROUNDS: usize = 40;
const TIMES: u32 = 500;

/// The best round of each kind: what disturbs the machine only ever adds. The kinds take turns, so that all meet the same weather.
fn best<const N: usize>(mut kinds: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let mut best = [Duration::MAX; N];
    for _ in 0..ROUNDS {
        for (kind, best) in kinds.iter_mut().zip(&mut best) {
            let begun = Instant::now();
            (0..TIMES).for_each(|_| kind());
            *best = (*best).min(begun.elapsed() / TIMES);
        }
    }
    best
}

fn show(what: &str, unwatched: Duration, kinds: &[(&str, Duration)]) {
    println!("{what}: {unwatched:?} unwatched");
    for (kind, took) in kinds {
        println!("  {:>5.2} x  {kind}", took.as_secs_f64() / unwatched.as_secs_f64());
    }
}

/// A subscriber that wants other things than ours.
fn quiet() -> &'static Dispatch {
    static QUIET: LazyLock<Dispatch> = LazyLock::new(|| {
        Dispatch::new(tracing_subscriber::registry().with(Targets::new().with_target("app", Level::INFO)))
    });
    &QUIET
}

macro_rules! measure {
    ($runtime:expr, $pool:ty, $url:expr) => {{
        let runtime = &$runtime;
        let settings = || DatabaseSettings::new($url).map(|settings| settings.with_pool_size(1).with_max_overflow(0));
        let plain = runtime.block_on(<$pool>::connect(settings()?))?;
        let measured = runtime.block_on(<$pool>::connect(settings()?))?;
        let metrics = SdkMeterProvider::builder().with_periodic_exporter(InMemoryMetricExporter::default()).build();
        otel_0_33::install(&metrics, &measured);
        let told = InMemorySpanExporter::default();
        let spans = SdkTracerProvider::builder().with_batch_exporter(told.clone()).build();
        let traced = tracing_subscriber::registry()
            .with(Targets::new().with_target("pool", Level::INFO))
            .with(tracing_opentelemetry::layer().with_tracer(spans.tracer("cost")));
        let traced = Dispatch::new(traced);
        with_default(quiet(), || {}); // beside a single subscriber, `tracing` forgets whom it has asked
        let mut conn = runtime.block_on(plain.acquire())?;
        let mut watched = runtime.block_on(measured.acquire())?;

        let conn = std::cell::RefCell::new(&mut conn);
        let tracked = || runtime.block_on(async { sqlx::query("select 1").execute(&mut **conn.borrow_mut()).await });
        let [raw, off, on, all] = best([
            &mut || drop(runtime.block_on(async { sqlx::query("select 1").execute(conn.borrow_mut().raw()).await })),
            &mut || drop(with_default(quiet(), tracked)),
            &mut || drop(runtime.block_on(async { sqlx::query("select 1").execute(&mut watched).await })),
            &mut || drop(with_default(&traced, tracked)),
        ]);
        spans.force_flush()?;
        anyhow::ensure!(!told.get_finished_spans()?.is_empty(), "no span was made");
        let kinds = [("tracked, and nobody looks", off), ("with metrics", on), ("with a span for each", all)];
        show(concat!(stringify!($pool), ", select 1"), raw, &kinds);
        anyhow::Ok(())
    }};
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    measure!(runtime, SqlitePool, "sqlite::memory:")?;
    if let Ok(url) = std::env::var("DATABASE_URL") {
        measure!(runtime, PgPool, &url)?;
    }

    let pool = || -> anyhow::Result<SqlitePool> {
        Ok(runtime.block_on(SqlitePool::connect(DatabaseSettings::new("sqlite::memory:")?))?)
    };
    let (plain, measured) = (pool()?, pool()?);
    let metrics = SdkMeterProvider::builder().with_periodic_exporter(InMemoryMetricExporter::default()).build();
    otel_0_33::install(&metrics, &measured);
    let traced = Dispatch::new(tracing_subscriber::registry().with(Targets::new().with_target("pool", Level::INFO)));
    let acquire = |pool: &SqlitePool| drop(runtime.block_on(pool.acquire()));
    let [off, on, all] =
        best([&mut || acquire(&plain), &mut || acquire(&measured), &mut || with_default(&traced, || acquire(&plain))]);
    show("an acquire that need not wait", off, &[("with metrics", on), ("with spans for those that wait", all)]);

    let n = 100_000;
    (0..n).for_each(|_| acquire(&measured));
    let begun = Instant::now();
    metrics.force_flush()?;
    println!("telling {n} acquires to a reader: {:?}, {:?} each", begun.elapsed(), begun.elapsed() / n);
    Ok(())
}
