//! The smallest root that the expansion can stand on: it connects to nothing and writes down what happened.
#![allow(dead_code, unused_macros, unused_imports, unreachable_pub, clippy::pedantic)]

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The default key.
pub struct Main;

/// The run time's error.
#[derive(Debug, PartialEq)]
pub struct Error(pub &'static str);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Error {}

/// A database, as a type only.
pub struct Sqlite;

/// What happened, in order.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn say(&self, what: impl Into<String>) {
        self.0.lock().expect("no test panics while it writes").push(what.into());
    }

    pub fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no test panics while it writes"))
    }
}

/// A pool that lends, or fails as it is told.
pub struct Pool<DB, Key = Main> {
    pub log: Log,
    pub fails: Option<&'static str>,
    pub kind: PhantomData<fn() -> (DB, Key)>,
}

impl<DB, Key> Clone for Pool<DB, Key> {
    fn clone(&self) -> Self {
        Self { log: self.log.clone(), fails: self.fails, kind: PhantomData }
    }
}

impl<DB, Key> Pool<DB, Key> {
    pub fn new() -> Self {
        Self { log: Log::default(), fails: None, kind: PhantomData }
    }

    pub fn that_fails(step: &'static str) -> Self {
        Self { fails: Some(step), ..Self::new() }
    }
}

/// What is seen of a pool from outside.
pub struct Watched;

pub trait Watchable {
    fn watched(&self) -> Vec<Watched>;
}

impl<DB, Key> Watchable for Pool<DB, Key> {
    fn watched(&self) -> Vec<Watched> {
        vec![Watched]
    }
}

pub type SqlitePool<Key = Main> = Pool<Sqlite, Key>;

