//! The macros of `pool-sqlx`.
