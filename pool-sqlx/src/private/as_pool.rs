//! Where a `#[pooled]` function finds its pool.

use super::lend::Lend;
use crate::{Backend, Pool};
use std::sync::Arc;

/// The pool that can lend a `T`.
pub type PoolFor<T, K> = Pool<<T as Lend>::Database, K>;

/// Where `from = ..` may find a pool.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a pool that can lend this connection")]
pub trait AsPool<DB: Backend, K> {
    fn pool(&self) -> &Pool<DB, K>;
}

impl<DB: Backend, K> AsPool<DB, K> for Pool<DB, K> {
    fn pool(&self) -> &Self {
        self
    }
}

impl<DB: Backend, K, P: AsPool<DB, K>> AsPool<DB, K> for &P {
    fn pool(&self) -> &Pool<DB, K> {
        (**self).pool()
    }
}

impl<DB: Backend, K, P: AsPool<DB, K>> AsPool<DB, K> for Arc<P> {
    fn pool(&self) -> &Pool<DB, K> {
        (**self).pool()
    }
}

pub fn as_pool<T: Lend, K>(pool: &impl AsPool<T::Database, K>) -> &PoolFor<T, K> {
    pool.pool()
}