/// A connection without a transaction.
pub struct SqliteConn(Log, Option<&'static str>);

impl Drop for SqliteConn {
    fn drop(&mut self) {
        if let Some(word) = self.1 {
            self.0.say(word);
        }
    }
}

/// One in a transaction.
pub struct SqliteTx(Log);

impl SqliteConn {
    pub async fn query(&mut self, what: &str) -> Result<usize, Error> {
        self.0.say(format!("query {what}"));
        if what == "broken" { Err(Error("query failed")) } else { Ok(what.len()) }
    }
}

impl SqliteTx {
    pub async fn query(&mut self, what: &str) -> Result<usize, Error> {
        self.0.say(format!("query {what}"));
        Ok(what.len())
    }
}

pub mod private {
    use super::*;
    use std::panic::Location;

    pub struct Site {
        pub name: &'static str,
        pub location: &'static Location<'static>,
    }

    impl Site {
        #[track_caller]
        pub const fn named(name: &'static str) -> Self {
            Self { name, location: Location::caller() }
        }
    }

    pub struct Call {
        pub site: Site,
        pub timeout: Option<Duration>,
        pub retry_after: Option<Duration>,
        pub statement_timeout: Option<Duration>,
        pub limit: Option<u32>,
        pub read_only: bool,
        pub isolation: Option<Isolation>,
    }

    #[derive(Debug)]
    pub enum Isolation {
        ReadCommitted,
        RepeatableRead,
        Serializable,
    }

    impl Call {
        pub const fn new(site: Site) -> Self {
            Self {
                site,
                timeout: None,
                retry_after: None,
                statement_timeout: None,
                limit: None,
                read_only: false,
                isolation: None,
            }
        }

        pub const fn timeout(mut self, limit: Duration) -> Self {
            self.timeout = Some(limit);
            self
        }

        pub const fn retry_after(mut self, delay: Duration) -> Self {
            self.retry_after = Some(delay);
            self
        }

        pub const fn statement_timeout(mut self, limit: Duration) -> Self {
            self.statement_timeout = Some(limit);
            self
        }

        pub const fn limit(mut self, limit: u32) -> Self {
            self.limit = Some(limit);
            self
        }

        pub const fn read_only(mut self) -> Self {
            self.read_only = true;
            self
        }

        pub const fn isolation(mut self, level: Isolation) -> Self {
            self.isolation = Some(level);
            self
        }
    }

    pub trait Lent: Sized {
        type Database;
        const COMMITS: bool;
        fn lent(log: Log) -> Self;
    }

    impl Lent for SqliteConn {
        type Database = Sqlite;
        const COMMITS: bool = false;
        fn lent(log: Log) -> Self {
            Self(log, None)
        }
    }

    impl Lent for SqliteTx {
        type Database = Sqlite;
        const COMMITS: bool = true;
        fn lent(log: Log) -> Self {
            Self(log)
        }
    }

    pub type PoolFor<T, K> = Pool<<T as Lent>::Database, K>;

    pub struct Held<T> {
        pub value: T,
        log: Log,
        fails: Option<&'static str>,
        finished: bool,
    }

    impl<T> Drop for Held<T> {
        fn drop(&mut self) {
            if !self.finished {
                self.log.say("dropped");
            }
        }
    }

    pub async fn acquire<T: Lent, K>(pool: &PoolFor<T, K>, call: &'static Call) -> Result<Held<T>, Error> {
        let line = call.site.location.line();
        pool.log.say(format!("acquire for {} at {line}", call.site.name));
        if let Some(limit) = call.timeout {
            pool.log.say(format!("within {limit:?}"));
        }
        if let Some(delay) = call.retry_after {
            pool.log.say(format!("retry after {delay:?}"));
        }
        if let Some(limit) = call.statement_timeout {
            pool.log.say(format!("statements within {limit:?}"));
        }
        if let Some(limit) = call.limit {
            pool.log.say(format!("one of {limit}"));
        }
        if let Some(level) = &call.isolation {
            pool.log.say(format!("{level:?}, read only: {}", call.read_only));
        }
        if pool.fails == Some("acquire") {
            return Err(Error("timed out"));
        }
        let (log, fails) = (pool.log.clone(), pool.fails);
        Ok(Held { value: T::lent(log.clone()), log, fails, finished: false })
    }

    pub fn holding<'h, T, R>(held: &'h mut Held<T>, body: impl AsyncFnOnce(&mut T) -> R) -> impl Future<Output = R> {
        body(&mut held.value)
    }

    pub fn giving<T: From<Held<T>>, R>(held: Held<T>, body: impl AsyncFnOnce(T) -> R) -> impl Future<Output = R> {
        body(held.into())
    }

    pub trait Transaction {}

    impl Transaction for SqliteTx {}

    pub const fn transaction<T: Transaction>() {}

    pub async fn back_off(_: u32) {}

    impl From<Held<SqliteConn>> for SqliteConn {
        fn from(mut held: Held<SqliteConn>) -> Self {
            held.finished = true;
            Self(held.log.clone(), Some("returned"))
        }
    }

    pub trait RetryOn {
        fn wants_retry(&self) -> bool;
    }

    impl RetryOn for Error {
        fn wants_retry(&self) -> bool {
            self.0 == "conflict"
        }
    }

    impl<T> RetryOn for Result<T, Error> {
        fn wants_retry(&self) -> bool {
            self.as_ref().is_err_and(RetryOn::wants_retry)
        }
    }

    pub async fn finish<T: Lent>(mut held: Held<T>, success: bool) -> Result<(), Error> {
        held.finished = true;
        if T::COMMITS {
            held.log.say(if success { "commit" } else { "roll back" });
        }
        held.log.say("release");
        match held.fails {
            Some("finish") => Err(Error("commit failed")),
            Some("finish, in conflict") if success => Err(Error("conflict")),
            _ => Ok(()),
        }
    }

    pub trait Reply: Sized {
        fn from_pool_error(error: Error) -> Self;
        fn is_success(&self) -> bool;
    }

    pub trait FromFailure {
        fn from_failure(error: Error) -> Self;
    }

    impl<E: From<Error>> FromFailure for E {
        fn from_failure(error: Error) -> Self {
            error.into()
        }
    }

    impl<T, E: From<Error>> Reply for Result<T, E> {
        fn from_pool_error(error: Error) -> Self {
            Err(error.into())
        }
        fn is_success(&self) -> bool {
            self.is_ok()
        }
    }

    impl Reply for Response {
        fn from_pool_error(error: Error) -> Self {
            Self { status: 503, body: error.to_string() }
        }
        fn is_success(&self) -> bool {
            self.status < 400
        }
    }

    pub trait AsPool<T: Lent> {
        type Key;
        fn as_pool(&self) -> &PoolFor<T, Self::Key>;
    }

    impl<T: Lent, K> AsPool<T> for Pool<T::Database, K> {
        type Key = K;
        fn as_pool(&self) -> &PoolFor<T, K> {
            self
        }
    }

    impl<T: Lent, P: AsPool<T>> AsPool<T> for Arc<P> {
        type Key = P::Key;
        fn as_pool(&self) -> &PoolFor<T, P::Key> {
            (**self).as_pool()
        }
    }

    impl<T: Lent, P: AsPool<T>> AsPool<T> for &P {
        type Key = P::Key;
        fn as_pool(&self) -> &PoolFor<T, P::Key> {
            (**self).as_pool()
        }
    }

    pub fn as_pool<T: Lent, P: AsPool<T>>(pool: &P) -> &PoolFor<T, P::Key> {
        pool.as_pool()
    }

    pub trait HasPools {}

    pub trait IsPool: Sized {
        fn connect_lazy(settings: DatabaseSettings) -> Result<Self, Error>;
        fn open(&self) -> impl Future<Output = Result<(), Error>> + Send;
        fn ready(&self) -> impl Future<Output = Result<(), Error>> + Send;
        fn close(&self) -> impl Future<Output = CloseReport> + Send;
        fn status(&self) -> Status;
        fn watched(&self) -> Vec<super::Watched>;
    }

    impl<DB, Key> IsPool for Pool<DB, Key> {
        fn connect_lazy(settings: DatabaseSettings) -> Result<Self, Error> {
            Self::__connect_lazy(settings)
        }
        fn open(&self) -> impl Future<Output = Result<(), Error>> + Send {
            self.open()
        }
        fn ready(&self) -> impl Future<Output = Result<(), Error>> + Send {
            self.ready()
        }
        fn close(&self) -> impl Future<Output = CloseReport> + Send {
            self.close()
        }
        fn status(&self) -> Status {
            self.status()
        }
        fn watched(&self) -> Vec<super::Watched> {
            super::Watchable::watched(self)
        }
    }

    pub struct Sections<'f> {
        figment: &'f figment::Figment,
        known: &'static [&'static str],
        missing: bool,
    }

    impl<'f> Sections<'f> {
        pub fn new(figment: &'f figment::Figment, known: &'static [&'static str]) -> Self {
            Self { figment, known, missing: false }
        }

        pub fn read(&mut self, section: &'static str) -> Option<DatabaseSettings> {
            assert!(self.known.contains(&section));
            let found = self.figment.sections.iter().find(|(name, _)| *name == section);
            self.figment.log.say(format!("read {section}"));
            self.missing |= found.is_none();
            let log = self.figment.log.clone();
            found.map(|(section, says)| DatabaseSettings { section, says, log })
        }

        pub fn finish(self) -> Result<(), Error> {
            if self.missing { Err(Error("a section is missing")) } else { Ok(()) }
        }
    }

    type Each<'p, T> = Vec<(&'static str, Pin<Box<dyn Future<Output = T> + Send + 'p>>)>;

    pub async fn all(pools: Each<'_, Result<(), Error>>) -> Result<(), Error> {
        let mut result = Ok(());
        for (_, ready) in pools {
            result = result.and(ready.await);
        }
        result
    }

    pub async fn close_all(pools: Each<'_, CloseReport>) -> Vec<(&'static str, CloseReport)> {
        let mut reports = Vec::new();
        for (section, close) in pools {
            reports.push((section, close.await));
        }
        reports
    }
}

