//! What the codes of PostgreSQL mean, those that a pooler sends included.

use super::Class;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

pub(super) fn classify(error: &PgDatabaseError) -> Class {
    class(error.severity(), error.code(), error.routine(), error.message())
}

/// The table: a new code is a row here and a row in the test.
fn class(severity: PgSeverity, code: &str, routine: Option<&str>, message: &str) -> Class {
    let is_fatal = matches!(severity, PgSeverity::Fatal | PgSeverity::Panic);
    match code {
        // The text follows lc_messages. Where it is not English, the session goes by the time that has passed.
        "57014" if message.contains("statement timeout") => Class::StatementTimeout,
        "57014" => Class::Cancelled,
        "55P03" => Class::LockTimeout,
        "40001" | "40P01" => Class::Conflict,
        "57P03" => Class::StartingUp,
        "53300" => Class::Overloaded,
        "57P01" | "57P02" | "57P05" | "25P03" | "25P04" => Class::Lost,
        // sqlx keeps using a prepared statement that the server has dropped, or has with other columns.
        "26000" if is_unnamed_lost(code, routine) => Class::Query,
        "26000" | "42P05" => Class::Protocol,
        "0A000" if routine == Some("RevalidateCachedQuery") => Class::Protocol,
        "3D000" => Class::Denied,
        code if code.starts_with("28") => Class::Denied,
        // PgBouncer refuses a start-up parameter: there is no connection yet.
        "08P01" if is_fatal => Class::Denied,
        code if code.starts_with("08") || is_fatal => Class::Lost,
        _ => Class::Query,
    }
}

/// Whether the server has lost a statement without a name before it ran.
///
/// The routine tells, for the text is translated; a lost statement with a name is reported by another routine.
pub(crate) fn is_unnamed_lost(code: &str, routine: Option<&str>) -> bool {
    code == "26000" && routine == Some("exec_bind_message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_class() {
        use PgSeverity::{Error, Fatal, Panic, Warning};
        fn check(severity: PgSeverity, code: &str, expected: Class) {
            assert_eq!(class(severity, code, None, "a message"), expected, "{severity:?} {code}");
        }
        check(Error, "57014", Class::Cancelled);
        check(Error, "55P03", Class::LockTimeout);
        check(Error, "40001", Class::Conflict);
        check(Error, "40P01", Class::Conflict);
        check(Fatal, "57P03", Class::StartingUp);
        check(Fatal, "53300", Class::Overloaded);
        check(Fatal, "57P01", Class::Lost);
        check(Warning, "57P02", Class::Lost);
        check(Fatal, "57P05", Class::Lost);
        check(Fatal, "25P03", Class::Lost);
        check(Fatal, "25P04", Class::Lost);
        check(Error, "26000", Class::Protocol);
        check(Error, "42P05", Class::Protocol);
        check(Fatal, "3D000", Class::Denied);
        check(Fatal, "28000", Class::Denied);
        check(Fatal, "28P01", Class::Denied);
        check(Fatal, "08P01", Class::Denied);
        check(Error, "08P01", Class::Lost);
        check(Error, "08000", Class::Lost);
        check(Error, "08006", Class::Lost);
        check(Fatal, "XX000", Class::Lost);
        check(Panic, "XX000", Class::Lost);
        check(Error, "XX000", Class::Query);
        check(Error, "0A000", Class::Query);
        check(Error, "25P02", Class::Query);
        check(Error, "23505", Class::Query);
        check(Error, "42601", Class::Query);
        check(Error, "", Class::Query);
    }

    #[test]
    fn a_statement_timeout_is_told_from_a_cancellation_by_its_text() {
        fn check(message: &str, expected: Class) {
            assert_eq!(class(PgSeverity::Error, "57014", Some("ProcessInterrupts"), message), expected, "{message}");
        }
        check("canceling statement due to statement timeout", Class::StatementTimeout);
        check("canceling statement due to user request", Class::Cancelled);
        check("storniere Anfrage wegen Zeitüberschreitung der Anfrage", Class::Cancelled);
    }

    #[test]
    fn a_prepared_statement_out_of_step_is_known_by_the_routine() {
        fn check(code: &str, routine: &str, expected: Class) {
            assert_eq!(class(PgSeverity::Error, code, Some(routine), "a message"), expected, "{code} {routine}");
        }
        check("26000", "exec_bind_message", Class::Query);
        check("26000", "FetchPreparedStatement", Class::Protocol);
        check("0A000", "RevalidateCachedQuery", Class::Protocol);
        check("0A000", "transformFromClause", Class::Query);
    }
}
