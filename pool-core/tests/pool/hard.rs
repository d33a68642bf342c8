//! Hard corners: several runtimes, no runtime, panics, crowds.

use crate::{once, pool, secs, settings, settled, until};
use pool_core::{Condition, ErrorClass, Manager, Pool, Settings, testing::Reply};
use std::{sync::mpsc, thread};
use tokio::{runtime::Builder, time::sleep};

fn runtime() -> tokio::runtime::Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn a_pool_outlives_the_runtime_that_made_its_connections() {
    let (script, pool) = pool(settings(2, 0));
    runtime().block_on(async {
        let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        drop((a, b));
        assert_eq!(pool.status().idle, 2);
    });
    // Their runtime is gone, and they with it.
    assert_eq!((pool.status().open, script.open()), (0, 0));
    runtime().block_on(async {
        assert_eq!(pool.acquire().await.unwrap().id(), 3);
    });
}

#[test]
fn a_connection_in_use_while_its_runtime_ends_is_not_lent_again() {
    let (script, pool) = pool(settings(1, 0));
    let held = runtime().block_on(async { pool.acquire().await.unwrap() });
    drop(held); // no runtime here
    assert_eq!(pool.status().idle, 0);
    runtime().block_on(async {
        assert_eq!(pool.acquire().await.unwrap().id(), 2);
        assert_eq!(script.open(), 1);
    });
}

#[test]
fn a_guard_may_be_dropped_where_there_is_no_runtime() {
    let (_, pool) = pool(settings(3, 0));
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (clean, mut dirty, mut broken) = runtime.block_on(async {
        (pool.acquire().await.unwrap(), pool.acquire().await.unwrap(), pool.acquire().await.unwrap())
    });
    dirty.set_condition(Condition::Dirty);
    broken.set_condition(Condition::Broken);
    thread::spawn(move || drop((clean, dirty, broken))).join().unwrap();
    runtime.block_on(async {
        settled(&pool).await;
        assert_eq!((pool.status().in_use, pool.status().open), (0, 0), "the broken one has condemned the others");
    });
}

#[test]
fn a_waiter_on_another_runtime_is_served_and_timed_out() {
    let (_, pool) = pool(settings(1, 0));
    let first = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let held = first.block_on(async { pool.acquire().await.unwrap() });
    let (tell, told) = mpsc::channel();
    let there = pool.clone();
    let second = thread::spawn(move || {
        runtime().block_on(async {
            let limit = std::time::Duration::from_millis(30);
            assert!(there.acquire_timeout(limit).await.unwrap_err().is_timeout());
            let mut waiter = there.acquire();
            assert!(once(&mut waiter).await.is_pending());
            tell.send(()).unwrap();
            waiter.await.unwrap().id()
        })
    });
    told.recv().unwrap();
    drop(held);
    assert_eq!(second.join().unwrap(), 1);
}

#[test]
fn a_waiter_is_timed_out_although_the_drivers_runtime_does_not_run() {
    let (_, pool) = pool(settings(1, 0));
    let asleep = runtime(); // alive, but nobody polls it any more
    let _held = asleep.block_on(async { pool.acquire().await.unwrap() });
    runtime().block_on(async {
        let limit = std::time::Duration::from_millis(20);
        assert!(pool.acquire_timeout(limit).await.unwrap_err().is_timeout());
    });
}

