//! The asynchronous half under a schedule explorer: who runs next is decided anew at every lock and every wake.
//!
//! Run by `cargo xtask test`, or by hand:
//! `RUSTFLAGS="--cfg shuttle" cargo test -p pool-core --test schedules --features shuttle --target-dir target/shuttle`
#![cfg(shuttle)]

use pool_core::{Condition, Pool, Settings, Verdict, testing::Script};
use shuttle::future::{block_on, spawn, yield_now};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::Poll,
};

const SCHEDULES: usize = 1_000;

/// Runs this under many schedules, at random and with few, far-reaching preemptions (PCT).
fn explore(scenario: fn()) {
    // Timers want a runtime to belong to; they never ring, for nothing here takes time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _entered = runtime.enter();
    shuttle::check_random(scenario, SCHEDULES);
    shuttle::check_pct(scenario, SCHEDULES, 3);
}

fn pool(pool_size: u32) -> (Script, Pool<Script>) {
    let script = Script::new();
    let settings = Settings::default().with_pool_size(pool_size).with_max_overflow(0);
    (script.clone(), Pool::new(script, settings).expect("good settings"))
}

/// Everybody is home: closes the pool and checks that nothing is left.
async fn audit(script: &Script, pool: Pool<Script>) {
    let report = pool.close().await;
    assert_eq!(report.still_held, []);
    let s = pool.status();
    assert_eq!((s.open, s.opening, s.in_use, s.waiting), (0, 0, 0, 0));
    assert_eq!(s.totals.acquired, s.totals.released);
    assert_eq!(script.open(), 0);
}

#[test]
fn every_caller_is_served_and_no_connection_is_lent_twice() {
    explore(|| {
        block_on(async {
            let (script, pool) = pool(2);
            let users = Arc::new(AtomicU32::new(0));
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let (pool, users) = (pool.clone(), Arc::clone(&users));
                    spawn(async move {
                        for _ in 0..2 {
                            let conn = pool.acquire().await.expect("there is always a next one");
                            assert!(users.fetch_add(1, SeqCst) < 2, "three users of two connections");
                            yield_now().await;
                            users.fetch_sub(1, SeqCst);
                            drop(conn);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("no task fails");
            }
            audit(&script, pool).await;
        });
    });
}

#[test]
fn a_caller_that_leaves_at_any_moment_loses_nothing() {
    explore(|| {
        block_on(async {
            let (script, pool) = pool(1);
            let tasks: Vec<_> = (0..3)
                .map(|i| {
                    let pool = pool.clone();
                    spawn(async move {
                        if i == 2 {
                            drop(pool.acquire().await.expect("the patient one is served"));
                            return;
                        }
                        let mut acquire = pool.acquire();
                        for _ in 0..=i {
                            let done = poll_fn(|cx| Poll::Ready(Pin::new(&mut acquire).poll(cx).is_ready())).await;
                            if done {
                                return;
                            }
                            yield_now().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("no task fails");
            }
            audit(&script, pool).await;
        });
    });
}

#[test]
fn a_close_meets_callers_users_and_connects() {
    explore(|| {
        block_on(async {
            let (script, pool) = pool(1);
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let pool = pool.clone();
                    spawn(async move {
                        match pool.acquire().await {
                            Ok(conn) => drop(conn),
                            Err(error) => assert_eq!(error.verdict(), Verdict::Closed),
                        }
                    })
                })
                .collect();
            let closer = spawn({
                let pool = pool.clone();
                async move { pool.close().await }
            });
            for task in tasks {
                task.await.expect("no task fails");
            }
            assert_eq!(closer.await.expect("close ends").still_held, []);
            audit(&script, pool).await;
        });
    });
}

#[test]
fn dirty_and_broken_returns_meet_resize_and_invalidate() {
    explore(|| {
        block_on(async {
            let (script, pool) = pool(2);
            let tasks: Vec<_> = [Condition::Dirty, Condition::Broken, Condition::Clean]
                .into_iter()
                .map(|condition| {
                    let pool = pool.clone();
                    spawn(async move {
                        let mut conn = pool.acquire().await.expect("there is always a next one");
                        conn.set_condition(condition);
                    })
                })
                .collect();
            let admin = spawn({
                let pool = pool.clone();
                async move {
                    pool.reconfigure(|settings| settings.with_pool_size(1)).expect("good settings");
                    pool.invalidate();
                }
            });
            for task in tasks {
                task.await.expect("no task fails");
            }
            admin.await.expect("no task fails");
            audit(&script, pool).await;
        });
    });
}

#[test]
fn the_last_handle_is_dropped_beside_a_user() {
    explore(|| {
        let (script, pool) = pool(1);
        block_on(async {
            let conn = pool.acquire().await.expect("a connection");
            let user = spawn(async move { drop(conn) });
            drop(pool);
            user.await.expect("no task fails");
        });
        while script.open() > 0 {
            shuttle::thread::yield_now();
        }
    });
}