/// A framework's response type.
#[derive(Debug, PartialEq)]
pub struct Response {
    pub status: u16,
    pub body: String,
}

/// Runs a future that is always ready.
pub fn now<F: Future>(future: F) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("the mock never waits"),
    }
}

// For `#[derive(Pools)]`.

/// The configuration: which sections are there, and what happens to each.
pub mod figment {
    #[derive(Default)]
    pub struct Figment {
        pub sections: Vec<(&'static str, &'static str)>,
        pub log: super::Log,
    }
}

pub struct DatabaseSettings {
    section: &'static str,
    says: &'static str,
    log: Log,
}

impl DatabaseSettings {
    pub fn figment_for(databases: &[&str]) -> figment::Figment {
        assert!(!databases.is_empty(), "the environment's names are read for these databases");
        figment::Figment { sections: vec![("primary", "works"), ("reports", "works")], log: Log::default() }
    }
}

#[derive(Debug, PartialEq)]
pub struct CloseReport(pub usize);

#[derive(Debug, PartialEq)]
pub struct Status(pub &'static str);

impl<DB, Key> Pool<DB, Key> {
    pub fn __connect_lazy(settings: DatabaseSettings) -> Result<Self, Error> {
        settings.log.say(format!("make {}", settings.section));
        Ok(Self { log: settings.log, fails: (settings.says == "fails").then_some("ready"), kind: PhantomData })
    }

    pub async fn open(&self) -> Result<(), Error> {
        self.ready().await
    }

    pub async fn ready(&self) -> Result<(), Error> {
        self.log.say("ready?");
        if self.fails == Some("ready") { Err(Error("refused")) } else { Ok(()) }
    }

    pub async fn close(&self) -> CloseReport {
        self.log.say("close");
        CloseReport(7)
    }

    pub fn status(&self) -> Status {
        Status(if self.fails.is_some() { "down" } else { "up" })
    }
}

pub trait Backend {}

impl Backend for Sqlite {}

macro_rules! __if_axum {
    ($($item:item)*) => { $($item)* };
}
pub(crate) use __if_axum;

macro_rules! __if_actix {
    ($($item:item)*) => { $($item)* };
}
pub(crate) use __if_actix;

pub mod actix_web {
    pub mod web {
        use std::any::Any;

        #[derive(Default)]
        pub struct ServiceConfig(pub Vec<Box<dyn Any>>);

        impl ServiceConfig {
            pub fn app_data(&mut self, data: impl Any) {
                self.0.push(Box::new(data));
            }
        }
    }
}

pub mod axum {
    pub mod extract {
        pub trait FromRef<T> {
            fn from_ref(from: &T) -> Self;
        }
    }
}
