//! Coming home: clean, dirty, broken, old, too many.

use crate::{ms, once, pool, secs, settings, settled, until};
use pool_core::{
    CloseReason, Condition, ErrorClass, Health,
    testing::{Call, Reply},
};
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_clean_return_costs_no_call() {
    let (script, pool) = pool(settings(1, 0));
    for _ in 0..100 {
        drop(pool.acquire().await.unwrap());
    }
    assert_eq!(script.calls(), [Call::Connect]);
    assert_eq!((pool.status().totals.acquired, pool.status().totals.released), (100, 100));
}

#[tokio::test(start_paused = true)]
async fn a_dirty_return_is_reset_before_the_next_user_sees_it() {
    let (script, pool) = pool(settings(1, 0));
    let mut conn = pool.acquire().await.unwrap();
    conn.set_condition(Condition::Dirty);
    drop(conn);
    assert_eq!(pool.status().resetting, 1);
    assert_eq!(pool.acquire().await.unwrap().id(), 1);
    assert_eq!(script.calls(), [Call::Connect, Call::Reset(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_hangs_ends_at_its_limit_and_the_connection_is_closed() {
    let (script, pool) = pool(settings(1, 0));
    let mut conn = pool.acquire().await.unwrap();
    conn.set_condition(Condition::Dirty);
    script.on_reset([Reply::hang()]);
    drop(conn);
    let start = Instant::now();
    let fresh = pool.acquire().await.unwrap();
    assert_eq!((fresh.id(), start.elapsed()), (2, secs(1)));
    assert_eq!(pool.status().totals.closed_by.of(CloseReason::ResetFailed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_fails_closes_the_connection() {
    let (script, pool) = pool(settings(1, 0));
    let mut conn = pool.acquire().await.unwrap();
    conn.set_condition(Condition::Dirty);
    script.on_reset([Reply::fail(ErrorClass::Other, "aborted")]);
    drop(conn);
    assert_eq!(pool.acquire().await.unwrap().id(), 2);
    assert_eq!(pool.status().health, Health::Warm);
}

#[tokio::test(start_paused = true)]
async fn a_slot_stays_taken_until_its_close_has_ended() {
    let (script, pool) = pool(settings(1, 0));
    let conn = pool.acquire().await.unwrap();
    script.on_close([Reply::ok().after(ms(700))]);
    conn.discard();
    let start = Instant::now();
    let fresh = pool.acquire().await.unwrap();
    assert_eq!((fresh.id(), start.elapsed()), (2, ms(700)));
    assert_eq!(script.most_open(), 1, "the server never saw two");
    assert_eq!(pool.status().abandoned, 0);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_hangs_frees_its_slot_at_the_limit_and_is_counted() {
    let (script, pool) = pool(settings(1, 0));
    script.on_close([Reply::hang()]);
    pool.acquire().await.unwrap().discard();
    let start = Instant::now();
    drop(pool.acquire().await.unwrap());
    assert_eq!(start.elapsed(), secs(1));
    assert_eq!(pool.status().abandoned, 1);
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_replaced_when_it_comes_home_and_never_under_its_user() {
    let (_, pool) = pool(settings(1, 0).with_pool_recycle(Some(secs(100))));
    let conn = pool.acquire().await.unwrap();
    sleep(secs(150)).await;
    assert_eq!(pool.status().in_use, 1);
    drop(conn);
    settled(&pool).await;
    assert_eq!(pool.status().totals.closed_by.of(CloseReason::Recycled), 1);
    assert_eq!(pool.acquire().await.unwrap().id(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_swept_when_its_age_ends() {
    let (_, pool) = pool(settings(1, 0).with_pool_recycle(Some(secs(100))));
    drop(pool.acquire().await.unwrap());
    sleep(secs(89)).await;
    assert_eq!(pool.status().open, 1, "the jitter takes 10 % at most");
    sleep(secs(12)).await;
    settled(&pool).await;
    assert_eq!(pool.status().open, 0);
}

#[tokio::test(start_paused = true)]
async fn ages_are_spread_so_that_they_do_not_all_end_together() {
    let (_, pool) = pool(settings(20, 0).with_pool_recycle(Some(secs(1000))));
    let mut all = vec![];
    for _ in 0..20 {
        all.push(pool.acquire().await.unwrap());
    }
    drop(all);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..110 {
        sleep(secs(10)).await;
        seen.insert(pool.status().open);
    }
    assert!(seen.len() > 5, "they ended in {} steps", seen.len());
    assert_eq!(pool.status().open, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unused_connection_is_closed_after_idle_timeout() {
    let (_, pool) = pool(settings(3, 0).with_idle_timeout(Some(secs(240))).with_leak_after(None));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop(a);
    sleep(secs(100)).await;
    drop(b);
    sleep(secs(141)).await;
    settled(&pool).await;
    assert_eq!(pool.status().open, 1, "the first has been idle for 241 s, the second for 141 s");
    sleep(secs(100)).await;
    settled(&pool).await;
    assert_eq!(pool.status().totals.closed_by.of(CloseReason::Idle), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_replaced_after_max_uses() {
    let (_, pool) = pool(settings(1, 0).with_max_uses(Some(2)));
    let mut ids = vec![];
    for _ in 0..5 {
        ids.push(pool.acquire().await.unwrap().id());
    }
    assert_eq!(ids, [1, 1, 2, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn invalidate_replaces_every_connection_and_disturbs_nobody() {
    let (_, pool) = pool(settings(2, 0));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop(a);
    pool.invalidate();
    settled(&pool).await;
    assert_eq!((pool.status().idle, pool.status().in_use), (0, 1));
    drop(b);
    settled(&pool).await;
    assert_eq!(pool.status().open, 0);
    assert_eq!(pool.acquire().await.unwrap().id(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_connect_begun_before_invalidate_is_replaced_too() {
    let (script, pool) = pool(settings(1, 0));
    script.on_connect([Reply::ok().after(secs(1))]);
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    until("the connect begins", || pool.status().opening == 1).await;
    pool.invalidate();
    assert_eq!(waiter.await.unwrap().id(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_detached_connection_is_out_of_the_pool_for_good() {
    let (script, pool) = pool(settings(1, 0));
    let own = pool.acquire().await.unwrap().detach();
    assert_eq!((pool.status().open, script.open()), (0, 1));
    assert_eq!(pool.acquire().await.unwrap().id(), 2);
    drop(own);
    assert_eq!(script.count(|c| matches!(c, Call::Close(_))), 0);
}

#[tokio::test(start_paused = true)]
async fn open_is_opened_minus_closed_at_every_step() {
    let (script, pool) = pool(settings(2, 2));
    script.on_close([Reply::hang(), Reply::ok().after(ms(300))]);
    let check = || {
        let s = pool.status();
        assert_eq!(s.totals.opened - s.totals.closed(), u64::from(s.open));
        assert_eq!(s.idle + s.in_use + s.pinging + s.resetting + s.closing, s.open);
        assert!(s.open + s.opening <= 4);
    };
    let mut out = vec![];
    for _ in 0..4 {
        out.push(pool.acquire().await.unwrap());
        check();
    }
    out[0].set_condition(Condition::Dirty);
    while let Some(conn) = out.pop() {
        drop(conn);
        check();
    }
    for _ in 0..20 {
        sleep(ms(100)).await;
        check();
    }
}

#[tokio::test(start_paused = true)]
async fn a_tested_connection_comes_back_only_where_there_is_room() {
    // A keepalive ping under way, and meanwhile the overflow connection comes home.
    let (script, pool) = pool(settings(1, 1).with_keepalive(secs(10)));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop(a);
    script.on_ping([Reply::ok().after(ms(500))]);
    until_pinging(&pool).await;
    drop(b);
    sleep(secs(1)).await;
    settled(&pool).await;
    assert_eq!((pool.status().idle, pool.status().open), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_ping_nobody_wants_any_more_is_not_made_and_breaks_no_limit() {
    let (script, pool) = pool(settings(1, 1));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop(a);
    sleep(secs(1)).await;
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    drop(waiter); // before the driver began the ping ..
    drop(b); // .. and the other one comes home first
    settled(&pool).await;
    assert_eq!((pool.status().idle, pool.status().open), (1, 1));
    assert_eq!(script.count(|c| matches!(c, Call::Ping(_))), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_being_tested_is_invalidated_like_any_other() {
    let (_, pool) = pool(settings(1, 1));
    drop(pool.acquire().await.unwrap());
    sleep(secs(1)).await;
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    drop(waiter);
    pool.invalidate();
    settled(&pool).await;
    assert_eq!(pool.acquire().await.unwrap().id(), 2);
}

async fn until_pinging(pool: &pool_core::Pool<pool_core::testing::Script>) {
    while pool.status().pinging == 0 {
        sleep(ms(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn min_idle_does_not_idle_out() {
    let (script, pool) = pool(settings(5, 0).with_min_idle(2).with_idle_timeout(secs(10)));
    let all = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    drop(all);
    sleep(secs(300)).await;
    settled(&pool).await;
    assert_eq!(pool.status().idle, 2);
    let dialled = script.count(|c| *c == Call::Connect);
    assert!(dialled <= 5, "{dialled} connects for nobody");
}

#[tokio::test(start_paused = true)]
async fn a_release_at_the_instant_of_a_deadline_loses_neither() {
    for early in [ms(0), ms(1)] {
        let (_, pool) = pool(settings(1, 0));
        let held = pool.acquire().await.unwrap();
        let waiter = tokio::spawn({
            let pool = pool.clone();
            async move { pool.acquire_timeout(ms(100)).await.map(drop) }
        });
        sleep(ms(100) - early).await;
        drop(held);
        let served = waiter.await.unwrap();
        assert!(served.is_ok() || early.is_zero(), "1 ms is time enough");
        settled(&pool).await;
        let s = pool.status();
        assert_eq!((s.idle, s.in_use, s.waiting), (1, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_keepalive_ping_that_served_a_caller_leaves_no_mark() {
    let (script, pool) = pool(settings(1, 0).with_keepalive(secs(10)));
    drop(pool.acquire().await.unwrap());
    script.on_ping([Reply::ok().after(ms(500))]);
    while script.calls().len() == 1 {
        sleep(ms(1)).await;
    }
    drop(pool.acquire().await.unwrap()); // served by that ping
    sleep(secs(1)).await;
    // A ping for a caller that leaves before it begins is not made.
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    drop(waiter);
    settled(&pool).await;
    assert_eq!(script.count(|call| matches!(call, Call::Ping(_))), 1);
}
