//! What should be looked at: settings that fight each other or the server, and what the measured waits say.
//!
//! One rule each, and no formula: a rule says what is so, why that matters, and what to do, with the numbers that it saw.

use crate::{
    Backend, CloseReason, DatabaseSettings, MaxOverflow, Pool, Settings, SiteTimings, Status, Timings, Totals,
    Watchable,
    backend::{Limit, Server, Whom},
    observe::{
        siblings::{self, Sibling},
        watched::Watched,
    },
    session::Past,
};
use pool_core::short;
use std::{fmt, time::Duration};

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

impl Weight {
    /// `warning` or `hint`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Hint => "hint",
        }
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
}

/// Logs the advice on a pool once its first connection is open.
pub(crate) fn log_advice_when_connected(pool: &Watched) {
    let weak = pool.downgrade();
    pool.tally().at_first_connect(move || {
        let Some(pool) = weak.upgrade() else { return };
        let name = pool.name();
        for advice in pool.advice() {
            match advice.weight {
                Weight::Warning => tracing::warn!(target: "pool", pool = name, "advice: {advice}"),
                Weight::Hint => tracing::info!(target: "pool", pool = name, "advice: {advice}"),
            }
        }
    });
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
        no_statement_timeout,
        swallowed,
        longer_than_proxies_wait,
        reported_as_leak_within_its_limit,
        unlimited,
        lifo_without_idle_timeout,
        untested_and_never_replaced,
        asleep,
        kept_awake,
        no_room_at_the_server,
        closed_by_the_server,
        waits,
        churn,
    ];
    let mut found: Vec<_> = RULES.iter().filter_map(|rule| rule(facts)).collect();
    found.sort_by_key(|advice| advice.weight);
    found
}

fn warning(
    setting: &'static str,
    finding: impl Into<String>,
    reason: impl Into<String>,
    cure: impl Into<String>,
) -> Option<Advice> {
    Some(Advice { weight: Weight::Warning, setting, finding: finding.into(), reason: reason.into(), cure: cure.into() })
}

fn hint(
    setting: &'static str,
    finding: impl Into<String>,
    reason: impl Into<String>,
    cure: impl Into<String>,
) -> Option<Advice> {
    Some(Advice { weight: Weight::Hint, ..warning(setting, finding, reason, cure)? })
}

fn no_statement_timeout(facts: &Facts<'_>) -> Option<Advice> {
    if facts.database.statement_timeout.is_some() {
        return None;
    }
    warning(
        "statement_timeout",
        "there is none",
        "a statement that hangs holds its connection for ever",
        "set one above the slowest statement of a request, and give longer work a limit of its own",
    )
}

fn swallowed(facts: &Facts<'_>) -> Option<Advice> {
    if !facts.swallowed {
        return None;
    }
    let limit = facts.database.statement_timeout?;
    warning(
        "statement_timeout",
        format!("the server did not take {}", short(limit)),
        "something on the way drops it, most likely a pooler, so it is kept by the client alone and nothing is cancelled on the server; a \
         pooler of transactions would mix prepared statements up, too",
        "keep pooler = \"direct\" if it pools sessions, and let it pass start-up options on; else set \"unprepared\", or \"prepared\" if it \
         keeps prepared statements apart",
    )
}

/// Heroku's router ends a request after 30 s (H12), nginx after 60 s (`proxy_read_timeout`), AWS's load balancers after 60 s (idle timeout).
fn longer_than_proxies_wait(facts: &Facts<'_>) -> Option<Advice> {
    const SHORTEST: Duration = Duration::from_secs(30);
    let (wait, statement) = (facts.settings.pool_timeout, facts.database.statement_timeout);
    if wait.saturating_add(statement.unwrap_or_default()) <= SHORTEST {
        return None;
    }
    let then = statement.map_or("any time".to_owned(), |limit| short(limit).to_string());
    hint(
        "pool_timeout",
        format!("a request may wait {} for a connection and {then} for a statement", short(wait)),
        "what stands before a service gives up earlier: Heroku's router after 30 s, nginx and AWS's load balancers after 60 s; its client is \
         gone then, and the work is for nobody",
        "let both together stay below the limit of whatever stands before this service",
    )
}

fn reported_as_leak_within_its_limit(facts: &Facts<'_>) -> Option<Advice> {
    let (leak, statement) = (facts.settings.leak_after?, facts.database.statement_timeout?);
    if leak > statement {
        return None;
    }
    hint(
        "leak_after",
        format!("it is {}, and a statement may take {}", short(leak), short(statement)),
        "a slow statement within its limit is reported as a leak",
        "set leak_after above the longest that a request may hold a connection",
    )
}

