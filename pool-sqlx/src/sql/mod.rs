//! What is known from the text of a statement. Text only: no connection, and no setting but the pooler.
//!
//! Every question about a text goes through the tokenizer in [`token`]; [`Facts`] answers those that decide what happens to a statement.

mod facts;
#[cfg(test)]
mod fuzz;
mod keyword;
mod mask;
mod mysql;
mod pooled;
mod shape;
mod token;
mod words;

pub(crate) use facts::{Effect, Facts, Protocol};
pub(crate) use mask::masked;
pub(crate) use shape::{Shape, shape};
pub(crate) use token::Dialect;

/// Where a statement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Outside a transaction of ours.
    Session,
    /// In a transaction that has an owner.
    Transaction,
}
