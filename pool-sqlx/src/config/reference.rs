//! The settings as data: what the environment, the did-you-mean and the reference page know of them.
//!
//! The defaults here are words for the reader; those that count are in [`DatabaseSettings`](super::DatabaseSettings), and a test
//! keeps the two in agreement.

/// One row of the settings table.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Setting {
    /// Key in `Pool.toml`, and name of the field.
    pub key: &'static str,
    /// What it can be set to.
    pub kind: SettingKind,
    /// Default, as one would write it, or in words.
    pub default: &'static str,
    /// What it does, in a line.
    pub meaning: &'static str,
}

impl Setting {
    /// Environment variable for the primary database, such as `DATABASE_POOL_SIZE`.
    pub fn variable(&self) -> String {
        format!("DATABASE_{}", self.key.to_ascii_uppercase())
    }
}

/// What a setting can be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingKind {
    /// A database url, secret.
    Url,
    /// Text.
    Text,
    /// A whole number.
    Count,
    /// A whole number or `"none"`.
    CountOrNone,
    /// A whole number, `"unlimited"` or -1.
    Overflow,
    /// A duration: a number of seconds, or `"250ms" "2s" "5m" "2h"`.
    Duration,
    /// A duration or `"none"`.
    DurationOrNone,
    /// `true` or `false`; in the environment also `1 0 yes no on off`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// Every setting of a database, in the order of the reference page.
pub fn reference() -> &'static [Setting] {
    SETTINGS
}

macro_rules! settings {
    ($($key:ident: $kind:expr, $default:literal, $meaning:literal;)*) => {
        &[$(Setting { key: stringify!($key), kind: $kind, default: $default, meaning: $meaning }),*]
    };
}

use SettingKind::*;

const SETTINGS: &[Setting] = settings! {
    url: Url, "none", "where the database is; secret; SQLAlchemy's schemes such as `postgresql+asyncpg://` are accepted";
    pool_size: Count, "10", "connections kept open once they were needed";
    max_overflow: Overflow, "5", "connections above `pool_size` in a burst; closed when returned unless someone waits";
    pool_timeout: Duration, "= connection_timeout", "longest wait for a connection, over everything: queueing, connecting, pinging";
    connection_timeout: Duration, "10s", "longest time to open a connection: name resolution, all addresses, TLS, authentication, retries";
    statement_timeout: DurationOrNone, "10s", "longest a statement may run, limited by the server and, if that falls silent, by the client; 0 is none";
    pool_recycle: DurationOrNone, "7200", "age at which a connection is replaced, up to 10 % less by jitter; never while in use";
    pool_pre_ping: Switch, "true", "test a connection before lending it, if it was unused for `pre_ping_after`";
    pre_ping_after: Duration, "500ms", "how long a connection counts as fresh after its last use; 0 tests always";
    ping_timeout: Duration, "1s", "longest time for a test; a ping that hangs is a dead connection";
    pool_use_lifo: Switch, "true", "lend the connection that was returned last, so that the others may idle out";
    wake_allowance: Duration, "0", "added to `pool_timeout` and `connection_timeout` while the database wakes; not supported yet";
    idle_timeout: DurationOrNone, "none", "longest a connection may stay idle before it is closed";
    keepalive: DurationOrNone, "none", "how often an idle connection is pinged to keep it alive; also keeps a serverless database awake";
    min_idle: Count, "0", "idle connections kept ready, within `pool_size`";
    overflow_linger: Duration, "0", "how long a returned connection above `pool_size` may stay idle before it is closed";
    max_uses: CountOrNone, "none", "times a connection may be lent before it is replaced";
    reset_timeout: Duration, "1s", "longest time to clean a returned connection, to close one, and to end a dropped statement before the next one of its loan";
    max_waiting: CountOrNone, "none", "callers that may wait at once; the next is refused";
    slow_acquire: Duration, "1s", "an acquire slower than this is logged";
    leak_after: DurationOrNone, "60s", "a connection held longer than this is reported with the place that borrowed it";
    shutdown_grace: Duration, "10s", "how long closing the pool waits for connections in use";
    connect_concurrency: Count, "4", "connections that may be opening at once";
    nested: Choice(&["allow", "warn", "deny"]), "warn", "what to do when a task that holds a connection asks the same pool for another";
    reset: Choice(&["rollback", "session", "full"]), "rollback", "what a return must undo";
    pooler: Choice(&["direct", "prepared", "unprepared"]), "direct", "what stands between us and PostgreSQL; guessed from well-known host names if not set";
    provider: Choice(&["none", "neon"]), "none", "a bundle of defaults for a host; only `none` is supported yet";
    lock_timeout: DurationOrNone, "none", "longest a statement may wait for a lock; 0 is none";
    idle_in_transaction_timeout: DurationOrNone, "none", "longest a transaction may stay idle before the server ends it; 0 is none";
    application_name: Text, "the binary's name", "name by which the server lists our connections";
    statement_cache: CountOrNone, "sqlx's", "prepared statements kept for each connection";
    statement_timeout_status: Count, "503", "HTTP status of a statement timeout: 503 or 504";
    listen_url: Url, "= url", "where to LISTEN and to migrate, past any pooler";
};

/// Names that other pools and drivers give to our settings.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("acquire_timeout", "pool_timeout"),
    ("checkout_timeout", "pool_timeout"),
    ("wait_timeout", "pool_timeout"),
    ("timeout", "pool_timeout"),
    ("max_connections", "pool_size"),
    ("max_size", "pool_size"),
    ("size", "pool_size"),
    ("min_connections", "min_idle"),
    ("min_size", "min_idle"),
    ("overflow", "max_overflow"),
    ("max_lifetime", "pool_recycle"),
    ("recycle", "pool_recycle"),
    ("test_before_acquire", "pool_pre_ping"),
    ("pre_ping", "pool_pre_ping"),
    ("use_lifo", "pool_use_lifo"),
    ("connect_timeout", "connection_timeout"),
    ("command_timeout", "statement_timeout"),
    ("statement_cache_size", "statement_cache"),
    ("statement_cache_capacity", "statement_cache"),
];

/// The key that was probably meant.
pub(super) fn did_you_mean(key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == key).map(|(_, meant)| *meant);
    alias.or_else(|| super::fault::nearest(&key, SETTINGS.iter().map(|setting| setting.key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_name_settings_and_are_none_themselves() {
        for (alias, key) in ALIASES {
            assert!(SETTINGS.iter().any(|s| s.key == *key), "{key}");
            assert!(SETTINGS.iter().all(|s| s.key != *alias), "{alias}");
        }
    }

    #[test]
    fn did_you_mean_knows_slips_and_other_pools_words() {
        assert_eq!(did_you_mean("pool_sise"), Some("pool_size"));
        assert_eq!(did_you_mean("acquire_timeout"), Some("pool_timeout"));
        assert_eq!(did_you_mean("colour"), None);
    }
}
