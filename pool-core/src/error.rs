//! Why an acquire failed, said so that the reader knows what to do.

use crate::{ErrorClass, Holder, MaxOverflow, Moment, Site, Status, short, timeline};
use std::{error::Error, fmt, sync::Arc, time::Duration};

/// What kept a caller from getting a connection.
///
/// Each has a page in the book, `errors/<code>`, with causes and cures:
/// [all of them](https://github.com/pooled-rs/pooled/blob/main/book/src/reference/errors.md).
#[doc(alias = "503")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// All connections are in use, none for suspiciously long.
    Exhausted,
    /// All connections are in use, and at least one has been held longer than `leak_after`.
    Leaking,
    /// Tasks that hold a connection wait for another one of the same pool.
    Nested,
    /// No connection could be opened.
    Connecting,
    /// Too many callers wait already (`max_waiting`).
    Refused,
    /// Lending is paused.
    Paused,
    /// The pool is closed.
    Closed,
}

impl Verdict {
    /// The stable code, which is also the name of the book's page.
    pub fn code(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Leaking => "leaking",
            Self::Nested => "nested",
            Self::Connecting => "connecting",
            Self::Refused => "refused",
            Self::Paused => "paused",
            Self::Closed => "closed",
        }
    }

    /// What it means, in a few words.
    fn phrase(self) -> &'static str {
        match self {
            Self::Exhausted => "all are taken",
            Self::Leaking => "all are taken, one for longer than leak_after",
            Self::Nested => "all were borrowed by tasks that wait for another one",
            Self::Connecting => "none could be opened",
            Self::Refused => "too many wait already",
            Self::Paused => "lending is paused",
            Self::Closed => "the pool is closed",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// No connection was lent. Says why, how full the pool was, who held its connections, and what the server said last.
#[doc(alias = "503")]
#[doc(alias = "PoolTimedOut")]
#[doc(alias = "PoolError")]
pub struct AcquireError<E> {
    pub(crate) report: Box<Report<E>>,
}

pub(crate) struct Report<E> {
    pub(crate) cause: Cause<E>,
    pub(crate) verdict: Verdict,
    pub(crate) site: Site,
    pub(crate) waited: Duration,
    pub(crate) status: Status,
    pub(crate) holders: Vec<Holder>,
    pub(crate) connect_error: Option<ConnectError<E>>,
    /// How long the oldest connect under way has been without an answer.
    pub(crate) unanswered: Option<Duration>,
    /// How long callers that need a connect will be refused, because waiting cannot cure what keeps it from succeeding.
    pub(crate) refused_for: Option<Duration>,
    pub(crate) timeline: Vec<Moment>,
}

/// How the acquire ended.
pub(crate) enum Cause<E> {
    /// With the verdict at the moment when the time ran out, if that was earlier.
    TimedOut(Option<Verdict>),
    QueueFull(u32),
    Closed,
    Paused,
    /// Refused because this site holds a connection already.
    Nested(Site),
    /// All connections are held by callers that wait for another.
    Deadlocked,
    Connect(ConnectError<E>),
}

/// How an attempt to open a connection failed.
pub struct ConnectError<E> {
    pub(crate) failure: Failure<Arc<E>>,
    pub(crate) class: ErrorClass,
}

#[derive(Clone)]
pub(crate) enum Failure<E> {
    Manager(E),
    TimedOut(Duration),
    Aborted(&'static str),
}

impl<E> AcquireError<E> {
    /// What kept the caller from getting a connection.
    pub fn verdict(&self) -> Verdict {
        self.report.verdict
    }

    /// Whether the caller's time ran out (rather than being turned away at once).
    pub fn is_timeout(&self) -> bool {
        matches!(self.report.cause, Cause::TimedOut(_))
    }

    /// When another try may succeed; `None` where trying again cannot help.
    pub fn retry_after(&self) -> Option<Duration> {
        let permanent = self.connect_error().is_some_and(|e| e.class == ErrorClass::Permanent);
        match self.verdict() {
            Verdict::Closed | Verdict::Nested => None,
            Verdict::Connecting if permanent => None,
            Verdict::Connecting => {
                let left = self.report.refused_for.unwrap_or_default();
                Some(
                    Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0))
                        .max(Duration::from_secs(1)),
                )
            }
            _ => Some(Duration::from_secs(1)),
        }
    }

    /// The connect error behind the failure: the one that was given to this caller, else the last one if no connect has succeeded since.
    pub fn connect_error(&self) -> Option<&ConnectError<E>> {
        match &self.report.cause {
            Cause::Connect(error) => Some(error),
            _ => self.report.connect_error.as_ref(),
        }
    }

    /// Who held connections at that moment: the longest first, five at most.
    pub fn holders(&self) -> &[Holder] {
        &self.report.holders
    }

    /// How long the caller had waited.
    pub fn waited(&self) -> Duration {
        self.report.waited
    }

    /// What happened while the caller waited, in order.
    pub fn timeline(&self) -> &[Moment] {
        &self.report.timeline
    }

    /// The timeline in one line, for a log: `+0ms queued, +1ms connecting, +3ms connect failed: connection refused, ..`.
    pub fn story(&self) -> String {
        timeline::line(&self.report.timeline)
    }

    /// The place that asked.
    pub fn site(&self) -> Site {
        self.report.site
    }

    /// The pool's numbers at that moment.
    pub fn status(&self) -> &Status {
        &self.report.status
    }
}

