//! Sending a statement: what becomes of it, how long the server takes, and what its error means.

use super::{
    Link, Watch, Within,
    clock::{Clock, Limits, Silent},
    counters::Tally,
    track::Track,
};
use crate::{
    Error, Pooler,
    backend::{Answer, Backend, Keeper, Prepared, Rows},
    sql,
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
    pub(super) async fn watched<'e, T>(
        &'e mut self,
        tidy: bool,
        watch: &mut Watch,
        run: impl FnOnce(&'e mut DB::Connection) -> Answer<'e, T>,
    ) -> Result<T, sqlx::Error> {
        let Link { raw, state, track, limits, tally, .. } = self;
        let mut clock = Clock::new(limits);
        track.start(tidy);
        match clock.wait::<DB, _>(state, run(raw).within(watch)).await {
            Ok(Ok(value)) => {
                track.finish();
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
    pub(super) fn admit(&mut self, query: &mut Prepared<DB>) -> Result<(), sqlx::Error> {
        let pooler = self.settings.pooler;
        let alone = matches!(query.arguments, Ok(Some(_)));
        if self.track.owned > 0
            && let Some(refusal) = DB::refusal(query.sql.as_str(), alone)
        {
            return Err(Error::pooler(refusal).into());
        }
        if pooler == Pooler::Direct {
            for word in sql::first_words(query.sql.as_str()) {
                if word.eq_ignore_ascii_case("listen") {
                    // A notification between two statements would break the next user's connection.
                    self.track.changed();
                } else if word.eq_ignore_ascii_case("discard") || word.eq_ignore_ascii_case("deallocate") {
                    self.track.garbled();
                }
            }
            return Ok(());
        }
        if let Some(refusal) = sql::pooled::refusal(pooler, query.sql.as_str(), alone, self.track.owned > 0) {
            return Err(Error::pooler(refusal).into());
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
        if !self.is_wrapped() && !self.track.is_unsettled() {
            return self.fetch_many_bare(query);
        }
        Box::pin(async_stream::stream! {
            if let Err(error) = self.settle().await {
                yield Err(error);
                return;
            }
            if !self.is_wrapped() {
                let mut rows = self.fetch_many_bare(query);
                while let Some(row) = poll_fn(|cx| rows.as_mut().poll_next(cx)).await {
                    yield row;
                }
                return;
            }
            if let Err(error) = self.enclose().await {
                yield Err(error);
                return;
            }
            let mut failure = None;
            {
                let mut rows = self.fetch_many_bare(query);
                while let Some(row) = poll_fn(|cx| rows.as_mut().poll_next(cx)).await {
                    match row {
                        Ok(row) => yield Ok(row),
                        Err(error) => failure = Some(error),
                    }
                }
            }
            // Before the error is told: who hears of it does not ask for more.
            let done = self.conclude(failure.is_none()).await;
            if let Some(error) = failure.or(done.err().map(|error| Error::of_commit(error).into())) {
                yield Err(error);
            }
        })
    }

    pub(super) fn fetch_many_bare(&mut self, mut query: Prepared<DB>) -> Rows<'_, DB> {
        let (again, mut text) = self.again(&query);
        query.again = again;
        Box::pin(async_stream::stream! {
            let mut watch = self.watch(query.sql.as_str());
            let Link { raw, state, track, limits, tally, familiar, .. } = self;
            let mut clock = Clock::new(limits);
            track.start(query.is_tidy());
            let mut rows = DB::fetch_many(raw, query);
            loop {
                watch.asked();
                match clock.wait::<DB, _>(state, poll_fn(|cx| watch.within(|| rows.as_mut().poll_next(cx)))).await {
                    Ok(Some(Ok(row))) => {
                        if let Some(text) = text.take() {
                            familiar.learn(text);
                        }
                        watch.rows(usize::from(row.is_right()));
                        track.midway = false;
                        yield Ok(row);
                        track.midway = true;
                    }
                    // Before the error is told: who hears of it does not ask for more.
                    Ok(Some(Err(error))) => {
                        watch.failed(&error);
                        yield Err(judge(error, track, &clock, limits, tally));
                        break;
                    }
                    Ok(None) => {
                        track.finish();
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
        if !self.is_wrapped() && !self.track.is_unsettled() {
            return Box::pin(self.fetch_optional_bare(query));
        }
        Box::pin(async move {
            self.settle().await?;
            if !self.is_wrapped() {
                return self.fetch_optional_bare(query).await;
            }
            self.enclose().await?;
            let row = self.fetch_optional_bare(query).await;
            let done = self.conclude(row.is_ok()).await;
            let row = row?;
            done.map_err(Error::of_commit)?;
            Ok(row)
        })
    }

    pub(super) async fn fetch_optional_bare(
        &mut self,
        mut query: Prepared<DB>,
    ) -> Result<Option<DB::Row>, sqlx::Error> {
        let (again, text) = self.again(&query);
        query.again = again;
        let mut watch = self.watch(query.sql.as_str());
        let row = self.watched(query.is_tidy(), &mut watch, |raw| DB::fetch_optional(raw, query)).await?;
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
                self.settle().await?;
                self.ask(|raw| DB::prepare_with(raw, sql, parameters)).await
            }),
            Err(refused) => Box::pin(std::future::ready(Err(refused))),
        }
    }

    pub(crate) fn describe(&mut self, sql: SqlStr) -> Answer<'_, sqlx::Describe<DB>> {
        match self.admit_prepare() {
            Ok(()) => Box::pin(async move {
                self.settle().await?;
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
        self.watched(true, &mut Watch::none(), |raw| Box::pin(run(raw))).await
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
        self.watched(true, &mut watch, |raw| Box::pin(run(raw))).await?;
        watch.done();
        Ok(())
    }
}

/// Notes what an error says of the connection, and names the one that is ours to name.
pub(super) fn judge(
    error: sqlx::Error,
    track: &mut Track,
    clock: &Clock,
    limits: &Limits,
    tally: &Tally,
) -> sqlx::Error {
    // An error is the end of a statement: sqlx reads on to the next one's beginning by itself.
    track.finish();
    let class = Class::of(&error);
    track.doubtful = true;
    track.suspects(class);
    track.conflict |= class == Class::Conflict;
    // PostgreSQL says the same of its own limit and of a cancellation by somebody, but for the text, which is translated.
    let is_timeout = class == Class::StatementTimeout || (class == Class::Cancelled && clock.is_up());
    match (class, clock.limit) {
        (_, Some(limit)) if is_timeout => {
            let error = Error::statement_timeout(limit, limits.statement_timeout_status, Some(error));
            tally.timed_out_by_server(&error);
            return error.into();
        }
        (Class::Lost, _) => track.lost = true,
        (Class::Protocol, _) => track.garbled = true,
        (_, _) if matches!(error, sqlx::Error::Database(_)) => {}
        // sqlx refused a value or could not read one, perhaps in the middle of an answer.
        (_, _) => track.unknown = true,
    }
    error
}

/// No word from the server within the limit and the margin: whatever comes later belongs to nobody.
pub(super) fn silent(track: &mut Track, clock: &Clock, limits: &Limits, tally: &Tally) -> sqlx::Error {
    let status = limits.statement_timeout_status;
    let limit = clock.limit.expect("BUG: only a limit can run out");
    // The server may know nothing of this limit. What still runs is cancelled when the connection goes back.
    track.silent = track.silent.or((clock.kept_by == Keeper::Server).then_some(limit));
    // It may yet be made, and the caller was told that it was not: so its transaction must not be.
    track.astray |= track.owned > 0;
    let error = match clock.kept_by {
        Keeper::Server => Error::statement_timeout(limit, status, None),
        _ => Error::overdue(limit, status),
    };
    tally.timed_out_by_client(&error);
    error.into()
}
