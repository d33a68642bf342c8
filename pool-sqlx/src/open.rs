//! Makes pools: settings in, a pool and those that look at it out.

use crate::{
    Backend, DatabaseSettings, Error, Pool, Startup, Watchable, Watched,
    config::{Demands, Plan},
    observe,
};

/// A pool that opens connections when they are needed, known to all that look at pools.
pub(crate) fn open<DB: Backend, Key>(settings: DatabaseSettings) -> Result<Pool<DB, Key>, Error> {
    let demands = Demands { name: DB::NAME, schemes: DB::URL_SCHEMES, adapt: DB::adapt, refused: DB::refused };
    let plan = Plan::new(settings, &demands, |settings| DB::configure(settings, settings.statement_timeout))?;
    let pool: Pool<DB, Key> = Pool::of(plan)?;
    for watched in pool.watched() {
        let weak = watched.downgrade();
        pool.core().manager().at_first_connect(move || weak.upgrade().iter().for_each(Watched::log_advice));
        if DB::IS_REMOTE {
            observe::join(&watched);
        }
    }
    Ok(pool)
}

/// For the key [`Main`](crate::Main), so that `PgPool::connect(settings)` needs no annotation; [`keyed`](Pool::keyed) gives another.
impl<DB: Backend> Pool<DB> {
    /// Makes a pool and opens its connections, so that a wrong password is known before the first request, which finds them warm.
    ///
    /// # Cancel safety
    ///
    /// Dropped in the middle, what was opened is closed.
    ///
    /// # Errors
    ///
    /// What [`connect_lazy`](Self::connect_lazy) says, or why no connection could be opened within `pool_timeout`. A server that
    /// grants some, but not `pool_size`, does not keep the service from starting.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Example
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_sqlx::Error> {
    /// use pool_sqlx::{DatabaseSettings, SqlitePool};
    ///
    /// let pool = SqlitePool::connect("sqlite::memory:").await?; // a url, with the defaults for everything else
    /// let larger: DatabaseSettings = "sqlite::memory:".parse()?;
    /// let larger = SqlitePool::connect(larger.with_pool_size(2)).await?;
    /// # assert_eq!((pool.size(), larger.size()), (1, 2));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    pub async fn connect(settings: impl TryInto<DatabaseSettings, Error: Into<Error>>) -> Result<Self, Error> {
        let pool = Self::connect_lazy(settings)?;
        pool.open().await?;
        Ok(pool)
    }

    /// As [`connect`](Self::connect), with a choice of what to do when the database is not there.
    ///
    /// # Example
    ///
    /// ```
    /// # #[cfg(feature = "postgres")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pool_sqlx::{DatabaseSettings, PgPool, Startup};
    ///
    /// // Nobody listens there, and the service starts all the same.
    /// let settings = DatabaseSettings::new("postgres://app@127.0.0.1:1/app")?;
    /// let pool = PgPool::connect_with(settings, Startup::Anyway).await?;
    /// assert_eq!(pool.status().open, 0);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "postgres"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// What [`connect_lazy`](Self::connect_lazy) says, or as the choice says.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn connect_with(
        settings: impl TryInto<DatabaseSettings, Error: Into<Error>>,
        startup: Startup,
    ) -> Result<Self, Error> {
        let pool = Self::connect_lazy(settings)?;
        pool.core().connect_with(startup).await?;
        Ok(pool)
    }

    /// Makes a pool that opens connections when they are needed. May be called outside of a runtime.
    ///
    /// # Errors
    ///
    /// Settings that contradict each other, that the database cannot honour, or a URL that is not one of this database.
    pub fn connect_lazy(settings: impl TryInto<DatabaseSettings, Error: Into<Error>>) -> Result<Self, Error> {
        open(settings.try_into().map_err(Into::into)?)
    }
}
