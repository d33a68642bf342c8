//! The tokens of SQL, as each database reads them.
//!
//! This is no parser. Where a text is not understood, less is known of it.

/// How a database reads quotes, comments and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    MySql,
    Sqlite,
}

impl Dialect {
    /// The dialect of a database, by its name in sqlx.
    #[inline]
    pub(crate) fn of(database: &str) -> Self {
        match database {
            "MySQL" => Self::MySql,
            "SQLite" => Self::Sqlite,
            _ => Self::Postgres,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A keyword, or a name without quotes.
    Word(&'a str),
    /// A name in quotes, quotes included.
    Quoted(&'a str),
    /// A string or a number.
    Value,
    /// A single sign, or a placeholder.
    Sign(&'a str),
    /// White space, or a comment.
    Space,
}

impl Token<'_> {
    /// Whether it is one of these words.
    pub(super) fn is(&self, words: &[&str]) -> bool {
        matches!(self, Token::Word(word) if words.iter().any(|known| known.eq_ignore_ascii_case(word)))
    }
}

/// Whether a character continues a word: a keyword, or a name without quotes.
fn in_a_word(c: char) -> bool {
    c == '$' || in_a_name(c)
}

/// The same of a byte, of which a character outside ASCII has several.
pub(super) const fn continues_a_word(byte: u8) -> bool {
    byte == b'$' || byte == b'_' || byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// Whether a character continues a name. To databases, every character outside ASCII is a letter.
fn in_a_name(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric() || !c.is_ascii()
}

/// What backslashes in a string mean.
#[derive(Clone, Copy, PartialEq)]
enum Backslash {
    Plain,
    Escape,
    /// A setting of the server decides. After a backslash before a quote, it is not certain where the string ends.
    Either,
}

/// How to read a text that servers read differently, by their version and settings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Not at all, so that no value is taken for a word.
    Certain,
    /// As current servers do by default. What only some servers run counts as run.
    AsRun,
}

/// The tokens of a text. `None` among them: from there on, it is not certain what is a value.
#[derive(Clone)]
pub(super) struct Tokens<'a> {
    pub(super) rest: &'a str,
    dialect: Dialect,
    reading: Reading,
    /// The last token but white space was an `E''`, which a string on the next line continues.
    after_escapes: bool,
    /// The text is in a comment that MySQL runs.
    in_run_comment: bool,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(sql: &'a str, dialect: Dialect) -> Self {
        Self { rest: sql, dialect, reading: Reading::Certain, after_escapes: false, in_run_comment: false }
    }

    pub(super) fn as_run(sql: &'a str, dialect: Dialect) -> Self {
        Self { reading: Reading::AsRun, ..Self::new(sql, dialect) }
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    /// Takes what matches from here on.
    fn take_while(&mut self, mut matches: impl FnMut(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !matches(c)).unwrap_or(self.rest.len());
        self.take(end)
    }

    /// The length of the quoted text at the start, quotes included. A doubled quote does not end it.
    fn quoted(&self, quote: char, backslash: Backslash) -> Option<usize> {
        let mut chars = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c == '\\' {
                match backslash {
                    Backslash::Plain => {}
                    Backslash::Escape => drop(chars.next()),
                    Backslash::Either if chars.peek().is_some_and(|(_, next)| *next == quote) => return None,
                    Backslash::Either => {}
                }
            } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
                return Some(at + c.len_utf8());
            }
        }
        None
    }

    /// What backslashes mean in a string without a prefix.
    fn backslash(&self) -> Backslash {
        match (self.dialect, self.reading) {
            (Dialect::Sqlite, _) | (Dialect::Postgres, Reading::AsRun) => Backslash::Plain,
            (Dialect::MySql, Reading::AsRun) => Backslash::Escape,
            (_, Reading::Certain) => Backslash::Either,
        }
    }

    fn string(&mut self, backslash: Backslash) -> Option<Token<'a>> {
        let quote = self.rest.chars().next()?;
        let length = self.quoted(quote, backslash)?;
        self.take(length);
        self.after_escapes = self.dialect == Dialect::Postgres && backslash == Backslash::Escape;
        Some(Token::Value)
    }

    fn word(&mut self) -> Option<Token<'a>> {
        let word = self.take_while(in_a_word);
        let prefixes = match self.dialect {
            Dialect::Postgres => ["e", "b", "x", "n"].as_slice(),
            Dialect::MySql => &["b", "x", "n"],
            Dialect::Sqlite => &["x"],
        };
        if self.rest.starts_with('\'') {
            let prefix = prefixes.iter().find(|prefix| prefix.eq_ignore_ascii_case(word));
            if let Some(prefix) = prefix {
                return self.string(if *prefix == "e" { Backslash::Escape } else { self.backslash() });
            }
        }
        Some(Token::Word(word))
    }

