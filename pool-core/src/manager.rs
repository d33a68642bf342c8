//! What the pool asks of a kind of connection.

use std::future::Future;

/// Opens, tests, cleans and closes one kind of connection.
///
/// The pool decides when each method runs and bounds how long it may take; a manager keeps no time and no count.
/// Every asynchronous method runs in a task of the pool, never inside a caller's future, so a caller that gives up cannot
/// cut it short. A method that panics costs its connection and nothing else: the slot comes back.
///
/// # Example
///
/// ```
/// use pool_core::{Condition, ErrorClass, Manager};
/// use std::{convert::Infallible, future::Future};
///
/// /// Lends the number of the connection.
/// struct Numbers(std::sync::atomic::AtomicU32);
///
/// impl Manager for Numbers {
///     type Conn = u32;
///     type Error = std::io::Error;
///     async fn connect(&self) -> Result<u32, std::io::Error> {
///         Ok(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
///     }
///     async fn ping(&self, _: &mut u32) -> Result<(), std::io::Error> { Ok(()) }
///     async fn reset(&self, _: &mut u32) -> Result<(), std::io::Error> { Ok(()) }
///     async fn close(&self, _: u32) {}
///     fn condition(&self, _: &mut u32) -> Condition { Condition::Clean }
///     fn classify(&self, _: &std::io::Error) -> ErrorClass { ErrorClass::Transient }
/// }
/// ```
pub trait Manager: Send + Sync + 'static {
    /// The connection that callers borrow.
    type Conn: Send + 'static;
    /// What can go wrong with it.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Makes one attempt to open a connection.
    ///
    /// Limits and retries are the pool's: an attempt that outlasts `connection_timeout`, or the pool, is dropped.
    fn connect(&self) -> impl Future<Output = Result<Self::Conn, Self::Error>> + Send;

    /// Tests a connection before it is lent, within `ping_timeout`.
    fn ping(&self, conn: &mut Self::Conn) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Makes a returned connection as good as new: drain, cancel, roll back. Runs within `reset_timeout`.
    ///
    /// An error closes the connection.
    fn reset(&self, conn: &mut Self::Conn) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Says goodbye to the server. Runs within `reset_timeout`; the slot stays taken until it has ended.
    fn close(&self, conn: Self::Conn) -> impl Future<Output = ()> + Send;

    /// Judges a connection that comes home. Called by the guard's `Drop`: no I/O, no waiting.
    fn condition(&self, conn: &mut Self::Conn) -> Condition;

    /// Says what an error of `connect`, `ping` or `reset` means for the pool.
    fn classify(&self, error: &Self::Error) -> ErrorClass;
}

/// What state a connection comes home in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Nothing to undo: it can be lent again at once, with no round trip.
    Clean,
    /// Something may be left over (a transaction, an unread answer): [`Manager::reset`] runs first.
    Dirty,
    /// The server is gone as far as this connection knows: it is closed, and all older ones with it.
    Broken,
}

/// What an error means for the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Waiting can help (refused, starting up, too many connections): retried with back-off inside the caller's budget.
    Transient,
    /// Waiting cannot help (wrong password, unknown database): given at once to every caller that waits.
    ///
    /// The next caller gets an attempt of its own. If that fails too, the error is the answer to every caller that needs a connect for 1 s,
    /// doubling to 30 s with each further failure.
    Permanent,
    /// The connection is gone. From `connect` it is retried like [`Transient`](Self::Transient); from `ping` or `reset` all older
    /// connections are retired.
    Lost,
    /// None of these. From `connect` it is treated like [`Permanent`](Self::Permanent), but says when another try may help; otherwise it
    /// concerns this connection alone.
    Other,
}

impl ErrorClass {
    /// Whether waiting cannot cure a connect that failed like this.
    pub(crate) fn is_hopeless(self) -> bool {
        !matches!(self, Self::Transient | Self::Lost)
    }
}
