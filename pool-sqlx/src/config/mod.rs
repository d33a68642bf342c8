//! What a database is told: where it is, and how its pool behaves.
//!
//! A value comes from, the last wins: the defaults, `[default]` of `Pool.toml`, the profile of `Pool.toml`, a `DATABASE_*` variable,
//! and a `with_` method. Reading collects every fault with its place instead of stopping at the first.

mod duration;
mod environment;
mod fault;
mod file;
mod options;
mod read;
mod reference;
mod url;
mod value;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use crate::words::{
    Secret,
    secret::{self, redacted},
};
use figment::{Figment, Profile};
use pool_core::{MaxOverflow, Nested, Settings};

pub use fault::{ConfigError, ConfigFault};
#[cfg(feature = "postgres")]
pub(crate) use options::{limits_in, lost_in, names_in};
pub(crate) use read::strangers;
pub use reference::{Setting, SettingKind, reference};
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) use url::without_unread;

/// Where a database is, and how its pool behaves.
///
/// [`new`](Self::new) takes a url and the defaults; [`figment`](Self::figment) and [`from`](Self::from) read `Pool.toml` and the
/// environment. `Debug` shows no password.
///
/// # Example
///
/// ```
/// use pool_sqlx::DatabaseSettings;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), pool_sqlx::ConfigError> {
/// let settings = DatabaseSettings::new("postgres://app:hunter2@db/app")?
///     .with_pool_size(20)
///     .with_statement_timeout(Duration::from_secs(2));
/// assert!(!format!("{settings:?}").contains("hunter2"));
/// # Ok(())
/// # }
/// ```
#[doc(alias = "PoolConfig")]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DatabaseSettings {
    /// Where the database is, in sqlx's form. Shown redacted; [`Secret::expose`] gives the whole.
    pub url: Secret,
    /// Sizes, limits and habits of the pool. Its fields are keys of the same table of `Pool.toml`.
    pub pool: Settings,
    /// Longest a statement may run: the server ends it, or the client if the server has fallen silent. Default: 10 s. `None`: no limit.
    #[doc(alias = "command_timeout")]
    pub statement_timeout: Option<Duration>,
    /// Longest a statement may wait for a lock. Default: none.
    pub lock_timeout: Option<Duration>,
    /// Longest a transaction may stay idle before the server ends it. Default: none.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// Name by which the server lists our connections. Default: the binary's file name.
    pub application_name: Option<String>,
    /// Prepared statements kept for each connection, whatever the url says (`statement-cache-capacity`). Default: none, which is the
    /// url's, else sqlx's 100. PostgreSQL needs 1 or more.
    #[doc(alias = "statement_cache_capacity")]
    #[doc(alias = "statement_cache_size")]
    pub statement_cache: Option<usize>,
    /// HTTP status of a statement timeout, 503 or 504. Default: 503, as for every other timeout.
    pub statement_timeout_status: u16,
    /// What a return must undo. Default: rollback.
    pub reset: Reset,
    /// What stands between us and PostgreSQL. Default: direct, unless the host is a pooler's that we know.
    pub pooler: Pooler,
    /// Where to LISTEN and to migrate, past any pooler. Default: `url`.
    pub listen_url: Option<Secret>,
    pub(crate) before_connect: Option<BeforeConnect>,
    profile: String,
    /// Place of each setting that was set.
    explicit: BTreeMap<&'static str, String>,
}

/// What the return of a connection must undo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reset {
    /// An open transaction. A connection known to be clean needs no round trip.
    #[default]
    Rollback,
    /// The transaction and what the session holds: settings, listeners, locks, temporary tables.
    Session,
    /// All of it, prepared statements included.
    Full,
}

/// What stands between us and PostgreSQL. With the wrong one a pooler returns wrong rows.
///
/// Behind a pooler limits travel with transactions, what belongs to a session is refused (LISTEN, SET, advisory locks), and a statement
/// whose caller has left is not cancelled: it ends within `reset_timeout`, or its connection is closed. The server may run on then, so
/// give the role limits of its own: `ALTER ROLE app SET statement_timeout = '10s'` and `SET client_connection_check_interval = '1s'`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pooler {
    /// Nothing.
    #[default]
    Direct,
    /// A transaction pooler that keeps prepared statements apart, such as PgBouncer since 1.21 with `max_prepared_statements`.
    Prepared,
    /// A transaction pooler that knows nothing of prepared statements: each statement runs in a transaction of ours.
    Unprepared,
}

/// A value that is set, with its place.
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

