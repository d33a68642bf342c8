//! The tokenizer, held against `sqlparser`'s.

use super::token::{Dialect, Token, Tokens};
use sqlparser::{
    dialect::{Dialect as TheirDialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect},
    tokenizer::{Token as Theirs, Tokenizer},
};

const CASES: usize = 10_000;

/// What both tokenizers find, in the same order.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Word(String),
    Quoted(String),
    Value,
    Semicolon,
}

/// `None`: a string, a name or a comment does not end.
fn ours(sql: &str, dialect: Dialect) -> Option<Vec<Part>> {
    let parts = Tokens::as_run(sql, dialect).filter_map(|token| match token {
        None => Some(None),
        Some(Token::Word(word)) => Some(Some(Part::Word(word.to_owned()))),
        Some(Token::Quoted(name)) => Some(Some(Part::Quoted(name.to_owned()))),
        Some(Token::Value) => Some(Some(Part::Value)),
        Some(Token::Sign(";")) => Some(Some(Part::Semicolon)),
        Some(Token::Sign(_) | Token::Space) => None,
    });
    parts.collect()
}

fn theirs(sql: &str, dialect: &dyn TheirDialect) -> Option<Vec<Part>> {
    let tokens = Tokenizer::new(dialect, sql).with_unescape(false).tokenize().ok()?;
    let parts = tokens.into_iter().flat_map(|token| match token {
        Theirs::Word(word) if word.quote_style.is_some() => vec![Part::Quoted(word.to_string())],
        // Variables of MySQL. To us they are a sign, and those of the server a sign and a word. A name with a dollar is a sign, too.
        Theirs::Word(word) if word.value.starts_with("@@") => vec![Part::Word(word.value[2..].to_owned())],
        Theirs::Word(word) if word.value.starts_with(['@', '$']) => vec![],
        Theirs::Word(word) => vec![Part::Word(word.value)],
        // To us a word, a sign and a string.
        Theirs::UnicodeStringLiteral(_) => vec![Part::Word("U".to_owned()), Part::Value],
        Theirs::Number(..)
        | Theirs::SingleQuotedString(_)
        | Theirs::DoubleQuotedString(_)
        | Theirs::DollarQuotedString(_)
        | Theirs::SingleQuotedByteStringLiteral(_)
        | Theirs::NationalStringLiteral(_)
        | Theirs::EscapedStringLiteral(_)
        | Theirs::HexStringLiteral(_) => vec![Part::Value],
        Theirs::SemiColon => vec![Part::Semicolon],
        _ => vec![],
    });
    Some(parts.collect())
}

/// Strings, comments and names in which something looks like the beginning or the end of another.
#[rustfmt::skip]
const EVERYWHERE: &[&str] = &[
    "select", "a", "_b1", "é", "from", ";", ",", "(", ")", ".", "=", "<", "+", "*", "1", "1.5", "1e3", ".5", "1e-5", "''",
    "'a'", "'it''s'", "';'", "'--'", "'/*'", "'*/ ;'", "'\"'", "'$$'", "'`'", "'\n'", "x'00'", "-- ; ' \" /* \n", "--\n",
    "/* ; ' \" -- */", "/**/", "/***/", "/* \n # */",
];
#[rustfmt::skip]
const POSTGRES: &[&str] = &[
    "\"a\"", "\"a;\"\"b\"", "\"'\"", r"'\'", r"'a\'", r"E'\''", r"e'a\'; b'", r"E'\\'", r"E'\\\'; '", "E''''", "$$a$$",
    "$$ ; ' $$", "$a$ $$ ; $a$", "$é$ ; $é$", "$_1$ ; $_1$", "$1", "/* /* ; */ ' */", "/* /* */ /* */ ; */", "b'1'", "n'a;'",
    "U&'a;b'", "a$b$", "a$$b", "::", "#", "?", "?|", "@", "->>'a'", "[1]", "-- '\r",
];
#[rustfmt::skip]
const MYSQL: &[&str] = &[
    "`a`", "`a;``b`", "`'`", "\"a\"", "\"a;\"\"b\"", "\"'\"", r"'\''", r"'a\'; b'", r"'\\'", r#""\";""#, r#""\\""#, "# ; ' \n",
    "1--1", "--'a;'", "#\n", "-- \n", "--\t;\n", "?", "@a", "@@a", ":=", "n'a;'", "b'1'", "_utf8'a'", "/* /* ; */", "a$b$", "-- '\r \n",
    "/*! a */", "/*!50000 ; */", "@'a;'", "@`a;`",
];
#[rustfmt::skip]
const SQLITE: &[&str] = &[
    "\"a\"", "\"a;\"\"b\"", "`a;``b`", "[a;b]", "[']", r"'\'", r"'a\'", r#""\""#, "?", "?1", "/* /* ; */", "||", "-- '\r \n",
    "a$b$",
];

