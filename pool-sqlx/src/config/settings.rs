//! The settings of a database, each declared once.

use super::{BeforeConnect, ConfigError, ConfigFault, url};
use crate::words::Secret;
use figment::Profile;
use pool_core::{__settings, MaxOverflow, Nested, Settings};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

// Declares the settings that only databases have, as `pool_core::__settings` does what every pool has: see there for a row. In addition
// a field has its visibility, a default that is no value has words, and a setting without a setter has one by hand below, or none.
macro_rules! database_settings {
    ($then:ident $(, $place:tt)?) => { $then! { $($place)?
        /// Where the database is, in sqlx's form or SQLAlchemy's (`postgresql+asyncpg://`); never shown with its password.
        ///
        /// Kept in sqlx's form. [`Secret::expose`] gives the whole.
        pub url: Secret = (Secret::new("")), "none";
        /// File that holds the url, read at start; its password is read again at each connect.
        pub(super) url_file: Option<PathBuf> = None;
        /// File that holds the password, whatever the url says; read again at each connect.
        pub(super) password_file: Option<PathBuf> = None;
        /// Longest a statement may run: the server ends it, or the client if the server has fallen silent.
        ///
        /// `None`: no limit.
        #[doc(alias = "command_timeout")]
        pub statement_timeout: Option<Duration> = 10 s, with_statement_timeout(impl Into<Option<Duration>>);
        /// Longest a statement may wait for a lock.
        pub lock_timeout: Option<Duration> = None, with_lock_timeout(impl Into<Option<Duration>>);
        /// Longest a transaction may stay idle before the server ends it.
        pub idle_in_transaction_timeout: Option<Duration> = None,
            with_idle_in_transaction_timeout(impl Into<Option<Duration>>);
        /// Name by which the server lists our connections.
        pub application_name: Option<String> = (binary_name()), "the binary's name";
        /// Prepared statements kept for each connection, whatever the url says (`statement-cache-capacity`).
        ///
        /// PostgreSQL needs 1 or more.
        #[doc(alias = "statement_cache_capacity")]
        #[doc(alias = "statement_cache_size")]
        pub statement_cache: Option<usize> = None, "the url's, else sqlx's 100",
            with_statement_cache(impl Into<Option<usize>>);
        /// HTTP status of a statement timeout: 503, as for every other timeout, or 504.
        pub statement_timeout_status: u16 = 503, with_statement_timeout_status(u16);
        /// What the return of a connection must undo.
        pub reset: Reset = (Reset::Rollback), with_reset(Reset);
        /// What stands between us and PostgreSQL; guessed from well-known host names if not set.
        pub pooler: Pooler = (Pooler::Direct), with_pooler(Pooler);
        /// Where to LISTEN and to migrate, past any pooler.
        pub listen_url: Option<Secret> = None, "as `url`";
        /// Time added to `pool_timeout` and `connection_timeout` while the database wakes; not supported yet.
        pub(super) wake_allowance: Duration = 0 s;
        /// A bundle of defaults for a host; only `none` is supported yet.
        pub(super) provider: Provider = (Provider::None);
    } };
}

