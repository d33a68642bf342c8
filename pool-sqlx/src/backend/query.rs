//! A query on its way to sqlx.

use super::Backend;
use crate::sql;
use sqlx::{Database, Execute, SqlStr, error::BoxDynError};

/// A query taken apart, so that its text can be looked at before sqlx gets it.
pub struct Prepared<DB: Database> {
    pub(crate) sql: SqlStr,
    pub(crate) arguments: Result<Option<DB::Arguments>, BoxDynError>,
    statement: Option<DB::Statement>,
    pub(crate) persistent: bool,
    pub(crate) again: Again,
}

/// How a statement without a name gets its second try. sqlx looks a type that it does not know up between preparing the statement and
/// running it, and by that the server loses the statement: it fails before it has done anything, and its transaction with it.
#[derive(Debug, Default)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "there is no pooler before the others"))]
pub(crate) enum Again {
    /// Not at all: the error is the caller's.
    #[default]
    Never,
    /// It is alone in a transaction of ours, which begins anew with this.
    Anew(SqlStr),
    /// It is in the caller's transaction, which goes back to a savepoint.
    Savepoint,
}

impl<DB: Backend> Prepared<DB> {
    pub(crate) fn new<'q>(mut query: impl Execute<'q, DB>) -> Self {
        let arguments = query.take_arguments();
        let statement = query.statement().cloned();
        let persistent = query.persistent();
        Self { sql: query.sql(), arguments, statement, persistent, again: Again::Never }
    }

    /// How it is tried again, and itself once more for that.
    #[cfg(feature = "postgres")]
    pub(crate) fn again(&mut self) -> Option<(Again, Self)>
    where
        DB::Arguments: Clone,
    {
        let (again, Ok(Some(arguments))) = (std::mem::take(&mut self.again), &self.arguments) else { return None };
        if matches!(again, Again::Never) {
            return None;
        }
        let copy = Self {
            sql: self.sql.clone(),
            arguments: Ok(Some(arguments.clone())),
            statement: self.statement.clone(),
            persistent: self.persistent,
            again: Again::Never,
        };
        Some((again, copy))
    }

    /// Whether the statement leaves no transaction and no session setting behind, whatever comes of it.
    pub(crate) fn is_tidy(&self) -> bool {
        let extended = matches!(self.arguments, Ok(Some(_)));
        sql::is_tidy(self.sql.as_str(), DB::SINGLE && extended) && !DB::lingers(self.sql.as_str())
    }
}

impl<DB: Database> Execute<'_, DB> for Prepared<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        self.statement.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        std::mem::replace(&mut self.arguments, Ok(None))
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}
