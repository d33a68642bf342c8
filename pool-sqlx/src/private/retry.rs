//! Running a `#[pooled]` function again.

use crate::{Error, error, pool::after_conflict};
use std::error::Error as StdError;

/// Whether another attempt may succeed where this one failed.
#[diagnostic::on_unimplemented(
    message = "`retry` cannot tell from `{Self}` whether another attempt may succeed",
    note = "let the function return a `Result` whose error implements `std::error::Error`"
)]
pub trait RetryOn {
    fn wants_retry(&self) -> bool;
}

impl RetryOn for Error {
    fn wants_retry(&self) -> bool {
        error::is_conflict(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T, E: StdError + 'static> RetryOn for Result<T, E> {
    fn wants_retry(&self) -> bool {
        self.as_ref().is_err_and(|error| error::is_conflict(error))
    }
}

/// Waits before another attempt, holding nothing.
pub async fn back_off(attempt: u32) {
    tokio::time::sleep(after_conflict(attempt)).await;
}
