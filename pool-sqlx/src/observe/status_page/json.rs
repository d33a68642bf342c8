//! The document: what the page and other programs read. Its reference is a page of the book, which a test holds against it.

use super::{
    Inner, Pool,
    history::{Mark, Recent, failed, quantile},
};
use crate::{Histogram, MaxOverflow, Site, Watched, observe::lock};
use serde_json::{Map, Value, json};
use std::{
    fmt::Debug,
    time::{Duration, Instant, SystemTime},
};

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
        let pools = self.pools.iter().enumerate();
        let pools = pools.map(|(i, pool)| pool.json(now, &history.recent(i, &pool.watched, instant)));
        let mut pools: Vec<Value> = pools.collect();
        if let Some(number) = since {
            let looks = || history.since(number);
            let ago = list(looks(), |look| seconds(instant.saturating_duration_since(look.at)).into());
            document["history"] = json!({ "next": history.next(), "seconds_ago": ago });
            for (i, pool) in pools.iter_mut().enumerate() {
                pool["history"] = json!({
                    "utilisation": list(looks(), |look| look.pools[i].utilisation.into()),
                    "wait_seconds": list(looks(), |look| look.pools[i].wait.map(seconds).into()),
                    "failed": list(looks(), |look| look.pools[i].failed.into()),
                });
            }
        }
        document["pools"] = pools.into();
        document.to_string()
    }
}

/// An object of these fields, each by its own name.
macro_rules! fields {
    ($of:expr; $($field:ident)*) => { json!({ $(stringify!($field): $of.$field),* }) };
}

/// An object of these durations, each by its name and its unit.
macro_rules! durations {
    ($of:expr; $($field:ident)*) => {
        json!({ $(concat!(stringify!($field), "_seconds"): Option::from($of.$field).map(seconds)),* })
    };
}

impl Pool {
    fn json(&self, now: SystemTime, recent: &Recent) -> Value {
        let Mark { status, timings, .. } = &recent.now;
        let (totals, settings) = (&status.totals, self.watched.settings());
        let max_overflow = match status.max_overflow {
            MaxOverflow::Limited(n) => Some(n),
            MaxOverflow::Unlimited => None,
        };
        let place = self.watched.place();
        let closed_by = totals.closed_by.iter().map(|(why, n)| (why.as_str().into(), n.into()));
        with(
            fields!(status; name closed paused),
            json!({
                "database": with(fields!(place; host port), json!({ "system": self.watched.system(), "name": place.database })),
                "health": word(status.health),
                "connect_failures_in_a_row": status.connect_failures,
                "utilisation": status.utilisation(),
                "connections": with(
                    fields!(status; pool_size open in_use peak idle opening pinging resetting closing overflow abandoned),
                    json!({ "max_overflow": max_overflow, "limit": max_overflow.map(|n| status.pool_size.saturating_add(n)) }),
                ),
                "waiting": { "callers": status.waiting, "longest_seconds": status.oldest_wait.map(seconds) },
                "limits": with(
                    durations!(settings; pool_timeout connection_timeout slow_acquire leak_after idle_timeout pool_recycle),
                    fields!(settings; max_waiting),
                ),
                "last_minute": {
                    "seconds": seconds(recent.span()),
                    "acquired": recent.added(|totals| totals.acquired),
                    "waited": recent.added(|totals| totals.waited),
                    "failed": recent.added(failed),
                    "timeouts": recent.added(|totals| totals.timeouts),
                    "cancelled": recent.added(|totals| totals.cancelled),
                    "p95_of_all_seconds": recent.served_within(0.95).map(seconds),
                    "wait_seconds": spread(&recent.waits()),
                    "hold_seconds": spread(&recent.holds()),
                },
                "total": with(
                    with(
                        fields!(totals; acquired waited released timeouts refused connect_failures rejected_closed cancelled
                            opened connect_errors pings resets),
                        durations!(status; sized full),
                    ),
                    json!({
                        "connect_errors_by_type": self.watched.connect_errors(),
                        "closed_by": closed_by.collect::<Map<_, _>>(),
                        "statement_timeouts_by_server": self.watched.statement_timeouts_by_server(),
                        "statement_timeouts_by_client": self.watched.statement_timeouts_by_client(),
                        "wait_seconds": spread(&timings.acquire_wait),
                        "hold_seconds": spread(&timings.hold),
                        "connect_seconds": spread(&timings.connect),
                        "ping_seconds": spread(&timings.ping),
                    }),
                ),
                "holders": list(&self.watched.holders(), |holder| with(site(&holder.site), json!({
                    "connections": holder.count, "longest_seconds": seconds(holder.longest),
                }))),
                "sites": list(self.watched.sites().iter().take(SITES), |held| with(site(&held.site), json!({
                    "hold_seconds": spread(&held.hold), "sum_seconds": seconds(held.hold.sum()),
                }))),
                "advice": list(&self.watched.advice(), |advice| {
                    with(fields!(advice; setting finding reason cure), json!({ "weight": advice.weight.to_string() }))
                }),
                "refusals": refusals(&self.watched, now),
                "events": list(lock(&self.events).latest(), |event| {
                    with(fields!(event; kind text times), json!({ "level": word(event.level), "seconds_ago": ago(event.last, now) }))
                }),
            }),
        )
    }
}

/// Why acquires ended with an error: counts that are not zero, and the latest, newest first.
fn refusals(watched: &Watched, now: SystemTime) -> Value {
    let by_verdict = watched.refused().into_iter().filter(|(_, n)| *n > 0);
    json!({
        "by_verdict": by_verdict.map(|(verdict, n)| (verdict.code().into(), n.into())).collect::<Map<_, _>>(),
        "recent": list(watched.refusals().iter().rev(), |refusal| json!({
            "seconds_ago": ago(refusal.at, now),
            "verdict": refusal.verdict.code(),
            "asked_by": site(&refusal.site),
            "waited_seconds": seconds(refusal.waited),
            "reason": refusal.message,
        })),
    })
}

fn site(site: &Site) -> Value {
    let file = Some(site.file()).filter(|file| !file.is_empty());
    json!({ "handler": site.name(), "file": file, "line": file.map(|_| site.line()) })
}

fn list<T>(of: impl IntoIterator<Item = T>, entry: impl Fn(T) -> Value) -> Value {
    of.into_iter().map(entry).collect()
}

/// The name of a variant, as the document spells it.
fn word(variant: impl Debug) -> String {
    format!("{variant:?}").to_lowercase()
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
