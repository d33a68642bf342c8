//! The control connection: at most one at a time, opened beside the pool's connections to cancel abandoned statements.

use crate::{
    DatabaseSettings,
    backend::{Backend, Options, Target, dial::dial},
    words::Class,
};
use sqlx::Connection;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex as Queue, MutexGuard},
    time::{sleep, timeout},
};

/// Queue of sessions whose statement should be cancelled. The task at the head cancels on behalf of all of them: a hundred cancelled
/// requests cost one or two connects.
pub(crate) struct Control<DB: Backend> {
    settings: Arc<DatabaseSettings>,
    /// In nanoseconds. It may change while the pool runs.
    reset_timeout: AtomicU64,
    kept: Queue<Kept<DB>>,
    waiting: Mutex<Vec<Waiting>>,
    /// The log has a warning that the address leads to several servers.
    astray: AtomicBool,
}

/// What one turn leaves to the next.
struct Kept<DB: Backend> {
    options: Options<DB>,
    /// The control connection, while a session waits to use it. With a new one for each turn, the server would have two of them: the
    /// connection before may not be closed yet.
    reached: Option<Reached<DB>>,
}

/// A control connection.
struct Reached<DB: Backend> {
    conn: DB::Connection,
    /// Which server it is on, as in [`Target::server`].
    server: String,
}

/// How many connects look for the server of one session. Behind an address of several servers, the next connect may reach it.
const CONNECTS: u32 = 3;

struct Waiting {
    session: Target,
    /// It was ended, and the queue only asks whether the server still has it.
    leaving: bool,
    /// A cancellation of its statement was given up on its way, and may still arrive at any time.
    doubtful: bool,
}

impl<DB: Backend> Control<DB> {
    pub(crate) fn new(settings: Arc<DatabaseSettings>, options: Options<DB>) -> Self {
        let kept = Queue::new(Kept { options, reached: None });
        let control = Self {
            reset_timeout: AtomicU64::new(0),
            settings,
            kept,
            waiting: Mutex::default(),
            astray: AtomicBool::default(),
        };
        control.set_reset_timeout(control.settings.pool.reset_timeout);
        control
    }

    /// How long a connection may take to be made clean.
    pub(crate) fn reset_timeout(&self) -> Duration {
        Duration::from_nanos(self.reset_timeout.load(Ordering::Relaxed))
    }

