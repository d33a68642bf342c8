//! `cargo xtask demo`: the example service under calm, a burst that the pool cannot hold, and recovery.

mod load;
mod service;
mod table;

use crate::{report::Verdict, servers};
use load::{Phase, Request};
use service::{MAX_OVERFLOW, POOL_SIZE, POOL_TIMEOUT, Service};
use std::{process::ExitCode, time::Duration};

/// The database that the example runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

/// The longest that `/listen` is asked to hold its connection.
const LONGEST_HOLD: Duration = Duration::from_millis(500);

/// An answer may take the whole wait and the whole hold; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(3);

/// Five connections and three more give 8 / 0.35 s = 23 listens a second. Calm asks for less than half of that, the burst for four times as much.
const PHASES: [Phase; 3] = [
    Phase { name: "calm", requests: 100, per_second: 25, choose: everyday },
    Phase { name: "burst", requests: 200, per_second: 100, choose: listen },
    Phase { name: "recovery", requests: 100, per_second: 25, choose: everyday },
];

/// Runs the demonstration and prints what came of it.
pub(crate) fn run(database: Database) -> Verdict {
    service::build()?;
    let cluster = (database == Database::Postgres).then(servers::postgres).transpose()?;
    let scratch = cluster.as_ref().map(|cluster| cluster.database()).transpose()?;
    let service = Service::start(scratch.as_ref().map(|database| database.url()))?;
    println!(
        "the tracks service listens on {}; pool_size {POOL_SIZE}, max_overflow {MAX_OVERFLOW}, pool_timeout {POOL_TIMEOUT:?}",
        service.url()
    );
    let mut outcomes = Vec::new();
    for phase in &PHASES {
        outcomes.push((phase.name, load::run(phase, service.url(), LIMIT)));
    }
    let status = load::status(service.url());
    let refusal = service.refusal();
    let ending = service.stop()?;
    let unanswered = table::print(&outcomes, status.as_ref(), refusal.as_deref());
    if !ending.success() {
        return Err(format!("the service did not shut down in order ({ending})").into());
    }
    if unanswered > 0 {
        return Err(format!("{unanswered} requests got neither an answer nor a 503 within {LIMIT:?}").into());
    }
    println!("every request got an answer or a 503 within {LIMIT:?}; the service shut down in order");
    Ok(ExitCode::SUCCESS)
}

/// What a service hears on an ordinary day: mostly reads, now and then a track that somebody listens to.
fn everyday(number: u32) -> Request {
    match number % 10 {
        0 => listen(number),
        1 => Request::post("/tracks", r#"{"title":"So What","artist":"Miles Davis"}"#),
        2 => Request::post(format!("/tracks/{}/like", 1 + number % 3), ""),
        3 => Request::get("/stats"),
        4..=6 => Request::get(format!("/tracks/{}", 1 + number % 3)),
        _ => Request::get("/tracks"),
    }
}

/// A request that holds its connection for 200 to 500 ms.
fn listen(number: u32) -> Request {
    let longest = LONGEST_HOLD.as_millis() as u32;
    // Multiples of a prime spread evenly and are the same in each run.
    let hold = 200 + number * 137 % (longest - 200 + 1);
    Request::holding(format!("/tracks/{}/listen?ms={hold}", 1 + number % 3), Duration::from_millis(hold.into()))
}
