//! Parameters of a url that its driver does not know.

use super::reference::did_you_mean;
use crate::words::Secret;
use ::url::Url;

/// Parameters that platforms print, and what to know of each.
const KNOWN: [(&str, &str); 7] = [
    ("channel_binding", "sslmode=verify-full makes sure of the server instead"),
    ("connection_limit", "there is a setting pool_size"),
    ("target_session_attrs", "the host is taken as it is"),
    ("prepared_statement_cache_size", "behind a pooler, set pooler"),
    ("statement_cache_size", "behind a pooler, set pooler"),
    // Guesses the setting `pooler`.
    ("pgbouncer", ""),
    // Asks for what is done anyway.
    ("uselibpqcompat", ""),
];

/// Removes the parameters that the driver would not read, and logs a warning with the name of each.
///
/// sqlx would log their values too, which may be secret (`sslpassword`), or drop them silently.
pub(crate) fn without_unread(url: &Secret, is_read: impl Fn(&str) -> bool) -> String {
    let whole = url.expose();
    let Ok(mut parsed) = Url::parse(whole) else { return whole.to_owned() };
    let (read, unread): (Vec<_>, Vec<_>) =
        parsed.query_pairs().into_owned().partition(|(key, _): &(String, String)| is_read(key));
    if unread.is_empty() {
        return whole.to_owned();
    }
    for (key, value) in &unread {
        // What has no value may be anything, a torn password too.
        let is_name =
            !value.is_empty() && key.len() <= 40 && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let name = if is_name { key } else { "with an odd name" };
        let known = KNOWN.iter().find(|(name, _)| name == key).map(|(_, hint)| *hint);
        let hint = match (known, did_you_mean(key).filter(|_| is_name)) {
            // Nothing is lost with it.
            (Some(""), _) => continue,
            (Some(hint), _) => format!("; {hint}"),
            (None, Some(setting)) => format!("; there is a setting {setting}"),
            (None, None) => String::new(),
        };
        tracing::warn!(target: "pool", "the url's parameter {name} is not known to sqlx and has no effect{hint}");
    }
    parsed.set_query(None);
    if !read.is_empty() {
        parsed.query_pairs_mut().extend_pairs(read);
    }
    parsed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_nobody_reads_are_left_out() {
        fn check(url: &str, expected: &str) {
            let left = without_unread(&Secret::new(url), |key| ["sslmode", "host", "options"].contains(&key));
            assert_eq!(left, expected);
        }
        check("postgres://app:p%40@db/app", "postgres://app:p%40@db/app");
        check("postgres:///app?host=/run/pg&sslmode=require", "postgres:///app?host=/run/pg&sslmode=require");
        check("postgres://app:p%40@db/app?sslpassword=s3", "postgres://app:p%40@db/app");
        check(
            "postgres://db/app?x=1&options=-c%20a%3Db+c&%73slpassword=s3&sslmode=require",
            "postgres://db/app?options=-c+a%3Db+c&sslmode=require",
        );
    }
}
