//! The one place that locks: lock, decide, unlock, perform.

use crate::{
    CloseReason, Condition, ErrorClass, Holder, Manager, Settings, Site, Step, TryAcquireError, Verdict,
    backoff::dice,
    bits::bits,
    error::{AcquireError, Cause, ConnectError, Failure, Report},
    nested,
    outbox::Outbox,
    shield::shield,
    state::{Arrival, Caller, Loan, Ns, SlotId, State, effects::Effects, nanos},
    sync::{AtomicUsize, Mutex, MutexGuard},
};
use std::sync::{Arc, PoisonError, atomic::Ordering};
#[cfg(not(shuttle))]
use std::thread::ThreadId;
use tokio::{runtime::Handle, sync::Notify, time::Instant};

/// What all handles, guards, jobs and the driver of a pool share.
pub(crate) struct Shared<M: Manager> {
    pub(crate) manager: M,
    /// Locked by the functions of this file only. Under it nothing waits, wakes, spawns, logs, drops a connection or calls the manager.
    state: Mutex<State<M::Conn, M::Error>>,
    /// Calls the driver.
    pub(crate) kick: Notify,
    /// Tells those who wait for the end that the pool is closed and empty.
    pub(crate) drained: Notify,
    /// Tells connects under way that the pool was closed.
    pub(crate) closed: Notify,
    /// Tells those who wait for the warm-up how it goes.
    pub(crate) news: Notify,
    /// Events on their way to observers.
    pub(crate) outbox: Arc<Outbox>,
    /// Held while the settings change, the caller's closure included, so that changes do not overtake each other.
    settings: Mutex<()>,
    /// The thread that holds it.
    #[cfg(not(shuttle))]
    changes: Mutex<Option<ThreadId>>,
    /// Starts a driver. Given by `pool`, so that nothing here imports what is built upon it.
    drive: fn(&Handle, Arc<Self>, u32),
    /// `Pool` values that exist. The last one closes the pool.
    handles: AtomicUsize,
    /// Time zero of the state.
    start: Instant,
    /// Name of the pool, for the logs.
    name: String,
}

impl<M: Manager> Shared<M> {
    pub(crate) fn new(manager: M, settings: Settings, drive: fn(&Handle, Arc<Self>, u32)) -> Self {
        let start = Instant::now();
        let name = settings.name.clone();
        // Differs from process to process, so that their jitters differ.
        let seed = dice();
        Self {
            manager,
            state: Mutex::new(State::new(settings, seed)),
            kick: Notify::new(),
            drained: Notify::new(),
            closed: Notify::new(),
            news: Notify::new(),
            outbox: Arc::default(),
            settings: Mutex::new(()),
            #[cfg(not(shuttle))]
            changes: Mutex::new(None),
            drive,
            handles: AtomicUsize::new(1),
            start,
            name,
        }
    }

    /// The time, in the state's unit. Read before the lock, so it may be older than what the lock protects.
    pub(crate) fn now(&self) -> Ns {
        nanos(Instant::now().saturating_duration_since(self.start))
    }

    /// The moment that the state calls `ns`; `None` if it is too far away to be waited for.
    pub(crate) fn instant(&self, ns: Ns) -> Option<Instant> {
        self.start.checked_add(std::time::Duration::from_nanos(ns)).filter(|_| ns != Ns::MAX)
    }

    /// Lets the state decide, then does what it left to do.
    pub(crate) fn turn<T>(
        self: &Arc<Self>,
        decide: impl FnOnce(&mut State<M::Conn, M::Error>, Ns, &mut Effects<M::Conn, M::Error>) -> T,
    ) -> T {
        let now = self.now();
        let mut fx = Effects::default();
        let mut state = self.lock();
        let answer = decide(&mut state, now, &mut fx);
        self.finish(state, now, fx);
        answer
    }

    /// Looks without changing anything.
    pub(crate) fn look<T>(&self, see: impl FnOnce(&State<M::Conn, M::Error>, Ns) -> T) -> T {
        let now = self.now();
        see(&self.lock(), now)
    }

    /// Lends an idle, fresh connection.
    pub(crate) fn take(self: &Arc<Self>, caller: Caller) -> Option<(Loan, M::Conn)> {
        let now = self.now();
        let mut state = self.lock();
        let lent = state.take(caller, now)?;
        self.taken(state, now);
        Some(lent)
    }

