//! Poolers that are known by their host.

use crate::{Pooler, Secret};

/// Which pooler answers at a well-known host, or as the url says in the words of others, and how we know.
pub(crate) fn guess(url: &Secret) -> Option<(Pooler, &'static str)> {
    let url = url::Url::parse(url.expose()).ok()?;
    let (host, port) = (url.host_str().unwrap_or_default(), url.port().unwrap_or(5432));
    if host.contains("-pooler.") && host.ends_with(".neon.tech") {
        Some((Pooler::Prepared, "a -pooler. host of neon.tech is a PgBouncer that keeps prepared statements"))
    } else if host.ends_with(".pooler.supabase.com") && port == 6543 {
        Some((Pooler::Unprepared, "port 6543 of pooler.supabase.com pools transactions"))
    } else if host.ends_with(".postgres.database.azure.com") && port == 6432 {
        Some((Pooler::Unprepared, "port 6432 of postgres.database.azure.com is a PgBouncer"))
    } else if url.query_pairs().any(|(key, value)| key == "pgbouncer" && value.eq_ignore_ascii_case("true")) {
        Some((Pooler::Unprepared, "the url has pgbouncer=true, with which others do without prepared statements"))
    } else {
        None
    }
}

/// Whether a well-known host pools sessions at this port: they are kept, although start-up options are not.
pub(crate) fn pools_sessions(url: &Secret) -> bool {
    url::Url::parse(url.expose()).is_ok_and(|url| {
        url.host_str().is_some_and(|host| host.ends_with(".pooler.supabase.com"))
            && matches!(url.port(), None | Some(5432))
    })
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use super::*;

    #[test]
    fn poolers_are_known_by_their_host() {
        fn check(url: &str, expected: Option<Pooler>) {
            assert_eq!(guess(&Secret::new(url)).map(|(pooler, _)| pooler), expected, "{url}");
        }
        check("postgres://app@ep-cool-rain-123-pooler.eu-central-1.aws.neon.tech/app", Some(Pooler::Prepared));
        check("postgres://app@ep-cool-rain-123.eu-central-1.aws.neon.tech/app", None);
        check("postgres://app@aws-0-eu-west-1.pooler.supabase.com:6543/app", Some(Pooler::Unprepared));
        let sessions = "postgres://app@aws-0-eu-west-1.pooler.supabase.com:5432/app";
        check(sessions, None);
        assert!(pools_sessions(&Secret::new(sessions)));
        assert!(!pools_sessions(&Secret::new("postgres://app@aws-0-eu-west-1.pooler.supabase.com:6543/app")));
        check("postgres://app@db.postgres.database.azure.com:6432/app", Some(Pooler::Unprepared));
        check("postgres://app@my-pooler.internal/app", None);
        check("postgres://app@pooler.internal:6432/app?pgbouncer=true", Some(Pooler::Unprepared));
        check("postgres://app@pooler.internal:6432/app?pgbouncer=false", None);
        check(
            "postgres://app@ep-cool-rain-123-pooler.eu-central-1.aws.neon.tech/app?pgbouncer=true",
            Some(Pooler::Prepared),
        );
        check("postgres:///app?host=/run/pg", None);
    }
}
