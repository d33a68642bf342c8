//! What `#[derive(Pools)]` calls.

use crate::{Backend, CloseReport, ConfigError, DatabaseSettings, Error, Pool, Status, Watchable, Watched};
use figment::Figment;
use futures_core::future::BoxFuture;
use std::{future::Future, sync::Arc};

/// What a field of `#[derive(Pools)]` has to be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no pool of `pool_sqlx`, and each field of a `Pools` struct is one",
    label = "write `pool_sqlx::PgPool`, `MySqlPool` or `SqlitePool`",
    note = "a pool is a handle and needs no `Arc`; instead of an `Option`, `#[pool(lazy)]` starts without the database",
    note = "what else the service needs goes into a struct around it: `#[derive(HasPools)] struct App {{ #[pools] databases: Databases, .. }}`"
)]
pub trait IsPool: Sized {
    fn connect_lazy(settings: DatabaseSettings) -> Result<Self, Error>;
    /// Opens `pool_size` connections.
    fn open(&self) -> impl Future<Output = Result<(), Error>> + Send;
    fn ready(&self) -> impl Future<Output = Result<(), Error>> + Send;
    fn close(&self) -> impl Future<Output = CloseReport> + Send;
    fn status(&self) -> Status;
    fn watched(&self) -> Vec<Watched>;
}

impl<DB: Backend, Key> IsPool for Pool<DB, Key> {
    fn connect_lazy(settings: DatabaseSettings) -> Result<Self, Error> {
        crate::open::open(settings)
    }

    #[track_caller]
    fn open(&self) -> impl Future<Output = Result<(), Error>> + Send {
        self.open()
    }

    #[track_caller]
    fn ready(&self) -> impl Future<Output = Result<(), Error>> + Send {
        self.ready()
    }

    async fn close(&self) -> CloseReport {
        self.close().await
    }

    fn status(&self) -> Status {
        self.status()
    }

    fn watched(&self) -> Vec<Watched> {
        Watchable::watched(self)
    }
}

/// What the field marked `#[pools]` of a `#[derive(HasPools)]` struct has to be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no pools for the handlers",
    label = "neither a struct with `#[derive(Pools)]` nor a pool",
    note = "write `#[pools]` on the field that has them, such as `databases: Databases`; it may be in an `Arc`"
)]
pub trait HasPools {}

impl<DB: Backend, Key> HasPools for Pool<DB, Key> {}

impl<P: HasPools> HasPools for Arc<P> {}

/// Reads the sections of `#[derive(Pools)]`, and collects what is wrong with all of them.
#[derive(Debug)]
pub struct Sections<'f> {
    figment: &'f Figment,
    error: Option<ConfigError>,
}

impl<'f> Sections<'f> {
    pub fn new(figment: &'f Figment, names: &'static [&'static str]) -> Self {
        Self { figment, error: crate::config::strangers(figment, names) }
    }

    pub fn read(&mut self, name: &str) -> Option<DatabaseSettings> {
        match DatabaseSettings::from(self.figment, name) {
            Ok(settings) => Some(settings),
            Err(error) => {
                self.error = self.error.take().into_iter().chain([error]).reduce(ConfigError::merge);
                None
            }
        }
    }

    pub fn finish(self) -> Result<(), Error> {
        self.error.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Waits for all pools at once. The first failure ends it.
pub async fn all(pools: Vec<(&'static str, BoxFuture<'_, Result<(), Error>>)>) -> Result<(), Error> {
    futures_util::future::try_join_all(pools.into_iter().map(|(_, ready)| ready)).await.map(drop)
}

/// Closes all pools at once.
pub async fn close_all(pools: Vec<(&'static str, BoxFuture<'_, CloseReport>)>) -> Vec<(&'static str, CloseReport)> {
    futures_util::future::join_all(pools.into_iter().map(|(name, close)| async move { (name, close.await) })).await
}
