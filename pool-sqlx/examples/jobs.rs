//! Workers that share a queue of jobs, without a web framework; on SQLite with no set-up, or on PostgreSQL. They are in `jobs/worker.rs`.
//!
//! ```text
//! cargo run --example jobs
//! DATABASE_URL=postgres://postgres@localhost/postgres cargo run --example jobs
//! ```
//!
//! Twenty jobs, eight workers, three connections: a worker holds one while it takes a job and while it puts it away, not while it works.
// The workers are compiled twice on purpose.
#![allow(clippy::duplicate_mod)]

#[path = "common/mod.rs"]
mod common;

/// The workers on SQLite, where a statement that writes has the database to itself.
#[path = "jobs"]
mod sqlite {
    use pool_sqlx::{SqliteConn as Conn, SqlitePool as Pool};
    #[path = "worker.rs"]
    pub(crate) mod worker;
    const TABLE: &str =
        "create table if not exists jobs (id integer primary key, what text not null, taken_until bigint not null)";
    const TAKE: &str = "update jobs set taken_until = $1 + 60 where id =
        (select id from jobs where taken_until < $1 order by id limit 1) returning id, what";
}

/// The same on PostgreSQL, where workers step over the jobs that others are just taking.
#[path = "jobs"]
mod postgres {
    use pool_sqlx::{PgConn as Conn, PgPool as Pool};
    #[path = "worker.rs"]
    pub(crate) mod worker;
    const TABLE: &str = "create table if not exists jobs
        (id bigint generated always as identity primary key, what text not null, taken_until bigint not null)";
    const TAKE: &str = "update jobs set taken_until = $1 + 60 where id =
        (select id from jobs where taken_until < $1 order by id limit 1 for update skip locked) returning id, what";
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::log();
    let figment = common::figment(&[("primary", common::sqlite("jobs.db"))]);
    match common::is_postgres(&figment)? {
        true => postgres::worker::run(&figment).await?,
        false => sqlite::worker::run(&figment).await?,
    }
    Ok(())
}
