#![warn(unused)]
use pool_sqlx::{Error, SqliteConn, pooled, sqlx};

#[pooled]
async fn list(conn: &mut SqliteConn) -> Result<i64, Error> {
    let unused = 1;
    let mut unchanged = 2;
    let number: i64 = "three";
    let parsed: i64 = "4".parse()?;
    Ok(number + parsed + unchanged + missing)
}

#[pooled]
async fn twice(conn: &mut SqliteConn) -> Result<(), Error> {
    sqlx::query("select 1").execute(conn).await?;
    sqlx::query("select 2").execute(conn).await?;
    Ok(())
}

#[pooled]
async fn without_an_end(_conn: &mut SqliteConn) -> Result<i64, Error> {
    Ok(1);
}

fn main() {}
