//! `#[pooled]` handlers in axum: what a client sees, and what is held meanwhile.
#![allow(clippy::unwrap_used)]

mod common;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{FromRef, Path, State},
    http::{Request, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use common::File;
use futures_util::FutureExt;
use pool_sqlx::{Error, HasPools, Pools, SqliteConn, SqlitePool, SqliteTx, figment, pooled};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tower::ServiceExt;

#[derive(Clone, Pools)]
struct Databases {
    primary: SqlitePool,
}

impl Databases {
    /// One connection, with a table.
    async fn of(file: &File) -> Self {
        let settings = file.settings().with_pool_size(1u32).with_max_overflow(0u32).with_name("primary");
        let primary = SqlitePool::connect_lazy(settings.with_pool_timeout(Duration::from_secs(2))).unwrap();
        sqlx::query("create table t (n integer)").execute(&primary).await.unwrap();
        Self { primary }
    }

    async fn count(&self) -> i64 {
        sqlx::query_scalar("select count(*) from t").fetch_one(&self.primary).await.unwrap()
    }

    async fn call(&self, request: Request<Body>) -> Response {
        let service = Router::new()
            .route("/count", get(count))
            .route("/plain", get(plain))
            .route("/patient", get(patient))
            .route("/add/{n}", post(add))
            .route("/upload", post(upload));
        service.with_state(self.clone()).oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }
}

#[pooled]
async fn count(conn: &mut SqliteConn) -> Result<Json<i64>, Error> {
    Ok(Json(sqlx::query_scalar("select count(*) from t").fetch_one(conn).await?))
}

#[pooled]
async fn plain(_conn: &mut sqlx::SqliteConnection) -> &'static str {
    "plain"
}

#[pooled(timeout = "10ms", retry_after = "2500ms")]
async fn patient(_conn: SqliteConn) {}

#[pooled]
async fn add(Path(n): Path<i64>, tx: &mut SqliteTx) -> Result<(), Error> {
    sqlx::query("insert into t values (?)").bind(n).execute(&mut *tx).await?;
    if n < 0 {
        sqlx::query("select nothing").execute(tx).await?;
    }
    Ok(())
}

#[pooled]
async fn upload(_conn: &mut SqliteConn, body: Bytes) -> String {
    body.len().to_string()
}

async fn text(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    String::from_utf8(body.into()).unwrap()
}

#[tokio::test]
async fn a_handler_is_lent_a_connection_and_gives_it_back() {
    let file = File::new();
    let databases = Databases::of(&file).await;
    for _ in 0..2 {
        let response = databases.get("/count").await;
        assert_eq!((response.status(), &*text(response).await), (StatusCode::OK, "0"));
    }
    assert_eq!(text(databases.get("/plain").await).await, "plain");
    assert_eq!((databases.primary.status().in_use, databases.primary.status().totals.opened), (0, 1));
}

#[tokio::test]
async fn a_transaction_commits_on_success_and_rolls_back_on_an_error() {
    let file = File::new();
    let databases = Databases::of(&file).await;
    let add = async |n: i64| {
        let request = Request::post(format!("/add/{n}")).body(Body::empty()).unwrap();
        (databases.call(request).await.status(), databases.count().await)
    };
    assert_eq!(add(1).await, (StatusCode::OK, 1));
    assert_eq!(add(-1).await, (StatusCode::INTERNAL_SERVER_ERROR, 1));
}

#[tokio::test]
async fn a_full_pool_answers_503_with_a_problem_and_when_to_come_back() {
    let file = File::new();
    let databases = Databases::of(&file).await;
    let _held = databases.primary.acquire().await.unwrap();
    for (path, seconds) in [("/count", "1"), ("/plain", "1"), ("/patient", "3")] {
        let response = databases.get(path).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json", "{path}");
        assert_eq!(response.headers()[header::RETRY_AFTER], seconds, "{path}");
        let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!((&problem["type"], &problem["status"]), (&"urn:pool:exhausted".into(), &503.into()), "{path}");
    }
}

#[tokio::test]
async fn a_body_on_its_way_holds_no_connection() {
    let file = File::new();
    let databases = Databases::of(&file).await;
    let (send, body) = tokio::sync::oneshot::channel::<&'static str>();
    let body = Body::from_stream(body.map(|part| Ok::<_, Infallible>(part.unwrap())).into_stream());
    let mut call = Box::pin(databases.call(Request::post("/upload").body(body).unwrap()));
    assert!((&mut call).now_or_never().is_none());
    assert_eq!(databases.primary.status().in_use, 0);
    send.send("all of it").unwrap();
    assert_eq!(text(call.await).await, "9");
}

#[tokio::test]
async fn derived_pools_connect_from_a_configuration_and_say_all_that_is_wrong_with_it() {
    use figment::providers::{Format, Toml};
    let good = figment::Figment::from(Toml::string("[databases.primary]\nurl = 'sqlite::memory:'"));
    let databases = Databases::connect_with(&good).await.unwrap();
    let count: i64 = sqlx::query_scalar("select 1").fetch_one(&databases.primary).await.unwrap();
    assert_eq!((count, databases.status()[0].0), (1, "primary"));
    assert!(databases.close().await[0].1.still_held.is_empty());

    let bad = figment::Figment::from(Toml::string("[databases.primary]\npool_sise = 3\npool_timeout = 'soon'"));
    let Err(error) = Databases::connect_with(&bad).await else { panic!("it connected") };
    for part in ["pool_sise", "pool_timeout", "url"] {
        assert!(error.to_string().contains(part), "{part:?} is missing in: {error}");
    }
}

