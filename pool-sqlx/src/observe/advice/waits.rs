//! What the measured waits say.

use super::{Advice, Facts, hint, warning};
use crate::{CloseReason, SiteTimings, Totals};
use pool_core::short;

/// Below this number of acquires there is no advice.
const ENOUGH: u64 = 100;

/// How much this total has grown since the pool got its present size.
fn since(facts: &Facts<'_>, count: impl Fn(&Totals) -> u64) -> u64 {
    count(&facts.status.totals).saturating_sub(facts.past.map_or(0, |past| count(&past.totals)))
}

pub(super) fn waits(facts: &Facts<'_>) -> Option<Advice> {
    let waited = Waited::of(facts)?;
    match waited.found_full * 2 < waited.waited {
        true => for_the_pool(facts, &waited),
        false => for_a_connection(facts, &waited),
    }
}

/// Callers that waited since the pool got its present size.
struct Waited {
    asked: u64,
    waited: u64,
    /// Those that found all connections in use.
    found_full: u64,
    timeouts: u64,
    finding: String,
}

impl Waited {
    /// `None` if there are too few to report.
    fn of(facts: &Facts<'_>) -> Option<Self> {
        let timeouts = since(facts, |totals| totals.timeouts);
        // Callers that ran out of time or gave up had waited, too.
        let vain = timeouts + since(facts, |totals| totals.cancelled);
        let asked = since(facts, |totals| totals.acquired) + vain;
        let waited = since(facts, |totals| totals.waited) + vain;
        if asked < ENOUGH || waited * 100 < asked {
            return None;
        }
        let mut finding = format!("{} of {asked} acquires waited", part(waited, asked));
        if vain > 0 {
            finding += &format!(", {} in vain ({timeouts} ran out of time)", part(vain, asked));
        }
        let waits = &facts.timings.acquire_wait;
        let waits = facts.past.map_or_else(|| waits.clone(), |past| waits.since(&past.timings.acquire_wait));
        if let Some(longest) = waits.quantile(0.99) {
            let served = if vain > 0 { " that were served" } else { "" };
            finding += &format!(", 99 of 100{served} for no longer than {}", short(longest));
        }
        Some(Self { asked, waited, found_full: since(facts, |totals| totals.found_full), timeouts, finding })
    }
}

/// Most callers waited although a connection was free or could be opened.
fn for_the_pool(facts: &Facts<'_>, waited: &Waited) -> Option<Advice> {
    // Refused connects keep callers waiting, too. More idle connections do not cure that.
    if since(facts, |totals| totals.connect_errors) * 100 >= waited.waited {
        return None;
    }
    let mean = facts.timings.connect.mean().map(|mean| format!(" ({} each)", short(mean))).unwrap_or_default();
    let (some, others) = match waited.found_full {
        0 => ("none".to_owned(), "it"),
        some => (part(some, waited.waited), "for the others it"),
    };
    hint(
        "min_idle",
        &format!("{}; {some} of those who waited found all connections in use", waited.finding),
        &format!(
            "{others} was not for somebody to give one back: for connects{mean}, for tests or cleaning, or while lending was paused"
        ),
        "where it was for connects, keep more ready by min_idle, keep them longer by idle_timeout, or warm the pool up before the service is \
         ready",
    )
}

/// Most callers waited for another caller to return a connection.
fn for_a_connection(facts: &Facts<'_>, waited: &Waited) -> Option<Advice> {
    let Facts { settings, status, .. } = facts;
    let cap = settings.cap().unwrap_or(u32::MAX);
    let full = status.full.as_secs_f64() / status.sized.as_secs_f64().max(f64::MIN_POSITIVE);
    let finding = format!("{}; all {cap} connections were in use for {} of the time", waited.finding, share(full));
    let whole = facts.timings.hold.sum().as_secs_f64();
    let held = |site: &SiteTimings| site.hold.sum().as_secs_f64() / whole;
    // A site with less than a quarter of the time is not the cause.
    let most = facts.sites.first().filter(|most| whole > 0.0 && held(most) >= 0.25);
    let (reason, cure) = match most {
        Some(most) => (
            format!(
                "{} took {} of the time that connections were held ({} each)",
                most.site,
                share(held(most)),
                short(most.hold.mean().unwrap_or_default())
            ),
            "let that place hold its connection for less, or raise pool_size if the server has room for more",
        ),
        None => (
            "there are more requests than connections".to_owned(),
            "raise pool_size if the server has room for more, or have connections held for less",
        ),
    };
    // 1 % of the acquires, the same limit as for waits.
    match waited.timeouts * 100 >= waited.asked {
        true => warning("pool_size", &finding, &reason, cure),
        false => hint("pool_size", &finding, &reason, cure),
    }
}

