//! What the cross-crate tests share: scratch servers and a proxy that makes the network fail.
//!
//! ```
//! # fn main() -> Result<(), tests::server::Error> {
//! let database = tests::Postgres::shared().database()?; // empty, and gone when it is dropped
//! assert_eq!(database.psql("select 1 + 1")?, "2");
//! # Ok(())
//! # }
//! ```

#[cfg(any(test, doctest))]
mod book_samples;
mod example;
pub mod monitoring;
#[cfg(feature = "proxy")]
pub mod proxy;
pub mod server;

pub use example::example;
#[cfg(feature = "proxy")]
pub use proxy::{Mode, Proxy, Traffic};
pub use server::{
    chromium::Chromium,
    mariadb::MariaDb,
    pgbouncer::PgBouncer,
    postgres::{Database, Postgres},
    prometheus::Prometheus,
};
