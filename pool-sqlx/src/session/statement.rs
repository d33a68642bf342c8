//! Sending a statement: what becomes of it, how long the server takes, and what its error means.

use super::{
    Link, Watch, Within,
    clock::{Clock, Limits, Silent},
    counters::Tally,
    track::{Leaves, Plan, Purpose, Track},
};
use crate::{
    Error, Pooler,
    backend::{Answer, Backend, Keeper, Prepared, Rows},
    sql::Scope,
    words::Class,
};
use sqlx::SqlStr;
use std::future::{Future, poll_fn};

impl<DB: Backend> Link<DB> {
    /// Tells telemetry of a statement that is about to be sent.
    pub(super) fn watch(&self, sql: &str) -> Watch {
        Watch::begin::<DB>(&self.tally, &self.settings.pool.name, sql)
    }

    /// Runs a statement to its end.
    async fn run<'e, T>(
        &'e mut self,
        leaves: Leaves,
        watch: &mut Watch,
        run: impl FnOnce(&'e mut DB::Connection) -> Answer<'e, T>,
    ) -> Result<T, sqlx::Error> {
        let Link { raw, state, track, limits, tally, .. } = self;
        let mut clock = Clock::new(limits);
        track.sends(leaves);
        match clock.wait::<DB, _>(state, run(raw).within(watch)).await {
            Ok(Ok(value)) => {
                track.answered();
                Ok(value)
            }
            Ok(Err(error)) => {
                watch.failed(&error);
                Err(judge(error, track, &clock, limits, tally))
            }
            Err(Silent) => {
                watch.given_up();
                Err(silent(track, &clock, limits, tally))
            }
        }
    }

    /// Refuses what cannot work through a pooler, or would end a transaction past its owner, and has nothing named where names do not last.
    fn admit(&mut self, query: &mut Prepared<DB>) -> Result<(), sqlx::Error> {
        let (pooler, facts) = (self.settings.pooler, query.facts);
        let scope = if self.track.in_transaction() { Scope::Transaction } else { Scope::Session };
        if let Some(refusal) = facts.refusal(query.sql.as_str(), pooler, scope) {
            return Err(Error::pooler(refusal).into());
        }
        if facts.listens() {
            // A notification between two statements would break the next user's connection.
            self.track.changes_setting();
        }
        if facts.forgets_statements() {
            self.track.desynchronized();
        }
        if pooler == Pooler::Direct {
            return Ok(());
        }
        // A statement without a name is prepared in one round trip and run in the next, which may meet another server; a name is known to
        // the pooler.
        query.persistent = pooler == Pooler::Prepared;
        Ok(())
    }

