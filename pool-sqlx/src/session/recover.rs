//! What is done about a statement that was dropped, and about all that is in doubt.

use super::{
    Link, Seen,
    clock::{Clock, Silent},
    statement::{judge, silent},
};
use crate::{
    Error, Pooler,
    backend::{Backend, Keeper},
    words::Class,
};
use sqlx::Connection;
use std::time::Duration;

impl<DB: Backend> Link<DB> {
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
    pub(super) fn refuse_astray(&self) -> Result<(), sqlx::Error> {
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
    pub(super) async fn read_on(&mut self) -> Result<(), sqlx::Error> {
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
    pub(super) async fn cancel(&mut self, patience: Duration) -> Result<(), sqlx::Error> {
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
}

/// Reads on to the end of what was asked. An error of the database was said to who has left.
pub(super) async fn drain<DB: Backend>(raw: &mut DB::Connection) -> Result<(), sqlx::Error> {
    for _ in 0..4 {
        match raw.ping().await {
            Err(sqlx::Error::Database(error)) if Class::of_database(&*error) != Class::Lost => {}
            done => return done,
        }
    }
    Err(sqlx::Error::Protocol("the connection did not settle after four pings".into()))
}
