//! Sending a statement: what happens before and after it, how long the server may take, and what its error means.

use super::{
    Familiar, Session, Watch,
    clock::{Clock, Silent},
    counters::Tally,
    track::{Leaves, Plan, Purpose, Track},
};
use crate::{
    Error, Pooler,
    backend::{Answer, Backend, Keeper, Prepared, Rows},
    sql::{Effect, Scope},
    words::Class,
};
use sqlx::SqlStr;
use std::{
    future::{Future, poll_fn},
    pin::pin,
};

impl<DB: Backend> Session<DB> {
    pub(crate) fn run_many(&mut self, mut query: Prepared<DB>) -> Rows<'_, DB> {
        Box::pin(async_stream::try_stream! {
            self.admit(&mut query)?;
            let plan = self.settle(Purpose::Any).await?;
            if plan == Plan::Wrap {
                self.enclose().await?;
            }
            let mut text = self.again(&mut query);
            let mut watch = self.watch(query.sql.as_str());
            let answer = {
                let (raw, mut exchange) = self.exchange(leaves(&query), &mut watch);
                let mut rows = DB::fetch_many(raw, query);
                loop {
                    exchange.watch.asked();
                    match exchange.wait(poll_fn(|cx| rows.as_mut().poll_next(cx).map(Option::transpose))).await {
                        Ok(Some(row)) => {
                            if let Some(text) = text.take() {
                                exchange.familiar.learn(text);
                            }
                            exchange.watch.rows(usize::from(row.is_right()));
                            exchange.track.passes_row();
                            yield row;
                            exchange.track.awaits();
                        }
                        Ok(None) => {
                            exchange.track.answered();
                            exchange.watch.done();
                            break Ok(());
                        }
                        Err(error) => break Err(error),
                    }
                }
            };
            // Before an error is passed on: after it, the caller may not ask for more.
            match plan {
                Plan::Wrap => self.conclude(answer).await?,
                _ => answer?,
            }
        })
    }

    pub(crate) fn run_optional(&mut self, mut query: Prepared<DB>) -> Answer<'_, Option<DB::Row>> {
        Box::pin(async move {
            self.admit(&mut query)?;
            let plan = self.settle(Purpose::Any).await?;
            if plan == Plan::Wrap {
                self.enclose().await?;
            }
            let text = self.again(&mut query);
            let mut watch = self.watch(query.sql.as_str());
            let answer = self.run(leaves(&query), &mut watch, |raw, _| DB::fetch_optional(raw, query)).await;
            if let Ok(row) = &answer {
                if let Some(text) = text {
                    self.familiar.learn(text);
                }
                watch.rows(row.iter().len());
                watch.done();
            }
            match plan {
                Plan::Wrap => self.conclude(answer).await,
                _ => answer,
            }
        })
    }

    pub(crate) fn run_prepare<'e>(
        &'e mut self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> Answer<'e, DB::Statement> {
        Box::pin(async move {
            self.admit_prepare().await?;
            self.ask(|raw| DB::prepare_with(raw, sql, parameters)).await
        })
    }

    pub(crate) fn run_describe(&mut self, sql: SqlStr) -> Answer<'_, sqlx::Describe<DB>> {
        Box::pin(async move {
            self.admit_prepare().await?;
            self.ask(|raw| DB::describe(raw, sql)).await
        })
    }

    /// Refuses a statement that cannot work through a pooler, or that would end a transaction past its owner. Decides whether it is prepared
    /// under a name.
    fn admit(&mut self, query: &mut Prepared<DB>) -> Result<(), sqlx::Error> {
        let (pooler, facts) = (self.settings.pooler, query.facts);
        let scope = if self.track.in_transaction() { Scope::Transaction } else { Scope::Session };
        if let Some(refusal) = facts.refusal(query.sql.as_str(), pooler, scope) {
            return Err(Error::pooler(refusal).into());
        }
        match facts.effect {
            // A notification between two statements would break the next user's connection.
            Effect::Listens => self.track.changes_setting(),
            Effect::ForgetsStatements => self.track.desynchronized(),
            _ => {}
        }
        if pooler != Pooler::Direct {
            // A statement without a name is prepared in one round trip and run in the next, which may reach another server. The pooler knows
            // a name.
            query.persistent = pooler == Pooler::Prepared;
        }
        Ok(())
    }

    /// Refuses what leaves a named statement behind, and takes all steps that are due before it.
    async fn admit_prepare(&mut self) -> Result<(), sqlx::Error> {
        if self.settings.pooler == Pooler::Unprepared {
            return Err(Error::pooler(
                "refused: statements cannot be prepared with pooler = \"unprepared\"; give the query to sqlx::query",
            )
            .into());
        }
        self.settle(Purpose::Any).await.map(drop)
    }

    /// A span and a measurement for a statement that is about to be sent.
    fn watch(&self, sql: &str) -> Watch {
        Watch::begin::<DB>(&self.tally, &self.settings.pool.name, sql)
    }

    /// The connection, and what follows its answer to the statement that is about to be sent.
    fn exchange<'w>(&mut self, leaves: Leaves, watch: &'w mut Watch) -> (&mut DB::Connection, Exchange<'_, 'w, DB>) {
        let Session { raw, state, track, limits, tally, familiar, .. } = self;
        track.sends(leaves);
        (raw, Exchange { state, track, tally, familiar, watch, clock: Clock::new(limits) })
    }

    /// Runs a statement to its end.
    pub(super) async fn run<'e, T>(
        &'e mut self,
        leaves: Leaves,
        watch: &mut Watch,
        run: impl FnOnce(&'e mut DB::Connection, &'e DB::State) -> Answer<'e, T>,
    ) -> Result<T, sqlx::Error> {
        let (raw, mut exchange) = self.exchange(leaves, watch);
        let value = exchange.wait(run(raw, exchange.state)).await?;
        exchange.track.answered();
        Ok(value)
    }

    /// Asks the server something on our own behalf.
    pub(crate) async fn ask<'e, T, F>(
        &'e mut self,
        run: impl FnOnce(&'e mut DB::Connection) -> F,
    ) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'e,
    {
        self.run(Leaves::Nothing, &mut Watch::default(), |raw, _| Box::pin(run(raw))).await
    }

    /// Begins, commits or rolls back for a caller. In the telemetry it is a statement with this text.
    pub(crate) async fn transact<'e, F>(
        &'e mut self,
        word: &'static str,
        run: impl FnOnce(&'e mut DB::Connection) -> F,
    ) -> Result<(), sqlx::Error>
    where
        F: Future<Output = Result<(), sqlx::Error>> + Send + 'e,
    {
        let mut watch = self.watch(word);
        self.run(Leaves::Nothing, &mut watch, |raw, _| Box::pin(run(raw))).await?;
        watch.done();
        Ok(())
    }
}

