//! The tools that users get for their own tests.

use crate::{once, pool, settings};
use pool_core::{
    Condition, ErrorClass, Verdict,
    testing::{Call, Reply, Script, conformance, exhausted},
};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn an_exhausted_pool_is_one_line() {
    let start = Instant::now();
    let error = exhausted().acquire().await.unwrap_err();
    assert_eq!((error.verdict(), error.is_timeout(), start.elapsed()), (Verdict::Exhausted, true, Duration::ZERO));
    assert!(error.retry_after().is_some());
}

#[tokio::test(start_paused = true)]
async fn any_verdict_can_be_injected_and_taken_back() {
    use Verdict::*;
    let (script, pool) = pool(settings(1, 0));
    for verdict in [Exhausted, Leaking, Nested, Connecting, Refused, Paused, Closed] {
        pool.inject(verdict);
        let error = pool.acquire().await.unwrap_err();
        assert_eq!(error.verdict(), verdict);
        assert!(error.to_string().ends_with(&format!("see errors/{}", verdict.code())), "{error}");
        assert!(pool.try_acquire().is_err());
    }
    assert_eq!(script.calls(), []);
    pool.inject(None);
    assert!(pool.acquire().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_injected_fault_leaves_those_alone_who_wait_already() {
    let (_, pool) = pool(settings(1, 0));
    let held = pool.acquire().await.unwrap();
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    pool.inject(Verdict::Exhausted);
    drop(held);
    assert!(waiter.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_conformance_suite_passes_a_good_manager_and_names_what_a_bad_one_breaks() {
    let script = Script::new();
    conformance(&script).await.unwrap();
    assert_eq!(script.calls(), [Call::Connect, Call::Ping(1), Call::Reset(1), Call::Reset(1), Call::Close(1)]);
    script.on_ping([Reply::hang()]);
    assert_eq!(conformance(&script).await.unwrap_err(), "ping did not end within 10s");
    script.on_reset([Reply::ok(), Reply::fail(ErrorClass::Other, "no")]);
    assert_eq!(conformance(&script).await.unwrap_err(), "a second reset failed: no");
}

#[tokio::test(start_paused = true)]
async fn a_script_records_what_was_open_at_most() {
    let (script, pool) = pool(settings(3, 0));
    let mut all = vec![];
    for _ in 0..3 {
        all.push(pool.acquire().await.unwrap());
    }
    all[0].set_condition(Condition::Broken);
    all.clear();
    drop(pool.close().await);
    assert_eq!((script.open(), script.most_open()), (0, 3));
}