    pub(crate) fn fetch_many(&mut self, mut query: Prepared<DB>) -> Rows<'_, DB> {
        if let Err(refused) = self.admit(&mut query) {
            return Box::pin(futures_util::stream::iter([Err(refused)]));
        }
        if self.track.plan(Purpose::Any) == Plan::Send {
            return self.send_many(query);
        }
        Box::pin(async_stream::stream! {
            let plan = match self.settle(Purpose::Any).await {
                Ok(plan) => plan,
                Err(error) => {
                    yield Err(error);
                    return;
                }
            };
            let mut rows = match plan {
                Plan::Wrap => self.wrap_many(query),
                _ => self.send_many(query),
            };
            while let Some(row) = poll_fn(|cx| rows.as_mut().poll_next(cx)).await {
                yield row;
            }
        })
    }

    /// Sends a statement, and passes its answer on.
    pub(super) fn send_many(&mut self, mut query: Prepared<DB>) -> Rows<'_, DB> {
        let (again, mut text) = self.again(&query);
        query.again = again;
        Box::pin(async_stream::stream! {
            let mut watch = self.watch(query.sql.as_str());
            let Link { raw, state, track, limits, tally, familiar, .. } = self;
            let mut clock = Clock::new(limits);
            track.sends(leaves(&query));
            let mut rows = DB::fetch_many(raw, query);
            loop {
                watch.asked();
                match clock.wait::<DB, _>(state, poll_fn(|cx| watch.within(|| rows.as_mut().poll_next(cx)))).await {
                    Ok(Some(Ok(row))) => {
                        if let Some(text) = text.take() {
                            familiar.learn(text);
                        }
                        watch.rows(usize::from(row.is_right()));
                        track.passes_row();
                        yield Ok(row);
                        track.awaits();
                    }
                    // Noted before the error is passed on: after it, the caller may not ask for more.
                    Ok(Some(Err(error))) => {
                        watch.failed(&error);
                        yield Err(judge(error, track, &clock, limits, tally));
                        break;
                    }
                    Ok(None) => {
                        track.answered();
                        watch.done();
                        break;
                    }
                    Err(Silent) => {
                        watch.given_up();
                        yield Err(silent(track, &clock, limits, tally));
                        break;
                    }
                }
            }
        })
    }

    pub(crate) fn fetch_optional(&mut self, mut query: Prepared<DB>) -> Answer<'_, Option<DB::Row>> {
        if let Err(refused) = self.admit(&mut query) {
            return Box::pin(std::future::ready(Err(refused)));
        }
        if self.track.plan(Purpose::Any) == Plan::Send {
            return Box::pin(self.send_optional(query));
        }
        Box::pin(async move {
            match self.settle(Purpose::Any).await? {
                Plan::Wrap => self.wrap_optional(query).await,
                _ => self.send_optional(query).await,
            }
        })
    }

    /// Sends a statement, and reads its answer to the end.
    pub(super) async fn send_optional(&mut self, mut query: Prepared<DB>) -> Result<Option<DB::Row>, sqlx::Error> {
        let (again, text) = self.again(&query);
        query.again = again;
        let mut watch = self.watch(query.sql.as_str());
        let row = self.run(leaves(&query), &mut watch, |raw| DB::fetch_optional(raw, query)).await?;
        if let Some(text) = text {
            self.familiar.learn(text);
        }
        watch.rows(row.iter().len());
        watch.done();
        Ok(row)
    }

    /// Refuses what leaves a named statement behind.
    pub(super) fn admit_prepare(&self) -> Result<(), sqlx::Error> {
        match self.settings.pooler {
            Pooler::Direct | Pooler::Prepared => Ok(()),
            Pooler::Unprepared => Err(Error::pooler(
                "refused: statements cannot be prepared with pooler = \"unprepared\"; give the query to sqlx::query",
            )
            .into()),
        }
    }

    pub(crate) fn prepare_with<'e>(
        &'e mut self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> Answer<'e, DB::Statement> {
        match self.admit_prepare() {
            Ok(()) => Box::pin(async move {
                self.settle(Purpose::Any).await?;
                self.ask(|raw| DB::prepare_with(raw, sql, parameters)).await
            }),
            Err(refused) => Box::pin(std::future::ready(Err(refused))),
        }
    }

    pub(crate) fn describe(&mut self, sql: SqlStr) -> Answer<'_, sqlx::Describe<DB>> {
        match self.admit_prepare() {
            Ok(()) => Box::pin(async move {
                self.settle(Purpose::Any).await?;
                self.ask(|raw| DB::describe(raw, sql)).await
            }),
            Err(refused) => Box::pin(std::future::ready(Err(refused))),
        }
    }

    /// Asks the server something on our own behalf.
    pub(crate) async fn ask<'e, T, F>(
        &'e mut self,
        run: impl FnOnce(&'e mut DB::Connection) -> F,
    ) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'e,
    {
        self.run(Leaves::Nothing, &mut Watch::none(), |raw| Box::pin(run(raw))).await
    }

    /// Begins, commits or rolls back for a caller, who sees it in the telemetry under this word.
    pub(crate) async fn transact<'e, F>(
        &'e mut self,
        word: &'static str,
        run: impl FnOnce(&'e mut DB::Connection) -> F,
    ) -> Result<(), sqlx::Error>
    where
        F: Future<Output = Result<(), sqlx::Error>> + Send + 'e,
    {
        let mut watch = self.watch(word);
        self.run(Leaves::Nothing, &mut watch, |raw| Box::pin(run(raw))).await?;
        watch.done();
        Ok(())
    }
}

/// What a query leaves behind, whatever comes of it.
fn leaves<DB: Backend>(query: &Prepared<DB>) -> Leaves {
    if query.facts.is_tidy() { Leaves::Nothing } else { Leaves::Anything }
}

/// Notes what an error says of the connection, and names a timeout as such.
pub(super) fn judge(
    error: sqlx::Error,
    track: &mut Track,
    clock: &Clock,
    limits: &Limits,
    tally: &Tally,
) -> sqlx::Error {
    let class = Class::of(&error);
    // Otherwise sqlx refused a value or could not read one, perhaps in the middle of an answer.
    track.failed(class, matches!(error, sqlx::Error::Database(_)));
    // PostgreSQL reports its own limit and a cancellation alike, but for the text, which is translated.
    let is_timeout = class == Class::StatementTimeout || (class == Class::Cancelled && clock.is_up());
    let Some(limit) = clock.limit.filter(|_| is_timeout) else { return error };
    let error = Error::statement_timeout(limit, limits.statement_timeout_status, Some(error));
    tally.timed_out_by_server(&error);
    error.into()
}

/// The server did not answer within the limit and the margin. Whatever it answers later has no reader.
pub(super) fn silent(track: &mut Track, clock: &Clock, limits: &Limits, tally: &Tally) -> sqlx::Error {
    let status = limits.statement_timeout_status;
    let limit = clock.limit.expect("BUG: only a limit can run out");
    // Where the server does not know the limit, what still runs is cancelled before the next statement or on return.
    track.timed_out(limit, clock.kept_by == Keeper::Server);
    let error = match clock.kept_by {
        Keeper::Server => Error::statement_timeout(limit, status, None),
        _ => Error::overdue(limit, status),
    };
    tally.timed_out_by_client(&error);
    error.into()
}
