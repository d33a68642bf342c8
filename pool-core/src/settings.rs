//! What a pool is told: sizes, limits and habits.

use std::{fmt, time::Duration};

/// Sizes, limits and habits of a pool.
///
/// The names, and the defaults unless a field says otherwise, are those of SQLAlchemy's `QueuePool` as a production service
/// on serverless PostgreSQL settled them. Build one with [`Default`] and the `with_` methods.
///
/// # Example
///
/// ```
/// use pool_core::Settings;
/// use std::time::Duration;
///
/// let settings = Settings::default().with_pool_size(20).with_pool_timeout(Duration::from_secs(3));
/// assert_eq!(settings.max_overflow, 5.into());
/// ```
#[doc(alias = "PoolOptions")]
#[doc(alias = "PoolConfig")]
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Name of the pool in errors, logs and metrics. Default: `pool`.
    pub name: String,
    /// Connections kept open once they were needed. Default: 10. `0` keeps none idle (SQLAlchemy reads 0 as unlimited; we do not).
    #[doc(alias = "max_connections")]
    #[doc(alias = "max_size")]
    #[doc(alias = "max_open")]
    pub pool_size: u32,
    /// Connections opened above `pool_size` when all are in use, and closed on return when `pool_size` idle ones are there already.
    /// Default: 5, so that 15 requests survive a cold start together.
    pub max_overflow: MaxOverflow,
    /// Longest wait for a connection, over everything: queueing, connecting, pinging. Default: 10 s, as `connection_timeout`.
    #[doc(alias = "acquire_timeout")]
    #[doc(alias = "checkout_timeout")]
    #[doc(alias = "wait_timeout")]
    pub pool_timeout: Duration,
    /// Longest time to open one connection: name resolution, every address, TLS, authentication and retries. Default: 10 s, above
    /// the 5 to 10 s that a suspended serverless database needs to wake. After a fifth of it (1 s at least, and twice the usual) a connect
    /// is late, and one more is begun beside it.
    #[doc(alias = "connect_timeout")]
    #[doc(alias = "create_timeout")]
    pub connection_timeout: Duration,
    /// Longest a connection may live before it is replaced.
    ///
    /// Checked when a connection is lent, returned or swept; one in use is never cut off.
    /// Each connection draws up to 10 % less, so that they do not all end together.
    /// Set it below the shortest limit on the way (server, proxy, firewall). Default: 2 h. `None`: never.
    #[doc(alias = "max_lifetime")]
    #[doc(alias = "max_age")]
    pub pool_recycle: Option<Duration>,
    /// Whether a connection is tested before it is lent, if it was idle for `pre_ping_after`. Default: true.
    #[doc(alias = "test_before_acquire")]
    #[doc(alias = "test_on_check_out")]
    pub pool_pre_ping: bool,
    /// How long a connection counts as fresh after its last use. Default: 500 ms; zero tests always.
    pub pre_ping_after: Duration,
    /// Longest time for a test. A ping that hangs is a dead connection. Default: 1 s.
    pub ping_timeout: Duration,
    /// Whether the connection that was returned last is lent first. Default: true, so that the others may idle out.
    #[doc(alias = "queue_mode")]
    pub pool_use_lifo: bool,
    /// Longest time a connection may stay idle before it is closed. Default: none. Set it below a serverless database's suspend time.
    pub idle_timeout: Option<Duration>,
    /// How often an idle connection is pinged to keep it alive through firewalls and proxies, up to 20 % earlier by jitter. Default: none.
    /// It also keeps a serverless database from suspending.
    pub keepalive: Option<Duration>,
    /// Idle connections to keep ready, within `pool_size`. Default: 0.
    #[doc(alias = "min_connections")]
    #[doc(alias = "min_size")]
    pub min_idle: u32,
    /// How long a returned connection above `pool_size` may stay idle before it is closed. Default: zero, close at once.
    pub overflow_linger: Duration,
    /// Times a connection may be lent before it is replaced. Default: none.
    pub max_uses: Option<u64>,
    /// Longest time to clean a returned connection, and to close one. Default: 1 s; then the connection is dropped.
    pub reset_timeout: Duration,
    /// Callers that may wait at once; the next is refused. Default: none.
    pub max_waiting: Option<u32>,
    /// An acquire slower than this is logged with its timeline. Default: 1 s.
    pub slow_acquire: Duration,
    /// A connection held longer than this is reported with the place that borrowed it. Default: 60 s. `None`: never.
    #[doc(alias = "leak_detection_threshold")]
    pub leak_after: Option<Duration>,
    /// How long [`Pool::close`](crate::Pool::close) waits for connections in use. Default: 10 s.
    pub shutdown_grace: Duration,
    /// Connections that may be opening at once. Default: 4: enough for a cold start, too few for a
    /// storm. After a failed connect it is 1 until one succeeds, or 2 while that one is late (see
    /// [`connection_timeout`](Self::connection_timeout)).
    pub connect_concurrency: u32,
    /// What to do when a task that holds a connection asks the same pool for another. Default: warn.
    pub nested: Nested,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "pool".to_owned(),
            pool_size: 10,
            max_overflow: MaxOverflow::Limited(5),
            pool_timeout: Duration::from_secs(10),
            connection_timeout: Duration::from_secs(10),
            pool_recycle: Some(Duration::from_secs(7200)),
            pool_pre_ping: true,
            pre_ping_after: Duration::from_millis(500),
            ping_timeout: Duration::from_secs(1),
            pool_use_lifo: true,
            idle_timeout: None,
            keepalive: None,
            min_idle: 0,
            overflow_linger: Duration::ZERO,
            max_uses: None,
            reset_timeout: Duration::from_secs(1),
            max_waiting: None,
            slow_acquire: Duration::from_secs(1),
            leak_after: Some(Duration::from_secs(60)),
            shutdown_grace: Duration::from_secs(10),
            connect_concurrency: 4,
            nested: Nested::Warn,
        }
    }
}

