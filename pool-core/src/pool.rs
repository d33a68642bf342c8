//! The face of the pool.

use crate::{
    Acquire, AcquireError, CloseReport, Holder, Manager, Pooled, Settings, SettingsError, Site, Status,
    TryAcquireError,
    shared::{Shared, bits},
    state::Caller,
};
use std::{fmt, sync::Arc, time::Duration};

/// A pool of connections. Cloning is cheap and gives another handle to the same pool.
///
/// Making one opens nothing and needs no runtime; connections are opened when they are asked for, by tasks on the tokio runtime
/// (with its timer enabled) that asks first. Dropping the last handle closes the pool like [`close`](Self::close), without waiting.
///
/// One pool may be used from several runtimes, one after the other or at once. Connections live on one of them; when that ends they are
/// dropped, and the next caller's runtime takes over.
pub struct Pool<M: Manager> {
    shared: Arc<Shared<M>>,
}

impl<M: Manager> Pool<M> {
    /// Makes a pool. Opens nothing yet.
    ///
    /// # Errors
    ///
    /// The settings contradict each other; the error lists every contradiction.
    pub fn new(manager: M, settings: Settings) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self { shared: Arc::new(Shared::new(manager, settings)) })
    }

    /// Opens one connection and keeps it idle, which proves address and credentials.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn connect(&self) -> impl Future<Output = Result<(), AcquireError<M::Error>>> + Send + use<'_, M> {
        let acquire = self.acquire();
        async { acquire.await.map(drop) }
    }

    /// Borrows a connection, waiting `pool_timeout` at most, whatever there is to wait for.
    ///
    /// # Errors
    ///
    /// No connection in time, none can be opened, too many wait already, or the pool is closed: the error says which, how full the pool
    /// was and who held its connections.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any moment loses nothing; see [`Acquire`].
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::new(pool_core::testing::Script::new(), Default::default())?;
    /// let conn = pool.acquire().await?;
    /// drop(conn); // as early as you can: others wait
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    #[doc(alias = "checkout")]
    pub fn acquire(&self) -> Acquire<'_, M> {
        self.acquire_at(Site::here(), None)
    }

    /// As [`acquire`](Self::acquire), waiting this long at most.
    #[track_caller]
    pub fn acquire_timeout(&self, limit: Duration) -> Acquire<'_, M> {
        self.acquire_at(Site::here(), Some(limit))
    }

    /// As [`acquire`](Self::acquire), on behalf of a site, waiting `limit` at most, `pool_timeout` if `None`.
    pub fn acquire_at(&self, site: Site, limit: Option<Duration>) -> Acquire<'_, M> {
        Acquire::new(&self.shared, site, limit)
    }

    /// Borrows a connection that is idle and needs no test, without waiting. Opens none.
    ///
    /// # Errors
    ///
    /// There is none, others wait already, or the pool is closed.
    #[track_caller]
    pub fn try_acquire(&self) -> Result<Pooled<M>, TryAcquireError> {
        let caller = Caller { site: Site::here(), task: tokio::task::try_id().map_or(0, bits) };
        let taken = self.shared.take_or(caller, |state, _, _| match state.is_closed() {
            true => TryAcquireError::Closed,
            false => TryAcquireError::Busy,
        });
        taken.map(|(id, conn)| Pooled::new(Arc::clone(&self.shared), id, conn))
    }

    /// All numbers at one instant.
    #[doc(alias = "checkedout")]
    pub fn status(&self) -> Status {
        self.shared.look(|state, now| state.status(now))
    }

    /// Who holds connections now, the longest holder first.
    pub fn holders(&self) -> Vec<Holder> {
        self.shared.look(|state, now| state.holders(now))
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.shared.look(|state, _| state.settings().clone())
    }

    /// The manager that opens the connections.
    pub fn manager(&self) -> &M {
        &self.shared.manager
    }

    /// Retires all connections: idle ones are closed now, those in use when they come home. Their users notice nothing.
    pub fn invalidate(&self) {
        self.shared.turn(|state, now, fx| state.invalidate(now, fx));
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.shared.look(|state, _| state.is_closed())
    }

    /// Closes the pool: callers that wait are turned away, idle connections are closed, those in use are awaited for `shutdown_grace`.
    ///
    /// Says who still held a connection when the grace ended; such a connection is closed when it comes home. May be called again.
    ///
    /// # Cancel safety
    ///
    /// The pool is closed from the first poll on; dropping the future only gives up the report.
    pub async fn close(&self) -> CloseReport {
        let drained = self.shared.drained.notified();
        tokio::pin!(drained);
        drained.as_mut().enable();
        let (before, done, grace) = self.shared.turn(|state, now, fx| {
            state.close(now, fx);
            (state.status(now), state.is_drained(), state.settings().shutdown_grace)
        });
        if !done {
            // Timeout or not, the report tells.
            let _ = tokio::time::timeout(grace, drained).await;
        }
        let (after, still_held) = self.shared.look(|state, now| (state.status(now), state.holders(now)));
        CloseReport {
            closed: after.totals.closed() - before.totals.closed(),
            still_held,
            abandoned: after.abandoned - before.abandoned,
        }
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        self.shared.add_handle();
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M: Manager> Drop for Pool<M> {
    fn drop(&mut self) {
        if self.shared.drop_handle() {
            self.shared.turn(|state, now, fx| state.close(now, fx));
        }
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        write!(f, "Pool({}: {status})", status.name)
    }
}
