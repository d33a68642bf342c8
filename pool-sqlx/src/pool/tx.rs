//! A transaction on a connection on loan.

use crate::{
    Backend, Conn, Error, Pooler, TxOptions,
    backend::Keeper,
    backend::hidden,
    session::{End, Limits, Purpose, Seen, Session},
};
use std::{
    borrow::BorrowMut,
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

/// A transaction, rolled back when dropped without [`commit`](Self::commit).
///
/// From [`Pool::begin`](crate::Pool::begin) it owns its connection and may be moved anywhere; from [`Conn::begin`] and
/// [`Tx::begin`](Self::begin) it borrows it. It dereferences to a [`Session`]: statements run on `&mut tx` or `&mut *tx`, tracked.
///
/// A drop neither waits nor fails, whatever the reason for it (an early return, a panic, a cancelled request): the rollback
/// happens before the connection is lent again, and of a transaction that borrowed it, before the next statement on that connection, which
/// one round trip makes sure of.
///
/// # Cancel safety
///
/// A statement that was dropped in the middle is cancelled before the next one, a commit or a rollback: as on [`Conn`]. The transaction then
/// goes on only if the statement had ended before, or was a stream that was left between two rows, which is read to its end; whether the
/// statement has changed anything is not known.
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
#[doc(alias = "Transaction")]
pub struct Tx<DB: Backend, C: BorrowMut<Session<DB>> = Conn<DB>> {
    pub(crate) conn: C,
    open: bool,
    /// Whether there was a transaction around this one.
    outer: bool,
    /// Whether that one had lost against another before this one began.
    conflict: bool,
    /// The connection's own limits, which come back at the end.
    limits: Limits,
    /// Whether the session is read-only beyond the transaction, until we take that back.
    lingers: bool,
    database: PhantomData<fn() -> DB>,
}

impl<DB: Backend> Session<DB> {
    /// Begins a transaction that borrows the connection; a savepoint, if one is open already.
    ///
    /// # Cancel safety
    ///
    /// Dropped on its way, it leaves what follows on the same loan untouched: before the next statement, one round trip ends
    /// what may have begun, as after a transaction that was dropped. [`raw`](Self::raw) right after it is not covered.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub fn begin(&mut self) -> impl Future<Output = Result<Tx<DB, &mut Self>, Error>> + Send {
        self.begin_with(TxOptions::new())
    }

    /// As [`begin`](Self::begin), with options.
    ///
    /// # Cancel safety
    ///
    /// As [`begin`](Self::begin).
    ///
    /// # Errors
    ///
    /// What the database says.
    pub fn begin_with(&mut self, options: TxOptions) -> impl Future<Output = Result<Tx<DB, &mut Self>, Error>> + Send {
        Tx::on(self, options)
    }
}

impl<DB: Backend> Conn<DB> {
    /// Begins a transaction that borrows the connection. As [`Session::begin`].
    // Beside the one of `Session`, for `sqlx::Acquire` has another, which is not tracked.
    pub fn begin(&mut self) -> impl Future<Output = Result<Tx<DB, &mut Session<DB>>, Error>> + Send {
        Session::begin(self)
    }

    /// Begins a transaction with options. As [`Session::begin_with`].
    pub fn begin_with(
        &mut self,
        options: TxOptions,
    ) -> impl Future<Output = Result<Tx<DB, &mut Session<DB>>, Error>> + Send {
        Session::begin_with(self, options)
    }
}

impl<DB: Backend, C: BorrowMut<Session<DB>> + Send> Tx<DB, C> {
    pub(crate) async fn on(mut conn: C, mut options: TxOptions) -> Result<Self, Error> {
        let limits = conn.borrow_mut().limits;
        // Dropped on its way it is not open, and restores the limits all the same.
        let (open, outer, conflict, lingers) = (false, false, false, false);
        let mut tx = Self { conn, open, outer, conflict, limits, lingers, database: PhantomData };
        let session = tx.conn.borrow_mut();
        session.settle(Purpose::Any).await?;
        if session.settings.pooler != Pooler::Direct {
            // The server is told with each transaction: of the loan's own limit, too.
            options.statement_timeout = options.statement_timeout.or(session.limits.statement_timeout);
            session.limits.kept_by = Keeper::Server;
        }
        let statement = session.begin_statement(options);
        if let Some(asked) = options.statement_timeout {
            match DB::LIMITS_TRANSACTIONS {
                true => (session.limits.statement_timeout, session.limits.kept_by) = (Some(asked), Keeper::Server),
                false => session.limit(asked, Seen::All).await?,
            }
        }
        let read_only = options.read_only && DB::READ_ONLY_LINGERS;
        if read_only {
            session.track.changes_setting();
        }
        tx.lingers = read_only || session.limits.told != limits.told;
        // Set before the server knows, for who drops this in the middle.
        tx.outer = session.track.begins();
        tx.conflict = session.track.is_conflict();
        let word = if tx.outer { "SAVEPOINT" } else { "BEGIN" };
        session.transact(word, |raw| hidden::begin::<DB>(raw, statement)).await?;
        session.track.begun();
        tx.open = true;
        Ok(tx)
    }

