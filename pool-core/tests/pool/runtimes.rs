//! Several runtimes, on real time: some end, some are alive and not run, some have no timer.

use crate::{ms, once, pool, secs, settings, settled};
use pool_core::{
    Condition, Pool, Verdict,
    testing::{Call, Reply, Script},
};
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use tokio::{
    runtime::{Builder, Runtime},
    time::sleep,
};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The pool at rest: what it counts is what exists.
async fn audit(script: &Script, pool: &Pool<Script>) {
    settled(pool).await;
    let s = pool.status();
    assert_eq!((s.open, s.opening, s.in_use, s.waiting), (s.idle, 0, 0, 0));
    assert_eq!(script.open(), s.open, "every connection that exists is counted, once");
    assert_eq!(s.totals.acquired, s.totals.released);
}

/// Leaves a job at work on a runtime, which nobody runs then.
type Leave = fn(&Script, &Pool<Script>, &Runtime);

fn a_ping(script: &Script, pool: &Pool<Script>, a: &Runtime) {
    script.on_ping([Reply::ok().after(ms(50))]);
    a.block_on(async {
        drop(pool.acquire().await.expect("a connection"));
        drop(tokio::time::timeout(ms(9), pool.acquire()).await);
    });
    assert_eq!(pool.status().pinging, 1);
}

fn a_connect(script: &Script, pool: &Pool<Script>, a: &Runtime) {
    script.on_connect([Reply::ok().after(ms(50))]);
    a.block_on(async { drop(tokio::time::timeout(ms(9), pool.acquire()).await) });
    assert_eq!(pool.status().opening, 1);
}

fn a_reset(script: &Script, pool: &Pool<Script>, a: &Runtime) {
    script.on_reset([Reply::ok().after(ms(50))]);
    a.block_on(async {
        pool.acquire().await.expect("a connection").set_condition(Condition::Dirty);
        sleep(ms(9)).await;
    });
    assert_eq!(pool.status().resetting, 1);
}

fn a_close(script: &Script, pool: &Pool<Script>, a: &Runtime) {
    script.on_close([Reply::ok().after(ms(50))]);
    a.block_on(async {
        pool.acquire().await.expect("a connection").discard();
        sleep(ms(9)).await;
    });
    assert_eq!(pool.status().closing, 1);
}

/// Tries it with a pool of one for each kind of job, which is left on the first of two runtimes.
fn for_each_job(test: impl Fn(&Script, &Pool<Script>, &Runtime, &Runtime) + Sync) {
    let jobs: [Leave; 4] = [a_ping, a_connect, a_reset, a_close];
    thread::scope(|scope| {
        for leave in jobs {
            let test = &test;
            scope.spawn(move || {
                let (script, pool) = pool(settings(1, 0).with_pre_ping_after(Duration::ZERO));
                let (a, b) = (runtime(), runtime());
                leave(&script, &pool, &a);
                test(&script, &pool, &a, &b);
            });
        }
    });
}

#[test]
fn a_job_on_a_runtime_that_nobody_runs_keeps_no_slot_from_a_caller_on_another() {
    for_each_job(|script, pool, a, b| {
        for _ in 0..3 {
            let start = Instant::now();
            b.block_on(async { drop(pool.acquire_timeout(secs(4)).await.unwrap()) });
            assert!(start.elapsed() < secs(4), "{:?}", start.elapsed());
        }
        assert_eq!(pool.status().abandoned, 1);
        // The first runtime runs again, and what it had begun ends there.
        a.block_on(async { sleep(ms(200)).await });
        b.block_on(audit(script, pool));
        assert_eq!(pool.status().open, 1);
    });
}

#[test]
fn two_threads_that_block_on_runtimes_of_their_own_share_a_pool_of_two() {
    let (script, pool) = pool(settings(2, 0).with_pre_ping_after(Duration::ZERO));
    let (a, b) = (runtime(), runtime());
    a_ping(&script, &pool, &a);
    for round in 0..4 {
        let (here, there) = if round % 2 == 0 { (&b, &a) } else { (&a, &b) };
        let first = here.block_on(pool.acquire_timeout(secs(5))).unwrap();
        let second = here.block_on(pool.acquire_timeout(secs(5))).unwrap();
        assert_ne!(first.id(), second.id());
        drop(first);
        there.block_on(async { drop(pool.acquire_timeout(secs(5)).await.unwrap()) });
        drop(second);
    }
    for runtime in [&a, &b, &a] {
        runtime.block_on(async { sleep(ms(100)).await });
    }
    b.block_on(async {
        drop(pool.acquire_timeout(secs(5)).await.unwrap());
        audit(&script, &pool).await;
    });
}

#[test]
fn closing_on_another_runtime_waits_for_no_job_of_one_that_nobody_runs() {
    for_each_job(|script, pool, a, b| {
        let start = Instant::now();
        let report = b.block_on(pool.close());
        assert!(start.elapsed() < secs(4), "{:?}", start.elapsed());
        assert_eq!((report.still_held.len(), report.abandoned, pool.status().open), (0, 1, 0), "{report}");
        a.block_on(async { sleep(ms(200)).await });
        assert_eq!(script.open(), 0);
    });
}

#[test]
fn warming_up_on_another_runtime_waits_for_no_connect_of_one_that_nobody_runs() {
    let (script, pool) = pool(settings(2, 0));
    let (a, b) = (runtime(), runtime());
    a_connect(&script, &pool, &a);
    b.block_on(pool.connect()).unwrap();
    assert_eq!((pool.status().idle, pool.status().opening), (2, 0));
    a.block_on(async { sleep(ms(200)).await });
    b.block_on(audit(&script, &pool));
}

