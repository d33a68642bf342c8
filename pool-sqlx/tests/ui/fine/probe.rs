#![allow(unused_imports)]
//! Whether a library has the features that the cases use.

use pool_sqlx::{Failure, ServiceError, SqliteConn, actix_web, axum::Json, pooled, sqlx, tonic};

fn main() {}