    /// Lends an idle, fresh connection, or does `otherwise` under the same lock, so that nothing happens in between.
    pub(crate) fn take_or<T>(
        self: &Arc<Self>,
        caller: Caller,
        otherwise: impl FnOnce(&mut State<M::Conn, M::Error>, Ns, &mut Effects<M::Conn, M::Error>) -> T,
    ) -> Result<(Loan, M::Conn), T> {
        let now = self.now();
        let mut state = self.lock();
        if let Some(lent) = state.take(caller, now) {
            self.taken(state, now);
            return Ok(lent);
        }
        let mut fx = Effects::default();
        let answer = otherwise(&mut state, now, &mut fx);
        self.finish(state, now, fx);
        Err(answer)
    }

    /// Lends an idle, fresh connection, if there is one anywhere among the idle.
    pub(crate) fn try_take(self: &Arc<Self>, caller: Caller) -> Result<(Loan, M::Conn), TryAcquireError> {
        let now = self.now();
        let mut state = self.lock();
        let lent = state.try_take(caller, now)?;
        self.taken(state, now);
        Ok(lent)
    }

    /// Does what a loan has left.
    fn taken(self: &Arc<Self>, mut state: MutexGuard<'_, State<M::Conn, M::Error>>, now: Ns) {
        if state.unfinished {
            let mut fx = Effects::default();
            state.after_take(now, &mut fx);
            self.finish(state, now, fx);
        }
    }

    /// Who asks, from this place.
    pub(crate) fn caller(self: &Arc<Self>, site: Site) -> Caller {
        Caller { site, task: nested::task(), holds: nested::held(Arc::as_ptr(self) as usize) }
    }

    /// Waits until no other thread changes the settings; the answer keeps the others waiting.
    pub(crate) fn change_settings(&self) -> impl Sized + '_ {
        #[cfg(not(shuttle))]
        {
            let me = Some(std::thread::current().id());
            let holder = || self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(
                *holder() != me,
                "`reconfigure` was called in the closure of another `reconfigure` of the same pool"
            );
            let turn = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
            *holder() = me;
            SettingsTurn { holder: &self.changes, _turn: turn }
        }
        #[cfg(shuttle)]
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection home from its guard. Never waits.
    pub(crate) fn release(self: &Arc<Self>, id: SlotId, mut conn: M::Conn) {
        let mut condition = None;
        shield("the manager's condition", || condition = Some(self.manager.condition(&mut conn)));
        match condition {
            // A manager that panics here is not trusted with the connection again.
            None => self.turn(|state, now, fx| state.discard(id, conn, CloseReason::Broken, now, fx)),
            Some(Condition::Clean) => {
                let now = self.now();
                let mut state = self.lock();
                if let Err(conn) = state.give(id, conn, now) {
                    let mut fx = Effects::default();
                    state.come_home(id, conn, now, &mut fx);
                    self.finish(state, now, fx);
                }
            }
            Some(Condition::Dirty) => self.turn(|state, now, fx| state.come_home_dirty(id, conn, now, fx)),
            Some(Condition::Broken) => self.turn(|state, now, fx| state.come_home_broken(id, conn, now, fx)),
        }
    }

    /// Builds the report of an acquire that failed, from what the pool looks like now.
    pub(crate) fn explain(&self, cause: Cause<M::Error>, site: Site, arrived: Arrival) -> AcquireError<M::Error> {
        let (mut report, held) = self.look(|state, now| {
            let verdict = match cause {
                Cause::TimedOut(then) => then.unwrap_or_else(|| state.verdict(now)),
                Cause::Nested(_) | Cause::Deadlocked => Verdict::Nested,
                Cause::Connect(_) => Verdict::Connecting,
                Cause::QueueFull(_) => Verdict::Refused,
                Cause::Closed => Verdict::Closed,
                Cause::Paused => Verdict::Paused,
            };
            let report = Report {
                cause,
                verdict,
                site,
                waited: std::time::Duration::from_nanos(now.saturating_sub(arrived.at)),
                status: state.status(now),
                holders: Vec::new(),
                connect_error: state.last_connect_error().cloned(),
                unanswered: state.unanswered_connect(now),
                refused_for: state.refused_for(now),
                timeline: state.story(arrived, now, Step::GaveUp),
            };
            (report, state.held(now))
        });
        report.holders = Holder::of_all(held);
        report.holders.truncate(5);
        AcquireError { report: Box::new(report) }
    }

