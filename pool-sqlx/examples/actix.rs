//! A service on actix-web, with an error type of its own; on SQLite with no set-up, or on PostgreSQL. Its handlers are in `actix/service.rs`.
//!
//! ```text
//! cargo run --example actix
//! DATABASE_URL=postgres://postgres@localhost/postgres cargo run --example actix
//!
//! curl localhost:3000/notes -H 'content-type: application/json' -d '{"title":"milk","text":"two bottles"}'
//! curl localhost:3000/notes/milk
//! curl localhost:3000/ready
//! ```
// The handlers are compiled twice on purpose.
#![allow(clippy::duplicate_mod)]

#[path = "common/mod.rs"]
mod common;

/// The handlers on SQLite.
#[path = "actix"]
mod sqlite {
    use pool_sqlx::{SqliteConn as Conn, SqlitePool as Pool};
    #[path = "service.rs"]
    pub(crate) mod service;
}

/// The same on PostgreSQL.
#[path = "actix"]
mod postgres {
    use pool_sqlx::{PgConn as Conn, PgPool as Pool};
    #[path = "service.rs"]
    pub(crate) mod service;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::log();
    let figment = common::figment(&[("primary", common::sqlite("notes.db"))]);
    match common::is_postgres(&figment)? {
        true => postgres::service::run(&figment).await,
        false => sqlite::service::run(&figment).await,
    }
}
