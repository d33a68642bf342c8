//! When `#[pooled]` holds a connection in axum, seen by real clients on real sockets: not while a body is on its way, and not while
//! an answer is.
#![allow(clippy::unwrap_used)]

mod common;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use common::{Client, File};
use futures_util::StreamExt;
use pool_sqlx::{Error, HasPools, Pools, SqliteConn, SqlitePool, pooled};
use std::{net::SocketAddr, time::Duration};
use tokio::{io::AsyncReadExt, sync::mpsc};

#[derive(Clone, Pools)]
struct Databases {
    primary: SqlitePool,
}

#[derive(Clone, HasPools)]
struct App {
    #[pools]
    databases: Databases,
    half: mpsc::UnboundedSender<()>,
}

/// One connection, with a thousand rows; a server that runs as long as the test's runtime; who is told of half a body.
async fn serve(file: &File) -> (SqlitePool, SocketAddr, mpsc::UnboundedReceiver<()>) {
    let settings = file.settings().with_pool_size(1u32).with_max_overflow(0u32);
    let pool = SqlitePool::connect(settings.with_pool_timeout(Duration::from_secs(2))).await.unwrap();
    sqlx::query("create table t (n integer)").execute(&pool).await.unwrap();
    let rows =
        "insert into t with recursive c(n) as (select 1 union all select n + 1 from c limit 1000) select n from c";
    sqlx::query(rows).execute(&pool).await.unwrap();
    let (half, halves) = mpsc::unbounded_channel();
    let app = App { databases: Databases { primary: pool.clone() }, half };
    let router = Router::new()
        .route("/count", get(count))
        .route("/upload", post(upload))
        .route("/in_use", get(in_use))
        .route("/large", get(large))
        .route("/pages", get(pages))
        .route("/owned", get(owned));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router.with_state(app)).into_future());
    (pool, address, halves)
}

#[pooled]
async fn count(conn: &mut SqliteConn) -> Result<String, Error> {
    let count: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(conn).await?;
    Ok(count.to_string())
}

/// A body of which the first part was there, and then the rest.
struct Upload(usize);

impl FromRequest<App> for Upload {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let (mut parts, mut length) = (request.into_body().into_data_stream(), 0);
        while let Some(part) = parts.next().await {
            length += part.unwrap().len();
            app.half.send(()).unwrap();
        }
        Ok(Self(length))
    }
}

#[pooled]
async fn upload(_conn: &mut SqliteConn, Upload(length): Upload) -> String {
    length.to_string()
}

#[tokio::test]
async fn a_slow_upload_holds_nothing() {
    let file = File::new();
    let (pool, address, mut halves) = serve(&file).await;
    let acquired = pool.status().totals.acquired;
    let mut client = Client::to(address).await;
    client.send("POST /upload HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 8\r\n\r\nhalf").await;
    halves.recv().await.unwrap();
    assert_eq!((pool.status().in_use, pool.status().totals.acquired), (0, acquired));
    client.send("done").await;
    assert!(client.rest().await.ends_with("\r\n\r\n8"));
    assert_eq!(pool.status().totals.acquired, acquired + 1);
}

/// Tells how many connections are in use when it becomes a response.
struct InUse(SqlitePool);

impl IntoResponse for InUse {
    fn into_response(self) -> Response {
        self.0.status().in_use.to_string().into_response()
    }
}

#[pooled]
async fn in_use(State(app): State<App>, _conn: &mut SqliteConn) -> Result<InUse, Error> {
    assert_eq!(app.databases.primary.status().in_use, 1);
    Ok(InUse(app.databases.primary))
}

#[tokio::test]
async fn the_connection_is_back_before_the_response_is_built() {
    let file = File::new();
    let (_, address, _halves) = serve(&file).await;
    let answer = common::get(address, "/in_use").await;
    assert!(answer.starts_with("http/1.1 200") && answer.ends_with("\r\n\r\n0"), "{answer}");
}

/// More than fits into the buffers of two sockets.
#[pooled]
async fn large(_conn: &mut SqliteConn) -> Vec<u8> {
    vec![b'x'; 50_000_000]
}

/// Asks for something large and reads only the first byte of the answer.
async fn slow_reader(address: SocketAddr, path: &str) -> Client {
    let mut client = Client::to(address).await;
    client.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
    assert_eq!(client.0.read_u8().await.unwrap(), b'H');
    client
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nothing() {
    let file = File::new();
    let (pool, address, _halves) = serve(&file).await;
    let clients = futures_util::future::join_all((0..5).map(|_| slow_reader(address, "/large"))).await;
    assert_eq!(pool.status().in_use, 0);
    assert!(common::get(address, "/count").await.ends_with("\r\n\r\n1000"));
    drop(clients);
}

#[pooled]
async fn page(conn: &mut SqliteConn, after: i64) -> Result<Vec<i64>, Error> {
    let page = sqlx::query_scalar("select n from t where n > ? order by n limit 500").bind(after);
    Ok(page.fetch_all(conn).await?)
}

/// As documented: a stream that acquires for each page, and holds nothing while the client reads.
async fn pages(State(pool): State<SqlitePool>) -> Body {
    Body::from_stream(futures_util::stream::try_unfold(0, move |last| {
        let pool = pool.clone();
        async move {
            let rows = page(pool, last).await?;
            let text: String = rows.iter().map(|row| format!("{row:060000}\n")).collect();
            Ok::<_, Error>(rows.last().map(|&last| (text, last)))
        }
    }))
}

#[tokio::test]
async fn a_stream_by_pages_holds_nothing_between_them() {
    let file = File::new();
    let (pool, address, _halves) = serve(&file).await;
    let mut slow = slow_reader(address, "/pages").await;
    slow.0.read_exact(&mut [0; 1000]).await.unwrap();
    // The first page has been read, 30 MB of it are on their way, and nobody reads on.
    assert_eq!(pool.status().in_use, 0);
    assert!(common::get(address, "/count").await.ends_with("\r\n\r\n1000"));
    let mut rest = Vec::new();
    slow.0.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > 60_000_000, "all pages come in the end: {}", rest.len());
}

/// A stream of one query: it takes the connection along, and gives it back when the client has read all, or has gone.
#[pooled]
async fn owned(mut conn: SqliteConn) -> Body {
    Body::from_stream(async_stream::stream! {
        let mut rows = sqlx::query_scalar::<_, i64>("select n from t order by n").fetch(&mut conn);
        while let Some(row) = rows.next().await {
            yield row.map(|row| Bytes::from(format!("{row:060000}\n")));
        }
    })
}

#[tokio::test]
async fn a_stream_that_owns_its_connection_holds_it_until_the_client_has_gone() {
    let file = File::new();
    let (pool, address, _halves) = serve(&file).await;
    let slow = slow_reader(address, "/owned").await;
    assert_eq!(pool.status().in_use, 1);
    assert!(common::get(address, "/count").await.starts_with("http/1.1 503"));
    drop(slow);
    pool.acquire_timeout(Duration::from_secs(30)).await.expect("the server notices that the client has gone");
}
