//! How long something took, in as few figures as a reader needs.

use std::{fmt, time::Duration};

/// A duration as a reader wants it: `250ms`, `3.2s`, at most three figures.
pub fn short(d: Duration) -> impl fmt::Display {
    struct Short(Duration);
    impl fmt::Display for Short {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.0.as_secs_f64() {
                s if s >= 100.0 => write!(f, "{s:.0}s"),
                s if s >= 1.0 => write!(f, "{}s", (s * 10.0).round() / 10.0),
                s => write!(f, "{}ms", (s * 1000.0).round()),
            }
        }
    }
    Short(d)
}
