//! sqlx's `Executor` for pools, connections and transactions.

use crate::{
    Conn, Main, Pool, Tx,
    backend::{Answer, Backend, Prepared, Rows},
};
use pool_core::Site;
use sqlx::{Database, Execute, Executor, SqlStr};
use std::{borrow::BorrowMut, future::poll_fn};

/// Each statement acquires a connection of its own and gives it back when its last row has been read.
// The futures hold the pool under another key: nobody promises how long a key lives.
impl<'p, DB: Backend, Key> Executor<'p> for &'_ Pool<DB, Key> {
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Rows<'e, DB>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let (pool, query) = (self.clone().keyed::<Main>(), Prepared::new(query));
        Box::pin(async_stream::stream! {
            let mut conn = match pool.acquire_at(STATEMENT, None).await {
                Ok(conn) => conn,
                Err(error) => {
                    yield Err(error.into());
                    return;
                }
            };
            let mut rows = conn.link().fetch_many(query);
            while let Some(row) = poll_fn(|cx| rows.as_mut().poll_next(cx)).await {
                yield row;
            }
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> Answer<'e, Option<DB::Row>>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let (pool, query) = (self.clone().keyed::<Main>(), Prepared::new(query));
        Box::pin(async move { pool.acquire_at(STATEMENT, None).await?.link().fetch_optional(query).await })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [DB::TypeInfo]) -> Answer<'e, DB::Statement>
    where
        'p: 'e,
    {
        let pool = self.clone().keyed::<Main>();
        Box::pin(async move { pool.acquire_at(STATEMENT, None).await?.link().prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> Answer<'e, sqlx::Describe<DB>>
    where
        'p: 'e,
    {
        let pool = self.clone().keyed::<Main>();
        Box::pin(async move { pool.acquire_at(STATEMENT, None).await?.link().describe(sql).await })
    }
}

/// Who holds a connection for a statement on the pool itself. sqlx calls us, so the user's line is not to be had.
const STATEMENT: Site = Site::nowhere("a statement on the pool");

/// One impl for each database: a generic one sends the compiler round in circles (E0275) where a database is inferred.
macro_rules! tracked_executor {
    ($db:ty, [$($generics:tt)*], $conn:ty) => {
        impl<'c, $($generics)*> Executor<'c> for &'c mut $conn {
            type Database = $db;

            fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Rows<'e, $db>
            where
                'c: 'e,
                E: 'q + Execute<'q, $db>,
            {
                self.link().fetch_many(Prepared::new(query))
            }

            fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> Answer<'e, Option<<$db as Database>::Row>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $db>,
            {
                self.link().fetch_optional(Prepared::new(query))
            }

            fn prepare_with<'e>(
                self,
                sql: SqlStr,
                parameters: &'e [<$db as Database>::TypeInfo],
            ) -> Answer<'e, <$db as Database>::Statement>
            where
                'c: 'e,
            {
                self.link().prepare_with(sql, parameters)
            }

            fn describe<'e>(self, sql: SqlStr) -> Answer<'e, sqlx::Describe<$db>>
            where
                'c: 'e,
            {
                self.link().describe(sql)
            }
        }
    };
}

#[cfg(feature = "postgres")]
tracked_executor!(sqlx::Postgres, [], Conn<sqlx::Postgres>);
#[cfg(feature = "postgres")]
tracked_executor!(sqlx::Postgres, [C: BorrowMut<Conn<sqlx::Postgres>> + Send], Tx<sqlx::Postgres, C>);
#[cfg(feature = "mysql")]
tracked_executor!(sqlx::MySql, [], Conn<sqlx::MySql>);
#[cfg(feature = "mysql")]
tracked_executor!(sqlx::MySql, [C: BorrowMut<Conn<sqlx::MySql>> + Send], Tx<sqlx::MySql, C>);
#[cfg(feature = "sqlite")]
tracked_executor!(sqlx::Sqlite, [], Conn<sqlx::Sqlite>);
#[cfg(feature = "sqlite")]
tracked_executor!(sqlx::Sqlite, [C: BorrowMut<Conn<sqlx::Sqlite>> + Send], Tx<sqlx::Sqlite, C>);
