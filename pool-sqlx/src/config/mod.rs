//! What a database is told: where it is, and how its pool behaves.
//!
//! A value comes from, the last wins: the defaults, `[default]` of `Pool.toml`, the profile of `Pool.toml`, a `DATABASE_*` variable,
//! and a `with_` method. Reading collects every fault with its place instead of stopping at the first.

mod duration;
mod environment;
mod fault;
mod file;
mod millis;
mod options;
mod parameters;
mod password;
mod plan;
mod profile;
mod read;
mod reference;
mod secret_file;
mod settings;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod unread;
mod url;
mod value;

use figment::{Figment, Profile};
use std::collections::BTreeSet;

pub use fault::{ConfigError, ConfigFault};
#[cfg(feature = "postgres")]
pub(crate) use options::{limits_in, lost_in, names_in};
pub(crate) use password::{BeforeConnect, NoPassword};
pub(crate) use plan::{Demands, Plan};
pub(crate) use read::strangers;
pub use reference::{Setting, reference};
pub use settings::{DatabaseSettings, Pooler, Reset};
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) use unread::without_unread;
pub use value::SettingKind;
#[cfg(feature = "postgres")]
pub(crate) use value::untidy;

/// A value that is set, with its place. A type of its own, because three bare strings are easily mixed up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explained {
    /// Path in the figment, such as `databases.primary.pool_size`.
    pub path: String,
    /// The value, redacted.
    pub value: String,
    /// Where it came from, such as `Pool.toml, [production.databases.primary] pool_size` or `DATABASE_POOL_SIZE`.
    pub source: String,
}

/// As [`DatabaseSettings::new`].
impl std::str::FromStr for DatabaseSettings {
    type Err = ConfigError;

    fn from_str(url: &str) -> Result<Self, ConfigError> {
        Self::new(url)
    }
}

/// As [`DatabaseSettings::new`].
impl TryFrom<&str> for DatabaseSettings {
    type Error = ConfigError;

    fn try_from(url: &str) -> Result<Self, ConfigError> {
        Self::new(url)
    }
}

/// As [`DatabaseSettings::new`].
impl TryFrom<String> for DatabaseSettings {
    type Error = ConfigError;

    fn try_from(url: String) -> Result<Self, ConfigError> {
        Self::new(url)
    }
}

/// As [`DatabaseSettings::new`].
impl TryFrom<&String> for DatabaseSettings {
    type Error = ConfigError;

    fn try_from(url: &String) -> Result<Self, ConfigError> {
        Self::new(url)
    }
}

impl DatabaseSettings {
    /// Settings for a url, with the defaults for everything else. Reads neither file nor environment.
    ///
    /// # Errors
    ///
    /// If the url cannot be read. The error does not quote it.
    pub fn new(url: impl AsRef<str>) -> Result<Self, ConfigError> {
        let mut settings = Self::defaults().set_in_code("url");
        settings.url = settings.read_url("url", url.as_ref())?;
        Ok(settings)
    }

    /// `Pool.toml` and the `DATABASE_*` variables, merged.
    ///
    /// The file is the one at `POOL_CONFIG`, which must exist, else `Pool.toml` in the working directory, which need not. The profile is
    /// `POOL_PROFILE`, else `dev` in debug builds and `production` in release builds.
    ///
    /// `DATABASE_X` means the database called `primary`, or the only one that the file declares; others have `DATABASE_<NAME>_X`. Use
    /// [`figment_for`](Self::figment_for) if the program knows the names. The environment stands in figment's global profile, so what
    /// you merge on top must stand there too: `figment.merge(Serialized::global("databases.primary.pool_size", 3))`.
    ///
    /// Warns, under the target `pool`, of `DATABASE_*` variables that are no settings and of a profile that is probably misspelt.
    pub fn figment() -> Figment {
        Self::figment_for(&[])
    }

    /// As [`figment`](Self::figment), for a program that reads these databases: a single one takes the `DATABASE_X` variables, whatever
    /// its name, and each takes its `DATABASE_<NAME>_X` though no file declares it.
    pub fn figment_for(databases: &[&str]) -> Figment {
        let named = std::env::var("POOL_PROFILE").map(|name| name.trim().to_owned()).unwrap_or_default();
        let (profile, chosen_by) = match named.as_str() {
            name if !name.is_empty() => (Profile::from(name), "POOL_PROFILE"),
            _ if cfg!(debug_assertions) => (Profile::const_new("dev"), "this is a debug build"),
            _ => (Profile::const_new("production"), "this is a release build"),
        };
        let file = file::PoolFile::open();
        let file_name = file.describe();
        tracing::debug!(target: "pool", "configuration from {file_name}, profile {profile} ({chosen_by})");
        if file.is_absent()
            && let Some(near) = file::nearly_so_called()
        {
            tracing::warn!(target: "pool", "{near}");
        }
        let mut figment = Figment::from(file).select(profile);
        if let Some(problem) = value::quoted(&named) {
            figment = figment.merge(environment::Refused("POOL_PROFILE", problem));
        } else if let Some(warning) = profile::unknown(&figment, chosen_by == "POOL_PROFILE") {
            tracing::warn!(target: "pool", "{file_name}: {warning}");
        }

        let mut declared: BTreeSet<String> = databases.iter().map(|name| (*name).to_owned()).collect();
        declared.extend(read::databases(&figment).unwrap_or_default().into_keys());
        let environment = environment::read(std::env::vars_os(), &declared);
        for stray in environment.strays {
            tracing::warn!(target: "pool", "{stray}");
        }
        for variable in environment.variables {
            figment = figment.merge(variable);
        }
        figment
    }

    /// Settings of a database, from the section `databases.<name>` of any figment.
    ///
    /// The pool is named after the database. `pool_timeout` is the configured `connection_timeout` unless it is set itself.
    ///
    /// # Errors
    ///
    /// Lists every fault with its key, profile and place, no url among them.
    ///
    /// # Example
    ///
    /// ```
    /// use figment::{Figment, providers::{Format, Toml}};
    /// use pool_sqlx::DatabaseSettings;
    ///
    /// # fn main() -> Result<(), pool_sqlx::ConfigError> {
    /// let figment = Figment::from(Toml::string(r#"
    ///     [databases.primary]
    ///     url = "sqlite::memory:"
    ///     connection_timeout = "250ms"
    /// "#));
    /// let settings = DatabaseSettings::from(&figment, "primary")?;
    /// assert_eq!(settings.pool.pool_timeout.as_millis(), 250);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from(figment: &Figment, name: &str) -> Result<Self, ConfigError> {
        read::read(figment, name)
    }

    /// Every value that is set for any database, redacted, with its place: the answer to *where does this 40 come from?*
    pub fn explain(figment: &Figment) -> Vec<Explained> {
        read::explain(figment)
    }
}
