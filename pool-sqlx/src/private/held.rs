//! The loan that a `#[pooled]` function holds, from acquire to release.

use super::{as_pool::PoolFor, call::Call, lend::Lend};
use crate::{Error, Verdict, pool::waiting};
use pool_core::Hold;
use std::future::Future;
use tokio::sync::SemaphorePermit;

/// A loan for the time of a function.
pub struct Held<T: Lend> {
    holder: T::Holder,
    mark: Hold,
    place: Option<SemaphorePermit<'static>>,
}

pub async fn acquire<T: Lend, K>(pool: &PoolFor<T, K>, call: &'static Call) -> Result<Held<T>, Error> {
    let held = async {
        let (mut place, mut timeout) = (None, call.timeout);
        if call.limit > 0 {
            let patience = timeout.unwrap_or_else(|| pool.settings().pool_timeout);
            let tally = pool.core().manager().tally();
            let entered = waiting(tally.name(), call.site, call.enter(patience), |waited| (*waited, Verdict::Refused));
            let (entered, left) = entered.await.map_err(|waited| {
                let error = Error::limit(call.site, call.limit, waited);
                tally.refuse_place(call.site, waited, &error);
                error
            })?;
            (place, timeout) = (Some(entered), Some(left));
        }
        let conn = pool.acquire_at(call.site, timeout).await?;
        let mark = conn.hold();
        Ok(Held { holder: T::hold(conn, call).await?, mark, place })
    };
    held.await.map_err(|error: Error| error.with_retry_after(call.retry_after))
}

pub fn lend<T: Lend>(held: &mut Held<T>) -> &mut T {
    T::lend(&mut held.holder)
}

/// For a function that takes the connection by value, and releases it whenever it is done. The place is kept until its end.
pub fn give<T: Lend<Holder = T>>(held: Held<T>) -> (T, impl Send) {
    (held.holder, held.place)
}

pub async fn finish<T: Lend>(held: Held<T>, success: bool) -> Result<(), Error> {
    T::finish(held.holder, success).await
}

/// Marks the loan of a function, before its body borrows the connection.
pub fn hold<T: Lend>(held: &Held<T>) -> Hold {
    held.mark.clone()
}

/// Runs a function's body as one that keeps its connection to the end, so that the pool knows when it asks for another. A plain
/// function: as an `async` one it would store the body twice.
pub fn holding<F: Future>(hold: Hold, body: F) -> impl Future<Output = F::Output> {
    hold.during(body)
}
