//! What a pool is told: sizes, limits and habits.

use std::{fmt, time::Duration};

// Declares every setting of a pool, once. The macro `$then` gets the rows, after `$place` if there is one: `declare` below makes the
// field, the default and the setter of each, and pool-sqlx its reader, its own setter and the row of the book's reference.
//
// A row is documentation, the names that other pools have for the setting, then `field: type = default, setter(argument);`. The first
// line of the documentation has to make sense alone, because the book shows nothing else. A default is one token or stands in
// parentheses; a duration has its unit behind it.
#[doc(hidden)]
#[macro_export]
macro_rules! __settings {
    ($then:ident $(, $place:tt)?) => { $then! { $($place)?
        /// Connections kept open once they were needed.
        ///
        /// `0` keeps none idle. SQLAlchemy reads 0 as unlimited.
        #[doc(alias = "max_connections")]
        #[doc(alias = "max_size")]
        #[doc(alias = "max_open")]
        #[doc(alias = "size")]
        pool_size: u32 = 10, with_pool_size(u32);
        /// Connections opened above `pool_size` in a burst, and closed on return when `pool_size` connections are idle already.
        ///
        /// With the defaults 15 requests survive a cold start together.
        #[doc(alias = "overflow")]
        max_overflow: MaxOverflow = (MaxOverflow::Limited(5)), with_max_overflow(impl Into<MaxOverflow>);
        /// Longest wait for a connection, over everything: queueing, connecting and pinging.
        #[doc(alias = "acquire_timeout")]
        #[doc(alias = "checkout_timeout")]
        #[doc(alias = "wait_timeout")]
        #[doc(alias = "timeout")]
        pool_timeout: Duration = 10 s, with_pool_timeout(Duration);
        /// Longest time to open one connection: name resolution, every address, TLS, authentication and retries.
        ///
        /// A suspended serverless database needs 5 to 10 s to wake. After a fifth of this time (1 s at least, and twice the usual) a
        /// connect is late, and the pool begins one more beside it.
        #[doc(alias = "connect_timeout")]
        #[doc(alias = "create_timeout")]
        connection_timeout: Duration = 10 s, with_connection_timeout(Duration);
        /// Longest a connection may live before it is replaced, less up to 10 % by jitter; never while it is in use.
        ///
        /// Checked when a connection is lent, returned or swept. The jitter keeps connections from ending all at once. Set it below the
        /// shortest limit on the way (server, proxy, firewall). `None`: never.
        #[doc(alias = "max_lifetime")]
        #[doc(alias = "max_age")]
        #[doc(alias = "recycle")]
        pool_recycle: Option<Duration> = 2 h, with_pool_recycle(impl Into<Option<Duration>>);
        /// Whether a connection is tested before it is lent, if it was idle for `pre_ping_after`.
        #[doc(alias = "test_before_acquire")]
        #[doc(alias = "test_on_check_out")]
        #[doc(alias = "pre_ping")]
        pool_pre_ping: bool = true, with_pool_pre_ping(bool);
        /// How long a connection counts as fresh after its last use; zero tests always.
        pre_ping_after: Duration = 500 ms, with_pre_ping_after(Duration);
        /// Longest time for a test; a connection whose ping hangs is dead.
        ping_timeout: Duration = 1 s, with_ping_timeout(Duration);
        /// Whether the connection that was returned last is lent first, so that the others may idle out.
        #[doc(alias = "queue_mode")]
        #[doc(alias = "use_lifo")]
        pool_use_lifo: bool = true, with_pool_use_lifo(bool);
        /// Longest a connection may stay idle before it is closed.
        ///
        /// Set it below a serverless database's suspend time.
        idle_timeout: Option<Duration> = None, with_idle_timeout(impl Into<Option<Duration>>);
        /// How often an idle connection is pinged, to keep it open through firewalls and a serverless database awake.
        ///
        /// Each ping comes up to 20 % earlier, by jitter.
        keepalive: Option<Duration> = None, with_keepalive(impl Into<Option<Duration>>);
        /// Idle connections to keep ready, within `pool_size`.
        #[doc(alias = "min_connections")]
        #[doc(alias = "min_size")]
        min_idle: u32 = 0, with_min_idle(u32);
        /// How long a returned connection above `pool_size` may stay idle before it is closed; zero closes it at once.
        overflow_linger: Duration = 0 s, with_overflow_linger(Duration);
        /// Times a connection may be lent before it is replaced.
        max_uses: Option<u64> = None, with_max_uses(impl Into<Option<u64>>);
        /// Longest time to stop what a connection still runs, to clean it, and to close it; then the connection is dropped.
        reset_timeout: Duration = 1 s, with_reset_timeout(Duration);
        /// Callers that may wait at once; the next one is refused.
        max_waiting: Option<u32> = None, with_max_waiting(impl Into<Option<u32>>);
        /// An acquire slower than this is logged with its timeline.
        slow_acquire: Duration = 1 s, with_slow_acquire(Duration);
        /// A connection held longer than this is reported with the place that borrowed it.
        ///
        /// `None`: never.
        #[doc(alias = "leak_detection_threshold")]
        leak_after: Option<Duration> = 60 s, with_leak_after(impl Into<Option<Duration>>);
        /// How long closing the pool waits for connections in use.
        ///
        /// See [`Pool::close`](crate::Pool::close).
        shutdown_grace: Duration = 10 s, with_shutdown_grace(Duration);
        /// Connections that may be opening at once.
        ///
        /// Four are enough for a cold start and too few for a storm. After a failed connect it is 1 until one succeeds, or 2 while that
        /// one is late (see [`connection_timeout`](Self::connection_timeout)).
        connect_concurrency: u32 = 4, with_connect_concurrency(u32);
        /// What happens when a task that holds a connection asks the same pool for another.
        nested: Nested = (Nested::Warn), with_nested(Nested);
    } };
    // The default as a value. Only a duration has a unit, and it may stand for an `Option`.
    (@value $n:literal ms) => { ::std::time::Duration::from_millis($n).into() };
    (@value $n:literal s) => { ::std::time::Duration::from_secs($n).into() };
    (@value $n:literal h) => { ::std::time::Duration::from_secs($n * 3600).into() };
    (@value $value:tt) => { $value };
    // The default in documentation.
    (@text ($enum:ident::$variant:ident $(($n:literal))?)) => {
        concat!("Default: `", stringify!($enum), "::", stringify!($variant), $("(", stringify!($n), ")",)? "`.")
    };
    (@text $value:tt $($unit:ident)?, $words:literal) => { concat!("Default: ", $words, ".") };
    (@text $value:tt $($unit:ident)?) => { concat!("Default: `", stringify!($value), $(" ", stringify!($unit),)? "`.") };
}

