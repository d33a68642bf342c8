//! `#[pooled]` handlers in actix-web: a real server, and what its clients see.
#![allow(clippy::unwrap_used)]

mod common;

use actix_web::{App, FromRequest, HttpRequest, HttpResponse, HttpServer, dev::Payload, get, post, web};
use common::{Client, File};
use futures_util::{StreamExt, future::LocalBoxFuture};
use pool_sqlx::{Error, Pools, SqliteConn, SqlitePool, SqliteTx, pooled};
use std::{net::SocketAddr, time::Duration};
use tokio::sync::mpsc;

struct Reports;

type Half = mpsc::UnboundedSender<()>;

#[derive(Clone, Pools)]
struct Databases {
    primary: SqlitePool,
    reports: SqlitePool<Reports>,
}

impl Databases {
    /// One connection each.
    async fn of(file: &File) -> Self {
        let settings = |name| {
            let settings = file.settings().with_pool_size(1u32).with_max_overflow(0u32).with_name(name);
            settings.with_pool_timeout(Duration::from_secs(2))
        };
        let primary = SqlitePool::connect(settings("primary")).await.unwrap();
        let reports = SqlitePool::connect(settings("reports")).await.unwrap().keyed();
        sqlx::query("create table if not exists t (n integer)").execute(&primary).await.unwrap();
        Self { primary, reports }
    }

    async fn count(&self) -> i64 {
        sqlx::query_scalar("select count(*) from t").fetch_one(&self.primary).await.unwrap()
    }

    /// A server that runs as long as the test's runtime.
    fn serve(&self) -> SocketAddr {
        self.serve_and_tell(mpsc::unbounded_channel().0)
    }

    /// The same; tells of each part of an upload.
    fn serve_and_tell(&self, half: Half) -> SocketAddr {
        let databases = self.clone();
        let server = HttpServer::new(move || {
            let app = App::new().configure(|config| databases.configure(config)).app_data(half.clone());
            app.service(above).service(below).service(plain).service(report).service(add).service(upload)
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let address = server.addrs()[0];
        actix_web::rt::spawn(server.run());
        address
    }
}

#[pooled]
#[get("/above/{n}")]
async fn above(n: web::Path<i64>, conn: &mut SqliteConn) -> Result<String, Error> {
    let sum: i64 = sqlx::query_scalar("select 1 + ?").bind(*n).fetch_one(conn).await?;
    Ok(sum.to_string())
}

#[get("/below/{n}")]
#[pooled]
async fn below(conn: &mut SqliteConn, n: web::Path<i64>) -> Result<String, Error> {
    let sum: i64 = sqlx::query_scalar("select 1 + ?").bind(*n).fetch_one(conn).await?;
    Ok(sum.to_string())
}

#[get("/plain")]
#[pooled(timeout = "10ms", retry_after = "2500ms")]
async fn plain(_conn: &mut SqliteConn) -> web::Json<&'static str> {
    web::Json("plain")
}

#[get("/report")]
#[pooled(pool = Reports)]
async fn report(_conn: &mut SqliteConn) -> &'static str {
    "report"
}

/// A body of which the first part was there, and then the rest.
struct Upload(usize);

impl FromRequest for Upload {
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (half, mut parts) = (request.app_data::<Half>().unwrap().clone(), payload.take());
        Box::pin(async move {
            let mut length = 0;
            while let Some(part) = parts.next().await {
                length += part?.len();
                half.send(()).unwrap();
            }
            Ok(Self(length))
        })
    }
}

/// Answers by itself: a status from 400 rolls back.
#[post("/add/{n}")]
#[pooled]
async fn add(n: web::Path<i64>, tx: &mut SqliteTx) -> HttpResponse {
    match sqlx::query("insert into t values (?)").bind(*n).execute(tx).await {
        Ok(_) if *n > 0 => HttpResponse::Created().finish(),
        _ => HttpResponse::UnprocessableEntity().finish(),
    }
}

#[post("/upload")]
#[pooled]
async fn upload(_conn: &mut SqliteConn, Upload(length): Upload) -> String {
    length.to_string()
}

#[actix_web::test]
async fn a_route_attribute_stands_on_either_side_and_pools_are_found_by_their_key() {
    let file = File::new();
    let databases = Databases::of(&file).await;
    let address = databases.serve();
    for (path, body) in [("/above/1", "2"), ("/below/2", "3"), ("/plain", "\"plain\""), ("/report", "report")] {
        let answer = common::get(address, path).await;
        assert!(answer.starts_with("http/1.1 200") && answer.ends_with(&format!("\r\n\r\n{body}")), "{path}: {answer}");
    }
    assert_eq!((databases.primary.status().in_use, databases.reports.status().totals.acquired), (0, 1));
}

#[actix_web::test]
async fn a_full_pool_answers_503_with_a_problem_and_when_to_come_back() {
    let file = File::new();
    let databases = Databases::of(&file).await;
    let address = databases.serve();
    let _held = databases.primary.acquire().await.unwrap();
    for (path, seconds) in [("/above/1", 1), ("/below/2", 1), ("/plain", 3)] {
        let answer = common::get(address, path).await;
        assert!(answer.starts_with("http/1.1 503 "), "{path}: {answer}");
        for part in ["application/problem+json", &format!("retry-after: {seconds}\r\n"), "urn:pool:exhausted"] {
            assert!(answer.contains(part), "{part:?} is missing in {path}: {answer}");
        }
    }
}

#[actix_web::test]
async fn a_response_below_400_commits_and_one_from_400_rolls_back() {
    let file = File::new();
    let databases = Databases::of(&file).await;
    let address = databases.serve();
    for (n, status, count) in [(1, "201", 1), (-1, "422", 1)] {
        let mut client = Client::to(address).await;
        client
            .send(&format!("POST /add/{n} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"))
            .await;
        let answer = client.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(databases.count().await, count);
    }
    let held = databases.primary.acquire().await.unwrap();
    let mut client = Client::to(address).await;
    client.send("POST /add/1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    drop(held);
}

#[actix_web::test]
async fn a_slow_upload_holds_no_connection() {
    let file = File::new();
    let databases = Databases::of(&file).await;
    let (half, mut halves) = mpsc::unbounded_channel();
    let mut client = Client::to(databases.serve_and_tell(half)).await;
    let before = databases.primary.status().totals.acquired;
    client.send("POST /upload HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 8\r\n\r\nhalf").await;
    halves.recv().await.unwrap();
    assert_eq!((databases.primary.status().in_use, databases.primary.status().totals.acquired), (0, before));
    client.send("done").await;
    assert!(client.rest().await.ends_with("\r\n\r\n8"));
    assert_eq!(databases.primary.status().totals.acquired, before + 1);
}

#[actix_web::test]
async fn a_pool_that_is_not_registered_is_a_500_that_says_nothing_outside() {
    let server = HttpServer::new(|| App::new().service(report)).workers(1).disable_signals();
    let server = server.bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    actix_web::rt::spawn(server.run());
    let answer = common::get(address, "/report").await;
    assert!(answer.starts_with("http/1.1 500") && answer.contains("problem+json"), "{answer}");
    assert!(!answer.contains("sqlite"), "{answer}");
}

#[actix_web::test]
async fn a_pool_may_be_registered_as_data_too() {
    let file = File::new();
    let databases = Databases::of(&file).await;
    let data = web::Data::new(databases.primary.clone());
    let server = HttpServer::new(move || App::new().app_data(data.clone()).service(above)).workers(1);
    let server = server.disable_signals().bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    actix_web::rt::spawn(server.run());
    assert!(common::get(address, "/above/41").await.ends_with("42"));
}
