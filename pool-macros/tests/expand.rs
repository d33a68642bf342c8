//! What an annotated function does, on a run time that only writes down what happened.
//! `pool-sqlx` tests the same on databases and frameworks.
#![deny(warnings)]
#![warn(clippy::pedantic)]
#![allow(clippy::missing_errors_doc, clippy::unused_async)]

mod mock;

use mock::{Error, Pool, Response, Sqlite, SqliteConn, SqlitePool, SqliteTx, now};
use pool_macros::pooled;
use std::{fmt::Display, sync::Arc, time::Duration};

const LENGTH_LINE: u32 = line!() + 3;

#[pooled(crate = crate::mock)]
async fn length(text: &'static str, conn: &mut SqliteConn) -> Result<usize, Error> {
    let length = conn.query(text).await?;
    if length == 0 {
        return Ok(1000);
    }
    Ok(length)
}

#[test]
fn the_function_acquires_queries_and_releases() {
    let pool = SqlitePool::new();
    assert_eq!(now(length(pool.clone(), "abc")), Ok(3));
    let acquire = format!("acquire for {}::length at {LENGTH_LINE}", module_path!());
    assert_eq!(pool.log.told(), [acquire.as_str(), "query abc", "release"]);
}

#[test]
fn an_early_return_releases_too() {
    let pool = SqlitePool::new();
    assert_eq!(now(length(pool.clone(), "")), Ok(1000));
    assert_eq!(pool.log.told()[1..], ["query ", "release"]);
}

#[test]
fn a_question_mark_releases_too() {
    let pool = SqlitePool::new();
    assert_eq!(now(length(pool.clone(), "broken")), Err(Error("query failed")));
    assert_eq!(pool.log.told()[1..], ["query broken", "release"]);
}

#[test]
fn without_a_connection_the_body_does_not_run() {
    let pool = SqlitePool::that_fails("acquire");
    assert_eq!(now(length(pool.clone(), "abc")), Err(Error("timed out")));
    assert_eq!(pool.log.told().len(), 1);
}

#[pooled(crate = crate::mock)]
async fn add(tx: &mut SqliteTx, good: bool) -> Result<(), Error> {
    tx.query("insert").await?;
    if good { Ok(()) } else { Err(Error("no")) }
}

#[test]
fn a_transaction_commits_on_success_and_rolls_back_on_error() {
    let pool = SqlitePool::new();
    assert_eq!(now(add(pool.clone(), true)), Ok(()));
    assert_eq!(pool.log.told()[1..], ["query insert", "commit", "release"]);
    assert_eq!(now(add(pool.clone(), false)), Err(Error("no")));
    assert_eq!(pool.log.told()[1..], ["query insert", "roll back", "release"]);
}

#[test]
fn a_failed_commit_is_a_failure() {
    let pool = SqlitePool::that_fails("finish");
    assert_eq!(now(add(pool, true)), Err(Error("commit failed")));
}

#[pooled(crate = crate::mock)]
async fn panics(conn: &mut SqliteConn) -> Result<(), Error> {
    conn.query("a").await?;
    panic!("on purpose");
}

#[test]
fn a_panic_drops_what_is_held() {
    let pool = SqlitePool::new();
    let run = std::panic::AssertUnwindSafe(|| now(panics(pool.clone())));
    assert!(std::panic::catch_unwind(run).is_err());
    assert_eq!(pool.log.told()[1..], ["query a", "dropped"]);
}

#[pooled(crate = crate::mock)]
async fn never_ends(conn: &mut SqliteConn) {
    let _ = conn.query("a").await;
    std::future::pending::<()>().await;
}

