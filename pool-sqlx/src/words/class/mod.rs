//! What an error means. Each database has a table of its codes in a file of its own.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use sqlx::error::DatabaseError;

/// What an error means for its connection, for the pool and for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The connection is gone.
    Lost,
    /// The server has no room for another connection.
    Overloaded,
    /// The server is there but not ready.
    StartingUp,
    /// The server refuses the login, now and later: password, database name, TLS, settings.
    Denied,
    /// The server's own time limit.
    StatementTimeout,
    /// Waited too long for a lock.
    LockTimeout,
    /// Lost against another transaction.
    Conflict,
    /// Cancelled from another session.
    Cancelled,
    /// The statement failed; the connection is as good as before.
    Query,
    /// Client and server no longer understand each other: this connection is of no use.
    Protocol,
    /// None of these.
    Other,
}

impl Class {
    /// Classes an error of a database by the table of its driver.
    pub(crate) fn of_database(error: &dyn DatabaseError) -> Self {
        #[cfg(feature = "postgres")]
        if let Some(error) = error.try_downcast_ref() {
            return postgres::classify(error);
        }
        #[cfg(feature = "mysql")]
        if let Some(error) = error.try_downcast_ref() {
            return mysql::classify(error);
        }
        #[cfg(feature = "sqlite")]
        if let Some(error) = error.try_downcast_ref() {
            return sqlite::classify(error);
        }
        let _ = error;
        Self::Query
    }
}
