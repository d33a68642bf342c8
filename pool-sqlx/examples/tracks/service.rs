//! The handlers, compiled once for either database: the SQL is the same, sqlx's types are not.

use super::{Conn, MIGRATIONS, Pool, Tx};
use crate::{Fault, Listen, NewTrack, Stats, Track, serve};
use axum::{
    Json, Router,
    extract::{Path, Query, rejection::JsonRejection},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use pool_sqlx::{Pools, StatusPage, figment::Figment, pooled};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

#[derive(Clone, Pools)]
struct Databases {
    primary: Pool,
}

pub(crate) async fn run(figment: &Figment, listener: TcpListener) -> Result<(), Box<dyn std::error::Error>> {
    let databases = Databases::connect_with(figment).await?;
    databases.primary.migrate(&MIGRATIONS).await?;
    let service = Router::new()
        .route("/tracks", get(list).post(create))
        .route("/tracks/{id}", get(track))
        .route("/tracks/{id}/like", post(like))
        .route("/tracks/{id}/listen", get(listen))
        .route("/stats", get(stats))
        .route("/stats/pool", get(numbers))
        .route("/health/live", get(|| async { "alive" }))
        .route("/health/ready", get(ready))
        // A service that strangers can reach has it on a port of its own.
        .merge(StatusPage::of(&databases).axum("/pool"))
        .with_state(databases.clone());
    serve(service, listener).await?;
    for (name, report) in databases.close().await {
        tracing::info!("{name}: {report}");
    }
    Ok(())
}

/// The connection is acquired here, after the extractors, and goes back before the response is built.
#[pooled]
async fn list(conn: &mut Conn) -> Result<Json<Vec<Track>>, Fault> {
    let tracks = sqlx::query_as("select * from tracks order by likes desc, id limit 100");
    Ok(Json(tracks.fetch_all(conn).await?))
}

#[pooled]
async fn track(Path(id): Path<i64>, conn: &mut Conn) -> Result<Json<Track>, Fault> {
    let track = sqlx::query_as("select * from tracks where id = $1").bind(id);
    track.fetch_optional(conn).await?.map(Json).ok_or(Fault::NotFound)
}

async fn create(pool: Pool, new: Result<Json<NewTrack>, JsonRejection>) -> Result<impl IntoResponse, Fault> {
    let Json(new) = new?;
    // No connection is held while the body arrives, nor while it is checked.
    new.check()?;
    insert(pool, &new).await.map(|track| (StatusCode::CREATED, Json(track)))
}

/// Not only handlers: whoever calls this passes the pool.
#[pooled]
async fn insert(conn: &mut Conn, new: &NewTrack) -> Result<Track, Fault> {
    let insert = sqlx::query_as("insert into tracks (title, artist) values ($1, $2) returning *");
    Ok(insert.bind(&new.title).bind(&new.artist).fetch_one(conn).await?)
}

/// A transaction: committed if the answer is `Ok`, rolled back otherwise, also when the client goes away.
#[pooled(timeout = "2s", retry_after = "1s")]
async fn like(Path(id): Path<i64>, tx: &mut Tx) -> Result<Json<Track>, Fault> {
    let track = sqlx::query_as("update tracks set likes = likes + 1 where id = $1 returning *").bind(id);
    let track = track.fetch_optional(&mut *tx).await?.ok_or(Fault::NotFound)?;
    sqlx::query("insert into likes (track) values ($1)").bind(id).execute(tx).await?;
    Ok(Json(track))
}

#[pooled]
async fn stats(conn: &mut Conn) -> Result<Json<Stats>, Fault> {
    let stats = "select count(*) as tracks, cast(coalesce(sum(likes), 0) as bigint) as likes from tracks";
    Ok(Json(sqlx::query_as(stats).fetch_one(conn).await?))
}

/// Streams the track, as it were: keeps its connection for `ms`. Do not do this; it is here to fill the pool.
#[pooled]
async fn listen(
    Path(id): Path<i64>,
    Query(listen): Query<Listen>,
    conn: &mut Conn,
) -> Result<impl IntoResponse, Fault> {
    let begun = Instant::now();
    let title = sqlx::query_scalar::<_, String>("select title from tracks where id = $1").bind(id);
    let title = title.fetch_optional(conn).await?.ok_or(Fault::NotFound)?;
    tokio::time::sleep(Duration::from_millis(listen.ms.min(5000))).await;
    let hold = begun.elapsed().as_secs_f64() * 1e3;
    Ok(([("server-timing", format!("hold;dur={hold:.1}"))], format!("{title}\n")))
}

/// Whoever asks wants to know soon: a connection that could be lent is answer enough.
#[pooled(timeout = "1s")]
async fn ready(_conn: &mut Conn) -> &'static str {
    "ready"
}

async fn numbers(pool: Pool) -> Json<serde_json::Value> {
    let status = pool.status();
    let holders: Vec<_> = pool.holders().iter().map(ToString::to_string).collect();
    Json(json!({
        "name": status.name,
        "pool_size": status.pool_size,
        "max_overflow": status.max_overflow.to_string(),
        "open": status.open,
        "idle": status.idle,
        "in_use": status.in_use,
        "overflow": status.overflow,
        "waiting": status.waiting,
        "holders": holders,
        "totals": {
            "acquired": status.totals.acquired,
            "waited": status.totals.waited,
            "timeouts": status.totals.timeouts,
            "opened": status.totals.opened,
            "closed": status.totals.closed(),
            "resets": status.totals.resets,
        },
    }))
}