macro_rules! declare {
    ($(
        #[doc = $meaning:literal] $(#[$more:meta])*
        $vis:vis $key:ident: $ty:ty = $default:tt $($unit:ident)? $(, $words:literal)? $(, $setter:ident($arg:ty))?;
    )*) => {
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
        #[doc(alias = "PoolOptions")]
        #[doc(alias = "PgPoolOptions")]
        #[doc(alias = "MySqlPoolOptions")]
        #[doc(alias = "SqlitePoolOptions")]
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub struct DatabaseSettings {
            /// Sizes, limits and habits of the pool. Its fields are keys of the same table of `Pool.toml`.
            pub pool: Settings,
            $(
                #[doc = $meaning]
                $(#[$more])*
                #[doc = ""]
                #[doc = __settings!(@text $default $($unit)? $(, $words)?)]
                $vis $key: $ty,
            )*
            pub(crate) before_connect: Option<BeforeConnect>,
            pub(super) profile: String,
            /// Place of each setting that was set.
            pub(super) explicit: BTreeMap<&'static str, String>,
        }

        impl DatabaseSettings {
            /// The defaults, and no url.
            pub(super) fn defaults() -> Self {
                Self {
                    pool: Settings::default(),
                    $($key: __settings!(@value $default $($unit)?),)*
                    before_connect: None,
                    profile: Profile::Default.to_string(),
                    explicit: BTreeMap::new(),
                }
            }
        }
    };
}

/// The field of a setting: `[pool]` is the place of what every pool has, `[]` that of the others.
macro_rules! field {
    ([$($place:ident)?] $settings:ident $key:ident) => { $settings.$($place.)?$key };
}

macro_rules! setters {
    ($place:tt $(
        #[doc = $meaning:literal] $(#[$more:meta])*
        $vis:vis $key:ident: $ty:ty = $default:tt $($unit:ident)? $(, $words:literal)? $(, $setter:ident($arg:ty))?;
    )*) => { $($(setter! { $place $key $meaning $setter($arg) })?)* };
}

macro_rules! setter {
    // By hand below.
    ($place:tt connection_timeout $($rest:tt)*) => {};
    ($place:tt $key:ident $meaning:literal $setter:ident($arg:ty)) => {
        #[doc = concat!("Sets `", stringify!($key), "`.")]
        #[doc = ""]
        #[doc = $meaning]
        #[must_use]
        pub fn $setter(mut self, value: $arg) -> Self {
            field!($place self $key) = value.into();
            self.set_in_code(stringify!($key))
        }
    };
}

pub(super) use {database_settings, field};

database_settings!(declare);

#[allow(clippy::useless_conversion, reason = "one body for values and for `impl Into`")]
impl DatabaseSettings {
    __settings!(setters, [pool]);
    database_settings!(setters, []);
}

/// What is set in another way than by assignment.
impl DatabaseSettings {
    /// Sets `connection_timeout`, and with it `pool_timeout` unless that was set.
    #[must_use]
    pub fn with_connection_timeout(mut self, value: Duration) -> Self {
        if self.explicit("pool_timeout").is_none() && self.pool.pool_timeout == self.pool.connection_timeout {
            self.pool.pool_timeout = value;
        }
        self.pool.connection_timeout = value;
        self.set_in_code("connection_timeout")
    }

    /// Sets `application_name`.
    #[must_use]
    pub fn with_application_name(mut self, value: impl Into<String>) -> Self {
        self.application_name = Some(value.into());
        self.set_in_code("application_name")
    }

    /// Sets `listen_url`.
    ///
    /// # Errors
    ///
    /// If the url cannot be read. The error does not quote it.
    pub fn with_listen_url(self, url: impl AsRef<str>) -> Result<Self, ConfigError> {
        let mut settings = self.set_in_code("listen_url");
        settings.listen_url = Some(settings.read_url("listen_url", url.as_ref())?);
        Ok(settings)
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
        self.before_connect = Some(BeforeConnect::new("before_connect", move || Box::pin(password())));
        self.set_in_code("before_connect")
    }

    /// Names the pool in errors, logs and metrics.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.pool.name = name.into();
        self
    }

    pub(super) fn read_url(&self, key: &str, url: &str) -> Result<Secret, ConfigFault> {
        url::normalise(url).map(Secret::new).map_err(|problem| self.fault(key, problem))
    }

    /// Notes where the setting was set.
    pub(super) fn set_in_code(mut self, key: &'static str) -> Self {
        self.explicit.insert(key, format!("{key}, set in code"));
        self
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

/// A host whose bundle of defaults is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    None,
    Neon,
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

fn binary_name() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    let name = path.file_name()?.to_string_lossy();
    Some(name.strip_suffix(std::env::consts::EXE_SUFFIX).unwrap_or(&name).to_owned())
}
