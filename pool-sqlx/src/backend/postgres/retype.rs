//! The second try of a statement without a name, which the server loses while sqlx looks its types up.

use crate::{
    backend::{Again, Answer, Prepared, Rows},
    words::class::postgres::is_unnamed_lost,
};
use futures_util::StreamExt;
use sqlx::{
    Executor, PgConnection, Postgres,
    postgres::{PgDatabaseError, PgRow},
};

pub(super) fn fetch_many<'e>(conn: &'e mut PgConnection, mut query: Prepared<Postgres>) -> Rows<'e, Postgres> {
    let Some((again, copy)) = query.again() else { return Executor::fetch_many(conn, query) };
    Box::pin(async_stream::stream! {
        if let Err(error) = again.prepare(conn).await {
            yield Err(error);
            return;
        }
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
                    Err(error) => {
                        yield Err(error);
                        return;
                    }
                    Ok(row) => yield Ok(row),
                }
            }
            drop(rows);
            if next.is_some()
                && let Err(error) = again.restart(conn).await
            {
                yield Err(error);
                return;
            }
        }
        if let Err(error) = again.finish(conn).await {
            yield Err(error);
        }
    })
}

pub(super) fn fetch_optional<'e>(
    conn: &'e mut PgConnection,
    mut query: Prepared<Postgres>,
) -> Answer<'e, Option<PgRow>> {
    let Some((again, copy)) = query.again() else { return Executor::fetch_optional(conn, query) };
    Box::pin(async move {
        again.prepare(conn).await?;
        let row = match Executor::fetch_optional(&mut *conn, query).await {
            Err(error) if is_forgotten(&error) => {
                again.restart(conn).await?;
                Executor::fetch_optional(&mut *conn, copy).await?
            }
            row => row?,
        };
        again.finish(conn).await?;
        Ok(row)
    })
}

impl Again {
    async fn prepare(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        match self {
            Self::Savepoint => conn.execute("SAVEPOINT pool_types").await.map(drop),
            Self::Anew(_) | Self::Never => Ok(()),
        }
    }

    async fn restart(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        match self {
            Self::Savepoint => conn.execute("ROLLBACK TO SAVEPOINT pool_types").await.map(drop),
            Self::Anew(begin) => conn.execute(sqlx::raw_sql(begin.clone())).await.map(drop),
            Self::Never => Ok(()),
        }
    }

    async fn finish(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        match self {
            Self::Savepoint => conn.execute("RELEASE SAVEPOINT pool_types").await.map(drop),
            Self::Anew(_) | Self::Never => Ok(()),
        }
    }
}

/// Whether the server has lost a statement without a name before it ran: sqlx has looked types up meanwhile, and knows them now.
fn is_forgotten(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    error.is_some_and(|error| is_unnamed_lost(error.code(), error.routine()))
}
