//! The one connection at a time that may be opened beside the pool's, to end what nobody waits for any more.

use super::{Backend, Options};
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Mutex as Queue, MutexGuard};

/// Where those queue whose statement is to be ended. Whoever has the turn ends it for all who wait: a hundred cancelled requests cost
/// a connect or two.
pub struct Control<DB: Backend> {
    options: Queue<Options<DB>>,
    waiting: Mutex<Vec<u64>>,
}

impl<DB: Backend> Control<DB> {
    pub(crate) fn new(options: Options<DB>) -> Self {
        Self { options: Queue::new(options), waiting: Mutex::new(Vec::new()) }
    }

    /// What the next connect is made with.
    pub(crate) async fn set(&self, options: Options<DB>) {
        *self.options.lock().await = options;
    }

    /// Waits for the turn to end the statement of a session. `None`: somebody had the turn and has done it.
    ///
    /// Dropped while it waits, the session is ended by nobody any more: its connection is about to be closed, and its number may be
    /// another's by then.
    pub(crate) async fn turn(&self, session: u64) -> Option<Turn<'_, DB>> {
        self.with(|waiting| waiting.push(session));
        let place = Place { control: self, session };
        let options = self.options.lock().await;
        self.with(|waiting| waiting.contains(&session)).then_some(Turn { options, place })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<u64>) -> T) -> T {
        look(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to open a control connection.
pub(crate) struct Turn<'c, DB: Backend> {
    options: MutexGuard<'c, Options<DB>>,
    place: Place<'c, DB>,
}

impl<DB: Backend> Turn<'_, DB> {
    pub(crate) fn options(&self) -> &Options<DB> {
        &self.options
    }

    /// All who wait at this moment, oneself included. To be asked for when the connection is there, for it takes time.
    pub(crate) fn sessions(&self) -> Vec<u64> {
        self.place.control.with(|waiting| waiting.clone())
    }

    /// Their statements were ended.
    pub(crate) fn done(&self, sessions: &[u64]) {
        self.place.control.with(|waiting| waiting.retain(|session| !sessions.contains(session)));
    }
}

/// A place in the queue, given up when dropped.
struct Place<'c, DB: Backend> {
    control: &'c Control<DB>,
    session: u64,
}

impl<DB: Backend> Drop for Place<'_, DB> {
    fn drop(&mut self) {
        self.control.with(|waiting| waiting.retain(|session| *session != self.session));
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn control() -> Control<sqlx::Sqlite> {
        Control::new(Options::<sqlx::Sqlite>::default())
    }

    #[tokio::test]
    async fn the_turn_of_one_serves_all_who_wait() {
        let control = control();
        let first = control.turn(1).await.expect("nobody was before");
        let (mut second, mut third) = (Box::pin(control.turn(2)), Box::pin(control.turn(3)));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        assert_eq!(first.sessions(), [1, 2, 3]);
        first.done(&[1, 2]);
        drop(first);
        assert!(second.await.is_none(), "it was done for the second");
        assert_eq!(third.await.expect("the third came too late for that").sessions(), [3]);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_ended_by_nobody() {
        let control = control();
        let first = control.turn(1).await.expect("nobody was before");
        let mut second = Box::pin(control.turn(2));
        assert!((&mut second).now_or_never().is_none());
        drop(second);
        assert_eq!(first.sessions(), [1]);
        drop(first);
        assert_eq!(control.turn(3).await.expect("nobody is before").sessions(), [3]);
    }
}
