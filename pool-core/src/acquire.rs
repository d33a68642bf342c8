#![allow(missing_docs, clippy::todo)]
use crate::{AcquireError, Manager, Pooled};
use std::{future::Future, marker::PhantomData, pin::Pin, task::{Context, Poll}};
pub struct Acquire<'a, M: Manager>(PhantomData<&'a M>);
impl<M: Manager> Future for Acquire<'_, M> {
    type Output = Result<Pooled<M>, AcquireError<M::Error>>;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> { todo!() }
}