fn unlimited(facts: &Facts<'_>) -> Option<Advice> {
    if facts.settings.max_overflow != MaxOverflow::Unlimited {
        return None;
    }
    let limits = facts.server.map_or(&[][..], |server| &server.limits);
    let limit = limits.iter().min_by_key(|limit| i64::from(limit.most) - i64::from(limit.others));
    let up_to = limit.map_or("the server's limit".to_owned(), |limit| format!("{} ({})", limit.what, limit.most));
    let whom = limit.map_or(Whom::Everybody, |limit| limit.whom);
    warning(
        "max_overflow",
        "it is unlimited",
        format!("a burst opens connections up to {up_to}, and then new ones are refused to {whom}"),
        "set a limit; callers beyond it wait their turn for pool_timeout",
    )
}

fn lifo_without_idle_timeout(facts: &Facts<'_>) -> Option<Advice> {
    let Settings { pool_use_lifo, idle_timeout, min_idle, pool_size, pool_recycle, .. } = *facts.settings;
    let keeps_all = facts.database.url.expose().starts_with("sqlite") || pool_size <= min_idle.max(1);
    if !pool_use_lifo || idle_timeout.is_some() || keeps_all {
        return None;
    }
    hint(
        "idle_timeout",
        format!("there is none, and pool_use_lifo lends the same few connections of {pool_size} first"),
        match pool_recycle {
            Some(_) => "after a burst the others stay open unused, until pool_recycle replaces them",
            None => "after a burst the others stay open unused",
        },
        "set idle_timeout (\"10m\") so that they are closed, unless they are to stay ready for the next burst",
    )
}

fn untested_and_never_replaced(facts: &Facts<'_>) -> Option<Advice> {
    let Settings { pool_pre_ping, pool_recycle, keepalive, .. } = *facts.settings;
    let local = facts.database.url.expose().starts_with("sqlite");
    if pool_pre_ping || pool_recycle.is_some() || keepalive.is_some() || local {
        return None;
    }
    warning(
        "pool_pre_ping",
        "it is off, and there is neither pool_recycle nor keepalive",
        "a connection that a firewall or the server has cut is found by the request that gets it",
        "switch pool_pre_ping on: a connection used within pre_ping_after is not tested",
    )
}

fn is_serverless(facts: &Facts<'_>) -> bool {
    let url = url::Url::parse(facts.database.url.expose());
    url.is_ok_and(|url| url.host_str().is_some_and(|host| host.ends_with(".neon.tech")))
}

fn asleep(facts: &Facts<'_>) -> Option<Advice> {
    const WAKING: Duration = Duration::from_secs(10);
    let limit = facts.settings.connection_timeout.min(facts.settings.pool_timeout);
    if !is_serverless(facts) || limit >= WAKING {
        return None;
    }
    warning(
        "connection_timeout",
        format!("a request gives up after {}", short(limit)),
        "a suspended database of this host needs up to 10 s to wake",
        "set connection_timeout and pool_timeout to 10s or more, or keep the database from suspending",
    )
}

fn kept_awake(facts: &Facts<'_>) -> Option<Advice> {
    let Settings { keepalive, idle_timeout, min_idle, .. } = *facts.settings;
    let every = keepalive.filter(|_| is_serverless(facts))?;
    if min_idle == 0 && idle_timeout.is_some_and(|closed| closed <= every) {
        // None gets so old without work.
        return None;
    }
    hint(
        "keepalive",
        format!("idle connections are pinged every {}", short(every)),
        "a serverless database that is asked something never suspends, and its time is billed",
        "leave keepalive out if the database may sleep, or switch suspending off at the host if it may not",
    )
}

