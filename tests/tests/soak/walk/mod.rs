//! A random walk over loans, with the server as judge. A loan runs statements, transactions and what bypasses the pool, and drops some of
//! them midway. After the loan its session is idle, holds no transaction, lock or temporary table, and the next loan finds the settings of
//! the connect. The table holds what the callers were answered.
//!
//! [`plan`] draws a loan, [`ledger`] knows what its caller may expect, [`database`] what the server has to show.
//!
//! These faults were planted in the library, one at a time. The walk found each of them, on the databases named, with `POOL_SOAK=300` and
//! `POOL_SOAK_SEED=21`:
//!
//! | fault | databases | finding |
//! | --- | --- | --- |
//! | a return does not roll back | all | idle in transaction, an open transaction, a write lock |
//! | a return does not verify what bypassed the pool | PostgreSQL, MariaDB | a notification for the next loan, settings that stayed |
//! | a return does not restore the session (`reset`) | PostgreSQL, SQLite | temporary tables, settings that stayed |
//! | a return does not take back the pool's own settings | SQLite | the next loan is read-only |
//! | any statement is taken for harmless | all | idle in transaction, settings that stayed, a write lock |
//! | sqlx's own connection is taken for harmless | all | a wrong answer, a transaction that cannot begin |
//! | an answer that was not read is taken for read | PostgreSQL, MariaDB | an error without a cause, a panic inside sqlx |
//! | a dropped transaction is taken for ended | all | idle in transaction, an open transaction |
//! | a dropped begin is taken for not sent | PostgreSQL | a number was committed and is absent |
//! | a failed statement is taken not to end its transaction | SQLite | a number was not committed and is present |
//! | a commit is acknowledged and was not sent | all | a number was committed and is absent |
//! | the commit of an aborted transaction is acknowledged | PostgreSQL | a number was committed and is absent |
//!
//! It did not find two others. A return that does not cancel only takes longer, because every statement here ends by itself. A transaction
//! that goes on after a statement without an answer cannot be committed anyway: the cancel aborts it on PostgreSQL, and MariaDB's connection
//! takes no further statement. The walk in `session` finds that one.

mod database;
mod ledger;
mod plan;

use super::{COUNT, Dice, SEED, number, seed};
use database::{ROWS, TABLE, Voice, Walked};
use futures_util::{FutureExt, future::LocalBoxFuture};
use ledger::{Fate, Ledger, Told};
use plan::{Cut, End, Kind, Loan, Op, Step};
use pool_sqlx::{DatabaseSettings, Error, ErrorKind, Isolation, Pool, Reset, Session, Tx, TxOptions, sqlx};
use sqlx::{Connection, MySql, Postgres, Sqlite};
use std::{
    borrow::BorrowMut,
    collections::VecDeque,
    future::{Future, poll_fn},
    mem,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};
use tests::{MariaDb, Postgres as Cluster};

/// Loans of each walk, unless `POOL_SOAK` sets another number.
const LOANS: u64 = 200;

/// Every answer arrives within this, however busy the machine is.
const HANG: Duration = Duration::from_secs(60);

/// The server and the pool come to rest within this.
const REST: Duration = Duration::from_secs(20);

/// The pool's limit of a statement. No statement of the walk comes near it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Lines of the log that a finding shows.
const SHOWN: usize = 60;

struct Walk<DB: Walked> {
    pool: Pool<DB>,
    judge: DB::Connection,
    reset: Reset,
    size: u32,
    ledger: Ledger,
    /// What the first loan found in its session.
    baseline: Option<String>,
    /// The last number that a statement used, and the last that was compared.
    number: i64,
    compared: i64,
    log: VecDeque<String>,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    done: u64,
    failed: u64,
    cut: u64,
    judged: u64,
    present: u64,
    absent: u64,
    either: u64,
}

/// An error is a finding: a rule was broken.
type Verdict<T = ()> = Result<T, String>;

impl<DB: Walked> Walk<DB> {
    /// Runs one loan. Most are followed by the judge, some by the next loan at once.
    async fn step(&mut self, index: u64, dice: &mut Dice) -> Verdict {
        let loan = Loan::draw(dice);
        self.log(format!("loan {index}"));
        match loan {
            Loan::Conn { acquire, looks, steps } => {
                let pool = self.pool.clone();
                if let Some(acquired) = within(pool.acquire(), acquire).await? {
                    let mut conn = acquired.map_err(|error| format!("an acquire failed: {error:?}"))?;
                    if looks {
                        self.look(&mut conn).await?;
                    }
                    self.steps(&mut conn, options, &steps).await?;
                }
            }
            Loan::Tx { begin, tx } => {
                let pool = self.pool.clone();
                self.log(format!("  begin {:?} {begin:?}", tx.kind));
                let begun = within(pool.begin_with(options(tx.kind)), begin).await?;
                self.begin(begun, &tx).await?;
            }
        }
        self.ledger.returned();
        if dice.roll(4) == 0 { Ok(()) } else { self.judge().await }
    }

