//! Recovery: after a dropped statement, after a doubtful transaction, on return and on close.

use super::{
    Seen, Session, Watch,
    track::{Cleaning, Farewell, Leaves, Plan, Purpose, Refusal, Step},
};
use crate::{
    Error, Pooler,
    backend::{Answer, Backend, Interrupt, Keeper},
    words::Class,
};
use sqlx::Connection;
use std::{io, sync::Arc, time::Duration};

impl<DB: Backend> Session<DB> {
    /// Takes all steps that are due before the next statement.
    ///
    /// It costs one round trip after a transaction, a `begin` or a `commit` that was dropped or failed, and with PostgreSQL after the use of
    /// sqlx's own connection. After a statement that was dropped in the middle, it costs a cancellation. Otherwise it costs nothing.
    ///
    /// Returns [`Plan::Send`] or [`Plan::Wrap`]. An error: no statement can be sent on this connection, or not yet.
    pub(crate) async fn settle(&mut self, purpose: Purpose) -> Result<Plan, sqlx::Error> {
        loop {
            match self.track.plan(purpose) {
                plan @ (Plan::Send | Plan::Wrap) => return Ok(plan),
                Plan::Refuse(why) => return Err(refused(why).into()),
                // Boxed for the size of the futures that have nothing to settle.
                Plan::First(step) => Box::pin(self.take(step)).await?,
            }
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), sqlx::Error> {
        match step {
            Step::Cancel => self.stop().await,
            Step::ReadOn => self.read_on().await,
            Step::Verify => {
                let is_certain = self.ask(DB::in_step).await?;
                self.track.verified(is_certain);
                Ok(())
            }
            Step::Look(failure) => {
                self.track.looks();
                let has_ended = self.ask(|raw| DB::has_ended(raw, failure)).await.unwrap_or(true);
                self.track.looked(has_ended);
                Ok(())
            }
            Step::RollBack { undo } => {
                self.ask(DB::probe).await?;
                self.track.rolled_back();
                if undo {
                    self.undo().await;
                }
                Ok(())
            }
        }
    }

    /// Cancels the statement that was dropped in the middle and reads its answer, within `reset_timeout`.
    async fn stop(&mut self) -> Result<(), sqlx::Error> {
        let limit = self.control.reset_timeout();
        let Ok(done) = tokio::time::timeout(limit, self.cancel(limit / 4)).await else {
            return Err(Error::silent("reset_timeout", limit).into());
        };
        match done.as_ref().map_err(Class::of) {
            Ok(()) => self.track.stopped(true),
            Err(Class::Lost) => self.track.lost(),
            Err(Class::Protocol) => self.track.desynchronized(),
            Err(_) => {}
        }
        done
    }

    /// Reads what is left of an answer, within the limit of a statement.
    async fn read_on(&mut self) -> Result<(), sqlx::Error> {
        for _ in 0..4 {
            let answer = self.ask(|raw| raw.ping()).await;
            let track = &mut self.track;
            match answer {
                Ok(()) => {
                    track.stopped(false);
                    return Ok(());
                }
                // The error of the dropped statement, which has no reader. The next ping reads what follows it.
                Err(_) if !(track.is_answering() || track.is_broken()) => track.awaits(),
                Err(error) => return Err(error),
            }
        }
        Err(Error::spent().into())
    }

    /// Cancels the statement under way until it has ended.
    ///
    /// Each cancellation gets `patience` to take effect. Another one follows if it arrived before its statement had begun, or if the server
    /// had no room for it. The statement may also end by itself.
    async fn cancel(&mut self, patience: Duration) -> Result<(), sqlx::Error> {
        loop {
            match self.interrupt().await {
                Err(error) if !self.track.had_no_room() => return Err(error),
                _ => {}
            }
            if let Ok(drained) = tokio::time::timeout(patience, drain::<DB>(&mut self.raw)).await {
                return drained;
            }
        }
    }

    /// Cancels the statement that a caller left running.
    async fn interrupt(&mut self) -> Result<(), sqlx::Error> {
        self.track.cancels();
        let done = self.end_statement().await;
        self.track.cancelled(done.as_ref().copied().map_err(Class::of));
        done
    }

    /// Ends the statement under way, over another connection where its own cannot.
    async fn end_statement(&mut self) -> Result<(), sqlx::Error> {
        match DB::interrupt(&mut self.raw, &self.state).await? {
            Interrupt::Ended => Ok(()),
            Interrupt::Cancel(target) => self.control.end(&target).await,
            Interrupt::End(target) => {
                self.control.end(&target).await?;
                Err(sqlx::Error::Protocol("a statement was dropped in the middle: the connection is closed".into()))
            }
        }
    }

    /// Sets another `statement_timeout` than the pool's, until the connection is returned.
    ///
    /// We enforce a shorter one ourselves, which costs nothing unless it runs out. The server enforces a longer one, and any that also applies
    /// to untracked statements: that costs one round trip now, and one on return.
    pub(crate) async fn limit(&mut self, limit: Duration, seen: Seen) -> Result<(), sqlx::Error> {
        self.limits.statement_timeout = Some(limit);
        // Behind a pooler, a transaction takes its limit from here, and a setting of the session would meet other clients. A proxy that drops
        // start-up options counts as one.
        let is_pooled = self.settings.pooler != Pooler::Direct || DB::is_swallowed(&self.state);
        if DB::KEEPS_DEADLINES || is_pooled {
            return Ok(());
        }
        if seen == Seen::All && self.settings.statement_timeout.is_none_or(|pool| limit <= pool) {
            self.limits.kept_by = Keeper::Us;
            return Ok(());
        }
        self.track.changes_setting();
        self.limits.told = Some(limit);
        self.tell(limit).await
    }

    /// Sets the session's `statement_timeout`.
    async fn tell(&mut self, limit: Duration) -> Result<(), sqlx::Error> {
        self.run(Leaves::Nothing, &mut Watch::default(), |raw, state| Box::pin(DB::limit(raw, state, limit))).await
    }

    /// Undoes at once the settings that a transaction has changed: the limit of the loan applies again, or the pool's own. If this fails, the
    /// return repeats it.
    pub(crate) async fn undo(&mut self) {
        let done = match self.limits.told {
            Some(limit) => self.tell(limit).await,
            None => {
                let settings = Arc::clone(&self.settings);
                let undo =
                    |raw, state| Box::pin(async move { DB::undo(raw, state, &settings).await }) as Answer<'_, ()>;
                self.run(Leaves::Nothing, &mut Watch::default(), undo).await
            }
        };
        if done.is_ok() && self.limits.told.is_none() {
            self.track.took_back_settings();
        }
    }

    /// Makes a connection as good as new, within `reset_timeout`. An error: it has to be closed.
    pub(crate) async fn clean(&mut self) -> Result<(), sqlx::Error> {
        let is_busy = self.track.has_unseen() && DB::is_busy(&mut self.raw);
        let (mut cancel, patient, verify, undo) = match self.track.cleaning(is_busy) {
            Cleaning::Close(why) => return Err(sqlx::Error::Protocol(why.into())),
            Cleaning::GiveUp => return Err(self.give_up().await),
            Cleaning::Do { cancel, patient, verify, undo } => (cancel, patient, verify, undo),
        };
        // A quarter of our time: on a busy server a cancellation may arrive before its statement has begun, and then another one follows.
        let patience = self.control.reset_timeout() / 4;
        loop {
            if cancel {
                self.interrupt().await?;
            }
            let probe = DB::probe(&mut self.raw);
            if !patient {
                break probe.await?;
            }
            match tokio::time::timeout(patience, probe).await {
                Ok(clean) => break clean?,
                Err(_) => cancel = true,
            }
        }
        if verify {
            DB::verify(&mut self.raw, &self.state).await?;
        }
        if undo {
            DB::undo(&mut self.raw, &self.state, &self.settings).await?;
        }
        DB::restore(&mut self.raw, &self.state, self.settings.reset).await?;
        self.track.cleaned().map_err(sqlx::Error::Protocol)
    }

    /// Ends a statement without an answer. Returns the error to close the connection with: the server counts as alive if it accepts the
    /// cancellation.
    async fn give_up(&mut self) -> sqlx::Error {
        // Less than the pool allows: when its own limit runs out, the error does not say what was tried.
        let limit = self.control.reset_timeout() / 5 * 4;
        let is_ours_to_cancel = self.settings.pooler == Pooler::Direct && self.tally.place().host.is_some();
        match tokio::time::timeout(limit, self.interrupt()).await {
            Ok(Err(error)) => error,
            Err(_) if is_ours_to_cancel => io::Error::new(io::ErrorKind::TimedOut, "the server does not answer").into(),
            Ok(Ok(())) | Err(_) => {
                sqlx::Error::Protocol("a statement did not end in time: the connection is closed".into())
            }
        }
    }

    /// Closes the connection. A statement that still runs on it is cancelled first.
    pub(crate) async fn close(mut self) {
        let is_busy = self.track.has_unseen() && DB::is_busy(&mut self.raw);
        if self.track.cancels_before_close(is_busy) {
            let _ = self.interrupt().await;
        }
        let Session { mut raw, state, track, control, .. } = self;
        match track.farewell() {
            Farewell::Hangup => drop(raw),
            farewell => {
                if farewell == Farewell::ReadOut {
                    // The session takes up room on the server until its statement has ended. Until then the pool keeps the slot, for at most
                    // `reset_timeout`.
                    DB::deadline(&state, Some(Duration::ZERO));
                    let _ = raw.ping().await;
                }
                // The server notices a lost connection by itself.
                let _ = raw.close().await;
            }
        }
        if track.was_told()
            && let Some(session) = DB::target(&state)
        {
            control.departed(session).await;
        }
    }
}

/// The error for a refused statement.
fn refused(why: Refusal) -> Error {
    match why {
        Refusal::Over { conflict } => Error::over(conflict),
        Refusal::Unresponsive(limit) => Error::silent("statement_timeout", limit),
        Refusal::Spent => Error::spent(),
    }
}

/// Reads an answer to its end. An error of the database is that of the dropped statement, and has no reader.
async fn drain<DB: Backend>(raw: &mut DB::Connection) -> Result<(), sqlx::Error> {
    for _ in 0..4 {
        match raw.ping().await {
            Err(sqlx::Error::Database(error)) if Class::of_database(&*error) != Class::Lost => {}
            done => return done,
        }
    }
    Err(sqlx::Error::Protocol("the connection did not settle after four pings".into()))
}
