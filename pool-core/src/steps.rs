//! How long the longest turns take, for `examples/steps.rs`.
//!
//! Measured are the parts under the lock only. Each scenario runs several times, and each of its turns counts with its shortest time: so
//! what the machine did meanwhile does not count, and what the turn itself does in every run does.

use crate::{
    ErrorClass, MaxOverflow, Pause, Settings, Site,
    error::{ConnectError, Failure},
    state::{
        Caller, Collected, NEVER, Ns, State, Wait,
        effects::{Effects, Job},
        queue::Ticket,
    },
};
use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

const SECOND: Ns = 1_000_000_000;

/// Runs of each scenario.
const RUNS: usize = 5;

/// A pool without a lock, and the times of the turns that are measured.
struct World {
    state: State<(), std::io::Error>,
    now: Ns,
    measured: bool,
    turns: Vec<Duration>,
}

impl World {
    /// With so many connections, idle.
    fn new(connections: u32, settings: Settings) -> Self {
        let settings = settings.with_pool_size(connections).with_max_overflow(MaxOverflow::Limited(0));
        let state = State::new(settings.with_connect_concurrency(connections), 1);
        let mut world = Self { state, now: 1, measured: false, turns: Vec::new() };
        world.state.driver = Some(1);
        world.turn(|state, now, fx| state.warm_up(true, now, fx));
        world.work();
        world
    }

    /// One turn, in pieces if need be.
    fn turn<T>(
        &mut self,
        decide: impl FnOnce(&mut State<(), std::io::Error>, Ns, &mut Effects<(), std::io::Error>) -> T,
    ) -> T {
        let mut fx = Effects::default();
        let begun = Instant::now();
        let answer = decide(&mut self.state, self.now, &mut fx);
        self.took(begun);
        while self.state.is_busy() {
            fx = Effects::default();
            let begun = Instant::now();
            self.state.go_on(self.now, &mut fx);
            self.took(begun);
        }
        answer
    }

    fn took(&mut self, begun: Instant) {
        let took = begun.elapsed();
        if self.measured {
            self.turns.push(took);
        }
    }

    /// All jobs, each ending well at once.
    fn work(&mut self) {
        while let Some(job) = self.turn(|state, now, fx| state.next_job(now, fx)) {
            match job {
                Job::Connect { slot, .. } => drop(self.turn(|state, now, fx| state.connected(slot, (), now, fx))),
                Job::Ping { slot, .. } => drop(self.turn(|state, now, fx| state.pinged(slot, (), now, fx))),
                Job::Reset { slot, .. } => drop(self.turn(|state, now, fx| state.was_reset(slot, (), now, fx))),
                Job::Close { slot, reason, .. } => {
                    self.turn(|state, now, fx| state.was_closed(slot, reason, true, now, fx))
                }
            }
        }
    }

    /// A driver's turns until nothing is due.
    fn sweep(&mut self) {
        while self.turn(|state, now, fx| state.sweep(now, fx)) <= self.now {}
    }

    fn lend_all(&mut self) {
        while self.turn(|state, now, _| state.take(caller(0), now)).is_some() {}
    }

    /// So many callers, each of a task of its own, with these limits.
    fn queue(&mut self, callers: u64, limit: impl Fn(u64) -> Ns) -> Vec<Ticket> {
        let wait = |i| {
            let deadline = self.now.saturating_add(limit(i)).min(NEVER - 1);
            match self.turn(|state, now, fx| state.wait(caller(i + 1), deadline, Waker::noop().clone(), now, fx)) {
                Wait::Queued(ticket) => Some(ticket),
                Wait::Refused(_) => None,
            }
        };
        (0..callers).filter_map(wait).collect()
    }
}

fn caller(task: u64) -> Caller {
    Caller { site: Site::here(), task: (task > 0).then_some(task), holds: None }
}

/// In no order.
fn scattered(i: u64) -> Ns {
    10 * SECOND + (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 34)
}

/// The worst turn of a scenario: `prepare` is not measured, `act` is.
fn worst(prepare: &dyn Fn() -> World, act: &dyn Fn(&mut World)) -> Duration {
    let mut shortest: Vec<Duration> = Vec::new();
    for _ in 0..RUNS {
        let mut world = prepare();
        world.measured = true;
        act(&mut world);
        if shortest.is_empty() {
            shortest = world.turns;
        } else {
            shortest.iter_mut().zip(&world.turns).for_each(|(a, b)| *a = (*a).min(*b));
        }
    }
    shortest.into_iter().max().unwrap_or_default()
}

