//! Types that sqlx knows on a connection.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hasher},
};

/// Texts that have run on a connection without a name: sqlx knows the types that they need.
#[derive(Debug, Default)]
pub(crate) struct Familiar(pub(super) HashSet<u64>);

impl Familiar {
    /// More texts than this are generated ones, which do not run again.
    const MOST: usize = 1000;

    pub(super) fn number(sql: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(sql.as_bytes());
        hasher.finish()
    }

    pub(super) fn learn(&mut self, text: u64) {
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.insert(text);
    }
}