#[test]
fn a_runtime_that_is_busy_for_a_while_is_not_given_up() {
    let (script, pool) = pool(settings(2, 0).with_pre_ping_after(Duration::ZERO));
    let (busy, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let there = pool.clone();
    let a = thread::spawn(move || {
        runtime().block_on(async {
            let (first, second) = (there.acquire().await.unwrap(), there.acquire().await.unwrap());
            drop((first, second));
            busy.send(()).unwrap();
            thread::sleep(ms(600)); // hashes a password
            while ended.try_recv().is_err() {
                sleep(ms(1)).await;
            }
        });
    });
    begun.recv().unwrap();
    runtime().block_on(async {
        let start = Instant::now();
        let conn = pool.acquire().await.unwrap();
        assert!(conn.id() <= 2 && start.elapsed() >= ms(300), "it waited for the ping: {:?}", start.elapsed());
        drop(conn);
        let s = pool.status();
        assert_eq!((s.totals.opened, s.totals.closed(), s.abandoned), (2, 0, 0));
    });
    end.send(()).unwrap();
    a.join().unwrap();
    assert_eq!(script.open(), 0, "now its runtime has ended");
}

#[test]
fn what_lives_on_a_runtime_that_nobody_runs_is_tested_before_it_is_lent_and_kept_if_it_answers() {
    for dead in [false, true] {
        let (script, pool) = pool(settings(3, 0).with_pool_pre_ping(false).with_ping_timeout(ms(300)));
        let (a, b) = (runtime(), runtime());
        a.block_on(async {
            let all = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
            drop(all.0);
            drop(all.1);
            let mut third = all.2;
            third.set_condition(Condition::Dirty); // is to be cleaned by a driver that does not run
        });
        if dead {
            script.always_ping(Reply::hang());
        }
        assert_eq!((pool.status().idle, pool.status().resetting), (2, 1));
        b.block_on(async {
            let (first, second) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
            let third = pool.acquire_timeout(secs(5)).await.unwrap(); // takes over
            drop((first, second));
            let (first, second) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
            let (pings, opened) = (script.count(|call| matches!(call, Call::Ping(_))), pool.status().totals.opened);
            match dead {
                false => assert_eq!((pings, opened), (2, 3)),
                true => assert!(pings >= 1 && opened >= 5, "{pings} pings, {opened} opened"),
            }
            drop((first, second, third));
            audit(&script, &pool).await;
        });
    }
}

#[test]
fn connections_of_a_runtime_that_was_taken_over_from_end_with_it() {
    let (script, pool) = pool(settings(2, 0).with_pre_ping_after(Duration::ZERO));
    let (a, b) = (runtime(), runtime());
    a.block_on(async {
        let both = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        drop(both);
    });
    b.block_on(async { drop(pool.acquire_timeout(secs(5)).await.unwrap()) }); // takes over
    assert_eq!((pool.status().idle, script.count(|call| *call == Call::Connect)), (2, 2));
    a.block_on(async { sleep(ms(50)).await }); // the driver there learns of it
    drop(a);
    assert_eq!((pool.status().open, script.open()), (0, 0));
    b.block_on(async {
        assert_eq!(pool.acquire().await.unwrap().id(), 3);
        audit(&script, &pool).await;
    });
    drop(b);
    assert_eq!((pool.status().open, script.open()), (0, 0));
}

#[test]
fn a_caller_is_told_that_its_runtime_has_no_timer() {
    let (_, pool) = pool(settings(1, 0));
    let timerless = Builder::new_current_thread().build().unwrap();
    for _ in 0..2 {
        let error = timerless.block_on(pool.acquire()).unwrap_err();
        assert_eq!(error.verdict(), Verdict::Connecting);
        assert!(error.to_string().contains("no timer: build it with `enable_time`"), "{error}");
    }
    runtime().block_on(async {
        drop(pool.acquire().await.unwrap());
        // What is idle and fresh needs none.
        assert!(pool.try_acquire().is_ok());
    });
}

#[test]
fn a_caller_that_counted_on_the_driver_keeps_its_deadline_when_another_runtime_takes_over_and_stops() {
    let (_, pool) = pool(settings(1, 0).with_pre_ping_after(Duration::ZERO));
    let (a, b) = (runtime(), runtime());
    let held = a.block_on(async { pool.acquire().await.unwrap() });
    let mut waiter = pool.acquire_timeout(secs(3));
    a.block_on(async { assert!(once(&mut waiter).await.is_pending()) }); // on the driver's runtime: no timer of its own
    b.block_on(async { assert!(pool.acquire_timeout(ms(1_600)).await.is_err()) }); // takes over, and is not run any more
    let start = Instant::now();
    let error = a.block_on(waiter).unwrap_err();
    assert!(error.is_timeout() && start.elapsed() < secs(3), "{:?} {error}", start.elapsed());
    drop(held);
}

#[test]
fn a_caller_without_a_timer_is_served_and_timed_out_by_the_driver_of_another_runtime() {
    let (_, pool) = pool(settings(1, 0));
    let other = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let held = other.block_on(async { pool.acquire().await.unwrap() });
    let timerless = Builder::new_current_thread().build().unwrap();
    let error = timerless.block_on(pool.acquire_timeout(ms(50))).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let mut waiter = pool.acquire();
    timerless.block_on(async { assert!(once(&mut waiter).await.is_pending()) });
    thread::spawn(move || drop(held));
    assert_eq!(timerless.block_on(waiter).unwrap().id(), 1);
}
