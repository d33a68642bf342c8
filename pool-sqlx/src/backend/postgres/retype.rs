//! The second try of a statement without a name, which the server loses while sqlx looks its types up.

use crate::{
    backend::{Again, Prepared, Rows},
    words::class::postgres::is_unnamed_lost,
};
use futures_util::StreamExt;
use sqlx::{Executor, PgConnection, Postgres, postgres::PgDatabaseError};

pub(super) fn fetch_many<'e>(conn: &'e mut PgConnection, mut query: Prepared<Postgres>) -> Rows<'e, Postgres> {
    let Some((again, copy)) = query.again() else { return Executor::fetch_many(conn, query) };
    Box::pin(async_stream::try_stream! {
        again.savepoint(conn, "SAVEPOINT pool_types").await?;
        let mut copy = Some(copy);
        let mut next = Some(query);
        while let Some(query) = next.take() {
            let mut rows = Executor::fetch_many(&mut *conn, query);
            while let Some(row) = rows.next().await {
                match row {
                    Err(error) if is_forgotten(&error) && copy.is_some() => {
                        next = copy.take();
                        break;
                    }
                    row => yield row?,
                }
            }
            drop(rows);
            if next.is_some() {
                again.restart(conn).await?;
            }
        }
        again.savepoint(conn, "RELEASE SAVEPOINT pool_types").await?;
    })
}

impl Again {
    /// Runs this where a savepoint is what the statement goes back to.
    async fn savepoint(&self, conn: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Savepoint => conn.execute(sql).await.map(drop),
            Self::Anew(_) | Self::Never => Ok(()),
        }
    }

    async fn restart(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        match self {
            Self::Anew(begin) => conn.execute(sqlx::raw_sql(begin.clone())).await.map(drop),
            _ => self.savepoint(conn, "ROLLBACK TO SAVEPOINT pool_types").await,
        }
    }
}

/// Whether the server has lost a statement without a name before it ran: sqlx has looked types up meanwhile, and knows them now.
fn is_forgotten(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    error.is_some_and(|error| is_unnamed_lost(error.code(), error.routine()))
}
