//! What should be looked at: settings that fight each other or the server, and what the measured waits say.
//!
//! One rule each, and no formula: a rule says what is so, why that matters, and what to do, with the numbers that it saw.

mod server;
mod settings;
mod waits;

use crate::{
    Backend, DatabaseSettings, Pool, Settings, SiteTimings, Status, Timings, Watchable,
    backend::Server,
    observe::{
        siblings::{self, Sibling},
        watched::Watched,
    },
    session::Past,
};
use std::fmt;

/// Something about a pool that its owner should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advice {
    /// How much it matters.
    pub weight: Weight,
    /// The setting that it is about.
    pub setting: &'static str,
    /// What is so, with the numbers.
    pub finding: String,
    /// Why that matters.
    pub reason: String,
    /// What to do.
    pub cure: String,
}

/// How much a piece of advice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Weight {
    /// Requests will be refused or hang, sooner or later.
    Warning,
    /// Something could be better, or may be meant so.
    Hint,
}

/// `warning` or `hint`
impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Hint => "hint",
        })
    }
}

/// `pool_recycle: <what is so>; <why that matters>; <what to do>`
impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}; {}", self.setting, self.finding, self.reason, self.cure)
    }
}

impl<DB: Backend, Key> Pool<DB, Key> {
    /// What should be looked at: settings that fight each other or the server, and what the waits measured so far say.
    ///
    /// Asks nobody: the server told of its limits at the first connect, and does so again with a connect ten minutes later. Empty if
    /// there is nothing to say. What there is when the first connection has been opened is logged.
    ///
    /// # Example
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use pool_sqlx::{DatabaseSettings, SqlitePool};
    /// let settings = DatabaseSettings::new("sqlite::memory:")?.with_statement_timeout(None);
    /// let pool = SqlitePool::connect(settings).await?;
    /// assert_eq!(
    ///     pool.advice()[0].to_string(),
    ///     "statement_timeout: there is none; a statement that hangs holds its connection for ever; set one above the slowest \
    ///      statement of a request, and give longer work a limit of its own",
    /// );
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    pub fn advice(&self) -> Vec<Advice> {
        self.watched().iter().flat_map(Watched::advice).collect()
    }
}

impl Watched {
    /// As [`Pool::advice`].
    pub fn advice(&self) -> Vec<Advice> {
        let (settings, status, timings, sites) = (self.settings(), self.status(), self.timings(), self.sites());
        let (server, past) = (self.tally().server(), self.tally().past());
        let siblings = server.as_ref().map_or_else(Vec::new, |server| siblings::of(self, &server.login));
        advice(&Facts {
            database: self.database(),
            settings: &settings,
            server: server.as_ref(),
            siblings: &siblings,
            swallowed: self.tally().is_swallowed(),
            past: past.as_ref(),
            status: &status,
            timings: &timings,
            sites: &sites,
        })
    }

    /// Logs what [`advice`](Self::advice) returns.
    pub(crate) fn log_advice(&self) {
        let name = self.name();
        for advice in self.advice() {
            match advice.weight {
                Weight::Warning => tracing::warn!(target: "pool", pool = name, "advice: {advice}"),
                Weight::Hint => tracing::info!(target: "pool", pool = name, "advice: {advice}"),
            }
        }
    }
}

/// What the rules look at.
pub(crate) struct Facts<'a> {
    pub(crate) database: &'a DatabaseSettings,
    /// The pool's settings in force.
    pub(crate) settings: &'a Settings,
    /// `None` before the first connect, behind a pooler (named or not), and for SQLite.
    pub(crate) server: Option<&'a Server>,
    /// The other pools of this process on that server.
    pub(crate) siblings: &'a [Sibling],
    /// Whether the server did not take the statement timeout, with `pooler = "direct"` in the settings: where they say nothing, nobody
    /// gets a connection.
    pub(crate) swallowed: bool,
    /// `None`: the pool was made in this size.
    pub(crate) past: Option<&'a Past>,
    pub(crate) status: &'a Status,
    pub(crate) timings: &'a Timings,
    pub(crate) sites: &'a [SiteTimings],
}