/// One line, for example `timed out after 250ms waiting for a connection of pool primary: all are taken (limit of size 10 overflow 5
/// reached, in use 15 of 15, idle 0, waiting 8, longest holder: app::list (src/app.rs:12) holds 12, longest 3.2s); see errors/exhausted`.
impl<E: fmt::Display> fmt::Display for AcquireError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { cause, verdict, waited, status, holders, .. } = &*self.report;
        let (pool, waited) = (&status.name, short(*waited));
        match cause {
            Cause::TimedOut(_) => {
                write!(f, "timed out after {waited} waiting for a connection of pool {pool}: {}", verdict.phrase())?;
                match self.report.unanswered {
                    Some(age) if *verdict == Verdict::Connecting => {
                        write!(f, ", a connect has had no answer for {} (", short(age))?
                    }
                    _ => f.write_str(" (")?,
                }
            }
            Cause::QueueFull(limit) => {
                write!(f, "refused by pool {pool}: max_waiting = {limit} and as many callers wait already (")?;
            }
            Cause::Closed => write!(f, "pool {pool} is closed (")?,
            Cause::Paused => write!(f, "refused by pool {pool}: lending is paused (")?,
            Cause::Nested(outer) => {
                write!(f, "refused by pool {pool}: {outer}, in the same task, holds a connection already (")?
            }
            Cause::Deadlocked => {
                write!(f, "refused by pool {pool}: every connection is held by a task that waits for another (")?
            }
            Cause::Connect(error) => write!(f, "cannot open a connection of pool {pool} after {waited}: {error} (")?,
        }
        let full = match status.max_overflow {
            MaxOverflow::Limited(n) => status.opening + status.open >= status.pool_size.saturating_add(n),
            MaxOverflow::Unlimited => false,
        };
        if full {
            write!(f, "limit of size {} overflow {} reached, ", status.pool_size, status.max_overflow)?;
        }
        write!(f, "{status}")?;
        for (i, holder) in holders.iter().take(3).enumerate() {
            write!(f, "{} {holder}", if i == 0 { ", longest holder:" } else { ", then" })?;
        }
        if let (false, Some(error)) = (matches!(cause, Cause::Connect(_)), self.connect_error()) {
            write!(f, ", last connect error: {error}")?;
        }
        write!(f, "); see errors/{verdict}")
    }
}

impl<E: fmt::Display> fmt::Debug for AcquireError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AcquireError({self})")
    }
}

impl<E: Error + 'static> Error for AcquireError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.connect_error()?.error().map(|e| e as _)
    }
}

impl<E> ConnectError<E> {
    /// The manager's error; `None` if the attempt ran out of time or panicked.
    pub fn error(&self) -> Option<&E> {
        match &self.failure {
            Failure::Manager(error) => Some(error),
            _ => None,
        }
    }

    /// What the manager said the error means.
    pub fn class(&self) -> ErrorClass {
        self.class
    }
}

impl<E> Clone for ConnectError<E> {
    fn clone(&self) -> Self {
        Self { failure: self.failure.clone(), class: self.class }
    }
}

impl<E: fmt::Display> fmt::Display for ConnectError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            // One line, and never nothing: this is read in a log.
            Failure::Manager(error) => {
                let text = error.to_string();
                let mut words = text.split_whitespace().peekable();
                if words.peek().is_none() {
                    return write!(f, "the manager gave no reason ({})", std::any::type_name::<E>());
                }
                (0..).zip(words).try_for_each(|(i, word)| write!(f, "{}{word}", if i == 0 { "" } else { " " }))
            }
            Failure::TimedOut(limit) => write!(f, "the server did not answer within {}", short(*limit)),
            Failure::Aborted(why) => f.write_str(why),
        }
    }
}

impl<E: fmt::Display> fmt::Debug for ConnectError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectError({self})")
    }
}

/// [`Pool::try_acquire`](crate::Pool::try_acquire) found nothing to lend at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// No connection is idle and fresh, or others wait already.
    Busy,
    /// The caller holds a connection already, and [`nested`](crate::Settings::nested) is `deny`.
    Nested,
    /// Lending is paused.
    Paused,
    /// The pool is closed.
    Closed,
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nested => "the caller holds a connection of this pool already",
            Self::Busy => "no connection is free right now; acquire() would wait",
            Self::Paused => "the pool is paused",
            Self::Closed => "the pool is closed",
        })
    }
}

impl Error for TryAcquireError {}
