//! Settings that fight each other, or what stands before the service.

use super::{Advice, Facts, hint, warning};
use crate::{MaxOverflow, Settings, backend::Whom};
use pool_core::short;
use std::time::Duration;

pub(super) fn no_statement_timeout(facts: &Facts<'_>) -> Option<Advice> {
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

/// Heroku's router ends a request after 30 s (H12), nginx after 60 s (`proxy_read_timeout`), AWS's load balancers after 60 s (idle timeout).
pub(super) fn longer_than_proxies_wait(facts: &Facts<'_>) -> Option<Advice> {
    const SHORTEST: Duration = Duration::from_secs(30);
    let (wait, statement) = (facts.settings.pool_timeout, facts.database.statement_timeout);
    if wait.saturating_add(statement.unwrap_or_default()) <= SHORTEST {
        return None;
    }
    let then = statement.map_or("any time".to_owned(), |limit| short(limit).to_string());
    hint(
        "pool_timeout",
        &format!("a request may wait {} for a connection and {then} for a statement", short(wait)),
        "what stands before a service gives up earlier: Heroku's router after 30 s, nginx and AWS's load balancers after 60 s; its client is \
         gone then, and the work is for nobody",
        "let both together stay below the limit of whatever stands before this service",
    )
}

pub(super) fn reported_as_leak_within_its_limit(facts: &Facts<'_>) -> Option<Advice> {
    let (leak, statement) = (facts.settings.leak_after?, facts.database.statement_timeout?);
    if leak > statement {
        return None;
    }
    hint(
        "leak_after",
        &format!("it is {}, and a statement may take {}", short(leak), short(statement)),
        "a slow statement within its limit is reported as a leak",
        "set leak_after above the longest that a request may hold a connection",
    )
}

pub(super) fn unlimited(facts: &Facts<'_>) -> Option<Advice> {
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
        &format!("a burst opens connections up to {up_to}, and then new ones are refused to {whom}"),
        "set a limit; callers beyond it wait their turn for pool_timeout",
    )
}

pub(super) fn lifo_without_idle_timeout(facts: &Facts<'_>) -> Option<Advice> {
    let Settings { pool_use_lifo, idle_timeout, min_idle, pool_size, pool_recycle, .. } = *facts.settings;
    let keeps_all = facts.database.url.expose().starts_with("sqlite") || pool_size <= min_idle.max(1);
    if !pool_use_lifo || idle_timeout.is_some() || keeps_all {
        return None;
    }
    hint(
        "idle_timeout",
        &format!("there is none, and pool_use_lifo lends the same few connections of {pool_size} first"),
        match pool_recycle {
            Some(_) => "after a burst the others stay open unused, until pool_recycle replaces them",
            None => "after a burst the others stay open unused",
        },
        "set idle_timeout (\"10m\") so that they are closed, unless they are to stay ready for the next burst",
    )
}

pub(super) fn untested_and_never_replaced(facts: &Facts<'_>) -> Option<Advice> {
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

pub(super) fn asleep(facts: &Facts<'_>) -> Option<Advice> {
    const WAKING: Duration = Duration::from_secs(10);
    let limit = facts.settings.connection_timeout.min(facts.settings.pool_timeout);
    if !is_serverless(facts) || limit >= WAKING {
        return None;
    }
    warning(
        "connection_timeout",
        &format!("a request gives up after {}", short(limit)),
        "a suspended database of this host needs up to 10 s to wake",
        "set connection_timeout and pool_timeout to 10s or more, or keep the database from suspending",
    )
}

pub(super) fn kept_awake(facts: &Facts<'_>) -> Option<Advice> {
    let Settings { keepalive, idle_timeout, min_idle, .. } = *facts.settings;
    let every = keepalive.filter(|_| is_serverless(facts))?;
    if min_idle == 0 && idle_timeout.is_some_and(|closed| closed <= every) {
        // None gets so old without work.
        return None;
    }
    hint(
        "keepalive",
        &format!("idle connections are pinged every {}", short(every)),
        "a serverless database that is asked something never suspends, and its time is billed",
        "leave keepalive out if the database may sleep, or switch suspending off at the host if it may not",
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, postgres};
    use super::*;
    use crate::DatabaseSettings;

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
}
