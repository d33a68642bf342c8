//! One connection on loan.

mod cancel;
mod clock;
mod counters;
mod familiar;
mod notices;
mod recover;
mod span;
mod statement;
mod track;
mod wrap;

pub(crate) use cancel::Control;
pub(crate) use cancel::given_up;
pub(crate) use clock::Limits;
#[cfg(test)]
pub(crate) use counters::KEPT;
pub(crate) use counters::{Past, Record, Tally};
pub use counters::{Refusal, StatementTimeouts};
pub(crate) use familiar::Familiar;
pub(crate) use span::Ended;
use span::{Watch, Within};
pub(crate) use track::Track;

use crate::{DatabaseSettings, backend::Backend, words::TxOptions};
use sqlx::SqlStr;
use std::sync::Arc;

/// One connection and what is known about it.
pub(crate) struct Link<DB: Backend> {
    pub(crate) raw: DB::Connection,
    pub(crate) state: DB::State,
    pub(crate) track: Track,
    pub(crate) familiar: Familiar,
    /// Its statement was told to end since the last time that it was clean.
    pub(crate) interrupted: bool,
    /// That could not be, for the server had no room for a connection to say it.
    pub(crate) crowded: bool,
    /// A cancellation may be under way that nobody waits for any more.
    pub(crate) cancelling: bool,
    /// How many statements were dropped in the middle.
    pub(crate) dropped: u32,
    /// Ends what nobody waits for any more.
    pub(crate) control: Arc<Control<DB>>,
    pub(crate) limits: Limits,
    pub(crate) settings: Arc<DatabaseSettings>,
    pub(crate) tally: Arc<Tally>,
}

/// Which of the statements of a loan go through us.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    All,
    Some,
}

impl<DB: Backend> Link<DB> {
    /// How a transaction begins, where a plain `BEGIN` will not do.
    pub(crate) fn begin_statement(&self, options: TxOptions) -> Option<SqlStr> {
        DB::begin_statement(&self.settings, options)
    }
}
