//! What `#[derive(ServiceError)]` calls.

use crate::{Error, Failure};
use std::{error::Error as StdError, ops::Deref};

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

/// What `#[derive(ServiceError)]` implements.
pub trait Answers: Described {
    fn failure(&self) -> Failure;
}

/// What such an enum has to be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no `std::error::Error`, and `ServiceError` reads its text",
    label = "has no text",
    note = "derive `thiserror::Error`, too, and write a text on each variant: `#[error(\"there is no track {{0}}\")]`"
)]
pub trait Described {
    fn as_error(&self) -> &dyn StdError;
}

#[diagnostic::do_not_recommend]
impl<E: StdError> Described for E {
    fn as_error(&self) -> &dyn StdError {
        self
    }
}

/// The trait's method, for callers that must not repeat what is wrong with the trait.
pub fn failure(error: &impl Answers) -> Failure {
    error.failure()
}

/// What a client may read.
pub fn text(error: &impl Answers) -> String {
    error.as_error().to_string()
}

/// Logs an application's error where it becomes an answer.
pub fn answer(error: &impl Answers) -> Failure {
    let failure = error.failure();
    failure.log(error.as_error());
    failure
}

/// What a field of an error means, whatever kind of error it is: `(&&Look(field)).error()` finds one of three traits by itself.
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

impl<E: Deref<Target = dyn StdError + Send + Sync>> LookIntoBox for &&Look<'_, E> {
    fn error(&self) -> &(dyn StdError + 'static) {
        &**self.0
    }
}

/// For what is neither, for the sake of the message.
pub trait LookAnyway {
    type Field;

    fn error(&self) -> &(dyn StdError + 'static)
    where
        Self::Field: HasError;
}

impl<E> LookAnyway for Look<'_, E> {
    type Field = E;

    fn error(&self) -> &(dyn StdError + 'static)
    where
        E: HasError,
    {
        self.0.error()
    }
}

/// Nothing has it that does not have one of the others.
#[diagnostic::on_unimplemented(
    message = "`database` finds its answer by an error, and `{Self}` is none",
    label = "not an error",
    note = "write the error's own type, such as `sqlx::Error`, `pool_sqlx::Error`, `anyhow::Error` or `Box<dyn Error + Send + Sync>`",
    note = "or give the variant an answer: `#[service(status = 500)]`"
)]
pub trait HasError {
    fn error(&self) -> &(dyn StdError + 'static);
}
