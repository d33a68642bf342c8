use pool_sqlx::{Pools, SqlitePool};

#[derive(Clone, Pools)]
struct Databases {
    primary: SqlitePool,
    reports: SqlitePool,
    name: String,
}

fn main() {}