/// A pool of its own for reports, and a service of several parts, each with its own state around the pools.
mod nested {
    use super::*;
    use axum::{debug_handler, extract::State};
    use pool_sqlx::HasPools;
    use tracing::instrument;

    pub(super) struct Reports;

    #[derive(Clone, Pools)]
    pub(super) struct Both {
        pub(super) primary: SqlitePool,
        #[pool(lazy)]
        pub(super) reports: SqlitePool<Reports>,
    }

    #[derive(Clone, HasPools)]
    pub(super) struct App {
        #[pools]
        pub(super) databases: Both,
        pub(super) greeting: &'static str,
    }

    /// What most services write: any error goes in, and what it was is found again when it becomes a response.
    pub(super) struct AnyError(anyhow::Error);

    impl<E: Into<anyhow::Error>> From<E> for AnyError {
        fn from(error: E) -> Self {
            Self(error.into())
        }
    }

    impl axum::response::IntoResponse for AnyError {
        fn into_response(self) -> Response {
            pool_sqlx::Failure::of(self.0.as_ref()).into_response()
        }
    }

    #[pooled]
    #[instrument(skip_all)]
    #[debug_handler(state = App)]
    pub(super) async fn greet(
        State(app): State<App>,
        Path(name): Path<String>,
        conn: &mut SqliteConn,
    ) -> Result<String, AnyError> {
        if name == "nobody" {
            return Err(anyhow::anyhow!("nobody is there").into());
        }
        let greeting: String =
            sqlx::query_scalar("select ? || ', ' || ?").bind(app.greeting).bind(name).fetch_one(conn).await?;
        Ok(greeting)
    }

    #[pooled(pool = Reports)]
    pub(super) async fn report(conn: &mut SqliteConn) -> Result<String, AnyError> {
        Ok(sqlx::query_scalar("select 'report'").fetch_one(conn).await?)
    }

    pub(super) async fn service(file: &File) -> (App, Router) {
        let Databases { primary } = Databases::of(file).await;
        let app = App { databases: Both { reports: primary.clone().keyed(), primary }, greeting: "hello" };
        let api =
            Router::new().route("/greet/{name}", get(greet)).nest("/reports", Router::new().route("/one", get(report)));
        (app.clone(), Router::new().nest("/api", api).with_state(app))
    }
}

#[tokio::test]
async fn pools_are_found_in_a_field_of_the_state_of_nested_routers() {
    let file = File::new();
    let (app, service) = nested::service(&file).await;
    for (path, body) in [("/api/greet/ella", "hello, ella"), ("/api/reports/one", "report")] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(text(service.clone().oneshot(request).await.unwrap()).await, body);
    }
    assert_eq!(app.databases.primary.status().in_use, 0);
}

#[tokio::test]
async fn an_error_that_takes_any_error_keeps_its_503() {
    let file = File::new();
    let (app, service) = nested::service(&file).await;
    let get =
        async |path: &str| service.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(get("/api/greet/nobody").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let _held = app.databases.primary.acquire().await.unwrap();
    let response = get("/api/greet/ella").await;
    assert_eq!(
        (response.status(), &response.headers()[header::RETRY_AFTER]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    assert!(text(response).await.contains("urn:pool:exhausted"));
}

/// A state that is more than the pools, as many services have it.
#[derive(HasPools)]
struct App {
    #[pools]
    databases: Arc<Databases>,
    motto: &'static str,
}

#[pooled]
async fn motto(State(app): State<Arc<App>>, _conn: &mut SqliteConn) -> &'static str {
    app.motto
}

async fn by_hand(State(pool): State<SqlitePool>) -> Result<String, Error> {
    Ok(sqlx::query_scalar::<_, i64>("select 7").fetch_one(&pool).await?.to_string())
}

/// Routes of a library, which does not know the state.
fn routes<S: Clone + Send + Sync + 'static>() -> Router<S>
where
    SqlitePool: FromRef<S>,
{
    Router::new().route("/count", get(count)).route("/by-hand", get(by_hand))
}

#[tokio::test]
async fn a_pool_is_found_in_a_state_that_is_shared() {
    let file = File::new();
    let databases = Arc::new(Databases::of(&file).await);
    let get = async |service: &Router, path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        text(service.clone().oneshot(request).await.unwrap()).await
    };
    let app = Arc::new(App { databases: databases.clone(), motto: "shared" });
    let whole = routes().route("/motto", axum::routing::get(motto)).with_state(app);
    let pools = routes().with_state(databases.clone());
    let one = routes().with_state(databases.primary.clone());
    assert_eq!(get(&whole, "/motto").await, "shared");
    for service in [whole, pools, one] {
        assert_eq!((get(&service, "/count").await.as_str(), get(&service, "/by-hand").await.as_str()), ("0", "7"));
    }
}
