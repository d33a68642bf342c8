//! What differs between databases: one file each, with the same items in the same order.
//!
//! Everything that sqlx does not promise to keep is used from this folder and from [`hidden`] alone, so that a new sqlx
//! that changes it fails to compile here and nowhere else.

pub(crate) mod dial;
pub(crate) mod hidden;
#[cfg(feature = "mysql")]
mod mysql;
pub(crate) mod poolers;
#[cfg(feature = "postgres")]
mod postgres;
mod query;
mod server;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod tls;

#[cfg(any(feature = "mysql", feature = "sqlite"))]
use crate::ConfigError;
use crate::{
    DatabaseSettings, Error, Reset, Secret,
    words::{Class, Place, TxOptions},
};
use either::Either;
use futures_core::{future::BoxFuture, stream::BoxStream};
use sqlx::{Connection, Database, SqlStr};
use std::{future::Future, net::IpAddr, time::Duration};

/// A database that pools can be made for: [`sqlx::Postgres`] with feature `postgres`, [`sqlx::MySql`] with
/// feature `mysql` (MariaDB too), [`sqlx::Sqlite`] with feature `sqlite`.
///
/// Sealed: its supertraits are not exported, and they may change in any release.
pub trait Backend: Session + Transactions + Statements {}

/// Makes connections: where the database is, sqlx's options for it, and what is found out at each connect.
#[doc(hidden)]
pub trait Dial: Database {
    /// What is kept with each connection beside sqlx's own.
    type State: Send + Sync + 'static;

    /// The database as OpenTelemetry names it.
    const SYSTEM: &'static str;

    /// The same, known better once connected.
    fn system(_: &Self::State) -> &'static str {
        Self::SYSTEM
    }

    /// Where the database is.
    fn place(options: &Options<Self>) -> Place;

    /// Settles what was left open in the settings.
    fn adapt(settings: &mut DatabaseSettings);

    /// sqlx's options for these settings. `limit` is the statement timeout: `None` for a connection that runs migrations.
    fn configure(settings: &DatabaseSettings, limit: Option<Duration>) -> Result<Options<Self>, Error>;

    /// The pool's settings, adapted where this database asks for it.
    fn pool_settings(settings: &DatabaseSettings) -> pool_core::Settings;

    /// Whether the database lives only as long as a connection to it.
    fn is_volatile(settings: &DatabaseSettings) -> bool;

    /// The options with another password. `None`: there are no passwords.
    fn with_password(options: &Options<Self>, password: &str) -> Option<Options<Self>>;

    /// Why a url is taken for that of a pooler of transactions.
    fn guess(_: &Secret) -> Option<&'static str> {
        None
    }

    /// Host and port, where one of the host's addresses will do: no socket, and no TLS, which is asked for by name.
    fn host(options: &Options<Self>) -> Option<(&str, u16)>;

    /// The options with this address in the place of the host.
    fn at(options: &Options<Self>, address: IpAddr) -> Options<Self>;

    /// Prepares a new connection.
    fn on_connect(
        conn: &mut Self::Connection,
        settings: &DatabaseSettings,
    ) -> impl Future<Output = Result<Self::State, sqlx::Error>> + Send;

    /// Whether our start-up options have reached the server.
    fn is_marked(_: &mut Self::Connection) -> impl Future<Output = Result<bool, sqlx::Error>> + Send {
        std::future::ready(Ok(true))
    }

    /// Whether the server did not get our start-up options: something stands in between.
    fn is_swallowed(state: &Self::State) -> bool;

    /// Whether what stands between us and the server would take the statements of others for ours. `options` are those of the connection.
    fn mixes_statements(
        conn: &mut Self::Connection,
        settings: &DatabaseSettings,
        options: &Options<Self>,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;
}

/// Makes a session as good as new, and ends the statement of a caller that has left.
#[doc(hidden)]
pub trait Session: Dial {
    /// Whether the connection can go on after a statement on it was dropped in the middle.
    const DRAINS: bool;

    /// Whether the probe may have to wait for something that runs elsewhere and was not seen, or not stopped.
    const IS_REMOTE: bool;

    /// Whether the server ends a statement by itself when its client is gone.
    const MISSES_CLIENTS: bool = false;

