//! A connection pool for sqlx that says why.
//!
//! SQLAlchemy's sizing (`pool_size` + `max_overflow`), every wait bounded, `#[pooled]` handlers that acquire late and release
//! early, and a 503 that says why when there is no connection to be had: the log names the pool, its numbers, who holds its connections
//! and what the database said last. Statements run through sqlx as ever.
//!
//! # Example
//!
//! ```
//! # #[cfg(all(feature = "axum", feature = "postgres"))] mod example {
//! use axum::{Json, extract::Path};
//! use pool_sqlx::{Error, PgConn, PgPool, Pools, pooled};
//!
//! #[derive(Clone, Pools)]
//! struct Databases {
//!     primary: PgPool, // section [databases.primary] of Pool.toml, or DATABASE_URL
//! }
//!
//! /// Acquires after the extractors, releases before the response is built.
//! #[pooled]
//! async fn title(Path(id): Path<i64>, conn: &mut PgConn) -> Result<Json<String>, Error> {
//!     Ok(Json(sqlx::query_scalar("select title from tracks where id = $1").bind(id).fetch_one(conn).await?))
//! }
//! # }
//! ```
//!
//! # Features
//!
//! None is on by default: `postgres`, `mysql` and `sqlite` choose databases, `axum` and `actix` make pools extractors and errors responses,
//! `tonic` makes errors statuses, `migrate` adds [`Pool::migrate`], `otel-0-33` and `otel-0-32` metrics for that version of OpenTelemetry,
//! `status-page` a page that shows the pools live, `testing` `Pool::inject` and the scripted manager of `pool-core`.
//! TLS is sqlx's, by features of the same names: `tls-rustls-ring-native-roots`, `tls-rustls-ring-webpki`.
//! Whoever uses a database of sqlx that is not named here beside this crate needs sqlx's `macros` feature on as well: we turn
//! sqlx-core's `offline` on, and a driver without it does not compile.
#![cfg_attr(docsrs, feature(doc_cfg))]
// What serves every database serves none of them then.
#![cfg_attr(not(any(feature = "postgres", feature = "mysql", feature = "sqlite")), allow(unused))]

// Each room uses only those above it; `cargo xtask tidy` holds it.
// Plain data.
mod words;
// What a pool is told, and what can go wrong.
mod config;
mod error;
// What a text says.
mod sql;
// What differs between databases.
mod backend;
// One connection on loan.
mod session;
// What users hold.
mod pool;
// Pools seen from outside.
mod observe;
// What others call.
mod open;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod private;
mod web;

pub use backend::Backend;
pub use config::{ConfigError, ConfigFault, DatabaseSettings, Explained, Pooler, Reset};
#[doc(hidden)]
pub use config::{Setting, SettingKind, reference};
pub use error::{Error, ErrorKind};
#[cfg(feature = "status-page")]
pub use observe::StatusPage;
#[cfg(feature = "otel-0-32")]
pub use observe::otel_0_32;
#[cfg(feature = "otel-0-33")]
pub use observe::otel_0_33;
pub use observe::{Advice, Watchable, Watched, Weight};
#[doc(hidden)]
pub use observe::{METRICS, Metric, MetricKind};
pub use pool::{Conn, Pool, Tx};
#[cfg(feature = "postgres")]
pub use pool::{ListenEvent, Listener};
pub use pool_core::{
    AcquireError, CloseCounts, CloseReason, CloseReport, ConnectError, Event, Health, Histogram, Hold, Holder,
    MaxOverflow, Moment, Nested, Observer, Pause, Settings, Site, SiteTimings, Startup, Status, Step, Timings, Totals,
    Verdict,
};
pub use pool_macros::{HasPools, Pools, ServiceError, pooled};
pub use session::{Refusal, Session};
pub use web::Failure;
pub use words::{Isolation, Main, Place, Secret, TxOptions};

// The macros' output names these.
#[cfg(feature = "actix")]
#[doc(no_inline)]
pub use actix_web;
#[cfg(feature = "axum")]
#[doc(no_inline)]
pub use axum;
#[cfg(feature = "tonic")]
#[doc(no_inline)]
pub use tonic;
#[doc(no_inline)]
pub use {figment, sqlx};

/// A pool of PostgreSQL connections.
#[cfg(feature = "postgres")]
pub type PgPool<Key = Main> = Pool<sqlx::Postgres, Key>;

/// A PostgreSQL connection on loan.
#[cfg(feature = "postgres")]
pub type PgConn = Conn<sqlx::Postgres>;

/// What [`PgConn`] and [`PgTx`] dereference to: see [`Session`].
#[cfg(feature = "postgres")]
pub type PgSession = Session<sqlx::Postgres>;

/// A transaction on a PostgreSQL connection.
#[cfg(feature = "postgres")]
pub type PgTx = Tx<sqlx::Postgres>;

/// A pool of MySQL or MariaDB connections.
#[cfg(feature = "mysql")]
pub type MySqlPool<Key = Main> = Pool<sqlx::MySql, Key>;

/// A MySQL or MariaDB connection on loan.
#[cfg(feature = "mysql")]
pub type MySqlConn = Conn<sqlx::MySql>;

/// What [`MySqlConn`] and [`MySqlTx`] dereference to: see [`Session`].
#[cfg(feature = "mysql")]
pub type MySqlSession = Session<sqlx::MySql>;

/// A transaction on a MySQL or MariaDB connection.
#[cfg(feature = "mysql")]
pub type MySqlTx = Tx<sqlx::MySql>;

/// A pool of SQLite connections.
#[cfg(feature = "sqlite")]
pub type SqlitePool<Key = Main> = Pool<sqlx::Sqlite, Key>;

/// A SQLite connection on loan.
#[cfg(feature = "sqlite")]
pub type SqliteConn = Conn<sqlx::Sqlite>;

/// What [`SqliteConn`] and [`SqliteTx`] dereference to: see [`Session`].
#[cfg(feature = "sqlite")]
pub type SqliteSession = Session<sqlx::Sqlite>;

/// A transaction on a SQLite connection.
#[cfg(feature = "sqlite")]
pub type SqliteTx = Tx<sqlx::Sqlite>;

/// Code for a web framework, which `#[derive(Pools)]` cannot know to be there. Where it is not, the code is left out.
macro_rules! code_for {
    ($dollar:tt $($feature:literal $name:ident)*) => {$(
        #[cfg(feature = $feature)]
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $name {
            ($dollar ($dollar code:item)*) => { $dollar ($dollar code)* };
        }

        #[cfg(not(feature = $feature))]
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $name {
            ($dollar ($dollar code:item)*) => {};
        }
    )*};
}

code_for! { $ "axum" __if_axum "actix" __if_actix "tonic" __if_tonic }

#[cfg(all(doctest, feature = "axum", feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
