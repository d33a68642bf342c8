//! PostgreSQL's start-up options (`options=-c statement_timeout=2s` of a url, `PGOPTIONS`), where they say what a setting says, too.

use ::url::Url;

use crate::words::Secret;

/// The server's name of each limit that is a setting, and the setting.
const LIMITS: [(&str, &str); 3] = [
    ("statement_timeout", "statement_timeout"),
    ("lock_timeout", "lock_timeout"),
    ("idle_in_transaction_session_timeout", "idle_in_transaction_timeout"),
];

/// The limits among options: the setting of each, and what to do about it. Our own come after them and would win without a word; and one
/// that we did not know would not be kept when the server falls silent.
pub(crate) fn limits_in(options: &str) -> impl Iterator<Item = (&'static str, String)> {
    let names = names_in(options);
    LIMITS.into_iter().filter(move |(limit, _)| names.iter().any(|name| name == limit)).map(|(limit, setting)| {
        let problem = format!(
            "the options give {limit}, which the pool sets itself and keeps: take it out, and set {setting} instead"
        );
        (setting, problem)
    })
}

/// What is lost of options behind a pooler, and what to do about it. `None` where nothing is: what a proxy reads itself, as Neon's
/// `endpoint=..`, is no setting.
pub(crate) fn lost_in(options: &str) -> Option<String> {
    // The limits are refused anyway, with a better place for each.
    let is_limit = |name: &String| LIMITS.iter().any(|(limit, _)| name == limit);
    let names: Vec<String> = names_in(options).into_iter().filter(|name| !is_limit(name)).collect();
    let name = names.first()?;
    Some(format!(
        "the options give {}, which a pooler ignores or refuses: take them out, and use ALTER ROLE .. SET {name}, or SET LOCAL in a \
         transaction",
        names.join(", ")
    ))
}

/// The options of a url of PostgreSQL, however they are written.
pub(super) fn of(url: &Secret) -> String {
    let Ok(url) = Url::parse(url.expose()) else { return String::new() };
    let mut options = String::new();
    for (key, value) in url.query_pairs().filter(|_| url.scheme().starts_with("postgres")) {
        match key.strip_prefix("options[").and_then(|name| name.strip_suffix(']')) {
            Some(name) => options += &format!(" --{name}="),
            None if key == "options" => options += &format!(" {value}"),
            None => {}
        }
    }
    options
}

/// The names that options set, as the server reads them: `-c name=value`, `-cname=value` and `--name=value`.
pub(crate) fn names_in(options: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut words = words(options).into_iter();
    while let Some(word) = words.next() {
        let assignment = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(assignment), _) => assignment.to_owned(),
            (_, Some("")) => words.next().unwrap_or_default(),
            (_, Some(assignment)) => assignment.to_owned(),
            _ => continue,
        };
        let name = assignment.split('=').next().unwrap_or_default();
        names.push(name.trim().to_ascii_lowercase().replace('-', "_"));
    }
    names
}

/// Split at white space, of which a backslash makes a part of the word.
fn words(options: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        let word = words.last_mut().expect("BUG: there is always one");
        match c {
            '\\' => word.extend(chars.next()),
            c if c.is_ascii_whitespace() => words.push(String::new()),
            c => word.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What is wrong with the parameters of a url of PostgreSQL beside these settings.
pub(super) fn problems(url: &Secret, statement_cache: Option<usize>) -> Vec<String> {
    let mut problems: Vec<String> = limits_in(&of(url)).map(|(_, problem)| problem).collect();
    let Ok(url) = Url::parse(url.expose()) else { return Vec::new() };
    if !url.scheme().starts_with("postgres") {
        return Vec::new();
    }
    let capacity = url.query_pairs().filter(|(key, _)| key == "statement-cache-capacity").last();
    match capacity.map(|(_, capacity)| capacity.parse()) {
        Some(Ok(0)) if statement_cache.is_none() => problems.push(no_cache("statement-cache-capacity = 0 in the url")),
        Some(Err(_)) => problems.push("statement-cache-capacity in the url is no whole number such as 100".to_owned()),
        _ => {}
    }
    problems
}

/// Why there has to be a cache: statements get names all the same, and nobody closes them.
pub(super) fn no_cache(what: &str) -> String {
    format!(
        "{what} makes sqlx leave a named statement behind on the server for every query, and a pooler mixes them up; leave it out, or \
         use 1 (behind a pooler, asyncpg's statement_cache_size = 0 is pooler = \"unprepared\" here)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_written() {
        fn check(options: &str, expected: &[&str]) {
            assert_eq!(names_in(options), expected, "{options}");
        }
        check("-c statement_timeout=2s", &["statement_timeout"]);
        check("-cStatement_Timeout=2s --lock-timeout=1s", &["statement_timeout", "lock_timeout"]);
        check("  -c\tsearch_path=a,b -B 9 -c work_mem=1MB", &["search_path", "work_mem"]);
        check(r"-c search_path=a\ -cstatement_timeout=2s", &["search_path"]);
        check(r"-c search_path=\\ -c lock_timeout=1", &["search_path", "lock_timeout"]);
        check("endpoint=ep-cool-rain-123", &[]);
        check("-c", &[""]);
    }

    #[test]
    fn a_limit_in_a_url_names_the_setting_that_it_belongs_into() {
        fn check(query: &str, expected: &[&str]) {
            let found = problems(&Secret::new(format!("postgres://app:hunter2@db/app?{query}")), None);
            assert_eq!(found.len(), expected.len(), "{query}: {found:?}");
            for (problem, setting) in found.iter().zip(expected) {
                assert!(problem.ends_with(&format!("set {setting} instead")), "{problem}");
                assert!(!problem.contains("hunter2") && !problem.contains("s3cret"), "{problem}");
            }
        }
        check("options=-c%20statement_timeout%3D2s", &["statement_timeout"]);
        check("options=-c+lock_timeout=2s&options=--statement-timeout=s3cret", &["statement_timeout", "lock_timeout"]);
        check("options[statement_timeout]=2s", &["statement_timeout"]);
        check("options%5Bidle_in_transaction_session_timeout%5D=2s", &["idle_in_transaction_timeout"]);
        check("options[search_path]=-c+statement_timeout%3D1", &[]);
        check("options=-c+search_path%3Da&application_name=statement_timeout", &[]);
        check("options=-c+client_connection_check_interval%3D5s", &[]);
        assert_eq!(problems(&Secret::new("mysql://app@db/app?options=-c+statement_timeout%3D2s"), None), [""; 0]);
    }

    #[test]
    fn what_a_pooler_would_lose_is_named_without_its_value() {
        let lost = |query: &str| lost_in(&of(&Secret::new(format!("postgres://app@db/app?{query}"))));
        for query in
            ["options=-c%20search_path%3Ds3cret", "options[search_path]=s3cret", "options=--search-path=s3cret"]
        {
            let lost = lost(query).expect(query);
            assert!(lost.contains("ALTER ROLE .. SET search_path") && !lost.contains("s3cret"), "{lost}");
        }
        assert_eq!((lost("options=endpoint%3Dep-cool-rain-123"), lost("application_name=-c")), (None, None));
    }

    #[test]
    fn a_cache_of_nothing_is_refused_in_the_url_unless_a_setting_says_otherwise() {
        let found = |capacity: &str, setting| {
            problems(&Secret::new(format!("postgres://db/app?statement-cache-capacity={capacity}")), setting).len()
        };
        assert_eq!((found("0", None), found("0", Some(50)), found("1", None), found("many", None)), (1, 0, 0, 1));
    }
}
