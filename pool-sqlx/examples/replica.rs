//! Two databases: what writes asks the primary, what reads asks a replica, and the primary while the replica is away. On SQLite with no
//! set-up, or on PostgreSQL. Its handlers are in `replica/service.rs`.
//!
//! ```text
//! cargo run --example replica
//! DATABASE_URL=postgres://postgres@primary/postgres DATABASE_REPLICA_URL=postgres://postgres@replica/postgres \
//!     cargo run --example replica
//!
//! curl localhost:3000/titles -d 'So What'
//! curl -i localhost:3000/titles                  # the header x-from says who answered
//! curl localhost:3000/pools
//! ```
//!
//! With no set-up the replica is the same SQLite file, opened for reading.
// The handlers are compiled twice on purpose.
#![allow(clippy::duplicate_mod)]

#[path = "common/mod.rs"]
mod common;

/// The handlers on SQLite.
#[path = "replica"]
mod sqlite {
    use pool_sqlx::{SqliteConn as Conn, SqlitePool as Pool};
    #[path = "service.rs"]
    pub(crate) mod service;
}

/// The same on PostgreSQL.
#[path = "replica"]
mod postgres {
    use pool_sqlx::{PgConn as Conn, PgPool as Pool};
    #[path = "service.rs"]
    pub(crate) mod service;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::log();
    let file = common::sqlite("titles.db");
    let figment = common::figment(&[("replica", format!("{file}?mode=ro")), ("primary", file)]);
    match common::is_postgres(&figment)? {
        true => postgres::service::run(&figment).await,
        false => sqlite::service::run(&figment).await,
    }
}
