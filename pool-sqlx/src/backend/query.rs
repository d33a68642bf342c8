//! A query on its way to sqlx.

use crate::sql::{Dialect, Facts, Protocol};
use either::Either;
use futures_core::{future::BoxFuture, stream::BoxStream};
use futures_util::TryStreamExt;
use sqlx::{Database, Execute, SqlStr, error::BoxDynError};

/// What an executor of sqlx streams.
pub(crate) type Rows<'e, DB> =
    BoxStream<'e, Result<Either<<DB as Database>::QueryResult, <DB as Database>::Row>, sqlx::Error>>;

/// What an executor of sqlx answers.
pub(crate) type Answer<'e, T> = BoxFuture<'e, Result<T, sqlx::Error>>;

/// A query taken apart, so that its text can be looked at before sqlx gets it.
pub struct Prepared<DB: Database> {
    pub(crate) sql: SqlStr,
    pub(crate) facts: Facts,
    pub(crate) arguments: Result<Option<DB::Arguments>, BoxDynError>,
    statement: Option<DB::Statement>,
    pub(crate) persistent: bool,
    pub(crate) again: Again,
}

/// How a statement without a name gets its second try.
///
/// sqlx looks an unknown type up between preparing the statement and running it, and by that the server loses the statement. It fails
/// before it has done anything, and its transaction with it.
#[derive(Debug, Default)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "there is no pooler before the others"))]
pub(crate) enum Again {
    /// It gets none: the error is the caller's.
    #[default]
    Never,
    /// It is alone in a transaction of ours, which begins anew with this.
    Anew(SqlStr),
    /// It is in the caller's transaction, which goes back to a savepoint.
    Savepoint,
}

impl<DB: Database> Prepared<DB> {
    pub(crate) fn new<'q>(mut query: impl Execute<'q, DB>) -> Self {
        let arguments = query.take_arguments();
        let statement = query.statement().cloned();
        let persistent = query.persistent();
        let sql = query.sql();
        let protocol = if matches!(arguments, Ok(Some(_))) { Protocol::Extended } else { Protocol::Simple };
        let facts = Facts::of(sql.as_str(), Dialect::of(DB::NAME), protocol);
        Self { sql, facts, arguments, statement, persistent, again: Again::Never }
    }

    /// How the statement is tried again, and a copy of it for that.
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
            facts: self.facts,
            arguments: Ok(Some(arguments.clone())),
            statement: self.statement.clone(),
            persistent: self.persistent,
            again: Again::Never,
        };
        Some((again, copy))
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

/// The first row of an answer, which is read to its end.
pub(super) fn first<DB: Database>(mut answer: Rows<'_, DB>) -> Answer<'_, Option<DB::Row>> {
    Box::pin(async move {
        let mut first = None;
        while let Some(item) = answer.try_next().await? {
            first = first.or(item.right());
        }
        Ok(first)
    })
}

/// The methods of [`Statements`](super::Statements) that are those of sqlx's `Executor`.
macro_rules! executor_of_sqlx {
    () => {
        fn fetch_many<'e>(
            conn: &'e mut Self::Connection,
            query: $crate::backend::Prepared<Self>,
        ) -> $crate::backend::Rows<'e, Self> {
            sqlx::Executor::fetch_many(conn, query)
        }
        $crate::backend::query::executor_of_sqlx!(without fetch_many);
    };
    (without fetch_many) => {
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
pub(super) use executor_of_sqlx;
