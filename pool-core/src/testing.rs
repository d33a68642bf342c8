//! Testing without a database: a manager that answers from a script and records what it was asked.
//!
//! Say the conversation, use the pool, then compare what was recorded.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pool_core::{ErrorClass, Pool, Settings, testing::{Call, Reply, Script}};
//! use std::time::Duration;
//!
//! let script = Script::new();
//! script.on_connect([Reply::fail(ErrorClass::Transient, "connection refused"), Reply::ok().after(Duration::from_secs(1))]);
//! let pool = Pool::new(script.clone(), Settings::default())?;
//!
//! let conn = pool.acquire().await?; // survives the refusal and the slow start
//! assert_eq!(conn.id(), 1);
//! assert_eq!(script.calls(), [Call::Connect, Call::Connect]);
//! # Ok(())
//! # }
//! ```

use crate::{Condition, ErrorClass, Manager, Pool, Settings, Verdict};
use std::{
    collections::VecDeque,
    fmt,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A pool that is always exhausted: every acquire ends at once, as if its time had run out.
///
/// To make any pool so, whatever it lends, use [`Pool::inject`].
pub fn exhausted() -> Pool<Script> {
    let pool = Pool::new(Script::new(), Settings::default()).expect("BUG: the default settings contradict each other");
    pool.inject(Verdict::Exhausted);
    pool
}

/// How long the longest turn of each kind takes under the pool's lock: see `examples/steps.rs`.
#[doc(hidden)]
#[cfg(feature = "testing")]
pub fn longest_turns(callers: u64, connections: u32) -> Vec<(&'static str, Duration)> {
    crate::steps::measure(callers, connections)
}

/// Checks that a [`Manager`] keeps its promises, on one connection to a server that works.
///
/// # Errors
///
/// Says which promise was broken.
pub async fn conformance<M: Manager>(manager: &M) -> Result<(), String> {
    let limit = Duration::from_secs(10);
    let within =
        |what: &'static str| move |_: tokio::time::error::Elapsed| format!("{what} did not end within {limit:?}");
    let failed = |what: &'static str| move |error: M::Error| format!("{what} failed: {error}");
    let timed = tokio::time::timeout(limit, manager.connect()).await;
    let mut conn = timed.map_err(within("connect"))?.map_err(failed("connect"))?;
    for after in ["connect", "ping", "reset", "a second reset"] {
        let step = async {
            match after {
                "connect" => Ok(()),
                "ping" => manager.ping(&mut conn).await,
                _ => manager.reset(&mut conn).await,
            }
        };
        tokio::time::timeout(limit, step).await.map_err(within(after))?.map_err(failed(after))?;
        let condition = manager.condition(&mut conn);
        if condition != Condition::Clean {
            return Err(format!("after {after} the condition is {condition:?}; it must be Clean"));
        }
    }
    tokio::time::timeout(limit, manager.close(conn)).await.map_err(within("close"))
}

/// A [`Manager`] that answers from a list and records its conversation. Clones share both.
///
/// What the list does not say succeeds at once.
#[derive(Clone, Default)]
pub struct Script {
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    connect: Lines,
    ping: Lines,
    reset: Lines,
    close: Lines,
    calls: Vec<Call>,
    last_id: u32,
    open: u32,
    most_open: u32,
}

#[derive(Default)]
struct Lines {
    once: VecDeque<Reply>,
    always: Option<Reply>,
}

impl Lines {
    fn next(&mut self) -> Reply {
        self.once.pop_front().or_else(|| self.always.clone()).unwrap_or_default()
    }
}

/// What the manager was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// To open a connection.
    Connect,
    /// To test this one.
    Ping(u32),
    /// To clean this one.
    Reset(u32),
    /// To close this one.
    Close(u32),
}

/// What the manager does when asked.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    after: Duration,
    deed: Deed,
}

#[derive(Clone, Debug, Default)]
enum Deed {
    #[default]
    Succeed,
    Fail(ErrorClass, String),
    Hang,
    Panic,
}

impl Reply {
    /// Succeeds.
    pub fn ok() -> Self {
        Self::default()
    }

    /// Fails with this class and text.
    pub fn fail(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { after: Duration::ZERO, deed: Deed::Fail(class, text.into()) }
    }

    /// Never answers.
    pub fn hang() -> Self {
        Self { after: Duration::ZERO, deed: Deed::Hang }
    }

    /// Panics.
    pub fn panic() -> Self {
        Self { after: Duration::ZERO, deed: Deed::Panic }
    }

