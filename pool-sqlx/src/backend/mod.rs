//! What differs between databases: four traits, which each database implements in the same order.
//!
//! Everything that sqlx does not promise to keep is used from this folder and from [`hidden`] alone. If a new sqlx changes it, the
//! compiler stops here and nowhere else.

pub(crate) mod dial;
pub(crate) mod hidden;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "migrate", feature = "postgres"))]
pub(crate) mod poolers;
#[cfg(feature = "postgres")]
mod postgres;
mod query;
mod server;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod tls;

pub(crate) use query::{Again, Answer, Prepared, Rows};
pub(crate) use server::{Limit, Login, Server, Target, Whom};

use crate::{
    DatabaseSettings, Error, Reset,
    words::{Class, Place, TxOptions},
};
use sqlx::{Connection, Database, SqlStr, error::DatabaseError};
use std::{
    future::{Future, ready},
    time::Duration,
};

/// A database that pools can be made for: [`sqlx::Postgres`] with feature `postgres`, [`sqlx::MySql`] with
/// feature `mysql` (MariaDB too), [`sqlx::Sqlite`] with feature `sqlite`.
///
/// Sealed: its supertraits are not exported, and any release may change them.
pub trait Backend: Database + Dial + Upkeep + Transactions + Statements {}

/// Connects: where the database is, sqlx's options for it, and what each connect finds out.
#[doc(hidden)]
pub trait Dial: Database {
    /// What each connection carries beside sqlx's own.
    type State: Send + Sync + 'static;

    /// The database's name in OpenTelemetry.
    const SYSTEM: &'static str;

    /// The name of the system that a connection has reached, where the driver serves several.
    fn system(_: &Self::State) -> &'static str {
        Self::SYSTEM
    }

    /// Where the database is.
    fn place(options: &Options<Self>) -> Place;

    /// Guesses settings that were left open.
    fn adapt(_: &mut DatabaseSettings) {}

    /// Keys that the database cannot honour with these settings. Each is refused if it was set.
    fn refused(_: &DatabaseSettings) -> Vec<&'static str> {
        Vec::new()
    }

    /// Builds sqlx's options. `limit` is the statement timeout: `None` for a connection that runs migrations.
    fn configure(settings: &DatabaseSettings, limit: Option<Duration>) -> Result<Options<Self>, Error>;

    /// Whether the database lives only as long as a connection to it.
    fn is_volatile(_: &DatabaseSettings) -> bool {
        false
    }

    /// What the error of a connect should say, if that is not what the driver displays.
    fn reworded(_options: &Options<Self>, _said: &dyn DatabaseError) -> Option<String> {
        None
    }

    /// The options with another password. `None`: the database has no passwords.
    fn with_password(_options: &Options<Self>, _password: &str) -> Option<Options<Self>> {
        None
    }

    /// Prepares a new connection.
    fn on_connect(
        conn: &mut Self::Connection,
        settings: &DatabaseSettings,
    ) -> impl Future<Output = Result<Self::State, sqlx::Error>> + Send;

    /// Whether our start-up options have reached the server.
    fn is_marked(_: &mut Self::Connection) -> impl Future<Output = Result<bool, sqlx::Error>> + Send {
        ready(Ok(true))
    }

    /// Whether a pooler has dropped our start-up options on the way to the server.
    fn is_swallowed(_: &Self::State) -> bool {
        false
    }

    /// Whether a pooler would run another client's statement under the name of ours. `options` are those of the connection.
    fn mixes_statements(
        _: &mut Self::Connection,
        _: &DatabaseSettings,
        _options: &Options<Self>,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send {
        ready(Ok(false))
    }
}

/// Makes a session as good as new, and ends a statement that its caller dropped.
#[doc(hidden)]
pub trait Upkeep: Dial {
    /// Whether the connection can go on after a statement on it was dropped between two packets.
    const DRAINS: bool = true;

    /// Whether [`probe`](Self::probe) may have to wait for a statement that still runs on a server.
    const IS_REMOTE: bool = true;

    /// Whether the server ends a statement by itself when its client is gone.
    const MISSES_CLIENTS: bool = false;

    /// Asks the server for its own limits, with a statement or two.
    fn limits_of(_: &mut Self::Connection) -> impl Future<Output = Result<Option<Server>, sqlx::Error>> + Send {
        ready(Ok(None))
    }

    /// Drains what is left of earlier statements, and ends the open transaction, however it was begun.
    fn probe(conn: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Checks after the probe whether a session with untracked statements can be lent again. An error closes the connection.
    fn verify(_: &mut Self::Connection, _: &Self::State) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        ready(Ok(()))
    }

    /// Checks after untracked statements, on the same loan, that each answer is that of its own statement. An error: it is not.
    /// `false`: the check has to be repeated later.
    fn in_step(_: &mut Self::Connection) -> impl Future<Output = Result<bool, sqlx::Error>> + Send {
        ready(Ok(true))
    }

