//! Code that holds a connection and asks for another.

use crate::{
    ms, once, pool, secs, settings, settled,
    telling::{end, observed},
    waiting,
};
use pool_core::{Event, Nested, Pool, Verdict, testing::Script};
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_nested_acquire_is_refused_at_once_where_that_is_the_policy() {
    let (_, pool) = pool(settings(5, 0).with_nested(Nested::Deny));
    let outer = pool.acquire().await.unwrap();
    let inner = outer.hold().during(pool.acquire()).await;
    let error = inner.unwrap_err();
    assert_eq!((error.verdict(), error.retry_after()), (Verdict::Nested, None));
    assert!(error.to_string().contains("nested.rs"), "{error}");
    assert!(outer.hold().during(async { pool.try_acquire() }).await.is_err());
    drop(outer);
    assert!(pool.acquire().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_hold_whose_connection_was_given_back_is_refused_nothing() {
    let (_, pool) = pool(settings(5, 0).with_nested(Nested::Deny));
    let guard = pool.acquire().await.unwrap();
    let scope = guard.hold().during(async {
        drop(guard);
        pool.acquire().await.map(drop)
    });
    assert!(scope.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_keeps_a_guard_and_asks_again_is_served_and_warned_of() {
    for (policy, warnings) in [(Nested::Allow, 0), (Nested::Warn, 1), (Nested::Deny, 1)] {
        let (_, pool) = pool(settings(2, 0).with_nested(policy));
        let events = observed(&pool);
        let task = tokio::spawn(async move {
            for _ in 0..2 {
                let _first = pool.acquire().await.unwrap();
                drop(pool.acquire().await.unwrap());
            }
            settled(&pool).await;
            end(pool).await;
        });
        task.await.unwrap();
        let warned = events.iter().filter(|event| matches!(event, Event::Nested { .. })).count();
        assert_eq!(warned, warnings, "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_warned_of_although_an_idle_connection_is_taken() {
    let (_, pool) = pool(settings(2, 0));
    drop((pool.acquire().await.unwrap(), pool.acquire().await.unwrap()));
    let events = observed(&pool);
    let outer = pool.acquire().await.unwrap();
    drop(outer.hold().during(pool.acquire()).await.unwrap());
    drop(outer);
    end(pool).await;
    assert!(events.iter().any(|event| matches!(event, Event::Nested { .. })));
}

#[tokio::test(start_paused = true)]
async fn outside_of_any_task_a_second_acquire_is_no_matter() {
    let (_, denying) = pool(settings(2, 0).with_nested(Nested::Deny));
    let _held = denying.acquire().await.unwrap();
    assert!(denying.acquire().await.is_ok());
    let (_, warning) = pool(settings(1, 0).with_pool_timeout(secs(1)));
    let _held = warning.acquire().await.unwrap();
    assert_eq!(warning.acquire().await.unwrap_err().verdict(), Verdict::Exhausted, "who holds it is not known");
}

#[tokio::test(start_paused = true)]
async fn holding_one_pool_says_nothing_about_another() {
    let (_, first) = pool(settings(1, 0).with_nested(Nested::Deny));
    let (_, second) = pool(settings(1, 0).with_nested(Nested::Deny));
    let conn = first.acquire().await.unwrap();
    let other = conn.hold().during(second.acquire()).await.unwrap();
    // .. and the outer one is still known inside the inner scope.
    let error = conn.hold().during(other.hold().during(first.acquire())).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::Nested);
}

#[tokio::test(start_paused = true)]
async fn a_pool_full_of_holders_that_wait_is_told_at_once() {
    let (_, pool) = pool(settings(2, 0));
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let start = Instant::now();
    let mut first = Box::pin(a.hold().during(pool.acquire()));
    assert!(once(&mut first).await.is_pending(), "b may still come home");
    let error = b.hold().during(pool.acquire()).await.unwrap_err();
    assert_eq!((error.verdict(), start.elapsed()), (Verdict::Nested, Duration::ZERO));
    assert!(error.to_string().contains("every connection is held by a task that waits"), "{error}");
    drop(b); // the refused one goes home, and the other is served
    assert!(first.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pool_with_one_other_user_is_not_called_deadlocked() {
    let (_, pool) = pool(settings(2, 0));
    let (a, other) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let mut nested = Box::pin(a.hold().during(pool.acquire()));
    assert!(once(&mut nested).await.is_pending());
    sleep(secs(1)).await;
    drop(other);
    assert!(nested.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_loan_that_has_ended_entangles_nobody() {
    let (_, pool) = pool(settings(1, 0));
    let guard = pool.acquire().await.unwrap();
    let scope = guard.hold().during(async {});
    drop(guard); // what the scope holds is home already ..
    let held = pool.acquire().await.unwrap(); // .. and lent to somebody else
    let mut waiter = Box::pin(async {
        scope.await;
        pool.acquire().await
    });
    assert!(once(&mut waiter).await.is_pending());
    drop(held);
    assert!(waiter.await.is_ok());
}

/// Two tasks fill a pool of two, and then each wants a second connection: what they get.
async fn hold_one_and_ask_for_another(pool: &Pool<Script>) -> Vec<Result<(), Verdict>> {
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let _first = pool.acquire().await.expect("one for each");
                while pool.status().in_use < 2 {
                    tokio::task::yield_now().await;
                }
                pool.acquire().await.map(drop).map_err(|e| e.verdict())
            })
        })
        .collect();
    waiting(pool, 2).await;
    let mut verdicts = vec![];
    for task in tasks {
        verdicts.push(task.await.expect("a task does not panic"));
    }
    verdicts
}

#[tokio::test(start_paused = true)]
async fn branches_of_one_task_that_work_and_wait_are_never_refused() {
    for policy in [Nested::Warn, Nested::Deny] {
        for held in [ms(900), ms(1_100), secs(5)] {
            let settings = settings(3, 0).with_nested(policy).with_pool_timeout(secs(30));
            assert_eq!(settings.slow_acquire, secs(1));
            let (_, pool) = pool(settings);
            let task = tokio::spawn(async move {
                let work = || async {
                    let _conn = pool.acquire().await.unwrap_or_else(|e| panic!("{policy:?}, held for {held:?}: {e}"));
                    sleep(held).await;
                };
                tokio::join!(work(), work(), work(), work(), work(), work(), work());
            });
            task.await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_hands_guards_to_workers_waits_for_the_next_one_that_comes_home() {
    for policy in [Nested::Warn, Nested::Deny] {
        let (_, pool) = pool(settings(2, 0).with_nested(policy));
        let dispatcher = tokio::spawn(async move {
            for _ in 0..6 {
                let conn = pool.acquire().await.unwrap_or_else(|e| panic!("{policy:?}: {e}"));
                tokio::spawn(async move {
                    sleep(secs(5)).await;
                    drop(conn);
                });
            }
        });
        dispatcher.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_that_hold_one_and_wait_for_another_time_out_with_that_verdict() {
    for policy in [Nested::Warn, Nested::Deny] {
        for limit in [ms(500), secs(10)] {
            let (_, pool) = pool(settings(2, 0).with_nested(policy).with_pool_timeout(limit));
            let begun = Instant::now();
            let verdicts = hold_one_and_ask_for_another(&pool).await;
            assert_eq!(verdicts, [Err(Verdict::Nested), Err(Verdict::Nested)], "both, though one was first to go");
            assert_eq!(begun.elapsed(), limit, "{policy:?}: their tasks are no reason to refuse them before");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_held_by_a_mark_and_by_a_task_that_wait_times_out_with_that_verdict() {
    let (_, pool) = pool(settings(2, 0));
    let marked = pool.acquire().await.unwrap();
    let task = tokio::spawn({
        let pool = pool.clone();
        async move {
            let _first = pool.acquire().await.unwrap();
            pool.acquire().await.map(drop).map_err(|e| e.verdict())
        }
    });
    waiting(&pool, 1).await;
    let error = marked.hold().during(pool.acquire()).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::Nested, "{error}");
    assert_eq!(task.await.unwrap(), Err(Verdict::Nested));
}
