//! The handlers, compiled once for either database.

use super::{Conn, Pool};
use axum::{Json, Router, response::IntoResponse, routing::get};
use pool_sqlx::{Error, Pools, figment::Figment, pooled};
use tokio::net::TcpListener;

/// Tells the replica's pool from the primary's, which are of one type otherwise.
struct Replica;

#[derive(Clone, Pools)]
struct Databases {
    primary: Pool,
    /// Opened when it is first asked: a replica that is away must not keep the service from starting.
    #[pool(lazy)]
    replica: Pool<Replica>,
}

pub(crate) async fn run(figment: &Figment) -> Result<(), Box<dyn std::error::Error>> {
    let databases = Databases::connect_with(figment).await?;
    sqlx::query("create table if not exists titles (title text not null)").execute(&databases.primary).await?;
    let service =
        Router::new().route("/titles", get(list).post(add)).route("/pools", get(pools)).with_state(databases.clone());
    let listener = TcpListener::bind(crate::common::address()).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, service).with_graceful_shutdown(crate::common::asked_to_stop()).await?;
    for (name, report) in databases.close().await {
        tracing::info!("{name}: {report}");
    }
    Ok(())
}

#[pooled]
async fn add(conn: &mut Conn, title: String) -> Result<&'static str, Error> {
    sqlx::query("insert into titles values ($1)").bind(title).execute(conn).await?;
    Ok("added\n")
}

/// From the replica; from the primary while the replica has no connection to give. A statement that fails would fail there as well.
async fn list(primary: Pool, replica: Pool<Replica>) -> Result<impl IntoResponse, Error> {
    let (from, titles) = match of_replica(replica).await {
        Err(error) if error.verdict().is_some() => {
            tracing::warn!("asking the primary: {error}");
            ("primary", of_primary(primary).await?)
        }
        answer => ("replica", answer?),
    };
    Ok(([("x-from", from)], Json(titles)))
}

/// Not longer than half a second: there is still the primary to ask.
#[pooled(pool = Replica, timeout = "500ms")]
async fn of_replica(conn: &mut Conn) -> Result<Vec<String>, Error> {
    titles(conn).await
}

#[pooled]
async fn of_primary(conn: &mut Conn) -> Result<Vec<String>, Error> {
    titles(conn).await
}

/// Whoever calls it has a connection already.
async fn titles(conn: &mut Conn) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar("select title from titles order by title").fetch_all(conn).await?)
}

async fn pools(primary: Pool, replica: Pool<Replica>) -> String {
    format!("primary: {}\nreplica: {}\n", primary.status(), replica.status())
}
