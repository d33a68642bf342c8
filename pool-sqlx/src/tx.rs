//! A transaction on a connection on loan.

use crate::{Backend, Conn, Error, backend::hidden};
use std::{
    borrow::BorrowMut,
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    time::Duration,
};

/// A transaction, rolled back when dropped without [`commit`](Self::commit).
///
/// From [`Pool::begin`](crate::Pool::begin) it owns its connection and may be moved anywhere; from [`Conn::begin`] and
/// [`Tx::begin_nested`](Self::begin_nested) it borrows it. Statements run on `&mut tx`, watched as on [`Conn`].
///
/// A drop neither waits nor fails, whatever the reason for it (an early return, a panic, a cancelled request): the rollback
/// happens before the connection is lent again.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "sqlite")] mod example {
/// use pool_sqlx::{Error, SqlitePool};
///
/// async fn like(pool: &SqlitePool, track: i64) -> Result<(), Error> {
///     let mut tx = pool.begin().await?;
///     sqlx::query("insert into likes (track) values (?)").bind(track).execute(&mut tx).await?;
///     sqlx::query("update tracks set likes = likes + 1 where id = ?").bind(track).execute(&mut tx).await?;
///     tx.commit().await
/// }
/// # }
/// ```
pub struct Tx<DB: Backend, C: BorrowMut<Conn<DB>> = Conn<DB>> {
    conn: C,
    open: bool,
    /// Whether there was a transaction around this one.
    outer: bool,
    database: PhantomData<fn() -> DB>,
}

/// What a transaction sees of others that run beside it.
///
/// SQLite has one writer at a time and is always serializable: there every level is, at the least, what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isolation {
    /// Each statement sees what was committed before it began. PostgreSQL's default.
    ReadCommitted,
    /// All statements see what was committed before the first one began.
    RepeatableRead,
    /// As if transactions ran one after the other. One that cannot be fitted in fails with [`ErrorKind::Conflict`](crate::ErrorKind::Conflict).
    Serializable,
}

/// How a transaction begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begin {
    pub(crate) isolation: Option<Isolation>,
    pub(crate) read_only: bool,
    /// Instead of the pool's, in this transaction.
    pub(crate) statement_timeout: Option<Duration>,
}

impl<DB: Backend, C: BorrowMut<Conn<DB>> + Send> Tx<DB, C> {
    pub(crate) async fn begin(conn: C) -> Result<Self, Error> {
        Self::begin_as(conn, Begin::default()).await
    }

    pub(crate) async fn begin_as(mut conn: C, begin: Begin) -> Result<Self, Error> {
        let statement = conn.borrow().manager().begin_statement(begin);
        let link = conn.borrow_mut().link();
        // Set before the server knows: a `begin` that is dropped in the middle leaves the connection to be cleaned.
        let outer = link.track.begins();
        if let Some(limit) = begin.statement_timeout {
            link.limits.statement_timeout = Some(limit);
        }
        if begin.read_only && DB::READ_ONLY_LINGERS {
            link.track.changed();
        }
        link.control(|raw| hidden::begin::<DB>(raw, statement)).await?;
        Ok(Self { conn, open: true, outer, database: PhantomData })
    }

    /// Makes the changes permanent.
    ///
    /// # Cancel safety
    ///
    /// Dropped in the middle, the outcome is unknown: the server may have committed or not.
    ///
    /// # Errors
    ///
    /// What the database says. After [`ErrorKind::Lost`](crate::ErrorKind::Lost) and
    /// [`ErrorKind::StatementTimeout`](crate::ErrorKind::StatementTimeout) the outcome is unknown; otherwise nothing has changed.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.link().control(hidden::commit::<DB>).await?;
        self.closed();
        Ok(())
    }

    /// Takes the changes back, and says when that is done. Dropping does the same in the background.
    ///
    /// # Errors
    ///
    /// What the database says; the changes are not made in any case.
    pub async fn rollback(mut self) -> Result<(), Error> {
        self.link().control(hidden::rollback::<DB>).await?;
        self.closed();
        Ok(())
    }

    /// Begins a transaction inside this one: a savepoint.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub fn begin_nested(&mut self) -> impl Future<Output = Result<Tx<DB, &mut Conn<DB>>, Error>> + Send {
        Tx::begin(self.conn.borrow_mut())
    }

    /// sqlx's own connection, for what needs it.
    ///
    /// From here on the connection's state is unknown, which costs one round trip when it goes back.
    pub fn raw(&mut self) -> &mut DB::Connection {
        self.conn.borrow_mut().raw()
    }

    pub(crate) fn link(&mut self) -> &mut crate::manager::Link<DB> {
        self.conn.borrow_mut().link()
    }

    fn closed(&mut self) {
        self.open = false;
        let outer = self.outer;
        self.link().track.ended(outer);
    }
}

impl<DB: Backend, C: BorrowMut<Conn<DB>>> Drop for Tx<DB, C> {
    fn drop(&mut self) {
        if self.open {
            hidden::start_rollback::<DB>(&mut self.conn.borrow_mut().link().raw);
        }
    }
}

impl<DB: Backend, C: BorrowMut<Conn<DB>>> Deref for Tx<DB, C> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        self.conn.borrow().seen()
    }
}

/// As [`Tx::raw`].
impl<DB: Backend, C: BorrowMut<Conn<DB>>> DerefMut for Tx<DB, C> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        self.conn.borrow_mut().raw()
    }
}

impl<DB: Backend, C: BorrowMut<Conn<DB>>> fmt::Debug for Tx<DB, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tx({:?})", self.conn.borrow())
    }
}