/// The longest turn of each kind of step, with so many callers in the queue of one connection, and so many connections.
pub(crate) fn measure(callers: u64, connections: u32) -> Vec<(&'static str, Duration)> {
    let one = || {
        let mut world = World::new(1, Settings::default());
        world.lend_all();
        world
    };
    let crowd = || {
        let mut world = one();
        world.queue(callers, |_| 10 * SECOND);
        world
    };
    let crowd_of_all_kinds = || {
        let mut world = one();
        world.queue(callers, scattered);
        world
    };
    let idle = || World::new(connections, Settings::default());
    let short_lived =
        || World::new(connections, Settings::default().with_idle_timeout(Duration::from_secs(1)).with_keepalive(None));
    let lent = || {
        let mut world = World::new(connections, Settings::default().with_leak_after(Duration::from_secs(1)));
        world.lend_all();
        world
    };
    let mut found = Vec::new();
    let mut measure =
        |name, prepare: &dyn Fn() -> World, act: &dyn Fn(&mut World)| found.push((name, worst(prepare, act)));

    measure("callers: enqueue", &one, &|w| drop(w.queue(callers, |_| 10 * SECOND)));
    measure("callers: enqueue, limits in no order", &one, &|w| drop(w.queue(callers, scattered)));
    measure("callers: status", &crowd, &|w| drop(w.turn(|s, now, _| s.status(now))));
    measure("callers: all leave, the last first", &one, &|w| {
        let tickets = w.queue(callers, scattered);
        tickets.into_iter().rev().for_each(|ticket| w.turn(|s, now, fx| s.leave(ticket, now, fx)));
    });
    measure("callers: give back and collect", &one, &|w| {
        let tickets = w.queue(callers, |_| 10 * SECOND);
        for ticket in tickets.into_iter().take(10_000) {
            w.turn(|s, now, fx| s.come_home(0, (), now, fx));
            let lent = w.turn(|s, now, fx| s.collect(ticket, now, fx));
            assert!(matches!(lent, Some(Collected::Lent(..))));
        }
    });
    measure("callers: pause(Refuse)", &crowd, &|w| w.turn(|s, _, fx| s.pause(Pause::Refuse, fx)));
    measure("callers: close", &crowd_of_all_kinds, &|w| w.turn(|s, now, fx| s.close(now, fx)));
    measure("callers: all run out of time", &crowd_of_all_kinds, &|w| {
        w.now = 1_000 * SECOND;
        w.sweep();
    });
    measure("callers: a permanent connect error", &crowd, &|w| {
        w.turn(|s, now, fx| s.discard(0, (), crate::CloseReason::Removed, now, fx));
        let Some(Job::Close { slot, reason, .. }) = w.turn(|s, now, fx| s.next_job(now, fx)) else { return };
        w.turn(|s, now, fx| s.was_closed(slot, reason, true, now, fx));
        let Some(Job::Connect { slot, .. }) = w.turn(|s, now, fx| s.next_job(now, fx)) else { return };
        let error = Failure::Manager(Arc::new(std::io::Error::other("no")));
        let error = ConnectError { failure: error, class: ErrorClass::Permanent };
        w.turn(|s, now, fx| s.connect_failed(slot, error, "no".into(), now, fx));
    });
    measure("callers: the driver's runtime ends", &crowd, &|w| {
        w.turn(|s, now, fx| s.runtime_ended(1, s.drivers, now, fx))
    });
    measure("callers: another runtime takes over", &crowd, &|w| w.turn(|s, now, fx| s.take_over(now, fx)));
    measure("connections: open", &|| World::new(0, Settings::default()), &|w| {
        let settings = w.state.settings().clone().with_pool_size(connections).with_connect_concurrency(connections);
        w.turn(|s, now, fx| s.reconfigure(settings, now, fx));
        w.turn(|s, now, fx| s.warm_up(true, now, fx));
        w.work();
    });
    measure("connections: take", &idle, &|w| w.lend_all());
    measure("connections: try_acquire, none fresh", &idle, &|w| {
        w.now = SECOND;
        assert!(w.turn(|s, now, _| s.try_take(caller(0), now)).is_err());
    });
    measure("connections: status", &lent, &|w| drop(w.turn(|s, now, _| s.status(now))));
    measure("connections: holders", &lent, &|w| drop(w.turn(|s, now, _| s.held(now))));
    measure("connections: invalidate", &idle, &|w| w.turn(|s, now, fx| s.invalidate(now, fx)));
    measure("connections: all are closed, one by one", &idle, &|w| {
        w.turn(|s, now, fx| s.invalidate(now, fx));
        w.work();
    });
    measure("connections: close", &idle, &|w| w.turn(|s, now, fx| s.close(now, fx)));
    measure("connections: reconfigure to one", &idle, &|w| {
        let settings = w.state.settings().clone().with_pool_size(1);
        w.turn(|s, now, fx| s.reconfigure(settings, now, fx));
    });
    measure("connections: all idle for too long", &short_lived, &|w| {
        w.now = 100 * SECOND;
        w.sweep();
    });
    measure("connections: all leak", &lent, &|w| {
        w.now = 100 * SECOND;
        w.sweep();
    });
    measure(
        "connections: all kept alive",
        &|| World::new(connections, Settings::default().with_keepalive(Duration::from_secs(1))),
        &|w| {
            w.now = 100 * SECOND;
            w.sweep();
            w.work();
        },
    );
    measure(
        "connections: resume with as many callers",
        &|| {
            let mut world = World::new(connections, Settings::default());
            world.turn(|s, _, fx| s.pause(Pause::Wait, fx));
            world.queue(u64::from(connections), |_| 10 * SECOND);
            world
        },
        &|w| w.turn(|s, now, fx| s.resume(now, fx)),
    );
    measure("connections: the driver's runtime ends", &idle, &|w| {
        w.turn(|s, now, fx| s.runtime_ended(1, s.drivers, now, fx))
    });
    measure("connections: another runtime takes over", &idle, &|w| w.turn(|s, now, fx| s.take_over(now, fx)));
    found
}
