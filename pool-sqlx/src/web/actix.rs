//! actix-web: a pool is an extractor, an error is a response.

use crate::{Backend, Error, Failure, Pool};
use actix_web::{
    FromRequest, HttpRequest, HttpResponse, ResponseError,
    dev::Payload,
    error::InternalError,
    http::{StatusCode, header},
    web::Data,
};
use std::{any::type_name, future::Ready};

/// The handle, from `app_data`: as it is, as [`#[derive(Pools)]`](crate::Pools) registers it, or as `web::Data`.
/// Acquires nothing: a handler that waits for its body holds no connection.
impl<DB: Backend, Key: 'static> FromRequest for Pool<DB, Key> {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = request.app_data::<Self>().or_else(|| request.app_data::<Data<Self>>().map(Data::get_ref));
        std::future::ready(found.cloned().ok_or_else(|| {
            let cause = format!(
                "no {} among the application's data; write `App::new().configure(|config| databases.configure(config))`",
                type_name::<Self>()
            );
            tracing::error!(target: "pool", "{cause}");
            InternalError::from_response(cause, HttpResponse::from(Failure::new(500))).into()
        }))
    }
}

/// `application/problem+json` with the error's status, and `Retry-After` where a retry helps. Logs the error.
impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        status(self.status())
    }

    fn error_response(&self) -> HttpResponse {
        let failure = Failure::from(self);
        failure.log(self);
        failure.into()
    }
}

/// `application/problem+json` with the failure's status, and `Retry-After` where a retry helps. Logs nothing.
impl From<Failure> for HttpResponse {
    fn from(failure: Failure) -> Self {
        let mut response = Self::build(status(failure.status()));
        response.content_type(Failure::MEDIA_TYPE);
        if let Some(seconds) = failure.retry_after_seconds() {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        response.body(failure.problem())
    }
}

/// A status that is none is the program's fault.
pub(crate) fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
