//! What a pool tells about itself: numbers at one instant, and who holds what.

use crate::MaxOverflow;
use std::{collections::HashMap, fmt, panic::Location, time::Duration};

/// All numbers of a pool at one instant, taken under one lock.
///
/// `opening + open <= pool_size + max_overflow` and
/// `open = idle + in_use + pinging + resetting + closing`, always.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// Name of the pool.
    pub name: String,
    /// Persistent connections allowed.
    pub pool_size: u32,
    /// Connections allowed above `pool_size`.
    pub max_overflow: MaxOverflow,
    /// Established connections that are not confirmed closed.
    pub open: u32,
    /// Established and free.
    #[doc(alias = "checkedin")]
    pub idle: u32,
    /// Lent, or granted to a caller that is about to collect.
    #[doc(alias = "checkedout")]
    pub in_use: u32,
    /// The most that were in use at once since the pool got its present size.
    pub peak: u32,
    /// For how long in all, since then, as many were in use as there may be.
    pub full: Duration,
    /// How long ago that was: when the pool was made, or `reconfigure` last changed its size.
    pub sized: Duration,
    /// Connection attempts under way.
    pub opening: u32,
    /// Being tested before they are lent.
    pub pinging: u32,
    /// Returned and being cleaned.
    pub resetting: u32,
    /// Being closed.
    pub closing: u32,
    /// `max(0, open - pool_size)`. (SQLAlchemy's counter starts at `-pool_size`; ours never goes below zero.)
    pub overflow: u32,
    /// Closes that did not end in time so far: what the server may still hold beyond `open`.
    pub abandoned: u64,
    /// Callers in the queue.
    pub waiting: u32,
    /// How long the first caller in the queue has waited.
    pub oldest_wait: Option<Duration>,
    /// What the pool believes of the database, from the connections that it has.
    pub health: Health,
    /// Connects that failed in a row; 0 after one that succeeded. A server that refuses new connections may well serve the old ones.
    pub connect_failures: u32,
    /// Whether the pool has been closed.
    pub closed: bool,
    /// Whether lending is paused.
    pub paused: bool,
    /// Counts since the pool was made.
    pub totals: Totals,
}

impl Status {
    /// Connections in use as a share of `pool_size`: above 1.0 is overflow.
    pub fn utilisation(&self) -> f64 {
        f64::from(self.in_use) / f64::from(self.pool_size.max(1))
    }
}

/// One line: `in use 3 of 15, idle 7, waiting 0`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in use {} of ", self.in_use)?;
        match self.max_overflow {
            MaxOverflow::Limited(n) => write!(f, "{}", self.pool_size.saturating_add(n))?,
            MaxOverflow::Unlimited => f.write_str("unlimited")?,
        }
        write!(f, ", idle {}", self.idle)?;
        let under_way = [
            ("opening", self.opening),
            ("pinging", self.pinging),
            ("resetting", self.resetting),
            ("closing", self.closing),
        ];
        for (what, n) in under_way.into_iter().filter(|(_, n)| *n > 0) {
            write!(f, ", {what} {n}")?;
        }
        write!(f, ", waiting {}", self.waiting)
    }
}

/// Counts since the pool was made. `opened - closed() = open` at every instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Connections lent.
    pub acquired: u64,
    /// Of these, how many had to wait in the queue first.
    pub waited: u64,
    /// Acquires, whatever became of them, that had to wait and found everything in use that there may be.
    pub found_full: u64,
    /// Connections given back (or detached, or discarded).
    pub released: u64,
    /// Acquires that ran out of time.
    pub timeouts: u64,
    /// Acquires refused on arrival (queue full, nested, paused).
    pub refused: u64,
    /// Acquires that ended with a connect error.
    pub connect_failures: u64,
    /// Acquires dropped by their caller.
    pub cancelled: u64,
    /// Acquires ended by `close`.
    pub rejected_closed: u64,
    /// Connections established.
    pub opened: u64,
    /// Connection attempts that failed.
    pub connect_errors: u64,
    /// Tests made.
    pub pings: u64,
    /// Cleanings made.
    pub resets: u64,
    /// Connections closed, by reason.
    pub closed_by: CloseCounts,
}

impl Totals {
    /// Connections closed, for whatever reason.
    pub fn closed(&self) -> u64 {
        self.closed_by.0.iter().sum()
    }
}

/// Connections closed, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseCounts(pub(crate) [u64; CloseReason::ALL.len()]);

impl CloseCounts {
    /// How many were closed for this reason.
    pub fn of(&self, reason: CloseReason) -> u64 {
        self.0[reason as usize]
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (CloseReason, u64)> + '_ {
        CloseReason::ALL.into_iter().map(|reason| (reason, self.of(reason)))
    }
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Older than `pool_recycle`, or lent `max_uses` times.
    Recycled,
    /// Unused for `idle_timeout`.
    Idle,
    /// Returned, nobody waiting, `pool_size` idle ones there already.
    Overflow,
    /// Found dead.
    Broken,
    /// Older than an `invalidate` or than a detected disconnect.
    Invalidated,
    /// Could not be cleaned in time.
    ResetFailed,
    /// Opened for a caller that was served otherwise, and not needed; or above a size that was lowered.
    Excess,
    /// The pool was closed.
    Shutdown,
    /// Taken out by `detach`, or thrown away by `discard`.
    Removed,
}