    /// Asks the server for its own limits, with a statement or two.
    fn limits_of(conn: &mut Self::Connection) -> impl Future<Output = Result<Option<Server>, sqlx::Error>> + Send;

    /// Drains what is left of earlier statements and ends whatever transaction is open, however it was begun.
    fn probe(conn: &mut Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Makes sure, after the probe, that a connection of which not everything was seen can be lent again. An error closes it.
    fn verify(conn: &mut Self::Connection, state: &Self::State)
    -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Makes sure, on the same loan and after something went past us, that answers are those to our statements. An error: they are not.
    /// `false`: there is no telling yet.
    fn heeds(_: &mut Self::Connection) -> impl Future<Output = Result<bool, sqlx::Error>> + Send {
        std::future::ready(Ok(true))
    }

    /// Undoes session settings as `reset` asks, on a connection outside any transaction. An error closes it.
    fn restore(
        conn: &mut Self::Connection,
        state: &Self::State,
        reset: Reset,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Takes back what we changed in the session for one loan.
    fn undo(
        conn: &mut Self::Connection,
        state: &Self::State,
        settings: &DatabaseSettings,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Whether a statement that we did not see has to be stopped before the probe, which would wait for its end. No I/O.
    fn is_busy(conn: &mut Self::Connection) -> bool;

    /// Stops the statement that a caller dropped, as far as its own connection can, and answers what is left to do.
    fn interrupt(
        conn: &mut Self::Connection,
        state: &Self::State,
    ) -> impl Future<Output = Result<Interrupt, sqlx::Error>> + Send;

    /// By what a control connection knows a session; `None` where there is no such thing.
    fn target(_: &Self::State) -> Option<&Target> {
        None
    }

    /// What the server of a control connection says of itself, and no other that stands behind the same address.
    fn server(_: &mut Self::Connection) -> impl Future<Output = Result<String, sqlx::Error>> + Send {
        std::future::ready(Ok(String::new()))
    }

    /// Ends the statements of these sessions, over a control connection.
    fn end(_: &mut Self::Connection, _: &[u64]) -> impl Future<Output = Result<(), sqlx::Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Whether the server still has a session with this number, as a control connection is told.
    fn is_there(_: &mut Self::Connection, _: u64) -> impl Future<Output = Result<bool, sqlx::Error>> + Send {
        std::future::ready(Ok(false))
    }
}

/// Begins transactions, and knows how they end.
#[doc(hidden)]
pub trait Transactions: Dial {
    /// Whether a savepoint that is rolled back to takes a conflict that was lost since with it.
    const FORGIVES_CONFLICTS: bool;

    /// Whether a read-only transaction leaves a setting of the session behind, for [`undo`](Self::undo).
    const READ_ONLY_LINGERS: bool;

    /// Whether [`begin_statement`](Self::begin_statement) sets the transaction's statement timeout.
    const LIMITS_TRANSACTIONS: bool;

    /// The statement that begins a transaction, where a plain `BEGIN` will not do.
    fn begin_statement(settings: &DatabaseSettings, options: TxOptions) -> Option<SqlStr>;

    /// Whether a transaction can still be committed, after a statement in it failed (`conflict`: against another one) or went unseen.
    fn is_committable(
        conn: &mut Self::Connection,
        conflict: bool,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send;

    /// Whether a statement that failed like this has ended the transaction that it was in: what follows would be made for good at once.
    fn has_ended(conn: &mut Self::Connection, failure: Class)
    -> impl Future<Output = Result<bool, sqlx::Error>> + Send;
}

/// Sends statements within their time limits.
#[doc(hidden)]
pub trait Statements: Dial {
    /// Whether [`deadline`](Self::deadline) alone ends a statement in time.
    const KEEPS_DEADLINES: bool;

    /// Who ends a statement that runs longer than the pool's `statement_timeout`.
    fn keeper(settings: &DatabaseSettings, state: &Self::State) -> Keeper;

    /// Sets the time limit of what the connection does next, where the server does not keep it itself.
    fn deadline(state: &Self::State, limit: Option<Duration>);

    /// Sets the session's statement timeout, until [`undo`](Self::undo).
    fn limit(
        conn: &mut Self::Connection,
        state: &Self::State,
        statement_timeout: Duration,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Whether the extended protocol takes one statement at a time.
    const SINGLE: bool;

    /// Why a statement cannot be sent in a transaction that has an owner: it would end it. By keyword. `alone` says that the protocol takes
    /// the text as one statement.
    fn refusal(_sql: &str, _alone: bool) -> Option<String> {
        None
    }

    /// Whether a statement of a harmless kind leaves something behind in the session that makes it a doubtful one. By keyword.
    fn lingers(sql: &str) -> bool;

    fn fetch_many<'e>(conn: &'e mut Self::Connection, query: Prepared<Self>) -> Rows<'e, Self>;

    fn fetch_optional<'e>(conn: &'e mut Self::Connection, query: Prepared<Self>) -> Answer<'e, Option<Self::Row>>;

    fn prepare_with<'e>(
        conn: &'e mut Self::Connection,
        sql: SqlStr,
        parameters: &'e [Self::TypeInfo],
    ) -> Answer<'e, Self::Statement>;

    fn describe<'e>(conn: &'e mut Self::Connection, sql: SqlStr) -> Answer<'e, sqlx::Describe<Self>>;
}

pub(crate) use query::Again;
pub(crate) use query::Prepared;
pub(crate) use server::{Limit, Login, Whom};
pub(crate) use server::{Server, Target};

/// sqlx's connect options of a database.
pub(crate) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// What an executor of sqlx streams.
pub(crate) type Rows<'e, DB> =
    BoxStream<'e, Result<Either<<DB as Database>::QueryResult, <DB as Database>::Row>, sqlx::Error>>;

/// What an executor of sqlx answers.
pub(crate) type Answer<'e, T> = BoxFuture<'e, Result<T, sqlx::Error>>;

/// Who ends a statement that runs too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// The server, or SQLite's own thread. We wait a little longer, and then give the connection up.
    Server,
    /// The server for some statements, and we for the others. It goes first, so that their connection lives on.
    Both,
    /// We do: the caller is told at once, and the statement is cancelled when the connection goes back.
    Us,
}