fn no_room_at_the_server(facts: &Facts<'_>) -> Option<Advice> {
    let (server, cap) = (facts.server?, facts.settings.cap()?);
    let instances = server.instances.max(1);
    let within = |limit: &Limit| -> Vec<&Sibling> {
        facts.siblings.iter().filter(|sibling| sibling.is_within(limit, &server.login)).collect()
    };
    // What nobody waits for any more is cancelled by a connection beside the pool's.
    let wanted = |limit: &Limit| {
        let caps = within(limit).into_iter().map(|sibling| sibling.cap).chain([cap]);
        caps.map(|cap| i128::from(cap) + 1).sum::<i128>()
    };
    let others = |limit: &Limit| limit.others.saturating_sub(siblings::open_within(limit, server, facts.siblings));
    let left =
        |limit: &Limit, instances: i128| i128::from(limit.most) - i128::from(others(limit)) - wanted(limit) * instances;
    let limit = server.limits.iter().min_by_key(|limit| left(limit, instances.into()))?;
    let (Limit { most, what, whom, .. }, others) = (limit, others(limit));

    let beside = if others > 0 { format!(", beside {others} of others,") } else { String::new() };
    let siblings = within(limit);
    let (finding, of_which) = match siblings.len() {
        0 => (
            format!(
                "{instances} of this program with up to {cap} connections each and one to cancel statements{beside}"
            ),
            "",
        ),
        n => {
            let pools = n + 1;
            let sum: u64 = siblings.iter().map(|sibling| u64::from(sibling.cap)).sum::<u64>() + u64::from(cap);
            let beside = if beside.is_empty() { "," } else { &beside };
            let list = listed(&facts.status.name, cap, &siblings);
            (
                format!(
                    "{instances} of this program, each with {pools} pools of up to {sum} connections in all ({list}) and one per pool to \
                     cancel statements{beside}"
                ),
                " of one or all of them",
            )
        }
    };
    let cure = format!("lower pool_size + max_overflow{of_which}, raise that limit, or put a pooler in between");
    if left(limit, instances.into()) < 0 {
        let reason = format!("when all are busy, the server refuses new connections to {whom}");
        warning("pool_size", format!("{finding} are more than {what} ({most})"), reason, cure)
    } else if left(limit, i128::from(instances) + 1) < 0 {
        let reason = "a rolling deployment starts the next instance before it ends the last";
        hint("pool_size", format!("{finding} leave no room for one more within {what} ({most})"), reason, cure)
    } else {
        None
    }
}

/// `primary 15, reports 2`: this pool first, then its largest siblings.
fn listed(name: &str, cap: u32, siblings: &[&Sibling]) -> String {
    const MOST: usize = 4;
    let mut siblings: Vec<_> = siblings.iter().map(|sibling| (&*sibling.name, sibling.cap)).collect();
    siblings.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    let more = siblings.len().saturating_sub(MOST - 1);
    siblings.truncate(MOST - 1);
    let mut list: Vec<_> =
        [(name, cap)].into_iter().chain(siblings).map(|(name, cap)| format!("{name} {cap}")).collect();
    if more > 0 {
        list.push(format!("{more} more"));
    }
    list.join(", ")
}

fn closed_by_the_server(facts: &Facts<'_>) -> Option<Advice> {
    let (limit, name) = facts.server?.idle_limit?;
    let Settings { idle_timeout, min_idle, pool_recycle, keepalive, .. } = *facts.settings;
    // What is to be kept ready has no idle_timeout.
    let kept = [idle_timeout.filter(|_| min_idle == 0), pool_recycle].into_iter().flatten().min();
    let kept_alive = keepalive.is_some_and(|every| every < limit);
    if kept_alive || kept.is_some_and(|kept| kept < limit) {
        return None;
    }
    let kept = kept.map_or_else(|| "for ever".to_owned(), |kept| format!("for {}", short(kept)));
    let reason = "the server closes it first, and a request finds out by a failed ping";
    let server = format!("the server for {} ({name})", short(limit));
    if min_idle == 0 {
        let cure = format!("set idle_timeout below {}", short(limit));
        return warning("idle_timeout", format!("the pool keeps an idle connection {kept}, {server}"), reason, cure);
    }
    warning(
        "keepalive",
        format!("the pool keeps an idle connection of min_idle = {min_idle} {kept}, {server}"),
        reason,
        format!(
            "set keepalive below {}, which has them tested in time; idle_timeout does not concern them",
            short(limit)
        ),
    )
}

/// Fewer acquires than this say nothing.
const ENOUGH: u64 = 100;

/// How much of this happened since the pool got its present size.
fn since(facts: &Facts<'_>, count: impl Fn(&Totals) -> u64) -> u64 {
    count(&facts.status.totals).saturating_sub(facts.past.map_or(0, |past| count(&past.totals)))
}

