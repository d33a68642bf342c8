//! Hard corners: several runtimes, no runtime, panics, crowds.

use crate::{once, pool, secs, settings, settled, until};
use pool_core::{
    Condition, ErrorClass, Manager, Pool, Settings,
    testing::{Reply, Script},
};
use std::{
    sync::{Arc, OnceLock, mpsc},
    thread,
};
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

/// Panics when it is asked for the condition of its first connection.
struct Moody(Script);

impl Manager for Moody {
    type Conn = pool_core::testing::ScriptConn;
    type Error = pool_core::testing::ScriptError;
    async fn connect(&self) -> Result<Self::Conn, Self::Error> {
        self.0.connect().await
    }
    async fn ping(&self, conn: &mut Self::Conn) -> Result<(), Self::Error> {
        self.0.ping(conn).await
    }
    async fn reset(&self, conn: &mut Self::Conn) -> Result<(), Self::Error> {
        self.0.reset(conn).await
    }
    async fn close(&self, conn: Self::Conn) {
        self.0.close(conn).await;
    }
    fn condition(&self, conn: &mut Self::Conn) -> Condition {
        assert!(conn.id() != 1, "no");
        Condition::Clean
    }
    fn classify(&self, error: &Self::Error) -> ErrorClass {
        error.class()
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_about_one_connection_says_nothing_of_the_others() {
    let pool = Pool::new(Moody(Script::new()), settings(2, 0)).expect("good settings");
    let (first, second) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop(second);
    drop(first);
    settled(&pool).await;
    assert_eq!((pool.status().idle, pool.status().open), (1, 1));
    assert_eq!(pool.acquire().await.unwrap().id(), 2);
}

#[test]
fn those_who_wait_for_the_end_bring_a_driver_when_the_old_one_has_gone() {
    let (script, pool) = pool(settings(1, 0));
    let first = runtime();
    let held = first.block_on(async { pool.acquire().await.unwrap() });
    drop(first);
    drop(held); // no runtime, no driver: it waits to be closed
    let report = runtime().block_on(pool.close());
    assert_eq!((report.still_held.len(), script.open(), pool.status().open), (0, 0, 0));
}

#[test]
fn those_who_wait_for_the_warm_up_bring_a_driver_when_the_old_one_has_gone() {
    let (script, pool) = pool(settings(1, 0));
    script.on_connect([Reply::hang()]);
    let first = runtime();
    first.block_on(async {
        pool.connect_with(pool_core::Startup::Anyway).await.unwrap();
        until("it dials", || pool.status().opening == 1).await;
    });
    let there = pool.clone();
    let waiting = thread::spawn(move || runtime().block_on(async { there.ready().await.is_ok() }));
    drop(first);
    assert!(waiting.join().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_owns_a_guard_may_be_replaced() {
    use std::{
        pin::Pin,
        sync::Mutex,
        task::{Context, Wake, Waker},
    };
    struct Owner(#[expect(dead_code, reason = "owns it")] Mutex<Option<pool_core::Pooled<Script>>>);
    impl Wake for Owner {
        fn wake(self: Arc<Self>) {}
    }
    let (_, pool) = pool(settings(1, 0));
    let guard = pool.acquire().await.unwrap();
    let owner = Waker::from(Arc::new(Owner(Mutex::new(Some(guard)))));
    let mut waiter = pool.acquire();
    assert!(Pin::new(&mut waiter).poll(&mut Context::from_waker(&owner)).is_pending());
    drop(owner); // the queue has the last one ..
    assert!(once(&mut waiter).await.is_pending()); // .. and gives it up, and with it the connection
    assert_eq!(waiter.await.unwrap().id(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_waiting_future_may_be_dropped_after_any_number_of_polls() {
    for polls in 1..8 {
        let (script, pool) = pool(settings(2, 0));
        script.always_connect(Reply::ok().after(std::time::Duration::from_millis(1)));
        for future in 0..3 {
            let mut future: std::pin::Pin<Box<dyn Future<Output = ()>>> = match future {
                0 => Box::pin(async { drop(pool.connect().await) }),
                1 => Box::pin(async { drop(pool.ready().await) }),
                _ => Box::pin(async { drop(pool.close().await) }),
            };
            for _ in 0..polls {
                if once(&mut future).await.is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        until("all is closed", || script.open() == 0 && pool.status().opening == 0).await;
        assert!(pool.is_closed());
    }
}

#[test]
fn a_caller_is_served_although_the_drivers_runtime_does_not_run() {
    let (script, pool) = pool(settings(1, 1).with_shutdown_grace(std::time::Duration::from_millis(100)));
    let asleep = runtime(); // alive, but nobody runs it any more
    let _held = asleep.block_on(async { pool.acquire().await.unwrap() });
    runtime().block_on(async {
        assert_eq!(pool.acquire().await.unwrap().id(), 2, "a driver here has opened another");
        let report = pool.close().await;
        assert_eq!(report.still_held.len(), 1);
    });
    drop(asleep); // the old driver ends, and disturbs nothing
    assert_eq!(script.open(), 1, "the one in use");
}

/// Fails to connect with an error whose end runs this.
struct Spiteful(Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>, std::sync::atomic::AtomicU32);

struct Spite(Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>);

impl Drop for Spite {
    fn drop(&mut self) {
        if let Some(act) = self.0.get() {
            act();
        }
    }
}

impl std::fmt::Debug for Spite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spite")
    }
}

impl std::fmt::Display for Spite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no")
    }
}

impl std::error::Error for Spite {}

impl Manager for Spiteful {
    type Conn = ();
    type Error = Spite;
    async fn connect(&self) -> Result<(), Spite> {
        let class = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if class < 6 { Err(Spite(Arc::clone(&self.0))) } else { Ok(()) }
    }
    async fn ping(&self, (): &mut ()) -> Result<(), Spite> {
        Ok(())
    }
    async fn reset(&self, (): &mut ()) -> Result<(), Spite> {
        Ok(())
    }
    async fn close(&self, (): ()) {}
    fn condition(&self, (): &mut ()) -> Condition {
        Condition::Clean
    }
    fn classify(&self, _: &Spite) -> ErrorClass {
        match self.1.load(std::sync::atomic::Ordering::Relaxed) {
            1..4 => ErrorClass::Transient,
            _ => ErrorClass::Permanent,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_manager_may_use_the_pool_or_panic_when_it_is_dropped() {
    for panics in [false, true] {
        let act = Arc::new(OnceLock::new());
        let pool = Pool::new(Spiteful(Arc::clone(&act), Default::default()), settings(1, 0)).unwrap();
        let there = pool.downgrade();
        let set = act.set(Box::new(move || {
            there.upgrade().map(|pool| pool.status());
            assert!(!panics || std::thread::panicking(), "an error panics when it is dropped");
        }) as Box<dyn Fn() + Send + Sync>);
        assert!(set.is_ok());
        let mut left = pool.acquire();
        assert!(once(&mut left).await.is_pending());
        std::mem::forget(pool.acquire().await.map(drop)); // three are replaced by the next, the fourth is given to a caller ..
        until("it is answered", || pool.status().waiting == 0).await;
        drop(left); // .. and to one that does not collect it
        let mut served = false;
        for _ in 0..10 {
            let answer = pool.acquire().await.map(drop);
            served |= answer.is_ok();
            std::mem::forget(answer);
            sleep(secs(40)).await;
        }
        assert!(served, "and the last of them is dropped when a connect succeeds");
    }
}

/// Panics when it is woken.
struct Bomb;

impl std::task::Wake for Bomb {
    fn wake(self: Arc<Self>) {
        std::panic::panic_any(Payload);
    }
}

/// Left by a panic, and panics when it is dropped.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a payload panics when it is dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_keeps_neither_the_others_nor_the_driver_from_their_call() {
    let (script, pool) = pool(settings(1, 0));
    let held = pool.acquire().await.unwrap();
    let bomb = std::task::Waker::from(Arc::new(Bomb));
    let mut first = pool.acquire();
    assert!(std::pin::Pin::new(&mut first).poll(&mut std::task::Context::from_waker(&bomb)).is_pending());
    let others: Vec<_> = (0..3)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.acquire().await.map(drop).map_err(|error| error.verdict()) })
        })
        .collect();
    crate::waiting(&pool, 4).await;
    held.discard(); // wakes nobody, calls the driver: the connect then wakes the first
    until("the first is served", || pool.status().in_use == 1).await;
    drop(first);
    for other in others {
        assert_eq!(other.await.unwrap(), Ok(()));
    }
    // All at once: the one that panics is woken first.
    let held = pool.acquire().await.unwrap();
    let mut first = pool.acquire();
    assert!(std::pin::Pin::new(&mut first).poll(&mut std::task::Context::from_waker(&bomb)).is_pending());
    let other = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(drop).map_err(|error| error.verdict()) }
    });
    crate::waiting(&pool, 2).await;
    drop(held);
    let held = once(&mut first).await;
    assert!(held.is_ready());
    let mut first = pool.acquire();
    assert!(std::pin::Pin::new(&mut first).poll(&mut std::task::Context::from_waker(&bomb)).is_pending());
    assert_eq!(pool.close().await.still_held.len(), 1);
    assert_eq!(other.await.unwrap(), Err(pool_core::Verdict::Closed));
    drop(held);
    until("all is closed", || script.open() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_observer_whose_panic_or_whose_end_panics_does_not_end_the_others() {
    struct Sour(Payload);
    impl pool_core::Observer for Sour {
        fn on_event(&mut self, _: &pool_core::Event) {
            std::panic::panic_any(Payload);
        }
    }
    let (_, pool) = pool(settings(1, 0));
    let (tell, told) = mpsc::channel();
    pool.observe(Sour(Payload));
    pool.observe(move |event: &pool_core::Event| drop(tell.send(format!("{event:?}"))));
    for _ in 0..3 {
        pool.acquire().await.unwrap().discard();
        settled(&pool).await;
    }
    let heard: Vec<_> = told.iter().take(6).collect();
    assert_eq!(heard.iter().filter(|event| event.starts_with("Opened")).count(), 3);
}
