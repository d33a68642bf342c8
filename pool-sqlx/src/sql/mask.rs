//! The text of a statement without its values, for telemetry.

use super::{
    keyword::Keyword,
    token::{Dialect, Token, Tokens},
};

/// Longest text that goes to telemetry.
const LONGEST_TEXT: usize = 4096;

/// The statement without values: each literal is a `?`, comments are gone, white space is single.
///
/// `None` if it is not certain what is a value, or if the text is empty.
pub(crate) fn masked(sql: &str, dialect: Dialect) -> Option<String> {
    let mut text = String::with_capacity(sql.len().min(LONGEST_TEXT));
    let mut space = false;
    let mut place = Place::new(dialect);
    let mut tokens = Tokens::new(sql, dialect);
    while let Some(token) = tokens.next() {
        let token = token?;
        let part = match token {
            Token::Space => {
                space = !text.is_empty();
                continue;
            }
            Token::Word(_) | Token::Quoted(_) if place.takes_a_name_for_a_value(token, tokens.rest) => "?",
            Token::Value => "?",
            Token::Word(part) | Token::Quoted(part) | Token::Sign(part) => part,
        };
        place.pass(token)?;
        if std::mem::take(&mut space) {
            text.push(' ');
        }
        if text.len() + part.len() > LONGEST_TEXT {
            text.push('…');
            break;
        }
        text.push_str(part);
    }
    Some(text).filter(|text| !text.is_empty())
}

/// Where in a statement a token stands, as far as it decides what may be a value there.
struct Place<'a> {
    dialect: Dialect,
    /// What the statement begins with, after `EXPLAIN`.
    first: Option<Keyword>,
    setting: Setting,
    /// The two tokens before.
    last: [Option<Token<'a>>; 2],
}

/// `set app.token to secret`, `pragma key = secret`: there a word is a value.
#[derive(Clone, Copy, PartialEq)]
enum Setting {
    None,
    Name,
    Value,
}

impl<'a> Place<'a> {
    fn new(dialect: Dialect) -> Self {
        Self { dialect, first: None, setting: Setting::None, last: [None; 2] }
    }

    fn takes_a_name_for_a_value(&self, token: Token<'_>, rest: &str) -> bool {
        let is_string = || {
            // SQLite takes an unknown name in double quotes for a string, except where only a name can stand.
            let [before, last] = self.last;
            let names = ["from", "join", "into", "update", "table", "exists", "as"];
            let is_compared = before.is_some_and(|before| before.is(&["distinct"]));
            let is_file = self.first == Some(Keyword::Vacuum);
            let is_name = rest.starts_with('.')
                || last.is_some_and(|last| last == Token::Sign(".") || (last.is(&names) && !is_compared && !is_file));
            !is_name
        };
        let is_doubtful =
            matches!(token, Token::Quoted(name) if self.dialect == Dialect::Sqlite && name.starts_with('"'));
        self.setting == Setting::Value || (is_doubtful && is_string())
    }

