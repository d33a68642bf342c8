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

/// Runs a function's body on the connection it is lent, as one that keeps it to the end, so that the pool knows when it asks for another.
///
/// A plain function: as an `async` one it would store the body twice.
pub fn holding<'h, T: Lend, R>(held: &'h mut Held<T>, body: impl AsyncFnOnce(&mut T) -> R) -> impl Future<Output = R> {
    held.mark.clone().during(body(T::lend(&mut held.holder)))
}

/// Runs a function's body on a connection that it releases whenever it is done. The place is kept until the end.
pub fn giving<T: Lend<Holder = T>, R>(held: Held<T>, body: impl AsyncFnOnce(T) -> R) -> impl Future<Output = R> {
    let Held { holder, place, .. } = held;
    let body = body(holder);
    async move {
        let _place = place;
        body.await
    }
}

pub async fn finish<T: Lend>(held: Held<T>, success: bool) -> Result<(), Error> {
    T::finish(held.holder, success).await
}
