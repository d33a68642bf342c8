//! What it costs to be watched, as ratios taken side by side: `cargo run --release -p tests --example cost`.
//!
//! The pool always counts, so there is no acquire without counting among them: what is compared is with metrics and spans, and without.
//! What counting itself costs is in the book's guide/watching, measured on a copy of `pool-core` that does not.
//!
//! Takes a quarter of a minute. On SQLite in memory, whose `select 1` is the shortest there is, and on a scratch PostgreSQL by its Unix
//! socket, which is the nearest that a server can be: over a network everything here is a smaller share.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::{
    metrics::{InMemoryMetricExporter, SdkMeterProvider},
    trace::{InMemorySpanExporter, SdkTracerProvider},
};
use pool_sqlx::{DatabaseSettings, PgPool, SqlitePool, Watchable, otel_0_33};
use sqlx::{Connection, PgConnection, SqliteConnection};
use std::{
    hint::black_box,
    sync::{LazyLock, Mutex},
    time::{Duration, Instant},
};
use tests::Postgres;
use tokio::{runtime::Runtime, sync::Mutex as Shared};
use tracing::{Dispatch, Level, dispatcher::with_default};
use tracing_subscriber::{filter::Targets, prelude::*};

const ROUNDS: usize = 60;
const TIMES: u32 = 500;

/// Something that can be done in several ways.
struct Kind<'a> {
    what: &'static str,
    /// Does it `TIMES` times, and says how long that took.
    round: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Kind<'a> {
    /// The same, with a subscriber of its own.
    fn under(self, subscriber: &'a Dispatch) -> Self {
        let Self { what, mut round } = self;
        Self { what, round: Box::new(move || with_default(subscriber, &mut round)) }
    }
}

/// A kind that does `$work` within one future.
macro_rules! kind {
    ($runtime:expr, $what:literal, $work:expr) => {
        Kind {
            what: $what,
            round: Box::new(|| {
                $runtime.block_on(async {
                    let begun = Instant::now();
                    for _ in 0..TIMES {
                        black_box($work);
                    }
                    begun.elapsed()
                })
            }),
        }
    };
}

/// Prints what each kind takes beside the first: the median of all rounds, and from where to where nine tenths of them go.
///
/// The kinds take turns, so that all meet the same weather; a ratio is of two of the same round.
fn compare(title: &str, mut kinds: Vec<Kind<'_>>) -> Vec<Duration> {
    let mut rounds = vec![vec![Duration::ZERO; kinds.len()]; ROUNDS];
    for (number, round) in rounds.iter_mut().enumerate() {
        for turn in 0..kinds.len() {
            // Another one begins each time: whoever comes after an idle thread pays for waking it.
            let i = (number + turn) % kinds.len();
            round[i] = (kinds[i].round)() / TIMES;
        }
    }
    println!("{title}");
    let mut medians = Vec::new();
    for (i, kind) in kinds.iter().enumerate() {
        let mut took: Vec<_> = rounds.iter().map(|round| round[i]).collect();
        let mut ratios: Vec<_> = rounds.iter().map(|round| round[i].as_secs_f64() / round[0].as_secs_f64()).collect();
        took.sort_unstable();
        ratios.sort_unstable_by(f64::total_cmp);
        let [low, ratio, high] = [1, 10, 19].map(|twentieths| ratios[ROUNDS * twentieths / 20]);
        let median = took[ROUNDS / 2];
        match i {
            0 => println!("  {median:>9.2?}                          {}", kind.what),
            _ => println!("  {median:>9.2?}  {ratio:>6.2} x ({low:.2} to {high:.2})  {}", kind.what),
        }
        medians.push(median);
    }
    medians
}

/// A provider of metrics whose reader keeps them to itself.
fn metrics() -> SdkMeterProvider {
    SdkMeterProvider::builder().with_periodic_exporter(InMemoryMetricExporter::default()).build()
}

/// A subscriber that wants other things than ours.
///
/// There have to be two: beside a single subscriber `tracing` remembers what it wants, and asks no more.
fn quiet() -> &'static Dispatch {
    static QUIET: LazyLock<Dispatch> = LazyLock::new(|| {
        Dispatch::new(tracing_subscriber::registry().with(Targets::new().with_target("app", Level::INFO)))
    });
    &QUIET
}

