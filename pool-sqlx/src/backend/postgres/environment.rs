//! What sqlx takes from libpq's variables, checked when a pool is made: sqlx passes over what it cannot read, and what says the same as a
//! setting of ours would lose against it, both without a word.

use crate::{
    ConfigError, DatabaseSettings, Pooler,
    config::{limits_in, lost_in, names_in, untidy},
};
use ::url::Url;
use sqlx::postgres::PgSslMode;

/// What is given at start-up by itself, which beats what stands in the options.
const BESIDE: [(&str, &str); 5] = [
    ("application_name", "set application_name instead"),
    ("timezone", "sqlx's sessions have UTC"),
    ("datestyle", "sqlx's sessions have ISO"),
    ("client_encoding", "sqlx's sessions have UTF8"),
    ("extra_float_digits", "sqlx sets it"),
];

/// Variable, the parameters of a url that stand in for it, and whether the url does otherwise.
type Variable = (&'static str, &'static [&'static str], fn(&Url) -> bool);

/// What sqlx hands to the server as it is, quotation marks and spaces included.
const TAKEN_AS_THEY_ARE: [Variable; 5] = [
    ("PGHOST", &["host", "hostaddr"], |url| url.host_str().is_some_and(|host| !host.is_empty())),
    ("PGHOSTADDR", &["host", "hostaddr"], |url| url.host_str().is_some_and(|host| !host.is_empty())),
    ("PGUSER", &["user"], |url| !url.username().is_empty()),
    ("PGDATABASE", &["dbname"], |url| !url.path().trim_start_matches('/').is_empty()),
    ("PGAPPNAME", &["application_name"], |_| false),
];

/// `options` are those of the url and of `PGOPTIONS`. [`DatabaseSettings::validate`] has looked at the url's.
pub(super) fn check(settings: &DatabaseSettings, options: Option<&str>) -> Result<(), ConfigError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let url = Url::parse(settings.url.expose()).ok();
    let says = |keys: &[&str]| url.iter().any(|url| url.query_pairs().any(|(key, _)| keys.contains(&&*key)));
    let mut faults = Vec::new();
    let mut fault = |name: &str, key: &str, problem: String| {
        let mut fault = settings.fault(key, problem);
        fault.source = Some(name.to_owned());
        faults.push(fault);
    };
    for (setting, problem) in variable("PGOPTIONS").iter().flat_map(|options| limits_in(options)) {
        fault("PGOPTIONS", setting, problem);
    }
    if settings.pooler != Pooler::Direct
        && let Some(problem) = variable("PGOPTIONS").and_then(|options| lost_in(&options))
    {
        fault("PGOPTIONS", "url", problem);
    }
    let is_given = |by: fn(&Url) -> bool| url.as_ref().is_some_and(by);
    for (name, keys, by) in TAKEN_AS_THEY_ARE {
        let value = variable(name).filter(|_| !says(keys) && !is_given(by));
        if let Some(problem) = value.as_deref().and_then(untidy) {
            fault(name, "url", problem.to_owned());
        }
    }
    // A password may begin with whatever it likes; what echo has put at its end is no part of it.
    if let Some(password) = variable("PGPASSWORD").filter(|_| settings.before_connect.is_none())
        && password.ends_with('\n')
        && !says(&["password"])
        && !is_given(|url| url.password().is_some())
    {
        fault("PGPASSWORD", "url", "it ends in a line break, as what echo has written; take it out".to_owned());
    }
    // sqlx would take it for `prefer`, which is less than whatever was meant.
    if let Some(mode) = variable("PGSSLMODE").filter(|mode| mode.parse::<PgSslMode>().is_err())
        && !says(&["sslmode", "ssl-mode"])
    {
        let problem = format!("found {mode:?}, expected disable, allow, prefer, require, verify-ca or verify-full");
        fault("PGSSLMODE", "url", problem);
    }
    if let Some(port) = variable("PGPORT").filter(|port| port.parse::<u16>().is_err())
        && !says(&["port"])
        && url.as_ref().is_none_or(|url| url.port().is_none())
    {
        fault("PGPORT", "url", format!("found {port:?}, expected a port such as 5432"));
    }
    let names: Vec<String> = options.map(names_in).unwrap_or_default();
    for (name, hint) in BESIDE.iter().filter(|(name, _)| names.iter().any(|said| said == name)) {
        let pool = &settings.pool.name;
        tracing::warn!(target: "pool", "pool {pool}: {name} among the options of the url or PGOPTIONS has no effect; {hint}");
    }
    faults.into_iter().map(ConfigError::from).reduce(ConfigError::merge).map_or(Ok(()), Err)
}
