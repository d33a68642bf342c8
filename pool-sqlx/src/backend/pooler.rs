//! What a transaction pooler before PostgreSQL changes: what is guessed of it, and what cannot work through it.
//!
//! Each transaction may run on another server connection. What a session holds is therefore lost, or left to strangers; and a
//! statement that is prepared in one round trip and run in the next may be run as somebody else's, with wrong rows and no error.

use crate::{Pooler, executor::after_comments};

/// Which pooler answers at a well-known host, and how we know.
#[cfg(feature = "postgres")]
pub(crate) fn guess(url: &crate::Secret) -> Option<(Pooler, &'static str)> {
    let url = sqlx_core::Url::parse(url.expose()).ok()?;
    let (host, port) = (url.host_str()?, url.port().unwrap_or(5432));
    if host.contains("-pooler.") && host.ends_with(".neon.tech") {
        Some((Pooler::Prepared, "a -pooler. host of neon.tech is a PgBouncer that keeps prepared statements"))
    } else if host.ends_with(".pooler.supabase.com") && port == 6543 {
        Some((Pooler::Unprepared, "port 6543 of pooler.supabase.com pools transactions"))
    } else if host.ends_with(".postgres.database.azure.com") && port == 6432 {
        Some((Pooler::Unprepared, "port 6432 of postgres.database.azure.com is a PgBouncer"))
    } else {
        None
    }
}

/// Why a statement cannot be sent through a pooler, and what to do instead. By keyword: what functions hide is not seen.
///
/// `alone` says that the protocol takes the text as one statement.
pub(crate) fn refusal(pooler: Pooler, sql: &str, alone: bool, in_transaction: bool) -> Option<String> {
    if pooler == Pooler::Direct {
        return None;
    }
    let advice = if alone {
        advice(pooler, sql, in_transaction)
    } else {
        sql.split(';').find_map(|part| advice(pooler, part, in_transaction))
    }?;
    let mode = match pooler {
        Pooler::Prepared => "prepared",
        _ => "unprepared",
    };
    Some(format!("refused, for it cannot work with pooler = \"{mode}\": {advice}"))
}

fn advice(pooler: Pooler, sql: &str, in_transaction: bool) -> Option<&'static str> {
    let mut words =
        after_comments(sql).split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    let mut next = || words.next().map(str::to_ascii_lowercase).unwrap_or_default();
    let (first, second, third) = (next(), next(), next());
    match first.as_str() {
        "listen" | "unlisten" => Some("LISTEN needs a session of its own; use pool.listen() with listen_url"),
        "set" if matches!(second.as_str(), "local" | "transaction" | "constraints") => None,
        "set" | "reset" | "load" => Some(
            "a setting of the session would stay with a stranger; use SET LOCAL in a transaction, or ALTER ROLE .. SET",
        ),
        "prepare" if second == "transaction" => None,
        "prepare" | "execute" | "deallocate" | "discard" => {
            Some("prepared statements by name belong to the session; leave them to sqlx")
        }
        "create"
            if !in_transaction
                && matches!(
                    (second.as_str(), third.as_str()),
                    ("temp" | "temporary", _) | (_, "temp" | "temporary")
                ) =>
        {
            Some("a temporary table belongs to the session; create it in a transaction, with ON COMMIT DROP")
        }
        "rollback" if in_transaction && [second.as_str(), third.as_str()].contains(&"to") => None,
        "begin" | "start" | "commit" | "end" | "rollback" | "abort" if pooler == Pooler::Unprepared => {
            Some(if in_transaction {
                "the statements after it would be spread over several server connections; use tx.commit() or tx.rollback()"
            } else {
                "every statement runs in a transaction of ours; use pool.begin()"
            })
        }
        _ if holds_a_lock(sql) => Some(
            "an advisory lock of the session would stay with a stranger; use pg_advisory_xact_lock in a transaction",
        ),
        _ => None,
    }
}

fn holds_a_lock(sql: &str) -> bool {
    // Most statements have no such word, and this is the one look at their whole text.
    let lock = "advisory_lock";
    sql.as_bytes().windows(lock.len()).any(|window| window.eq_ignore_ascii_case(lock.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "postgres")]
    use crate::Secret;

    #[test]
    #[cfg(feature = "postgres")]
    fn poolers_are_known_by_their_host() {
        fn check(url: &str, expected: Option<Pooler>) {
            assert_eq!(guess(&Secret::new(url)).map(|(pooler, _)| pooler), expected, "{url}");
        }
        check("postgres://app@ep-cool-rain-123-pooler.eu-central-1.aws.neon.tech/app", Some(Pooler::Prepared));
        check("postgres://app@ep-cool-rain-123.eu-central-1.aws.neon.tech/app", None);
        check("postgres://app@aws-0-eu-west-1.pooler.supabase.com:6543/app", Some(Pooler::Unprepared));
        check("postgres://app@aws-0-eu-west-1.pooler.supabase.com:5432/app", None);
        check("postgres://app@db.postgres.database.azure.com:6432/app", Some(Pooler::Unprepared));
        check("postgres://app@my-pooler.internal/app", None);
        check("postgres:///app?host=/run/pg", None);
    }

    #[test]
    fn what_needs_a_session_is_refused_behind_a_pooler_only() {
        fn check(sql: &str, alone: bool, expected: Option<&str>) {
            for pooler in [Pooler::Prepared, Pooler::Unprepared] {
                let refused = refusal(pooler, sql, alone, false);
                assert_eq!(refused.is_some(), expected.is_some(), "{sql}: {refused:?}");
                assert!(refused.unwrap_or_default().contains(expected.unwrap_or_default()), "{sql}");
            }
            assert_eq!(refusal(Pooler::Direct, sql, alone, false), None);
        }
        check("LISTEN tracks", false, Some("listen_url"));
        check("set search_path = a", false, Some("SET LOCAL"));
        check("select 1; set search_path = a", false, Some("SET LOCAL"));
        check("select '; set search_path = a'", true, None);
        check("SET LOCAL search_path = a", false, None);
        check("set transaction read only", false, None);
        check("reset all", false, Some("ALTER ROLE"));
        check("select pg_try_advisory_lock(1)", true, Some("pg_advisory_xact_lock"));
        check("select pg_advisory_xact_lock(1)", true, None);
        check("create temp table t ()", false, Some("ON COMMIT DROP"));
        check("create table t ()", false, None);
        check("deallocate all", false, Some("sqlx"));
        check("select * from settings", true, None);
        assert_eq!(refusal(Pooler::Prepared, "begin", false, false), None);
        assert!(refusal(Pooler::Unprepared, "begin", false, false).is_some());
        for end in ["commit", "END", "rollback", "abort", "commit and chain", "begin"] {
            assert!(
                refusal(Pooler::Unprepared, end, false, true).is_some_and(|why| why.contains("tx.commit()")),
                "{end}"
            );
        }
        for partial in ["rollback to a", "ROLLBACK WORK TO SAVEPOINT a", "savepoint a", "release a"] {
            assert_eq!(refusal(Pooler::Unprepared, partial, false, true), None, "{partial}");
        }
        assert_eq!(refusal(Pooler::Unprepared, "create temp table t () on commit drop", false, true), None);
    }
}