#[test]
fn a_waiter_is_served_although_the_drivers_runtime_ends_meanwhile() {
    let (script, pool) = pool(settings(1, 0));
    let first = runtime();
    let held = first.block_on(async { pool.acquire().await.unwrap() });
    let there = pool.clone();
    let (tell, told) = mpsc::channel();
    let second = thread::spawn(move || {
        runtime().block_on(async {
            let mut waiter = there.acquire();
            assert!(once(&mut waiter).await.is_pending());
            tell.send(()).unwrap();
            waiter.await.unwrap().id()
        })
    });
    told.recv().unwrap();
    drop(first);
    drop(held);
    assert_eq!(second.join().unwrap(), 2, "a new connection, on the runtime that is left");
    assert!(script.open() <= 1, "the old one is gone");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_any_method_costs_that_connection_and_no_slot() {
    let (script, pool) = pool(settings(1, 0));
    let mut conn = pool.acquire().await.unwrap();
    conn.set_condition(Condition::Dirty);
    script.on_reset([Reply::panic()]);
    drop(conn);
    drop(pool.acquire().await.unwrap());
    sleep(secs(1)).await;
    script.on_ping([Reply::panic()]);
    let conn = pool.acquire().await.unwrap();
    assert_eq!(conn.id(), 3);
    script.on_close([Reply::panic()]);
    conn.discard();
    assert_eq!(pool.acquire().await.unwrap().id(), 4);
    settled(&pool).await;
    assert_eq!((pool.status().open, script.open()), (1, 1));
    assert_eq!(pool.status().abandoned, 3);
}

/// Panics when it is asked about a connection, or about an error.
struct Touchy;

impl Manager for Touchy {
    type Conn = ();
    type Error = std::io::Error;
    async fn connect(&self) -> Result<(), std::io::Error> {
        Ok(())
    }
    async fn ping(&self, (): &mut ()) -> Result<(), std::io::Error> {
        Err(std::io::Error::other("dead"))
    }
    async fn reset(&self, (): &mut ()) -> Result<(), std::io::Error> {
        Ok(())
    }
    async fn close(&self, (): ()) {}
    fn condition(&self, (): &mut ()) -> Condition {
        panic!("condition")
    }
    fn classify(&self, _: &std::io::Error) -> ErrorClass {
        panic!("classify")
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_panics_in_its_judgements_loses_no_slot() {
    let pool = Pool::new(Touchy, Settings::default().with_pool_size(1).with_max_overflow(0)).unwrap();
    for _ in 0..3 {
        drop(pool.acquire().await.unwrap());
        settled(&pool).await;
    }
    assert_eq!(pool.status().open, 0);
    assert_eq!(pool.close().await.still_held, []);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_gives_its_connection_back() {
    let (_, pool) = pool(settings(1, 0));
    let there = pool.clone();
    let task = tokio::spawn(async move {
        let _conn = there.acquire().await.unwrap();
        panic!("in the middle");
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(pool.acquire().await.unwrap().id(), 1);
}

#[tokio::test(start_paused = true)]
async fn twenty_five_thousand_waiters_on_one_connection_are_all_served_in_order() {
    let (_, pool) = pool(settings(1, 0).with_pool_timeout(secs(3600)));
    let held = pool.acquire().await.unwrap();
    let mut queue: Vec<_> = (0..25_000).map(|_| pool.acquire()).collect();
    for waiter in &mut queue {
        assert!(once(waiter).await.is_pending());
    }
    assert_eq!(pool.status().waiting, 25_000);
    drop(held);
    for waiter in &mut queue {
        let std::task::Poll::Ready(conn) = once(waiter).await else { panic!("the next in line was not served") };
        drop(conn.unwrap());
    }
    assert_eq!(pool.status().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn every_future_may_be_dropped_after_any_number_of_polls() {
    for polls in 1..12 {
        for fault in [Reply::ok(), Reply::ok().after(std::time::Duration::from_millis(1)), Reply::hang()] {
            let (script, pool) = pool(settings(1, 0));
            script.on_connect([fault.clone()]);
            let mut acquire = pool.acquire();
            for _ in 0..polls {
                if once(&mut acquire).await.is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(acquire);
            sleep(secs(12)).await;
            settled(&pool).await;
            assert_eq!(pool.status().in_use, 0, "after {polls} polls");
            drop(pool.acquire().await.unwrap());
            assert_eq!(pool.close().await.still_held, []);
            until("all is closed", || script.open() == 0).await;
        }
    }
}
