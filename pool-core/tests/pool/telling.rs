//! What the pool tells: timelines, distributions, keepalive.

use crate::{ms, once, pool, secs, settings, settled};
use pool_core::{
    ErrorClass, Event, Site, Step,
    testing::{Call, Reply},
};
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn a_failed_acquire_tells_its_story_in_order() {
    let (script, pool) = pool(settings(1, 0).with_pool_timeout(secs(2)));
    drop(pool.acquire().await.unwrap());
    sleep(secs(10)).await;
    script.on_ping([Reply::hang()]);
    script.always_connect(Reply::fail(ErrorClass::Transient, "connection refused"));
    let error = pool.acquire().await.unwrap_err();
    let steps: Vec<_> = error.timeline().iter().map(|moment| &moment.step).collect();
    assert_eq!(steps[..4], [&Step::Queued, &Step::PingBegan, &Step::PingFailed, &Step::ConnectBegan]);
    assert_eq!(*steps[4], Step::ConnectFailed("connection refused".into()));
    assert_eq!(*steps[steps.len() - 1], Step::GaveUp);
    assert_eq!(error.timeline()[2].after, secs(1));
    assert_eq!(error.timeline().last().unwrap().after, secs(2));
    assert!(error.timeline().is_sorted_by_key(|moment| moment.after));
    assert!(error.story().starts_with("+0ms queued, +0ms pinging, +1s ping failed"), "{}", error.story());
}

#[tokio::test(start_paused = true)]
async fn the_story_of_an_exhausted_pool_is_short() {
    let (_, pool) = pool(settings(1, 0).with_pool_timeout(secs(1)));
    let _held = pool.acquire().await.unwrap();
    let error = pool.acquire().await.unwrap_err();
    assert_eq!(error.story(), "+0ms queued, +1s gave up");
}

#[tokio::test(start_paused = true)]
async fn distributions_know_waits_holds_connects_and_pings() {
    let (script, pool) = pool(settings(1, 0));
    script.on_connect([Reply::ok().after(ms(40))]);
    let held = pool.acquire().await.unwrap(); // waits 40 ms for its connect
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    sleep(ms(100)).await;
    drop(held); // held 100 ms
    drop(waiter.await.unwrap()); // waited 100 ms
    drop(pool.acquire().await.unwrap()); // at once
    sleep(secs(1)).await;
    script.on_ping([Reply::ok().after(ms(7))]);
    drop(pool.acquire().await.unwrap()); // waits for the ping
    let t = pool.timings();
    assert_eq!((t.acquire_wait.count(), t.hold.count(), t.connect.count(), t.ping.count()), (4, 4, 1, 1));
    let near = |found: Option<Duration>, exact: u64| {
        let found = found.unwrap();
        assert!(found >= ms(exact) && found <= ms(exact + exact / 4 + 2), "{found:?} is not about {exact} ms");
    };
    near(t.acquire_wait.quantile(1.0), 100);
    near(t.acquire_wait.quantile(0.75), 40);
    assert_eq!(t.acquire_wait.quantile(0.25), Some(Duration::ZERO));
    near(t.hold.quantile(1.0), 100);
    near(t.connect.quantile(0.5), 40);
    near(t.ping.quantile(0.5), 7);
}

