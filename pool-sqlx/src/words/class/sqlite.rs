//! What the result codes of SQLite mean.

use super::Class;
use sqlx::{error::DatabaseError, sqlite::SqliteError};

pub(super) fn classify(error: &SqliteError) -> Class {
    class(error.code().and_then(|code| code.parse().ok()).unwrap_or_default())
}

/// The table of extended codes, whose low byte is the primary one: a new code is a row here and a row in the test.
fn class(code: i32) -> Class {
    match (code, code & 0xff) {
        // A read transaction wants to write after another one has written: only running it again can help.
        (517, _) => Class::Conflict,
        (_, 5 | 6) => Class::LockTimeout,
        // Only the deadline interrupts.
        (_, 9) => Class::StatementTimeout,
        // No such file or no right to it; not a database.
        (_, 14 | 26) => Class::Denied,
        _ => Class::Query,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_class() {
        fn check(codes: &[i32], expected: Class) {
            for code in codes {
                assert_eq!(class(*code), expected, "{code}");
            }
        }
        // SQLITE_BUSY_SNAPSHOT.
        check(&[517], Class::Conflict);
        // SQLITE_BUSY and SQLITE_LOCKED, and what extends them.
        check(&[5, 261, 773, 6, 262], Class::LockTimeout);
        // SQLITE_INTERRUPT.
        check(&[9], Class::StatementTimeout);
        // SQLITE_CANTOPEN and SQLITE_NOTADB.
        check(&[14, 1038, 26], Class::Denied);
        // SQLITE_OK, SQLITE_ERROR, SQLITE_CONSTRAINT_UNIQUE, SQLITE_FULL.
        check(&[0, 1, 2067, 13], Class::Query);
    }
}
