//! Closing: callers are turned away, users are awaited, and what remains is reported.

use crate::{once, pool, secs, settings, settled, until, waiting};
use pool_core::{
    CloseReason, Condition, ErrorClass, Manager, Pool, TryAcquireError, Verdict,
    testing::{Call, Reply, Script, ScriptConn, ScriptError},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn close_turns_waiters_away_closes_idle_ones_and_awaits_users() {
    let (script, pool) = pool(settings(2, 0));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop(a);
    let a = pool.acquire().await.unwrap();
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(drop) }
    });
    waiting(&pool, 1).await;
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    assert_eq!(waiter.await.unwrap().unwrap_err().verdict(), Verdict::Closed);
    sleep(secs(3)).await;
    drop((a, b));
    let report = closing.await.unwrap();
    assert_eq!((report.closed, report.still_held.len(), report.abandoned), (2, 0, 0));
    assert_eq!(script.open(), 0);
    assert_eq!(pool.status().totals.closed_by.of(CloseReason::Shutdown), 2);
    assert_eq!(pool.acquire().await.unwrap_err().retry_after(), None);
    assert_eq!(pool.try_acquire().unwrap_err(), TryAcquireError::Closed);
}

#[tokio::test(start_paused = true)]
async fn close_ends_with_the_grace_and_names_who_still_holds_what() {
    let (script, pool) = pool(settings(2, 0).with_shutdown_grace(secs(5)));
    let held = pool.acquire().await.unwrap();
    let start = Instant::now();
    let report = pool.close().await;
    assert_eq!(start.elapsed(), secs(5));
    assert_eq!(report.still_held.len(), 1);
    assert!(report.to_string().contains("shutdown.rs"), "{report}");
    drop(held); // late, and closed all the same
    until("the last connection is closed", || script.open() == 0).await;
    assert_eq!(script.count(|c| matches!(c, Call::Close(_))), 1);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_hangs_does_not_hold_up_the_end() {
    let (script, pool) = pool(settings(1, 0));
    script.always_close(Reply::hang());
    drop(pool.acquire().await.unwrap());
    let start = Instant::now();
    let report = pool.close().await;
    assert_eq!((start.elapsed(), report.abandoned), (secs(1), 1));
}

#[tokio::test(start_paused = true)]
async fn closing_twice_and_closing_an_unused_pool_end_at_once() {
    let (_, pool) = pool(settings(1, 0));
    let start = Instant::now();
    assert_eq!(pool.close().await.closed, 0);
    assert_eq!(pool.close().await.closed, 0);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn two_that_close_at_once_both_see_the_end() {
    let (_, pool) = pool(settings(1, 0));
    let held = pool.acquire().await.unwrap();
    let closers: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn({
                let pool = pool.clone();
                async move { pool.close().await }
            })
        })
        .collect();
    until("the pool is closed", || pool.is_closed()).await;
    drop(held);
    for closer in closers {
        assert_eq!(closer.await.unwrap().still_held, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_under_way_does_not_hold_up_the_end() {
    let (script, pool) = pool(settings(1, 0));
    script.on_connect([Reply::hang()]);
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    until("the connect begins", || pool.status().opening == 1).await;
    drop(waiter);
    let start = Instant::now();
    assert_eq!(pool.close().await.closed, 0);
    assert_eq!((start.elapsed(), pool.status().opening, script.open()), (Duration::ZERO, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_was_due_does_not_hold_up_the_end() {
    let (script, pool) = pool(settings(1, 0));
    drop(pool.acquire().await.unwrap());
    sleep(secs(1)).await;
    script.always_ping(Reply::hang());
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending(), "a ping is to be made for it");
    let start = Instant::now();
    assert_eq!(pool.close().await.closed, 1);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_the_pool_behind_its_users() {
    let (script, pool) = pool(settings(3, 0));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop(a);
    drop(pool);
    until("the idle one is closed", || script.open() == 1).await;
    drop(b);
    until("the last one is closed", || script.open() == 0).await;
    assert_eq!(script.count(|c| matches!(c, Call::Close(_))), 2);
}

/// A manager that tells when it is gone, and with it all that held it: driver, jobs, guards.
struct Telltale(Script, #[expect(dead_code, reason = "counts")] Arc<()>);

impl Manager for Telltale {
    type Conn = ScriptConn;
    type Error = ScriptError;
    async fn connect(&self) -> Result<ScriptConn, ScriptError> {
        self.0.connect().await
    }
    async fn ping(&self, conn: &mut ScriptConn) -> Result<(), ScriptError> {
        self.0.ping(conn).await
    }
    async fn reset(&self, conn: &mut ScriptConn) -> Result<(), ScriptError> {
        self.0.reset(conn).await
    }
    async fn close(&self, conn: ScriptConn) {
        self.0.close(conn).await;
    }
    fn condition(&self, conn: &mut ScriptConn) -> Condition {
        self.0.condition(conn)
    }
    fn classify(&self, error: &ScriptError) -> ErrorClass {
        self.0.classify(error)
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_outlives_the_last_handle_and_the_last_guard() {
    // Found by the schedule explorer: the driver was not told that the last connection had closed, and stayed for ever.
    for guard_last in [true, false] {
        let life = Arc::new(());
        let pool = Pool::new(Telltale(Script::new(), Arc::clone(&life)), settings(2, 0)).expect("good settings");
        let (idle, held) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        drop(idle);
        if guard_last {
            drop(pool);
            drop(held);
        } else {
            drop(held);
            drop(pool);
        }
        until("the manager is gone", || Arc::strong_count(&life) == 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_random_cancellations_lose_nothing() {
    let (script, pool) = pool(settings(3, 2));
    script.always_connect(Reply::ok().after(Duration::from_millis(3)));
    let mut dice = 7u64;
    let mut tasks = vec![];
    for _ in 0..1_000 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (limit, hold) = (dice >> 60, dice >> 56 & 7);
        let pool = pool.clone();
        tasks.push(tokio::spawn(async move {
            let work = async {
                let _conn = pool.acquire().await.unwrap();
                sleep(Duration::from_millis(hold)).await;
            };
            drop(tokio::time::timeout(Duration::from_millis(limit), work).await);
        }));
        if dice >> 50 & 3 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    sleep(secs(1)).await;
    settled(&pool).await;
    let s = pool.status();
    assert_eq!((s.in_use, s.waiting), (0, 0));
    assert_eq!(s.idle, s.open);
    assert_eq!(s.totals.acquired, s.totals.released);
    // All five slots can be used at once again.
    let mut all = vec![];
    for _ in 0..5 {
        all.push(pool.acquire().await.unwrap());
    }
    drop(all);
    assert_eq!(pool.close().await.still_held, []);
    assert_eq!(script.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_report_counts_what_is_still_being_closed_or_cleaned_when_the_grace_ends() {
    let limits = settings(3, 0).with_reset_timeout(secs(60)).with_shutdown_grace(secs(2));
    let (script, pool) = pool(limits);
    let (a, mut b, c) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    script.on_close([Reply::ok().after(secs(30))]);
    script.on_reset([Reply::hang()]);
    b.set_condition(Condition::Dirty);
    drop((a, b));
    until("one is being cleaned", || pool.status().resetting == 1).await;
    let report = pool.close().await;
    assert_eq!((report.closed, report.abandoned, report.still_held.len()), (0, 2, 1), "{report}");
    assert_eq!(
        report.to_string(),
        format!("closed 0 connections, 2 not closed in time; still held: {}", report.still_held[0])
    );
    drop(c);
    sleep(secs(70)).await;
    assert_eq!((pool.status().open, script.open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_report_names_the_caller_that_was_granted_a_connection() {
    let (_, pool) = pool(settings(1, 0).with_shutdown_grace(secs(2)));
    let held = pool.acquire().await.unwrap();
    let mut waiter = pool.acquire_at(pool_core::Site::named("lazy"), None);
    assert!(once(&mut waiter).await.is_pending());
    drop(held);
    assert_eq!(pool.holders().first().map(|holder| (holder.site.name(), holder.count)), Some((Some("lazy"), 1)));
    let report = pool.close().await;
    assert_eq!((report.closed, report.abandoned), (0, 0));
    assert_eq!(report.still_held.iter().map(|holder| holder.site.name()).collect::<Vec<_>>(), [Some("lazy")]);
}