    fn block_comment(&mut self) -> Option<Token<'a>> {
        // MySQL runs the text of some comments.
        let code = ["/*!", "/*M!"].into_iter().find(|code| self.rest.starts_with(code));
        if let Some(code) = code.filter(|_| self.dialect == Dialect::MySql) {
            if self.reading == Reading::Certain {
                return None;
            }
            // For servers from this version on, in five digits or six.
            let version = self.rest[code.len()..].bytes().take(6).take_while(u8::is_ascii_digit).count();
            self.take(code.len() + version);
            self.in_run_comment = true;
            return Some(Token::Space);
        }
        let (mut depth, mut at) = (0, 0);
        loop {
            let rest = &self.rest[at..];
            if rest.starts_with("/*") && (depth == 0 || self.dialect == Dialect::Postgres) {
                (depth, at) = (depth + 1, at + 2);
            } else if rest.starts_with("*/") {
                (depth, at) = (depth - 1, at + 2);
            } else if rest.is_empty() && self.dialect == Dialect::Sqlite {
                // The comment ends with the text.
                depth = 0;
            } else {
                at += rest.chars().next()?.len_utf8();
            }
            if depth == 0 {
                self.take(at);
                return Some(Token::Space);
            }
        }
    }

    /// `$$text$$`, `$tag$text$tag$`, `$1`, `$name`.
    fn dollar(&mut self) -> Option<Token<'a>> {
        // MySQL puts them around the text of a function, and MariaDB has them in names.
        if self.dialect == Dialect::MySql && self.reading == Reading::Certain && self.rest.starts_with("$$") {
            return None;
        }
        let name = self.rest[1..].find(|c: char| !in_a_name(c)).map(|end| end + 1);
        let is_tag = |end: usize| {
            self.rest[end..].starts_with('$') && !self.rest[1..end].starts_with(|c: char| c.is_ascii_digit())
        };
        match name.filter(|end| self.dialect == Dialect::Postgres && is_tag(*end)) {
            Some(end) => {
                let tag = self.take(end + 1);
                let length = self.rest.find(tag)?;
                self.take(length + tag.len());
                Some(Token::Value)
            }
            None => {
                let length = name.unwrap_or(self.rest.len());
                Some(Token::Sign(self.take(length)))
            }
        }
    }

    /// Whether this sign and the character after it begin a parameter or a variable.
    fn is_parameter(&self, sign: char, next: char) -> bool {
        match self.dialect {
            Dialect::Postgres => false,
            Dialect::MySql => sign == '@' && in_a_name(next),
            Dialect::Sqlite => next.is_ascii_digit() || (sign != '?' && in_a_name(next)),
        }
    }

    fn double_quoted(&mut self) -> Option<Token<'a>> {
        if self.dialect == Dialect::MySql {
            return self.string(self.backslash());
        }
        let length = self.quoted('"', Backslash::Plain)?;
        Some(Token::Quoted(self.take(length)))
    }

    fn number(&mut self) -> Token<'a> {
        let is_part = |c: char| c == '.' || c == '_' || c.is_ascii_alphanumeric();
        let digits = self.take_while(is_part);
        // `1e-5`, and neither `0xe-5` nor `1e--comment`.
        let is_decimal = digits.ends_with(['e', 'E']) && !digits.starts_with("0x") && !digits.starts_with("0X");
        let exponent = self.rest.strip_prefix(['+', '-']).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if exponent.is_some_and(|_| is_decimal) {
            self.take(1);
            self.take_while(is_part);
        }
        Token::Value
    }

    fn line_comment(&mut self) -> Token<'a> {
        let also = if self.dialect == Dialect::Postgres { '\r' } else { '\n' };
        self.take_while(|c| c != '\n' && c != also);
        Token::Space
    }
}

/// White space to databases.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Option<Token<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut chars = self.rest.chars();
        let (first, second) = (chars.next()?, chars.next());
        let after_escapes = std::mem::take(&mut self.after_escapes);
        let token = match (first, second) {
            (c, _) if is_space(c) => {
                self.take_while(is_space);
                Some(Token::Space)
            }
            // In MySQL `5--3` is a sum.
            ('-', Some('-')) if self.dialect != Dialect::MySql || !self.rest[2..].starts_with(|c: char| c > ' ') => {
                Some(self.line_comment())
            }
            ('#', _) if self.dialect == Dialect::MySql => Some(self.line_comment()),
            ('/', Some('*')) => self.block_comment(),
            ('*', Some('/')) if self.in_run_comment => {
                self.take(2);
                self.in_run_comment = false;
                Some(Token::Space)
            }
            // A variable of the server, whose name is a word. With one `@`, it is one of the session.
            ('@', Some('@')) if self.dialect == Dialect::MySql => Some(Token::Sign(self.take(2))),
            ('\'', _) if after_escapes => self.string(Backslash::Escape),
            ('\'', _) => self.string(self.backslash()),
            ('"', _) => self.double_quoted(),
            ('`', _) if self.dialect != Dialect::Postgres => {
                self.quoted('`', Backslash::Plain).map(|length| Token::Quoted(self.take(length)))
            }
            ('[', _) if self.dialect == Dialect::Sqlite => {
                self.rest.find(']').map(|end| Token::Quoted(self.take(end + 1)))
            }
            ('$', _) => self.dollar(),
            // A variable, or a parameter of SQLite. In PostgreSQL these are operators, and a word or an `E''` may follow at once.
            ('?' | '@' | ':', Some(c)) if self.is_parameter(first, c) => {
                let goes_on = |c: char| if first == '?' { c.is_ascii_digit() } else { in_a_word(c) };
                let length = self.rest[1..].find(|c| !goes_on(c));
                Some(Token::Sign(self.take(length.map_or(self.rest.len(), |end| end + 1))))
            }
            ('.', Some('0'..='9')) | ('0'..='9', _) => Some(self.number()),
            (c, _) if in_a_name(c) => self.word(),
            (c, _) => Some(Token::Sign(self.take(c.len_utf8()))),
        };
        match token {
            Some(Token::Space) => self.after_escapes = after_escapes,
            None => self.rest = "",
            Some(_) => {}
        }
        Some(token)
    }
}
