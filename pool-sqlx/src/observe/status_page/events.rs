//! What happened in a pool: the latest of each kind, and how often.

use crate::{Event, Site};
use pool_core::short;
use std::time::SystemTime;

/// Kinds that are kept. What happened longest ago is forgotten first.
const KEPT: usize = 40;

/// The same again is counted, not listed: a pool that opens and closes connections all day does not push out what matters.
#[derive(Default)]
pub(super) struct Events {
    /// The latest last.
    noted: Vec<Noted>,
}

pub(super) struct Noted {
    pub(super) kind: &'static str,
    pub(super) level: Level,
    pub(super) text: String,
    pub(super) times: u64,
    pub(super) last: SystemTime,
    /// What makes it the same as another of its kind.
    subject: String,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Level {
    /// As it should be.
    Info,
    /// The end of something that was not.
    Good,
    /// Somebody should look.
    Warn,
    /// Somebody was harmed.
    Bad,
}

impl Events {
    /// `shown` turns what the log says of a failed connect into what may be shown to anybody.
    pub(super) fn note(&mut self, event: &Event, now: SystemTime, shown: impl Fn(&str) -> String) {
        let (kind, level, subject, text) = describe(event, shown);
        let same = self.noted.iter().position(|noted| noted.kind == kind && noted.subject == subject);
        let times = same.map_or(0, |at| self.noted.remove(at).times) + 1;
        if self.noted.len() == KEPT {
            self.noted.remove(0);
        }
        self.noted.push(Noted { kind, level, text, times, last: now, subject });
    }

    /// The latest first.
    pub(super) fn latest(&self) -> impl Iterator<Item = &Noted> {
        self.noted.iter().rev()
    }
}

/// Kind, level, subject, and a sentence for somebody who has not read the manual.
fn describe(event: &Event, shown: impl Fn(&str) -> String) -> (&'static str, Level, String, String) {
    let of = |site: &Site| site.to_string();
    match event {
        Event::Opened { took } => {
            ("opened", Level::Info, String::new(), format!("a connection was opened in {}", short(*took)))
        }
        Event::ConnectFailed { error, retry_in } => {
            let error = shown(error);
            let next = retry_in.map_or(String::new(), |after| format!("; next attempt in {}", short(after)));
            ("connect_failed", Level::Bad, error.clone(), format!("a connection could not be opened: {error}{next}"))
        }
        Event::Closed { reason, age } => {
            let reason = reason.as_str();
            ("closed", Level::Info, reason.into(), format!("a connection was closed ({reason}), {} old", short(*age)))
        }
        Event::Suspect { retired } => {
            let text = format!("a connection was found dead; {retired} older idle ones were retired with it");
            ("suspect", Level::Warn, String::new(), text)
        }
        Event::Recovered => ("recovered", Level::Good, String::new(), "the database answers again".into()),
        Event::Abandoned => {
            let text = "a close did not end in time; the server may still hold the connection";
            ("abandoned", Level::Warn, String::new(), text.into())
        }
        Event::SlowAcquire { site, waited, .. } => {
            ("slow_acquire", Level::Warn, of(site), format!("{site} waited {} for a connection", short(*waited)))
        }
        Event::Nested { outer, inner } => {
            let text = format!("{inner} asks for a connection while {outer}, in the same task, holds one");
            ("nested", Level::Warn, text.clone(), text)
        }
        Event::Lost { events } => ("lost", Level::Warn, String::new(), format!("{events} events were missed")),
        Event::Leak { site, held } => {
            let text =
                format!("{site} has held a connection for {}: a leak, or work to be done without one", short(*held));
            ("leak", Level::Warn, of(site), text)
        }
        Event::LeakReturned { site, held } => {
            let text = format!("{site} gave back the connection reported as leaking, after {}", short(*held));
            ("leak_returned", Level::Good, of(site), text)
        }
        // What newer versions of the core tell.
        _ => ("other", Level::Info, String::new(), "something that this page has no words for: the log has".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CloseReason;
    use std::time::Duration;

    #[test]
    fn the_same_again_is_counted_and_comes_first() {
        let mut events = Events::default();
        let opened = |ms| Event::Opened { took: Duration::from_millis(ms) };
        let closed = |reason| Event::Closed { reason, age: Duration::from_secs(7) };
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let story =
            [opened(3), closed(CloseReason::Overflow), Event::Recovered, closed(CloseReason::Broken), opened(1200)];
        (0..).zip(&story).for_each(|(s, event)| events.note(event, at(s), str::to_owned));
        let told: Vec<_> = events.latest().map(|noted| (noted.text.as_str(), noted.times, noted.last)).collect();
        assert_eq!(
            told,
            [
                ("a connection was opened in 1.2s", 2, at(4)),
                ("a connection was closed (broken), 7s old", 1, at(3)),
                ("the database answers again", 1, at(2)),
                ("a connection was closed (overflow), 7s old", 1, at(1)),
            ]
        );
    }

    #[test]
    fn a_flood_of_different_events_pushes_out_the_oldest_only() {
        let mut events = Events::default();
        for i in 0..KEPT + 5 {
            let failed = Event::ConnectFailed { error: format!("error {i}"), retry_in: None };
            events.note(&failed, SystemTime::UNIX_EPOCH, str::to_owned);
        }
        let last = format!("a connection could not be opened: error {}", KEPT + 4);
        assert_eq!((events.latest().count(), &events.latest().next().unwrap().text), (KEPT, &last));
    }
}