    pub(crate) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one more handle, unless the last is gone.
    pub(crate) fn revive(&self) -> bool {
        let more = |handles| (handles > 0).then_some(handles + 1);
        self.handles.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Forgets one handle; says whether it was the last.
    pub(crate) fn drop_handle(&self) -> bool {
        self.handles.fetch_sub(1, Ordering::AcqRel) == 1
    }

    fn lock(&self) -> MutexGuard<'_, State<M::Conn, M::Error>> {
        // Nothing under the lock runs foreign code, so a poisoned lock means a bug of ours in debug checks; going on is safer than
        // refusing every later request.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks, performs what was decided, and comes back for the rest of work that is done in pieces.
    fn finish<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State<M::Conn, M::Error>>,
        now: Ns,
        mut fx: Effects<M::Conn, M::Error>,
    ) {
        loop {
            #[cfg(debug_assertions)]
            if let Err(broken) = state.check(now) {
                drop(state);
                panic!("BUG: {broken}");
            }
            self.outbox.post(&fx.events);
            let homeless = fx.kick && state.driver.is_none();
            if fx.kick {
                state.kicked(now);
            }
            let (succeeded, busy) = (state.drivers > 1, state.is_busy());
            drop(state);
            self.perform(fx, homeless, succeeded);
            if !busy {
                return;
            }
            state = self.lock();
            fx = Effects::default();
            state.go_on(now, &mut fx);
        }
    }

    /// What is foreign may panic: then the rest is done all the same.
    fn perform(self: &Arc<Self>, fx: Effects<M::Conn, M::Error>, homeless: bool, succeeded: bool) {
        for waker in fx.wake.into_iter().chain(fx.more) {
            shield("a waker", || waker.wake());
        }
        for waker in fx.spent {
            shield("a waker that was dropped", || drop(waker));
        }
        for error in fx.errors {
            shield("an error that was dropped", || drop(error));
        }
        for conn in fx.dispose {
            shield("a connection that was dropped", || drop(conn));
        }
        if homeless {
            self.start_driver();
        }
        if fx.kick {
            if succeeded {
                self.kick.notify_waiters(); // an earlier driver, asleep for ever, must not swallow the call
            }
            self.kick.notify_one();
        }
        if fx.closed {
            self.closed.notify_waiters();
        }
        if fx.news {
            self.news.notify_waiters();
        }
        if fx.drained {
            self.drained.notify_waiters();
        }
        if !fx.events.is_empty() {
            self.outbox.send();
        }
        for event in fx.events {
            shield("the log", || event.trace(&self.name));
        }
    }

    /// Starts a driver on this runtime, unless there is one or no runtime. Without one the work waits for the next turn that has one.
    fn start_driver(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if !has_timer() {
            return self.turn(|state, _, fx| {
                state.turn_all_away(ConnectError { class: ErrorClass::Other, failure: Failure::Aborted(NO_TIMER) }, fx);
            });
        }
        let number = {
            let mut state = self.lock();
            if state.driver.is_some() || state.is_drained() {
                return;
            }
            state.driver = Some(bits(runtime.id()));
            state.drivers = state.drivers.wrapping_add(1);
            state.drivers
        };
        (self.drive)(&runtime, Arc::clone(self), number);
        self.drained.notify_waiters(); // a driver that was here before need not watch this runtime any more
    }
}

/// The right to change the settings.
#[cfg(not(shuttle))]
struct SettingsTurn<'a> {
    holder: &'a Mutex<Option<ThreadId>>,
    _turn: MutexGuard<'a, ()>,
}

#[cfg(not(shuttle))]
impl Drop for SettingsTurn<'_> {
    fn drop(&mut self) {
        *self.holder.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<M: Manager> Drop for Shared<M> {
    fn drop(&mut self) {
        self.outbox.end();
    }
}

const NO_TIMER: &str = "the tokio runtime has no timer: build it with `enable_time` or `enable_all`";

/// Whether the runtime that this runs on has a timer. Only a panic tells.
fn has_timer() -> bool {
    let sleep = std::panic::catch_unwind(|| drop(tokio::time::sleep(std::time::Duration::ZERO)));
    sleep.is_ok()
}

/// The runtime that this runs on, if there is one.
pub(crate) fn here() -> Option<u64> {
    Handle::try_current().ok().map(|runtime| bits(runtime.id()))
}
