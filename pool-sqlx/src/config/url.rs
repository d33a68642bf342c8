//! Database urls as people have them, in the form that sqlx reads.

use ::url::Url;

use super::parameters;

const WANTED: &str = "a url such as postgres://app@db/app, mysql://app@db/app or sqlite://app.db";

const ENCODE: &str = "percent-encode what is special in the password, such as %40 for @, %23 for # and %2F for /";

/// Brings a url into sqlx's form: SQLAlchemy's driver names go, what others say of TLS and sockets becomes what sqlx says, and what no
/// server would ever accept is refused.
///
/// The error says what is wrong without quoting the text, which may hold a password anywhere.
pub(super) fn normalise(url: &str) -> Result<String, String> {
    let url = url.trim();
    if let Some(problem) = no_url(url) {
        return Err(problem);
    }
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
        _ => return Err(format!("expected {WANTED}; {}", unknown_scheme(family, rest))),
    };
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(format!("expected {WANTED}; `//` is missing after the scheme"));
    };
    let url = Parts::of(rest).normalise(family)?;
    match Url::parse(&url) {
        // A bare `#` or `/` in a password ends the authority, and what is left of it would be taken for the host.
        Ok(parsed) if parsed.fragment().is_some() || parsed.path().contains('@') => {
            Err(format!("expected {WANTED}; this one has a # or an @ where none can be: {ENCODE}"))
        }
        Ok(_) => Ok(url),
        Err(error) => Err(format!("expected {WANTED}; this one has an {error}: {ENCODE}")),
    }
}

/// What is wrong with text that was not meant as it stands there.
fn no_url(text: &str) -> Option<String> {
    let is_mark = |c: char| matches!(c, '"' | '\'' | '`' | '“' | '”' | '‘' | '’');
    let lower = text.to_ascii_lowercase();
    if text.is_empty() {
        return Some(format!("the url is empty; write {WANTED}, or leave it out and set DATABASE_URL"));
    }
    if text.starts_with(is_mark) || text.ends_with(is_mark) {
        return Some("the url begins or ends with a quotation mark; take the quotation marks away".to_owned());
    }
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let is_variable = |word: &str| {
        word.strip_prefix('$').is_some_and(|name| !name.is_empty() && is_name(name))
            || word.strip_prefix('%').and_then(|word| word.strip_suffix('%')).is_some_and(is_name)
    };
    if ["${", "$(", "{{"].iter().any(|opening| text.contains(opening))
        || text.split([':', '/', '@', '?']).any(is_variable)
    {
        return Some(
            "variables are not expanded in a url; leave it out and set DATABASE_URL (a $ of a password is %24 here)"
                .to_owned(),
        );
    }
    let password = text.rsplit_once('@').and_then(|(before, _)| before.rsplit_once(':')).map(|(_, password)| password);
    let is_bracketed =
        |word: &str| word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).is_some_and(|w| !w.contains(']'));
    let is_placeholder = lower.contains("[your")
        || text.split_once('<').is_some_and(|(_, text)| text.contains('>'))
        || password.is_some_and(is_bracketed);
    // A file may be called so.
    if is_placeholder && !lower.starts_with("sqlite") {
        return Some("the url has a placeholder in brackets; put what it stands for in its place".to_owned());
    }
    if !text.contains("://") && ["host=", "dbname=", "server=", "user="].iter().any(|key| lower.contains(key)) {
        return Some(format!("expected {WANTED}; this is a list of keywords"));
    }
    // In every part of a url; a NUL ends a name on its way to the server.
    if text.contains("%00") || text.contains('\0') {
        return Some("the url has a NUL (%00) in it, which no server takes; take it out".to_owned());
    }
    None
}

fn unknown_scheme(scheme: &str, rest: &str) -> &'static str {
    match scheme {
        "jdbc" => "take the jdbc: at its beginning away",
        "postgis" | "psql" | "pgsql" | "pg" | "cockroachdb" | "cockroach" | "redshift" | "timescaledb" => {
            "write postgres:// at its beginning"
        }
        "mysql2" | "mysqlx" => "write mysql:// at its beginning",
        "sqlite3" | "file" => "write sqlite:// at its beginning",
        "http" | "https" => "this is the address of a web page or of an HTTP interface",
        _ if rest.starts_with("//") => "this scheme is unknown",
        _ => "the scheme is missing: write postgres://, mysql:// or sqlite:// at its beginning",
    }
}