pub(super) fn churn(facts: &Facts<'_>) -> Option<Advice> {
    let closed = since(facts, |totals| totals.closed_by.of(CloseReason::Overflow));
    let acquired = since(facts, |totals| totals.acquired);
    if closed < ENOUGH || closed * 100 < acquired {
        return None;
    }
    let each = facts.timings.connect.mean().map(|mean| format!(", {} each", short(mean))).unwrap_or_default();
    hint(
        "overflow_linger",
        &format!("{closed} connections above pool_size were opened and closed again for {acquired} acquires"),
        &format!("whoever needs one waits for a connect{each}"),
        "raise pool_size, or let them stay for a moment: overflow_linger = \"10s\"",
    )
}

fn part(of: u64, whole: u64) -> String {
    share(of as f64 / whole as f64)
}

/// `7 %`, `0.4 %`
fn share(part: f64) -> String {
    match part * 100.0 {
        percent if percent < 0.1 => "less than 0.1 %".to_owned(),
        percent if percent >= 1.0 => format!("{percent:.0} %"),
        percent => format!("{percent:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::advice;
    use super::super::tests::{facts, given, idle_pool, postgres};
    use super::*;
    use crate::{DatabaseSettings, SqlitePool, Status, Watchable, Weight, session::Past};
    use std::{future::Future, time::Duration};

    async fn pool_of(size: u32) -> SqlitePool {
        let settings = DatabaseSettings::new("sqlite::memory:").unwrap();
        SqlitePool::connect(settings.with_pool_size(size).with_max_overflow(0)).await.unwrap()
    }

    #[tokio::test]
    async fn where_connects_were_refused_no_more_of_them_are_advised() {
        let pool = pool_of(2).await;
        // Waits that were for no one's connection.
        for _ in 0..ENOUGH {
            pool.pause(crate::Pause::Wait);
            let mut waiter = Box::pin(pool.acquire());
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(waiter.as_mut().poll(cx).is_pending())).await);
            pool.resume();
            drop(waiter.await.unwrap());
        }
        let watched = &pool.watched()[0];
        let (database, timings) = (postgres("postgres://app@db/app"), watched.timings());
        let nothing = idle_pool().await.timings();
        let told = |refused: u64, before: u64| {
            let mut status = watched.status();
            status.totals.connect_errors = refused;
            let mut past = Past { totals: Totals::default(), timings: nothing.clone() };
            past.totals.connect_errors = before;
            let facts = Facts { past: Some(&past), ..facts(&database, &status, &timings) };
            advice(&facts).into_iter().map(|advice| advice.setting).collect::<Vec<_>>()
        };
        assert_eq!(told(0, 0), ["min_idle"]);
        assert_eq!(told(1, 0), [""; 0], "one in a hundred");
        // Those of another size are past.
        assert_eq!(told(1, 1), ["min_idle"]);
    }

    #[tokio::test]
    async fn waits_are_told_only_when_there_are_enough_to_tell_of() {
        let app = || postgres("postgres://app@db/app");
        let past = |acquired, waited, full: u64, peak| {
            move |status: &mut Status| {
                (status.totals.acquired, status.totals.waited, status.totals.found_full) = (acquired, waited, waited);
                (status.sized, status.full, status.peak) = (Duration::from_secs(1000), Duration::from_secs(full), peak);
            }
        };
        assert_eq!(given(app(), None, past(99, 99, 500, 15)).await, [""; 0]);
        assert_eq!(given(app(), None, past(1000, 9, 500, 15)).await, [""; 0]);
        // This pool has measured no waits of its own, so the quantile is missing; a real one follows.
        let pool = pool_of(1).await;
        for _ in 0..100 {
            let held = pool.acquire().await.unwrap();
            let mut waiter = Box::pin(pool.acquire());
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(waiter.as_mut().poll(cx).is_pending())).await);
            drop(held);
            drop(waiter.await.unwrap());
        }
        let advice = pool.advice();
        let [waits] = &advice[..] else { panic!("{advice:?}") };
        assert!(waits.finding.starts_with("50 % of 200 acquires waited, 99 of 100 for no longer than "), "{waits}");
        assert!(waits.finding.contains("all 1 connections were in use for"), "{waits}");
        assert!(waits.reason.contains("advice/waits.rs:"), "it names the place: {waits}");

        // Of another size this says nothing; what follows does, in that size's words.
        pool.reconfigure(|settings| settings.with_pool_size(2)).unwrap();
        assert_eq!(pool.advice(), []);
        for _ in 0..100 {
            let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
            let mut waiter = Box::pin(pool.acquire());
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(waiter.as_mut().poll(cx).is_pending())).await);
            drop(held);
            drop(waiter.await.unwrap());
        }
        let advice = pool.advice();
        let [waits] = &advice[..] else { panic!("{advice:?}") };
        // And one or the other that waited for the second connection.
        assert!(waits.finding.starts_with("33 % of 300") || waits.finding.starts_with("34 % of 300"), "{waits}");
        assert!(waits.finding.contains("all 2 connections were in use for"), "{waits}");
        // One setting more, and the same size: nothing begins anew.
        pool.reconfigure(|settings| settings.with_slow_acquire(Duration::from_secs(9))).unwrap();
        assert_eq!(pool.advice().len(), 1);
    }

    #[tokio::test]
    async fn callers_that_waited_in_vain_count_and_are_worth_a_warning() {
        let pool = SqlitePool::connect(DatabaseSettings::new("sqlite::memory:").unwrap()).await.unwrap();
        let _held = pool.acquire().await.unwrap();
        for _ in 0..199 {
            pool.acquire_timeout(Duration::ZERO).await.unwrap_err();
        }
        let mut gives_up = Box::pin(pool.acquire());
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(gives_up.as_mut().poll(cx).is_pending())).await);
        drop(gives_up);
        let advice = pool.advice();
        let [waits] = &advice[..] else { panic!("{advice:?}") };
        assert_eq!((waits.weight, waits.setting), (Weight::Warning, "pool_size"));
        let vain = "100 % of 201 acquires waited, 100 % in vain (199 ran out of time), 99 of 100 that were served for no longer than ";
        assert!(waits.finding.starts_with(vain), "{waits}");
        assert_eq!(waits.reason, "there are more requests than connections", "nobody has given one back yet");
    }

    #[tokio::test]
    async fn a_burst_that_filled_the_pool_once_is_not_what_the_other_waits_are_for() {
        let past = |found_full| {
            move |status: &mut Status| {
                let totals = &mut status.totals;
                (totals.acquired, totals.waited, totals.found_full) = (1000, 900, found_full);
                (status.sized, status.full, status.peak) = (Duration::from_secs(1000), Duration::from_secs(1), 15);
            }
        };
        let told = async |found_full| {
            let told = given(postgres("postgres://app@db/app"), None, past(found_full)).await;
            told.into_iter().next().unwrap_or_default()
        };
        let connects = "hint min_idle: 90 % of 1000 acquires waited; ";
        assert_eq!(told(0).await, format!("{connects}none of those who waited found all connections in use"));
        assert_eq!(told(9).await, format!("{connects}1 % of those who waited found all connections in use"));
        assert_eq!(
            told(450).await,
            "hint pool_size: 90 % of 1000 acquires waited; all 15 connections were in use for 0.1 % of the time"
        );
    }

    #[tokio::test]
    async fn a_place_among_many_is_not_to_blame_for_waits() {
        let pool = SqlitePool::connect(DatabaseSettings::new("sqlite::memory:").unwrap()).await.unwrap();
        tokio::time::pause();
        let hold = async |name: &'static str, millis| {
            let _held = pool.acquire_at(crate::Site::nowhere(name), None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(millis)).await;
        };
        for name in ["a", "b", "c", "d", "e"] {
            hold(name, 10).await;
        }
        let told = || {
            let watched = &pool.watched()[0];
            let (database, timings, mut status) =
                (postgres("postgres://app@db/app"), watched.timings(), watched.status());
            (status.totals.acquired, status.totals.waited, status.totals.found_full) = (1000, 900, 900);
            let facts = Facts { sites: &watched.sites(), ..facts(&database, &status, &timings) };
            advice(&facts).remove(0).reason
        };
        assert_eq!(told(), "there are more requests than connections");
        hold("e", 40).await;
        // About half; tokio rounds a sleep up.
        assert!(told().starts_with("e took 5"), "{}", told());
    }

    #[tokio::test]
    async fn waits_that_were_for_nobodys_connection_are_not_said_to_be_for_connects() {
        let pool = pool_of(150).await;
        pool.pause(crate::Pause::Wait);
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..120 {
            let pool = pool.clone();
            waiting.spawn(async move { drop(pool.acquire().await.unwrap()) });
        }
        while pool.status().waiting < 120 {
            tokio::task::yield_now().await;
        }
        pool.resume();
        waiting.join_all().await;
        let advice = pool.advice();
        let [waits] = &advice[..] else { panic!("{advice:?}") };
        assert!(waits.finding.starts_with("100 % of 120 acquires waited, "), "{waits}");
        assert!(waits.reason.starts_with("it was not for somebody to give one back: for connects"), "{waits}");
        assert!(waits.reason.ends_with("or while lending was paused"), "{waits}");
    }

    #[test]
    fn small_shares_keep_a_digit() {
        assert_eq!([share(0.071), share(0.0042), share(1.0), share(0.0)], ["7 %", "0.4 %", "100 %", "less than 0.1 %"]);
    }
}
