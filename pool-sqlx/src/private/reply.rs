//! What a `#[pooled]` function answers when there is no connection.

use crate::Error;

/// What a `#[pooled]` function may return if it is to carry the pool's failures.
#[diagnostic::on_unimplemented(
    message = "`#[pooled]` cannot turn a failure of the pool into `{Self}`",
    note = "return a `Result` whose error implements `From<pool_sqlx::Error>`, axum's `Response` (feature `axum`) or actix's `HttpResponse` (feature `actix`)"
)]
pub trait Reply: Sized {
    fn from_pool_error(error: Error) -> Self;
    /// Whether a transaction is to be committed.
    fn is_success(&self) -> bool;
}

/// An error of the user's that ours can become. Apart from `From`, for the sake of the message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a failure of the pool: it is no `From<pool_sqlx::Error>`",
    label = "return `pool_sqlx::Error` here, or an enum of your own that has a variant for it",
    note = "the variant, with `#[derive(thiserror::Error, pool_sqlx::ServiceError)]`: `#[error(transparent)] #[service(database)] Pool(#[from] pool_sqlx::Error)`",
    note = "a type of another crate, such as `StatusCode`, a tuple or `String`, cannot be given that `From`"
)]
pub trait FromFailure {
    fn from_failure(error: Error) -> Self;
}

#[diagnostic::do_not_recommend]
impl<E: From<Error>> FromFailure for E {
    fn from_failure(error: Error) -> Self {
        error.into()
    }
}

impl<T, E: FromFailure> Reply for Result<T, E> {
    fn from_pool_error(error: Error) -> Self {
        Err(E::from_failure(error))
    }

    fn is_success(&self) -> bool {
        self.is_ok()
    }
}

#[cfg(feature = "axum")]
impl Reply for axum::response::Response {
    fn from_pool_error(error: Error) -> Self {
        axum::response::IntoResponse::into_response(error)
    }

    fn is_success(&self) -> bool {
        !self.status().is_client_error() && !self.status().is_server_error()
    }
}

#[cfg(feature = "actix")]
impl Reply for actix_web::HttpResponse {
    fn from_pool_error(error: Error) -> Self {
        actix_web::ResponseError::error_response(&error)
    }

    fn is_success(&self) -> bool {
        !self.status().is_client_error() && !self.status().is_server_error()
    }
}
