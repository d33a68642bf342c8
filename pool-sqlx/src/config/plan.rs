//! What the types of settings cannot check.

use super::{ConfigError, ConfigFault, DatabaseSettings, Pooler, Reset, fault::verdict, options, value::Provider};

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
