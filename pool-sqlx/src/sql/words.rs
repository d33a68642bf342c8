//! The words of a text, and its statements.

use super::token::{Dialect, Token, Tokens};

/// The keywords and names of a text, as a server runs it. A name in quotes has them, so that it is no keyword.
pub(crate) fn words(sql: &str, dialect: Dialect) -> impl Iterator<Item = &str> + Clone {
    Tokens::as_run(sql, dialect).map_while(|token| token).filter_map(|token| match token {
        Token::Word(word) | Token::Quoted(word) => Some(word),
        _ => None,
    })
}

/// The statements of a text, as a server tells them apart.
pub(crate) fn statements(sql: &str, dialect: Dialect) -> impl Iterator<Item = &str> {
    let mut tokens = Tokens::as_run(sql, dialect);
    std::iter::from_fn(move || {
        let text = tokens.rest;
        while let Some(Some(token)) = tokens.next() {
            if token == Token::Sign(";") {
                return Some(&text[..text.len() - tokens.rest.len() - 1]);
            }
        }
        Some(text).filter(|text| !text.is_empty())
    })
}

/// Whether the text begins with a word that changes data or asks for it, and is one statement: by itself (`single`), or
/// because nothing in it separates two. What functions do inside is not seen.
pub(crate) fn is_tidy(sql: &str, single: bool) -> bool {
    const WORDS: [&str; 18] = [
        "select", "insert", "update", "delete", "with", "merge", "replace", "values", "table", "explain", "show",
        "create", "alter", "drop", "truncate", "comment", "analyze", "refresh",
    ];
    let sql = sql.trim_end().trim_end_matches(';');
    let start = after_comments(sql).trim_start_matches(|c: char| c == '(' || c.is_whitespace());
    let end = start.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(start.len());
    let word = &start[..end];
    WORDS.iter().any(|known| known.eq_ignore_ascii_case(word)) && (single || !sql.contains(';'))
}

/// Whether the text begins with a word that may be answered with rows, whose types sqlx looks up.
pub(crate) fn may_answer(sql: &str) -> bool {
    const WORDS: [&str; 10] =
        ["select", "insert", "update", "delete", "with", "merge", "values", "table", "fetch", "call"];
    let start = after_comments(sql).trim_start_matches(|c: char| c == '(' || c.is_whitespace());
    let end = start.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(start.len());
    WORDS.iter().any(|known| known.eq_ignore_ascii_case(&start[..end]))
}

/// The first word of the text and of each part of it, comments aside.
pub(crate) fn first_words(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(';').map(|part| {
        let start = after_comments(part);
        &start[..start.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(start.len())]
    })
}

/// What follows the white space and comments at the start.
pub(crate) fn after_comments(mut sql: &str) -> &str {
    loop {
        sql = sql.trim_start();
        let rest = match sql.get(..2) {
            Some("--") => sql.split_once('\n'),
            // MySQL's. Nowhere else does a statement begin with it.
            Some(two) if two.starts_with('#') => sql.split_once('\n'),
            // A comment inside a comment ends it early: the word that follows is not known then, which is the safe side.
            Some("/*") => sql.split_once("*/"),
            _ => return sql,
        };
        match rest {
            Some((_, rest)) => sql = rest,
            None => return "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_never_closed_is_one_statement() {
        for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite] {
            for open in ["'b; c", "\"b; c", "/* b; c"] {
                let sql = format!("a; {open}");
                let parts: Vec<_> = statements(&sql, dialect).take(9).collect();
                assert_eq!(parts, ["a", &format!(" {open}")], "{dialect:?}");
            }
        }
    }

    #[test]
    fn a_statement_is_tidy_by_its_first_word_and_by_being_alone() {
        #[track_caller]
        fn check(sql: &str, simple: bool, extended: bool) {
            assert_eq!((is_tidy(sql, false), is_tidy(sql, true)), (simple, extended), "{sql}");
        }
        check("select 1", true, true);
        check("  SELECT 1 ; ", true, true);
        check("-- why\nselect 1", true, true);
        check("/* tag */ select 1", true, true);
        check("# tag\nselect 1", true, true);
        check("(select 1) union (select 2)", true, true);
        check("insert into t values (';')", false, true);
        check("select 1; begin", false, true);
        check("begin", false, false);
        check("BEGIN; SELECT 1/0", false, false);
        check("savepoint a", false, false);
        check("set search_path = other", false, false);
        check("listen here", false, false);
        check("pragma foreign_keys = off", false, false);
        check("call p()", false, false);
        check("selection", false, false);
        check("-- begin", false, false);
        check("/* open", false, false);
        check("", false, false);
        check("é", false, false);
    }

    #[test]
    fn first_words_are_found_behind_comments_and_in_every_part() {
        let words = |sql| first_words(sql).collect::<Vec<_>>();
        assert_eq!(words("/* app */ LISTEN tracks"), ["LISTEN"]);
        assert_eq!(words("select 1; -- x\n discard all;"), ["select", "discard", ""]);
    }
}