    pub(crate) fn set_reset_timeout(&self, limit: Duration) {
        self.reset_timeout.store(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Keeps the options of the pool's last connect, for a turn that gets no password of its own.
    pub(crate) fn known(&self, options: &Options<DB>) {
        if let Ok(mut kept) = self.kept.try_lock() {
            kept.options.clone_from(options);
        }
        self.tidy();
    }

    /// Closes the control connection if no session waits to use it. To be called after the lock is released and after the queue is left.
    fn tidy(&self) {
        if self.with(|waiting| waiting.is_empty())
            && let Ok(mut kept) = self.kept.try_lock()
        {
            kept.reached = None;
        }
    }

    /// Ends the statement of a session.
    pub(crate) async fn end(&self, session: &Target) -> Result<(), sqlx::Error> {
        for _ in 0..CONNECTS {
            let Some(mut turn) = self.turn(session).await else { break };
            let mut reached = turn.reach().await?;
            let sessions = turn.sessions(&reached.server);
            if !sessions.is_empty() {
                DB::end(&mut reached.conn, &sessions).await?;
            }
            if turn.done(reached).await? {
                break;
            }
        }
        Ok(())
    }

    /// Waits until the server has no session with this number any more. The session was ended and its connection closed, but until it is gone
    /// it takes up room on the server.
    ///
    /// A closed socket is no proof: MariaDB closes the socket of a killed session long before the session ends.
    pub(crate) async fn departed(&self, session: &Target) {
        for doubled in 0.. {
            let mut turn = Turn {
                place: self.queue(session, true),
                kept: self.kept.lock().await,
                doubtful: false,
                hit: Vec::new(),
            };
            let is_there = match turn.reach().await {
                Ok(mut reached) => {
                    let is_there = reached.server == session.server
                        && DB::is_there(&mut reached.conn, session.number).await.unwrap_or(false);
                    turn.leave(reached).await;
                    is_there
                }
                // Without room for a control connection, the session may still be there. Without a server, it is not.
                Err(error) => Class::of(&error) == Class::Overloaded,
            };
            drop(turn);
            if !is_there {
                return;
            }
            sleep(Duration::from_millis(1 << doubled.min(6))).await;
        }
    }

    /// Waits for the turn to end the statement of a session. `None`: an earlier turn has ended it.
    ///
    /// If this is dropped while it waits, no later turn ends the session: its connection is about to be closed, and the server may give its
    /// number to another session.
    async fn turn<'c>(&'c self, session: &'c Target) -> Option<Turn<'c, DB>> {
        let place = self.queue(session, false);
        let kept = self.kept.lock().await;
        let mine = self.with(|waiting| waiting.iter().find(|one| one.session == *session).map(|one| one.doubtful));
        mine.map(|doubtful| Turn { kept, place, doubtful, hit: Vec::new() })
    }

    fn queue<'c>(&'c self, session: &'c Target, leaving: bool) -> Place<'c, DB> {
        self.with(|waiting| waiting.push(Waiting { session: session.clone(), leaving, doubtful: false }));
        Place { control: self, session }
    }

    /// Logs once that cancellations do not reach the server of their statements.
    fn astray(&self) {
        if !self.astray.swap(true, Ordering::Relaxed) {
            let name = &self.settings.pool.name;
            tracing::warn!(
                target: "pool",
                "pool {name}: a statement that its caller dropped could not be cancelled, for the connect that was to do it reached another \
                 server: the address leads to several; another connect is tried, and then the connection is closed; give the pool the \
                 address of one server, and each server a pool"
            );
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<Waiting>) -> T) -> T {
        look(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a session that was about to be cancelled is of no further use.
pub(super) const GIVEN_UP: &str = "a cancel was given up on its way and may still arrive: the connection is closed";

/// The right to have a control connection.
///
/// Dropped between [`sessions`](Self::sessions) and [`done`](Self::done), it leaves those sessions in doubt.
struct Turn<'c, DB: Backend> {
    // Dropped before `place`, whose drop closes the connection that is kept.
    kept: MutexGuard<'c, Kept<DB>>,
    place: Place<'c, DB>,
    doubtful: bool,
    hit: Vec<Target>,
}

impl<DB: Backend> Turn<'_, DB> {
    /// The control connection: that of the turn before, or a new one.
    ///
    /// A new one uses the password of this moment, or the last known one if none is returned within half of `reset_timeout`.
    async fn reach(&mut self) -> Result<Reached<DB>, sqlx::Error> {
        if let Some(reached) = self.kept.reached.take() {
            return Ok(reached);
        }
        let control = self.place.control;
        if let Some(before_connect) = &control.settings.before_connect
            && let Ok(Ok(password)) = timeout(control.reset_timeout() / 2, before_connect.password()).await
            && let Some(fresh) = DB::with_password(&self.kept.options, password.expose())
        {
            self.kept.options = fresh;
        }
        let mut conn = dial::<DB>(&self.kept.options).await?;
        let server = DB::server(&mut conn).await?;
        Ok(Reached { conn, server })
    }

    /// All waiting sessions on the server that was reached. The own one is missing if the address leads to several servers.
    ///
    /// Called once the connection is open, so that sessions that came during the connect are included.
    fn sessions(&mut self, server: &str) -> Vec<u64> {
        self.hit = self.place.control.with(|waiting| {
            let to_end = waiting.iter().filter(|one| !one.leaving && one.session.server == server);
            to_end.map(|one| one.session.clone()).collect()
        });
        self.hit.iter().map(|session| session.number).collect()
    }

    /// The statements of these sessions were ended over this connection. `false`: the own session is on another server. An error: a
    /// cancellation of an earlier turn may still arrive, so the own connection has to be closed.
    async fn done(mut self, reached: Reached<DB>) -> Result<bool, sqlx::Error> {
        let hit = std::mem::take(&mut self.hit);
        // Sessions in doubt stay: their own turn has to return the error.
        self.place.control.with(|waiting| waiting.retain(|one| one.doubtful || !hit.contains(&one.session)));
        let found = hit.contains(self.place.session);
        if found {
            self.leave(reached).await;
        } else {
            // The next connect may lead to the right one.
            let _ = reached.conn.close().await;
        }
        if self.doubtful {
            return Err(sqlx::Error::Protocol(GIVEN_UP.into()));
        }
        if !found {
            self.place.control.astray();
        }
        Ok(found)
    }

    /// Leaves the connection to the next turn, or closes it.
    async fn leave(&mut self, reached: Reached<DB>) {
        let is_wanted = self.place.control.with(|waiting| waiting.iter().any(|one| one.session != *self.place.session));
        if is_wanted {
            self.kept.reached = Some(reached);
        } else {
            // The server notices a lost connection by itself.
            let _ = reached.conn.close().await;
        }
    }
}

impl<DB: Backend> Drop for Turn<'_, DB> {
    fn drop(&mut self) {
        let hit = std::mem::take(&mut self.hit);
        self.place.control.with(|waiting| {
            for one in waiting {
                one.doubtful |= hit.contains(&one.session);
            }
        });
    }
}

/// A place in the queue, given up when dropped.
struct Place<'c, DB: Backend> {
    control: &'c Control<DB>,
    session: &'c Target,
}

impl<DB: Backend> Drop for Place<'_, DB> {
    fn drop(&mut self) {
        self.control.with(|waiting| waiting.retain(|one| one.session != *self.session));
        // `Turn` drops its place after the lock.
        self.control.tidy();
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn control() -> Control<sqlx::Sqlite> {
        let settings = DatabaseSettings::new("sqlite::memory:").expect("a url");
        Control::new(Arc::new(settings), Options::<sqlx::Sqlite>::default())
    }

    async fn reached() -> Reached<sqlx::Sqlite> {
        let conn = sqlx::SqliteConnection::connect("sqlite::memory:").await.expect("a database in memory");
        Reached { conn, server: "here".into() }
    }

    fn session(number: u64) -> Target {
        Target { server: "here".into(), number }
    }

    fn here(turn: &mut Turn<'_, sqlx::Sqlite>) -> Vec<u64> {
        turn.sessions("here")
    }

    #[tokio::test]
    async fn the_turn_of_one_serves_all_who_wait() {
        let control = control();
        let sessions = [1, 2, 3, 4].map(session);
        let mut first = control.turn(&sessions[0]).await.expect("nobody was before");
        let (mut second, mut third) = (Box::pin(control.turn(&sessions[1])), Box::pin(control.turn(&sessions[2])));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        assert_eq!(here(&mut first), [1, 2, 3]);
        let mut fourth = Box::pin(control.turn(&sessions[3]));
        assert!((&mut fourth).now_or_never().is_none());
        assert!(first.done(reached().await).await.is_ok_and(|found| found));
        assert!(second.await.is_none() && third.await.is_none(), "it was done for them");
        assert_eq!(here(&mut fourth.await.expect("the fourth came too late for that")), [4]);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_ended_by_nobody() {
        let control = control();
        let sessions = [1, 2, 3].map(session);
        let mut first = control.turn(&sessions[0]).await.expect("nobody was before");
        let mut second = Box::pin(control.turn(&sessions[1]));
        assert!((&mut second).now_or_never().is_none());
        drop(second);
        assert_eq!(here(&mut first), [1]);
        drop(first);
        assert_eq!(here(&mut control.turn(&sessions[2]).await.expect("nobody is before")), [3]);
    }

    #[tokio::test]
    async fn who_was_about_to_be_ended_when_the_turn_was_given_up_is_told() {
        let control = control();
        let sessions = [1, 2, 3].map(session);
        let mut first = control.turn(&sessions[0]).await.expect("nobody was before");
        let (mut second, mut third) = (Box::pin(control.turn(&sessions[1])), Box::pin(control.turn(&sessions[2])));
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(here(&mut first), [1, 2]);
        assert!((&mut third).now_or_never().is_none());
        drop(first);
        let mut second = second.await.expect("nothing was done");
        assert_eq!(here(&mut second), [2, 3]);
        assert!(second.done(reached().await).await.is_err(), "the first one's cancel may still hit it");
        assert!(third.await.is_none(), "the second one's is done");
    }

    #[tokio::test]
    async fn only_sessions_of_the_server_that_was_reached_are_ended() {
        let control = control();
        let [mine, same_number] = [session(1), Target { server: "there".into(), number: 1 }];
        let mut first = control.turn(&mine).await.expect("nobody was before");
        let mut second = Box::pin(control.turn(&same_number));
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(first.sessions("there").len(), 1, "the connect led to the other one's server");
        assert!(first.done(reached().await).await.is_ok_and(|found| !found), "mine is where it was");
        assert!(second.await.is_none(), "the other one's was done on the way");
        let mut again = control.turn(&mine).await.expect("it was not done");
        assert_eq!(here(&mut again), [1]);
        assert!(again.done(reached().await).await.is_ok_and(|found| found));
    }

    #[tokio::test]
    async fn the_connection_is_kept_for_as_long_as_somebody_waits_for_it() {
        let control = control();
        let sessions = [1, 2, 3].map(session);
        let mut first = control.turn(&sessions[0]).await.expect("nobody was before");
        assert!(first.kept.reached.is_none() && here(&mut first) == [1]);
        let (mut second, mut third) = (Box::pin(control.turn(&sessions[1])), Box::pin(control.turn(&sessions[2])));
        assert!((&mut second).now_or_never().is_none());
        assert!(first.done(reached().await).await.is_ok_and(|found| found));
        let mut second = second.await.expect("it came too late for the first one's cancel");
        let kept = second.kept.reached.take().expect("the second waited for it");
        assert_eq!(here(&mut second), [2]);
        assert!((&mut third).now_or_never().is_none());
        assert!(second.done(kept).await.is_ok_and(|found| found));
        drop(third);
        assert!(control.kept.lock().await.reached.is_none(), "the last one left");
    }
}