macro_rules! setters {
    ($($setter:ident $field:ident: $ty:ty;)*) => {$(
        #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $setter(mut self, value: $ty) -> Self {
            self.$field = value.into();
            self
        }
    )*};
}

#[allow(clippy::useless_conversion, reason = "one body for values and for `impl Into`")]
impl Settings {
    setters! {
        with_name name: impl Into<String>;
        with_pool_size pool_size: u32;
        with_max_overflow max_overflow: impl Into<MaxOverflow>;
        with_pool_timeout pool_timeout: Duration;
        with_connection_timeout connection_timeout: Duration;
        with_pool_recycle pool_recycle: impl Into<Option<Duration>>;
        with_pool_pre_ping pool_pre_ping: bool;
        with_pre_ping_after pre_ping_after: Duration;
        with_ping_timeout ping_timeout: Duration;
        with_pool_use_lifo pool_use_lifo: bool;
        with_idle_timeout idle_timeout: impl Into<Option<Duration>>;
        with_keepalive keepalive: impl Into<Option<Duration>>;
        with_min_idle min_idle: u32;
        with_overflow_linger overflow_linger: Duration;
        with_max_uses max_uses: impl Into<Option<u64>>;
        with_reset_timeout reset_timeout: Duration;
        with_max_waiting max_waiting: impl Into<Option<u32>>;
        with_slow_acquire slow_acquire: Duration;
        with_leak_after leak_after: impl Into<Option<Duration>>;
        with_shutdown_grace shutdown_grace: Duration;
        with_connect_concurrency connect_concurrency: u32;
        with_nested nested: Nested;
    }

    /// Most connections that may be open at once, `None` if there is no such limit.
    pub fn cap(&self) -> Option<u32> {
        match self.max_overflow {
            MaxOverflow::Limited(n) => Some(self.pool_size.saturating_add(n)),
            MaxOverflow::Unlimited => None,
        }
    }

