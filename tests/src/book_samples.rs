//! The Rust blocks of the book: `cargo test --doc` compiles and runs each, and a failure names the chapter.
//!
//! A chapter is listed here when it is listed in the book's `SUMMARY.md`. rustdoc does not expand `{{#include}}`: a block that includes a file
//! is marked `rust,ignore`, and the file is an example that is built and tested itself.

macro_rules! chapters {
    ($($chapter:ident: $path:literal)*) => {
        $(
            #[doc = include_str!(concat!("../../book/src/", $path))]
            mod $chapter {}
        )*

        #[cfg(test)]
        const CHAPTERS: &[&str] = &[$($path),*];
    };
}

chapters! {
    introduction: "README.md"
    first_service: "tutorial/first-service.md"
    cold_start: "tutorial/cold-start.md"
    tutorial_watching: "tutorial/watching.md"
    sizing: "guide/sizing.md"
    timeouts: "guide/timeouts.md"
    frameworks: "guide/frameworks.md"
    transactions: "guide/transactions.md"
    several_pools: "guide/several-pools.md"
    listeners: "guide/listeners.md"
    leaks: "guide/leaks.md"
    sleeping_database: "guide/sleeping-database.md"
    pgbouncer: "guide/pgbouncer.md"
    mysql: "guide/mysql.md"
    tls: "guide/tls.md"
    administration: "guide/administration.md"
    sending: "guide/watching.md"
    status_page: "guide/status-page.md"
    advice: "guide/advice.md"
    alerts: "guide/alerts.md"
    testing_handlers: "guide/testing-handlers.md"
    from_sqlx_pool: "guide/from-sqlx-pool.md"
    from_deadpool: "guide/from-deadpool.md"
    from_sqlalchemy: "guide/from-sqlalchemy.md"
    manager: "guide/manager.md"
    settings: "reference/settings.md"
    macros: "reference/macro.md"
    features: "reference/features.md"
    events: "reference/events.md"
    log: "reference/log.md"
    metrics: "reference/metrics.md"
    status_json: "reference/status-json.md"
    errors: "reference/errors.md"
    exhausted: "errors/exhausted.md"
    leaking: "errors/leaking.md"
    nested: "errors/nested.md"
    connecting: "errors/connecting.md"
    refused: "errors/refused.md"
    paused: "errors/paused.md"
    closed: "errors/closed.md"
    acquire: "understanding/acquire.md"
    defaults: "understanding/defaults.md"
    failure_modes: "understanding/failure-modes.md"
    other_pools: "understanding/other-pools.md"
    requirement_document: "understanding/requirement-document.md"
    architecture: "contributing/architecture.md"
    style: "contributing/style.md"
    testing: "contributing/testing.md"
    releasing: "contributing/releasing.md"
}

/// The front page of the repository and of each crate whose own doctests cannot reach `pool-sqlx`.
mod readmes {
    #[doc = include_str!("../../README.md")]
    mod workspace {}
    #[doc = include_str!("../../pool-core/README.md")]
    mod core {}
    #[doc = include_str!("../../pool-macros/README.md")]
    mod macros {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chapters that a summary links to.
    fn chapters_of(summary: &str) -> Vec<&str> {
        summary
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
            .filter(|path| !path.is_empty())
            .collect()
    }

    #[test]
    fn every_chapter_of_the_summary_is_compiled() {
        let mut in_summary = chapters_of(include_str!("../../book/src/SUMMARY.md"));
        let mut here = CHAPTERS.to_vec();
        in_summary.sort_unstable();
        here.sort_unstable();
        assert_eq!(here, in_summary, "list each chapter of book/src/SUMMARY.md in tests/src/book_samples.rs");
    }

    #[test]
    fn chapters_are_read_off_a_summary() {
        let summary = "# Summary\n\n[Start](README.md)\n\n- [A](a/one.md)\n  - [B](two.md#part)\n- [Draft]()\n";
        assert_eq!(chapters_of(summary), ["README.md", "a/one.md", "two.md"]);
    }
}