/// What is left to do about a statement that its caller dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Nothing: the statement has ended.
    Ended,
    /// Cancel it over another connection.
    Cancel(Target),
    /// End its whole session over another connection: this one is of no use any more.
    End(Target),
}

/// The four methods of sqlx's `Executor`, so that generic code need not carry its `for<'c> &'c mut ..` bound around.
macro_rules! executor_of_sqlx {
    () => {
        fn fetch_optional<'e>(
            conn: &'e mut Self::Connection,
            query: $crate::backend::Prepared<Self>,
        ) -> $crate::backend::Answer<'e, Option<Self::Row>> {
            sqlx::Executor::fetch_optional(conn, query)
        }
        $crate::backend::executor_of_sqlx!(without fetch_optional);
    };
    (without fetch_optional) => {
        fn fetch_many<'e>(
            conn: &'e mut Self::Connection,
            query: $crate::backend::Prepared<Self>,
        ) -> $crate::backend::Rows<'e, Self> {
            sqlx::Executor::fetch_many(conn, query)
        }
        $crate::backend::executor_of_sqlx!(without fetch);
    };
    (without fetch) => {
        fn prepare_with<'e>(
            conn: &'e mut Self::Connection,
            sql: sqlx::SqlStr,
            parameters: &'e [Self::TypeInfo],
        ) -> $crate::backend::Answer<'e, Self::Statement> {
            sqlx::Executor::prepare_with(conn, sql, parameters)
        }
        fn describe<'e>(
            conn: &'e mut Self::Connection,
            sql: sqlx::SqlStr,
        ) -> $crate::backend::Answer<'e, sqlx::Describe<Self>> {
            sqlx::Executor::describe(conn, sql)
        }
    };
}
use executor_of_sqlx;

/// Refuses the settings that were made for this very database although it cannot honour them.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn refuse(settings: &DatabaseSettings, database: &str, keys: &[&str]) -> Result<(), Error> {
    let faults = keys.iter().filter(|key| settings.explicit(key).is_some());
    let faults = faults.map(|key| settings.fault(key, format!("{database} cannot honour {key}; leave it out")).into());
    match faults.reduce(ConfigError::merge) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// An address of IPv6 as sqlx can use it: it takes the url's brackets for a part of a name.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn without_brackets(host: &str) -> Option<String> {
    Some(host.strip_prefix('[')?.strip_suffix(']')?.to_owned())
}
