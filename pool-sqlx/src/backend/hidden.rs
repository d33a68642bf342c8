//! What sqlx has but does not promise to keep: `sqlx-core`'s traits and methods hidden from its documentation.
//!
//! Besides what stands here we rely on `Executor::describe` existing (feature `offline` of sqlx-core and of each driver).

use sqlx::Database;
use sqlx_core::transaction::TransactionManager;

/// Begins a transaction, or a savepoint inside one.
pub(crate) async fn begin<DB: Database>(
    conn: &mut DB::Connection,
    statement: Option<sqlx::SqlStr>,
) -> Result<(), sqlx::Error> {
    // A statement of our own is refused inside a transaction: there it has to be a savepoint.
    let statement = statement.filter(|_| DB::TransactionManager::get_transaction_depth(conn) == 0);
    DB::TransactionManager::begin(conn, statement).await
}

/// How many transactions sqlx counts as open, one inside the other.
pub(crate) fn depth<DB: Database>(conn: &DB::Connection) -> usize {
    DB::TransactionManager::get_transaction_depth(conn)
}

/// Whether an answer is still on its way; `false` says nothing. PostgreSQL only.
#[cfg(feature = "postgres")]
pub(crate) fn is_busy(conn: &mut impl sqlx::Connection) -> bool {
    use futures_util::FutureExt;
    conn.flush().now_or_never().is_none()
}

/// Commits the innermost transaction that sqlx knows of.
pub(crate) async fn commit<DB: Database>(conn: &mut DB::Connection) -> Result<(), sqlx::Error> {
    DB::TransactionManager::commit(conn).await
}

/// Rolls the innermost transaction that sqlx knows of back.
pub(crate) async fn rollback<DB: Database>(conn: &mut DB::Connection) -> Result<(), sqlx::Error> {
    DB::TransactionManager::rollback(conn).await
}

/// Queues a rollback, to be sent with the next statement. Does not wait.
pub(crate) fn start_rollback<DB: Database>(conn: &mut DB::Connection) {
    DB::TransactionManager::start_rollback(conn);
}

/// Waits for what is left of earlier answers, and rolls an open transaction back, however it was begun.
///
/// `left` judges an error of the probe: what has to be run before the next one, if anything, or the error that closes the connection.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) async fn settle<DB: Database>(
    conn: &mut DB::Connection,
    left: impl Fn(sqlx::Error) -> Result<Option<&'static str>, sqlx::Error>,
) -> Result<(), sqlx::Error>
where
    for<'c> &'c mut DB::Connection: sqlx::Executor<'c, Database = DB>,
{
    use sqlx::{Connection, Executor};
    // The first answer after a cancellation may be the cancelled statement's error; a settled connection needs one round.
    for _ in 0..4 {
        // A `BEGIN` that is none: it succeeds only inside a transaction that is open already.
        let error = match conn.begin_with(sqlx::SqlStr::from_static("SELECT 1")).await {
            Err(sqlx::Error::BeginFailed) => return Ok(()),
            Ok(leaked) => return leaked.rollback().await,
            Err(error) => error,
        };
        // sqlx counts a transaction that was never ended.
        if matches!(error, sqlx::Error::InvalidSavePointStatement) {
            rollback::<DB>(conn).await?;
        } else if let Some(statement) = left(error)? {
            conn.execute(statement).await?;
        }
    }
    Err(sqlx::Error::Protocol("the connection did not settle after four probes".into()))
}

/// Whether a feature of ours or of sqlx's has switched TLS on.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn has_tls() -> bool {
    sqlx_core::net::tls::available()
}

/// Runs migrations on one connection, without the `Acquire` that no generic future can prove.
#[cfg(feature = "migrate")]
pub(crate) async fn migrate<C: sqlx::migrate::Migrate>(
    migrator: &sqlx::migrate::Migrator,
    conn: &mut C,
) -> Result<(), sqlx::migrate::MigrateError> {
    migrator.run_direct(None, conn, false).await
}