/// What does not end.
const OPEN: &[&str] = &["'a;", "/* ;", "\"a;", "'a''"];
const POSTGRES_OPEN: &[&str] = &["$a$ ; $b$", "$$ ;", r"E'\'", "/* /* ; */"];
const MYSQL_OPEN: &[&str] = &["`a;", r"'\'", r#""\""#];
const SQLITE_OPEN: &[&str] = &["`a;", "[a;"];

/// What keeps two fragments apart that `sqlparser` would read otherwise than the database does. One rule for each difference.
fn between(dialect: Dialect, before: &str, after: &str) -> Option<&'static str> {
    let is_number = before.starts_with(|c: char| c.is_ascii_digit()) || (before.starts_with('.') && before != ".");
    let is_comment = after.starts_with("--") || after.starts_with("/*");
    let differs = match dialect {
        // PostgreSQL refuses a number that runs into a word. It is one token to us, and two to `sqlparser`.
        _ if is_number && after != ";" => true,
        // `._b1` is an error of `sqlparser`, `.1` a number, and `.n'a'` a string to us only.
        _ if before == "." => true,
        // No backslash escapes a quote in these; to `sqlparser`, it does.
        _ if ["x'00'", "b'1'", "U&'a;b'"].contains(&before) && after.starts_with('\'') => true,
        // PostgreSQL refuses a parameter that runs into a word, and `$1$$a$$` is a parameter and a string. To `sqlparser`, they are one.
        Dialect::Postgres if before == "$1" && after != ";" => true,
        // An operator ends where a comment begins; to `sqlparser`, it goes on.
        Dialect::Postgres => is_comment && before.ends_with(['=', '<', '+', '#', '?', '|', '@', ':']),
        Dialect::Sqlite => is_comment && before == "||",
        // A name ends before `@`; to `sqlparser`, it goes on, and `<@` is an operator.
        Dialect::MySql if after.starts_with('@') => true,
        // A parameter has no number; to `sqlparser`, it has the one that follows.
        Dialect::MySql if before == "?" => true,
        // `b"a"` is a name and a string; to `sqlparser`, it is `b'a'`.
        Dialect::MySql => before.ends_with(['b', 'B']) && after.starts_with('"'),
    };
    differs.then_some(" ")
}

#[test]
fn words_and_statements_are_those_that_sqlparser_finds() {
    let dialects: [(_, &dyn TheirDialect, _, _); 3] = [
        (Dialect::Postgres, &PostgreSqlDialect {}, POSTGRES, POSTGRES_OPEN),
        (Dialect::MySql, &MySqlDialect {}, MYSQL, MYSQL_OPEN),
        (Dialect::Sqlite, &SQLiteDialect {}, SQLITE, SQLITE_OPEN),
    ];
    let mut random = 1_u64;
    let mut any = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for (dialect, their_dialect, own, open) in dialects {
        let (fragments, open) = ([EVERYWHERE, own].concat(), [OPEN, open].concat());
        let mut ended = 0;
        for round in 0..CASES {
            let mut parts: Vec<_> = (0..1 + any(8)).map(|_| fragments[any(fragments.len())]).collect();
            if round % 8 == 0 {
                parts.push(open[any(open.len())]);
            }
            let mut sql = String::new();
            let (mut before, mut after_escapes) = ("", false);
            for part in parts {
                // A string after `E''` goes on with its escapes; to `sqlparser` it is one of its own.
                if after_escapes && part.starts_with('\'') {
                    sql.push(',');
                }
                let is_space = part.starts_with("--") || part.starts_with("/*");
                after_escapes = part.starts_with(['E', 'e']) && part.ends_with('\'') || (after_escapes && is_space);
                sql += between(dialect, before, part).unwrap_or(["", " ", "\n"][any(3)]);
                sql += part;
                before = part;
            }
            let found = ours(&sql, dialect);
            ended += usize::from(found.is_some());
            assert_eq!(found, theirs(&sql, their_dialect), "{dialect:?}: {sql:?}");
        }
        assert!(ended > CASES / 2 && ended < CASES, "{dialect:?}: {ended} texts have no open end");
    }
}
