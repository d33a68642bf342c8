//! The words of a text, and its statements, as a server reads them.

use super::token::{Dialect, Token, Tokens};

/// The keywords and names of a text. A name in quotes keeps them, so that it equals no keyword.
pub(super) fn words(sql: &str, dialect: Dialect) -> impl Iterator<Item = &str> + Clone {
    Tokens::as_run(sql, dialect).map_while(|token| token).filter_map(|token| match token {
        Token::Word(word) | Token::Quoted(word) => Some(word),
        _ => None,
    })
}

/// The parts of a text between its semicolons.
pub(super) fn statements(sql: &str, dialect: Dialect) -> impl Iterator<Item = &str> {
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

/// Whether a word is one of these, in any case.
pub(super) fn is_any(word: &str, known: &[&str]) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Whether a statement that begins with `ROLLBACK` goes back to a savepoint.
pub(super) fn rolls_back_to_savepoint(sql: &str, dialect: Dialect) -> bool {
    words(sql, dialect).skip(1).take(2).any(|word| is_any(word, &["to"]))
}

/// Whether the text has this in it, in any case. `part` is in lower case and begins with a letter.
pub(super) fn contains(sql: &str, part: &str) -> bool {
    let (text, part) = (sql.as_bytes(), part.as_bytes());
    text.windows(part.len()).any(|window| window[0] | 0x20 == part[0] && window.eq_ignore_ascii_case(part))
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
}
