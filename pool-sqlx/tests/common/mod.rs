//! A database in a file of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use pool_sqlx::{DatabaseSettings, SqlitePool};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

/// A file that goes when it is dropped.
pub struct File(PathBuf);

impl File {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pool-sqlx-{}-{}.db", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    pub fn settings(&self) -> DatabaseSettings {
        DatabaseSettings::new(format!("sqlite://{}", self.0.display())).unwrap()
    }

    /// A pool of one connection.
    pub fn one(&self) -> SqlitePool {
        SqlitePool::connect_lazy(self.settings().with_pool_size(1u32).with_max_overflow(0u32)).unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.0.display()));
        }
    }
}

/// Counts to far more than anybody waits for.
pub const ENDLESS: &str = "with recursive c(n) as (select 1 union all select n + 1 from c) select count(*) from c";

/// Takes some tens of milliseconds.
pub const LONG: &str =
    "with recursive c(n) as (select 1 union all select n + 1 from c limit 300000) select count(*) from c";
