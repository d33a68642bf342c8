//! axum: a pool is an extractor, an error is a response.

use super::Problem;
use crate::{Backend, Error, Pool};
use axum::{
    body::Body,
    extract::{FromRef, FromRequestParts},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use std::convert::Infallible;

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

/// `application/problem+json` with the error's status, and `Retry-After` where a retry helps. Logs the error.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = Problem::of(&self);
        let mut response = Response::new(Body::from(problem.body));
        // `statement_timeout_status` is checked where it is read; anything else here is ours.
        *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(Problem::TYPE));
        if let Some(seconds) = problem.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
