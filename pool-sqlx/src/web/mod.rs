//! Answers for web frameworks: one file each.

#[cfg(feature = "axum")]
mod axum;

#[cfg(feature = "axum")]
use crate::Error;

/// What a framework needs to answer for a failure: an RFC 9457 problem.
#[cfg(feature = "axum")]
struct Problem {
    status: u16,
    body: String,
    /// Whole seconds, at least one.
    retry_after: Option<u64>,
}

#[cfg(feature = "axum")]
impl Problem {
    /// Media type of the body.
    const TYPE: &'static str = "application/problem+json";

    /// Turns a failure into an answer, and logs it: here and nowhere else, so that each is logged once.
    ///
    /// The client learns what kind of failure it is and when to come back. Names, sizes and SQL stay in the log.
    fn of(error: &Error) -> Self {
        let (status, problem_type) = (error.status(), error.problem_type());
        match status {
            500 => tracing::error!(target: "pool", problem = problem_type, "{error}"),
            _ => tracing::warn!(target: "pool", problem = problem_type, "{error}"),
        }
        let title = error.kind().title();
        let body = serde_json::json!({ "type": problem_type, "title": title, "status": status }).to_string();
        let retry_after = error.retry_after().map(|after| after.as_millis().div_ceil(1000).max(1) as u64);
        Self { status, body, retry_after }
    }
}

#[cfg(all(test, feature = "axum"))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_problem_tells_the_kind_and_nothing_of_the_inside() {
        let problem = Problem::of(&Error::from(sqlx::Error::PoolTimedOut));
        let body: serde_json::Value = serde_json::from_str(&problem.body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:pool:pool-timeout",
                "title": "No database connection became free in time",
                "status": 503,
            })
        );
        let problem = Problem::of(&Error::from(sqlx::Error::Protocol("select secret from users".into())));
        assert!(problem.status == 500 && !problem.body.contains("secret"), "{}", problem.body);
    }

    #[test]
    fn retry_after_is_whole_seconds_rounded_up_and_at_least_one() {
        for (asked, shown) in [(Duration::ZERO, 1), (Duration::from_millis(1), 1), (Duration::from_millis(2500), 3)] {
            let error = Error::from(sqlx::Error::PoolTimedOut).with_retry_after(Some(asked));
            assert_eq!(Problem::of(&error).retry_after, Some(shown), "{asked:?}");
        }
    }
}
