//! What an error means.

/// What an error means for the connection it happened on, for the pool, and for who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The connection is gone.
    Lost,
    /// The server has no room for another connection.
    Overloaded,
    /// The server is there but not ready.
    StartingUp,
    /// The server will not have us, now or later: password, database name, TLS, settings.
    Denied,
    /// The server's own time limit.
    StatementTimeout,
    /// Waited too long for a lock.
    LockTimeout,
    /// Lost against another transaction.
    Conflict,
    /// Cancelled by somebody.
    Cancelled,
    /// The statement failed, the connection is as good as before.
    Query,
    /// Client and server no longer understand each other: this connection is of no use.
    Protocol,
    /// None of these.
    Other,
}
