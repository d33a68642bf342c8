#![allow(missing_docs, clippy::todo, dead_code, clippy::unused_async)]
use crate::*;
use std::{sync::Arc, time::Duration};
pub struct Pool<M: Manager>(Arc<M>);
impl<M: Manager> Clone for Pool<M> { fn clone(&self) -> Self { Self(self.0.clone()) } }
impl<M: Manager> Pool<M> {
    pub fn new(_manager: M, _settings: Settings) -> Result<Self, SettingsError> { todo!() }
    /// Opens `pool_size` connections (a few at a time); Err with the first failure.
    pub async fn connect(&self) -> Result<(), AcquireError<M::Error>> { todo!() }
    #[track_caller]
    pub fn acquire(&self) -> Acquire<'_, M> { todo!() }
    #[track_caller]
    pub fn acquire_timeout(&self, _limit: Duration) -> Acquire<'_, M> { todo!() }
    /// For macros and adapters: acquire at a given site; None = pool_timeout.
    pub fn acquire_at(&self, _site: Site, _limit: Option<Duration>) -> Acquire<'_, M> { todo!() }
    #[track_caller]
    pub fn try_acquire(&self) -> Result<Pooled<M>, TryAcquireError> { todo!() }
    pub fn status(&self) -> Status { todo!() }
    pub fn holders(&self) -> Vec<Holder> { todo!() }
    pub fn settings(&self) -> Settings { todo!() }
    pub fn manager(&self) -> &M { todo!() }
    pub fn invalidate(&self) { todo!() }
    pub fn is_closed(&self) -> bool { todo!() }
    pub async fn close(&self) -> CloseReport { todo!() }
}
