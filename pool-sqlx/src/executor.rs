//! Statements that we watch: what they leave behind, how long the server takes, and what their errors mean.
//!
//! A connection whose every statement was watched to its end, and was of a kind that leaves nothing open, is *known clean*: it
//! goes back to the pool without a round trip.

use crate::{
    Conn, Error, Main, Pool, Pooler, Tx, TxOptions,
    backend::{Answer, Backend, Keeper, Rows, hidden},
    conn::Seen,
    manager::{Limits, Link},
    sql,
    telemetry::{Watch, Within},
    watch::Tally,
    words::Class,
};
use pool_core::Site;
use sqlx::{AssertSqlSafe, Connection, Database, Execute, Executor, SqlSafeStr, SqlStr, error::BoxDynError};
use std::{
    borrow::BorrowMut,
    collections::HashSet,
    future::{Future, poll_fn},
    hash::{DefaultHasher, Hasher},
    pin::pin,
    task::Poll,
    time::Duration,
};
use tokio::time::Instant;

/// How much longer than the server's own limit we wait for its answer: it has to notice, and the answer has to travel.
const MARGIN: Duration = Duration::from_millis(500);

/// What is known about a connection's session from the statements that were watched.
#[derive(Debug, Default)]
pub(crate) struct Track {
    /// A statement is under way. Still set when nobody waits for it any more: it was dropped in the middle.
    running: bool,
    /// Its next row, or its end, is waited for. Dropped now, it may leave half a message behind; between two rows it does not.
    midway: bool,
    /// Transactions that somebody owns, one inside the other, and whose beginning the server has acknowledged.
    owned: u32,
    /// A transaction may be open that nobody owns: a `begin`, a `commit` or a statement within a transaction of ours has no answer yet, or
    /// will never get one. Nothing else may be sent before that is settled: it would share the transaction's fate.
    astray: bool,
    /// A statement of the transaction failed or went past us: it may have been aborted.
    doubtful: bool,
    /// A statement of the transaction failed, and the database may have ended it for that: to be looked at before anything else is sent.
    suspect: Option<Class>,
    /// A statement of the transaction lost against another transaction.
    conflict: bool,
    /// sqlx's own connection was used in the transaction, where anything may have been done to it.
    bypassed: bool,
    /// Something went past us or may have left something open.
    unknown: bool,
    /// Something went past us that may have left an answer behind, which would be taken for the next statement's.
    unheard: bool,
    /// Client and server no longer understand each other.
    garbled: bool,
    /// The server is gone.
    lost: bool,
    /// A statement of which it did not keep the time has no answer within this limit: it may be gone, or at work.
    silent: Option<Duration>,
    /// We changed a setting of the session for this loan.
    changed: bool,
}

