//! One connection on loan.

mod cancel;
mod clock;
mod counters;
mod familiar;
mod notices;
mod recorders;
mod recover;
mod span;
mod statement;
mod track;
#[cfg(test)]
mod walk;
mod wrap;

pub(crate) use cancel::Control;
pub(crate) use clock::Limits;
#[cfg(test)]
pub(crate) use counters::KEPT;
pub use counters::Refusal;
pub(crate) use counters::{Past, Tally};
pub(crate) use familiar::Familiar;
#[cfg_attr(not(any(feature = "otel-0-33", feature = "otel-0-32")), allow(unused_imports))]
pub(crate) use recorders::{Ended, Record};
use span::Watch;
pub(crate) use track::{End, Purpose, Return, Rules, Track};

use crate::{DatabaseSettings, Error, Pooler, Reset, backend::Backend, words::TxOptions};
use pool_core::Site;
use sqlx::SqlStr;
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

/// A database session whose statements are tracked: what [`Conn`](crate::Conn) and [`Tx`](crate::Tx) dereference to.
///
/// Write helpers for `&mut PgSession` (or `SqliteSession`, `MySqlSession`): they take `&mut conn` and `&mut tx` alike. Statements run on
/// `&mut *session`, as they do on sqlx's connection.
///
/// The pool follows each tracked statement, so the connection goes back without a round trip. A tracked statement that runs into
/// `statement_timeout`, or whose server stops answering, ends with an error of the pool inside sqlx's: `Error::from(error).kind()` is
/// [`ErrorKind::StatementTimeout`](crate::ErrorKind::StatementTimeout). Only the time spent waiting for the server counts, not that of a slow
/// reader of a stream. (PostgreSQL's own limit counts both.)
///
/// A session dereferences to sqlx's own connection, too. So helpers written for `&mut PgConnection` compile, but what they do is not tracked:
/// see [`raw`](Self::raw) for what that costs.
///
/// # Cancel safety
///
/// A statement that is dropped before its end is cancelled before the next statement on the session, within `reset_timeout`. On MySQL and
/// MariaDB the connection cannot go on: the session refuses every further statement at once. [`raw`](Self::raw) after a dropped statement is
/// not covered.
pub struct Session<DB: Backend> {
    pub(crate) raw: DB::Connection,
    pub(crate) state: DB::State,
    pub(crate) track: Track,
    pub(crate) familiar: Familiar,
    /// Cancels abandoned statements.
    pub(crate) control: Arc<Control<DB>>,
    pub(crate) limits: Limits,
    pub(crate) settings: Arc<DatabaseSettings>,
    pub(crate) tally: Arc<Tally>,
}

/// Which of the statements of a loan go through us.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    All,
    Some,
}

impl<DB: Backend> Session<DB> {
    /// sqlx's own connection, for what needs it: `COPY`, or helpers written for sqlx.
    ///
    /// Statements on it are not tracked. When the connection goes back, the pool makes sure that no transaction and no answer was left
    /// behind: two round trips on PostgreSQL, one statement on SQLite; on MySQL and MariaDB the connection is closed. On PostgreSQL, one
    /// round trip precedes the next tracked statement: a `COPY` that was dropped half-way shifts the answers, and that statement then fails.
    ///
    /// The pool counts each use ([`Watched::untracked`](crate::Watched::untracked)), and its advice names the line.
    ///
    /// Only the server enforces `statement_timeout` here, so on SQLite it does not hold, and the client waits for a server that has stopped
    /// answering. With `pooler = "prepared"` the server knows the limit only in a transaction that [`begin`](Self::begin) began.
    ///
    /// Behind a pooler nothing is refused here: a `SET`, a `LISTEN` or an advisory lock of the session stays on the server connection that
    /// ran it, and the pooler's next client gets it. Use `SET LOCAL` and `pg_advisory_xact_lock` in a transaction. `.persistent(false)` may
    /// return wrong rows behind a pooler: a statement without a name is prepared in one round trip and run in the next, perhaps by another
    /// server.
    ///
    /// # Panics
    ///
    /// With `pooler = "unprepared"`: sqlx would prepare a statement in one round trip and run it in the next, and the pooler may send
    /// the second to another server, which answers with the rows of another client's statement. Run statements on the session.
    #[track_caller]
    pub fn raw(&mut self) -> &mut DB::Connection {
        match self.try_raw() {
            Ok(raw) => raw,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`raw`](Self::raw), with an error in place of the panic.
    #[track_caller]
    pub(crate) fn try_raw(&mut self) -> Result<&mut DB::Connection, Error> {
        allow_raw(&self.settings)?;
        self.track.bypassed();
        self.tally.bypassed(Site::here());
        Ok(&mut self.raw)
    }

    /// Another `statement_timeout` than the pool's, until the connection goes back.
    pub(crate) async fn limit_statements(&mut self, limit: Duration, seen: Seen) -> Result<(), Error> {
        match seen {
            Seen::Some if self.settings.pooler != Pooler::Direct || DB::is_swallowed(&self.state) => {
                Err(Error::pooler(
                    "refused: behind a pooler a statement_timeout of its own needs a connection that is tracked; take &mut PgConn or \
                 &mut PgTx",
                ))
            }
            Seen::Some if DB::KEEPS_DEADLINES => Err(Error::pooler(
                "refused: with SQLite a statement_timeout needs a connection that is tracked; take &mut SqliteConn or &mut SqliteTx",
            )),
            _ => Ok(()),
        }?;
        Ok(self.limit(limit, seen).await?)
    }

    /// How a transaction begins, where a plain `BEGIN` will not do.
    pub(crate) fn begin_statement(&self, options: TxOptions) -> Option<SqlStr> {
        DB::begin_statement(&self.settings, options)
    }
}

impl<DB: Backend> Deref for Session<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.raw
    }
}

/// As [`Session::raw`].
impl<DB: Backend> DerefMut for Session<DB> {
    #[track_caller]
    fn deref_mut(&mut self) -> &mut DB::Connection {
        self.raw()
    }
}

impl<DB: Backend> fmt::Debug for Session<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:?})", self.track)
    }
}

/// Whether sqlx's own connection may be handed out.
pub(crate) fn allow_raw(settings: &DatabaseSettings) -> Result<(), Error> {
    match settings.pooler {
        Pooler::Direct | Pooler::Prepared => Ok(()),
        Pooler::Unprepared => Err(Error::pooler(
            "refused: sqlx's own connection would return wrong rows with pooler = \"unprepared\"; run statements on the \
             pool's &mut PgConn or &mut PgTx, or use a pooler that keeps prepared statements (pooler = \"prepared\")",
        )),
    }
}

impl Rules {
    pub(crate) fn of<DB: Backend>(settings: &DatabaseSettings) -> Self {
        Self {
            drains: DB::DRAINS,
            is_remote: DB::IS_REMOTE,
            misses_clients: DB::MISSES_CLIENTS,
            transactions_leave_settings: DB::READ_ONLY_LINGERS || !DB::LIMITS_TRANSACTIONS,
            wraps: settings.pooler == Pooler::Unprepared,
            resets: settings.reset != Reset::Rollback,
        }
    }
}
