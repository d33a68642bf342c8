//! sqlx's `Executor` for pools, connections and transactions.

use crate::{
    Conn, Main, Pool, Session, Tx,
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
            let mut rows = conn.run_many(query);
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
        Box::pin(async move { pool.acquire_at(STATEMENT, None).await?.run_optional(query).await })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [DB::TypeInfo]) -> Answer<'e, DB::Statement>
    where
        'p: 'e,
    {
        let pool = self.clone().keyed::<Main>();
        Box::pin(async move { pool.acquire_at(STATEMENT, None).await?.run_prepare(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> Answer<'e, sqlx::Describe<DB>>
    where
        'p: 'e,
    {
        let pool = self.clone().keyed::<Main>();
        Box::pin(async move { pool.acquire_at(STATEMENT, None).await?.run_describe(sql).await })
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
                self.run_many(Prepared::new(query))
            }

            fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> Answer<'e, Option<<$db as Database>::Row>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $db>,
            {
                self.run_optional(Prepared::new(query))
            }

            fn prepare_with<'e>(
                self,
                sql: SqlStr,
                parameters: &'e [<$db as Database>::TypeInfo],
            ) -> Answer<'e, <$db as Database>::Statement>
            where
                'c: 'e,
            {
                self.run_prepare(sql, parameters)
            }

            fn describe<'e>(self, sql: SqlStr) -> Answer<'e, sqlx::Describe<$db>>
            where
                'c: 'e,
            {
                self.run_describe(sql)
            }
        }
    };
}

/// `&mut conn` and `&mut *conn`, for an owned guard and for one that a handler has borrowed.
macro_rules! tracked_executors {
    ($db:ty) => {
        tracked_executor!($db, [], Session<$db>);
        tracked_executor!($db, [], Conn<$db>);
        tracked_executor!($db, [C: BorrowMut<Session<$db>> + Send], Tx<$db, C>);
        tracked_executor!($db, ['s: 'c], &'s mut Session<$db>);
        tracked_executor!($db, ['s: 'c], &'s mut Conn<$db>);
        tracked_executor!($db, ['s: 'c, C: BorrowMut<Session<$db>> + Send], &'s mut Tx<$db, C>);
    };
}

#[cfg(feature = "postgres")]
tracked_executors!(sqlx::Postgres);
#[cfg(feature = "mysql")]
tracked_executors!(sqlx::MySql);
#[cfg(feature = "sqlite")]
tracked_executors!(sqlx::Sqlite);
