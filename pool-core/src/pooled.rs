#![allow(missing_docs, clippy::todo, dead_code)]
use crate::{Manager, Site};
pub struct Pooled<M: Manager>(Option<M::Conn>);
impl<M: Manager> std::ops::Deref for Pooled<M> { type Target = M::Conn; fn deref(&self) -> &M::Conn { todo!() } }
impl<M: Manager> std::ops::DerefMut for Pooled<M> { fn deref_mut(&mut self) -> &mut M::Conn { todo!() } }
impl<M: Manager> Pooled<M> {
    pub fn site(&self) -> Site { todo!() }
    pub fn detach(self) -> M::Conn { todo!() }
    pub fn discard(self) { todo!() }
}
