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
pub use as_pool::{AsPool, PoolFor, as_pool};
pub use call::Call;
pub use held::{Held, acquire, finish, giving, holding};
pub use lend::{Lend, Transaction, transaction};
pub use pool_core::{Hold, Site};
pub use pools::{HasPools, IsPool, Sections, all, close_all};
pub use reply::{FromFailure, Reply};
pub use retry::{RetryOn, back_off};
#[cfg(feature = "actix")]
pub use service_error::actix_status;
pub use service_error::{
    Answers, Described, HasError, Look, LookAnyway, LookAtError, LookIntoBox, answer, failure, failure_in, text,
};