macro_rules! declare {
    ($(
        #[doc = $meaning:literal] $(#[$more:meta])*
        $key:ident: $ty:ty = $default:tt $($unit:ident)?, $setter:ident($arg:ty);
    )*) => {
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
            $(
                #[doc = $meaning]
                $(#[$more])*
                #[doc = ""]
                #[doc = __settings!(@text $default $($unit)?)]
                pub $key: $ty,
            )*
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { name: "pool".to_owned(), $($key: __settings!(@value $default $($unit)?),)* }
            }
        }

        #[allow(clippy::useless_conversion, reason = "one body for values and for `impl Into`")]
        impl Settings {
            /// Sets [`name`](Self::name).
            #[must_use]
            pub fn with_name(mut self, value: impl Into<String>) -> Self {
                self.name = value.into();
                self
            }
            $(
                #[doc = concat!("Sets [`", stringify!($key), "`](Self::", stringify!($key), ").")]
                #[must_use]
                pub fn $setter(mut self, value: $arg) -> Self {
                    self.$key = value.into();
                    self
                }
            )*
        }
    };
}

__settings!(declare);

impl Settings {
    /// Most connections that may be open at once, `None` if there is no such limit.
    pub fn cap(&self) -> Option<u32> {
        match self.max_overflow {
            MaxOverflow::Limited(n) => Some(self.pool_size.saturating_add(n)),
            MaxOverflow::Unlimited => None,
        }
    }

    /// Checks what the types cannot: contradictions between settings, all of them at once.
    ///
    /// [`Pool::new`](crate::Pool::new) and [`reconfigure`](crate::Pool::reconfigure) do the same; it costs a few comparisons.
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
        if self.pool_timeout.is_zero() {
            let problem = "pool_timeout = 0 lets nobody wait, not even for the first connection; write at least 10ms";
            fault("pool_timeout", problem.into());
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
    /// The pool warms up in the background, retrying whatever fails; the service starts at once. What waiting cannot cure is retried with
    /// pauses of up to 30 s.
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
        let problems: Vec<&str> = self.faults.iter().map(|fault| &*fault.problem).collect();
        f.write_str(&problems.join("; "))
    }
}

impl std::error::Error for SettingsError {}
