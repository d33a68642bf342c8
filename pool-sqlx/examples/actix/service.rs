//! The handlers, compiled once for either database.

use super::{Conn, Pool};
use actix_web::{App, HttpResponse, HttpServer, get, post, web};
use pool_sqlx::{Pools, ServiceError, figment::Figment, pooled};
use serde::{Deserialize, Serialize};

#[derive(Clone, Pools)]
struct Databases {
    primary: Pool,
}

#[derive(Deserialize, Serialize, sqlx::FromRow)]
struct Note {
    title: String,
    text: String,
}

/// What can go wrong, and the answer to each.
#[derive(Debug, thiserror::Error, ServiceError)]
enum Fault {
    #[error("there is no note {0}")]
    #[service(status = 404, type = "no-such-note")]
    NoNote(String),
    #[error(transparent)]
    #[service(database)] // 503 for a full pool
    Pool(#[from] pool_sqlx::Error),
    #[error(transparent)]
    #[service(database, unique = 409)]
    Statement(#[from] sqlx::Error),
}

pub(crate) async fn run(figment: &Figment) -> Result<(), Box<dyn std::error::Error>> {
    let databases = Databases::connect_with(figment).await?;
    sqlx::query("create table if not exists notes (title text primary key, text text not null)")
        .execute(&databases.primary)
        .await?;
    let pools = databases.clone();
    let app = move || App::new().configure(|config| pools.configure(config)).service((add, read, ready));
    let server = HttpServer::new(app).workers(2).bind(crate::common::address())?;
    for address in server.addrs() {
        println!("listening on http://{address}");
    }
    server.run().await?; // until SIGINT or SIGTERM, and until the last answer is sent
    for (name, report) in databases.close().await {
        tracing::info!("{name}: {report}");
    }
    Ok(())
}

/// The connection is acquired when the whole note is there.
#[post("/notes")]
#[pooled]
async fn add(note: web::Json<Note>, conn: &mut Conn) -> Result<HttpResponse, Fault> {
    let insert = sqlx::query("insert into notes (title, text) values ($1, $2)").bind(&note.title).bind(&note.text);
    insert.execute(conn).await?;
    Ok(HttpResponse::Created().json(&*note))
}

#[get("/notes/{title}")]
#[pooled]
async fn read(title: web::Path<String>, conn: &mut Conn) -> Result<web::Json<Note>, Fault> {
    let note = sqlx::query_as("select * from notes where title = $1").bind(&*title).fetch_optional(conn).await?;
    note.map(web::Json).ok_or_else(|| Fault::NoNote(title.into_inner()))
}

#[get("/ready")]
#[pooled(timeout = "1s")]
async fn ready(_conn: &mut Conn) -> Result<&'static str, Fault> {
    Ok("ready")
}
