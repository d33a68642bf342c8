//! What `#[derive(ServiceError)]` calls.

use crate::{Error, Failure};
use std::{error::Error as StdError, fmt, ops::Deref};

/// What the error in a variant of `#[derive(ServiceError)]` means, with the two answers that only the application knows.
pub fn failure_in(error: &(dyn StdError + 'static), not_found: Option<u16>, unique: Option<u16>) -> Failure {
    let mut errors = std::iter::successors(Some(error), |error| (*error).source());
    let of_sqlx = errors.find_map(|error| match error.downcast_ref::<Error>() {
        Some(ours) => ours.sqlx(),
        None => error.downcast_ref(),
    });
    let own = match of_sqlx {
        Some(sqlx::Error::RowNotFound) => not_found,
        Some(sqlx::Error::Database(error)) if error.is_unique_violation() => unique,
        _ => None,
    };
    own.map_or_else(|| Failure::of(error), Failure::new)
}

#[cfg(feature = "actix")]
pub fn actix_status(failure: &Failure) -> actix_web::http::StatusCode {
    crate::web::actix::status(failure.status())
}

/// Logs an application's error where it becomes an answer.
pub fn answer(error: &dyn fmt::Display, failure: Failure) -> Failure {
    failure.log(error);
    failure
}

/// What a field of an error means, whatever kind of error it is: `&Look(field)` finds one of two traits by itself.
pub struct Look<'e, E>(pub &'e E);

pub trait LookAtError {
    fn error(&self) -> &(dyn StdError + 'static);
}

impl<E: StdError + 'static> LookAtError for &Look<'_, E> {
    fn error(&self) -> &(dyn StdError + 'static) {
        self.0
    }
}

/// For boxes of errors, `anyhow::Error` among them, which are no errors themselves.
pub trait LookIntoBox {
    fn error(&self) -> &(dyn StdError + 'static);
}

impl<E: Deref<Target = dyn StdError + Send + Sync>> LookIntoBox for Look<'_, E> {
    fn error(&self) -> &(dyn StdError + 'static) {
        &**self.0
    }
}