impl Track {
    /// Whether the session is as it was when the connection was opened, as far as transactions go.
    pub(crate) fn is_clean(&self) -> bool {
        !(self.running || self.owned > 0 || self.astray || self.unknown || self.garbled || self.lost || self.changed)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.unknown
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    pub(crate) fn is_garbled(&self) -> bool {
        self.garbled
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silent.is_some()
    }

    /// The server does not answer.
    pub(crate) fn lost(&mut self) {
        self.lost = true;
    }

    /// A setting of the session is about to change, and has to be undone.
    pub(crate) fn changed(&mut self) {
        self.changed = true;
    }

    /// From here on anything may happen unseen.
    pub(crate) fn unknown(&mut self) {
        (self.unknown, self.doubtful, self.unheard, self.bypassed) = (true, true, true, true);
    }

    /// The change has been undone.
    pub(crate) fn unchanged(&mut self) {
        self.changed = false;
    }

    /// Whether it takes a look to know if the open transaction can be committed.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Whether the transaction lost against another one.
    pub(crate) fn is_conflict(&self) -> bool {
        self.conflict
    }

    /// A savepoint was rolled back to, before which that was known.
    pub(crate) fn forgiven(&mut self, conflict: bool) {
        self.conflict = conflict;
    }

    /// Whether sqlx's own connection was used in the transaction.
    pub(crate) fn is_bypassed(&self) -> bool {
        self.bypassed
    }

    /// Why a transaction takes no more statements and cannot commit.
    pub(crate) fn gone(&self) -> Error {
        if self.conflict { Error::rolled_back(true) } else { Error::transaction_gone() }
    }

    /// Whether somebody, past us, has ended a transaction that has an owner.
    pub(crate) fn is_outlived_by(&self, depth: usize) -> bool {
        self.doubtful && depth < self.owned as usize
    }

    /// Whether it is not known which transaction is open.
    pub(crate) fn is_astray(&self) -> bool {
        self.astray
    }

    /// Whether there is something to find out before the next statement.
    fn is_unsettled(&self) -> bool {
        self.running || self.astray || self.suspect.is_some() || self.unheard
    }

    /// A transaction begins, before the server knows. Says whether it is inside another.
    pub(crate) fn begins(&mut self) -> bool {
        if self.owned == 0 {
            (self.doubtful, self.suspect, self.conflict, self.bypassed) = (false, None, false, false);
        }
        self.astray = true;
        self.owned > 0
    }

    /// The beginning was acknowledged: the transaction has an owner.
    pub(crate) fn begun(&mut self) {
        (self.owned, self.astray) = (self.owned + 1, false);
    }

    /// The end was acknowledged.
    pub(crate) fn ended(&mut self) {
        (self.owned, self.astray) = (self.owned - 1, false);
    }

    /// The owner has gone without an acknowledged end. Of a savepoint that is the business of the transaction around it.
    pub(crate) fn abandoned(&mut self) {
        self.owned -= 1;
        self.astray |= self.owned == 0;
    }

    /// No transaction is open, whatever there was.
    fn settled(&mut self) {
        self.astray = false;
    }

    /// What the server has prepared is gone, and sqlx does not know: the connection is of no use to anybody.
    fn garbled(&mut self) {
        self.garbled = true;
    }

    fn start(&mut self, tidy: bool) {
        // An earlier statement was dropped in the middle: it may be anything.
        let unseen = self.running || !tidy;
        self.unknown |= unseen;
        self.doubtful |= unseen;
        (self.running, self.midway) = (true, true);
    }

    fn finish(&mut self) {
        self.running = false;
    }

    /// A statement failed like this.
    fn suspects(&mut self, class: Class) {
        self.suspect = (self.owned > 0).then_some(class);
    }

    /// A statement that was dropped in the middle has ended, and its answer was read. What it did is not known.
    fn stopped(&mut self) {
        self.running = false;
        (self.unknown, self.doubtful) = (true, true);
        self.suspects(Class::Cancelled);
    }
}

/// A query taken apart, so that its text can be looked at before sqlx gets it.
pub struct Prepared<DB: Database> {
    sql: SqlStr,
    arguments: Result<Option<DB::Arguments>, BoxDynError>,
    statement: Option<DB::Statement>,
    persistent: bool,
    again: Again,
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

/// Texts that have run on a connection without a name: sqlx knows the types that they need.
#[derive(Debug, Default)]
pub(crate) struct Familiar(HashSet<u64>);

impl Familiar {
    /// More of them are made up as they go, and will not come back.
    const MOST: usize = 1000;

    fn number(sql: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(sql.as_bytes());
        hasher.finish()
    }