fn waits(facts: &Facts<'_>) -> Option<Advice> {
    let Facts { status, timings, .. } = facts;
    // Who ran out of time, or gave up, had waited, too.
    let vain = since(facts, |totals| totals.timeouts + totals.cancelled);
    let timeouts = since(facts, |totals| totals.timeouts);
    let asked = since(facts, |totals| totals.acquired) + vain;
    let waited = since(facts, |totals| totals.waited) + vain;
    if asked < ENOUGH || waited * 100 < asked {
        return None;
    }
    let part = |of: u64, whole: u64| share(of as f64 / whole as f64);
    let mut finding = format!("{} of {asked} acquires waited", part(waited, asked));
    if vain > 0 {
        finding += &format!(", {} in vain ({timeouts} ran out of time)", part(vain, asked));
    }
    let waits = facts
        .past
        .map_or_else(|| timings.acquire_wait.clone(), |past| timings.acquire_wait.since(&past.timings.acquire_wait));
    if let Some(longest) = waits.quantile(0.99) {
        let served = if vain > 0 { " that were served" } else { "" };
        finding += &format!(", 99 of 100{served} for no longer than {}", short(longest));
    }
    let found_full = since(facts, |totals| totals.found_full);
    if found_full * 2 < waited {
        // Refused connects keep callers waiting, too, and those no number of idle connections cures.
        if since(facts, |totals| totals.connect_errors) * 100 >= waited {
            return None;
        }
        let mean = timings.connect.mean().map(|mean| format!(" ({} each)", short(mean))).unwrap_or_default();
        let (some, others) = match found_full {
            0 => ("none".to_owned(), "it"),
            some => (part(some, waited), "for the others it"),
        };
        return hint(
            "min_idle",
            format!("{finding}; {some} of those who waited found all connections in use"),
            format!(
                "{others} was not for somebody to give one back: for connects{mean}, for tests or cleaning, or while lending was paused"
            ),
            "where it was for connects, keep more ready by min_idle, keep them longer by idle_timeout, or warm the pool up before the \
             service is ready",
        );
    }
    let cap = facts.settings.cap().unwrap_or(u32::MAX);
    let full = status.full.as_secs_f64() / status.sized.as_secs_f64().max(f64::MIN_POSITIVE);
    finding = format!("{finding}; all {cap} connections were in use for {} of the time", share(full));
    let whole = timings.hold.sum().as_secs_f64();
    // A place among many is not to blame.
    let held = |site: &SiteTimings| site.hold.sum().as_secs_f64() / whole;
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
    // One in a hundred, as with waits.
    match timeouts * 100 >= asked {
        true => warning("pool_size", finding, reason, cure),
        false => hint("pool_size", finding, reason, cure),
    }
}

fn churn(facts: &Facts<'_>) -> Option<Advice> {
    let closed = since(facts, |totals| totals.closed_by.of(CloseReason::Overflow));
    let acquired = since(facts, |totals| totals.acquired);
    if closed < ENOUGH || closed * 100 < acquired {
        return None;
    }
    let each = facts.timings.connect.mean().map(|mean| format!(", {} each", short(mean))).unwrap_or_default();
    hint(
        "overflow_linger",
        format!("{closed} connections above pool_size were opened and closed again for {acquired} acquires"),
        format!("whoever needs one waits for a connect{each}"),
        "raise pool_size, or let them stay for a moment: overflow_linger = \"10s\"",
    )
}

/// `7 %`, `0.4 %`
fn share(part: f64) -> String {
    match part * 100.0 {
        percent if percent < 0.1 => "less than 0.1 %".to_owned(),
        percent if percent >= 1.0 => format!("{percent:.0} %"),
        percent => format!("{percent:.1} %"),
    }
}

#[cfg(all(test, feature = "sqlite", feature = "postgres"))]
mod tests {
    use super::*;
    use crate::backend::Login;
    use crate::{SqlitePool, Watchable};
    use std::future::Future;

    fn postgres(url: &str) -> DatabaseSettings {
        // Nothing to say about these.
        DatabaseSettings::new(url).expect("a good url").with_idle_timeout(Duration::from_secs(600))
    }

    async fn idle_pool() -> SqlitePool {
        SqlitePool::connect(DatabaseSettings::new("sqlite::memory:").expect("a good url"))
            .await
            .expect("SQLite is there")
    }

    /// A pool with these settings that is alone, and of whose server nothing is known.
    fn facts<'a>(database: &'a DatabaseSettings, status: &'a Status, timings: &'a Timings) -> Facts<'a> {
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
    async fn given(database: DatabaseSettings, server: Option<Server>, past: impl FnOnce(&mut Status)) -> Vec<String> {
        given_beside(&[], database, server, past).await
    }

    async fn given_beside(
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
        advice(&facts).iter().map(|a| format!("{} {}: {}", a.weight.as_str(), a.setting, a.finding)).collect()
    }

    async fn check(database: DatabaseSettings, server: Option<Server>, expected: &[&str]) {
        assert_eq!(given(database, server, |_| {}).await, expected);
    }

    fn limit(most: u32, what: &'static str, others: u32) -> Limit {
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
        pool.reconfigure(pool.settings().with_pool_size(2)).unwrap();
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
        pool.reconfigure(pool.settings().with_slow_acquire(Duration::from_secs(9))).unwrap();
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
