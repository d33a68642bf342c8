//! What is asked of TLS, checked when a pool is made: sqlx would find out at each connect, or never.

use super::hidden;
use crate::{ConfigError, DatabaseSettings};
use ::url::Url;

/// How much of it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// None, or whatever the server has.
    Optional,
    /// Encryption, by whomever.
    Encrypted,
    /// An authority's word for who the server is.
    Verified,
}

/// A file of TLS that a url or the environment names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum File {
    /// The authorities to trust.
    Authority,
    /// The client's own certificate.
    Certificate,
    /// The key of that.
    Key,
}

/// Which file a parameter of a url names, as sqlx spells them.
fn file(scheme: &str, parameter: &str) -> Option<File> {
    match (scheme, parameter) {
        ("postgres", "sslrootcert" | "ssl-root-cert" | "ssl-ca") | ("mysql", "sslca" | "ssl-ca") => {
            Some(File::Authority)
        }
        (_, "sslcert" | "ssl-cert") => Some(File::Certificate),
        (_, "sslkey" | "ssl-key") => Some(File::Key),
        _ => None,
    }
}

pub(super) fn names_a_file(scheme: &str, parameter: &str) -> bool {
    file(scheme, parameter).is_some()
}

/// The variables of libpq's that sqlx reads where the url has no such parameter.
const VARIABLES: [(&str, File); 3] =
    [("PGSSLROOTCERT", File::Authority), ("PGSSLCERT", File::Certificate), ("PGSSLKEY", File::Key)];

/// What is to be asked for in the end. Who names an authority and asks for encryption means it to be asked, as libpq has it; sqlx would
/// not look at it.
pub(super) fn settle(settings: &DatabaseSettings, asked: Asked) -> Result<Asked, ConfigError> {
    settle_in(settings, asked, hidden::has_tls(), |name| std::env::var(name).ok())
}

