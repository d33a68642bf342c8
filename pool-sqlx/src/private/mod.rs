//! What the output of our macros calls. Not for other use: it changes without notice.

mod call;
mod lend;
mod pools;
mod reply;
mod service_error;

pub use crate::Isolation;
pub use call::{Call, RetryOn, back_off};
pub use lend::{
    AsPool, Held, Lend, PoolFor, Transaction, acquire, as_pool, finish, give, hold, holding, lend, transaction,
};
pub use pool_core::{Hold, Site};
pub use pools::{IsPool, Sections, all, close_all};
pub use reply::{FromFailure, Reply};
#[cfg(feature = "actix")]
pub use service_error::actix_status;
pub use service_error::{Look, LookAtError, LookIntoBox, answer, failure_in};