    /// Moves past a token. `None`: values follow that look like words.
    fn pass(&mut self, token: Token<'a>) -> Option<()> {
        self.last = [self.last[1], Some(token)];
        match token {
            Token::Sign(";") => (self.first, self.setting) = (None, Setting::None),
            Token::Word(word) if self.first.is_none() => match Keyword::of(word) {
                Keyword::Explain => {}
                Keyword::Attach => return None,
                keyword => {
                    self.first = Some(keyword);
                    if matches!(keyword, Keyword::Set | Keyword::Pragma) {
                        self.setting = Setting::Name;
                    }
                }
            },
            _ if self.setting == Setting::Name => {
                let is_pragma = self.first == Some(Keyword::Pragma);
                if token.is(&["to"]) || token == Token::Sign("=") || (is_pragma && token == Token::Sign("(")) {
                    self.setting = Setting::Value;
                }
            }
            _ if self.setting == Setting::None && token.is(&["set"]) => {
                if matches!(self.first, Some(Keyword::Alter | Keyword::Create)) {
                    self.setting = Setting::Name;
                }
            }
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Shape, shape};
    use Dialect::{MySql, Postgres, Sqlite};

    #[test]
    fn a_text_shows_no_value() {
        #[track_caller]
        fn check(dialect: Dialect, sql: &str, shown: &str) {
            assert_eq!(masked(sql, dialect).as_deref(), Some(shown), "{sql}");
        }
        for dialect in [Postgres, MySql, Sqlite] {
            check(dialect, "select * from t where a = 'secret' and b = 17", "select * from t where a = ? and b = ?");
            check(dialect, "select 'it''s secret', -1.5e-3, .5, 0xFF, x'00'", "select ?, -?, ?, ?, ?");
            check(dialect, "select 1 /* secret */ -- secret\n  from  t2", "select ? from t2");
            check(dialect, "insert into t values (1, NULL, true)", "insert into t values (?, NULL, true)");
        }
        check(
            Postgres,
            "select * from t where id = $1 and b = $2::int4",
            "select * from t where id = $1 and b = $2::int4",
        );
        check(Postgres, r"select E'it\'s secret', $$secret$$, $a$ $$secret $a$", "select ?, ?, ?");
        check(Postgres, r"select '\a', a /* /* secret */ secret */ from t", "select ?, a from t");
        check(Postgres, "select 1 -- secret\r, 'secret'", "select ? , ?");
        check(Postgres, "select $😀$secret$😀$, a😀$b$", "select ?, a😀$b$");
        check(Postgres, "set app.token to secret", "set app.token to ?");
        check(Postgres, "set local app.token = secret; select a", "set local app.token = ?; select a");
        check(Postgres, "alter role bob set app.token = secret", "alter role bob set app.token = ?");
        check(Postgres, "set transaction isolation level serializable", "set transaction isolation level serializable");
        check(Postgres, "update t set a = b where c", "update t set a = b where c");
        check(Postgres, r#"select "a b", "it""s" from "T""#, r#"select "a b", "it""s" from "T""#);
        check(MySql, r#"select "secret", 'it''s secret' from `t 1` # secret"#, "select ?, ? from `t 1`");
        check(MySql, "select * from t where id = ?", "select * from t where id = ?");
        check(Sqlite, "select ?1, :name, @name, $name from [a b]", "select ?1, :name, @name, $name from [a b]");
        check(Sqlite, r#"select t."name" from "t" where a = "secret""#, r#"select t."name" from "t" where a = ?"#);
        check(Sqlite, r#"insert into "t" values ("secret")"#, r#"insert into "t" values (?)"#);
        check(
            Sqlite,
            r#"select a from t where a is distinct from "secret""#,
            "select a from t where a is distinct from ?",
        );
        check(Sqlite, r#"pragma key = "secret""#, "pragma key = ?");
        check(Sqlite, "pragma key = secret", "pragma key = ?");
        check(Sqlite, "pragma main.hexkey(secret)", "pragma main.hexkey(?)");
        check(Sqlite, r"select '\', a", "select ?, a");
        check(Sqlite, r#"vacuum into "secret.db""#, "vacuum into ?");
        check(Sqlite, r#"vacuum main into "secret.db""#, "vacuum main into ?");
        check(Sqlite, "explain pragma key = secret", "explain pragma key = ?");
        check(Postgres, "select E'a'\n'b secret', U&'secret' uescape '!'", "select ? ?, U&? uescape ?");
        check(Postgres, "select $1$$secret$$, a$b$, $_é1$secret$_é1$", "select $1?, a$b$, ?");
        check(
            MySql,
            "select _utf8mb4'secret', N'secret', @a := \"secret\", @`b`",
            "select _utf8mb4?, ?, @a := ?, @`b`",
        );
        check(MySql, "select * from t into outfile 'secret'", "select * from t into outfile ?");
    }

    #[test]
    fn no_composition_of_values_comments_and_names_shows_a_value() {
        const SECRET: &str = "4711";
        // Where a word is a name, and where it is a value.
        let openings = ["select ", "select a from t where b = ", "update t set a = "];
        let settings: [(_, &[&str]); 3] = [
            (Postgres, &["set app.token to ", "set app.token = ", "alter role bob set app.token to "]),
            (MySql, &["set @a = ", "set session b = "]),
            (Sqlite, &["pragma key = ", "pragma key("]),
        ];
        let everywhere = [
            "'4711'",
            "'it''s 4711'",
            "'-- 4711'",
            "'/*'",
            "4711",
            "-4711",
            "1e4711",
            "1e-4711",
            "1e-- 4711 ' \n",
            "/* 4711 ' */",
            "-- 4711 ' \n",
            "x'4711'",
            "a😀",
            "é'4711'",
            "\u{a0}",
            "a",
            ",",
            "(",
            "from t",
            "?",
        ];
        let own: [(_, &[&str]); 3] = [
            (
                Postgres,
                &[
                    r"E'\' 4711'",
                    "$$4711 ' $$",
                    "$a$ 4711 $$ $a$",
                    "$😀$4711 ' $😀$",
                    "/* /* ' */ 4711 */",
                    "a[1:4711]",
                    "@4711",
                    "-- 4711 ' \r",
                    "\"b\"",
                    "U&'4711'",
                    "E'a'\n'4711'",
                    "$1$$4711'$$",
                    "1.$$4711'$$",
                    "$a$$4711'$a$",
                    "\"b '\"",
                ],
            ),
            (
                MySql,
                &[
                    "\"4711\"",
                    "# 4711 ' \n",
                    "-- 4711 ' \r \n",
                    "--\t4711 ' \n",
                    "5--4711",
                    "`a ' b`",
                    "`a``' b`",
                    "\"'\" '4711'",
                    "\"it\"\"s 4711 '\"",
                    "_utf8'4711'",
                    r"'\\ 4711'",
                    r#"'\" 4711'"#,
                    "/* /* 4711 ' */",
                ],
            ),
            (
                Sqlite,
                &[
                    "= \"a 4711\"",
                    "= \"4711\"",
                    "= (\"a4711\"",
                    "= \"a4711\"",
                    "[a ' b]",
                    "`a ' b`",
                    "?1",
                    r"'\'",
                    "t.\"b\"",
                ],
            ),
        ];
        // After these it is not certain where a string ends.
        let uncertain: [(_, &[&str]); 3] = [
            (Postgres, &[r"'\'", r"'\' 4711 \''", r"1.e'\' 4711'", "$$4711", "$c$4711$b$", "/* /* 4711 */"]),
            (MySql, &[r"'\' 4711'", r"'\'", "\"\\\" 4711\"", "/*! '*/ 4711 ' */", "$$ 'a4711 $$"]),
            (Sqlite, &["/* 4711"]),
        ];
        let mut random = 1_u64;
        for (((dialect, own), (_, settings)), (_, uncertain)) in own.into_iter().zip(settings).zip(uncertain) {
            let mut any = |of: &[&'static str]| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                of[(random >> 33) as usize % of.len()]
            };
            let parts = [&everywhere, own].concat();
            let mut shown = 0;
            for round in 0..9_000 {
                let (opening, also): (_, &[_]) = match round % 3 {
                    0 => (any(&openings), &[]),
                    1 => (any(settings), &["a4711", "`a4711`"]),
                    _ => (any(&openings), uncertain),
                };
                let parts = [&parts, also].concat();
                let mut sql = opening.to_owned();
                for _ in 0..8 {
                    sql += any(&parts);
                    sql.push(' ');
                }
                let text = masked(&sql, dialect);
                shown += usize::from(text.is_some());
                let text = text.unwrap_or_default();
                assert!(!text.contains(SECRET), "{sql} is shown as {text}");
                assert!(!shape(&sql, dialect).summary.contains(SECRET), "{sql}");
            }
            assert!(shown > 3_000, "{dialect:?} shows {shown}");
        }
    }

    #[test]
    fn a_text_that_is_not_understood_is_not_shown() {
        for sql in [
            "select 'secret",
            "select $$secret",
            "select /* secret",
            "select \"secret",
            "select '\\' secret'",
            "select 'a\\' secret \\''",
        ] {
            assert_eq!((masked(sql, Postgres), shape(sql, Postgres)), (None, Shape::default()), "{sql}");
        }
        for sql in ["select 'it\\'s secret'", "select /*! 'secret' */ 1"] {
            assert_eq!((masked(sql, MySql), shape(sql, MySql)), (None, Shape::default()), "{sql}");
        }
        assert_eq!(masked("attach secret as b key secret", Sqlite), None);
        assert_eq!(masked("create function f() returns int language javascript as $$ secret $$", MySql), None);
    }

    #[test]
    fn a_text_with_nothing_in_it_is_left_out() {
        for dialect in [Postgres, MySql, Sqlite] {
            for sql in ["", " ", "\r\n\t", "-- secret", "/* secret */ -- secret\n"] {
                assert_eq!((masked(sql, dialect), shape(sql, dialect).known_summary()), (None, None), "{sql:?}");
            }
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = format!("select {}", "a, ".repeat(10_000));
        let text = masked(&long, Postgres).unwrap();
        assert!(text.len() <= LONGEST_TEXT + '…'.len_utf8() && text.ends_with('…'), "{}", text.len());
    }
}
