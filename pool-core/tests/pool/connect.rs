//! Opening connections: outside the caller, a few at a time, retried when waiting can help.

use crate::{burst, ms, once, pool, secs, settings, settled, until};
use pool_core::{
    ErrorClass, Health, Verdict,
    testing::{Call, Reply},
};
use std::{task::Poll, time::Duration};
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn fifteen_callers_survive_a_database_that_needs_eight_seconds_to_wake() {
    let (script, pool) = pool(settings(10, 5));
    // Whatever is dialled while it sleeps is answered when it wakes; later connects are quick.
    script.on_connect((0..4).map(|_| Reply::ok().after(secs(8))));
    script.always_connect(Reply::ok().after(ms(5)));
    let start = Instant::now();
    for answer in burst(&pool, 15).await {
        answer.unwrap();
    }
    assert!(start.elapsed() < ms(8_100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_more_connects_than_allowed_are_under_way() {
    let (script, pool) = pool(settings(10, 0).with_connect_concurrency(3));
    script.always_connect(Reply::ok().after(secs(1)));
    let mut callers: Vec<_> = (0..10).map(|_| pool.acquire()).collect();
    for caller in &mut callers {
        assert!(once(caller).await.is_pending());
    }
    until("three connects begin", || script.calls().len() == 3).await;
    assert_eq!(pool.status().opening, 3);
    for caller in callers {
        drop(caller.await.unwrap());
        assert!(pool.status().opening <= 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_takes_the_first_of_a_returned_and_a_new_connection() {
    let (script, pool) = pool(settings(2, 0));
    let held = pool.acquire().await.unwrap();
    script.on_connect([Reply::ok().after(secs(5))]);
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    until("a connect begins", || pool.status().opening == 1).await;
    drop(held);
    assert_eq!(waiter.await.unwrap().id(), 1);
    sleep(secs(6)).await; // the connect that nobody needs any more is kept
    assert_eq!((pool.status().idle, pool.status().open), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_need_that_has_gone_opens_nothing() {
    let (script, pool) = pool(settings(10, 0).with_connect_concurrency(1));
    script.always_connect(Reply::ok().after(secs(1)));
    // Five callers, one connect at a time; each connection serves the next within the same second.
    for answer in burst(&pool, 5).await {
        answer.unwrap();
    }
    sleep(secs(5)).await;
    settled(&pool).await;
    assert!(script.calls().len() <= 2, "{:?}", script.calls());
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_hangs_is_overtaken_by_a_second_one() {
    let (script, pool) = pool(settings(10, 0));
    script.on_connect([Reply::hang(), Reply::ok().after(ms(20))]);
    let start = Instant::now();
    let conn = pool.acquire().await.unwrap();
    assert_eq!(start.elapsed(), ms(2_020)); // a fifth of connection_timeout
    assert_eq!(pool.status().opening, 1, "the first attempt keeps its slot to its end");
    drop(conn);
    sleep(secs(8)).await;
    settled(&pool).await;
    let status = pool.status();
    assert_eq!((status.opening, status.idle, status.totals.connect_errors), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_late_connect_is_overtaken_by_one_other_not_by_many() {
    let (script, pool) = pool(settings(10, 0));
    script.always_connect(Reply::hang());
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    sleep(ms(1_999)).await;
    assert_eq!(script.calls().len(), 1);
    sleep(secs(7)).await;
    assert_eq!((script.calls().len(), pool.status().opening), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn overtaking_a_late_connect_stays_within_the_limits() {
    let (script, pool) = pool(settings(1, 0));
    script.always_connect(Reply::hang());
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    sleep(secs(9)).await;
    assert_eq!(script.calls().len(), 1, "there is one slot");

    let (script, pool) = crate::pool(settings(10, 0).with_connect_concurrency(3));
    script.always_connect(Reply::hang());
    let mut callers: Vec<_> = (0..5).map(|_| pool.acquire()).collect();
    for caller in &mut callers {
        assert!(once(caller).await.is_pending());
    }
    sleep(secs(9)).await;
    assert_eq!(script.calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn where_connects_always_take_long_they_are_not_late() {
    let (script, pool) = pool(settings(10, 0));
    script.always_connect(Reply::ok().after(secs(3)));
    let first = pool.acquire().await.unwrap();
    let tried = script.calls().len(); // nothing was known yet
    let _second = pool.acquire().await.unwrap();
    let _third = pool.acquire().await.unwrap();
    let _fourth = pool.acquire().await.unwrap();
    assert_eq!(tried, 2);
    assert_eq!(script.calls().len(), 4, "one each, after the spare one was used");
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_does_not_hide_that_the_database_is_back() {
    let (script, pool) = pool(settings(10, 0));
    script.on_connect([Reply::fail(ErrorClass::Transient, "connection refused"), Reply::hang(), Reply::ok()]);
    let start = Instant::now();
    drop(pool.acquire().await.unwrap());
    assert!(start.elapsed() < ms(2_600), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn transient_errors_are_retried_within_the_budget() {
    let (script, pool) = pool(settings(1, 0));
    script.on_connect((0..6).map(|_| Reply::fail(ErrorClass::Transient, "connection refused")));
    let conn = pool.acquire().await.unwrap();
    assert_eq!(conn.id(), 1);
    assert_eq!(script.calls().len(), 7);
    assert_eq!(pool.status().totals.connect_errors, 6);
}

#[tokio::test(start_paused = true)]
async fn a_refusing_database_is_not_dialled_more_than_a_few_times_a_second() {
    let (script, pool) = pool(settings(10, 5));
    script.always_connect(Reply::fail(ErrorClass::Transient, "too many connections"));
    let start = Instant::now();
    for answer in burst(&pool, 50).await {
        let error = answer.unwrap_err();
        assert_eq!(error.verdict(), Verdict::Connecting);
        assert!(error.to_string().contains("too many connections"), "{error}");
    }
    assert_eq!(start.elapsed(), secs(10));
    let dialled = script.calls().len();
    assert!(dialled <= 40, "{dialled} dials in 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_database_that_comes_back_is_noticed_within_half_a_second() {
    let (script, pool) = pool(settings(1, 0));
    script.always_connect(Reply::fail(ErrorClass::Transient, "starting up"));
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    sleep(secs(7)).await;
    script.always_connect(Reply::ok());
    let start = Instant::now();
    drop(waiter.await.unwrap());
    assert!(start.elapsed() <= ms(501), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_given_at_once_with_what_the_server_said() {
    let (script, pool) = pool(settings(3, 0));
    script.on_connect([Reply::fail(ErrorClass::Permanent, "password authentication failed")]);
    let start = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert_eq!((error.verdict(), start.elapsed()), (Verdict::Connecting, Duration::ZERO));
    assert_eq!(error.retry_after(), None);
    assert!(error.to_string().contains("password authentication failed"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
    assert!(pool.acquire().await.is_ok(), "the next caller gets an attempt of its own");
}

#[tokio::test(start_paused = true)]
async fn every_caller_of_a_burst_gets_the_permanent_error_at_once() {
    let (script, pool) = pool(settings(10, 5));
    script.always_connect(Reply::fail(ErrorClass::Permanent, "no such database"));
    let start = Instant::now();
    for answer in burst(&pool, 30).await {
        assert_eq!(answer.unwrap_err().verdict(), Verdict::Connecting);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(script.calls().len() <= 34, "one attempt for each caller, not more: {}", script.calls().len());
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_at_the_limit() {
    let (script, pool) = pool(settings(10, 5));
    script.always_connect(Reply::hang());
    let start = Instant::now();
    for answer in burst(&pool, 30).await {
        assert_eq!(answer.unwrap_err().verdict(), Verdict::Connecting);
    }
    assert!(start.elapsed() <= ms(10_100), "{:?}", start.elapsed());
    sleep(secs(11)).await; // the last attempts began just before their callers gave up
    settled(&pool).await;
    assert_eq!(pool.status().opening, 0);
}

#[tokio::test(start_paused = true)]
async fn a_connect_limit_below_pool_timeout_ends_the_wait_with_the_connect_error() {
    let (script, pool) = pool(settings(1, 0).with_connection_timeout(secs(3)).with_pool_timeout(secs(30)));
    script.always_connect(Reply::hang());
    let start = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert_eq!((error.verdict(), start.elapsed()), (Verdict::Connecting, secs(3)));
    assert!(error.to_string().contains("did not answer within 3s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn failing_connects_do_not_end_the_wait_for_a_connection_in_use() {
    let (script, pool) = pool(settings(1, 1).with_connection_timeout(secs(1)).with_pool_timeout(secs(30)));
    let held = pool.acquire().await.unwrap();
    script.always_connect(Reply::fail(ErrorClass::Transient, "too many connections"));
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    sleep(secs(20)).await;
    drop(held);
    assert_eq!(waiter.await.unwrap().id(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_connecting_costs_one_attempt() {
    let (script, pool) = pool(settings(1, 0));
    script.on_connect([Reply::panic()]);
    let error = pool.acquire().await.unwrap_err();
    assert!(error.to_string().contains("panicked while connecting"), "{error}");
    assert!(pool.acquire().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stale_connection_is_pinged_before_it_is_lent_and_a_fresh_one_is_not() {
    let (script, pool) = pool(settings(1, 0));
    drop(pool.acquire().await.unwrap());
    sleep(ms(499)).await;
    drop(pool.acquire().await.unwrap());
    assert_eq!(script.calls(), [Call::Connect]);
    sleep(ms(500)).await;
    drop(pool.acquire().await.unwrap());
    assert_eq!(script.calls(), [Call::Connect, Call::Ping(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_window_of_zero_pings_always_and_pre_ping_off_never() {
    for (settings, pings) in
        [(settings(1, 0).with_pre_ping_after(Duration::ZERO), 2), (settings(1, 0).with_pool_pre_ping(false), 0)]
    {
        let (script, pool) = pool(settings);
        drop(pool.acquire().await.unwrap()); // just opened: as good as tested
        drop(pool.acquire().await.unwrap());
        sleep(secs(60)).await;
        drop(pool.acquire().await.unwrap());
        assert_eq!(script.count(|c| matches!(c, Call::Ping(_))), pings);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_hangs_costs_its_own_limit_and_the_caller_gets_a_new_connection() {
    let (script, pool) = pool(settings(1, 0));
    drop(pool.acquire().await.unwrap());
    sleep(secs(10)).await;
    script.on_ping([Reply::hang()]);
    let start = Instant::now();
    let conn = pool.acquire().await.unwrap();
    assert_eq!((conn.id(), start.elapsed()), (2, secs(1)));
}

#[tokio::test(start_paused = true)]
async fn one_dead_connection_retires_all_older_ones() {
    let (script, pool) = pool(settings(3, 0));
    let conns = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    let [a, b, c] = conns;
    drop((a, b));
    sleep(secs(1)).await;
    script.on_ping([Reply::fail(ErrorClass::Lost, "connection reset by peer")]);
    let fresh = pool.acquire().await.unwrap();
    assert_eq!(fresh.id(), 4, "neither of the idle ones was tried again");
    assert_eq!(script.count(|c| matches!(c, Call::Ping(_))), 1);
    drop(c); // in use at that moment: never cut off, closed when it comes home
    settled(&pool).await;
    assert_eq!(pool.status().open, 1);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_failures_condemns_a_generation_once() {
    let (script, pool) = pool(settings(2, 0));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let (mut a, mut b) = (a, b);
    a.set_condition(pool_core::Condition::Broken);
    b.set_condition(pool_core::Condition::Broken);
    drop(a);
    assert_eq!(pool.status().health, Health::Suspect);
    let fresh = pool.acquire().await.unwrap();
    assert_eq!(pool.status().health, Health::Warm);
    drop(b); // of the same generation as a: says nothing about the new one
    drop(fresh);
    settled(&pool).await;
    assert_eq!(pool.acquire().await.unwrap().id(), 3);
    assert_eq!(script.count(|c| *c == Call::Connect), 3);
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_fails_for_a_reason_of_its_own_condemns_no_other() {
    let (script, pool) = pool(settings(2, 0));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop((a, b));
    sleep(secs(1)).await;
    script.on_ping([Reply::fail(ErrorClass::Other, "out of memory")]);
    let conn = pool.acquire().await.unwrap();
    assert_eq!(conn.id(), 1, "the second idle one was tried next");
}

#[tokio::test(start_paused = true)]
async fn min_idle_is_kept_ready_from_the_first_use_on() {
    let (_, pool) = pool(settings(5, 0).with_min_idle(2));
    let held = pool.acquire().await.unwrap();
    settled(&pool).await;
    assert_eq!((pool.status().idle, pool.status().in_use), (2, 1));
    drop(held);
    settled(&pool).await;
    assert_eq!(pool.status().open, 3);
    // Found by the random walk: lending at once, without waiting, must open the next spare one, too.
    let _three = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    until("two are spare again", || pool.status().idle == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_succeeds_does_not_forget_that_connects_fail() {
    let (script, pool) = pool(settings(1, 1).with_pre_ping_after(Duration::ZERO));
    let first = pool.acquire().await.unwrap();
    script.always_connect(Reply::fail(ErrorClass::Transient, "too many clients"));
    let user = tokio::spawn({
        let pool = pool.clone();
        async move {
            drop(first);
            for _ in 0..1_000 {
                drop(pool.acquire().await.unwrap()); // pinged each time
                sleep(ms(10)).await;
            }
        }
    });
    let others = tokio::spawn({
        let pool = pool.clone();
        async move {
            for _ in 0..1_000 {
                drop(pool.acquire().await.unwrap());
                sleep(ms(7)).await;
            }
        }
    });
    user.await.unwrap();
    others.await.unwrap();
    let dialled = script.count(|c| *c == Call::Connect);
    assert!(dialled <= 60, "{dialled} dials in about 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_dead_connection_does_not_condemn_the_connect_that_wakes_the_database() {
    let (script, pool) = pool(settings(1, 1));
    drop(pool.acquire().await.unwrap());
    sleep(secs(300)).await;
    script.on_ping([Reply::hang()]);
    script.always_connect(Reply::ok().after(secs(6)));
    let start = Instant::now();
    let (a, b) = tokio::join!(pool.acquire(), pool.acquire());
    assert!(a.is_ok() && b.is_ok());
    assert!(start.elapsed() <= secs(8), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn connection_timeout_is_one_cap_over_retries() {
    let (script, pool) = pool(settings(1, 0).with_connection_timeout(secs(3)).with_pool_timeout(secs(60)));
    script.on_connect([Reply::fail(ErrorClass::Transient, "refused").after(ms(2_500))]);
    script.always_connect(Reply::hang());
    let start = Instant::now();
    assert_eq!(pool.acquire().await.unwrap_err().verdict(), Verdict::Connecting);
    assert!(start.elapsed() <= ms(3_001), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_no_length_still_has_idle_connections_tested_and_replaced() {
    let (_, pool) = pool(settings(1, 0).with_max_waiting(Some(0)));
    drop(pool.acquire().await.unwrap());
    sleep(secs(1)).await; // no longer fresh
    let held = pool.acquire().await.unwrap();
    assert_eq!(pool.acquire().await.unwrap_err().verdict(), Verdict::Refused);
    held.discard();
    assert!(pool.acquire().await.is_ok(), "its slot is about to be free");
}

#[tokio::test(start_paused = true)]
async fn an_error_without_a_text_or_with_lines_still_makes_one_line() {
    for (text, shown) in [("", "gave no reason"), ("first\nsecond\n", "first second")] {
        let (script, pool) = pool(settings(1, 0));
        script.on_connect([Reply::fail(ErrorClass::Permanent, text)]);
        let error = pool.acquire().await.unwrap_err();
        assert!(error.to_string().contains(shown) && !error.to_string().contains('\n'), "{error}");
        assert!(error.story().contains(shown), "{}", error.story());
    }
}

#[tokio::test(start_paused = true)]
async fn one_connect_under_way_does_not_hide_that_the_others_are_in_use() {
    let (script, pool) = pool(settings(10, 5).with_pool_timeout(secs(1)));
    let mut held = vec![];
    for _ in 0..14 {
        held.push(pool.acquire().await.unwrap());
    }
    script.always_connect(Reply::hang());
    assert_eq!(pool.acquire().await.unwrap_err().verdict(), Verdict::Exhausted);
    // Who comes now is told of the connect that hangs since before.
    let error = pool.acquire().await.unwrap_err();
    assert!(error.story().contains("connecting for 1s already"), "{}", error.story());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_on_a_silent_server_is_told_how_long_it_has_been_silent() {
    let (script, pool) = pool(settings(10, 0));
    script.always_connect(Reply::hang());
    let error = pool.acquire_timeout(secs(4)).await.unwrap_err().to_string();
    assert!(error.contains("none could be opened, a connect has had no answer for 4s (in use 0 of 10"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn connects_that_fail_in_a_row_are_counted_until_one_succeeds() {
    let (script, pool) = pool(settings(10, 0));
    script.on_connect((0..3).map(|_| Reply::fail(ErrorClass::Transient, "connection refused")));
    script.always_connect(Reply::ok().after(secs(1)));
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    sleep(ms(900)).await;
    assert_eq!(pool.status().connect_failures, 3);
    drop(waiter.await.unwrap());
    assert_eq!(pool.status().connect_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_told_to_every_caller_by_one_attempt() {
    for (callers, answer) in [(30, ms(500)), (100, ms(200)), (10_000, ms(200))] {
        let (script, pool) = pool(settings(10, 5));
        script.always_connect(Reply::fail(ErrorClass::Permanent, "password authentication failed").after(answer));
        let start = Instant::now();
        for told in burst(&pool, callers).await {
            let error = told.unwrap_err();
            assert_eq!((error.verdict(), error.is_timeout()), (Verdict::Connecting, false), "{error}");
        }
        assert_eq!(start.elapsed(), answer);
        assert!(script.calls().len() <= 4, "{callers} callers: {} logins", script.calls().len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_not_tried_more_than_once_in_thirty_seconds_in_the_long_run() {
    let (script, pool) = pool(settings(10, 5));
    script.always_connect(Reply::fail(ErrorClass::Permanent, "password authentication failed").after(ms(200)));
    let mut longest = Duration::ZERO;
    for _ in 0..10 * 60 * 5 {
        let start = Instant::now();
        let error = pool.acquire().await.unwrap_err();
        assert!(error.to_string().contains("password authentication failed"), "{error}");
        assert_eq!(error.retry_after(), None);
        longest = longest.max(start.elapsed());
        sleep(ms(200)).await;
    }
    assert_eq!(longest, ms(200), "a caller waits for one attempt at most");
    let logins = script.calls().len();
    assert!((20..=30).contains(&logins), "{logins} logins in more than ten minutes");
}

#[tokio::test(start_paused = true)]
async fn what_waiting_cannot_cure_is_found_cured_within_its_pause() {
    let (script, pool) = pool(settings(1, 0));
    script.on_connect((0..4).map(|_| Reply::fail(ErrorClass::Permanent, "no such database")));
    let start = Instant::now();
    let mut refused = 0;
    while pool.acquire().await.is_err() {
        refused += 1;
        sleep(ms(100)).await;
    }
    // 0 s, 0.1 s, a second later, two seconds later, and four seconds later it is there.
    assert!((secs(7)..ms(7_500)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(refused > 60, "{refused} were told at once");
    assert_eq!((script.calls().len(), pool.status().connect_failures), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_change_by_hand_ends_the_pause_after_a_wrong_password() {
    for change in 0..2 {
        let (script, pool) = pool(settings(1, 0));
        script.on_connect((0..3).map(|_| Reply::fail(ErrorClass::Permanent, "password authentication failed")));
        for _ in 0..2 {
            assert!(pool.acquire().await.is_err());
        }
        assert!(pool.acquire().await.is_err());
        assert_eq!(script.calls().len(), 2, "the third caller was told at once");
        match change {
            0 => pool.invalidate(),
            _ => pool.reconfigure(|settings| settings).unwrap(),
        }
        assert!(pool.acquire().await.is_err());
        assert_eq!(script.calls().len(), 3);
        assert!(pool.acquire().await.is_ok(), "which was the first failure again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_restarts_after_a_wrong_password_is_waited_for() {
    let (script, pool) = pool(settings(1, 0));
    script.on_connect((0..2).map(|_| Reply::fail(ErrorClass::Permanent, "password authentication failed")));
    script.on_connect((0..3).map(|_| Reply::fail(ErrorClass::Transient, "starting up")));
    for _ in 0..2 {
        assert!(pool.acquire().await.is_err());
    }
    sleep(ms(1_001)).await;
    let mut waiter = pool.acquire();
    assert!(once(&mut waiter).await.is_pending());
    sleep(ms(10)).await;
    assert!(pool.acquire().await.is_ok(), "the server says something else now");
    drop(waiter);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_tested_and_lent_while_new_ones_are_refused_for_good() {
    let (script, pool) = pool(settings(2, 0));
    let first = pool.acquire().await.unwrap();
    script.always_connect(Reply::fail(ErrorClass::Permanent, "password authentication failed"));
    for _ in 0..2 {
        assert!(pool.acquire().await.is_err(), "it needs a connect");
    }
    drop(first);
    for _ in 0..5 {
        sleep(secs(1)).await; // no longer fresh
        assert_eq!(pool.acquire().await.unwrap().id(), 1);
    }
    // The one that a caller counts on turns out to be dead: it is told at once.
    sleep(ms(600)).await;
    for _ in 0..2 {
        let held = pool.acquire().await.unwrap();
        assert!(pool.acquire().await.is_err());
        drop(held);
    }
    sleep(ms(600)).await;
    script.on_ping([Reply::fail(ErrorClass::Other, "dead").after(ms(100))]);
    let start = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert!(start.elapsed() <= ms(100) && !error.is_timeout(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_no_known_meaning_says_when_the_next_attempt_is_worth_it() {
    let (script, pool) = pool(settings(1, 0));
    script.always_connect(Reply::fail(ErrorClass::Other, "what?"));
    for pause in [1, 1, 2, 4, 8, 16, 30, 30] {
        let error = pool.acquire().await.unwrap_err();
        assert_eq!(error.retry_after(), Some(secs(pause)));
        if script.calls().len() > 1 {
            let told = pool.acquire().await.unwrap_err();
            assert_eq!(told.retry_after(), Some(secs(pause)));
            sleep(secs(pause)).await;
        }
    }
    assert_eq!(script.calls().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn twenty_thousand_callers_in_the_queue_are_all_told() {
    let (script, pool) = pool(settings(1, 0));
    script.always_connect(Reply::fail(ErrorClass::Permanent, "no such database").after(secs(1)));
    let mut queue: Vec<_> = (0..20_000).map(|_| pool.acquire()).collect();
    for waiter in &mut queue {
        assert!(once(waiter).await.is_pending());
    }
    sleep(ms(1_001)).await;
    assert_eq!((pool.status().waiting, pool.status().totals.connect_failures), (0, 20_000));
    let Poll::Ready(Err(last)) = once(queue.last_mut().unwrap()).await else { panic!("it was not told") };
    assert!(last.to_string().contains("no such database"), "{last}");
}
