//! Asking for a connection: order, limits, refusals, cancellation.

use crate::{ms, once, pool, secs, settings, settled, waiting};
use pool_core::{
    CloseReason, MaxOverflow, Nested, TryAcquireError, Verdict,
    testing::{Call, Reply},
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn the_first_acquire_opens_a_connection_and_the_next_reuses_it() {
    let (script, pool) = pool(settings(2, 0));
    drop(pool.acquire().await.unwrap());
    let conn = pool.acquire().await.unwrap();
    assert_eq!(conn.id(), 1);
    assert_eq!(script.calls(), [Call::Connect]);
}

#[tokio::test(start_paused = true)]
async fn making_a_pool_opens_nothing() {
    let (script, pool) = pool(settings(5, 5).with_min_idle(2));
    sleep(secs(1)).await;
    assert_eq!(script.calls(), []);
    assert_eq!((pool.status().open, pool.status().idle), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn lifo_lends_the_last_returned_and_fifo_the_first() {
    for (lifo, expected) in [(true, 3), (false, 1)] {
        let (_, pool) = pool(settings(3, 0).with_pool_use_lifo(lifo));
        let conns = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
        conns.into_iter().for_each(drop); // 1, 2, 3 come home in this order
        assert_eq!(pool.acquire().await.unwrap().id(), expected, "lifo = {lifo}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_status_follows_sqlalchemys_arithmetic_to_the_digit() {
    // As its own suite: size 3, unlimited overflow; six out, three back, three back.
    let (_, pool) = pool(settings(3, 0).with_max_overflow(MaxOverflow::Unlimited));
    let tuple = || {
        let s = pool.status();
        (s.pool_size, s.idle, s.overflow, s.in_use)
    };
    let mut out = vec![];
    for expected in [(3, 0, 0, 1), (3, 0, 0, 2), (3, 0, 0, 3), (3, 0, 1, 4), (3, 0, 2, 5), (3, 0, 3, 6)] {
        out.push(pool.acquire().await.unwrap());
        assert_eq!(tuple(), expected);
    }
    out.drain(..3);
    assert_eq!(tuple(), (3, 3, 3, 3));
    out.clear();
    settled(&pool).await;
    assert_eq!(tuple(), (3, 3, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn overflow_is_closed_on_return_unless_someone_waits() {
    let (script, pool) = pool(settings(1, 1));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    drop(b); // handed over, not closed
    let b = waiter.await.unwrap();
    assert_eq!(b.id(), 2);
    drop((a, b));
    settled(&pool).await;
    assert_eq!(pool.status().open, 1);
    assert_eq!(pool.status().totals.closed_by.of(CloseReason::Overflow), 1);
    assert_eq!(script.most_open(), 2);
}

#[tokio::test(start_paused = true)]
async fn pool_size_zero_keeps_none_idle() {
    let (_, pool) = pool(settings(0, 2));
    drop(pool.acquire().await.unwrap());
    settled(&pool).await;
    assert_eq!((pool.status().idle, pool.status().open), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn overflow_that_may_linger_is_closed_when_its_time_is_up() {
    let (_, pool) = pool(settings(1, 1).with_overflow_linger(ms(200)));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop((a, b));
    sleep(ms(190)).await;
    assert_eq!(pool.status().idle, 2);
    sleep(ms(20)).await;
    settled(&pool).await;
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order_of_arrival() {
    let (_, pool) = pool(settings(1, 0));
    let held = pool.acquire().await.unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for i in 0..20 {
        let (there, tell) = (pool.clone(), tell.clone());
        tokio::spawn(async move {
            let _conn = there.acquire().await.unwrap();
            tell.send(i).unwrap();
        });
        waiting(&pool, i + 1).await;
    }
    drop(held);
    for expected in 0..20 {
        assert_eq!(told.recv().await, Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_a_waiter_that_has_not_collected_yet() {
    let (_, pool) = pool(settings(1, 0));
    let held = pool.acquire().await.unwrap();
    let mut first = pool.acquire();
    assert!(once(&mut first).await.is_pending());
    drop(held);
    assert_eq!(pool.try_acquire().unwrap_err(), TryAcquireError::Busy);
    assert!(once(&mut first).await.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_answers_at_the_limit_and_says_why() {
    let (_, pool) = pool(settings(1, 1).with_pool_timeout(ms(250)).with_name("primary"));
    let _held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    sleep(ms(100)).await;
    let start = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert_eq!(start.elapsed(), ms(250));
    assert_eq!(error.verdict(), Verdict::Exhausted);
    assert!(error.is_timeout());
    assert_eq!(error.retry_after(), Some(secs(1)));
    assert_eq!(error.holders()[0].count + error.holders().get(1).map_or(0, |h| h.count), 2);
    let text = error.to_string();
    for part in [
        "250ms",
        "pool primary",
        "size 1 overflow 1 reached",
        "in use 2 of 2",
        "acquire.rs",
        "350ms",
        "errors/exhausted",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
    assert_eq!(pool.status().totals.timeouts, 1);
}

#[tokio::test(start_paused = true)]
async fn an_explicit_limit_beats_pool_timeout_in_both_directions() {
    let (_, pool) = pool(settings(1, 0).with_pool_timeout(secs(5)));
    let _held = pool.acquire().await.unwrap();
    // Ending in another order than they began.
    let start = Instant::now();
    let end = |limit| {
        let pool = pool.clone();
        async move {
            let error = match limit {
                Some(limit) => pool.acquire_timeout(limit).await,
                None => pool.acquire().await,
            };
            (error.unwrap_err().verdict(), start.elapsed())
        }
    };
    let (long, usual, short, usual_again) = tokio::join!(end(Some(secs(9))), end(None), end(Some(ms(40))), end(None));
    let at = |d| (Verdict::Exhausted, d);
    assert_eq!((long, usual, short, usual_again), (at(secs(9)), at(secs(5)), at(ms(40)), at(secs(5))));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_zero_takes_what_is_there_and_never_waits() {
    let (_, pool) = pool(settings(1, 0));
    let start = Instant::now();
    assert!(pool.acquire_timeout(Duration::ZERO).await.unwrap_err().is_timeout());
    let held = pool.acquire().await.unwrap();
    assert!(pool.acquire_timeout(Duration::ZERO).await.is_err());
    drop(held);
    assert!(pool.acquire_timeout(Duration::ZERO).await.is_ok());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_limit_beyond_all_time_is_no_limit() {
    let (_, pool) = pool(settings(1, 0).with_pool_timeout(Duration::MAX));
    let held = pool.acquire().await.unwrap();
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    sleep(secs(400_000)).await;
    assert!(once(&mut waiter).await.is_pending());
    drop(held);
    assert!(waiter.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_queue_with_a_limit_refuses_the_next_at_once() {
    let (_, pool) = pool(settings(1, 0).with_max_waiting(Some(2)));
    let held = pool.acquire().await.unwrap();
    let (mut a, mut b) = (pool.acquire(), pool.acquire());
    assert!(once(&mut a).await.is_pending() && once(&mut b).await.is_pending());
    let start = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert_eq!((error.verdict(), start.elapsed()), (Verdict::Refused, Duration::ZERO));
    assert!(error.to_string().contains("max_waiting = 2"), "{error}");
    drop(held);
    assert!(a.await.is_ok() && b.await.is_ok());
    assert_eq!(pool.status().totals.refused, 1);
}

#[tokio::test(start_paused = true)]
async fn a_queue_with_a_limit_lets_a_cold_start_through() {
    let (script, pool) = pool(settings(5, 0).with_max_waiting(Some(0)));
    script.always_connect(Reply::ok().after(secs(1)));
    let burst = (0..5).map(|_| {
        tokio::spawn({
            let pool = pool.clone();
            async move { pool.acquire().await.map(drop) }
        })
    });
    for caller in burst.collect::<Vec<_>>() {
        assert!(caller.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn try_acquire_lends_what_is_idle_and_fresh_and_opens_nothing() {
    let (script, pool) = pool(settings(2, 0));
    assert_eq!(pool.try_acquire().unwrap_err(), TryAcquireError::Busy);
    drop(pool.acquire().await.unwrap());
    assert_eq!(pool.try_acquire().unwrap().id(), 1);
    sleep(secs(1)).await; // no longer fresh: lending it would need a ping
    assert_eq!(pool.try_acquire().unwrap_err(), TryAcquireError::Busy);
    assert_eq!(script.calls(), [Call::Connect]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_passes_its_connection_on() {
    let (_, pool) = pool(settings(1, 0));
    let held = pool.acquire().await.unwrap();
    let (mut first, mut second) = (pool.acquire(), pool.acquire());
    assert!(once(&mut first).await.is_pending() && once(&mut second).await.is_pending());
    drop(held); // granted to the first ..
    drop(first); // .. who does not want it any more
    assert_eq!(second.await.unwrap().id(), 1);
    assert_eq!(pool.status().totals.cancelled, 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_leaves_no_gap_in_the_queue() {
    let (_, pool) = pool(settings(1, 0));
    let held = pool.acquire().await.unwrap();
    let mut queue: Vec<_> = (0..5).map(|_| pool.acquire()).collect();
    for waiter in &mut queue {
        assert!(once(waiter).await.is_pending());
    }
    drop(queue.remove(2));
    assert_eq!(pool.status().waiting, 4);
    drop(held);
    for waiter in queue {
        drop(waiter.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_survives_the_caller_that_asked_for_it() {
    let (script, pool) = pool(settings(1, 0));
    script.on_connect([Reply::ok().after(secs(3))]);
    assert!(pool.acquire_timeout(secs(1)).await.is_err());
    sleep(secs(3)).await;
    assert_eq!(pool.status().idle, 1);
    assert_eq!(pool.acquire().await.unwrap().id(), 1);
    assert_eq!(script.count(|c| *c == Call::Connect), 1);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_was_never_polled_is_nobody() {
    let (script, pool) = pool(settings(1, 0));
    drop(pool.acquire());
    assert_eq!((pool.status().totals.cancelled, script.calls().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_holder_beyond_leak_after_makes_the_verdict_leaking() {
    let (_, pool) = pool(settings(1, 0).with_leak_after(Some(secs(60))));
    let _held = pool.acquire().await.unwrap();
    sleep(secs(61)).await;
    let error = pool.acquire_timeout(secs(1)).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::Leaking);
}

#[tokio::test(start_paused = true)]
async fn holders_are_grouped_by_site_with_the_longest_first() {
    let (_, pool) = pool(settings(3, 0));
    let _old = pool.acquire().await.unwrap();
    sleep(secs(2)).await;
    let mut young = vec![];
    for _ in 0..2 {
        young.push(pool.acquire().await.unwrap());
    }
    let holders = pool.holders();
    assert_eq!(holders.iter().map(|h| (h.count, h.longest)).collect::<Vec<_>>(), [(1, secs(2)), (2, secs(0))]);
    assert!(holders[0].site.file().ends_with("acquire.rs"));
    assert!(holders[0].site.line() < holders[1].site.line());
}

#[tokio::test(start_paused = true)]
async fn try_acquire_finds_a_fresh_connection_beside_one_that_is_not() {
    // Returned in this order: one that needs a test, and one that does not. Each order of lending would look at another one first.
    for lifo in [true, false] {
        let (script, pool) = pool(settings(2, 0).with_pool_use_lifo(lifo));
        let (stale, fresh) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        drop(stale);
        sleep(secs(1)).await;
        drop(fresh);
        assert_eq!(pool.try_acquire().map(|conn| conn.id()), Ok(2));
        assert_eq!(script.count(|c| matches!(c, Call::Ping(_))), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn try_acquire_says_what_acquire_would_say() {
    let (_, pool) = pool(settings(2, 0).with_nested(Nested::Deny));
    let (outer, spare) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop(spare);
    let there = pool.clone();
    let inside = outer.hold().during(async move { (there.try_acquire().map(drop), there.acquire().await.map(drop)) });
    let (tried, asked) = inside.await;
    assert_eq!((tried, asked.unwrap_err().verdict()), (Err(TryAcquireError::Nested), Verdict::Nested));
    assert!(pool.try_acquire().is_ok(), "outside it is lent");
    for (verdict, why) in [
        (Verdict::Exhausted, TryAcquireError::Busy),
        (Verdict::Paused, TryAcquireError::Paused),
        (Verdict::Closed, TryAcquireError::Closed),
        (Verdict::Nested, TryAcquireError::Nested),
    ] {
        pool.inject(verdict);
        assert_eq!(pool.try_acquire().map(drop), Err(why));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_collected_in_time_goes_to_the_next_caller() {
    let (_, pool) = pool(settings(1, 0));
    let held = pool.acquire().await.unwrap();
    let mut lazy = pool.acquire_timeout(secs(1));
    let mut next = pool.acquire_timeout(secs(5));
    assert!(once(&mut lazy).await.is_pending() && once(&mut next).await.is_pending());
    drop(held); // granted to the first, which does not come for it
    let start = Instant::now();
    let conn = next.await.unwrap();
    assert_eq!((conn.id(), start.elapsed()), (1, secs(1)));
    drop(conn);
    let std::task::Poll::Ready(Err(error)) = once(&mut lazy).await else { panic!("it came too late") };
    assert!(error.is_timeout(), "{error}");
    assert_eq!((pool.status().totals.timeouts, pool.status().in_use, pool.status().idle), (1, 0, 1));
    // Nobody waits: it is idle again, and the caller that leaves loses nothing.
    let held = pool.acquire().await.unwrap();
    let mut lazy = pool.acquire_timeout(secs(1));
    assert!(once(&mut lazy).await.is_pending());
    drop(held);
    assert_eq!(pool.status().in_use, 1);
    sleep(ms(1_001)).await;
    assert_eq!((pool.status().in_use, pool.status().idle), (0, 1));
    drop(lazy);
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_collects_within_its_time_has_its_connection_whatever_else_happens() {
    let (_, pool) = pool(settings(2, 0));
    let (a, _b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let mut waiter = pool.acquire_timeout(secs(2));
    assert!(once(&mut waiter).await.is_pending());
    drop(a);
    sleep(ms(1_900)).await;
    assert!(pool.acquire_timeout(ms(50)).await.is_err(), "it is granted to another");
    assert_eq!(waiter.await.unwrap().id(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_limit_may_be_as_long_as_a_duration_can_be() {
    let max = Duration::MAX;
    let limits = settings(2, 1)
        .with_pool_timeout(max)
        .with_connection_timeout(max)
        .with_pool_recycle(max)
        .with_pre_ping_after(max)
        .with_ping_timeout(max)
        .with_idle_timeout(max)
        .with_keepalive(max)
        .with_overflow_linger(max)
        .with_reset_timeout(max)
        .with_slow_acquire(max)
        .with_leak_after(max)
        .with_shutdown_grace(max);
    let (_, pool) = pool(limits);
    pool.connect_with(pool_core::Startup::WaitUpTo(max)).await.unwrap();
    let (a, b, c) =
        (pool.acquire().await.unwrap(), pool.acquire_timeout(max).await.unwrap(), pool.acquire().await.unwrap());
    let mut waiter = pool.acquire_timeout(max);
    assert!(once(&mut waiter).await.is_pending());
    sleep(secs(3600)).await;
    drop(a);
    let mut again = waiter.await.unwrap();
    again.set_condition(pool_core::Condition::Dirty);
    drop((again, b, c));
    settled(&pool).await;
    assert_eq!(pool.status().idle, 3);
    assert_eq!(pool.close().await.closed, 3);
}
