//! The kinds of statements that metrics tell apart.

use super::names;
use crate::{session::Ended, sql::Shape};
use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock},
};

impl Ended<'_> {
    /// The attributes that are text and known, beside the place.
    #[cfg_attr(not(any(feature = "otel-0-33", feature = "otel-0-32")), allow(dead_code))]
    pub(crate) fn each(&self, shapes: &Shapes, mut tell: impl FnMut(&'static str, &str)) {
        let shape = Some(self.shape).filter(|shape| shapes.admit(&shape.summary));
        let known = [
            (names::OPERATION, shape.and_then(|shape| shape.operation.as_deref())),
            (names::COLLECTION, shape.and_then(|shape| shape.collection.as_deref())),
            (names::SUMMARY, shape.and_then(Shape::known_summary)),
            (names::STATUS_CODE, self.status_code),
            (names::ERROR_TYPE, self.error_type),
        ];
        known.into_iter().for_each(|(key, value)| value.into_iter().for_each(|value| tell(key, value)));
    }
}

/// How many kinds of statements a pool tells apart in its metrics. Each is a series or several, and a program may make up names of tables.
const SHAPES: usize = 200;

/// The kinds of statements that are told apart: the first to come.
#[derive(Default)]
pub(crate) struct Shapes(RwLock<HashSet<String>>);

impl Shapes {
    #[cfg_attr(not(any(feature = "otel-0-33", feature = "otel-0-32")), allow(dead_code))]
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
        // Others may have come in between.
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.contains(summary) || (known.len() < SHAPES && known.insert(summary.to_owned()))
    }
}
