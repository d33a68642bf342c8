//! The document: what the page and other programs read. Its reference is a page of the book, which a test holds against it.

use super::{
    Inner, Pool,
    history::{Recent, quantile},
    lock,
};
use crate::{Histogram, MaxOverflow, Site, Watched};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant, SystemTime};

/// Changes when something is renamed or left out. What is added does not change it.
const SCHEMA: u32 = 1;

/// Sites that are told of: those with the most connection time.
const SITES: usize = 20;

impl Inner {
    /// The document; with the looks from a number on, if they are asked for.
    pub(super) fn json(&self, since: Option<u64>) -> String {
        let (now, instant) = (SystemTime::now(), Instant::now());
        let history = lock(&self.history);
        let mut document = json!({
            "schema": SCHEMA,
            "now_unix_seconds": unix(now),
            "started_unix_seconds": unix(self.since),
        });
        let mut pools: Vec<Value> = Vec::new();
        for (i, pool) in self.pools.iter().enumerate() {
            let recent = |status: &_, timings: &_| history.recent(i, status, timings, instant);
            pools.push(pool.json(now, recent));
        }
        if let Some(number) = since {
            let ago = history.since(number).map(|look| instant.saturating_duration_since(look.at));
            document["history"] =
                json!({ "next": history.next(), "seconds_ago": ago.map(seconds).collect::<Vec<_>>() });
            for (i, pool) in pools.iter_mut().enumerate() {
                let points = || history.since(number).map(|look| look.pools[i]);
                pool["history"] = json!({
                    "utilisation": points().map(|point| point.utilisation).collect::<Vec<_>>(),
                    "wait_seconds": points().map(|point| point.wait.map(seconds)).collect::<Vec<_>>(),
                    "failed": points().map(|point| point.failed).collect::<Vec<_>>(),
                });
            }
        }
        document["pools"] = pools.into();
        document.to_string()
    }
}

