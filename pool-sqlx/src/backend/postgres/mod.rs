//! PostgreSQL: limits are the server's own, given at start-up; the transaction status is asked for in one round trip.

mod dial;
mod environment;
mod limits;
mod retype;
mod session;
mod statements;
mod transactions;

use super::{Backend, Target};
use sqlx::Postgres;

impl Backend for Postgres {}

/// What is known of a session.
#[derive(Debug, Default)]
pub struct State {
    /// By what another connection can cancel what this one does; `None` where a pooler makes that somebody else's.
    target: Option<Target>,
    /// The server did not get our start-up options.
    swallowed: bool,
}

/// What a server says of itself, and no other that stands behind the same address.
const SERVER: &str = "extract(epoch from pg_postmaster_start_time())::text";

/// A setting of nobody's, given at start-up: where it is not known afterwards, a pooler stands in between.
const MARK: (&str, &str) = ("pool_sqlx.direct", "on");
