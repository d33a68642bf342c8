//! What happened lately, so that a slow or failed acquire can tell its story.

use super::{Arrival, Ns, time};
use crate::{Moment, Step};
use std::{collections::VecDeque, sync::Arc};

/// Enough for the attempts of ten seconds at the longest back-off, several times over.
const KEPT: usize = 128;

/// The last happenings that make callers wait: connects and pings, not the lending that goes on all the time.
pub(crate) struct Journal {
    entries: VecDeque<(Ns, Entry)>,
    /// Entries ever made.
    made: u64,
}

pub(crate) enum Entry {
    ConnectBegan,
    /// With what was said.
    ConnectFailed(Arc<str>),
    Connected,
    PingBegan,
    PingFailed,
    PingAnswered,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { entries: VecDeque::with_capacity(KEPT), made: 0 }
    }

    pub(crate) fn note(&mut self, now: Ns, entry: Entry) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back((now, entry));
        self.made += 1;
    }

    /// Marks the present for [`Self::since`].
    pub(crate) fn mark(&self) -> u64 {
        self.made
    }

    /// The story of a caller that came then, in order.
    pub(crate) fn since(&self, Arrival { at: arrived, mark }: Arrival) -> Vec<Moment> {
        let queued = Moment { after: time(0), step: Step::Queued };
        let earlier = (mark + self.entries.len() as u64).saturating_sub(self.made) as usize;
        let story = self.entries.iter().skip(earlier).map(|(at, entry)| Moment {
            after: time(at.saturating_sub(arrived)),
            step: match entry {
                Entry::ConnectBegan => Step::ConnectBegan,
                Entry::ConnectFailed(error) => Step::ConnectFailed(error.to_string()),
                Entry::Connected => Step::Connected,
                Entry::PingBegan => Step::PingBegan,
                Entry::PingFailed => Step::PingFailed,
                Entry::PingAnswered => Step::PingAnswered,
            },
        });
        std::iter::once(queued).chain(story).collect()
    }
}