/// What a query leaves behind, whatever comes of it.
fn leaves<DB: Backend>(query: &Prepared<DB>) -> Leaves {
    if query.facts.effect == Effect::None { Leaves::Nothing } else { Leaves::Anything }
}

/// A statement under way: all that its answer is reported to.
struct Exchange<'l, 'w, DB: Backend> {
    state: &'l DB::State,
    track: &'l mut Track,
    tally: &'l Tally,
    familiar: &'l mut Familiar,
    watch: &'w mut Watch,
    clock: Clock<'l>,
}

impl<DB: Backend> Exchange<'_, '_, DB> {
    /// Waits for the answer, or for its next part.
    async fn wait<T>(&mut self, part: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
        let (watch, mut part) = (&*self.watch, pin!(part));
        let part = poll_fn(|cx| watch.within(|| part.as_mut().poll(cx)));
        match self.clock.wait::<DB, _>(self.state, part).await {
            Ok(Ok(part)) => Ok(part),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(Silent) => Err(self.silent()),
        }
    }

    /// Records what an error says of the connection, and turns a timeout into an error of its own.
    fn failed(&mut self, error: sqlx::Error) -> sqlx::Error {
        self.watch.failed(&error);
        let class = Class::of(&error);
        // Otherwise sqlx refused a value or could not read one, perhaps in the middle of an answer.
        self.track.failed(class, matches!(error, sqlx::Error::Database(_)));
        // PostgreSQL reports its own limit and a cancellation with the same code. Only the text differs, and that is translated.
        let is_timeout = class == Class::StatementTimeout || (class == Class::Cancelled && self.clock.is_up());
        let limits = self.clock.limits;
        let Some(limit) = limits.statement_timeout.filter(|_| is_timeout) else { return error };
        let error = Error::statement_timeout(limit, limits.statement_timeout_status, Some(error));
        self.tally.timed_out(&error, true);
        error.into()
    }

    /// The server did not answer within the limit and the margin. A later answer has no reader.
    fn silent(&mut self) -> sqlx::Error {
        self.watch.given_up();
        let limits = self.clock.limits;
        let (status, kept_by) = (limits.statement_timeout_status, limits.kept_by);
        let limit = limits.statement_timeout.expect("BUG: only a limit can run out");
        // Where the server does not know the limit, the statement is cancelled before the next one or on return.
        self.track.timed_out(limit, kept_by == Keeper::Server);
        let error = match kept_by {
            Keeper::Server => Error::statement_timeout(limit, status, None),
            _ => Error::overdue(limit, status),
        };
        self.tally.timed_out(&error, false);
        error.into()
    }
}
