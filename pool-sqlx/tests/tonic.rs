//! `#[pooled]` methods of a gRPC service: a real server, and what its clients see.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::{Buf, BufMut};
use common::File;
use pool_sqlx::{SqliteConn, SqlitePool, SqliteTx, pooled};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tonic::{
    Code, Request, Response, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{BoxFuture, Context, Poll, Service, http},
    server::{NamedService, UnaryService},
    transport::{Channel, Server, server::TcpIncoming},
};

/// What tonic's code generator writes for a service.
#[tonic::async_trait]
trait Tracks: Send + Sync + 'static {
    async fn title(&self, request: Request<String>) -> Result<Response<String>, Status>;
    async fn add(&self, request: Request<String>) -> Result<Response<String>, Status>;
}

struct Library {
    db: SqlitePool,
}

#[pooled]
#[tonic::async_trait]
impl Tracks for Library {
    #[pooled(from = self.db, timeout = "500ms", retry_after = "2500ms")]
    async fn title(&self, request: Request<String>, conn: &mut SqliteConn) -> Result<Response<String>, Status> {
        let title = sqlx::query_scalar("select ?").bind(request.into_inner()).fetch_one(conn).await;
        title.map(Response::new).map_err(|error| Status::from(pool_sqlx::Error::from(error)))
    }

    #[pooled(from = self.db)]
    async fn add(&self, request: Request<String>, tx: &mut SqliteTx) -> Result<Response<String>, Status> {
        let title = request.into_inner();
        let added = sqlx::query("insert into t values (?)").bind(&title).execute(tx).await;
        added.map_err(pool_sqlx::Error::from)?;
        if title.is_empty() { Err(Status::invalid_argument("a title has letters")) } else { Ok(Response::new(title)) }
    }
}

/// One connection, with a table; a server that runs as long as the test's runtime; a client.
async fn serve(file: &File) -> (SqlitePool, Client) {
    let pool = file.one();
    sqlx::query("create table t (title text)").execute(&pool).await.unwrap();
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = incoming.local_addr().unwrap();
    let service = Generated(Arc::new(Library { db: pool.clone() }));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    (pool, Client(tonic::client::Grpc::new(channel)))
}

#[tokio::test]
async fn a_method_is_lent_a_connection_and_gives_it_back_before_its_answer() {
    let file = File::new();
    let (pool, mut client) = serve(&file).await;
    assert_eq!(client.call("title", "So What").await.unwrap(), "So What");
    assert_eq!(pool.status().in_use, 0);
}

#[tokio::test]
async fn a_status_rolls_back_and_an_answer_commits() {
    let file = File::new();
    let (pool, mut client) = serve(&file).await;
    client.call("add", "So What").await.unwrap();
    assert_eq!(client.call("add", "").await.unwrap_err().code(), Code::InvalidArgument);
    let titles: Vec<String> = sqlx::query_scalar("select title from t").fetch_all(&pool).await.unwrap();
    assert_eq!(titles, ["So What"]);
}

#[tokio::test]
async fn a_full_pool_is_unavailable_and_says_when_to_come_back() {
    let file = File::new();
    let (pool, mut client) = serve(&file).await;
    let _held = pool.acquire().await.unwrap();
    let status = client.call("title", "So What").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "No database connection became free in time"));
    let details = status.details();
    let retry_info = b"\x12\x0a\x0a\x08\x08\x02\x10\x80\xca\xb5\xee\x01";
    let type_url = b"type.googleapis.com/google.rpc.RetryInfo";
    assert!(details.windows(type_url.len()).any(|part| part == type_url), "{details:?}");
    assert!(details.ends_with(retry_info), "2.5 s: {details:?}");
}

#[tokio::test]
async fn what_is_wrong_inside_is_internal_and_stays_there() {
    let file = File::new();
    let (pool, mut client) = serve(&file).await;
    sqlx::query("drop table t").execute(&pool).await.unwrap();
    let status = client.call("add", "So What").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "Internal server error"));
    assert!(status.details().is_empty());
}

#[tokio::test]
async fn a_call_that_the_client_gives_up_gives_its_connection_back() {
    let file = File::new();
    let (pool, mut client) = serve(&file).await;
    let held = pool.acquire().await.unwrap();
    let call = tokio::time::timeout(Duration::from_millis(10), client.call("add", "So What"));
    call.await.unwrap_err();
    drop(held);
    assert_eq!(client.call("title", "Blue").await.unwrap(), "Blue");
    assert_eq!(pool.status().in_use, 0);
}

/// The rest of what the generator writes; text instead of protobuf, so that no `protoc` is needed.
struct Generated<T>(Arc<T>);

impl<T> Clone for Generated<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> NamedService for Generated<T> {
    const NAME: &'static str = "test.Tracks";
}

impl<T: Tracks> Service<http::Request<tonic::body::Body>> for Generated<T> {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let method = Method { service: Arc::clone(&self.0), adds: request.uri().path() == "/test.Tracks/add" };
        Box::pin(async move { Ok(tonic::server::Grpc::new(Text).unary(method, request).await) })
    }
}

struct Method<T> {
    service: Arc<T>,
    adds: bool,
}

impl<T: Tracks> UnaryService<String> for Method<T> {
    type Response = String;
    type Future = BoxFuture<Response<String>, Status>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let (service, adds) = (Arc::clone(&self.service), self.adds);
        Box::pin(async move { if adds { service.add(request).await } else { service.title(request).await } })
    }
}

struct Client(tonic::client::Grpc<Channel>);

impl Client {
    async fn call(&mut self, method: &str, text: &str) -> Result<String, Status> {
        self.0.ready().await.unwrap();
        let path = format!("/test.Tracks/{method}").parse().unwrap();
        Ok(self.0.unary(Request::new(text.to_owned()), path, Text).await?.into_inner())
    }
}

struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(String::from_utf8(bytes).unwrap()))
    }
}
