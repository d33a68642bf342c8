//! The workers, compiled once for either database.

use super::{Conn, Pool, TABLE, TAKE};
use pool_sqlx::{
    Error, Pools,
    figment::{Figment, providers::Serialized},
    pooled,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

const JOBS: u32 = 20;
const WORKERS: u32 = 8;

#[derive(Clone, Pools)]
struct Databases {
    primary: Pool,
}

#[derive(sqlx::FromRow)]
struct Job {
    id: i64,
    what: String,
}

pub(crate) async fn run(figment: &Figment) -> Result<(), Error> {
    // Fewer connections than workers, unless somebody says otherwise.
    let few = |key, value: u32| Serialized::default(key, value);
    let figment = figment.clone().join(few("databases.primary.pool_size", 2));
    let figment = figment.join(few("databases.primary.max_overflow", 1));
    let databases = Databases::connect_with(&figment).await?;
    let pool = &databases.primary;
    sqlx::query(TABLE).execute(pool).await?;
    for n in 1..=JOBS {
        sqlx::query("insert into jobs (what, taken_until) values ($1, 0)")
            .bind(format!("mail {n}"))
            .execute(pool)
            .await?;
    }

    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(pool.clone()));
    }
    let mut done = 0;
    for jobs in workers.join_all().await {
        done += jobs?;
    }
    println!("{done} jobs done by {WORKERS} workers over {} connections at most", pool.status().peak);
    for (name, report) in databases.close().await {
        println!("{name}: {report}");
    }
    Ok(())
}

/// Works until there is nothing left to take.
async fn work(pool: Pool) -> Result<u32, Error> {
    let mut done = 0;
    while let Some(job) = take(pool.clone()).await? {
        // No connection is held here, however long it takes.
        tokio::time::sleep(Duration::from_millis(20)).await;
        finish(pool.clone(), &job).await?;
        tracing::info!("{} is done", job.what);
        done += 1;
    }
    Ok(done)
}

/// Takes a job for a minute: one whose worker has died by then is taken by another.
#[pooled(timeout = "30s")] // a worker has more patience than a request
async fn take(conn: &mut Conn) -> Result<Option<Job>, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
    Ok(sqlx::query_as(TAKE).bind(i64::try_from(now).expect("seconds fit")).fetch_optional(conn).await?)
}

#[pooled(timeout = "30s")]
async fn finish(conn: &mut Conn, job: &Job) -> Result<(), Error> {
    sqlx::query("delete from jobs where id = $1").bind(job.id).execute(conn).await?;
    Ok(())
}
