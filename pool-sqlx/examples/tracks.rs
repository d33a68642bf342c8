//! A small service for music tracks, on SQLite with no set-up, or on PostgreSQL. Its handlers are in `tracks/service.rs`.
//!
//! ```text
//! cargo run --example tracks
//! DATABASE_URL=postgres://postgres@localhost/postgres cargo run --example tracks
//!
//! curl localhost:3000/tracks
//! curl localhost:3000/tracks/1
//! curl localhost:3000/tracks -H 'content-type: application/json' -d '{"title":"Naima","artist":"John Coltrane"}'
//! curl -X POST localhost:3000/tracks/1/like
//! curl localhost:3000/stats
//! curl "localhost:3000/tracks/1/listen?ms=200"     # keeps a connection that long
//! curl localhost:3000/health/live                  # the process answers
//! curl localhost:3000/health/ready                 # a request would get a connection that works
//! curl localhost:3000/stats/pool                   # the pool's numbers
//! curl localhost:3000/pool/status.json             # all of them; http://localhost:3000/pool/ shows them live
//! ```
//!
//! `ADDR` is where it listens (127.0.0.1:3000), `TRACKS_DB` the SQLite file (tracks.db among the temporary files). `Pool.toml` and every
//! `DATABASE_*` variable count: `DATABASE_POOL_SIZE=1 DATABASE_MAX_OVERFLOW=0 DATABASE_POOL_TIMEOUT=1` shows a full pool soon.
// The handlers are compiled twice on purpose.
#![allow(clippy::duplicate_mod)]

use axum::{
    Router,
    extract::rejection::JsonRejection,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

#[path = "common/mod.rs"]
mod common;

/// The handlers on SQLite.
#[path = "tracks"]
mod sqlite {
    use pool_sqlx::{SqliteConn as Conn, SqlitePool as Pool, SqliteTx as Tx};
    #[path = "service.rs"]
    pub(crate) mod service;
    static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("examples/tracks/migrations/sqlite");
}

/// The same on PostgreSQL.
#[path = "tracks"]
mod postgres {
    use pool_sqlx::{PgConn as Conn, PgPool as Pool, PgTx as Tx};
    #[path = "service.rs"]
    pub(crate) mod service;
    static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("examples/tracks/migrations/postgres");
}

#[derive(Serialize, sqlx::FromRow)]
struct Track {
    id: i64,
    title: String,
    artist: String,
    likes: i64,
}

#[derive(Deserialize)]
struct NewTrack {
    title: String,
    artist: String,
}

#[derive(Serialize, sqlx::FromRow)]
struct Stats {
    tracks: i64,
    likes: i64,
}

#[derive(Deserialize)]
struct Listen {
    #[serde(default)]
    ms: u64,
}

impl NewTrack {
    fn check(&self) -> Result<(), Fault> {
        let fields = [("title", &self.title), ("artist", &self.artist)];
        let wrong = |text: &str| text.trim().is_empty() || text.chars().count() > 200;
        let faults = fields.into_iter().filter(|(_, text)| wrong(text));
        let faults: Vec<_> =
            faults.map(|(field, _)| format!("{field}: 1 to 200 characters, not all of them blank")).collect();
        if faults.is_empty() { Ok(()) } else { Err(Fault::Invalid(faults)) }
    }
}

/// What can go wrong in a handler.
enum Fault {
    NotFound,
    /// Not even a request of the right form.
    Malformed(StatusCode, String),
    Invalid(Vec<String>),
    /// No connection, or a statement failed: says itself what to answer, and logs it.
    Database(pool_sqlx::Error),
}

impl From<pool_sqlx::Error> for Fault {
    fn from(error: pool_sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<JsonRejection> for Fault {
    fn from(rejection: JsonRejection) -> Self {
        Self::Malformed(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, title, errors) = match self {
            Self::Database(error) => return error.into_response(),
            Self::NotFound => (StatusCode::NOT_FOUND, "No such track", vec![]),
            Self::Malformed(status, why) => (status, "That is no request", vec![why]),
            Self::Invalid(errors) => (StatusCode::UNPROCESSABLE_ENTITY, "That is no track", errors),
        };
        let problem = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "errors": errors });
        (status, [(header::CONTENT_TYPE, "application/problem+json")], problem.to_string()).into_response()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::log();
    // Under everything that is configured: a file that need not exist.
    let file =
        std::env::var("TRACKS_DB").map_or_else(|_| common::sqlite("tracks.db"), |file| format!("sqlite://{file}"));
    let figment = common::figment(&[("primary", file)]);
    let listener = TcpListener::bind(common::address()).await?;
    match common::is_postgres(&figment)? {
        true => postgres::service::run(&figment, listener).await?,
        false => sqlite::service::run(&figment, listener).await?,
    }
    Ok(())
}

/// Serves until SIGINT or SIGTERM, then finishes what it has begun.
async fn serve(service: Router, listener: TcpListener) -> std::io::Result<()> {
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, service).with_graceful_shutdown(common::asked_to_stop()).await
}