/// A url of a server, behind its `scheme://`, taken apart without a parser: some of these no parser takes.
struct Parts<'u> {
    user: Option<&'u str>,
    password: Option<&'u str>,
    host: &'u str,
    port: Option<&'u str>,
    path: &'u str,
    query: &'u str,
    /// Whether there is an `@` behind the end of the authority, so that it probably ended within a password.
    is_torn: bool,
}

impl<'u> Parts<'u> {
    fn of(rest: &'u str) -> Self {
        let (authority, beyond) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => (Some(user), Some(password)),
            None => (None, None),
        };
        let (host, port) = match place.rsplit_once(':') {
            // The colons of an IPv6 address stand in brackets.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (place, None),
        };
        let (path, query) = beyond.split_once('?').unwrap_or((beyond, ""));
        let filled = |part: &&str| !part.is_empty();
        let is_torn = login.is_none() && beyond.contains('@');
        Self { user: user.filter(filled), password: password.filter(filled), host, port, path, query, is_torn }
    }

    fn normalise(&self, family: &str) -> Result<String, String> {
        let Self { user, password, host, port, path, query, is_torn } = *self;
        if !is_torn && host.contains(',') {
            return Err(parameters::SEVERAL_HOSTS.to_owned());
        }
        if let Some(port) = port.filter(|port| !port.is_empty() && !is_torn)
            && port.parse::<u16>().is_err()
        {
            return Err(format!("expected {WANTED}; this one has a port that is no number from 1 to 65535: {ENCODE}"));
        }
        if password
            .is_some_and(|password| ["%0a", "%0d"].iter().any(|end| password.to_ascii_lowercase().ends_with(end)))
        {
            return Err(
                "the password in the url ends in a line break (%0A), as what echo has written; take it out".to_owned()
            );
        }
        let mut pairs = match family {
            "postgres" => parameters::of_postgres(query)?,
            _ => parameters::of_mysql(query)?,
        };
        let mut authority = String::new();
        let is_socket = host.is_empty() && (user.is_some() || password.is_some() || port.is_some());
        if is_socket && family == "postgres" {
            // A parser takes no login without a host; sqlx reads it among the parameters, too, where a plus sign is a space.
            let moved = [("user", user), ("password", password), ("port", port.filter(|port| !port.is_empty()))];
            let moved = moved
                .into_iter()
                .filter_map(|(key, value)| Some(format!("{key}={}", value?.replace('+', "%2B").replace('&', "%26"))));
            pairs.splice(0..0, moved);
        } else {
            if let Some(user) = user.or(password.and(Some(""))) {
                authority.push_str(user);
                authority.extend(password.map(|password| format!(":{password}")));
                authority.push('@');
            }
            authority.push_str(if is_socket { "localhost" } else { host });
            authority.extend(port.map(|port| format!(":{port}")));
        }
        let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
        Ok(format!("{family}://{authority}{path}{query}"))
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
        check("sqlite:///var/<tracks>.db", "sqlite:///var/<tracks>.db");
    }

    #[test]
    fn urls_as_platforms_print_them_are_accepted() {
        fn check(url: &str, expected: &str) {
            assert_eq!(normalise(url).as_deref(), Ok(expected), "{url}");
        }
        // Cloud SQL's sockets, as SQLAlchemy has them by asyncpg, psycopg, pg8000 and pymysql.
        let expected = "postgres:///app?user=app&password=p%2Bw%40&host=/cloudsql/p:r:i";
        check("postgresql+asyncpg://app:p+w%40@/app?host=/cloudsql/p:r:i", expected);
        check(
            "postgresql+psycopg2://app@/app?host=%2Fcloudsql%2Fp%3Ar%3Ai",
            "postgres:///app?user=app&host=%2Fcloudsql%2Fp%3Ar%3Ai",
        );
        check(
            "postgresql+pg8000://app:pw@/app?unix_sock=/cloudsql/p:r:i/.s.PGSQL.5432",
            "postgres:///app?user=app&password=pw&host=%2Fcloudsql%2Fp%3Ar%3Ai",
        );
        check(
            "mysql+pymysql://app:pw@/app?unix_socket=/cloudsql/p:r:i",
            "mysql://app:pw@localhost/app?socket=/cloudsql/p:r:i",
        );
        // A login without a host: whatever PGHOST says, as libpq has it.
        check("postgres://app:pw@/app", "postgres:///app?user=app&password=pw");
        check("postgres://app@:5433/app", "postgres:///app?user=app&port=5433");
        check("postgresql+psycopg://app@/app?host=db:5433", "postgres:///app?user=app&host=db&port=5433");
        // Supabase, Neon, Prisma: what sqlx does not read is left to the driver's own list.
        let same = |query: &str| {
            let url = format!("postgres://app:pw@ep-cool-rain-123-pooler.eu-central-1.aws.neon.tech/app?{query}");
            check(&url, &url);
        };
        same("sslmode=require&channel_binding=require");
        same("pgbouncer=true&connection_limit=1&connect_timeout=15&pool_timeout=15");
        same("sslmode=verify-full&options=endpoint%3Dep-cool-rain-123");
        same("uselibpqcompat=true&sslmode=require&schema=public");
        same("target_session_attrs=read-write&keepalives=1");
        check("postgres://app:pw@[::1]:5433/app", "postgres://app:pw@[::1]:5433/app");
        check("postgres://[::1]/app", "postgres://[::1]/app");
        check("postgres://app:@db/app", "postgres://app@db/app");
        check("postgres://:pw@db/app", "postgres://:pw@db/app");
    }

    #[test]
    fn what_no_server_would_ever_accept_is_refused_at_once() {
        fn check(url: &str, hint: &str) {
            let problem = normalise(url).expect_err(url);
            assert!(problem.contains(hint), "{url}: {problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        check("", "the url is empty");
        check("\"postgres://app:hunter2@db/app\"", "take the quotation marks away");
        check("'postgres://app:hunter2@db/app", "begins or ends with a quotation mark");
        for url in
            ["${DB}", "$DATABASE_URL", "%DB_URL%", "postgres://app:${PW}@db/hunter2", "postgres://app:$PW@db/hunter2"]
        {
            check(url, "variables are not expanded in a url; leave it out and set DATABASE_URL");
        }
        check("postgres://app:$(PW)@db/hunter2", "variables are not expanded");
        check("postgres://{{ user }}@db/hunter2", "variables are not expanded");
        check("postgresql://postgres:[YOUR-PASSWORD]@db.hunter2.supabase.co:5432/postgres", "placeholder in brackets");
        check("postgres://app:<password>@db/hunter2", "placeholder in brackets");
        check("postgres://app:[hunter2]@db/app", "placeholder in brackets");
        check("host=db user=app password=hunter2", "this is a list of keywords");
        check("Server=db;User=app;Password=hunter2", "this is a list of keywords");
        check("jdbc:postgresql://db/app?user=app&password=hunter2", "take the jdbc: at its beginning away");
        check("postgis://app:hunter2@db/app", "write postgres:// at its beginning");
        check("mysql2://app:hunter2@db/app", "write mysql:// at its beginning");
        check("app:hunter2@db/app", "the scheme is missing");
        check("postgres://app:hunter2@a,b/app", "several hosts");
        check("postgres://app:hunter2@a:5432,b:5432/app", "several hosts");
        check("postgres://app:hunter2@/app?host=a,b", "several hosts");
        check("postgres://app:hunter2@/app?host=a:5432&host=b:5432", "several hosts");
        check("postgres://app:hunter2@db:port/app", "a port that is no number from 1 to 65535");
        check("postgres://app:hunter2@db:70000/app", "a port that is no number from 1 to 65535");
        check("postgres://db/app?port=hunter2", "port in the url is no number");
        check("postgres://app:hunter2@db/app?schema=music", "say options=-c%20search_path%3D<schema>");
        check("postgres://app:hunter2@db/a%00b", "NUL");
        check("postgres://app:hunter2%0A@db/app", "ends in a line break");
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
        for other in ["sslaccept=strict", "tls=true", "ssl_mode=require", "sslMode=VERIFY_CA", "useSSL=true"] {
            check(&format!("postgres://app@db/app?{other}"), "say sslmode=verify-full");
            check(&format!("mysql://app@db/app?{other}"), "say ssl-mode=VERIFY_IDENTITY");
        }
        let modes = "There are disable, allow, prefer, require, verify-ca, verify-full";
        check(
            "postgres://app@db/app?sslmode=required",
            &format!("sslmode in the url is \"required\"; did you mean require? {modes}"),
        );
        check("postgres://app@db/app?sslmode=no-verify", "did you mean require?");
        check("postgres://app@db/app?sslmode=verify_full", "did you mean verify-full?");
        check("postgres://app@db/app?sslmode=secret", "sslmode in the url is none of disable");
        check("postgres://app@db/app?sslmode=", "sslmode in the url is none of disable");
        check("mysql://app@db/app?ssl-mode=verify-full", "did you mean VERIFY_IDENTITY?");
        check("mysql://app@db/app?sslmode=require", "did you mean REQUIRED?");
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
