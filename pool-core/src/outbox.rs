//! Events on their way to observers: in order, and never in the pool's way.

use crate::{Event, shield::shield};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Events kept for observers that are slow; beyond that the oldest are lost, and counted.
const KEPT: usize = 1024;

/// Is told what happens in a pool.
///
/// Called on a thread of the pool's own, in the order of the events, after the pool's lock is released. An observer that blocks delays
/// the observers, not the pool; the pool keeps 1024 events for it and then tells of the loss with [`Event::Lost`]. An observer that panics
/// is not called again.
pub trait Observer: Send + 'static {
    /// Tells of one event.
    fn on_event(&mut self, event: &Event);
}

impl<F: FnMut(&Event) + Send + 'static> Observer for F {
    fn on_event(&mut self, event: &Event) {
        self(event);
    }
}

/// The queue between a pool and its observers.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Whether anybody listens. Read without the lock, so that a pool without observers pays one load.
    listening: AtomicBool,
    mail: Mutex<Mail>,
    posted: Condvar,
}

#[derive(Default)]
struct Mail {
    events: VecDeque<Event>,
    lost: u64,
    newcomers: Vec<Box<dyn Observer>>,
    ended: bool,
}

impl Outbox {
    /// Adds an observer; the first one starts the thread.
    pub(crate) fn subscribe(self: &Arc<Self>, observer: Box<dyn Observer>) {
        self.mail().newcomers.push(observer);
        if !self.listening.swap(true, Ordering::AcqRel) {
            let outbox = Arc::clone(self);
            let thread = std::thread::Builder::new().name("pool-observers".to_owned());
            if let Err(error) = thread.spawn(move || outbox.deliver()) {
                self.listening.store(false, Ordering::Release);
                tracing::error!(target: "pool", "cannot start the observers' thread: {error}");
            }
        }
        self.posted.notify_one();
    }

    /// Queues events. Called under the pool's lock, so that their order is the order in which they happened: wakes nobody.
    pub(crate) fn post(&self, events: &[Event]) {
        if events.is_empty() || !self.listening.load(Ordering::Acquire) {
            return;
        }
        let mut mail = self.mail();
        for event in events {
            if mail.events.len() == KEPT {
                mail.events.pop_front();
                mail.lost += 1;
            }
            mail.events.push_back(event.clone());
        }
    }

    /// Has the queue delivered. Called after the lock is released.
    pub(crate) fn send(&self) {
        if self.listening.load(Ordering::Acquire) {
            self.posted.notify_one();
        }
    }

    /// Lets the thread end once it has delivered what is there.
    pub(crate) fn end(&self) {
        self.mail().ended = true;
        self.posted.notify_one();
    }

    fn deliver(&self) {
        let mut observers: Vec<Box<dyn Observer>> = Vec::new();
        let mut mail = self.mail();
        loop {
            observers.append(&mut mail.newcomers);
            let lost = std::mem::take(&mut mail.lost);
            let batch = std::mem::take(&mut mail.events);
            if batch.is_empty() && mail.ended {
                drop(mail);
                for gone in observers {
                    shield("an observer that was dropped", || drop(gone));
                }
                return;
            }
            if batch.is_empty() {
                mail = self.posted.wait(mail).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(mail);
            let loss = (lost > 0).then_some(Event::Lost { events: lost });
            for event in loss.iter().chain(&batch) {
                let mut i = 0;
                while i < observers.len() {
                    if shield("an observer, which is not called again,", || observers[i].on_event(event)) {
                        i += 1;
                    } else {
                        let gone = observers.remove(i);
                        shield("an observer that was dropped", || drop(gone));
                    }
                }
            }
            mail = self.mail();
        }
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
