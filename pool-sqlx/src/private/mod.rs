//! What the output of our macros calls. Not for other use: it changes without notice.

mod as_pool;
mod call;
mod held;
mod lend;
mod pools;
mod reply;
mod retry;
mod service_error;

pub use crate::Isolation;
pub use call::{Call, RetryOn, back_off};
pub use lend::{AsPool, Held, Lend, PoolFor, Transaction, acquire, as_pool, finish, giving, holding, transaction};
pub use pool_core::{Hold, Site};
pub use pools::{HasPools, IsPool, Sections, all, close_all};
pub use reply::{FromFailure, Reply};
pub use retry::{RetryOn, back_off};
#[cfg(feature = "actix")]
pub use service_error::actix_status;
pub use service_error::{
    Answers, Described, HasError, Look, LookAnyway, LookAtError, LookIntoBox, answer, failure, failure_in, text,
};