#[tokio::test(start_paused = true)]
async fn those_that_found_everything_in_use_are_told_from_those_that_waited_for_something_else() {
    let (script, pool) = pool(settings(1, 1).with_pool_timeout(secs(1)));
    script.on_connect([Reply::ok().after(ms(40)), Reply::ok().after(ms(40))]);
    let found_full = || (pool.status().totals.waited, pool.status().totals.found_full);
    let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    assert_eq!(found_full(), (2, 0), "they waited for connects");
    pool.acquire().await.unwrap_err();
    pool.acquire_timeout(Duration::ZERO).await.unwrap_err();
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    assert_eq!(found_full(), (2, 3), "whatever becomes of them");
    drop(held);
    drop(waiter.await.unwrap());
    drop(pool.acquire().await.unwrap());
    assert_eq!(found_full(), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_kept_alive_a_little_early_and_not_all_at_once() {
    let (script, pool) = pool(settings(10, 0).with_keepalive(secs(100)));
    let mut all = vec![];
    for _ in 0..10 {
        all.push(pool.acquire().await.unwrap());
    }
    drop(all);
    let pings = || script.count(|c| matches!(c, Call::Ping(_)));
    sleep(secs(79)).await;
    assert_eq!(pings(), 0, "the jitter takes 20 % at most");
    sleep(secs(10)).await;
    assert!((1..10).contains(&pings()), "{} of ten after 89 s", pings());
    sleep(secs(12)).await;
    assert!(pings() >= 10, "{} of ten after 101 s", pings());
    settled(&pool).await;
    assert_eq!(pool.status().idle, 10);
}

#[tokio::test(start_paused = true)]
async fn keeping_alive_does_not_keep_from_idling_out_and_does_not_change_the_order() {
    let (script, pool) = pool(settings(3, 0).with_keepalive(secs(50)).with_idle_timeout(secs(200)));
    let (a, b, c) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    for conn in [a, b, c] {
        drop(conn); // 1, 2, 3
        sleep(ms(10)).await;
    }
    sleep(secs(120)).await;
    assert!(script.count(|c| matches!(c, Call::Ping(_))) >= 6);
    assert_eq!(pool.acquire().await.unwrap().id(), 3, "still the last that was used");
    sleep(secs(90)).await;
    settled(&pool).await;
    assert_eq!(pool.status().open, 1, "the two that nobody used are gone");
}

#[tokio::test(start_paused = true)]
async fn a_keepalive_that_finds_a_dead_connection_retires_the_others() {
    let (script, pool) = pool(settings(2, 0).with_keepalive(secs(100)));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop((a, b));
    script.always_ping(Reply::hang());
    sleep(secs(110)).await;
    settled(&pool).await;
    assert_eq!(pool.status().open, 0);
}

/// What an observer was told, and a way to wait for it.
pub(crate) fn observed(pool: &pool_core::Pool<pool_core::testing::Script>) -> std::sync::mpsc::Receiver<Event> {
    let (tell, told) = std::sync::mpsc::channel();
    pool.observe(move |event: &Event| drop(tell.send(event.clone())));
    told
}

/// Closes the pool and lets its tasks go, so that the observers' thread ends.
pub(crate) async fn end(pool: pool_core::Pool<pool_core::testing::Script>) {
    drop(pool.close().await);
    drop(pool);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn observers_are_told_in_the_order_of_the_events() {
    let (script, pool) = pool(settings(1, 0).with_leak_after(secs(60)));
    let told = observed(&pool);
    script.on_connect([Reply::fail(ErrorClass::Transient, "connection refused")]);
    let conn = pool.acquire().await.unwrap();
    sleep(secs(61)).await;
    drop(conn);
    pool.invalidate();
    settled(&pool).await;
    end(pool).await;
    let kinds: Vec<_> =
        told.iter().map(|event| format!("{event:?}").split([' ', '{']).next().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["ConnectFailed", "Opened", "Leak", "LeakReturned", "Closed"]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_or_blocks_disturbs_neither_the_pool_nor_the_others() {
    let (_, pool) = pool(settings(1, 0).with_max_uses(1));
    pool.observe(|_: &Event| panic!("an observer's own fault"));
    let told = observed(&pool);
    let (let_go, block) = std::sync::mpsc::channel::<()>();
    pool.observe(move |_: &Event| assert!(block.recv().is_err()));
    for _ in 0..2_000 {
        drop(pool.acquire().await.unwrap()); // opens and closes one each time: 4,000 events
        settled(&pool).await;
    }
    drop(let_go);
    end(pool).await;
    let events: Vec<_> = told.iter().collect();
    assert!(matches!(events[0], Event::Opened { .. }), "{:?}", events[0]);
    let lost: u64 = events.iter().map(|event| if let Event::Lost { events } = event { *events } else { 0 }).sum();
    assert_eq!(lost + events.iter().filter(|e| !matches!(e, Event::Lost { .. })).count() as u64, 4_000);
}

#[tokio::test(start_paused = true)]
async fn a_slow_acquire_is_told_with_its_story() {
    let (script, pool) = pool(settings(1, 0));
    let told = observed(&pool);
    script.on_connect([Reply::ok().after(secs(3))]);
    drop(pool.acquire().await.unwrap());
    drop(pool.acquire().await.unwrap());
    end(pool).await;
    let slow: Vec<_> = told.iter().filter(|event| matches!(event, Event::SlowAcquire { .. })).collect();
    let [Event::SlowAcquire { waited, timeline, .. }] = &slow[..] else { panic!("{slow:?}") };
    assert_eq!((*waited, timeline.len()), (secs(3), 4));
}

#[tokio::test(start_paused = true)]
async fn sites_are_told_how_long_they_held() {
    let (_, pool) = pool(settings(2, 0));
    for (name, held) in [("quick", 1), ("slow", 5), ("slow", 7)] {
        let conn = pool.acquire_at(Site::nowhere(name), None).await.unwrap();
        sleep(secs(held)).await;
        drop(conn);
    }
    let told: Vec<_> = pool.sites().iter().map(|s| (s.site.name().unwrap(), s.hold.count(), s.hold.sum())).collect();
    assert_eq!(told, [("slow", 2, secs(12)), ("quick", 1, secs(1))]);
    assert_eq!(pool.timings().hold.sum(), secs(13));
}

#[tokio::test(start_paused = true)]
async fn a_weak_handle_neither_keeps_a_pool_nor_brings_it_back() {
    let (script, pool) = pool(settings(1, 0));
    let weak = pool.downgrade();
    drop(pool.acquire().await.unwrap());
    let again = weak.upgrade().expect("there is a handle");
    drop(pool);
    drop(again.acquire().await.unwrap());
    let conn = again.acquire().await.unwrap();
    drop(again);
    for _ in 0..3 {
        assert!(weak.upgrade().is_none(), "a guard is no handle");
    }
    drop(conn);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(script.calls().last(), Some(Call::Close(_))), "{:?}", script.calls());
}

#[tokio::test(start_paused = true)]
async fn a_pool_knows_how_long_it_was_full_and_how_many_were_in_use_at_most() {
    let (_, pool) = pool(settings(2, 1));
    let begin = pool.status().sized;
    let one = pool.acquire().await.unwrap();
    sleep(secs(10)).await;
    let (two, three) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    sleep(secs(4)).await;
    assert_eq!(pool.status().full, secs(4), "it counts while it lasts");
    drop((two, three));
    sleep(secs(5)).await;
    let status = pool.status();
    assert_eq!((status.peak, status.full, status.sized - begin), (3, secs(4), secs(19)));
    pool.reconfigure(|settings| settings.with_pool_size(1).with_max_overflow(0)).unwrap();
    sleep(secs(1)).await;
    drop(one);
    sleep(secs(1)).await;
    let status = pool.status();
    assert_eq!((status.peak, status.full, status.sized), (1, secs(1), secs(2)), "another size, another count");
}
