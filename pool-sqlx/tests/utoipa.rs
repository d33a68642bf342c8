//! `#[pooled]` together with `#[utoipa::path]`, in the documented order: `#[pooled]` on top.
#![allow(clippy::unwrap_used)]

mod common;

use axum::{Json, Router, body::Body, extract::Path, http::Request, routing::get};
use pool_sqlx::{Error, Pools, SqliteConn, SqlitePool, pooled};
use tower::ServiceExt;
use utoipa::OpenApi;

#[derive(Clone, Pools)]
struct Databases {
    primary: SqlitePool,
}

/// Adds one.
#[pooled]
#[utoipa::path(get, path = "/next/{n}", params(("n" = i64, Path)), responses((status = 200, body = i64), (status = 503)))]
async fn next(Path(n): Path<i64>, conn: &mut SqliteConn) -> Result<Json<i64>, Error> {
    Ok(Json(sqlx::query_scalar("select ? + 1").bind(n).fetch_one(conn).await?))
}

#[derive(OpenApi)]
#[openapi(paths(next))]
struct Api;

#[tokio::test]
async fn a_described_handler_is_served_and_its_connection_is_no_part_of_the_description() {
    let file = common::File::new();
    let databases = Databases { primary: file.one() };
    let app = Router::new().route("/next/{n}", get(next)).with_state(databases);
    let response = app.oneshot(Request::get("/next/41").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), "42");

    let description = serde_json::to_value(Api::openapi()).unwrap();
    let operation = &description["paths"]["/next/{n}"]["get"];
    assert_eq!(operation["parameters"].as_array().unwrap().len(), 1);
    assert_eq!(operation["summary"], "Adds one.");
    assert!(operation["responses"]["503"].is_object() && operation["requestBody"].is_null());
}
