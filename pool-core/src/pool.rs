//! The face of the pool.

use crate::{
    Acquire, AcquireError, CloseReport, ConnectError, Holder, Manager, Observer, Pause, Pooled, Settings,
    SettingsError, Site, SiteTimings, Startup, Status, Timings, TryAcquireError, driver,
    error::Cause,
    shared::{self, Shared},
    state::{LOOK, Ns, Share, State, Warmth, time},
};
use std::{
    fmt,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// A pool of connections. Cloning is cheap and gives another handle to the same pool.
///
/// Making one opens nothing and needs no runtime; connections are opened when they are asked for, by tasks on the tokio runtime
/// (with its timer enabled) that asks first. Dropping the last handle closes the pool like [`close`](Self::close), without waiting.
///
/// # Runtimes
///
/// One pool may be used from several runtimes, one after the other or at once, with a limit: a connection lives on the runtime that
/// opened it, and works only while that runtime runs. The pool opens connections on the runtime of the caller that first needs one.
///
/// - When a runtime ends, its idle connections are dropped and the next caller's runtime takes over. A connection of it that is in use,
///   by a caller on another runtime for example, fails at its next use. The pool cannot prevent that.
/// - When a runtime exists and no thread runs it (between two calls of `block_on`), a caller that waits on another runtime takes over after
///   about a second. Connections of the first runtime are tested before they are lent.
///
/// So share a pool between runtimes that run for as long as the pool: the workers of a server. Do not share one between runtimes that come
/// and go, such as those of `#[tokio::test]`: make a pool in each test, or keep one runtime for all of them.
#[doc(alias = "QueuePool")]
#[doc(alias = "deadpool")]
#[doc(alias = "bb8")]
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
        Ok(Self { shared: Arc::new(Shared::new(manager, settings, driver::start)) })
    }

    /// Opens `pool_size` connections, a few at a time, and waits until they are there: `pool_timeout` at most.
    ///
    /// Call it before the service reports ready, so that the first requests find warm connections. A server that grants fewer does not keep
    /// the service from starting: when some connections are open and further connects have failed for a second, the call succeeds. The
    /// pool then asks for the rest once a minute, and at once for callers that wait.
    ///
    /// # Errors
    ///
    /// The first connect that cannot succeed by waiting, or, when the time is up and none is open, the last error. What was opened stays
    /// open.
    ///
    /// # Cancel safety
    ///
    /// If the call fails or the future is dropped, the warm-up ends, unless another call wants it too. What was opened stays open.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime that has a timer.
    #[track_caller]
    pub fn connect(&self) -> impl Future<Output = Result<(), AcquireError<M::Error>>> + Send + use<'_, M> {
        self.connect_with(Startup::WaitUpTo(self.settings().pool_timeout))
    }

    /// As [`connect`](Self::connect), with a choice of what to do when the database is not there.
    ///
    /// # Errors
    ///
    /// As the choice says; never with [`Startup::Anyway`].
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](Self::connect); with [`Startup::Anyway`] there is nothing to cancel.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime that has a timer.
    #[track_caller]
    pub fn connect_with(
        &self,
        startup: Startup,
    ) -> impl Future<Output = Result<(), AcquireError<M::Error>>> + Send + use<'_, M> {
        self.warm_up(startup, Site::here())
    }

    async fn warm_up(&self, startup: Startup, site: Site) -> Result<(), AcquireError<M::Error>> {
        let alone = startup == Startup::Anyway;
        let (share, begun, failures) = self.shared.turn(|state, now, fx| {
            let share = state.warm_up(alone, now, fx);
            (share, state.arrival(now), state.connect_errors())
        });
        let limit = match startup {
            Startup::Anyway => return Ok(()),
            Startup::FailFast => self.settings().connection_timeout,
            Startup::WaitUpTo(limit) => limit,
        };
        // Failed or dropped, the caller leaves the warm-up; what has begun well goes on.
        let mut part = WarmUp { shared: &self.shared, share, goes_on: false };
        let is_final = |error: &ConnectError<M::Error>| startup == Startup::FailFast || error.class().is_hopeless();
        let warm = self.until_warm(startup != Startup::FailFast, |state, now| {
            let fresh = state.last_connect_error().filter(|_| state.connect_errors() > failures);
            let error = fresh.or_else(|| state.refusal(now))?;
            is_final(error).then(|| error.clone())
        });
        let cause = match timeout(limit, warm).await {
            Ok(Ok(())) => None,
            Ok(Err(cause)) => Some(cause),
            Err(_) if startup != Startup::FailFast && self.shared.look(|state, _| state.has_some()) => None,
            Err(_) => Some(Cause::TimedOut(None)),
        };
        part.goes_on = cause.is_none();
        match cause {
            None => Ok(()),
            Some(cause) => Err(self.shared.explain(cause, site, begun)),
        }
    }

    /// Waits, without a limit, until no warm-up is under way.
    ///
    /// # Errors
    ///
    /// The warm-up was given up, or the pool was closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the waiting, not the warm-up.
    #[track_caller]
    pub fn ready(&self) -> impl Future<Output = Result<(), AcquireError<M::Error>>> + Send + use<'_, M> {
        let site = Site::here();
        async move {
            let begun = self.shared.look(|state, now| state.arrival(now));
            let warm = self.until_warm(false, |_, _| None).await;
            warm.map_err(|cause| self.shared.explain(cause, site, begun))
        }
    }

    /// Waits for the end of the warm-up, or (`some_will_do`) until the server grants no more; `Err` with what `give_up` finds, or with why
    /// there is nothing to wait for.
    async fn until_warm(
        &self,
        some_will_do: bool,
        give_up: impl Fn(&State<M::Conn, M::Error>, Ns) -> Option<ConnectError<M::Error>>,
    ) -> Result<(), Cause<M::Error>> {
        let found = self.until(&self.shared.news, |state, now| match (give_up(state, now), state.warmth(now)) {
            _ if state.is_closed() => Some(Err(Cause::Closed)),
            (Some(error), _) => Some(Err(Cause::Connect(error))),
            (None, Warmth::Warm) => Some(Ok(())),
            (None, Warmth::GivenUp) => Some(Err(Cause::TimedOut(None))),
            (None, Warmth::Resting) if some_will_do => Some(Ok(())),
            (None, Warmth::Warming | Warmth::Resting) => None,
        });
        found.await
    }

    /// Waits until the state has an answer. It is asked at each piece of news, and now and then without, for the driver may have ended
    /// with its runtime.
    async fn until<T>(&self, news: &Notify, answer: impl Fn(&State<M::Conn, M::Error>, Ns) -> Option<T>) -> T {
        let here = shared::here();
        loop {
            let mut news = pin!(news.notified());
            news.as_mut().enable();
            let found = self.shared.turn(|state, now, fx| {
                state.want_driver(here, now, fx);
                answer(state, now)
            });
            match found {
                Some(found) => return found,
                None => drop(timeout(time(LOOK), news).await),
            }
        }
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
    /// # Panics
    ///
    /// If it has to wait, outside of a tokio runtime.
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
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_timeout(&self, limit: Duration) -> Acquire<'_, M> {
        self.acquire_at(Site::here(), Some(limit))
    }

    /// As [`acquire`](Self::acquire), on behalf of a site, waiting `limit` at most, `pool_timeout` if `None`.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_at(&self, site: Site, limit: Option<Duration>) -> Acquire<'_, M> {
        Acquire::new(&self.shared, site, limit)
    }

    /// Borrows a connection that is idle and needs no test, without waiting. Opens none.
    ///
    /// # Errors
    ///
    /// There is none, others wait already, the caller holds one already and may have no other ([`nested`](Settings::nested) is `deny`), or
    /// the pool is paused or closed.
    #[track_caller]
    pub fn try_acquire(&self) -> Result<Pooled<M>, TryAcquireError> {
        let caller = self.shared.caller(Site::here());
        let taken = self.shared.try_take(caller);
        taken.map(|(loan, conn)| Pooled::new(Arc::clone(&self.shared), loan, caller.site, conn))
    }

    /// All numbers at one instant.
    #[doc(alias = "checkedout")]
    pub fn status(&self) -> Status {
        self.shared.look(|state, now| state.status(now))
    }

    /// Who holds connections now, the longest holder first.
    pub fn holders(&self) -> Vec<Holder> {
        Holder::of_all(self.shared.look(|state, now| state.held(now)))
    }

    /// How long acquires, holds, connects and pings took, since the pool was made.
    pub fn timings(&self) -> Timings {
        self.shared.look(|state, _| state.timings())
    }

    /// How long each place in the code held what it borrowed, since the pool was made; those that held the longest in all first.
    ///
    /// The first 64 sites are told apart; what others held is reported as `all other sites`. What is still held is in
    /// [`holders`](Self::holders).
    pub fn sites(&self) -> Vec<SiteTimings> {
        self.shared.look(|state, _| state.sites())
    }

    /// Has an observer told of everything that happens from now on.
    ///
    /// # Example
    ///
    /// ```
    /// # let pool = pool_core::Pool::new(pool_core::testing::Script::new(), Default::default())?;
    /// pool.observe(|event: &pool_core::Event| println!("{event:?}"));
    /// # Ok::<(), pool_core::SettingsError>(())
    /// ```
    pub fn observe(&self, observer: impl Observer) {
        self.shared.outbox.subscribe(Box::new(observer));
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

    /// Stops lending until [`resume`](Self::resume): for a failover or a migration that must have the database to itself.
    ///
    /// Connections in use stay in use ([`status`](Self::status) tells when the last came home); what comes home is kept.
    pub fn pause(&self, callers: Pause) {
        self.shared.turn(|state, _, fx| state.pause(callers, fx));
    }

    /// Lends again, first to those who waited.
    pub fn resume(&self) {
        self.shared.turn(|state, now, fx| state.resume(now, fx));
    }

    /// Changes the settings of the running pool: `pool.reconfigure(|settings| settings.with_pool_size(20))?`.
    ///
    /// The closure gets the settings in force and returns the new ones. Changes from several threads happen one after the other, so none
    /// is lost.
    ///
    /// Shrinking cuts no caller off: idle connections above the new size are closed now, those in use when they are returned. Callers that
    /// wait keep their limits. A new `pool_recycle` concerns connections opened from now on. The name stays.
    ///
    /// # Errors
    ///
    /// The settings contradict each other; nothing has changed then.
    ///
    /// # Panics
    ///
    /// If the closure calls `reconfigure` of the same pool.
    pub fn reconfigure(&self, change: impl FnOnce(Settings) -> Settings) -> Result<(), SettingsError> {
        let _turn = self.shared.change_settings();
        let before = self.settings();
        let name = before.name.clone();
        let after = change(before).with_name(name);
        after.validate()?;
        self.shared.turn(|state, now, fx| state.reconfigure(after, now, fx));
        Ok(())
    }

    /// Has every acquire end at once with this verdict, until it is called with `None`: for testing an application's 503 path without a
    /// database. Connections in use stay in use.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = pool_core::Pool::new(pool_core::testing::Script::new(), Default::default())?;
    /// pool.inject(Some(pool_core::Verdict::Exhausted));
    /// assert!(pool.acquire().await.unwrap_err().is_timeout());
    /// pool.inject(None);
    /// # drop(pool.acquire().await?);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(any(test, feature = "testing"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
    pub fn inject(&self, verdict: impl Into<Option<crate::Verdict>>) {
        let verdict = verdict.into();
        self.shared.turn(|state, _, _| state.inject(verdict));
    }

    /// A handle that does not keep the pool.
    pub fn downgrade(&self) -> WeakPool<M> {
        WeakPool(Arc::downgrade(&self.shared))
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.shared.look(|state, _| state.is_closed())
    }

    /// Closes the pool: callers that wait are turned away, idle connections are closed, those in use are awaited for `shutdown_grace`.
    ///
    /// The report says which callers still held a connection when the grace ended, and how many connections were not closed by then. A
    /// connection in use is closed when it is returned. May be called again.
    ///
    /// # Cancel safety
    ///
    /// The pool is closed from the first poll on; dropping the future only gives up the report.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime that has a timer.
    pub async fn close(&self) -> CloseReport {
        let (before, grace) = self.shared.turn(|state, now, fx| {
            let before = state.status(now);
            state.close(now, fx);
            (before, state.settings().shutdown_grace)
        });
        let drained = self.until(&self.shared.drained, |state, _| state.is_drained().then_some(()));
        // Timeout or not, the report tells.
        let _ = tokio::time::timeout(grace, drained).await;
        let (after, held) = self.shared.look(|state, now| (state.status(now), state.held(now)));
        let under_way = u64::from(after.open - after.in_use + after.opening);
        CloseReport {
            closed: after.totals.closed() - before.totals.closed(),
            still_held: Holder::of_all(held),
            abandoned: after.abandoned - before.abandoned + under_way,
        }
    }
}

/// A handle that does not keep its pool: for what watches it.
pub struct WeakPool<M: Manager>(Weak<Shared<M>>);

impl<M: Manager> WeakPool<M> {
    /// The pool, unless its last handle is gone.
    pub fn upgrade(&self) -> Option<Pool<M>> {
        let shared = self.0.upgrade()?;
        // Not `then_some`: that makes a handle first, and its end would count for one that was never there.
        if shared.revive() { Some(Pool { shared }) } else { None }
    }
}

impl<M: Manager> Clone for WeakPool<M> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<M: Manager> fmt::Debug for WeakPool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.strong_count() == 0 { "WeakPool(gone)" } else { "WeakPool" })
    }
}

/// A caller's part in the warm-up, which ends when this is dropped.
struct WarmUp<'a, M: Manager> {
    shared: &'a Arc<Shared<M>>,
    share: Share,
    /// Whether the warm-up goes on without the caller.
    goes_on: bool,
}

impl<M: Manager> Drop for WarmUp<'_, M> {
    fn drop(&mut self) {
        self.shared.turn(|state, _, fx| state.leave_warm_up(self.share, self.goes_on, fx));
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
