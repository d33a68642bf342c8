//! What is asked of TLS, checked when a pool is made: sqlx would find out at each connect, or never.

use super::hidden;
use crate::{ConfigError, DatabaseSettings};
use sqlx_core::Url;
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

/// What is to be asked for in the end. Who names an authority and asks for encryption means it to be asked, as libpq has it; sqlx would
/// not look at it.
pub(super) fn settle(settings: &DatabaseSettings, asked: Asked, parameters: &Parameters) -> Result<Asked, ConfigError> {
    settle_in(settings, asked, parameters, hidden::has_tls())
}

fn settle_in(
    settings: &DatabaseSettings,
    asked: Asked,
    Parameters { authority, own }: &Parameters,
    has_tls: bool,
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
    let mut names_authority = false;
    for (key, value) in url.query_pairs() {
        let is_authority = authority.contains(&&*key);
        if (is_authority || own.contains(&&*key)) && !value.trim_start().starts_with("-----BEGIN") {
            // It is read anew at each connect, so that it may be replaced, and sqlx would not say which file is missing.
            File::open(&*value).map_err(|error| match key.contains("key") {
                // It may be the key itself.
                true => fault(format!("{key} of the url names a file that cannot be read: {error}")),
                false => fault(format!("{key} of the url names {value}, which cannot be read: {error}")),
            })?;
        }
        names_authority |= is_authority;
    }
    match asked {
        Asked::Encrypted if names_authority => Ok(Asked::Verified),
        Asked::Optional if names_authority => {
            let name = &settings.pool.name;
            tracing::warn!(
                target: "pool",
                "pool {name}: the url names an authority and does not ask for TLS, so nobody asks the authority: set sslmode to \
                 verify-full (MySQL: ssl-mode=VERIFY_IDENTITY)"
            );
            Ok(asked)
        }
        asked => Ok(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: Parameters = Parameters { authority: &["sslrootcert"], own: &["sslcert", "sslkey"] };

    fn check(query: &str, asked: Asked, has_tls: bool) -> Result<Asked, String> {
        let settings = DatabaseSettings::new(format!("postgres://app:hunter2@db/app{query}")).expect("a url");
        settle_in(&settings, asked, &PARAMETERS, has_tls).map_err(|error| error.to_string())
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
}