    /// A loan finds its session as the first loan did.
    async fn look(&mut self, session: &mut Session<DB>) -> Verdict {
        let found = within(DB::voice(session).send(DB::found(self.reset).into()), None).await?.expect("BUG: not cut");
        let found = found.map_err(|error| format!("the first statement of a loan failed: {error:?}"))?.concat();
        let baseline = self.baseline.get_or_insert_with(|| found.clone());
        if found == *baseline {
            Ok(())
        } else {
            Err(format!("a loan found `{found}` in its session, not `{baseline}`"))
        }
    }

    /// Boxed, for a transaction has steps of its own. A savepoint has no options.
    fn steps<'a>(
        &'a mut self,
        session: &'a mut Session<DB>,
        options: fn(Kind) -> TxOptions,
        steps: &'a [Step],
    ) -> LocalBoxFuture<'a, Verdict> {
        async move {
            for Step { op, cut, raw } in steps {
                if self.ledger.is_over() {
                    break;
                }
                if self.ledger.skips(op, *raw) {
                    continue;
                }
                match op {
                    Op::Inside(tx) => {
                        self.log(format!("  begin {:?} {cut:?}", tx.kind));
                        let begun = within(session.begin_with(options(tx.kind)), *cut).await?;
                        self.begin(begun, tx).await?;
                    }
                    _ => self.run(session, op, *cut, *raw).await?,
                }
            }
            Ok(())
        }
        .boxed_local()
    }

    /// A transaction or a savepoint was begun, or not.
    async fn begin<C>(&mut self, begun: Option<Result<Tx<DB, C>, Error>>, plan: &plan::Tx) -> Verdict
    where
        C: BorrowMut<Session<DB>> + Send,
    {
        self.log_outcome(&begun);
        let told = match begun {
            Some(Ok(tx)) => return self.inside(tx, plan).await,
            Some(Err(error)) => Told::Failed(error),
            None => Told::Cut,
        };
        if let Told::Failed(error) = &told {
            let is_limit = matches!(plan.kind, Kind::Limited(_)) && error.kind() == ErrorKind::StatementTimeout;
            if !is_limit && (self.ledger.must_succeed() || !self.ledger.accepts(error)) {
                return Err("a begin failed without a cause".into());
            }
        }
        self.ledger.not_begun(&told);
        Ok(())
    }

    /// The steps of a transaction, and its end.
    async fn inside<C: BorrowMut<Session<DB>> + Send>(&mut self, mut tx: Tx<DB, C>, plan: &plan::Tx) -> Verdict {
        self.ledger.begun(matches!(plan.kind, Kind::Limited(_)), plan.kind == Kind::ReadOnly);
        self.steps(&mut tx, |_| TxOptions::new(), &plan.steps).await?;
        let end = if self.ledger.is_spent() { End::Drop } else { plan.end };
        self.log(format!("  {end:?} {:?}", plan.cut));
        let outcome = match end {
            End::Commit => within(tx.commit(), plan.cut).await?,
            End::Rollback => within(tx.rollback(), plan.cut).await?,
            End::Drop => {
                drop(tx);
                Some(Ok(()))
            }
        };
        self.log_outcome(&outcome);
        if let Some(Err(error)) = &outcome
            && (self.ledger.must_succeed() || !self.ledger.accepts(error))
        {
            return Err(format!("a {end:?} failed without a cause"));
        }
        self.ledger.ended(end, &Told::of(outcome))
    }

    /// One operation that is no transaction.
    async fn run(&mut self, session: &mut Session<DB>, op: &Op, cut: Option<Cut>, raw: bool) -> Verdict {
        self.number += 1;
        let n = self.number;
        self.log(format!("  {}{op:?} {n} {cut:?}", if raw { "raw " } else { "" }));
        let outcome = match op {
            Op::Copy { out, finishes } => match DB::copy(session.raw(), *out, *finishes) {
                Some(copy) => within(copy, cut).await?,
                None => return Ok(()),
            },
            _ if raw => within(session.raw().send(DB::sent(op, n)), cut).await?,
            _ => within(DB::voice(session).send(DB::sent(op, n)), cut).await?,
        };
        self.log_outcome(&outcome);
        if !self.ledger.covers(raw) {
            self.ledger.ran_uncovered(op, n);
            return Ok(());
        }
        if let Some(Ok(rows)) = &outcome {
            let is_right = match *op {
                Op::Echo => *rows == [n.to_string()],
                Op::Rows(many) => rows.iter().cloned().eq((1..=many.min(ROWS)).map(|n| n.to_string())),
                _ => true,
            };
            if !is_right {
                return Err(format!("a wrong answer: {rows:?}"));
            }
        }
        let told = Told::of(outcome);
        let (must_succeed, must_fail) = (self.ledger.must_succeed(), self.ledger.must_fail(op));
        let is_refused = self.ledger.is_refused(op, raw);
        match &told {
            Told::Done if is_refused || must_fail => return Err("a success of what has to fail".into()),
            Told::Failed(error) if is_refused && error.kind() == ErrorKind::Config => return Ok(()),
            Told::Failed(_) if must_succeed && !must_fail && !self.ledger.may_fail(op) => {
                return Err("an error without a cause".into());
            }
            Told::Failed(error) if !self.ledger.accepts(error) => return Err("an error of a wrong kind".into()),
            Told::Done => self.tally.done += 1,
            Told::Failed(_) => self.tally.failed += 1,
            Told::Cut => self.tally.cut += 1,
        }
        self.ledger.ran(op, n, &told, raw);
        Ok(())
    }

    /// Waits until the pool is at rest, and asks the server.
    async fn judge(&mut self) -> Verdict {
        let pool = self.pool.clone();
        let moves = async || {
            let status = pool.status();
            let rests = status.in_use == 0 && status.open == status.idle && status.opening == 0;
            (!rests).then(|| format!("the pool does not come to rest: {status:?}"))
        };
        until(moves).await?;
        // One more session may be cancelling.
        self.complain(u64::from(self.size) + 1 + self.pool.status().abandoned).await?;
        self.tally.judged += 1;
        let above = format!("select cast(n as char(20)) from walk where n > {}", self.compared);
        let there = self.judge.send(above.into()).await.map_err(|error| format!("judge: {error}"))?;
        for (n, fate) in mem::take(&mut self.ledger.fates) {
            let is_there = there.iter().any(|text| text.trim() == n.to_string());
            match fate {
                Fate::Present if !is_there => return Err(format!("{n} was committed and is absent")),
                Fate::Absent if is_there => return Err(format!("{n} was not committed and is present")),
                Fate::Present => self.tally.present += 1,
                Fate::Absent => self.tally.absent += 1,
                Fate::Either => self.tally.either += 1,
            }
        }
        self.compared = self.number;
        Ok(())
    }

    /// Waits until the server shows nothing of the pool but this many idle sessions.
    async fn complain(&mut self, sessions: u64) -> Verdict {
        let questions = DB::questions(self.reset, sessions);
        until(async || {
            for question in &questions {
                match self.judge.send(question.clone().into()).await {
                    Ok(answer) if matches!(&*answer.concat(), "" | "0") => {}
                    Ok(answer) => return Some(answer.concat()),
                    Err(error) => return Some(format!("`{question}` failed: {error}")),
                }
            }
            None
        })
        .await
    }

    /// Closes the pool, of which nothing is left.
    async fn end(&mut self) -> Verdict {
        self.judge().await?;
        let report = self.pool.close().await;
        let status = self.pool.status();
        if !report.still_held.is_empty() || (status.in_use, status.open) != (0, 0) {
            return Err(format!("closed, and not empty: {report:?}, {status:?}"));
        }
        self.complain(0).await
    }

    fn log(&mut self, line: String) {
        if self.log.len() == SHOWN {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    fn log_outcome<T>(&mut self, outcome: &Option<Result<T, Error>>) {
        let outcome = match outcome {
            Some(Ok(_)) => "done".into(),
            Some(Err(error)) => format!("{error:?}"),
            None => "dropped".into(),
        };
        let line = self.log.back_mut().expect("BUG: an outcome of nothing");
        *line = format!("{line} -> {outcome}");
    }
}

/// Waits until there is no complaint, or returns the last one.
async fn until(mut complaint: impl AsyncFnMut() -> Option<String>) -> Verdict {
    let began = Instant::now();
    while let Some(complaint) = complaint().await {
        if began.elapsed() > REST {
            return Err(format!("after {REST:?} still: {complaint}"));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// The future's answer, or `None` if it was dropped at the cut. An error: it hangs.
async fn within<T>(future: impl Future<Output = T>, cut: Option<Cut>) -> Verdict<Option<T>> {
    let mut future = pin!(future);
    let began = Instant::now();
    let mut polls = 0;
    let answer = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => {
            polls += 1;
            match cut {
                Some(Cut::Polls(limit)) if polls >= limit => Poll::Ready(None),
                Some(Cut::Micros(limit)) if began.elapsed() >= Duration::from_micros(limit) => Poll::Ready(None),
                Some(Cut::Micros(_)) => {
                    // tokio's clock counts milliseconds.
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                _ => Poll::Pending,
            }
        }
    });
    tokio::time::timeout(HANG, answer).await.map_err(|_| format!("no answer within {HANG:?}"))
}

fn options(kind: Kind) -> TxOptions {
    let options = TxOptions::new();
    match kind {
        Kind::Plain => options,
        Kind::ReadOnly => options.read_only(),
        Kind::Serializable => options.isolation(Isolation::Serializable),
        Kind::Limited(ms) => options.statement_timeout(Duration::from_millis(ms)),
    }
}

/// Walks with each reset and pools of one and of two connections.
async fn walks<DB: Walked>(url: String, resets: &[Reset]) {
    let (loans, seed) = (number(COUNT).unwrap_or(LOANS), seed());
    eprintln!("{}: {loans} loans, {SEED}={seed}", DB::NAME);
    let shapes: Vec<(Reset, u32)> = resets.iter().flat_map(|&reset| [(reset, 1), (reset, 2)]).collect();
    let mut last = 0;
    for (place, &(reset, size)) in shapes.iter().enumerate() {
        let mut settings = DatabaseSettings::new(&url).unwrap().with_pool_size(size).with_max_overflow(0u32);
        if reset != Reset::Rollback {
            settings = settings.with_reset(reset);
        }
        // With the default reset a session keeps what its users left. It must not pile up.
        let settings = settings
            .with_max_uses(40)
            .with_statement_timeout(STATEMENT_TIMEOUT)
            .with_reset_timeout(Duration::from_secs(2));
        let mut walk = Walk::<DB> {
            pool: Pool::connect(settings).await.unwrap(),
            judge: DB::Connection::connect(&url).await.unwrap(),
            reset,
            size,
            ledger: Ledger::new(DB::HABITS),
            baseline: None,
            number: last,
            compared: last,
            log: VecDeque::new(),
            tally: Tally::default(),
        };
        let mut outcome = Ok(());
        for index in 0..loans.div_ceil(shapes.len() as u64) {
            let key = (place as u64) << 32 | index;
            outcome = walk.step(index, &mut Dice(seed ^ key.wrapping_mul(0x1234_5678_9abc_def1))).await;
            if outcome.is_err() {
                break;
            }
        }
        if outcome.is_ok() {
            outcome = walk.end().await;
        }
        if let Err(finding) = outcome {
            let log: Vec<_> = walk.log.into_iter().collect();
            panic!("{}, reset {reset:?}, size {size}: {finding}\n{SEED}={seed}\n{}", DB::NAME, log.join("\n"));
        }
        eprintln!("{}, reset {reset:?}, size {size}: {:?}, {:?}", DB::NAME, walk.tally, walk.pool.status().totals);
        last = walk.number;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_loans_leave_on_postgresql_what_their_callers_were_answered() {
    let database = Cluster::shared().database().unwrap();
    database.psql(TABLE).unwrap();
    database.psql("create table copied (n bigint)").unwrap();
    walks::<Postgres>(database.url(), &[Reset::Rollback, Reset::Session]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_loans_leave_on_mariadb_what_their_callers_were_answered() {
    let database = MariaDb::shared().database().unwrap();
    database.sql(TABLE).unwrap();
    walks::<MySql>(database.url(), &[Reset::Rollback]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_loans_leave_on_sqlite_what_their_callers_were_answered() {
    let file = std::env::temp_dir().join(format!("pool-walk-{}.db", std::process::id()));
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let mut table = sqlx::SqliteConnection::connect(&url).await.unwrap();
    table.send(TABLE.to_owned().into()).await.unwrap();
    table.close().await.unwrap();
    walks::<Sqlite>(url, &[Reset::Rollback, Reset::Session]).await;
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
}
