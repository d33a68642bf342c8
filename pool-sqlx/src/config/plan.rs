//! What the types of settings cannot check, and a configuration that has been checked.

use super::{ConfigError, ConfigFault, DatabaseSettings, Pooler, Reset, fault::verdict, options, settings::Provider};
use std::sync::Arc;

/// What a database asks of its configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demands {
    /// The database, as errors name it.
    pub(crate) name: &'static str,
    /// Schemes of its urls.
    pub(crate) schemes: &'static [&'static str],
    /// Fills in what was not set and depends on the database: the pooler that a host name gives away, the size of a database in memory.
    pub(crate) adapt: fn(&mut DatabaseSettings),
    /// Keys that the database cannot honour with these settings. Each is refused if it was set.
    pub(crate) refused: fn(&DatabaseSettings) -> Vec<&'static str>,
}

/// A configuration after all checks, with the driver's options made of it. What is built from it cannot fail for its settings.
#[derive(Clone, Debug)]
pub(crate) struct Plan<O> {
    settings: Arc<DatabaseSettings>,
    options: O,
}

impl<O> Plan<O> {
    /// Adapts and checks the settings, and makes the options of them.
    ///
    /// # Errors
    ///
    /// Every fault of the settings, each with its place; if there is none, the error of `configure`.
    pub(crate) fn new<E: From<ConfigError>>(
        mut settings: DatabaseSettings,
        demands: &Demands,
        configure: impl FnOnce(&DatabaseSettings) -> Result<O, E>,
    ) -> Result<Self, E> {
        let scheme = settings.url.expose().split(':').next().unwrap_or_default();
        let mut faults = Vec::new();
        if demands.schemes.contains(&scheme) {
            // Before the checks: what is filled in has to agree with the rest.
            (demands.adapt)(&mut settings);
        } else {
            let (wanted, database) = (demands.schemes.join(" or "), demands.name);
            let problem =
                format!("the url is of {scheme}, the pool of {database}; use a url of {wanted}, or another pool");
            faults.push(settings.fault("url", problem));
        }
        faults.extend(settings.faults());
        let refused = (demands.refused)(&settings).into_iter().filter(|key| settings.explicit(key).is_some());
        let refused =
            refused.map(|key| settings.fault(key, format!("{} cannot honour {key}; leave it out", demands.name)));
        faults.extend(refused);
        verdict(faults)?;
        let options = configure(&settings)?;
        Ok(Self { settings: Arc::new(settings), options })
    }

    /// The settings and the options.
    pub(crate) fn into_parts(self) -> (Arc<DatabaseSettings>, O) {
        (self.settings, self.options)
    }
}

impl DatabaseSettings {
    /// Checks what the types cannot: contradictions between settings, all of them at once.
    ///
    /// [`from`](Self::from) and the making of a pool do the same, so a service needs this only to check settings early.
    ///
    /// # Errors
    ///
    /// Lists every fault with its place and the way out.
    pub fn validate(&self) -> Result<(), ConfigError> {
        verdict(self.faults())
    }

    pub(super) fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        if let Err(error) = self.pool.validate() {
            faults.extend(error.faults.into_iter().map(|fault| self.fault(fault.key, fault.problem)));
        }
        for (key, limit) in [
            ("statement_timeout", self.statement_timeout),
            ("lock_timeout", self.lock_timeout),
            ("idle_in_transaction_timeout", self.idle_in_transaction_timeout),
        ] {
            // Servers count in milliseconds, in 31 bits, and take 0 for no limit.
            if let Some(limit) = limit.filter(|limit| limit.as_millis() == 0 || limit.as_millis() > i32::MAX as u128) {
                faults.push(
                    self.fault(key, format!("{key} = {limit:?} is not from 1ms to 596h; use \"none\" for no limit")),
                );
            }
        }
        if !matches!(self.statement_timeout_status, 503 | 504) {
            let status = self.statement_timeout_status;
            faults.push(self.fault(
                "statement_timeout_status",
                format!("statement_timeout_status = {status} is neither 503 nor 504"),
            ));
        }
        for (key, url) in [("url", Some(&self.url)), ("listen_url", self.listen_url.as_ref())] {
            let problems = url.into_iter().flat_map(|url| options::problems(url, self.statement_cache));
            faults.extend(problems.map(|problem| self.fault(key, problem)));
        }
        if self.statement_cache == Some(0) && self.url.expose().starts_with("postgres") {
            faults.push(self.fault("statement_cache", options::no_cache("statement_cache = 0")));
        }
        if self.pooler != Pooler::Direct
            && let Some(problem) = options::lost_in(&options::of(&self.url))
        {
            faults.push(self.fault("url", problem));
        }
        if self.pooler != Pooler::Direct && self.reset != Reset::Rollback {
            faults.push(self.fault(
                "reset",
                "behind a pooler the session is not ours to reset; leave reset out, the pooler cleans its own sessions",
            ));
        }
        // Settings of a later version.
        for (key, is_default) in
            [("wake_allowance", self.wake_allowance.is_zero()), ("provider", self.provider == Provider::None)]
        {
            if !is_default {
                faults.push(self.fault(key, format!("{key} is not supported by this version yet; leave it out")));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMANDS: Demands = Demands {
        name: "MySQL",
        schemes: &["mysql"],
        adapt: |settings| settings.pool.pool_size = 1,
        refused: |_| vec!["lock_timeout", "application_name"],
    };

    fn plan(settings: DatabaseSettings) -> Result<Plan<u32>, ConfigError> {
        Plan::new(settings, &DEMANDS, |settings| Ok(settings.pool.pool_size))
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let settings = DatabaseSettings::new("sqlite::memory:").expect("a url");
        let error = plan(settings.with_max_uses(0).with_application_name("app")).expect_err("faults");
        let faults: Vec<String> = error.faults().iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "url, set in code: the url is of sqlite, the pool of MySQL; use a url of mysql, or another pool",
                "max_uses, set in code: max_uses = 0 would never lend; leave it out for no limit",
                "application_name, set in code: MySQL cannot honour application_name; leave it out",
            ]
        );
    }

    #[test]
    fn what_a_database_fills_in_must_agree_with_the_rest() {
        let settings = DatabaseSettings::new("mysql://db/app").expect("a url");
        let error = plan(settings.with_min_idle(2)).expect_err("a fault").to_string();
        assert!(error.starts_with("min_idle, set in code: min_idle = 2 is more than pool_size = 1"), "{error}");
    }

    #[test]
    fn options_are_made_of_the_adapted_settings() {
        let settings = DatabaseSettings::new("mysql://db/app").expect("a url");
        let (settings, options) = plan(settings).expect("no fault").into_parts();
        assert_eq!((settings.pool.pool_size, options), (1, 1));
    }
}