#[test]
fn a_cancelled_call_drops_what_is_held() {
    let pool = SqlitePool::new();
    let mut call = Box::pin(never_ends(pool.clone()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(call.as_mut().poll(&mut context).is_pending());
    drop(call);
    assert_eq!(pool.log.told()[1..], ["query a", "dropped"]);
}

#[pooled(crate = crate::mock)]
async fn plain(conn: &mut SqliteConn) -> usize {
    conn.query("four").await.unwrap_or(0)
}

#[pooled(crate = crate::mock)]
async fn nothing(conn: &mut SqliteConn) {
    let _ = conn.query("a").await;
}

#[pooled(crate = crate::mock)]
async fn something(conn: &mut SqliteConn) -> impl Display + use<> {
    conn.query("seven!!").await.unwrap_or(0)
}

#[test]
fn a_plain_return_value_is_wrapped() {
    let pool = SqlitePool::new();
    assert_eq!(now(plain(pool.clone())), Ok(4));
    assert_eq!(now(nothing(pool.clone())), Ok(()));
    assert_eq!(now(something(pool)).map(|it| it.to_string()), Ok("7".to_owned()));
    assert_eq!(now(plain(SqlitePool::that_fails("acquire"))), Err(Error("timed out")));
    assert_eq!(now(nothing(SqlitePool::that_fails("finish"))), Err(Error("commit failed")));
}

#[pooled(crate = crate::mock)]
async fn respond(status: u16, tx: &mut SqliteTx) -> Response {
    let _ = tx.query("a").await;
    Response { status, body: "fine".into() }
}

#[test]
fn a_response_carries_the_failure_and_its_status_decides() {
    let pool = SqlitePool::new();
    assert_eq!(now(respond(pool.clone(), 201)).status, 201);
    assert_eq!(pool.log.told()[2], "commit");
    assert_eq!(now(respond(pool.clone(), 404)).status, 404);
    assert_eq!(pool.log.told()[2], "roll back");
    let failed = now(respond(SqlitePool::that_fails("acquire"), 200));
    assert_eq!(failed, Response { status: 503, body: "timed out".into() });
}

const DELAY: Duration = Duration::from_millis(1500);

#[pooled(crate = crate::mock, timeout = "250ms", retry_after = DELAY)]
async fn limited(conn: &mut SqliteConn) -> Result<(), Error> {
    conn.query("a").await.map(drop)
}

#[test]
fn limits_reach_the_acquire() {
    let pool = SqlitePool::new();
    assert_eq!(now(limited(pool.clone())), Ok(()));
    assert_eq!(pool.log.told()[1..3], ["within 250ms", "retry after 1.5s"]);
}

struct Replica;

#[pooled(crate = crate::mock, pool = Replica)]
async fn report(conn: &mut SqliteConn) -> Result<usize, Error> {
    conn.query("ab").await
}

#[test]
fn the_key_names_the_pool() {
    let pool: Pool<Sqlite, Replica> = Pool::new();
    assert_eq!(now(report(pool)), Ok(2));
}

struct Service {
    db: SqlitePool,
    shared: Arc<SqlitePool<Replica>>,
}

impl Service {
    #[pooled(crate = crate::mock, from = self.db)]
    async fn by_field(&self, conn: &mut SqliteConn) -> Result<usize, Error> {
        conn.query(self.text()).await
    }

    #[pooled(crate = crate::mock, from = self.shared)]
    async fn by_arc<T: AsRef<str> + Clone>(&mut self, text: T, tx: &mut SqliteTx) -> Result<(usize, T), Error> {
        Ok((tx.query(text.as_ref()).await?, text.clone()))
    }

    #[pooled(crate = crate::mock, from = pool)]
    async fn by_argument(&self, pool: SqlitePool, conn: &mut SqliteConn) -> Result<usize, Error> {
        conn.query(self.text()).await
    }

    fn text(&self) -> &'static str {
        if self.db.fails.is_some() { "" } else { "abc" }
    }
}

#[test]
fn methods_find_the_pool_by_an_expression() {
    let mut service = Service { db: Pool::new(), shared: Arc::new(Pool::new()) };
    assert_eq!(now(service.by_field()), Ok(3));
    assert_eq!(now(service.by_arc("xy")), Ok((2, "xy")));
    assert_eq!(service.shared.log.told()[1..], ["query xy", "commit", "release"]);
    assert_eq!(now(service.by_argument(Pool::<_>::new())), Ok(3));
}

trait Lengths {
    async fn length(&self, text: &str) -> Result<usize, Error>;
}

impl Lengths for Service {
    #[pooled(crate = crate::mock, from = self.db)]
    async fn length(&self, text: &str, conn: &mut SqliteConn) -> Result<usize, Error> {
        conn.query(text).await
    }
}

#[test]
fn a_trait_method_keeps_the_signature_of_its_trait() {
    let service = Service { db: Pool::new(), shared: Arc::new(Pool::new()) };
    assert_eq!(now(Lengths::length(&service, "abcd")), Ok(4));
}

type Db = SqliteConn;

#[pooled(crate = crate::mock)]
async fn aliased(#[conn] db: &mut Db) -> Result<usize, Error> {
    db.query("a").await
}

struct EventTx(u8);

#[pooled(crate = crate::mock)]
async fn marked(events: &mut EventTx, #[conn] conn: &mut SqliteConn) -> Result<usize, Error> {
    events.0 += 1;
    conn.query("a").await
}

#[test]
fn a_mark_names_the_connection() {
    let mut events = EventTx(0);
    assert_eq!(now(aliased(Pool::new())), Ok(1));
    assert_eq!(now(marked(Pool::new(), &mut events)), Ok(1));
    assert_eq!(events.0, 1);
}

mod shadowed {
    #![allow(non_snake_case, dead_code)]
    use super::mock;
    use super::mock::{Error, SqliteConn};
    use pool_macros::pooled;

    pub(crate) struct Result;
    pub(crate) struct Option;
    pub(crate) fn Ok<T>(value: T) -> T {
        value
    }
    pub(crate) fn Err<T>(value: T) -> T {
        value
    }
    pub(crate) fn Some<T>(value: T) -> T {
        value
    }
    pub(crate) mod core {}
    pub(crate) mod std {}
    #[pooled(crate = mock, timeout = "1s")]
    pub(crate) async fn length(conn: &mut SqliteConn) -> ::core::result::Result<usize, Error> {
        conn.query("abc").await
    }
}

#[test]
fn shadowed_names_do_no_harm() {
    assert_eq!(now(shadowed::length(Pool::new())), Ok(3));
}

/// The user's variables have our variables' names.
#[pooled(crate = crate::mock)]
async fn same_names(
    held: usize,
    reply: usize,
    (error, mut success): (usize, usize),
    [first, ..]: [u8; 2],
    mut conn: &mut SqliteConn,
) -> Result<usize, Error> {
    success += usize::from(first);
    conn = &mut *conn;
    Ok(held + reply + error + success + conn.query("").await?)
}

#[test]
fn our_variables_do_not_meet_the_users() {
    assert_eq!(now(same_names(Pool::new(), 1, 2, (3, 4), [5, 0])), Ok(15));
}

#[pooled(crate = crate::mock)]
async fn generic<'a, T, const N: usize>(
    text: &'a [T; N],
    show: impl Fn(&T) -> String + Send,
    conn: &'a mut SqliteConn,
) -> Result<(usize, &'a T), Box<dyn std::error::Error>>
where
    T: Display + Sync,
{
    let mut sum = 0;
    for one in text {
        sum += conn.query(&show(one)).await?;
    }
    Ok((sum, text.first().ok_or("empty")?))
}

#[test]
fn generics_and_lifetimes_stay() {
    let (sum, first) = now(generic(Pool::new(), &[10, 20], |n| n.to_string() + "!")).unwrap();
    assert_eq!((sum, *first), (6, 10));
}

impl From<Error> for Box<dyn Fn() -> u8> {
    fn from(_: Error) -> Self {
        Box::new(|| 0)
    }
}

#[pooled(crate = crate::mock)]
async fn coerced(conn: &mut SqliteConn) -> Result<Box<dyn Fn() -> u8>, Error> {
    #![allow(clippy::let_and_return)]
    let length = u8::try_from(conn.query("abc").await?).unwrap_or(0);
    let it = Ok(Box::new(move || length) as Box<dyn Fn() -> u8>);
    it
}

#[pooled(crate = crate::mock)]
async fn looped(conn: &mut SqliteConn) -> Result<usize, Error> {
    loop {
        if conn.query("a").await? == 1 {
            return Ok(7);
        }
    }
}

#[test]
fn the_declared_type_reaches_the_body() {
    assert_eq!(now(coerced(Pool::new())).map(|it| it()), Ok(3));
    assert_eq!(now(looped(Pool::new())), Ok(7));
}

macro_rules! handlers {
    ($($name:ident: $conn:ty => $reply:ty),*) => {
        $(#[pooled(crate = crate::mock)]
        async fn $name(conn: $conn) -> $reply {
            conn.query("abc").await
        })*
    };
}

handlers!(from_macro: &mut SqliteConn => Result<usize, Error>, tx_from_macro: &mut SqliteTx => Result<usize, Error>);

#[test]
fn types_through_macro_rules_are_seen() {
    assert_eq!(now(from_macro(Pool::new())), Ok(3));
    assert_eq!(now(tx_from_macro(Pool::new())), Ok(3));
}

#[test]
fn the_future_is_send_with_an_argument_that_is_not_sync() {
    #[pooled(crate = crate::mock)]
    async fn takes(cell: std::cell::Cell<u8>, conn: &mut SqliteConn) -> Result<u8, Error> {
        conn.query("a").await?;
        Ok(cell.get())
    }
    fn send<F: Future + Send>(future: F) -> F {
        future
    }
    assert_eq!(now(send(takes(Pool::new(), std::cell::Cell::new(4)))), Ok(4));
}

#[pooled(crate = crate::mock)]
async fn early(conn: SqliteConn, log: mock::Log) -> Result<usize, Error> {
    let mut conn = conn;
    let length = conn.query("abc").await?;
    drop(conn);
    log.say("slow service");
    Ok(length)
}

#[test]
fn a_connection_by_value_goes_back_when_the_body_drops_it() {
    let pool = SqlitePool::new();
    assert_eq!(now(early(pool.clone(), pool.log.clone())), Ok(3));
    assert_eq!(pool.log.told()[1..], ["query abc", "returned", "slow service"]);
}

#[pooled(crate = crate::mock, read_only, isolation = "repeatable read", limit = 5, statement_timeout = "10s")]
async fn careful(tx: &mut SqliteTx) -> Result<usize, Error> {
    tx.query("abc").await
}

#[test]
fn what_concerns_the_transaction_reaches_the_acquire() {
    let pool = SqlitePool::new();
    assert_eq!(now(careful(pool.clone())), Ok(3));
    let told = ["statements within 10s", "one of 5", "RepeatableRead, read only: true"];
    assert_eq!(pool.log.told()[1..4], told);
}

#[pooled(crate = crate::mock, retry = 2)]
async fn transfer(
    mut text: String,
    [a, b]: [u8; 2],
    tx: &mut SqliteTx,
    conflicts: &std::cell::Cell<u8>,
) -> Result<usize, Error> {
    text.push('!');
    if conflicts.get() > 0 {
        conflicts.set(conflicts.get() - 1);
        return Err(Error("conflict"));
    }
    Ok(tx.query(&text).await? + usize::from(a + b))
}

#[test]
fn a_conflict_runs_the_body_again_in_a_new_transaction() {
    let run = |pool: &SqlitePool, conflicts| {
        now(transfer(pool.clone(), "ab".into(), [1, 2], &std::cell::Cell::new(conflicts)))
    };
    let pool = SqlitePool::new();
    assert_eq!(run(&pool, 2), Ok(6), "every attempt starts with the arguments as they were");
    let told: Vec<_> = pool.log.told().into_iter().filter(|line| !line.starts_with("acquire")).collect();
    assert_eq!(told, ["roll back", "release", "roll back", "release", "query ab!", "commit", "release"]);
    assert_eq!(run(&pool, 3), Err(Error("conflict")), "two more attempts, not three");

    let pool = SqlitePool::that_fails("finish, in conflict");
    assert_eq!(run(&pool, 0), Err(Error("conflict")));
    let commits = pool.log.told().into_iter().filter(|line| line == "commit").count();
    assert_eq!(commits, 3, "a commit that fails in conflict counts as one");
}

#[pooled]
impl Lengths for Arc<Service> {
    #[pooled(crate = crate::mock, from = self.db)]
    async fn length(&self, text: &str, conn: &mut SqliteConn) -> Result<usize, Error> {
        Ok(conn.query(text).await? + 100)
    }
}

#[test]
fn a_bare_attribute_expands_the_marked_methods_of_a_block() {
    let service = Arc::new(Service { db: Pool::new(), shared: Arc::new(Pool::new()) });
    assert_eq!(now(Lengths::length(&service, "abcd")), Ok(104));
}

async fn length_by_hand(pool: SqlitePool, text: &'static str) -> Result<usize, Error> {
    let mut conn = mock::private::acquire::<SqliteConn, _>(&pool, &BY_HAND).await?;
    conn.value.query(text).await
}

static BY_HAND: mock::private::Call = mock::private::Call::new(mock::private::Site::named("by hand"));

#[test]
fn the_future_grows_by_little() {
    let by_macro = size_of_val(&length(Pool::new(), ""));
    let by_hand = size_of_val(&length_by_hand(Pool::new(), ""));
    assert!(by_macro <= by_hand + 256, "{by_macro} bytes, {by_hand} by hand");
}