    /// Undoes session settings as `reset` asks, on a connection outside any transaction. An error closes the connection.
    fn restore(
        _: &mut Self::Connection,
        _: &Self::State,
        _: Reset,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        ready(Ok(()))
    }

    /// Undoes our own changes of the session for one loan.
    fn undo(
        conn: &mut Self::Connection,
        state: &Self::State,
        settings: &DatabaseSettings,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Whether the probe would wait for an untracked statement, which has to be stopped first. No I/O.
    fn is_busy(conn: &mut Self::Connection) -> bool;

    /// Stops the statement that a caller dropped, as far as its own connection can, and answers what is left to do.
    fn interrupt(
        conn: &mut Self::Connection,
        state: &Self::State,
    ) -> impl Future<Output = Result<Interrupt, sqlx::Error>> + Send;

    /// How a control connection addresses the session. `None`: it cannot.
    fn target(_: &Self::State) -> Option<&Target> {
        None
    }

    /// The identity of the server that a control connection has reached: no other server behind the same address has it.
    fn server(_: &mut Self::Connection) -> impl Future<Output = Result<String, sqlx::Error>> + Send {
        ready(Ok(String::new()))
    }

    /// Ends the statements of these sessions, over a control connection.
    fn end(_: &mut Self::Connection, _: &[u64]) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        ready(Ok(()))
    }

    /// Whether the server of a control connection still has a session with this number.
    fn is_there(_: &mut Self::Connection, _: u64) -> impl Future<Output = Result<bool, sqlx::Error>> + Send {
        ready(Ok(false))
    }
}

/// Begins transactions, and finds out how they stand.
#[doc(hidden)]
pub trait Transactions: Dial {
    /// Whether rolling back to a savepoint also undoes a conflict that was lost since.
    const FORGIVES_CONFLICTS: bool = true;

    /// Whether a read-only transaction leaves a setting of the session behind, for [`undo`](Upkeep::undo).
    const READ_ONLY_LINGERS: bool = false;

    /// Whether [`begin_statement`](Self::begin_statement) sets the transaction's statement timeout.
    const LIMITS_TRANSACTIONS: bool = true;

    /// The statement that begins a transaction, where a plain `BEGIN` will not do.
    fn begin_statement(settings: &DatabaseSettings, options: TxOptions) -> Option<SqlStr>;

    /// Whether a transaction with a failed or an untracked statement can still be committed. `conflict`: it lost against another one.
    fn is_committable(
        conn: &mut Self::Connection,
        conflict: bool,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Whether a failed statement has ended its transaction: later statements would take effect at once.
    fn has_ended(_: &mut Self::Connection, _failure: Class) -> impl Future<Output = Result<bool, sqlx::Error>> + Send {
        ready(Ok(false))
    }
}

/// Sends statements, and limits their time.
#[doc(hidden)]
pub trait Statements: Dial {
    /// Whether [`deadline`](Self::deadline) alone ends a statement in time.
    const KEEPS_DEADLINES: bool = false;

    /// Which side ends a statement that runs longer than the pool's `statement_timeout`.
    fn keeper(_: &DatabaseSettings, _: &Self::State) -> Keeper {
        Keeper::Server
    }

    /// Sets the time limit of what the connection does next, where no server enforces it.
    fn deadline(_: &Self::State, _limit: Option<Duration>) {}

    /// Sets the session's statement timeout, until [`undo`](Upkeep::undo).
    fn limit(
        _: &mut Self::Connection,
        _: &Self::State,
        _statement_timeout: Duration,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        ready(Ok(()))
    }

    // The methods of sqlx's `Executor`: generic code would have to carry its bound `for<'c> &'c mut Self::Connection: Executor<'c>` around.
    fn fetch_many<'e>(conn: &'e mut Self::Connection, query: Prepared<Self>) -> Rows<'e, Self>;
    /// Reads the answer to its end, whatever the driver does: else the next user would wait for what the server still sends.
    fn fetch_optional<'e>(conn: &'e mut Self::Connection, query: Prepared<Self>) -> Answer<'e, Option<Self::Row>> {
        query::first::<Self>(Self::fetch_many(conn, query))
    }
    fn prepare_with<'e>(
        conn: &'e mut Self::Connection,
        sql: SqlStr,
        parameters: &'e [Self::TypeInfo],
    ) -> Answer<'e, Self::Statement>;
    fn describe<'e>(conn: &'e mut Self::Connection, sql: SqlStr) -> Answer<'e, sqlx::Describe<Self>>;
}

/// sqlx's connect options of a database.
pub(crate) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// What is left to do about a statement that its caller dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Nothing: the statement has ended.
    Ended,
    /// Cancel it over another connection.
    Cancel(Target),
    /// End its whole session over another connection: this connection is of no use any more.
    End(Target),
}

/// Which side ends a statement that runs too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// The server, or SQLite's own thread. We wait a little longer, and then give the connection up.
    Server,
    /// The server for some statements, and we for the others. It goes first, so that their connection lives on.
    Both,
    /// We do: the caller gets its error at once, and the statement is cancelled when the connection goes back.
    Us,
}
