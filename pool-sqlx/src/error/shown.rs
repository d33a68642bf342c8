//! What may be shown to anybody of a failed connect. The log has the words of whoever failed; they may name a user, or worse.

use super::error_type;
use crate::{
    Error,
    config::NoPassword,
    words::{Class, secret::redacted},
};

/// What went wrong in words of our own, with the database's code in the place of its text, which names users in as many ways as there
/// are servers and languages.
pub(crate) fn shown(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(said) => {
            let code = error_type(error);
            format!("{} ({code})", of_database(Class::of_database(&**said), &code))
        }
        sqlx::Error::Io(io) => {
            let inner = io.get_ref();
            if let Some(none) = inner.and_then(|inner| inner.downcast_ref::<NoPassword>()) {
                return format!("{} failed; the log says how", none.what());
            }
            match inner.and_then(|inner| Error::find(inner)) {
                Some(ours) => ours.kind().title().into(),
                None => redacted(&error.to_string()),
            }
        }
        sqlx::Error::Tls(_) => redacted(&error.to_string()),
        sqlx::Error::Configuration(said) => match Error::find(&**said) {
            Some(ours) => redacted(&ours.to_string()),
            None => "the settings do not fit the server; the log says how".into(),
        },
        sqlx::Error::Protocol(_) => "client and server do not understand each other; the log says how".into(),
        _ => "it failed; the log says how".into(),
    }
}

fn of_database(class: Class, code: &str) -> &'static str {
    match (class, code) {
        (_, "14") => "the database's file cannot be opened",
        (_, "26") => "the file is not a database",
        (_, "3D000" | "1049") => "the server has no such database",
        (Class::Denied, _) => "the server does not let us in",
        (Class::Overloaded, _) => "the server has no room for another connection of ours",
        (Class::StartingUp, _) => "the server is not ready",
        (Class::Lost, _) => "the server ended the connection",
        (Class::LockTimeout, _) => "the database is locked",
        _ => "the database refused; the log says why",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_says_of_itself_is_kept_and_what_others_say_is_not() {
        let check = |error: sqlx::Error, expected| assert_eq!(shown(&error), expected);
        check(
            std::io::Error::other(NoPassword::of("before_connect", "mata hari".into())).into(),
            "before_connect failed; the log says how",
        );
        check(
            sqlx::Error::Protocol("mata hari".into()),
            "client and server do not understand each other; the log says how",
        );
        check(sqlx::Error::Configuration("mata hari".into()), "the settings do not fit the server; the log says how");
        check(sqlx::Error::Configuration(Error::pooler("refused: set pooler").into()), "refused: set pooler");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        check(refused.into(), "error communicating with database: connection refused");
    }
}
