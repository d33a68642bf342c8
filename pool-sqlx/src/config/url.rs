//! Database urls as people have them, in the form that sqlx reads.

use std::borrow::Cow;

use ::url::Url;

const WANTED: &str = "a url such as postgres://app@db/app, mysql://app@db/app or sqlite://app.db";

/// Brings a url into sqlx's form: SQLAlchemy's driver names go, and what others say of TLS becomes what sqlx says.
///
/// The error says what is wrong without quoting the text, which may hold a password anywhere.
pub(super) fn normalise(url: &str) -> Result<String, String> {
    let url = url.trim();
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(format!("expected {WANTED}"));
    };
    let scheme = scheme.to_ascii_lowercase();
    let (family, driver) = match scheme.split_once('+') {
        Some((family, driver)) => (family, Some(driver)),
        None => (&*scheme, None),
    };
    let family = match family {
        "postgres" | "postgresql" => "postgres",
        "mysql" | "mariadb" => "mysql",
        "sqlite" => return Ok(sqlite(rest, driver.is_some())),
        _ => return Err(format!("expected {WANTED}; this scheme is unknown")),
    };
    if !rest.starts_with("//") {
        return Err(format!("expected {WANTED}; `//` is missing after the scheme"));
    }
    let rest = if family == "postgres" { tls(rest)? } else { tls_of_mysql(rest)? };
    let url = format!("{family}:{rest}");
    const ENCODE: &str = "percent-encode what is special in the password, such as %40 for @, %23 for # and %2F for /";
    match Url::parse(&url) {
        // A bare `#` or `/` in a password ends the authority, and what is left of it would be taken for the host.
        Ok(parsed) if parsed.fragment().is_some() || parsed.path().contains('@') => {
            Err(format!("expected {WANTED}; this one has a # or an @ where none can be: {ENCODE}"))
        }
        Ok(_) => Ok(url),
        Err(error) => Err(format!("expected {WANTED}; this one has an {error}: {ENCODE}")),
    }
}

/// SQLAlchemy counts slashes otherwise than sqlx: three are a relative path there, and an absolute one here. Only a driver name tells
/// whose url it is.
fn sqlite(rest: &str, sqlalchemy: bool) -> String {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let (file, query) = match path.split_once('?') {
        Some((file, query)) => (file, format!("?{query}")),
        None => (path, String::new()),
    };
    match file {
        "" | "/" | ":memory:" | "/:memory:" => format!("sqlite::memory:{query}"),
        _ if sqlalchemy => format!("sqlite://{}{query}", file.strip_prefix('/').unwrap_or(file)),
        _ => format!("sqlite:{rest}"),
    }
}

/// asyncpg's `ssl=require` would be ignored by sqlx, and the connection might then go unencrypted without a word; libpq's
/// `sslrootcert=system`, the authorities that sqlx trusts without being told, would be taken for a file.
fn tls(rest: &str) -> Result<Cow<'_, str>, String> {
    let Some((before, query)) = rest.split_once('?') else { return Ok(rest.into()) };
    let stated = query.split('&').find_map(|pair| pair.strip_prefix("sslmode=").or(pair.strip_prefix("ssl-mode=")));
    let mut pairs: Vec<Cow<'_, str>> = Vec::new();
    for pair in query.split('&') {
        match (pair.split_once('='), stated) {
            (Some(("ssl", "true" | "True" | "1")), None) => pairs.push("sslmode=require".into()),
            (Some(("ssl", "false" | "False" | "0")), None) => pairs.push("sslmode=disable".into()),
            (Some(("ssl", mode)), None) if SSLMODES.contains(&mode) => pairs.push(format!("sslmode={mode}").into()),
            (Some(("ssl", _)), None) => {
                return Err(format!("ssl in the url is none of true, false, {}", SSLMODES.join(", ")));
            }
            (Some(("sslrootcert", "system")), None) => pairs.push("sslmode=verify-full".into()),
            (Some(("sslrootcert", "system")), Some("verify-full")) => {}
            (Some(("sslrootcert", "system")), Some(_)) => {
                return Err("sslrootcert=system in the url asks for sslmode=verify-full, and nothing less".to_owned());
            }
            _ => pairs.push(pair.into()),
        }
    }
    Ok(format!("{before}?{}", pairs.join("&")).into())
}

const SSLMODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// PyMySQL's and mysqlclient's `ssl_ca=..` would be dropped, and the connection might then go unverified or unencrypted.
fn tls_of_mysql(rest: &str) -> Result<Cow<'_, str>, String> {
    let mut pairs = rest.split_once('?').map_or("", |(_, query)| query).split('&');
    match pairs.find_map(|pair| pair.split('=').next().filter(|key| *key == "ssl" || key.starts_with("ssl_"))) {
        None => Ok(rest.into()),
        Some(key) => {
            let key = if key.len() <= 20 { key } else { "ssl_.." };
            Err(format!(
                "{key} in the url is of another driver; say ssl-mode=VERIFY_IDENTITY&ssl-ca=/path/to/ca.pem (and ssl-cert, ssl-key), or \
                 ssl-mode=DISABLED"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_sqlalchemy_become_those_of_sqlx() {
        fn check(url: &str, expected: &str) {
            assert_eq!(normalise(url).as_deref(), Ok(expected), "{url}");
        }
        check("postgres://app:pw@db/app", "postgres://app:pw@db/app");
        check("postgresql://app:pw@db/app", "postgres://app:pw@db/app");
        check("postgresql+asyncpg://app:pw@db/app", "postgres://app:pw@db/app");
        check("postgresql+psycopg://app:pw@db/app", "postgres://app:pw@db/app");
        check("postgresql+psycopg2://app:pw@db/app", "postgres://app:pw@db/app");
        check(" PostgreSQL://app@db/app\n", "postgres://app@db/app");
        check("postgresql+asyncpg:///app?host=/run/pg", "postgres:///app?host=/run/pg");
        check("mysql+asyncmy://app:pw@db/app", "mysql://app:pw@db/app");
        check("mariadb+pymysql://app:pw@db/app", "mysql://app:pw@db/app");
        // Of SQLAlchemy, for it names a driver.
        check("sqlite+aiosqlite://", "sqlite::memory:");
        check("sqlite+aiosqlite:///:memory:", "sqlite::memory:");
        check("sqlite+aiosqlite:///tracks.db", "sqlite://tracks.db");
        check("sqlite+aiosqlite:////var/tracks.db?mode=rwc", "sqlite:///var/tracks.db?mode=rwc");
        // Of sqlx.
        check("sqlite://", "sqlite::memory:");
        check("sqlite::memory:", "sqlite::memory:");
        check("sqlite://:memory:", "sqlite::memory:");
        check("sqlite:tracks.db", "sqlite:tracks.db");
        check("sqlite://tracks.db?mode=rwc", "sqlite://tracks.db?mode=rwc");
        check("sqlite:///var/tracks.db", "sqlite:///var/tracks.db");
    }

    #[test]
    fn ssl_of_asyncpg_and_system_of_libpq_become_sslmode() {
        fn check(query: &str, expected: &str) {
            let url = normalise(&format!("postgresql+asyncpg://app@db/app?{query}"));
            assert_eq!(url, Ok(format!("postgres://app@db/app?{expected}")));
        }
        check("ssl=require", "sslmode=require");
        check("ssl=true&options=x", "sslmode=require&options=x");
        check("ssl=verify-full", "sslmode=verify-full");
        check("ssl=False", "sslmode=disable");
        check("ssl=require&sslmode=verify-ca", "ssl=require&sslmode=verify-ca");
        check("prepared_statement_cache_size=0", "prepared_statement_cache_size=0");
        // libpq's.
        check("sslrootcert=system", "sslmode=verify-full");
        check("sslmode=verify-full&sslrootcert=system&x=1", "sslmode=verify-full&x=1");
        check("sslmode=require&sslrootcert=/etc/ca.pem", "sslmode=require&sslrootcert=/etc/ca.pem");
    }

    #[test]
    fn what_is_said_of_tls_in_another_way_is_refused_and_not_dropped() {
        fn check(url: &str, hint: &str) {
            let problem = normalise(url).expect_err(url);
            assert!(problem.contains(hint) && !problem.contains("secret"), "{url}: {problem}");
        }
        check("postgres://app@db/app?ssl=secret", "verify-full");
        check("postgres://app@db/app?sslrootcert=system&sslmode=require", "sslmode=verify-full");
        check("mysql+pymysql://app@db/app?charset=utf8&ssl_ca=/secret.pem", "ssl_ca in the url");
        check("mysql://app@db/app?ssl=true", "ssl-mode=VERIFY_IDENTITY");
    }

    #[test]
    fn a_bad_url_is_refused_without_being_quoted() {
        fn check(url: &str, hint: &str) {
            let problem = normalise(url).expect_err(url);
            assert!(problem.contains(hint), "{url}: {problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        check("hunter2", "such as postgres://app@db/app");
        check("hunter2://app@db/app", "this scheme is unknown");
        check("postgres:app:hunter2@db", "`//` is missing");
        check("postgres://app:#hunter2@db/app", "percent-encode");
        check("postgres://app:12/hunter2@db/app", "percent-encode");
        check("postgres://app:pa#hunter2@db/app", "percent-encode");
    }
}
