//! Bare numbers that were meant as milliseconds. Here they are seconds, as in SQLAlchemy.

use std::time::Duration;

use figment::value::Value;

use super::{
    duration,
    reference::reference,
    value::{SettingKind, SettingValue as _, whole},
};

/// Limits for what lasts for seconds.
const SHORT: [&str; 4] = ["pre_ping_after", "ping_timeout", "reset_timeout", "slow_acquire"];

/// Limits for what may last for minutes.
const LIMITS: [&str; 6] = [
    "pool_timeout",
    "connection_timeout",
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_timeout",
    "shutdown_grace",
];

/// Refuses a bare number that is a usual number of milliseconds and no usual number of seconds, such as `statement_timeout = 30000`.
/// 1800, 3600 and 7200 are left alone, and so is everything with a unit.
pub(super) fn check(key: &'static str, value: &Value) -> Result<(), String> {
    let is_duration = |kind| matches!(kind, SettingKind::Duration | SettingKind::DurationOrNone);
    if !reference().iter().any(|setting| setting.key == key && is_duration(setting.kind)) {
        return Ok(());
    }
    let Some(number) = bare(value) else { return Ok(()) };
    let (least, step) = match key {
        _ if SHORT.contains(&key) => (100, 50),
        _ if LIMITS.contains(&key) => (1_000, 500),
        // A day has 86,400 seconds, a week 604,800.
        "pool_recycle" => (100_000, 1_000),
        _ => (10_000, 1_000),
    };
    if number < least || number % step != 0 {
        return Ok(());
    }
    let Ok(seconds) = Duration::read(value) else { return Ok(()) };
    let (meant, long) = (duration::written(Duration::from_millis(number)), duration::written(seconds));
    Err(format!(
        "{number} is {number} seconds, and looks like milliseconds; write \"{meant}\", or \"{long}\" if that is meant"
    ))
}

/// What is probably meant as milliseconds and may be seconds.
pub(super) fn doubt(key: &'static str, value: &Value) -> Option<String> {
    let number = bare(value)?;
    let is_waiting = ["pool_timeout", "connection_timeout", "lock_timeout"].contains(&key);
    (is_waiting && (100..1_000).contains(&number) && number % 50 == 0).then(|| {
        format!(
            "{key} = {number} is {number} seconds; write \"{number}ms\" if milliseconds are meant, else \"{number}s\""
        )
    })
}

/// A whole number without a unit.
fn bare(value: &Value) -> Option<u64> {
    match value {
        Value::String(_, text) => text.trim().parse().ok(),
        value => whole(value)?.try_into().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_looks_like_milliseconds_is_refused_with_both_ways_to_write_it() {
        fn check(key: &'static str, value: impl Into<Value>, meant: Option<[&str; 2]>) {
            let value = value.into();
            let problem = super::check(key, &value).err();
            assert_eq!(problem.is_some(), meant.is_some(), "{key} = {value:?}: {problem:?}");
            for (problem, meant) in problem.iter().zip(meant) {
                assert!(meant.iter().all(|way| problem.contains(&format!("\"{way}\""))), "{key}: {problem}");
            }
        }
        check("statement_timeout", 30_000, Some(["30s", "500m"]));
        check("statement_timeout", "30000", Some(["30s", "500m"]));
        check("lock_timeout", 1_500, Some(["1500ms", "25m"]));
        check("pool_timeout", 5_000, Some(["5s", "5000s"]));
        check("ping_timeout", 250, Some(["250ms", "250s"]));
        check("slow_acquire", 500, Some(["500ms", "500s"]));
        check("pool_recycle", 1_800_000, Some(["30m", "500h"]));
        check("idle_timeout", 600_000, Some(["10m", "10000m"]));
        check("leak_after", 60_000, Some(["1m", "1000m"]));
        // What people write in seconds, and what has a unit.
        for (key, seconds) in [
            ("statement_timeout", 10),
            ("statement_timeout", 300),
            ("statement_timeout", 1_800),
            ("statement_timeout", 3_600),
            ("statement_timeout", 7_200),
            ("pool_timeout", 30),
            ("pool_timeout", 500),
            ("ping_timeout", 5),
            ("pool_recycle", 7_200),
            ("pool_recycle", 86_400),
            ("pool_recycle", 604_800),
            ("idle_timeout", 3_600),
            ("keepalive", 240),
        ] {
            check(key, seconds, None);
        }
        check("statement_timeout", "30000ms", None);
        check("statement_timeout", "5000s", None);
        check("statement_timeout", "10.0", None);
        check("pool_size", 1_000, None);
        check("max_uses", 10_000, None);
    }

    #[test]
    fn a_number_that_may_be_either_is_doubted() {
        let is_doubted = |key, value: Value| doubt(key, &value).is_some();
        assert!(is_doubted("pool_timeout", 500.into()) && is_doubted("connection_timeout", "250".into()));
        assert!(!is_doubted("pool_timeout", 30.into()) && !is_doubted("pool_timeout", "500s".into()));
        assert!(!is_doubted("pool_timeout", 120.into()) && !is_doubted("statement_timeout", 300.into()));
    }
}