    fn learn(&mut self, text: u64) {
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.insert(text);
    }
}

impl<DB: Backend> Prepared<DB> {
    fn new<'q>(mut query: impl Execute<'q, DB>) -> Self {
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
    fn is_tidy(&self) -> bool {
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

/// A statement's time, counted only while the server is waited for.
struct Clock {
    limit: Option<Duration>,
    /// How much longer we wait, for who ends the statement otherwise.
    margin: Duration,
    kept_by: Keeper,
    used: Duration,
}

/// The server did not answer.
struct Silent;

impl Clock {
    fn new(limits: &Limits) -> Self {
        let margin = match limits.kept_by {
            Keeper::Server => MARGIN,
            Keeper::Both => MARGIN / 5,
            Keeper::Us => Duration::ZERO,
        };
        Self { limit: limits.statement_timeout, margin, kept_by: limits.kept_by, used: Duration::ZERO }
    }

    async fn wait<DB: Backend, F: Future>(&mut self, state: &DB::State, answer: F) -> Result<F::Output, Silent> {
        let Some(limit) = self.limit else { return Ok(answer.await) };
        let mut answer = pin!(answer);
        // What has arrived already costs no look at the clock.
        let first = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        if let Poll::Ready(answer) = first {
            return Ok(answer);
        }
        let (asked, left) = (Instant::now(), limit.saturating_sub(self.used));
        DB::deadline(state, Some(left));
        // Dropped here, the deadline stands: it ends what nobody waits for any more.
        let answer = tokio::time::timeout(left + self.margin, answer).await;
        DB::deadline(state, None);
        self.used += asked.elapsed();
        answer.map_err(|_| Silent)
    }

    /// Whether the server may well have stopped the statement by its own limit.
    fn is_up(&self) -> bool {
        self.limit.is_some_and(|limit| self.used >= limit)
    }
}

impl<DB: Backend> Link<DB> {
    /// Tells telemetry of a statement that is about to be sent.
    fn watch(&self, sql: &str) -> Watch {
        Watch::begin::<DB>(&self.tally, &self.settings.pool.name, sql)
    }

    /// Runs a statement to its end.
    async fn watched<'e, T>(
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
    fn admit(&mut self, query: &mut Prepared<DB>) -> Result<(), sqlx::Error> {
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

    /// Whether a statement needs a transaction of ours around it, so that all of its round trips meet the same server, within limits.
    fn is_wrapped(&self) -> bool {
        self.settings.pooler == Pooler::Unprepared && self.track.owned == 0
    }

    /// How this statement is tried again if the server loses it while its types are looked up, and its text, to be learned.
    ///
    /// A savepoint costs two round trips, and a text that has run on this connection needs none. A transaction of ours begins anew at no
    /// cost unless that happens.
    fn again(&self, query: &Prepared<DB>) -> (Again, Option<u64>) {
        if self.settings.pooler != Pooler::Unprepared || !matches!(query.arguments, Ok(Some(_))) {
            return (Again::Never, None);
        }
        let sql = query.sql.as_str();
        let text = Familiar::number(sql);
        let again = match self.track.owned {
            0 => self.own_begin().map_or(Again::Never, |begin| {
                let anew = format!("ROLLBACK; {}", begin.as_str());
                Again::Anew(AssertSqlSafe(anew).into_sql_str())
            }),
            _ if sql::may_answer(sql) && !self.familiar.0.contains(&text) => Again::Savepoint,
            _ => Again::Never,
        };
        (again, Some(text))
    }

    /// Makes sure that nothing runs which nobody waits for, and that no transaction is open which nobody owns: what follows would get the
    /// answer of the one, and be rolled back with the other or be left in it.
    ///
    /// One round trip after a transaction, a `begin` or a `commit` was dropped on its way or failed, on the same loan; with PostgreSQL one
    /// after sqlx's own connection was used; as in [`stop`](Self::stop) after a statement was dropped in the middle; else nothing.
    pub(crate) async fn settle(&mut self) -> Result<(), sqlx::Error> {
        self.refuse_astray()?;
        // Boxed for the size of the futures of those who have nothing to stop.
        if self.track.running {
            Box::pin(self.stop()).await?;
        }
        self.heed().await?;
        self.look().await;
        self.refuse_astray()?;
        if !self.track.astray {
            return Ok(());
        }
        self.ask(DB::probe).await?;
        self.track.settled();
        if self.track.is_changed() && (DB::READ_ONLY_LINGERS || !DB::LIMITS_TRANSACTIONS) {
            self.undo().await;
        }
        Ok(())
    }

    /// Refuses what follows in a transaction that takes nothing any more.
    fn refuse_astray(&self) -> Result<(), sqlx::Error> {
        if self.track.astray && self.track.owned > 0 { Err(self.track.gone().into()) } else { Ok(()) }
    }

    /// Ends the statement that was dropped in the middle, if there is one, and takes its answer, which is nobody's. Within `reset_timeout`.
    ///
    /// A stream that was left between two rows is read to its end, within the limit of a statement, where a cancellation would cost more
    /// than it: the transaction that it is in, or the connection.
    ///
    /// An error: nothing can follow on this connection, or not yet.
    pub(crate) async fn stop(&mut self) -> Result<(), sqlx::Error> {
        if !self.track.running {
            return Ok(());
        }
        if let Some(limit) = self.track.silent {
            return Err(Error::silent("statement_timeout", limit).into());
        }
        if self.track.garbled || self.cancelling || (self.track.midway && !DB::DRAINS) {
            return Err(Error::spent().into());
        }
        if !self.track.midway && (self.track.owned > 0 || !DB::DRAINS) {
            return self.read_on().await;
        }
        let limit = self.control.reset_timeout();
        match tokio::time::timeout(limit, self.cancel(limit / 4)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                match Class::of(&error) {
                    Class::Lost => self.track.lost = true,
                    Class::Protocol => self.track.garbled = true,
                    _ => {}
                }
                return Err(error);
            }
            Err(_) => return Err(Error::silent("reset_timeout", limit).into()),
        }
        self.track.stopped();
        // The next one that is dropped is another.
        self.interrupted = false;
        self.dropped += 1;
        Ok(())
    }

    /// Reads what is left of an answer.
    async fn read_on(&mut self) -> Result<(), sqlx::Error> {
        for _ in 0..4 {
            let answer = self.ask(|raw| raw.ping()).await;
            let track = &mut self.track;
            match answer {
                Ok(()) => {
                    track.stopped();
                    return Ok(());
                }
                // The statement's own, whose owner has left. What follows it is read with the next ping.
                Err(_) if !(track.running || track.lost || track.garbled) => track.running = true,
                Err(error) => return Err(error),
            }
        }
        Err(Error::spent().into())
    }

    /// Cancels the statement under way until it has ended. Each cancellation has some time to arrive: one that came before its statement
    /// had begun is worth another, and so is one for which the server had no room; the statement may end by itself meanwhile.
    async fn cancel(&mut self, patience: Duration) -> Result<(), sqlx::Error> {
        loop {
            match self.interrupt().await {
                Err(error) if !self.crowded => return Err(error),
                _ => {}
            }
            if let Ok(drained) = tokio::time::timeout(patience, drain::<DB>(&mut self.raw)).await {
                return drained;
            }
        }
    }

    /// Stops the statement that a caller left running.
    pub(crate) async fn interrupt(&mut self) -> Result<(), sqlx::Error> {
        // Given up in the middle, it may yet arrive, and hit whatever runs then.
        self.cancelling = true;
        let done = DB::interrupt(&mut self.raw, &self.state, &self.control).await;
        self.interrupted = true;
        self.crowded = done.as_ref().is_err_and(|error| Class::of(error) == Class::Overloaded);
        self.cancelling = done.is_err() && !self.crowded;
        done
    }

    /// Finds out whether the answers are still those to our statements.
    pub(crate) async fn heed(&mut self) -> Result<(), sqlx::Error> {
        if self.track.unheard {
            self.track.unheard = !self.ask(DB::heeds).await?;
        }
        Ok(())
    }

    /// Finds out whether the database has ended our transaction because a statement in it failed.
    pub(crate) async fn look(&mut self) {
        let Some(failure) = self.track.suspect else { return };
        if self.track.owned > 0 && !self.track.astray {
            // Dropped in the middle, it is not known.
            self.track.astray = true;
            self.track.astray = self.ask(|raw| DB::has_ended(raw, failure)).await.unwrap_or(true);
        }
        self.track.suspect = None;
    }

    /// How a transaction begins that is there for one statement.
    fn own_begin(&self) -> Option<SqlStr> {
        let statement_timeout = self.limits.statement_timeout;
        self.begin_statement(TxOptions { statement_timeout, ..TxOptions::new() })
    }

    async fn enclose(&mut self) -> Result<(), sqlx::Error> {
        let statement = self.own_begin();
        self.track.begins();
        self.ask(|raw| hidden::begin::<DB>(raw, statement)).await
    }

    /// Commits, or rolls back after an error. If that fails, the connection is cleaned on return.
    async fn conclude(&mut self, success: bool) -> Result<(), sqlx::Error> {
        let done = match success {
            true => self.ask(hidden::commit::<DB>).await,
            false => self.ask(hidden::rollback::<DB>).await,
        };
        if done.is_ok() {
            self.track.settled();
        }
        done
    }

    fn fetch_many(&mut self, mut query: Prepared<DB>) -> Rows<'_, DB> {
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

    fn fetch_many_bare(&mut self, mut query: Prepared<DB>) -> Rows<'_, DB> {
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

    fn fetch_optional(&mut self, mut query: Prepared<DB>) -> Answer<'_, Option<DB::Row>> {
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

    async fn fetch_optional_bare(&mut self, mut query: Prepared<DB>) -> Result<Option<DB::Row>, sqlx::Error> {
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
    fn admit_prepare(&self) -> Result<(), sqlx::Error> {
        match self.settings.pooler {
            Pooler::Direct | Pooler::Prepared => Ok(()),
            Pooler::Unprepared => Err(Error::pooler(
                "refused: statements cannot be prepared with pooler = \"unprepared\"; give the query to sqlx::query",
            )
            .into()),
        }
    }

    fn prepare_with<'e>(&'e mut self, sql: SqlStr, parameters: &'e [DB::TypeInfo]) -> Answer<'e, DB::Statement> {
        match self.admit_prepare() {
            Ok(()) => Box::pin(async move {
                self.settle().await?;
                self.ask(|raw| DB::prepare_with(raw, sql, parameters)).await
            }),
            Err(refused) => Box::pin(std::future::ready(Err(refused))),
        }
    }

    fn describe(&mut self, sql: SqlStr) -> Answer<'_, sqlx::Describe<DB>> {
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

    /// Another `statement_timeout` than the pool's, until the connection goes back.
    ///
    /// A shorter one is kept by us, which costs nothing unless it runs out. The server has to be told of a longer one, and of any
    /// that is to hold for statements which we do not see: one round trip now, and one on return.
    pub(crate) async fn limit(&mut self, limit: Duration, seen: Seen) -> Result<(), sqlx::Error> {
        self.limits.statement_timeout = Some(limit);
        // Behind a pooler, what runs in a transaction takes its limit from here.
        if DB::KEEPS_DEADLINES || self.settings.pooler != Pooler::Direct {
            return Ok(());
        }
        // What swallows start-up options is a pooler all the same: a setting of the session would stay with a stranger.
        if DB::is_swallowed(&self.state) {
            return Ok(());
        }
        if seen == Seen::All && self.settings.statement_timeout.is_none_or(|pool| limit <= pool) {
            self.limits.kept_by = Keeper::Us;
            return Ok(());
        }
        self.track.changed();
        self.limits.told = Some(limit);
        let Link { raw, state, track, limits, tally, .. } = self;
        track.start(true);
        let mut clock = Clock::new(limits);
        match clock.wait::<DB, _>(state, DB::limit(raw, state, limit)).await {
            Ok(Ok(())) => {
                track.finish();
                Ok(())
            }
            Ok(Err(error)) => Err(judge(error, track, &clock, limits, tally)),
            Err(Silent) => Err(silent(track, &clock, limits, tally)),
        }
    }

    /// Takes back at once what a transaction has changed: what its loan was told holds again, or else the pool's own.
    pub(crate) async fn undo(&mut self) {
        let Link { raw, state, track, limits, settings, .. } = self;
        track.start(true);
        let told = limits.told;
        let undo = async {
            match told {
                Some(limit) => DB::limit(raw, state, limit).await,
                None => DB::undo(raw, state, settings).await,
            }
        };
        // If it fails, the return does it again.
        match Clock::new(limits).wait::<DB, _>(state, undo).await {
            Ok(Ok(())) => {
                track.finish();
                if told.is_none() {
                    track.unchanged();
                }
            }
            Ok(Err(_)) => {}
            Err(Silent) => track.silent = limits.statement_timeout,
        }
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

/// Reads on to the end of what was asked. An error of the database was said to who has left.
async fn drain<DB: Backend>(raw: &mut DB::Connection) -> Result<(), sqlx::Error> {
    for _ in 0..4 {
        match raw.ping().await {
            Err(sqlx::Error::Database(error)) if Class::of_database(&*error) != Class::Lost => {}
            done => return done,
        }
    }
    Err(sqlx::Error::Protocol("the connection did not settle after four pings".into()))
}

/// Notes what an error says of the connection, and names the one that is ours to name.
fn judge(error: sqlx::Error, track: &mut Track, clock: &Clock, limits: &Limits, tally: &Tally) -> sqlx::Error {
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
fn silent(track: &mut Track, clock: &Clock, limits: &Limits, tally: &Tally) -> sqlx::Error {
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

/// Each statement acquires a connection of its own and gives it back when its last row has been read.
// The futures hold the pool under another key: nobody promises how long a key lives.
impl<'p, DB: Backend, Key> Executor<'p> for &'_ Pool<DB, Key> {
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Rows<'e, DB>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let (pool, query) = (self.clone().keyed::<Main>(), Prepared::new(query));
        Box::pin(async_stream::stream! {
            let mut conn = match pool.acquire_at(STATEMENT, None).await {
                Ok(conn) => conn,
                Err(error) => {
                    yield Err(error.into());
                    return;
                }
            };
            let mut rows = conn.link().fetch_many(query);
            while let Some(row) = poll_fn(|cx| rows.as_mut().poll_next(cx)).await {
                yield row;
            }
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> Answer<'e, Option<DB::Row>>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let (pool, query) = (self.clone().keyed::<Main>(), Prepared::new(query));
        Box::pin(async move { pool.acquire_at(STATEMENT, None).await?.link().fetch_optional(query).await })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [DB::TypeInfo]) -> Answer<'e, DB::Statement>
    where
        'p: 'e,
    {
        let pool = self.clone().keyed::<Main>();
        Box::pin(async move { pool.acquire_at(STATEMENT, None).await?.link().prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> Answer<'e, sqlx::Describe<DB>>
    where
        'p: 'e,
    {
        let pool = self.clone().keyed::<Main>();
        Box::pin(async move { pool.acquire_at(STATEMENT, None).await?.link().describe(sql).await })
    }
}

/// Who holds a connection for a statement on the pool itself. sqlx calls us, so the user's line is not to be had.
const STATEMENT: Site = Site::nowhere("a statement on the pool");

/// One impl for each database: a generic one sends the compiler round in circles (E0275) where a database is inferred.
macro_rules! tracked_executor {
    ($db:ty, [$($generics:tt)*], $conn:ty) => {
        impl<'c, $($generics)*> Executor<'c> for &'c mut $conn {
            type Database = $db;

            fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Rows<'e, $db>
            where
                'c: 'e,
                E: 'q + Execute<'q, $db>,
            {
                self.link().fetch_many(Prepared::new(query))
            }

            fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> Answer<'e, Option<<$db as Database>::Row>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $db>,
            {
                self.link().fetch_optional(Prepared::new(query))
            }

            fn prepare_with<'e>(
                self,
                sql: SqlStr,
                parameters: &'e [<$db as Database>::TypeInfo],
            ) -> Answer<'e, <$db as Database>::Statement>
            where
                'c: 'e,
            {
                self.link().prepare_with(sql, parameters)
            }

            fn describe<'e>(self, sql: SqlStr) -> Answer<'e, sqlx::Describe<$db>>
            where
                'c: 'e,
            {
                self.link().describe(sql)
            }
        }
    };
}

#[cfg(feature = "postgres")]
tracked_executor!(sqlx::Postgres, [], Conn<sqlx::Postgres>);
#[cfg(feature = "postgres")]
tracked_executor!(sqlx::Postgres, [C: BorrowMut<Conn<sqlx::Postgres>> + Send], Tx<sqlx::Postgres, C>);
#[cfg(feature = "mysql")]
tracked_executor!(sqlx::MySql, [], Conn<sqlx::MySql>);
#[cfg(feature = "mysql")]
tracked_executor!(sqlx::MySql, [C: BorrowMut<Conn<sqlx::MySql>> + Send], Tx<sqlx::MySql, C>);
#[cfg(feature = "sqlite")]
tracked_executor!(sqlx::Sqlite, [], Conn<sqlx::Sqlite>);
#[cfg(feature = "sqlite")]
tracked_executor!(sqlx::Sqlite, [C: BorrowMut<Conn<sqlx::Sqlite>> + Send], Tx<sqlx::Sqlite, C>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_after_one_that_was_dropped_does_not_clean_it() {
        let mut track = Track::default();
        track.start(true);
        track.finish();
        assert!(track.is_clean());
        track.start(true);
        track.start(true);
        track.finish();
        assert!(!track.is_clean());
    }

    #[test]
    fn a_transaction_is_astray_until_its_beginning_and_its_end_have_an_answer() {
        let mut track = Track::default();
        assert!(!track.begins(), "there is none around it");
        assert!(track.is_astray() && !track.is_clean(), "dropped here, it may be open");
        track.begun();
        assert!(!track.is_astray() && !track.is_clean());
        assert!(track.begins(), "a savepoint");
        track.begun();
        track.abandoned();
        assert!(!track.is_astray(), "its rollback is on its way, and the outer one is known");
        track.conflict = true;
        track.abandoned();
        assert!(track.is_astray());
        track.settled();
        track.begins();
        assert!(!track.is_conflict(), "that was another transaction's");
        track.begun();
        track.ended();
        assert!(track.is_clean());
    }

    #[cfg(feature = "postgres")]
    fn two_seconds() -> Clock {
        let statement_timeout = Some(Duration::from_secs(2));
        Clock::new(&Limits { statement_timeout, statement_timeout_status: 503, kept_by: Keeper::Server, told: None })
    }

    #[cfg(feature = "postgres")]
    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up_after_the_limit_and_the_margin() {
        let (began, mut clock) = (Instant::now(), two_seconds());
        assert!(clock.wait::<sqlx::Postgres, _>(&Default::default(), std::future::pending::<()>()).await.is_err());
        assert_eq!(began.elapsed(), Duration::from_millis(2500));
    }

    #[cfg(feature = "postgres")]
    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_does_not_use_up_the_server_s_time() {
        let mut clock = two_seconds();
        for _ in 0..10 {
            let row = tokio::time::sleep(Duration::from_millis(100));
            assert!(clock.wait::<sqlx::Postgres, _>(&Default::default(), row).await.is_ok());
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(clock.used, Duration::from_secs(1));
        assert!(
            clock
                .wait::<sqlx::Postgres, _>(&Default::default(), tokio::time::sleep(Duration::from_millis(1600)))
                .await
                .is_err()
        );
    }
}