    /// Checks what the types cannot: contradictions between settings, all of them at once.
    ///
    /// # Errors
    ///
    /// Lists every fault with the key, the value and the way out.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let mut faults = Vec::new();
        let mut fault = |key, problem: String| faults.push(SettingsFault { key, problem });
        if self.name.trim().is_empty() {
            fault("name", "the pool's name is empty, and errors, logs and metrics go by it; give it one".into());
        }
        if self.cap() == Some(0) {
            fault(
                "pool_size",
                "pool_size = 0 with max_overflow = 0 allows no connection at all; raise one of them".into(),
            );
        }
        if self.min_idle > self.pool_size {
            let (min, size) = (self.min_idle, self.pool_size);
            fault("min_idle", format!("min_idle = {min} is more than pool_size = {size}; lower it or raise pool_size"));
        }
        if self.connect_concurrency == 0 {
            fault("connect_concurrency", "connect_concurrency = 0 would never connect; use 1 or more".into());
        }
        if self.max_uses == Some(0) {
            fault("max_uses", "max_uses = 0 would never lend; leave it out for no limit".into());
        }
        for (key, value) in [
            ("pool_recycle", self.pool_recycle),
            ("idle_timeout", self.idle_timeout),
            ("keepalive", self.keepalive),
            ("leak_after", self.leak_after),
            ("connection_timeout", Some(self.connection_timeout)),
            ("ping_timeout", Some(self.ping_timeout)),
            ("reset_timeout", Some(self.reset_timeout)),
        ] {
            if value == Some(Duration::ZERO) {
                fault(
                    key,
                    format!(
                        "{key} = 0 leaves no time at all; give it a duration, or \"none\" where there may be no limit"
                    ),
                );
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(SettingsError { faults }) }
    }
}

/// How many connections may be open above `pool_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaxOverflow {
    /// At most this many.
    Limited(u32),
    /// Any number. Written `"unlimited"` or `-1` in configuration.
    Unlimited,
}

impl From<u32> for MaxOverflow {
    fn from(n: u32) -> Self {
        Self::Limited(n)
    }
}

/// A negative number is unlimited, as SQLAlchemy writes it.
impl From<i32> for MaxOverflow {
    fn from(n: i32) -> Self {
        u32::try_from(n).map_or(Self::Unlimited, Self::Limited)
    }
}

impl fmt::Display for MaxOverflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(n) => n.fmt(f),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// What happens when code that holds a connection asks the same pool for another.
///
/// The pool has two kinds of evidence:
///
/// - A [`Hold`](crate::Hold) marks the connection as held until some code ends. This is certain. A `#[pooled]` function that borrows its
///   connection runs inside [`Hold::during`](crate::Hold::during).
/// - The same task borrowed the connection. This is a guess: the acquires may be branches of one `join!`, or the guard may have moved to
///   another task.
///
/// Only a mark can refuse a caller. A task id can log a warning, and it can set the verdict of a timeout to `nested`.
///
/// A mark is checked on each acquire. Task ids are compared only when a caller has to wait, with the first 256 connections at most, so an
/// acquire costs the same in a pool of any size.
///
/// A pool is deadlocked when every connection is marked and each of their holders waits for another one. The pool then refuses the
/// last caller at once, whatever this setting says.
///
/// With `n` tasks that each need `c` connections at once, a pool of `n * (c - 1) + 1` cannot deadlock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nested {
    /// The request is served. There is no warning, and a timeout never has the verdict `nested`.
    Allow,
    /// The request is served. A warning names both places, once for each pair.
    #[default]
    Warn,
    /// The request is refused at once if a mark is the evidence. Otherwise it is served, with the warning.
    Deny,
}

/// What happens to callers while a pool is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pause {
    /// They wait, within their limits.
    Wait,
    /// They are refused at once.
    Refuse,
}

/// How a service starts when the database is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Startup {
    /// The first failed connect ends the attempt; `connection_timeout` bounds it.
    FailFast,
    /// Connects are repeated for this long; then the start fails with what the last one said. What cannot get better, a wrong password
    /// for one, ends it at once.
    WaitUpTo(Duration),
    /// The pool warms up in the background, retrying whatever fails; the service starts at once.
    Anyway,
}

/// The settings contradict each other. Lists every fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// Each fault, with its key.
    pub faults: Vec<SettingsFault>,
}

/// One contradiction in [`Settings`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsFault {
    /// The field it concerns.
    pub key: &'static str,
    /// What is wrong and the way out.
    pub problem: String,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            f.write_str(&fault.problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}
