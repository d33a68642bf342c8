//! What is wrong with a configuration: every fault, each with its place.

use std::fmt;

/// Everything that is wrong with a configuration, at once.
///
/// Displays one fault per line. No message contains a secret: what is quoted goes through the redactor first.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    faults: Vec<ConfigFault>,
}

impl ConfigError {
    /// Every fault, in the order of the settings table.
    pub fn faults(&self) -> &[ConfigFault] {
        &self.faults
    }

    /// Joins the faults of two databases into one report. A fault that concerns both (a file that cannot be read) is kept once.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        for fault in other.faults {
            if !self.faults.contains(&fault) {
                self.faults.push(fault);
            }
        }
        self
    }
}

/// One fault per line below a heading: `main` prints its error by `Debug`.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong:")?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigFault {
    /// The setting it concerns, as in the settings table; empty if it concerns a whole file.
    pub key: String,
    /// The profile that the value stands in, or the selected one.
    pub profile: String,
    /// Where the value came from, such as `Pool.toml, [production.databases.primary] pool_size` or `DATABASE_POOL_SIZE`.
    pub source: Option<String>,
    /// What is wrong, and the way out.
    pub problem: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{source}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(ConfigFault::to_string).collect();
        f.write_str(&faults.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigFault> for ConfigError {
    fn from(fault: ConfigFault) -> Self {
        Self { faults: vec![fault] }
    }
}

/// `Ok` if nothing is wrong, else all that is.
pub(super) fn verdict(faults: Vec<ConfigFault>) -> Result<(), ConfigError> {
    if faults.is_empty() { Ok(()) } else { Err(ConfigError { faults }) }
}

/// The candidate that was probably meant, if one is near enough.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // 0.85 takes a missing underscore, swapped letters and `prod` for `production`, but not `idle_timeout` for `pool_timeout`.
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(problem: &str) -> ConfigFault {
        ConfigFault { key: String::new(), profile: "dev".into(), source: None, problem: problem.into() }
    }

    #[test]
    fn merging_keeps_a_common_fault_once() {
        let one = ConfigError { faults: vec![fault("file"), fault("a")] };
        let two = ConfigError { faults: vec![fault("file"), fault("b")] };
        assert_eq!(one.merge(two).to_string(), "file\na\nb");
    }

    #[test]
    fn nearest_takes_slips_and_leaves_strangers() {
        fn check(word: &str, candidates: &[&str], expected: Option<&str>) {
            assert_eq!(nearest(word, candidates.iter().copied()), expected, "{word}");
        }
        check("pool_sise", &["pool_timeout", "pool_size"], Some("pool_size"));
        check("POOLSIZE", &["POOL_SIZE", "POOL_RECYCLE"], Some("POOL_SIZE"));
        check("prod", &["default", "production"], Some("production"));
        check("defualt", &["default"], Some("default"));
        check("staging", &["default", "production"], None);
        check("host", &["url", "reset", "nested"], None);
    }
}
