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
