//! `#[derive(ServiceError)]`: what clients of a service are told, whichever framework it is written in.
#![allow(clippy::unwrap_used)]

mod common;

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use common::File;
use pool_sqlx::{Error, Failure, ServiceError, SqliteConn, SqlitePool, pooled};
use std::time::Duration;

#[derive(Debug, thiserror::Error, ServiceError)]
enum ApiError {
    #[error(transparent)]
    #[service(database)]
    Pool(#[from] Error),
    #[error(transparent)]
    #[service(database, not_found = 404, unique = 409)]
    Sqlx(#[from] sqlx::Error),
    #[error(transparent)]
    #[service(database)]
    Other(#[from] anyhow::Error),
    #[error("cannot write {file}")]
    #[service(database)]
    Boxed { file: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("there is no track {0}")]
    #[service(status = 404, type = "no-such-track")]
    NoTrack(i64),
    #[error("the label's server says: {secret}")]
    #[service(status = 502, retry_after = "5s")]
    Label { secret: &'static str },
}

/// A pool of one connection, with a table.
async fn pool(file: &File) -> SqlitePool {
    let settings = file.settings().with_pool_size(1u32).with_max_overflow(0u32);
    let pool = SqlitePool::connect_lazy(settings.with_pool_timeout(Duration::from_secs(2))).unwrap();
    sqlx::query("create table t (n integer primary key)").execute(&pool).await.unwrap();
    pool
}

#[pooled]
async fn add(conn: &mut SqliteConn, n: i64) -> Result<(), ApiError> {
    sqlx::query("insert into t values (?)").bind(n).execute(conn).await?;
    Ok(())
}

#[pooled]
async fn find(conn: &mut SqliteConn, n: i64) -> Result<i64, ApiError> {
    Ok(sqlx::query_scalar("select n from t where n = ?").bind(n).fetch_one(conn).await?)
}

fn statuses(error: impl Fn() -> ApiError) -> (u16, u16, u16) {
    let axum = error().into_response().status().as_u16();
    let actix = actix_web::ResponseError::error_response(&error()).status().as_u16();
    assert_eq!(actix_web::ResponseError::status_code(&error()).as_u16(), actix);
    (axum, actix, error().failure().status())
}

#[test]
fn each_framework_answers_alike() {
    for (error, status) in [
        ((|| ApiError::NoTrack(7)) as fn() -> _, 404),
        (|| ApiError::Label { secret: "hunter2" }, 502),
        (|| ApiError::Sqlx(sqlx::Error::PoolTimedOut), 503),
        (|| ApiError::Sqlx(sqlx::Error::RowNotFound), 404),
        (|| ApiError::Pool(Error::from(sqlx::Error::RowNotFound)), 500),
        (|| ApiError::Other(anyhow::Error::from(sqlx::Error::WorkerCrashed).context("cannot list")), 503),
        (|| ApiError::Other(anyhow::anyhow!("out of paper")), 500),
        (|| ApiError::Boxed { file: "a", source: Box::new(sqlx::Error::PoolClosed) }, 503),
    ] {
        assert_eq!(statuses(error), (status, status, status), "{}", error());
    }
}

#[test]
fn a_client_s_fault_is_explained_and_ours_is_not() {
    let failure = ApiError::NoTrack(7).failure();
    assert_eq!(failure, Failure::new(404).with_type("no-such-track").with_detail("there is no track 7"));
    let failure = ApiError::Label { secret: "hunter2" }.failure();
    assert_eq!(failure, Failure::new(502).with_retry_after(Duration::from_secs(5)));
    assert!(!failure.problem().contains("hunter2"));
}

#[test]
fn a_grpc_status_has_the_code_that_stands_for_it() {
    use tonic::Code;
    for (error, code) in [
        (ApiError::NoTrack(7), Code::NotFound),
        (ApiError::Sqlx(sqlx::Error::PoolTimedOut), Code::Unavailable),
        (ApiError::Label { secret: "hunter2" }, Code::Internal),
    ] {
        let status = tonic::Status::from(error);
        assert!(status.code() == code && !status.message().contains("hunter2"), "{status:?}");
    }
}

#[tokio::test]
async fn what_a_database_says_finds_its_answer() {
    let file = File::new();
    let pool = pool(&file).await;
    add(pool.clone(), 1).await.unwrap();
    let twice = add(pool.clone(), 1).await.unwrap_err();
    assert_eq!((twice.failure().status(), find(pool.clone(), 2).await.unwrap_err().failure().status()), (409, 404));
    let _held = pool.acquire().await.unwrap();
    let full = find(pool.clone(), 1).await.unwrap_err().failure();
    assert_eq!((full.status(), full.problem_type(), full.retry_after_seconds()), (503, "urn:pool:exhausted", Some(1)));
}

#[tokio::test]
async fn an_error_of_ours_inside_one_of_sqlx_s_keeps_its_answer() {
    let file = File::new();
    let pool = pool(&file).await;
    let _held = pool.acquire().await.unwrap();
    let through_sqlx = ApiError::from(sqlx::query("select 1").execute(&pool).await.unwrap_err());
    assert_eq!((through_sqlx.failure().status(), through_sqlx.failure().problem_type()), (503, "urn:pool:exhausted"));
}

/// An error with answers that only the service can write: a body and a header.
#[derive(Debug, thiserror::Error, ServiceError)]
#[service(own_response)]
enum LoginError {
    #[error("the fields are wrong: {0:?}")]
    #[service(status = 422)]
    Fields(Vec<&'static str>),
    #[error("log in first")]
    #[service(status = 401)]
    Unauthorized,
    #[error("the database failed")]
    #[service(database)]
    Sqlx(#[from] sqlx::Error),
}

impl IntoResponse for LoginError {
    fn into_response(self) -> Response {
        let failure = self.failure();
        failure.log(&self);
        match self {
            Self::Fields(fields) => (StatusCode::UNPROCESSABLE_ENTITY, Json(fields)).into_response(),
            Self::Unauthorized => ([(header::WWW_AUTHENTICATE, "Token")], failure).into_response(),
            Self::Sqlx(_) => failure.into_response(),
        }
    }
}

#[test]
fn an_error_may_write_its_own_responses() {
    let response = |error: LoginError| (error.failure().status(), error.into_response());
    let (told, fields) = response(LoginError::Fields(vec!["email"]));
    assert_eq!(
        (told, fields.status().as_u16(), &fields.headers()[header::CONTENT_TYPE]),
        (422, 422, &"application/json".parse().unwrap())
    );
    let (told, login) = response(LoginError::Unauthorized);
    assert_eq!(
        (told, login.status().as_u16(), &login.headers()[header::WWW_AUTHENTICATE]),
        (401, 401, &"Token".parse().unwrap())
    );
    assert_eq!(response(LoginError::Sqlx(sqlx::Error::PoolTimedOut)).1.status(), 503);
}

#[test]
fn the_log_of_a_failure_names_its_cause() {
    let log = common::Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        drop(LoginError::Sqlx(sqlx::Error::Protocol("LIMIT must not be negative".into())).into_response());
        drop(LoginError::Unauthorized.into_response());
    });
    let text = log.text();
    assert!(
        text.contains("the database failed: encountered unexpected or invalid data: LIMIT must not be negative"),
        "{text}"
    );
    assert!(!text.contains("log in first"), "{text}");
}
