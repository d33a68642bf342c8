//! What can be told from the text of a statement. Text only: no connection, no settings of a pool but its pooler.

mod mask;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
pub(crate) mod pooled;
mod shape;
mod token;
mod words;

pub(crate) use mask::masked;
pub(crate) use shape::{Shape, shape};
pub(crate) use token::Dialect;
pub(crate) use words::{first_words, is_tidy, may_answer, statements};

/// What it goes into is a file.
fn is_vacuum(word: &str) -> bool {
    word.eq_ignore_ascii_case("vacuum")
}