macro_rules! select {
    ($runtime:expr, $title:literal, $pool:ty, $raw:ty, $url:expr) => {{
        let runtime = $runtime;
        let settings = || DatabaseSettings::new($url).map(|settings| settings.with_pool_size(1).with_max_overflow(0));
        let plain = runtime.block_on(<$pool>::connect(settings()?))?;
        let measured = runtime.block_on(<$pool>::connect(settings()?))?;
        let metrics = metrics();
        otel_0_33::install(&metrics, &measured);
        let told = InMemorySpanExporter::default();
        let spans = SdkTracerProvider::builder().with_batch_exporter(told.clone()).build();
        let traced = tracing_subscriber::registry()
            .with(Targets::new().with_target("pool", Level::INFO))
            .with(tracing_opentelemetry::layer().with_tracer(spans.tracer("cost")));
        let traced = Dispatch::new(traced);
        let (plain, measured) = (runtime.block_on(plain.acquire())?, runtime.block_on(measured.acquire())?);
        let (plain, measured) = (Shared::new(plain), Shared::new(measured));
        let mut raw = runtime.block_on(<$raw>::connect($url))?;

        let raw = kind!(runtime, "sqlx alone", sqlx::query("select 1").execute(&mut raw).await.is_ok());
        let off = kind!(runtime, "on a connection of the pool, and nobody looks", {
            sqlx::query("select 1").execute(&mut *plain.lock().await).await.is_ok()
        });
        let on = kind!(runtime, "with metrics", {
            sqlx::query("select 1").execute(&mut *measured.lock().await).await.is_ok()
        });
        let span = kind!(runtime, "with a span for each, sent in batches", {
            sqlx::query("select 1").execute(&mut *plain.lock().await).await.is_ok()
        });
        let both =
            kind!(runtime, "with both", { sqlx::query("select 1").execute(&mut *measured.lock().await).await.is_ok() });
        let medians = compare(
            $title,
            vec![raw.under(quiet()), off.under(quiet()), on.under(quiet()), span.under(&traced), both.under(&traced)],
        );
        spans.force_flush()?;
        anyhow::ensure!(!told.get_finished_spans()?.is_empty(), "no span was made");
        anyhow::Ok(medians[0])
    }};
}

/// An acquire that finds a free connection, and its release.
fn acquires(runtime: &Runtime) -> anyhow::Result<Duration> {
    let pool = || runtime.block_on(SqlitePool::connect(DatabaseSettings::new("sqlite::memory:")?));
    let (plain, measured) = (pool()?, pool()?);
    let metrics = metrics();
    otel_0_33::install(&metrics, &measured);
    let traced = Dispatch::new(tracing_subscriber::registry().with(Targets::new().with_target("pool", Level::INFO)));
    // The least that a pool can be: it knows no limit, no queue and no clock, and counts nothing. The difference is all that a pool does,
    // and not what counting costs.
    let stack = Mutex::new(vec![Box::new(1)]);
    let borrow = || {
        let taken = stack.lock().ok().and_then(|mut stack| stack.pop());
        if let (Some(taken), Ok(mut stack)) = (black_box(taken), stack.lock()) {
            stack.push(taken);
        }
    };
    let medians = compare(
        "an acquire that need not wait, and its release",
        vec![
            kind!(runtime, "the pool's: always counted, timed, and noted by holder", plain.acquire().await.is_ok()),
            kind!(runtime, "with metrics", measured.acquire().await.is_ok()),
            kind!(runtime, "with spans for those that wait", plain.acquire().await.is_ok()).under(&traced),
            kind!(runtime, "of these, looking at the clock twice", (Instant::now(), Instant::now())),
            kind!(runtime, "beside them, a stack behind a lock, which does nothing else", borrow()),
        ],
    );
    Ok(medians[0])
}

/// What the reader pays for what requests do not.
fn collecting(runtime: &Runtime) -> anyhow::Result<()> {
    const MANY: u32 = 1_000_000;
    let pool = runtime.block_on(SqlitePool::connect(DatabaseSettings::new("sqlite::memory:")?))?;
    let metrics = metrics();
    otel_0_33::install(&metrics, &pool);
    metrics.force_flush()?;
    runtime.block_on(async {
        for _ in 0..MANY {
            black_box(pool.acquire().await.is_ok());
        }
    });
    let begun = Instant::now();
    metrics.force_flush()?;
    let many = begun.elapsed();
    let begun = Instant::now();
    metrics.force_flush()?;
    println!(
        "a reader that asks after a million acquires: {many:.1?} on its own thread; after none: {:.1?}",
        begun.elapsed()
    );
    anyhow::ensure!(pool.watched()[0].timings().hold.count() >= u64::from(MANY), "they were not counted");
    Ok(())
}

fn main() -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        println!("this is a debug build: add --release");
    }
    let runtime = &tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let database = Postgres::shared().database()?;
    with_default(quiet(), || {});

    let acquire = acquires(runtime)?;
    let sqlite = select!(runtime, "select 1 on SQLite, in memory", SqlitePool, SqliteConnection, "sqlite::memory:")?;
    let postgres = select!(runtime, "select 1 on PostgreSQL, by a Unix socket", PgPool, PgConnection, &database.url())?;
    for (database, statement) in [("SQLite", sqlite), ("PostgreSQL", postgres)] {
        let share = acquire.as_secs_f64() / statement.as_secs_f64() * 100.0;
        println!("an acquire and its release are {share:.1} % of a select 1 on {database}");
    }
    collecting(runtime)
}
