//! One connection on loan.

mod cancel;
mod clock;
mod counters;
mod familiar;
mod notices;
mod recorders;
mod recover;
mod span;
mod statement;
mod track;
#[cfg(test)]
mod walk;
mod wrap;

pub(crate) use cancel::Control;
pub(crate) use clock::Limits;
#[cfg(test)]
pub(crate) use counters::KEPT;
pub use counters::Refusal;
pub(crate) use counters::{Past, Tally};
pub(crate) use familiar::Familiar;
#[cfg_attr(not(any(feature = "otel-0-33", feature = "otel-0-32")), allow(unused_imports))]
pub(crate) use recorders::{Ended, Record};
use span::Watch;
pub(crate) use track::{End, Purpose, Return, Rules, Track};

use crate::{DatabaseSettings, Pooler, Reset, backend::Backend, words::TxOptions};
use sqlx::SqlStr;
use std::sync::Arc;

/// One connection and what is known about it.
pub(crate) struct Link<DB: Backend> {
    pub(crate) raw: DB::Connection,
    pub(crate) state: DB::State,
    pub(crate) track: Track,
    pub(crate) familiar: Familiar,
    /// Cancels abandoned statements.
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

impl Rules {
    pub(crate) fn of<DB: Backend>(settings: &DatabaseSettings) -> Self {
        Self {
            drains: DB::DRAINS,
            is_remote: DB::IS_REMOTE,
            misses_clients: DB::MISSES_CLIENTS,
            transactions_leave_settings: DB::READ_ONLY_LINGERS || !DB::LIMITS_TRANSACTIONS,
            wraps: settings.pooler == Pooler::Unprepared,
            resets: settings.reset != Reset::Rollback,
        }
    }
}
