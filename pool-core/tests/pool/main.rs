//! The pool as its users meet it, on virtual time: one binary, a module for each concern.

mod acquire;
mod admin;
mod connect;
mod hard;
mod nested;
mod release;
mod runtimes;
mod shutdown;
mod telling;
mod testing;

use pool_core::{
    AcquireError, Manager, Pool, Settings,
    testing::{Script, ScriptError},
};
use std::{future::poll_fn, task::Poll, time::Duration};

fn settings(pool_size: u32, max_overflow: u32) -> Settings {
    Settings::default().with_pool_size(pool_size).with_max_overflow(max_overflow)
}

fn pool(settings: Settings) -> (Script, Pool<Script>) {
    let script = Script::new();
    (script.clone(), Pool::new(script, settings).expect("good settings"))
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What so many callers get who come at once, and give back at once.
async fn burst(pool: &Pool<Script>, n: usize) -> Vec<Result<(), AcquireError<ScriptError>>> {
    let callers: Vec<_> = (0..n)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.acquire().await.map(drop) })
        })
        .collect();
    let mut answers = vec![];
    for caller in callers {
        answers.push(caller.await.expect("a caller does not panic"));
    }
    answers
}

/// Lets the other tasks run until this holds. Fails when they have nothing left to do and it does not; where they run on other threads,
/// a busy machine may let these wait.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    for turns in 0_u64.. {
        if holds() {
            return;
        }
        assert!(turns < 10_000 || begun.elapsed() < secs(10), "never happened: {what}");
        tokio::task::yield_now().await;
    }
}

async fn waiting<M: Manager>(pool: &Pool<M>, n: u32) {
    until(&format!("{n} callers wait"), || pool.status().waiting == n).await;
}

/// Until every job has ended.
async fn settled<M: Manager>(pool: &Pool<M>) {
    until("the pool comes to rest", || {
        let s = pool.status();
        s.opening + s.pinging + s.resetting + s.closing == 0
    })
    .await;
}

/// Polls a future once.
async fn once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx))).await
}
