//! Answers for web frameworks: one file each.

#[cfg(feature = "actix")]
pub(crate) mod actix;
#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "tonic")]
mod tonic;

use crate::{Error, ErrorKind};
use std::{borrow::Cow, error::Error as StdError, time::Duration};

/// How a service answers for an error: the status, an RFC 9457 problem, and when to come back.
///
/// It says what kind of failure it is and nothing about the inside: names, sizes and SQL stay in the log.
/// [`#[derive(ServiceError)]`](crate::ServiceError) makes one of each error of an application.
///
/// # Example
///
/// ```
/// use pool_sqlx::Failure;
///
/// let failure = Failure::of(&sqlx::Error::PoolTimedOut);
/// assert_eq!((failure.status(), failure.problem_type()), (503, "urn:pool:pool-timeout"));
/// let failure = Failure::new(404).with_type("no-such-track").with_detail("there is no track 7");
/// assert_eq!(failure.problem(), r#"{"detail":"there is no track 7","status":404,"title":"Not Found","type":"no-such-track"}"#);
/// ```
#[doc(alias = "503")]
#[doc(alias = "problem+json")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    status: u16,
    problem_type: Cow<'static, str>,
    title: &'static str,
    detail: Option<String>,
    retry_after: Option<Duration>,
}

impl Failure {
    /// Media type of [`problem`](Self::problem).
    pub const MEDIA_TYPE: &'static str = "application/problem+json";

    /// A failure that its status says all about.
    pub fn new(status: u16) -> Self {
        let problem_type = Cow::Borrowed("about:blank");
        Self { status, problem_type, title: phrase(status), detail: None, retry_after: None }
    }

    /// What this error means for a client: [`Error::find`] and sqlx's own errors tell, anything else is a 500.
    ///
    /// Looks into what wraps them (`source`), but an error that is `transparent` hides what it is made of: pass the inner one.
    pub fn of(error: &(dyn StdError + 'static)) -> Self {
        if let Some(ours) = Error::find(error) {
            return Self::from(ours);
        }
        let mut errors = std::iter::successors(Some(error), |error| (*error).source());
        errors.find_map(crate::error::kind_in).map_or_else(|| Self::new(500), Self::of_kind)
    }

    /// Says which problem it is: a URI, or a name relative to your documentation.
    pub fn with_type(mut self, problem_type: impl Into<Cow<'static, str>>) -> Self {
        self.problem_type = problem_type.into();
        self
    }

    /// Says more about this very occurrence. For the client's eyes.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says when another try may succeed.
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The problem's `type`; `about:blank` where the status says it all.
    pub fn problem_type(&self) -> &str {
        &self.problem_type
    }

    /// When another try may succeed, if it may.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The body of the answer.
    pub fn problem(&self) -> String {
        let mut problem = serde_json::json!({ "type": self.problem_type, "title": self.title, "status": self.status });
        if let Some(detail) = &self.detail {
            problem["detail"] = detail.as_str().into();
        }
        problem.to_string()
    }

    /// What `Retry-After` says: whole seconds, at least one.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| after.as_millis().div_ceil(1000).max(1) as u64)
    }

    /// What a person may read: the detail, else the title.
    #[cfg(feature = "tonic")]
    fn message(&self) -> &str {
        self.detail.as_deref().unwrap_or(self.title)
    }

    fn of_kind(kind: ErrorKind) -> Self {
        let failure = Self { title: kind.title(), retry_after: kind.retry_after(), ..Self::new(kind.status()) };
        match failure.status {
            500 => failure,
            _ => failure.with_type(format!("urn:pool:{}", kind.code())),
        }
    }

    /// Logs the error that this is the answer for, and what it was made of: a warning for 503 and 504, else an error.
    ///
    /// Call it where the error becomes an answer and nowhere else, so that each is logged once. A client's fault is not logged.
    /// What [`#[derive(ServiceError)]`](crate::ServiceError) and [`Error`] give for a framework calls it.
    pub fn log(&self, error: &dyn StdError) {
        let problem = &*self.problem_type;
        match self.status {
            503 | 504 => tracing::warn!(target: "pool", problem, "{}", chain(error)),
            500.. => tracing::error!(target: "pool", problem, "{}", chain(error)),
            _ => {}
        }
    }
}

/// The error and what it was made of; what a text says already is left out.
fn chain(error: &dyn StdError) -> String {
    let mut chain = error.to_string();
    for source in std::iter::successors(error.source(), |source| (*source).source()) {
        let text = source.to_string();
        if !chain.contains(&text) {
            chain = format!("{chain}: {text}");
        }
    }
    chain
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            status: error.status(),
            problem_type: error.problem_type().into(),
            retry_after: error.retry_after(),
            ..Self::of_kind(error.kind())
        }
    }
}

/// The status's own words.
fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        423 => "Locked",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ if status < 500 => "Client Error",
        _ => "Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_tells_the_kind_and_nothing_of_the_inside() {
        let failure = Failure::from(&Error::from(sqlx::Error::PoolTimedOut));
        let body: serde_json::Value = serde_json::from_str(&failure.problem()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:pool:pool-timeout",
                "title": "No database connection became free in time",
                "status": 503,
            })
        );
        let failure = Failure::from(&Error::from(sqlx::Error::Protocol("select secret from users".into())));
        assert!(failure.status == 500 && !failure.problem().contains("secret"), "{}", failure.problem());
    }

    #[test]
    fn retry_after_is_whole_seconds_rounded_up_and_at_least_one() {
        for (asked, shown) in [(Duration::ZERO, 1), (Duration::from_millis(1), 1), (Duration::from_millis(2500), 3)] {
            let error = Error::from(sqlx::Error::PoolTimedOut).with_retry_after(Some(asked));
            assert_eq!(Failure::from(&error).retry_after_seconds(), Some(shown), "{asked:?}");
        }
    }

    #[test]
    fn the_log_has_what_an_error_was_made_of_and_nothing_twice() {
        let cause = sqlx::Error::Protocol("LIMIT must not be negative".into());
        let bare = cause.to_string();
        assert_eq!(chain(&Error::from(sqlx::Error::Protocol("LIMIT must not be negative".into()))), bare);
        let wrapped = anyhow::Error::from(cause).context("the database failed").context("cannot list");
        assert_eq!(chain(wrapped.as_ref()), format!("cannot list: the database failed: {bare}"));
    }

    #[test]
    fn an_error_of_sqlx_fails_as_ours_would() {
        let lost = || sqlx::Error::WorkerCrashed;
        assert_eq!(Failure::of(&lost()), Failure::from(&Error::from(lost())));
        let wrapped = anyhow::Error::from(lost()).context("cannot list the tracks");
        assert_eq!(Failure::of(wrapped.as_ref()).status(), 503);
        assert_eq!(Failure::of(&sqlx::Error::RowNotFound), Failure::from(&Error::from(sqlx::Error::RowNotFound)));
        assert_eq!(Failure::of(&std::fmt::Error), Failure::new(500));
    }
}