impl CloseReason {
    /// Every reason, in the order of [`CloseCounts`].
    pub const ALL: [Self; 9] = [
        Self::Recycled,
        Self::Idle,
        Self::Overflow,
        Self::Broken,
        Self::Invalidated,
        Self::ResetFailed,
        Self::Excess,
        Self::Shutdown,
        Self::Removed,
    ];

    /// The reason as metrics and logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recycled => "recycled",
            Self::Idle => "idle",
            Self::Overflow => "overflow",
            Self::Broken => "broken",
            Self::Invalidated => "invalidated",
            Self::ResetFailed => "reset_failed",
            Self::Excess => "excess",
            Self::Shutdown => "shutdown",
            Self::Removed => "removed",
        }
    }
}

/// What the pool believes of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    /// The last thing heard from it was good, or nothing was heard yet.
    #[default]
    Warm,
    /// A connection was found dead: nothing is lent untested until something succeeds.
    Suspect,
}

/// The place that asks for a connection: a `#[pooled]` function by name, or a line of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    name: Option<&'static str>,
    location: Option<&'static Location<'static>>,
}

impl Site {
    /// A site with a name, at the line of this call. The macro makes one for each `#[pooled]` function.
    #[track_caller]
    pub const fn named(name: &'static str) -> Self {
        Self { name: Some(name), location: Some(Location::caller()) }
    }

    /// The line of this call.
    #[track_caller]
    pub const fn here() -> Self {
        Self { name: None, location: Some(Location::caller()) }
    }

    /// A site with a name only, for code that is not the user's and cannot know where the user called from.
    pub const fn nowhere(name: &'static str) -> Self {
        Self { name: Some(name), location: None }
    }

    /// Whether both are the same place by address: quick, and sometimes false of one place that was compiled twice.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.address() == other.address()
    }

    /// The place by its address.
    pub(crate) fn address(&self) -> (usize, usize, usize) {
        let (name, len) = self.name.map_or((0, 0), |name| (name.as_ptr() as usize, name.len()));
        (name, len, self.location.map_or(0, |location| std::ptr::from_ref(location) as usize))
    }

    /// A number that spreads, the same for what [`is`](Self::is) the same.
    pub(crate) fn spread(&self) -> u64 {
        let (name, _, location) = self.address();
        // Addresses are alike in their low bits, so the high ones of the product are taken (Knuth's multiplicative hashing).
        ((name ^ location.rotate_left(17)) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48
    }

    /// Name of the `#[pooled]` function, if it is one.
    pub fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// Source file; empty if unknown.
    pub fn file(&self) -> &'static str {
        self.location.map_or("", Location::file)
    }

    /// Line in the source file; 0 if unknown.
    pub fn line(&self) -> u32 {
        self.location.map_or(0, Location::line)
    }
}

/// `app::list (src/app.rs:12)`, or `src/app.rs:12` without a name.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name, self.location) {
            (Some(name), Some(_)) => write!(f, "{name} ({}:{})", self.file(), self.line()),
            (Some(name), None) => f.write_str(name),
            (None, _) => write!(f, "{}:{}", self.file(), self.line()),
        }
    }
}

/// Connections that one site holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Who borrowed.
    pub site: Site,
    /// How many it holds.
    pub count: u32,
    /// How long it has held the oldest.
    pub longest: Duration,
}

impl Holder {
    /// Adds up by site, the longest holder first.
    pub(crate) fn of_all(held: Vec<(Site, Duration)>) -> Vec<Self> {
        let mut by_address: HashMap<_, Self> = HashMap::new();
        let add =
            |to: &mut Self, more: &Self| (to.count, to.longest) = (to.count + more.count, to.longest.max(more.longest));
        for (site, longest) in held {
            let one = Self { site, count: 1, longest };
            by_address.entry(site.address()).and_modify(|sum| add(sum, &one)).or_insert(one);
        }
        // One place that was compiled twice has two addresses.
        let mut found: Vec<Self> = Vec::with_capacity(by_address.len());
        for holder in by_address.into_values() {
            match found.iter_mut().find(|other| other.site == holder.site) {
                Some(sum) => add(sum, &holder),
                None => found.push(holder),
            }
        }
        found.sort_by(|a, b| b.longest.cmp(&a.longest).then(b.count.cmp(&a.count)));
        found
    }
}

/// `app::list (src/app.rs:12) holds 3, longest 2.5s`
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} holds {}, longest {}", self.site, self.count, crate::short(self.longest))
    }
}

/// What [`Pool::close`](crate::Pool::close) found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Connections closed since the call.
    pub closed: u64,
    /// Who still held a connection when the grace ended, or had been granted one; empty after an orderly close.
    pub still_held: Vec<Holder>,
    /// Connections that were not closed in time: their own limit had ended, or they were still being cleaned or closed when the grace
    /// ended. The server may still hold them.
    pub abandoned: u64,
}

impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "closed {} connection{}", self.closed, if self.closed == 1 { "" } else { "s" })?;
        if self.abandoned > 0 {
            write!(f, ", {} not closed in time", self.abandoned)?;
        }
        for (i, holder) in self.still_held.iter().enumerate() {
            write!(f, "{} {holder}", if i == 0 { "; still held:" } else { "," })?;
        }
        Ok(())
    }
}
