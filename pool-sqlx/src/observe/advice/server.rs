//! What the server grants, and what it does not take.

use super::{Advice, Facts, hint, warning};
use crate::{
    Settings,
    backend::Limit,
    observe::siblings::{self, Sibling},
};
use pool_core::short;
use std::cmp::Reverse;

pub(super) fn swallowed(facts: &Facts<'_>) -> Option<Advice> {
    if !facts.swallowed {
        return None;
    }
    let limit = facts.database.statement_timeout?;
    warning(
        "statement_timeout",
        &format!("the server did not take {}", short(limit)),
        "something on the way drops it, most likely a pooler, so it is kept by the client alone and nothing is cancelled on the server; a \
         pooler of transactions would mix prepared statements up, too",
        "keep pooler = \"direct\" if it pools sessions, and let it pass start-up options on; else set \"unprepared\", or \"prepared\" if it \
         keeps prepared statements apart",
    )
}

pub(super) fn no_room_at_the_server(facts: &Facts<'_>) -> Option<Advice> {
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
        warning("pool_size", &format!("{finding} are more than {what} ({most})"), &reason, &cure)
    } else if left(limit, i128::from(instances) + 1) < 0 {
        let reason = "a rolling deployment starts the next instance before it ends the last";
        hint("pool_size", &format!("{finding} leave no room for one more within {what} ({most})"), reason, &cure)
    } else {
        None
    }
}

/// `primary 15, reports 2`: this pool first, then its largest siblings.
fn listed(name: &str, cap: u32, siblings: &[&Sibling]) -> String {
    const MOST: usize = 4;
    let mut siblings: Vec<_> = siblings.iter().map(|sibling| (Reverse(sibling.cap), &*sibling.name)).collect();
    siblings.sort_unstable();
    let more = siblings.split_off(siblings.len().min(MOST - 1)).len();
    let pools = [(Reverse(cap), name)].into_iter().chain(siblings).map(|(Reverse(cap), name)| format!("{name} {cap}"));
    let more = (more > 0).then(|| format!("{more} more"));
    pools.chain(more).collect::<Vec<_>>().join(", ")
}

pub(super) fn closed_by_the_server(facts: &Facts<'_>) -> Option<Advice> {
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
        return warning("idle_timeout", &format!("the pool keeps an idle connection {kept}, {server}"), reason, &cure);
    }
    warning(
        "keepalive",
        &format!("the pool keeps an idle connection of min_idle = {min_idle} {kept}, {server}"),
        reason,
        &format!(
            "set keepalive below {}, which has them tested in time; idle_timeout does not concern them",
            short(limit)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::advice;
    use super::super::tests::{check, facts, given_beside, idle_pool, limit, postgres};
    use super::*;
    use crate::{
        Watchable,
        backend::{Login, Server, Whom},
    };
    use std::time::Duration;

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
}