    /// Makes the changes permanent.
    ///
    /// # Cancel safety
    ///
    /// Dropped in the middle, the outcome is unknown: the server may have committed or not.
    ///
    /// # Errors
    ///
    /// What the database says. After [`ErrorKind::CommitUnknown`](crate::ErrorKind::CommitUnknown) the changes may have been made or
    /// not; after any other error they were not. An error it is, too, when a statement of the transaction had failed and its error was
    /// not passed on: PostgreSQL rolls back then, and calls that a success. And when the transaction is over already: a statement ran out
    /// of time or ended it, as a deadlock does with MySQL and a full disk with SQLite (nothing after it was sent), or somebody ended it
    /// by hand, past us (what he sent after that was made by itself).
    pub async fn commit(mut self) -> Result<(), Error> {
        let session = self.session();
        session.settle(Purpose::Any).await?;
        match session.track.commit(hidden::depth::<DB>(&session.raw)) {
            End::Send => {}
            End::Look { conflict } => {
                if !session.ask(|raw| DB::is_committable(raw, conflict)).await? {
                    self.rollback().await?;
                    return Err(Error::rolled_back(conflict));
                }
            }
            End::Over { conflict } => return Err(Error::over(conflict)),
            End::Gone => return Err(Error::transaction_gone()),
        }
        let word = if self.outer { "RELEASE SAVEPOINT" } else { "COMMIT" };
        self.session().transact(word, hidden::commit::<DB>).await.map_err(Error::of_commit)?;
        self.closed().await
    }

    /// Takes the changes back, and says when that is done. Dropping does the same in the background.
    ///
    /// # Cancel safety
    ///
    /// Dropped in the middle, the changes are taken back all the same.
    ///
    /// # Errors
    ///
    /// What the database says; the changes are not made, but for one case, which is an error, too: somebody has ended the transaction by hand,
    /// past us. If he has committed, that stands, and so does what was sent after it.
    pub async fn rollback(mut self) -> Result<(), Error> {
        let session = self.session();
        session.settle(Purpose::Rollback).await?;
        match session.track.rollback(hidden::depth::<DB>(&session.raw)) {
            End::Send => {}
            End::Look { conflict } => {
                session.ask(|raw| DB::is_committable(raw, conflict)).await?;
            }
            // The drop sees to it.
            End::Over { .. } => return Ok(()),
            End::Gone => return Err(Error::transaction_gone()),
        }
        let word = if self.outer { "ROLLBACK TO SAVEPOINT" } else { "ROLLBACK" };
        self.session().transact(word, hidden::rollback::<DB>).await?;
        self.forgive();
        self.closed().await
    }

    /// Rolls back for somebody who has an error of his own to tell, and says whether the transaction lost against another one.
    ///
    /// An error: it did, and was over before. Another attempt would do again what has been made for good.
    pub(crate) async fn give_up(mut self) -> Result<bool, Error> {
        let lost = self.session().track.is_conflict();
        match self.rollback().await {
            Err(error) if lost && error.is_transaction_gone() => Err(error),
            // What a failed rollback leaves is cleaned before the next loan.
            _ => Ok(lost),
        }
    }

    /// Begins a transaction inside this one: a savepoint. As [`Session::begin`].
    ///
    /// # Cancel safety
    ///
    /// Dropped on its way, this one is rolled back: it takes no more statements, and its commit fails.
    ///
    /// # Errors
    ///
    /// What the database says.
    // Beside the one of `Session`: a trait of sqlx's, where it is in scope, has another, which is not tracked.
    pub fn begin(&mut self) -> impl Future<Output = Result<Tx<DB, &mut Session<DB>>, Error>> + Send {
        self.session().begin()
    }

    fn session(&mut self) -> &mut Session<DB> {
        self.conn.borrow_mut()
    }

    async fn closed(mut self) -> Result<(), Error> {
        self.open = false;
        let (limits, lingers) = (self.limits, self.lingers);
        let session = self.session();
        session.track.ended();
        session.limits = limits;
        if lingers {
            session.undo().await;
        }
        Ok(())
    }
}

impl<DB: Backend, C: BorrowMut<Session<DB>>> Tx<DB, C> {
    /// A conflict that was lost since the savepoint is not the outer transaction's, once that is rolled back to.
    fn forgive(&mut self) {
        if self.outer && DB::FORGIVES_CONFLICTS {
            let conflict = self.conflict;
            self.conn.borrow_mut().track.forgives(conflict);
        }
    }
}

impl<DB: Backend, C: BorrowMut<Session<DB>>> Drop for Tx<DB, C> {
    fn drop(&mut self) {
        if self.open {
            self.forgive();
        }
        let session = self.conn.borrow_mut();
        session.limits = self.limits;
        if self.open {
            session.track.abandoned();
            hidden::start_rollback::<DB>(&mut session.raw);
        }
    }
}

impl<DB: Backend, C: BorrowMut<Session<DB>>> Deref for Tx<DB, C> {
    type Target = Session<DB>;

    fn deref(&self) -> &Session<DB> {
        self.conn.borrow()
    }
}

impl<DB: Backend, C: BorrowMut<Session<DB>>> DerefMut for Tx<DB, C> {
    fn deref_mut(&mut self) -> &mut Session<DB> {
        self.conn.borrow_mut()
    }
}

impl<DB: Backend, C: BorrowMut<Session<DB>>> fmt::Debug for Tx<DB, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tx({:?})", self.conn.borrow())
    }
}