fn settle_in(
    settings: &DatabaseSettings,
    asked: Asked,
    has_tls: bool,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Asked, ConfigError> {
    // The place is the variable that gives the value, if it is not the url.
    let fault = |variable: Option<&str>, problem: String| {
        let mut fault = settings.fault("url", problem);
        if let Some(variable) = variable {
            fault.source = Some(variable.to_owned());
        }
        ConfigError::from(fault)
    };
    let url = Url::parse(settings.url.expose()).ok();
    if asked != Asked::Optional && !has_tls {
        let is_stated = |url: &Url| url.query_pairs().any(|(key, _)| matches!(&*key, "sslmode" | "ssl-mode"));
        let is_postgres = url.as_ref().is_some_and(|url| url.scheme() == "postgres");
        let by_variable = (is_postgres && !url.as_ref().is_some_and(is_stated)).then_some("PGSSLMODE");
        let by_variable = by_variable.filter(|name| variable(name).is_some());
        let (what, name) = (if by_variable.is_some() { "it" } else { "the url" }, by_variable.unwrap_or("sslmode"));
        return Err(fault(
            by_variable,
            format!(
                "{what} asks for TLS and this program is built without: switch a feature of pool-sqlx on, such as \
                 tls-rustls-ring-native-roots, or ask for none ({name}=disable)"
            ),
        ));
    }
    let Some(url) = url else { return Ok(asked) };
    let mut authority = None;
    for (file, place, value) in named(&url, variable) {
        let by_variable = VARIABLES.iter().map(|(name, _)| *name).find(|name| *name == place);
        if by_variable == Some("PGSSLROOTCERT") && value == "system" {
            return Err(fault(
                by_variable,
                "system is not known to sqlx: unset it, and say sslmode=verify-full in the url".to_owned(),
            ));
        }
        if !value.trim_start().starts_with("-----BEGIN") {
            // It is read anew at each connect, so that it may be replaced, and sqlx would not say which file is missing.
            let who = if by_variable.is_some() { "it" } else { place.as_str() };
            std::fs::File::open(&value).map_err(|error| {
                let problem = match file == File::Key {
                    // It may be the key itself.
                    true => format!("{who} names a file that cannot be read: {error}"),
                    false => format!("{who} names {value}, which cannot be read: {error}"),
                };
                fault(by_variable, problem)
            })?;
        }
        if file == File::Authority {
            authority = Some(place);
        }
    }
    match (asked, authority) {
        (Asked::Encrypted, Some(_)) => Ok(Asked::Verified),
        (Asked::Optional, Some(place)) => {
            let name = &settings.pool.name;
            tracing::warn!(
                target: "pool",
                "pool {name}: {place} names an authority and nothing asks for TLS, so nobody asks the authority: set sslmode to \
                 verify-full (MySQL: ssl-mode=VERIFY_IDENTITY)"
            );
            Ok(asked)
        }
        (asked, _) => Ok(asked),
    }
}

/// The files that are named, each with the place where, such as `sslrootcert of the url` or `PGSSLROOTCERT`.
fn named(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Vec<(File, String, String)> {
    let said = url.query_pairs();
    let mut named: Vec<_> = said
        .filter_map(|(key, value)| Some((file(url.scheme(), &key)?, format!("{key} of the url"), value.into_owned())))
        .collect();
    if url.scheme() == "postgres" {
        for (name, file) in VARIABLES {
            if let Some(value) = variable(name).filter(|_| named.iter().all(|(said, ..)| *said != file)) {
                named.push((file, name.to_owned(), value));
            }
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, asked: Asked, has_tls: bool) -> Result<Asked, String> {
        check_with(query, asked, has_tls, &[])
    }

    fn check_with(query: &str, asked: Asked, has_tls: bool, variables: &[(&str, &str)]) -> Result<Asked, String> {
        let settings = DatabaseSettings::new(format!("postgres://app:hunter2@db/app{query}")).expect("a url");
        let variable = |name: &str| Some(variables.iter().find(|(variable, _)| *variable == name)?.1.to_owned());
        settle_in(&settings, asked, has_tls, variable).map_err(|error| error.to_string())
    }

    #[test]
    fn a_build_without_tls_says_which_feature_it_lacks_before_the_first_connect() {
        for asked in [Asked::Encrypted, Asked::Verified] {
            let problem = check("", asked, false).expect_err("there is no TLS");
            assert!(problem.contains("tls-rustls-ring-native-roots") && !problem.contains("hunter2"), "{problem}");
            assert_eq!(check("", asked, true), Ok(asked));
        }
        assert_eq!(check("", Asked::Optional, false), Ok(Asked::Optional));
    }

    #[test]
    fn what_asks_for_tls_in_vain_is_named_as_it_is() {
        let check = |query, variables: &[_]| check_with(query, Asked::Encrypted, false, variables).expect_err("no TLS");
        let require = [("PGSSLMODE", "require")];
        let by_variable = check("", &require);
        assert!(by_variable.starts_with("PGSSLMODE: it asks for TLS"), "{by_variable}");
        assert!(by_variable.ends_with("ask for none (PGSSLMODE=disable)"), "{by_variable}");
        let by_url = check("?sslmode=require", &require);
        assert!(by_url.contains("the url asks for TLS") && by_url.ends_with("(sslmode=disable)"), "{by_url}");
    }

    #[test]
    fn an_authority_beside_require_is_asked_as_libpq_has_it() {
        let pem = "?sslrootcert=-----BEGIN%20CERTIFICATE-----";
        assert_eq!(check(pem, Asked::Encrypted, true), Ok(Asked::Verified));
        assert_eq!(check(pem, Asked::Verified, true), Ok(Asked::Verified));
        assert_eq!(check(pem, Asked::Optional, true), Ok(Asked::Optional));
        assert_eq!(check("", Asked::Encrypted, true), Ok(Asked::Encrypted));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_before_the_first_connect() {
        for key in ["sslrootcert", "sslcert", "sslkey"] {
            let problem = check(&format!("?{key}=/nowhere/x.pem"), Asked::Verified, true).expect_err("no such file");
            assert!(problem.contains(&format!("{key} of the url names")), "{problem}");
            assert_eq!(problem.contains("/nowhere/x.pem"), key != "sslkey", "a key may stand there itself: {problem}");
        }
    }

    #[test]
    fn what_the_environment_names_counts_as_if_the_url_did() {
        const PEM: &str = "-----BEGIN CERTIFICATE-----";
        let check = |query, asked, variables: &[_]| check_with(query, asked, true, variables);
        assert_eq!(check("", Asked::Encrypted, &[("PGSSLROOTCERT", PEM)]), Ok(Asked::Verified));
        assert_eq!(check("", Asked::Encrypted, &[("PGSSLCERT", PEM)]), Ok(Asked::Encrypted));
        for variable in ["PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"] {
            let problem = check("", Asked::Verified, &[(variable, "/nowhere/x.pem")]).expect_err("no such file");
            assert!(problem.contains(&format!("{variable}: it names")), "{problem}");
            assert_eq!(problem.contains("/nowhere/x.pem"), variable != "PGSSLKEY", "{problem}");
        }
        let problem = check("", Asked::Encrypted, &[("PGSSLROOTCERT", "system")]).expect_err("no file");
        assert!(problem.contains("verify-full"), "{problem}");
        // The url's is read, and not this one.
        let url = "?sslrootcert=-----BEGIN%20CERTIFICATE-----";
        assert_eq!(check(url, Asked::Encrypted, &[("PGSSLROOTCERT", "/nowhere/x.pem")]), Ok(Asked::Verified));
    }
}
