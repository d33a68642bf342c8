//! What a `#[pooled]` function may take.

use super::call::Call;
use crate::{
    Backend, Conn, Error, Session, Tx,
    session::{Seen, allow_raw},
};
use std::future::{Future, ready};

/// A type whose `&mut` a `#[pooled]` function may take.
#[diagnostic::on_unimplemented(
    message = "`#[pooled]` cannot lend a `{Self}`",
    label = "not a connection of a pool",
    note = "take `&mut PgConn`, `&mut PgTx`, `&mut PgSession`, `&mut SqliteConn`, `&mut SqliteTx` (or MySql..), or sqlx's own `&mut PgConnection`, `&mut SqliteConnection`",
    note = "the database has to be a feature of pool-sqlx: `postgres`, `mysql`, `sqlite`"
)]
pub trait Lend: Sized + Send {
    type Database: Backend;
    /// What holds the connection meanwhile.
    type Holder: Send;

    fn hold(
        conn: Conn<Self::Database>,
        call: &'static Call,
    ) -> impl Future<Output = Result<Self::Holder, Error>> + Send;
    fn lend(holder: &mut Self::Holder) -> &mut Self;
    /// Releases. A transaction commits first if the flag says success, else it rolls back.
    fn finish(_: Self::Holder, _: bool) -> impl Future<Output = Result<(), Error>> + Send {
        ready(Ok(()))
    }
}

impl<DB: Backend> Lend for Conn<DB> {
    type Database = DB;
    type Holder = Self;

    async fn hold(mut conn: Self, call: &'static Call) -> Result<Self, Error> {
        limit_statements(&mut conn, call, Seen::All).await?;
        Ok(conn)
    }

    fn lend(holder: &mut Self) -> &mut Self {
        holder
    }
}

impl<DB: Backend> Lend for Tx<DB> {
    type Database = DB;
    type Holder = Self;

    async fn hold(conn: Conn<DB>, call: &'static Call) -> Result<Self, Error> {
        Self::on(conn, call.begin).await
    }

    fn lend(holder: &mut Self) -> &mut Self {
        holder
    }

    async fn finish(tx: Self, success: bool) -> Result<(), Error> {
        match success {
            true => tx.commit().await,
            // The function's own error is the answer, unless it invites another attempt and must not.
            false => tx.give_up().await.map(drop),
        }
    }
}

impl<DB: Backend> Lend for Session<DB> {
    type Database = DB;
    type Holder = Conn<DB>;

    async fn hold(conn: Conn<DB>, call: &'static Call) -> Result<Conn<DB>, Error> {
        <Conn<DB> as Lend>::hold(conn, call).await
    }

    fn lend(holder: &mut Conn<DB>) -> &mut Self {
        holder
    }
}

macro_rules! lend_of_sqlx {
    ($conn:ty, $db:ty) => {
        impl Lend for $conn {
            type Database = $db;
            type Holder = Conn<$db>;

            async fn hold(mut conn: Conn<$db>, call: &'static Call) -> Result<Conn<$db>, Error> {
                allow_raw(&conn.settings)?;
                limit_statements(&mut conn, call, Seen::Some).await?;
                Ok(conn)
            }

            fn lend(holder: &mut Conn<$db>) -> &mut Self {
                holder.raw()
            }
        }
    };
}

#[cfg(feature = "postgres")]
lend_of_sqlx!(sqlx::PgConnection, sqlx::Postgres);
#[cfg(feature = "mysql")]
lend_of_sqlx!(sqlx::MySqlConnection, sqlx::MySql);
#[cfg(feature = "sqlite")]
lend_of_sqlx!(sqlx::SqliteConnection, sqlx::Sqlite);

async fn limit_statements<DB: Backend>(conn: &mut Conn<DB>, call: &'static Call, seen: Seen) -> Result<(), Error> {
    match call.begin.statement_timeout {
        // Boxed for the size of the futures of those who have no limit of their own.
        Some(limit) => Box::pin(conn.limit_statements(limit, seen)).await,
        None => Ok(()),
    }
}

/// What `read_only`, `isolation` and `retry` ask for, where the type's name does not tell.
#[diagnostic::on_unimplemented(
    message = "`read_only`, `isolation` and `retry` are about a transaction, and `{Self}` is not one",
    note = "take `&mut PgTx` or `&mut SqliteTx`"
)]
pub trait Transaction {}

impl<DB: Backend> Transaction for Tx<DB> {}

pub const fn transaction<T: Transaction>() {}
