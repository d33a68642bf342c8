//! What an error says, and what it was caused by.

use super::{Error, kind::Cause};
use std::{
    error::Error as StdError,
    fmt::{self, Write as _},
};

/// One line, whatever a server put into its message.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = OneLine(f);
        match &*self.cause {
            Cause::Acquire(error) => write!(line, "{error}"),
            Cause::TryAcquire { pool, error } => write!(line, "pool {pool}: {error}"),
            Cause::StatementTimeout { limit, source: Some(source) } => {
                write!(line, "the statement ran longer than statement_timeout = {limit:?}: {source}")
            }
            Cause::StatementTimeout { limit, source: None } => write!(
                line,
                "the server gave no answer within statement_timeout = {limit:?} and a margin; the connection is given up"
            ),
            Cause::Overdue { limit } => write!(
                line,
                "the statement ran longer than statement_timeout = {limit:?}, which the client keeps; it is cancelled on the server, or behind a \
                 pooler runs on to its own end"
            ),
            Cause::Silent { setting, limit } => write!(line, "the server did not answer within {setting} = {limit:?}"),
            Cause::Limit { site, limit, waited } => write!(
                line,
                "refused by {site} after {waited:.1?}: {limit} calls of it hold a connection, as many as its limit = {limit} allows; see errors/refused"
            ),
            Cause::CommitUnknown(error) => {
                write!(line, "the connection was lost while committing, the changes may have been made or not: {error}")
            }
            Cause::Pooler(problem) => line.write_str(problem),
            Cause::RolledBack { .. } => line.write_str(
                "rolled back instead of committed: a statement of the transaction had failed and its error was not passed on; \
                 return it, or put what may fail into a savepoint (tx.begin())",
            ),
            Cause::TransactionGone => line.write_str(
                "the transaction is over: a statement in it failed or ran out of time, a nested begin was dropped on its way, or somebody ended \
                 it by hand; give it up and begin again",
            ),
            Cause::Spent => line.write_str(
                "refused: an earlier statement on this connection was dropped in the middle or ran out of time, and what is left of its answer \
                 would be taken for this one's; drop the connection (or the transaction) and acquire another",
            ),
            Cause::Database(error) => write!(line, "{error}"),
            Cause::Config(error) => write!(line, "{error}"),
            Cause::Settings(error) => write!(line, "{error}"),
            #[cfg(feature = "migrate")]
            Cause::Migrate(error) => write!(line, "cannot migrate: {error}"),
        }
    }
}

/// As it is displayed, and each fault of a configuration on a line of its own: `main` prints its error by `Debug`.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.cause {
            Cause::Config(error) => fmt::Debug::fmt(error, f),
            _ => fmt::Display::fmt(self, f),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.cause {
            Cause::Acquire(error) => error.source(),
            Cause::TryAcquire { error, .. } => Some(error),
            Cause::StatementTimeout { source, .. } => source.as_ref().map(|e| e as _),
            Cause::Database(error) => error.source(),
            Cause::CommitUnknown(error) => Some(error),
            Cause::RolledBack { .. } | Cause::TransactionGone | Cause::Spent | Cause::Pooler(_) => None,
            Cause::Config(error) => error.source(),
            Cause::Settings(_) | Cause::Overdue { .. } | Cause::Silent { .. } | Cause::Limit { .. } => None,
            #[cfg(feature = "migrate")]
            Cause::Migrate(error) => error.source(),
        }
    }
}

/// Writes line breaks as semicolons.
struct OneLine<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for (i, part) in s.split('\n').enumerate() {
            if i > 0 {
                self.0.write_str("; ")?;
            }
            self.0.write_str(part.trim_end_matches('\r'))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_several_lines_is_shown_on_one() {
        let error = Error::from(sqlx::Error::Protocol("first\nsecond\r\nthird".into()));
        assert!(!error.to_string().contains(['\n', '\r']), "{error}");
    }
}
