//! Text that no output shows whole.

use std::fmt;

use ::url::{Position, Url};

/// A database url that no output shows whole.
///
/// `Debug`, `Display` and `Serialize` print it without the password and without query values whose key speaks of a password, key,
/// secret, token or credential: `postgres://app:***@db/app?sslpassword=***`. Text that cannot be taken apart prints as `***`.
///
/// # Example
///
/// ```
/// use pool_sqlx::Secret;
///
/// let url = Secret::new("postgres://app:hunter2@db/app");
/// assert_eq!(url.to_string(), "postgres://app:***@db/app");
/// assert_eq!(url.expose(), "postgres://app:hunter2@db/app");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps the text, to be shown redacted only.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole text, password included. Do not log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const HIDDEN: &str = "***";

/// A url without its secrets.
fn redact(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return HIDDEN.into() };
    if url.cannot_be_a_base() && url.scheme() != "sqlite" {
        return HIDDEN.into(); // `app:hunter2` is a url, too.
    }
    // A password with a bare `/`, `?` or `#` ends the authority early; what follows would be shown. Its `@` gives it away.
    if url[Position::BeforeHost..].contains('@') {
        return format!("{}://{HIDDEN}", url.scheme());
    }
    if url.password().is_some() && url.set_password(Some(HIDDEN)).is_err() {
        return HIDDEN.into();
    }
    if let Some(query) = url.query() {
        let pairs: Vec<String> = query.split('&').map(redact_pair).collect();
        url.set_query(Some(&pairs.join("&")));
    }
    if url.fragment().is_some() {
        url.set_fragment(Some(HIDDEN));
    }
    url.into()
}

fn redact_pair(pair: &str) -> String {
    match pair.split_once('=') {
        // A key that is itself encoded is not worth decoding: nobody writes one without something to hide.
        Some((key, _)) if key.contains('%') || speaks_of_secrets(key) => format!("{key}={HIDDEN}"),
        _ => pair.to_owned(),
    }
}

fn speaks_of_secrets(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["pass", "pwd", "key", "secret", "token", "credential"].iter().any(|word| text.contains(word))
}

/// Text from a configuration, fit to be quoted in a message: a url pasted into the wrong key does not show its password.
pub(crate) fn quotable(text: &str) -> String {
    if text.contains("://") {
        redact(text.trim())
    } else if text.contains('@') || (text.contains('=') && speaks_of_secrets(text)) {
        HIDDEN.into()
    } else {
        text.to_owned()
    }
}

/// A message of a parser, which may quote the file: without the lines it shows, and with its quotations fit to be quoted.
pub(crate) fn scrub(message: &str) -> String {
    let is_excerpt =
        |line: &str| line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|');
    let message = message.lines().filter(|line| !is_excerpt(line)).collect::<Vec<_>>().join(": ");
    let mut clean = String::new();
    for (i, part) in message.split(['"', '`']).enumerate() {
        if i % 2 == 1 {
            clean.push_str(&format!("`{}`", quotable(part)));
        } else {
            clean.push_str(&part.split(' ').map(quotable).collect::<Vec<_>>().join(" "));
        }
    }
    clean
}

/// The text without what stands before the `@` and after the `?` of an address in it: `https://…@host/path?…`.
pub(crate) fn redacted(text: &str) -> String {
    const MARK: &str = "://";
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let (before, after) = rest.split_at(at + MARK.len());
        shown += before;
        // A password may have anything in it that is not a space, so the last `@` of the word ends it.
        let end =
            after.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`')).unwrap_or(after.len());
        let (address, beyond) = after.split_at(end);
        let place = match address.rsplit_once('@') {
            Some((_, place)) => {
                shown += "…@";
                place
            }
            None => address,
        };
        match place.split_once('?') {
            Some((place, _)) => shown = shown + place + "?…",
            None => shown += place,
        }
        rest = beyond;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_shows_no_password_in_any_output() {
        fn check(text: &str, expected: &str) {
            let secret = Secret::new(text);
            assert_eq!(secret.to_string(), expected, "{text}");
            assert_eq!(format!("{secret:?}"), expected, "{text}");
            assert_eq!(format!("{secret:#?}"), expected, "{text}");
            assert_eq!(serde_json::to_value(&secret).expect("a string serialises"), expected, "{text}");
            assert_eq!(secret.expose(), text);
        }
        check(
            "postgres://app:hunter2@db/app?sslpassword=s3&sslmode=require",
            "postgres://app:***@db/app?sslpassword=***&sslmode=require",
        );
        check("postgres://app@db:5433/app", "postgres://app@db:5433/app");
        check("postgres://:hunter2@db/app", "postgres://:***@db/app");
        check(
            "postgres:///app?host=/run/pg&user=app&password=hunter2",
            "postgres:///app?host=/run/pg&user=app&password=***",
        );
        check("postgres://db/app?pass%77ord=hunter2&PASSWORD=x", "postgres://db/app?pass%77ord=***&PASSWORD=***");
        check("mysql://app:p@ss@db/app#hunter2", "mysql://app:***@db/app#***");
        check("postgres://app:12#hunter2@db/app", "postgres://***");
        check("postgres://app:12/hunter2@db/app", "postgres://***");
        check("postgres://app:hunt#er2@db/app", "***");
        check("sqlite::memory:", "sqlite::memory:");
        check("sqlite://tracks.db?mode=rwc", "sqlite://tracks.db?mode=rwc");
        check("app:hunter2", "***");
        check("host=db password=hunter2", "***");
        check("hunter2", "***");
        check("", "***");
    }

    #[test]
    fn quoted_text_shows_no_password() {
        fn check(text: &str, expected: &str) {
            assert_eq!(quotable(text), expected, "{text}");
        }
        check("forty", "forty");
        check("postgresql+asyncpg://app:hunter2@db/app", "postgresql+asyncpg://app:***@db/app");
        check("see postgres://app:hunter2@db/app", "***");
        check("app:hunter2@db", "***");
        check("host=db password=hunter2", "***");
    }

    #[test]
    fn parser_messages_lose_their_excerpts() {
        let message = "TOML parse error at line 2, column 7\n  |\n2 | url = postgres://app:hunter2@db\n  |       ^\ninvalid string\n";
        assert_eq!(scrub(message), "TOML parse error at line 2, column 7: invalid string");
        assert_eq!(
            scrub("invalid type: found string \"postgres://app:hunter2@db/app\", expected a map"),
            "invalid type: found string `postgres://app:***@db/app`, expected a map"
        );
    }

    #[test]
    fn addresses_lose_who_and_what_is_asked() {
        let check = |said, shown| assert_eq!(redacted(said), shown);
        check("GET https://vault.example/v1?token=hunter2 failed", "GET https://vault.example/v1?… failed");
        check("no answer from POSTGRES://app:hunter2@db/app", "no answer from POSTGRES://…@db/app");
        check("\"mysql://app:hun/t?er@2@db:3306/app\" and https://a@b", "\"mysql://…@db:3306/app\" and https://…@b");
        check("x://a:b@c?d x://e", "x://…@c?… x://e");
        check("host db:5432, user a@b", "host db:5432, user a@b");
    }
}
