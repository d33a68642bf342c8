//! sqlx's `Acquire` for connections and transactions.

use crate::{Backend, Conn, Session, Tx};
use futures_core::future::BoxFuture;
use std::borrow::BorrowMut;

/// For functions that take `impl sqlx::Acquire`. They run their statements on sqlx's own connection: as [`Session::raw`].
macro_rules! acquire_of_sqlx {
    ([$($generics:tt)*], $guard:ty) => {
        impl<'c, DB: Backend, $($generics)*> sqlx::Acquire<'c> for &'c mut $guard {
            type Database = DB;
            type Connection = &'c mut DB::Connection;

            #[track_caller]
            fn acquire(self) -> BoxFuture<'c, Result<Self::Connection, sqlx::Error>> {
                Box::pin(std::future::ready(self.try_raw().map_err(sqlx::Error::from)))
            }

            #[track_caller]
            fn begin(self) -> BoxFuture<'c, Result<sqlx::Transaction<'c, DB>, sqlx::Error>> {
                match self.try_raw() {
                    Ok(raw) => Box::pin(sqlx::Connection::begin(raw)),
                    Err(error) => Box::pin(std::future::ready(Err(error.into()))),
                }
            }
        }
    };
}

acquire_of_sqlx!([], Session<DB>);
acquire_of_sqlx!([], Conn<DB>);
acquire_of_sqlx!([C: BorrowMut<Session<DB>> + Send], Tx<DB, C>);