/// All advice that these facts give, the weightiest first.
pub(crate) fn advice(facts: &Facts<'_>) -> Vec<Advice> {
    const RULES: [fn(&Facts<'_>) -> Option<Advice>; 13] = [
        settings::no_statement_timeout,
        server::swallowed,
        settings::longer_than_proxies_wait,
        settings::reported_as_leak_within_its_limit,
        settings::unlimited,
        settings::lifo_without_idle_timeout,
        settings::untested_and_never_replaced,
        settings::asleep,
        settings::kept_awake,
        server::no_room_at_the_server,
        server::closed_by_the_server,
        waits::waits,
        waits::churn,
    ];
    let mut found: Vec<_> = RULES.iter().filter_map(|rule| rule(facts)).collect();
    found.sort_by_key(|advice| advice.weight);
    found
}

fn warning(setting: &'static str, finding: &str, reason: &str, cure: &str) -> Option<Advice> {
    let [finding, reason, cure] = [finding, reason, cure].map(str::to_owned);
    Some(Advice { weight: Weight::Warning, setting, finding, reason, cure })
}

fn hint(setting: &'static str, finding: &str, reason: &str, cure: &str) -> Option<Advice> {
    Some(Advice { weight: Weight::Hint, ..warning(setting, finding, reason, cure)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        SqlitePool, Watchable,
        backend::{Limit, Whom},
    };
    use std::time::Duration;

    pub(super) fn postgres(url: &str) -> DatabaseSettings {
        // Nothing to say about these.
        DatabaseSettings::new(url).expect("a good url").with_idle_timeout(Duration::from_secs(600))
    }

    pub(super) async fn idle_pool() -> SqlitePool {
        SqlitePool::connect(DatabaseSettings::new("sqlite::memory:").expect("a good url"))
            .await
            .expect("SQLite is there")
    }

    /// A pool with these settings that is alone, and of whose server nothing is known.
    pub(super) fn facts<'a>(database: &'a DatabaseSettings, status: &'a Status, timings: &'a Timings) -> Facts<'a> {
        Facts {
            database,
            settings: &database.pool,
            server: None,
            siblings: &[],
            swallowed: false,
            past: None,
            status,
            timings,
            sites: &[],
        }
    }

    /// The advice that these settings, this server and this past give, each by its setting and its finding.
    pub(super) async fn given(
        database: DatabaseSettings,
        server: Option<Server>,
        past: impl FnOnce(&mut Status),
    ) -> Vec<String> {
        given_beside(&[], database, server, past).await
    }

    pub(super) async fn given_beside(
        siblings: &[Sibling],
        database: DatabaseSettings,
        server: Option<Server>,
        past: impl FnOnce(&mut Status),
    ) -> Vec<String> {
        let pool = idle_pool().await;
        let watched = &pool.watched()[0];
        let (mut status, timings, sites) = (watched.status(), watched.timings(), watched.sites());
        past(&mut status);
        let facts = Facts { server: server.as_ref(), siblings, sites: &sites, ..facts(&database, &status, &timings) };
        advice(&facts).iter().map(|a| format!("{} {}: {}", a.weight, a.setting, a.finding)).collect()
    }

    pub(super) async fn check(database: DatabaseSettings, server: Option<Server>, expected: &[&str]) {
        assert_eq!(given(database, server, |_| {}).await, expected);
    }

    pub(super) fn limit(most: u32, what: &'static str, others: u32) -> Limit {
        Limit { most, what, whom: Whom::Everybody, others }
    }

    #[tokio::test]
    async fn settings_that_get_along_give_no_advice() {
        check(postgres("postgres://app@db/app"), None, &[]).await;
        let roomy = Server { limits: vec![limit(100, "max_connections", 10)], instances: 2, ..Server::default() };
        check(postgres("postgres://app@db/app"), Some(roomy), &[]).await;
        check(DatabaseSettings::new("sqlite::memory:").unwrap(), None, &[]).await;
    }

    #[tokio::test]
    async fn settings_that_fight_each_other_are_told_with_their_numbers() {
        let secs = Duration::from_secs;
        let app = || postgres("postgres://app@db/app");
        check(
            DatabaseSettings::new("postgres://app@db/app").unwrap(),
            None,
            &["hint idle_timeout: there is none, and pool_use_lifo lends the same few connections of 10 first"],
        )
        .await;
        check(app().with_statement_timeout(None), None, &["warning statement_timeout: there is none"]).await;
        check(
            app().with_pool_timeout(secs(45)),
            None,
            &["hint pool_timeout: a request may wait 45s for a connection and 10s for a statement"],
        )
        .await;
        check(
            app().with_pool_timeout(secs(45)).with_statement_timeout(None),
            None,
            &[
                "warning statement_timeout: there is none",
                "hint pool_timeout: a request may wait 45s for a connection and any time for a statement",
            ],
        )
        .await;
        check(app().with_leak_after(secs(5)), None, &["hint leak_after: it is 5s, and a statement may take 10s"]).await;
        check(app().with_max_overflow(MaxOverflow::Unlimited), None, &["warning max_overflow: it is unlimited"]).await;
        check(
            app().with_pool_pre_ping(false).with_pool_recycle(None),
            None,
            &["warning pool_pre_ping: it is off, and there is neither pool_recycle nor keepalive"],
        )
        .await;
        let neon = || postgres("postgres://app@ep-x.eu-central-1.aws.neon.tech/app");
        check(neon(), None, &[]).await;
        check(
            neon().with_connection_timeout(secs(3)).with_keepalive(secs(60)),
            None,
            &[
                "warning connection_timeout: a request gives up after 3s",
                "hint keepalive: idle connections are pinged every 60s",
            ],
        )
        .await;
        check(neon().with_idle_timeout(secs(30)).with_keepalive(secs(60)), None, &[]).await;
    }

    #[tokio::test]
    async fn a_server_that_is_too_small_or_too_quick_is_told() {
        let app = || postgres("postgres://app@db/app");
        let server = |limits: &[(u32, &'static str, u32)], instances| {
            let limits = limits.iter().map(|(most, what, others)| limit(*most, what, *others)).collect();
            Some(Server { limits, instances, ..Server::default() })
        };
        let (all, role) = ("max_connections", "the role's connection limit");
        check(
            app(),
            server(&[(15, role, 0)], 1),
            &["warning pool_size: 1 of this program with up to 15 connections each and one to cancel statements are more than the \
               role's connection limit (15)"],
        )
        .await;
        check(
            app(),
            server(&[(50, role, 6)], 3),
            &["warning pool_size: 3 of this program with up to 15 connections each and one to cancel statements, beside 6 of others, \
               are more than the role's connection limit (50)"],
        )
        .await;
        check(
            app(),
            server(&[(31, role, 0)], 1),
            &["hint pool_size: 1 of this program with up to 15 connections each and one to cancel statements leave no room for one \
               more within the role's connection limit (31)"],
        )
        .await;
        check(app(), server(&[(32, role, 0)], 1), &[]).await;

        // Whom a limit does not count, it leaves room for; and of several limits the one decides that leaves the least.
        check(app(), server(&[(97, all, 60), (33, role, 0)], 1), &[]).await;
        check(
            app(),
            server(&[(97, all, 82), (33, role, 0)], 1),
            &["warning pool_size: 1 of this program with up to 15 connections each and one to cancel statements, beside 82 of others, \
               are more than max_connections (97)"],
        )
        .await;
        check(
            app(),
            server(&[(97, all, 60), (20, role, 5)], 1),
            &["warning pool_size: 1 of this program with up to 15 connections each and one to cancel statements, beside 5 of others, \
               are more than the role's connection limit (20)"],
        )
        .await;

        let hasty =
            Some(Server { idle_limit: Some((Duration::from_secs(300), "idle_session_timeout")), ..Server::default() });
        let finding = "warning idle_timeout: the pool keeps an idle connection for 600s, the server for 300s (idle_session_timeout)";
        check(app(), hasty.clone(), &[finding]).await;
        check(app().with_idle_timeout(Duration::from_secs(240)), hasty.clone(), &[]).await;
        check(app().with_keepalive(Duration::from_secs(120)), hasty.clone(), &[]).await;
        // What is to be kept ready has no idle_timeout.
        let ready =
            |recycle| app().with_idle_timeout(Duration::from_secs(240)).with_min_idle(2u32).with_pool_recycle(recycle);
        let finding = "warning keepalive: the pool keeps an idle connection of min_idle = 2 for ever, the server for 300s (idle_session_timeout)";
        check(ready(None), hasty.clone(), &[finding]).await;
        check(ready(Some(Duration::from_secs(200))), hasty, &[]).await;
    }

    #[tokio::test]
    async fn the_room_at_a_server_is_for_all_pools_of_the_process() {
        let login = |user: &str| Login { server: "one".into(), user: user.into(), ..Login::default() };
        let sibling = |name, cap, user| Sibling::new(name, cap, login(user), 0);
        let server = |most, whom, instances| Server {
            limits: vec![Limit { most, what: "max_connections", whom, others: 0 }],
            instances,
            login: login("app"),
            ..Server::default()
        };
        let told = async |siblings: &[Sibling], server| {
            let database = postgres("postgres://app@db/app").with_pool_size(20u32).with_max_overflow(0u32);
            let told = given_beside(siblings, database, Some(server), |status| status.name = "primary".into()).await;
            assert!(told.len() < 2, "{told:?}");
            told.into_iter().next().unwrap_or_default()
        };
        let three = [sibling("c", 20, "app"), sibling("b", 20, "app"), sibling("big", 30, "app")];
        // 21 + 21 + 21 + 31
        assert_eq!(told(&three, server(188, Whom::Everybody, 1)).await, "");
        assert_eq!(
            told(&three, server(94, Whom::Everybody, 1)).await,
            "hint pool_size: 1 of this program, each with 4 pools of up to 90 connections in all (primary 20, big 30, b 20, c 20) and one \
             per pool to cancel statements, leave no room for one more within max_connections (94)"
        );
        assert_eq!(
            told(&three, server(187, Whom::Everybody, 2)).await,
            "warning pool_size: 2 of this program, each with 4 pools of up to 90 connections in all (primary 20, big 30, b 20, c 20) and \
             one per pool to cancel statements, are more than max_connections (187)"
        );
        let five = [&three[..], &[sibling("d", 1, "app"), sibling("e", 1, "app")]].concat();
        let many = told(&five, server(1, Whom::Everybody, 1)).await;
        assert!(
            many.contains("6 pools of up to 92 connections in all (primary 20, big 30, b 20, c 20, 2 more)"),
            "{many}"
        );

        // What a limit does not count takes none of its room.
        let reports = [sibling("reports", 20, "reports")];
        assert_eq!(told(&reports, server(42, Whom::User, 1)).await, "");
        assert!(told(&reports, server(42, Whom::Everybody, 1)).await.contains("2 pools"));
        let elsewhere = [Sibling::new("elsewhere", 20, Login { server: "two".into(), ..login("app") }, 0)];
        assert_eq!(told(&elsewhere, server(42, Whom::Everybody, 1)).await, "");
    }

    #[tokio::test]
    async fn where_connects_were_refused_no_more_of_them_are_advised() {
        let pool = SqlitePool::connect(
            DatabaseSettings::new("sqlite::memory:").unwrap().with_pool_size(2).with_max_overflow(0),
        )
        .await
        .unwrap();
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
        let pool = SqlitePool::connect(
            DatabaseSettings::new("sqlite::memory:").unwrap().with_pool_size(1).with_max_overflow(0),
        )
        .await
        .unwrap();
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
        assert!(waits.reason.contains("advice/mod.rs:"), "it names the place: {waits}");

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
        let pool = SqlitePool::connect(
            DatabaseSettings::new("sqlite::memory:").unwrap().with_pool_size(150).with_max_overflow(0),
        )
        .await
        .unwrap();
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

    #[tokio::test]
    async fn what_is_swallowed_is_no_reason_to_give_up_a_pooler_of_sessions() {
        let pool = idle_pool().await;
        let watched = &pool.watched()[0];
        let database = postgres("postgres://app@db/app");
        let (status, timings) = (watched.status(), watched.timings());
        let facts = Facts { swallowed: true, ..facts(&database, &status, &timings) };
        let [swallowed] = &advice(&facts)[..] else { panic!("{:?}", advice(&facts)) };
        assert_eq!(swallowed.finding, "the server did not take 10s");
        assert!(swallowed.cure.starts_with("keep pooler = \"direct\" if it pools sessions"), "{swallowed}");
    }

    #[test]
    fn small_shares_keep_a_digit() {
        assert_eq!([share(0.071), share(0.0042), share(1.0), share(0.0)], ["7 %", "0.4 %", "100 %", "less than 0.1 %"]);
    }
}
