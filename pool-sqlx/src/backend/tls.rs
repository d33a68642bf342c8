//! What is asked of TLS, checked when a pool is made: sqlx would find out at each connect, or never.

use super::hidden;
use crate::{ConfigError, DatabaseSettings};
use ::url::Url;
use std::fs::File;

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

/// The parameters of a url that name files, in this database's spelling.
pub(super) struct Parameters {
    /// The authorities to trust.
    pub(super) authority: &'static [&'static str],
    /// The client's own certificate, and its key.
    pub(super) own: &'static [&'static str],
}

/// The variables of libpq's that sqlx reads where the url has no such parameter.
const VARIABLES: [(&str, &str); 3] =
    [("PGSSLROOTCERT", "sslrootcert"), ("PGSSLCERT", "sslcert"), ("PGSSLKEY", "sslkey")];

/// What is to be asked for in the end. Who names an authority and asks for encryption means it to be asked, as libpq has it; sqlx would
/// not look at it.
pub(super) fn settle(settings: &DatabaseSettings, asked: Asked, parameters: &Parameters) -> Result<Asked, ConfigError> {
    settle_in(settings, asked, parameters, hidden::has_tls(), |name| std::env::var(name).ok())
}

fn settle_in(
    settings: &DatabaseSettings,
    asked: Asked,
    parameters: &Parameters,
    has_tls: bool,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Asked, ConfigError> {
    let fault = |problem: String| ConfigError::from(settings.fault("url", problem));
    if asked != Asked::Optional && !has_tls {
        return Err(fault(
            "the url asks for TLS and this program is built without: switch a feature of pool-sqlx on, such as \
             tls-rustls-ring-native-roots, or ask for none (sslmode=disable)"
                .to_owned(),
        ));
    }
    let Ok(url) = Url::parse(settings.url.expose()) else { return Ok(asked) };
    let mut authority = None;
    for Named { key, place, value } in named(&url, parameters, variable) {
        if place == "PGSSLROOTCERT" && value == "system" {
            return Err(fault(
                "PGSSLROOTCERT = system is not known to sqlx: unset it, and say sslmode=verify-full in the url"
                    .to_owned(),
            ));
        }
        if !value.trim_start().starts_with("-----BEGIN") {
            // It is read anew at each connect, so that it may be replaced, and sqlx would not say which file is missing.
            File::open(&value).map_err(|error| match key.contains("key") {
                // It may be the key itself.
                true => fault(format!("{place} names a file that cannot be read: {error}")),
                false => fault(format!("{place} names {value}, which cannot be read: {error}")),
            })?;
        }
        if parameters.authority.contains(&&*key) {
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

/// A file that is named.
struct Named {
    key: String,
    /// Where, such as `sslrootcert of the url` or `PGSSLROOTCERT`.
    place: String,
    value: String,
}

fn named(
    url: &Url,
    Parameters { authority, own }: &Parameters,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<Named> {
    let mut named: Vec<Named> = url
        .query_pairs()
        .filter(|(key, _)| authority.contains(&&**key) || own.contains(&&**key))
        .map(|(key, value)| Named { place: format!("{key} of the url"), key: key.into(), value: value.into() })
        .collect();
    if url.scheme() == "postgres" {
        let is_said = |key: &str| {
            let spelt = |said: &str| said.replace('-', "") == key || (key == "sslrootcert" && said == "ssl-ca");
            named.iter().any(|said| spelt(&said.key))
        };
        let unsaid = VARIABLES.iter().filter(|(_, key)| !is_said(key));
        let of_libpq: Vec<Named> = unsaid
            .filter_map(|&(name, key)| Some(Named { key: key.into(), place: name.into(), value: variable(name)? }))
            .collect();
        named.extend(of_libpq);
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: Parameters = Parameters { authority: &["sslrootcert"], own: &["sslcert", "sslkey"] };

    fn check(query: &str, asked: Asked, has_tls: bool) -> Result<Asked, String> {
        check_with(query, asked, has_tls, &[])
    }

    fn check_with(query: &str, asked: Asked, has_tls: bool, variables: &[(&str, &str)]) -> Result<Asked, String> {
        let settings = DatabaseSettings::new(format!("postgres://app:hunter2@db/app{query}")).expect("a url");
        let variable = |name: &str| Some(variables.iter().find(|(variable, _)| *variable == name)?.1.to_owned());
        settle_in(&settings, asked, &PARAMETERS, has_tls, variable).map_err(|error| error.to_string())
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
            assert!(problem.contains(&format!("{variable} names")), "{problem}");
            assert_eq!(problem.contains("/nowhere/x.pem"), variable != "PGSSLKEY", "{problem}");
        }
        let problem = check("", Asked::Encrypted, &[("PGSSLROOTCERT", "system")]).expect_err("no file");
        assert!(problem.contains("verify-full"), "{problem}");
        // The url's is read, and not this one.
        let url = "?sslrootcert=-----BEGIN%20CERTIFICATE-----";
        assert_eq!(check(url, Asked::Encrypted, &[("PGSSLROOTCERT", "/nowhere/x.pem")]), Ok(Asked::Verified));
    }
}