impl Pool {
    fn json(&self, now: SystemTime, recent: impl Fn(&crate::Status, &crate::Timings) -> Recent) -> Value {
        let (status, timings, settings) = (self.watched.status(), self.watched.timings(), self.watched.settings());
        let (totals, recent) = (&status.totals, recent(&status, &timings));
        let max_overflow = match status.max_overflow {
            MaxOverflow::Limited(n) => Some(n),
            MaxOverflow::Unlimited => None,
        };
        let place = self.watched.place();
        let ended = self.watched.statement_timeouts();
        let events = lock(&self.events);
        json!({
            "name": status.name,
            "database": {
                "system": self.watched.system(), "host": place.host, "port": place.port, "name": place.database,
            },
            "health": format!("{:?}", status.health).to_lowercase(),
            "connect_failures_in_a_row": status.connect_failures,
            "closed": status.closed,
            "paused": status.paused,
            "utilisation": status.utilisation(),
            "connections": {
                "pool_size": status.pool_size,
                "max_overflow": max_overflow,
                "limit": max_overflow.map(|n| status.pool_size.saturating_add(n)),
                "open": status.open,
                "in_use": status.in_use,
                "peak": status.peak,
                "idle": status.idle,
                "opening": status.opening,
                "pinging": status.pinging,
                "resetting": status.resetting,
                "closing": status.closing,
                "overflow": status.overflow,
                "abandoned": status.abandoned,
            },
            "waiting": { "callers": status.waiting, "longest_seconds": status.oldest_wait.map(seconds) },
            "limits": {
                "pool_timeout_seconds": seconds(settings.pool_timeout),
                "connection_timeout_seconds": seconds(settings.connection_timeout),
                "slow_acquire_seconds": seconds(settings.slow_acquire),
                "leak_after_seconds": settings.leak_after.map(seconds),
                "idle_timeout_seconds": settings.idle_timeout.map(seconds),
                "pool_recycle_seconds": settings.pool_recycle.map(seconds),
                "max_waiting": settings.max_waiting,
            },
            "last_minute": {
                "seconds": seconds(recent.span),
                "acquired": recent.acquired,
                "waited": recent.waited,
                "failed": recent.failed,
                "timeouts": recent.timeouts,
                "cancelled": recent.cancelled,
                "p95_of_all_seconds": recent.served_within(0.95).map(seconds),
                "wait_seconds": spread(&recent.waits),
                "hold_seconds": spread(&recent.holds),
            },
            "total": {
                "sized_seconds": seconds(status.sized),
                "full_seconds": seconds(status.full),
                "acquired": totals.acquired,
                "waited": totals.waited,
                "released": totals.released,
                "timeouts": totals.timeouts,
                "refused": totals.refused,
                "connect_failures": totals.connect_failures,
                "rejected_closed": totals.rejected_closed,
                "cancelled": totals.cancelled,
                "opened": totals.opened,
                "connect_errors": totals.connect_errors,
                "connect_errors_by_type": self.watched.connect_errors(),
                "closed_by": totals.closed_by.iter().map(|(why, n)| (why.as_str().into(), n.into())).collect::<Map<_, _>>(),
                "pings": totals.pings,
                "resets": totals.resets,
                "statement_timeouts_by_server": ended.server,
                "statement_timeouts_by_client": ended.client,
                "wait_seconds": spread(&timings.acquire_wait),
                "hold_seconds": spread(&timings.hold),
                "connect_seconds": spread(&timings.connect),
                "ping_seconds": spread(&timings.ping),
            },
            "holders": self.watched.holders().iter().map(|holder| with(site(&holder.site), json!({
                "connections": holder.count, "longest_seconds": seconds(holder.longest),
            }))).collect::<Vec<_>>(),
            "sites": self.watched.sites().iter().take(SITES).map(|held| with(site(&held.site), json!({
                "hold_seconds": spread(&held.hold), "sum_seconds": seconds(held.hold.sum()),
            }))).collect::<Vec<_>>(),
            "advice": self.watched.advice().iter().map(|advice| json!({
                "weight": advice.weight.as_str(),
                "setting": advice.setting,
                "finding": advice.finding,
                "reason": advice.reason,
                "cure": advice.cure,
            })).collect::<Vec<_>>(),
            "refusals": refusals(&self.watched, now),
            "events": events.latest().map(|event| json!({
                "kind": event.kind,
                "level": event.level.as_str(),
                "text": event.text,
                "times": event.times,
                "seconds_ago": ago(event.last, now),
            })).collect::<Vec<_>>(),
        })
    }
}

/// Why acquires ended with an error: counts that are not zero, and the latest, newest first.
fn refusals(watched: &Watched, now: SystemTime) -> Value {
    let by_verdict = watched.refused().into_iter().filter(|(_, n)| *n > 0);
    json!({
        "by_verdict": by_verdict.map(|(verdict, n)| (verdict.code().into(), n.into())).collect::<Map<_, _>>(),
        "recent": watched.refusals().iter().rev().map(|refusal| json!({
            "seconds_ago": ago(refusal.at, now),
            "verdict": refusal.verdict.code(),
            "asked_by": site(&refusal.site),
            "waited_seconds": seconds(refusal.waited),
            "reason": refusal.message,
        })).collect::<Vec<_>>(),
    })
}

fn site(site: &Site) -> Value {
    let file = Some(site.file()).filter(|file| !file.is_empty());
    json!({ "handler": site.name(), "file": file, "line": file.map(|_| site.line()) })
}

fn with(mut object: Value, more: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

fn spread(values: &Histogram) -> Value {
    let quantile = |share| quantile(values, share).map(seconds);
    json!({
        "count": values.count(),
        "mean": values.mean().map(seconds),
        "p50": quantile(0.5),
        "p95": quantile(0.95),
        "p99": quantile(0.99),
        "max": quantile(1.0),
    })
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// A clock that was set back shows nothing from the future.
fn ago(then: SystemTime, now: SystemTime) -> f64 {
    seconds(now.duration_since(then).unwrap_or_default())
}

fn unix(time: SystemTime) -> f64 {
    seconds(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
