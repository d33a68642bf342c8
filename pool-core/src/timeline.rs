//! The story of one acquire.

use crate::short;
use std::{fmt, time::Duration};

/// One step of an acquire, and when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moment {
    /// Time since the caller asked.
    pub after: Duration,
    /// What happened in the pool.
    pub step: Step,
}

/// What can happen while a caller waits. Connects and pings may be anybody's: whoever is first in line gets what they bring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The caller took its place in the queue.
    Queued,
    /// A connect was under way when the caller came, since this long.
    ConnectUnderWay(Duration),
    /// A connect began.
    ConnectBegan,
    /// A connect failed, with what was said.
    ConnectFailed(String),
    /// A connection was established.
    Connected,
    /// An idle connection was being tested.
    PingBegan,
    /// It was found dead.
    PingFailed,
    /// It was found good.
    PingAnswered,
    /// The caller was given a connection.
    Granted,
    /// The caller's wait ended without one.
    GaveUp,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queued => f.write_str("queued"),
            Self::ConnectUnderWay(since) => write!(f, "connecting for {} already", short(*since)),
            Self::ConnectBegan => f.write_str("connecting"),
            Self::ConnectFailed(error) => write!(f, "connect failed: {error}"),
            Self::Connected => f.write_str("connected"),
            Self::PingBegan => f.write_str("pinging"),
            Self::PingFailed => f.write_str("ping failed"),
            Self::PingAnswered => f.write_str("ping answered"),
            Self::Granted => f.write_str("granted"),
            Self::GaveUp => f.write_str("gave up"),
        }
    }
}

/// `+250ms connecting`
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{} {}", short(self.after), self.step)
    }
}

/// All steps in one line; of many, the first and the last.
pub(crate) fn line(story: &[Moment]) -> String {
    const SHOWN: usize = 5;
    let join = |part: &[Moment]| part.iter().map(Moment::to_string).collect::<Vec<_>>().join(", ");
    match story.len().checked_sub(2 * SHOWN) {
        None | Some(0) => join(story),
        Some(left_out) => {
            let (head, tail) = (&story[..SHOWN], &story[story.len() - SHOWN..]);
            format!("{}, ({left_out} more), {}", join(head), join(tail))
        }
    }
}
