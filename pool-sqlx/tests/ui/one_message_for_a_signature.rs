//! What we say of a signature: rustc adds nothing of its own.

#![allow(unused)]

use pool_sqlx::{Error, PgConn, PgTx, SqliteConn, SqlitePool, axum::Json, pooled, sqlx};
use std::fmt::Display;

#[pooled]
async fn elided(_conn: &mut SqliteConn) -> Result<&str, Error> {
    Ok("a")
}

#[pooled]
async fn boxed<'c>(conn: &'c mut SqliteConn) -> Result<Box<dyn Send + 'c>, Error> {
    Ok(Box::new(sqlx::query_scalar::<_, i64>("select 1").fetch(conn)))
}

#[pooled]
async fn opaque(conn: &mut SqliteConn) -> Result<impl Send + '_, Error> {
    Ok(sqlx::query_scalar::<_, i64>("select 1").fetch(conn))
}

#[pooled]
async fn question(conn: &mut SqliteConn) -> Json<i64> {
    let number: i64 = sqlx::query_scalar("select 1").fetch_one(conn).await?;
    Json(number)
}

struct Service {
    db: SqlitePool,
}

impl Service {
    #[pooled]
    async fn list(&self, _conn: &mut SqliteConn) -> Result<(), Error> {
        drop(self.db.clone());
        Ok(())
    }

    async fn caller(&self) -> Result<(), Error> {
        self.list().await
    }
}

#[pooled]
async fn chosen(#[cfg(windows)] conn: &mut PgConn, #[cfg(not(windows))] conn: &mut SqliteConn) -> Result<(), Error> {
    Ok(())
}

#[pooled]
async fn by_value(mut tx: PgTx) -> Result<(), Error> {
    Ok(())
}

#[pooled]
async fn of_sqlx(tx: &mut sqlx::Transaction<'_, sqlx::Postgres>) -> Result<(), Error> {
    Ok(())
}

#[pooled(pool = replica)]
async fn keyed(_conn: &mut SqliteConn) -> Result<impl Display, Error> {
    Ok(1)
}

fn main() {}