    /// Lets this long pass first.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = delay;
        self
    }

    async fn perform(self) -> Result<(), ScriptError> {
        if !self.after.is_zero() {
            tokio::time::sleep(self.after).await;
        }
        match self.deed {
            Deed::Succeed => Ok(()),
            Deed::Fail(class, text) => Err(ScriptError { class, text }),
            Deed::Hang => pending().await,
            Deed::Panic => panic!("as the script says"),
        }
    }
}

impl Script {
    /// Succeeds in everything, at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds answers to the next connects, in order.
    pub fn on_connect(&self, replies: impl IntoIterator<Item = Reply>) {
        self.book().connect.once.extend(replies);
    }

    /// Adds answers to the next pings, in order.
    pub fn on_ping(&self, replies: impl IntoIterator<Item = Reply>) {
        self.book().ping.once.extend(replies);
    }

    /// Adds answers to the next resets, in order.
    pub fn on_reset(&self, replies: impl IntoIterator<Item = Reply>) {
        self.book().reset.once.extend(replies);
    }

    /// Adds answers to the next closes, in order. A failing one ends like a succeeding one.
    pub fn on_close(&self, replies: impl IntoIterator<Item = Reply>) {
        self.book().close.once.extend(replies);
    }

    /// Answers every connect like this, once the list is used up.
    pub fn always_connect(&self, reply: Reply) {
        self.book().connect.always = Some(reply);
    }

    /// Answers every ping like this, once the list is used up.
    pub fn always_ping(&self, reply: Reply) {
        self.book().ping.always = Some(reply);
    }

    /// Answers every reset like this, once the list is used up.
    pub fn always_reset(&self, reply: Reply) {
        self.book().reset.always = Some(reply);
    }

    /// Answers every close like this, once the list is used up.
    pub fn always_close(&self, reply: Reply) {
        self.book().close.always = Some(reply);
    }

    /// What was asked so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.book().calls.clone()
    }

    /// How often this was asked: `script.count(|call| matches!(call, Call::Ping(_)))`.
    pub fn count(&self, which: impl Fn(&Call) -> bool) -> usize {
        self.book().calls.iter().filter(|call| which(call)).count()
    }

    /// Connections that exist: made, and not yet dropped.
    pub fn open(&self) -> u32 {
        self.book().open
    }

    /// The most connections that ever existed at once.
    pub fn most_open(&self) -> u32 {
        self.book().most_open
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the call and finds the answer.
    fn asked(&self, call: Call) -> Reply {
        let mut book = self.book();
        book.calls.push(call);
        match call {
            Call::Connect => book.connect.next(),
            Call::Ping(_) => book.ping.next(),
            Call::Reset(_) => book.reset.next(),
            Call::Close(_) => book.close.next(),
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({:?})", self.book().calls)
    }
}

impl Manager for Script {
    type Conn = ScriptConn;
    type Error = ScriptError;

    async fn connect(&self) -> Result<ScriptConn, ScriptError> {
        let reply = self.asked(Call::Connect);
        reply.perform().await?;
        let mut book = self.book();
        book.last_id += 1;
        book.open += 1;
        book.most_open = book.most_open.max(book.open);
        Ok(ScriptConn { id: book.last_id, condition: Condition::Clean, script: self.clone() })
    }

    async fn ping(&self, conn: &mut ScriptConn) -> Result<(), ScriptError> {
        let reply = self.asked(Call::Ping(conn.id));
        reply.perform().await
    }

    async fn reset(&self, conn: &mut ScriptConn) -> Result<(), ScriptError> {
        let reply = self.asked(Call::Reset(conn.id));
        reply.perform().await?;
        conn.condition = Condition::Clean;
        Ok(())
    }

    async fn close(&self, conn: ScriptConn) {
        let reply = self.asked(Call::Close(conn.id));
        // Closing has no way to fail.
        let _ = reply.perform().await;
    }

    fn condition(&self, conn: &mut ScriptConn) -> Condition {
        conn.condition
    }

    fn classify(&self, error: &ScriptError) -> ErrorClass {
        error.class
    }
}

/// A connection of a [`Script`].
pub struct ScriptConn {
    id: u32,
    condition: Condition,
    script: Script,
}

impl ScriptConn {
    /// Which connection this is: 1 for the first that was opened.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Decides how it will come home.
    pub fn set_condition(&mut self, condition: Condition) {
        self.condition = condition;
    }
}

impl Drop for ScriptConn {
    fn drop(&mut self) {
        self.script.book().open -= 1;
    }
}

impl fmt::Debug for ScriptConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScriptConn({})", self.id)
    }
}

/// The error of a [`Script`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    class: ErrorClass,
    text: String,
}

impl ScriptError {
    /// What it means for the pool.
    pub fn class(&self) -> ErrorClass {
        self.class
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ScriptError {}