impl DatabaseSettings {
    /// Settings for a url, with the defaults for everything else. Reads neither file nor environment.
    ///
    /// # Errors
    ///
    /// If the url cannot be read. The error does not quote it.
    pub fn new(url: impl AsRef<str>) -> Result<Self, ConfigError> {
        let mut settings = Self::defaults(Secret::new(""));
        settings.explicit.insert("url", in_code("url"));
        match url::normalise(url.as_ref()) {
            Ok(url) => settings.url = Secret::new(url),
            Err(problem) => return Err(settings.fault("url", problem).into()),
        }
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
        let (profile, chosen_by) = match std::env::var("POOL_PROFILE").map(|name| name.trim().to_owned()) {
            Ok(name) if !name.is_empty() => (Profile::from(name), "POOL_PROFILE"),
            _ if cfg!(debug_assertions) => (Profile::const_new("dev"), "this is a debug build"),
            _ => (Profile::const_new("production"), "this is a release build"),
        };
        let file = file::PoolFile::open();
        let file_name = file.describe();
        tracing::debug!(target: "pool", "configuration from {file_name}, profile {profile} ({chosen_by})");
        let mut figment = Figment::from(file).select(profile);
        if let Some(warning) = misspelt_profile(&figment) {
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

    /// Where a setting was set, `None` if it has its default.
    ///
    /// Such as `Pool.toml, [production.databases.primary] lock_timeout`, `DATABASE_LOCK_TIMEOUT`, or `lock_timeout, set in code`. What a
    /// database cannot honour is refused only if it was set. Writing to a field is not seen; the `with_` methods are.
    pub fn explicit(&self, key: &str) -> Option<&str> {
        self.explicit.get(key).map(String::as_str)
    }

    /// A fault of one of these settings, with the place where it was set.
    pub fn fault(&self, key: &str, problem: impl Into<String>) -> ConfigFault {
        ConfigFault {
            key: key.to_owned(),
            profile: self.profile.clone(),
            source: self.explicit(key).map(str::to_owned),
            problem: problem.into(),
        }
    }

    /// Checks what the types cannot. [`from`](Self::from) has done it; settings changed in code are checked when a pool is made of them.
    ///
    /// # Errors
    ///
    /// Lists every fault with its place and the way out.
    pub fn validate(&self) -> Result<(), ConfigError> {
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
        fault::verdict(faults)
    }

    /// The defaults, all in one place with [`Settings::default`].
    fn defaults(url: Secret) -> Self {
        Self {
            url,
            pool: Settings::default(),
            statement_timeout: Some(Duration::from_secs(10)),
            lock_timeout: None,
            idle_in_transaction_timeout: None,
            application_name: binary_name(),
            statement_cache: None,
            statement_timeout_status: 503,
            reset: Reset::Rollback,
            pooler: Pooler::Direct,
            listen_url: None,
            before_connect: None,
            profile: Profile::Default.to_string(),
            explicit: BTreeMap::new(),
        }
    }
}

macro_rules! setters {
    ($($setter:ident $key:ident at $($field:ident).+: $ty:ty;)*) => {$(
        #[doc = concat!("Sets `", stringify!($key), "`.")]
        #[must_use]
        pub fn $setter(mut self, value: $ty) -> Self {
            self.$($field).+ = value.into();
            self.explicit.insert(stringify!($key), in_code(stringify!($key)));
            self
        }
    )*};
}

impl DatabaseSettings {
    setters! {
        with_pool_size pool_size at pool.pool_size: u32;
        with_max_overflow max_overflow at pool.max_overflow: impl Into<MaxOverflow>;
        with_pool_timeout pool_timeout at pool.pool_timeout: Duration;
        with_pool_recycle pool_recycle at pool.pool_recycle: impl Into<Option<Duration>>;
        with_pool_pre_ping pool_pre_ping at pool.pool_pre_ping: bool;
        with_pre_ping_after pre_ping_after at pool.pre_ping_after: Duration;
        with_ping_timeout ping_timeout at pool.ping_timeout: Duration;
        with_pool_use_lifo pool_use_lifo at pool.pool_use_lifo: bool;
        with_keepalive keepalive at pool.keepalive: impl Into<Option<Duration>>;
        with_idle_timeout idle_timeout at pool.idle_timeout: impl Into<Option<Duration>>;
        with_min_idle min_idle at pool.min_idle: u32;
        with_overflow_linger overflow_linger at pool.overflow_linger: Duration;
        with_max_uses max_uses at pool.max_uses: impl Into<Option<u64>>;
        with_reset_timeout reset_timeout at pool.reset_timeout: Duration;
        with_max_waiting max_waiting at pool.max_waiting: impl Into<Option<u32>>;
        with_slow_acquire slow_acquire at pool.slow_acquire: Duration;
        with_leak_after leak_after at pool.leak_after: impl Into<Option<Duration>>;
        with_shutdown_grace shutdown_grace at pool.shutdown_grace: Duration;
        with_connect_concurrency connect_concurrency at pool.connect_concurrency: u32;
        with_nested nested at pool.nested: Nested;
        with_statement_timeout statement_timeout at statement_timeout: impl Into<Option<Duration>>;
        with_lock_timeout lock_timeout at lock_timeout: impl Into<Option<Duration>>;
        with_idle_in_transaction_timeout idle_in_transaction_timeout at idle_in_transaction_timeout: impl Into<Option<Duration>>;
        with_statement_cache statement_cache at statement_cache: impl Into<Option<usize>>;
        with_statement_timeout_status statement_timeout_status at statement_timeout_status: u16;
        with_reset reset at reset: Reset;
        with_pooler pooler at pooler: Pooler;
    }

    /// Sets `connection_timeout`, and with it `pool_timeout` unless that was set.
    #[must_use]
    pub fn with_connection_timeout(mut self, value: Duration) -> Self {
        if self.explicit("pool_timeout").is_none() && self.pool.pool_timeout == self.pool.connection_timeout {
            self.pool.pool_timeout = value;
        }
        self.pool.connection_timeout = value;
        self.explicit.insert("connection_timeout", in_code("connection_timeout"));
        self
    }

    /// Sets `application_name`.
    #[must_use]
    pub fn with_application_name(mut self, value: impl Into<String>) -> Self {
        self.application_name = Some(value.into());
        self.explicit.insert("application_name", in_code("application_name"));
        self
    }

    /// Sets `listen_url`.
    ///
    /// # Errors
    ///
    /// If the url cannot be read. The error does not quote it.
    pub fn with_listen_url(mut self, url: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.explicit.insert("listen_url", in_code("listen_url"));
        match url::normalise(url.as_ref()) {
            Ok(url) => self.listen_url = Some(Secret::new(url)),
            Err(problem) => return Err(self.fault("listen_url", problem).into()),
        }
        Ok(self)
    }

    /// Asks for the password before each connect, for those that rotate or are tokens of minutes.
    ///
    /// Runs within `connection_timeout`, and for each connect, so keep a token for as long as it holds.
    ///
    /// # Errors
    ///
    /// What the future fails with is the error of that connect, as `before_connect failed: ..`. It is tried again like any other, while
    /// callers wait within their limits.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn token() -> std::io::Result<String> { Ok(String::new()) }
    /// use pool_sqlx::{DatabaseSettings, Secret};
    ///
    /// # fn main() -> Result<(), pool_sqlx::ConfigError> {
    /// let settings = DatabaseSettings::new("postgres://app@db/app")?
    ///     .with_before_connect(|| async { Ok(Secret::new(token().await?)) });
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_before_connect<F>(mut self, password: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Secret, Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        self.before_connect = Some(BeforeConnect(Arc::new(move || Box::pin(password()))));
        self.explicit.insert("before_connect", in_code("before_connect"));
        self
    }

    /// Names the pool in errors, logs and metrics.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.pool.name = name.into();
        self
    }
}

/// Gives the password of the next connect.
#[derive(Clone)]
pub(crate) struct BeforeConnect(Arc<dyn Fn() -> Password + Send + Sync>);

type Password = Pin<Box<dyn Future<Output = Result<Secret, Box<dyn std::error::Error + Send + Sync>>> + Send>>;

impl BeforeConnect {
    pub(crate) async fn password(&self) -> Result<Secret, std::io::Error> {
        (self.0)().await.map_err(|error| std::io::Error::other(NoPassword::of(error)))
    }
}

/// The function gave no password. What it says is for the log, without the secrets of addresses in it.
#[derive(Debug)]
pub(crate) struct NoPassword(String);

impl NoPassword {
    pub(crate) fn of(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self(redacted(&error.to_string()))
    }
}

impl std::fmt::Display for NoPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "before_connect failed: {}", self.0)
    }
}

impl std::error::Error for NoPassword {}

impl std::fmt::Debug for BeforeConnect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a function")
    }
}

fn in_code(key: &str) -> String {
    format!("{key}, set in code")
}

fn binary_name() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    let name = path.file_name()?.to_string_lossy();
    Some(name.strip_suffix(std::env::consts::EXE_SUFFIX).unwrap_or(&name).to_owned())
}

/// A profile that the file does not declare is legal, and then `[default]` alone counts; but one nearly so named is probably meant.
fn misspelt_profile(figment: &Figment) -> Option<String> {
    let declared: Vec<&str> = figment.profiles().map(|profile| profile.as_str().as_str()).collect();
    for wanted in [figment.profile().as_str().as_str(), "default"] {
        if !declared.contains(&wanted)
            && let Some(meant) = fault::nearest(wanted, declared.iter().copied())
        {
            return Some(format!("there is no profile {wanted}; did you mean {meant}, which there is?"));
        }
    }
    None
}
