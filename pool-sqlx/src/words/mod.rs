//! Plain data that every floor may use.

pub(crate) mod class;
mod endpoint;
pub(crate) mod secret;
mod tx_options;

pub(crate) use class::Class;
pub use endpoint::Place;
pub use secret::Secret;
pub use tx_options::{Isolation, TxOptions};

/// The key of a service's only pool, or of its first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Main;
