//! axum: a pool is an extractor, an error is a response.

use crate::{Backend, Error, Failure, Pool};
use axum::{
    body::Body,
    extract::{FromRef, FromRequestParts},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use std::{convert::Infallible, sync::Arc};

/// The handle, from the router's state. Acquires nothing: a handler that waits for its body holds no connection.
impl<S: Send + Sync, DB: Backend, Key> FromRequestParts<S> for Pool<DB, Key>
where
    Self: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self::from_ref(state))
    }
}

/// A state in an `Arc`, as many services have it. Only this crate may write it: the orphan rule.
impl<S, DB: Backend, Key> FromRef<Arc<S>> for Pool<DB, Key>
where
    Self: FromRef<S>,
{
    fn from_ref(state: &Arc<S>) -> Self {
        Self::from_ref(&**state)
    }
}

/// `application/problem+json` with the error's status, and `Retry-After` where a retry helps. Logs the error.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let failure = Failure::from(&self);
        failure.log(&self);
        failure.into_response()
    }
}

/// `application/problem+json` with the failure's status, and `Retry-After` where a retry helps. Logs nothing.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.problem()));
        // A status that is none is the program's fault.
        *response.status_mut() = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Self::MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
