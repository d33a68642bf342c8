//! What a server says of itself.

use std::{fmt, time::Duration};

/// What the server said of its own limits at the first connect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// What limits the connections of this pool, and of whom else.
    pub(crate) limits: Vec<Limit>,
    /// Places from which programs of our name were connected at that moment, this one included.
    pub(crate) instances: u32,
    /// After how long the server closes an idle connection, and the name of that limit.
    pub(crate) idle_limit: Option<(Duration, &'static str)>,
    /// Whom the server took this pool for.
    pub(crate) login: Login,
    /// Sessions that bore this program's name at that moment, wherever it runs, and by whom; as far as the server shows names.
    pub(crate) named: Vec<(Login, u32)>,
}

/// A limit on connections, whichever pool or program they are of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limit {
    /// How many there may be.
    pub(crate) most: u32,
    pub(crate) what: &'static str,
    /// Whose connections it counts, and who is refused beyond it.
    pub(crate) whom: Whom,
    /// How many of them were not of this pool in whichever place, at that moment.
    pub(crate) others: u32,
}

/// Whose connections a limit counts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
pub(crate) enum Whom {
    Everybody,
    User,
    Database,
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everybody => "everybody",
            Self::User => "this user",
            Self::Database => "everybody of this database",
        })
    }
}

/// Who a pool is to its server, as that said at the first connect.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Login {
    /// What no two servers have in common.
    pub(crate) server: String,
    pub(crate) user: String,
    pub(crate) database: String,
    /// What the server lists the program as.
    pub(crate) program: String,
}

impl Login {
    /// Whether a limit that counts the connections of one counts those of the other.
    pub(crate) fn shares(&self, limit: &Limit, other: &Self) -> bool {
        self.server == other.server
            && match limit.whom {
                Whom::Everybody => true,
                Whom::User => self.user == other.user,
                Whom::Database => self.database == other.database,
            }
    }
}

/// A session, on one of the servers that an address may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What the server says of itself and no other says. Two servers give the same numbers to their sessions.
    pub(crate) server: String,
    /// The session's number there.
    pub(crate) number: u64,
}
