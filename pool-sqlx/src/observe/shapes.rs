//! The kinds of statements that metrics distinguish.

use super::names;
use crate::{session::Ended, sql::Shape};
use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock},
};

/// How many kinds of statements a pool's metrics distinguish. Each is one series or more, and a program may generate names of tables.
const SHAPES: usize = 200;

/// The kinds of statements that are distinguished: the first ones that ended.
#[derive(Default)]
pub(super) struct Shapes(RwLock<HashSet<String>>);

impl Shapes {
    /// Gives each attribute that is text and known, beside the place.
    pub(super) fn attributes(&self, ended: &Ended<'_>, mut each: impl FnMut(&'static str, &str)) {
        let shape = Some(ended.shape).filter(|shape| self.admit(&shape.summary));
        let known = [
            (names::OPERATION, shape.and_then(|shape| shape.operation.as_deref())),
            (names::COLLECTION, shape.and_then(|shape| shape.collection.as_deref())),
            (names::SUMMARY, shape.and_then(Shape::known_summary)),
            (names::STATUS_CODE, ended.status_code),
            (names::ERROR_TYPE, ended.error_type),
        ];
        known.into_iter().for_each(|(key, value)| value.into_iter().for_each(|value| each(key, value)));
    }

    fn admit(&self, summary: &str) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if known.contains(summary) {
            return true;
        }
        let is_full = known.len() >= SHAPES;
        drop(known);
        if is_full {
            return false;
        }
        // Another thread may have added some in between.
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.contains(summary) || (known.len() < SHAPES && known.insert(summary.to_owned()))
    }
}
