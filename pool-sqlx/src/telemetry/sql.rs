//! What a statement's text tells others: what it does to which table, and how it reads without its values.
//!
//! No parser of SQL, and it need not be one: where the text is not understood, less is told.

use std::fmt::Write;

/// How long a text may get that is told to others.
const LONGEST_TEXT: usize = 4096;

/// The convention's own limit of a summary.
const LONGEST_SUMMARY: usize = 255;

/// No keyword that matters here is longer.
const LONGEST_KEYWORD: usize = 13;

/// What quotes and comments mean, where databases differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    MySql,
    Sqlite,
}

impl Dialect {
    /// The dialect of a database, by sqlx's name of it.
    pub(crate) fn of(database: &str) -> Self {
        match database {
            "MySQL" => Self::MySql,
            "SQLite" => Self::Sqlite,
            _ => Self::Postgres,
        }
    }
}

/// What a statement does to what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Its operations and tables in the order of the text: `INSERT orders SELECT carts`. Empty if nothing was recognised.
    pub(crate) summary: String,
    /// The first word of the one statement, as it is written.
    pub(crate) operation: Option<String>,
    /// The table, if there is only one.
    pub(crate) collection: Option<String>,
}

impl Shape {
    pub(crate) fn known_summary(&self) -> Option<&str> {
        Some(&*self.summary).filter(|summary| !summary.is_empty())
    }

    /// Whether the statement is of a kind that is always answered with rows, be it none.
    pub(crate) fn is_question(&self) -> bool {
        let asks = |operation: &str| {
            ["select", "values", "show", "table"].iter().any(|known| known.eq_ignore_ascii_case(operation))
        };
        self.operation.as_deref().is_some_and(asks)
    }
}

/// The statement without values: each literal is a `?`, comments are gone, white space is single. `None` where that is not certain, and of a
/// text that has nothing in it.
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

/// Where in a statement we are, as far as it matters for what may be a value there.
struct Place<'a> {
    dialect: Dialect,
    /// The word that the statement begins with.
    first: Option<&'a str>,
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
            // SQLite takes a name that it does not know for a string, unless only a name can be meant.
            let [before, last] = self.last;
            let names = ["from", "join", "into", "update", "table", "exists", "as"];
            let is_compared = before.is_some_and(|before| before.is(&["distinct"]));
            let is_file = self.first.is_some_and(is_vacuum);
            let is_name = rest.starts_with('.')
                || last.is_some_and(|last| last == Token::Sign(".") || (last.is(&names) && !is_compared && !is_file));
            !is_name
        };
        let is_doubtful =
            matches!(token, Token::Quoted(name) if self.dialect == Dialect::Sqlite && name.starts_with('"'));
        self.setting == Setting::Value || (is_doubtful && is_string())
    }

    /// Goes on. `None`: what follows are values that cannot be told from words.
    fn pass(&mut self, token: Token<'a>) -> Option<()> {
        self.last = [self.last[1], Some(token)];
        match token {
            Token::Sign(";") => (self.first, self.setting) = (None, Setting::None),
            Token::Word(_) if self.first.is_none() && token.is(&["explain"]) => {}
            Token::Word(word) if self.first.is_none() => {
                self.first = Some(word);
                if token.is(&["attach"]) {
                    return None;
                }
                if token.is(&["set", "pragma"]) {
                    self.setting = Setting::Name;
                }
            }
            _ if self.setting == Setting::Name => {
                let is_pragma = self.first.is_some_and(|first| first.eq_ignore_ascii_case("pragma"));
                if token.is(&["to"]) || token == Token::Sign("=") || (is_pragma && token == Token::Sign("(")) {
                    self.setting = Setting::Value;
                }
            }
            _ if self.setting == Setting::None && token.is(&["set"]) => {
                let names = ["alter", "create"];
                if names.iter().any(|name| self.first.is_some_and(|first| first.eq_ignore_ascii_case(name))) {
                    self.setting = Setting::Name;
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// What the statement does, as far as its words tell.
pub(crate) fn shape(sql: &str, dialect: Dialect) -> Shape {
    let mut reader = Reader::default();
    for token in Tokens::new(sql, dialect) {
        match token {
            Some(Token::Space) => {}
            Some(token) => reader.read(token),
            None => return Shape::default(),
        }
    }
    reader.finish()
}

/// Collects operations and tables, token by token.
#[derive(Default)]
struct Reader<'a> {
    summary: String,
    operation: Option<String>,
    tables: Vec<String>,
    /// Names that `with` gave to parts of the statement.
    named: Vec<&'a str>,
    /// The statement, and in it the brackets that are open.
    levels: Vec<Level>,
    expect: Expect,
    /// A name that goes on after a dot.
    path: Option<String>,
    last: Option<Token<'a>>,
    statements: usize,
}

/// One statement, or what stands in brackets in one.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Any word was seen.
    begun: bool,
    with: bool,
    /// It is one whose FROM or USING is followed by tables (and not by the text of `trim(both from …)`).
    reads: bool,
    /// A list of tables is open: after a comma comes another.
    tables: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Expect {
    #[default]
    Nothing,
    /// A table that is read: a name with a bracket after it is a function.
    Table,
    /// A table that is written: a name with a bracket after it has its columns in there.
    Target,
    /// The kind of thing that is created, altered or dropped.
    Kind,
}

impl<'a> Reader<'a> {
    fn read(&mut self, token: Token<'a>) {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
            self.statements += 1;
        }
        match token {
            Token::Sign(".") if self.path.is_some() => self.path.as_mut().expect("BUG: just looked").push('.'),
            Token::Word(name) | Token::Quoted(name) if self.path.as_ref().is_some_and(|path| path.ends_with('.')) => {
                self.path.as_mut().expect("BUG: just looked").push_str(unquoted(name));
            }
            _ => {
                self.end_of_name(token);
                match token {
                    Token::Word(word) => self.word(word),
                    Token::Quoted(name) => self.name(name),
                    Token::Sign(sign) => self.sign(sign),
                    Token::Value | Token::Space => self.expect = Expect::Nothing,
                }
            }
        }
        self.last = Some(token);
    }

    fn word(&mut self, word: &'a str) {
        let mut upper = [0; LONGEST_KEYWORD];
        let upper = upper_case(word, &mut upper);
        let at_start = self.is_at_start();
        let level = self.levels.last_mut().expect("BUG: a statement is open");
        level.begun = true;
        let Level { reads, tables, .. } = *level;
        match upper {
            "WITH" if at_start => level.with = true,
            "EXPLAIN" if at_start => {
                level.begun = false;
                self.operation(word);
            }
            "ANALYZE" | "VERBOSE" if at_start && self.operation.is_some() => level.begun = false,
            "SELECT" | "DELETE" | "MERGE" if upper == "SELECT" || at_start => {
                (level.reads, level.tables) = (true, false);
                self.operation(word);
            }
            "INSERT" | "REPLACE" if at_start => self.operation(word),
            "UPDATE" if at_start => {
                // `update a, b set`, `update a set … from b`
                (level.reads, level.tables) = (true, true);
                self.operation(word);
                self.expect = Expect::Target;
            }
            "CREATE" | "ALTER" | "DROP" | "TRUNCATE" if at_start => {
                level.tables = matches!(upper, "DROP" | "TRUNCATE");
                self.operation(word);
                self.expect = Expect::Kind;
            }
            "TABLE" if at_start => {
                self.operation(word);
                self.expect = Expect::Table;
            }
            _ if self.expect == Expect::Kind => self.kind(word, upper),
            _ if at_start && (self.levels.len() == 1) && self.operation.is_none() && !self.in_with() => {
                self.operation(word);
            }
            // `vacuum into "file"`
            "INTO" if self.operation.as_deref().is_some_and(is_vacuum) => {}
            "INTO" => self.expect = Expect::Target,
            // `a is distinct from b`
            "FROM" if self.last.is_some_and(|last| last.is(&["distinct"])) => {}
            // `select straight_join a from` is no join.
            "STRAIGHT_JOIN" if tables => self.expect = Expect::Table,
            "FROM" | "JOIN" | "USING" if reads || upper == "JOIN" => {
                self.expect = Expect::Table;
                // Also after `a join b using (c)`.
                self.levels.last_mut().expect("BUG: a statement is open").tables = true;
            }
            "ONLY" | "LATERAL" | "TABLE" | "IF" | "NOT" | "EXISTS" if self.expect != Expect::Nothing => {}
            "LOW_PRIORITY" | "QUICK" | "IGNORE" | "OR" | "ROLLBACK" | "ABORT" | "FAIL"
                if self.expect == Expect::Target => {}
            "WHERE" | "GROUP" | "HAVING" | "ORDER" | "LIMIT" | "OFFSET" | "UNION" | "EXCEPT" | "INTERSECT"
            | "RETURNING" | "WINDOW" | "FOR" | "SET" | "ON" | "FETCH" | "DUPLICATE" | "OUTFILE" | "DUMPFILE" => {
                self.expect = Expect::Nothing;
                let level = self.levels.last_mut().expect("BUG: a statement is open");
                // The condition of a join may be followed by another table.
                level.tables &= upper == "ON";
            }
            _ => self.name(word),
        }
    }

    /// `create unique index concurrently if not exists …`: the kind is the noun.
    fn kind(&mut self, word: &'a str, upper: &str) {
        match upper {
            "TABLE" | "INDEX" | "VIEW" | "SEQUENCE" | "SCHEMA" | "TYPE" | "FUNCTION" | "TRIGGER" | "DATABASE"
            | "ROLE" | "EXTENSION" | "PROCEDURE" | "USER" => {
                if let Some(operation) = self.operation.as_mut().filter(|_| self.levels.len() == 1) {
                    operation.push(' ');
                    operation.push_str(word);
                }
                self.tell(word);
                // What else is created has no place among the tables.
                let is_table = matches!(upper, "TABLE" | "VIEW");
                self.expect = if is_table { Expect::Target } else { Expect::Nothing };
                self.levels.last_mut().expect("BUG: a statement is open").tables &= is_table;
            }
            "OR" | "REPLACE" | "TEMP" | "TEMPORARY" | "UNIQUE" | "UNLOGGED" | "MATERIALIZED" | "GLOBAL" | "LOCAL"
            | "VIRTUAL" | "RECURSIVE" | "FOREIGN" | "ONLY" => {}
            // `truncate tracks`
            _ if self.last.is_some_and(|last| last.is(&["truncate", "only"])) => {
                self.expect = Expect::Target;
                self.name(word);
            }
            // `drop policy p on t`
            _ => {
                self.expect = Expect::Nothing;
                self.levels.last_mut().expect("BUG: a statement is open").tables = false;
            }
        }
    }

    fn name(&mut self, name: &'a str) {
        let level = self.levels.last_mut().expect("BUG: a statement is open");
        level.begun = true;
        if self.expect == Expect::Nothing {
            // `with recent as (`, `, older (id) as (`
            if level.with && !level.reads {
                self.named.push(unquoted(name));
            }
            return;
        }
        self.path = Some(unquoted(name).to_owned());
    }

    /// A name is complete when something else follows than a dot.
    fn end_of_name(&mut self, next: Token<'a>) {
        let Some(name) = self.path.take() else { return };
        let is_call = self.expect == Expect::Table && next == Token::Sign("(");
        self.expect = Expect::Nothing;
        if is_call || self.named.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            return;
        }
        self.tell(&name);
        if !self.tables.contains(&name) {
            self.tables.push(name);
        }
    }

    fn sign(&mut self, sign: &str) {
        match sign {
            "(" => {
                // `from (a join b)` has tables in it, and `from (select` has not: the word after it tells.
                let columns = matches!(self.last, Some(Token::Word(word)) if word.eq_ignore_ascii_case("using"));
                let inherits = self.expect == Expect::Table && !columns;
                if !inherits {
                    self.expect = Expect::Nothing;
                }
                self.levels.push(Level { reads: inherits, ..Level::default() });
            }
            ")" => {
                if self.levels.len() > 1 {
                    self.levels.pop();
                }
                self.expect = Expect::Nothing;
            }
            "," if self.levels.last().is_some_and(|level| level.tables) => self.expect = Expect::Table,
            ";" => self.levels.clear(),
            _ => self.expect = Expect::Nothing,
        }
    }

    /// Whether a statement may begin here.
    fn is_at_start(&self) -> bool {
        let Some(level) = self.levels.last() else { return true };
        !level.begun || (level.with && !level.reads && self.last == Some(Token::Sign(")")))
    }

    fn in_with(&self) -> bool {
        self.levels.first().is_some_and(|level| level.with)
    }

    fn operation(&mut self, word: &str) {
        self.expect = Expect::Nothing;
        if self.levels.len() == 1 {
            // The statement's own, and not a part of it.
            self.levels[0].with = false;
            self.operation.get_or_insert_with(|| word.to_owned());
        }
        self.tell(word);
    }

    fn tell(&mut self, part: &str) {
        let space = if self.summary.is_empty() { "" } else { " " };
        if self.summary.len() + space.len() + part.len() <= LONGEST_SUMMARY {
            write!(self.summary, "{space}{part}").expect("BUG: a string takes everything");
        }
    }

    fn finish(mut self) -> Shape {
        self.end_of_name(Token::Space);
        let single = self.statements == 1;
        let collection = self.tables.pop().filter(|_| single && self.tables.is_empty());
        Shape { operation: self.operation.filter(|_| single), collection, summary: self.summary }
    }
}

/// The word in upper case, if it is short enough for a keyword; else nothing.
fn upper_case<'b>(word: &str, buffer: &'b mut [u8; LONGEST_KEYWORD]) -> &'b str {
    let Some(buffer) = buffer.get_mut(..word.len()) else { return "" };
    buffer.copy_from_slice(word.as_bytes());
    buffer.make_ascii_uppercase();
    std::str::from_utf8(buffer).unwrap_or_default()
}

/// What it goes into is a file.
fn is_vacuum(word: &str) -> bool {
    word.eq_ignore_ascii_case("vacuum")
}

fn unquoted(name: &str) -> &str {
    let quotes = ['"', '`', '[', ']'];
    name.strip_prefix(quotes).and_then(|name| name.strip_suffix(quotes)).unwrap_or(name)
}

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

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    /// A keyword, or a name without quotes.
    Word(&'a str),
    /// A name in quotes, with them.
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
    fn is(&self, words: &[&str]) -> bool {
        matches!(self, Token::Word(word) if words.iter().any(|known| known.eq_ignore_ascii_case(word)))
    }
}

/// Whether it goes on a name: to databases, all that is not ASCII is a letter.
fn in_a_name(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric() || !c.is_ascii()
}

/// What backslashes in a string mean.
#[derive(Clone, Copy, PartialEq)]
enum Backslash {
    Plain,
    Escape,
    /// A setting of the server decides. One in front of a quote makes it uncertain where the string ends.
    Either,
}

/// What is made of a text that not every server reads alike.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Nothing, lest a value is shown.
    Certain,
    /// What a server of today makes of it by default. What only some servers run is taken to be run.
    AsRun,
}

/// The parts of a text. `None` among them: from here on it is not certain what is a value.
#[derive(Clone)]
struct Tokens<'a> {
    rest: &'a str,
    dialect: Dialect,
    reading: Reading,
}

impl<'a> Tokens<'a> {
    fn new(sql: &'a str, dialect: Dialect) -> Self {
        Self { rest: sql, dialect, reading: Reading::Certain }
    }

    fn as_run(sql: &'a str, dialect: Dialect) -> Self {
        Self { rest: sql, dialect, reading: Reading::AsRun }
    }

    /// Whether it is read as MySQL or MariaDB would run it.
    fn is_run_by_mysql(&self) -> bool {
        (self.dialect, self.reading) == (Dialect::MySql, Reading::AsRun)
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

    /// The length of what stands in quotes of this kind at the start, with them: a doubled quote does not end it.
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

    /// What backslashes mean unless a prefix says so.
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
        Some(Token::Value)
    }

    fn word(&mut self) -> Option<Token<'a>> {
        let word = self.take_while(|c| c == '$' || in_a_name(c));
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
        // MySQL runs what is in some of them.
        let code = ["/*!", "/*M!"].into_iter().find(|code| self.rest.starts_with(code));
        if let Some(code) = code.filter(|_| self.dialect == Dialect::MySql) {
            if self.reading == Reading::Certain {
                return None;
            }
            // For servers from this version on, in five digits or six.
            let version = self.rest[code.len()..].bytes().take(6).take_while(u8::is_ascii_digit).count();
            self.take(code.len() + version);
            return Some(Token::Space);
        }
        let (mut depth, mut at) = (0, 0);
        loop {
            let rest = self.rest.get(at..)?;
            if rest.starts_with("/*") && (depth == 0 || self.dialect == Dialect::Postgres) {
                (depth, at) = (depth + 1, at + 2);
            } else if rest.starts_with("*/") {
                (depth, at) = (depth - 1, at + 2);
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
        // MySQL has these around the text of a function, and MariaDB in names.
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
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Option<Token<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut chars = self.rest.chars();
        let (first, second) = (chars.next()?, chars.next());
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
            // The end of a comment that was run.
            ('*', Some('/')) if self.is_run_by_mysql() => {
                self.take(2);
                Some(Token::Space)
            }
            // The server's own variable, whose name is a word. With one of them it is the session's.
            ('@', Some('@')) if self.is_run_by_mysql() => Some(Token::Sign(self.take(2))),
            ('\'', _) => self.string(self.backslash()),
            ('"', _) => self.double_quoted(),
            ('`', _) if self.dialect != Dialect::Postgres => {
                self.quoted('`', Backslash::Plain).map(|length| Token::Quoted(self.take(length)))
            }
            ('[', _) if self.dialect == Dialect::Sqlite => {
                self.rest.find(']').map(|end| Token::Quoted(self.take(end + 1)))
            }
            ('$', _) => self.dollar(),
            // A parameter with a name, or in SQLite with a number.
            ('?' | '@' | ':', Some(c)) if in_a_name(c) && (!c.is_ascii_digit() || self.dialect == Dialect::Sqlite) => {
                let length = self.rest[1..].find(|c: char| !in_a_name(c));
                Some(Token::Sign(self.take(length.map_or(self.rest.len(), |end| end + 1))))
            }
            ('.', Some('0'..='9')) | ('0'..='9', _) => Some(self.number()),
            (c, _) if in_a_name(c) => self.word(),
            (c, _) => Some(Token::Sign(self.take(c.len_utf8()))),
        };
        if token.is_none() {
            self.rest = "";
        }
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert!(shape(&format!("select 1 from {}t", "a, ".repeat(1000)), Postgres).summary.len() <= LONGEST_SUMMARY);
    }

    #[track_caller]
    fn check(sql: &str, summary: &str, operation: Option<&str>, collection: Option<&str>) {
        let shape = shape(sql, Postgres);
        let found = (&*shape.summary, shape.operation.as_deref(), shape.collection.as_deref());
        assert_eq!(found, (summary, operation, collection), "{sql}");
    }

    #[test]
    fn a_statement_on_one_table_is_known_by_its_operation_and_its_table() {
        check("select * from tracks where id = $1", "select tracks", Some("select"), Some("tracks"));
        check("SELECT t.a FROM music.\"Tracks\" t", "SELECT music.Tracks", Some("SELECT"), Some("music.Tracks"));
        check("insert into tracks (id) values ($1)", "insert tracks", Some("insert"), Some("tracks"));
        check("insert or ignore into tracks(id) values (1)", "insert tracks", Some("insert"), Some("tracks"));
        check("update only tracks set a = 1 from-- b\n where c", "update tracks", Some("update"), Some("tracks"));
        check("delete from tracks where id in ($1, $2)", "delete tracks", Some("delete"), Some("tracks"));
        check("select a, (select 1) from tracks for update", "select select tracks", Some("select"), Some("tracks"));
        check(
            "create table if not exists tracks (id int)",
            "create table tracks",
            Some("create table"),
            Some("tracks"),
        );
        check("truncate tracks", "truncate tracks", Some("truncate"), Some("tracks"));
        check("truncate only tracks cascade", "truncate tracks", Some("truncate"), Some("tracks"));
        check("truncate table \"Tracks\"", "truncate table Tracks", Some("truncate table"), Some("Tracks"));
        check("drop table if exists tracks cascade", "drop table tracks", Some("drop table"), Some("tracks"));
        check("alter table tracks add a int, add b int", "alter table tracks", Some("alter table"), Some("tracks"));
        check("update tracks set a = 1, b = 2 where c", "update tracks", Some("update"), Some("tracks"));
        check("create unique index i on tracks (id)", "create index", Some("create index"), None);
        check("explain analyze select 1 from tracks", "explain select tracks", Some("explain"), Some("tracks"));
    }

    #[test]
    fn a_statement_without_a_table_has_none() {
        check("select 1", "select", Some("select"), None);
        check("select extract(year from born), trim(both from a)", "select", Some("select"), None);
        check("select * from generate_series(1, 10) g", "select", Some("select"), None);
        check("begin", "begin", Some("begin"), None);
        check("show server_version", "show", Some("show"), None);
        check("select 1 where a is not distinct from b", "select", Some("select"), None);
        check("call p(1)", "call", Some("call"), None);
        check("values (1, 2)", "values", Some("values"), None);
        check("drop policy p on tracks", "drop", Some("drop"), None);
        check("drop index i, j", "drop index", Some("drop index"), None);
        check("select straight_join 1", "select", Some("select"), None);
        check("", "", None, None);
    }

    #[test]
    fn a_statement_on_several_tables_has_a_summary_only() {
        check("insert into orders select * from carts", "insert orders select carts", Some("insert"), None);
        check("select * from a, b x, lateral (select 1 from c) y", "select a b select c", Some("select"), None);
        check("select * from a join b on a.x = b.x left join c using (y)", "select a b c", Some("select"), None);
        check("select * from (a join b on true)", "select a b", Some("select"), None);
        check("select * from a join b on a.x = b.x, c", "select a b c", Some("select"), None);
        check("select * from a join b using (x), c where d in (e, f)", "select a b c", Some("select"), None);
        check("select * from a straight_join b", "select a b", Some("select"), None);
        check("truncate a, only b", "truncate a b", Some("truncate"), None);
        check("truncate table a, b restart identity", "truncate table a b", Some("truncate table"), None);
        check("drop view a, \"b\"", "drop view a b", Some("drop view"), None);
        check("delete from a using b, c where d", "delete a b c", Some("delete"), None);
        check("update a set x = 1, y = 2 from b where c", "update a b", Some("update"), None);
        check("update a, b set a.x = b.x, a.y = c", "update a b", Some("update"), None);
        check("update a join b on a.x = b.x set a.y = 1, b.z = 2", "update a b", Some("update"), None);
        let merge = "merge into a using b on a.x = b.x when matched then update set y = b.y, z = 1 \
                     when not matched then insert (x, y) values (b.x, b.y)";
        check(merge, "merge a b", Some("merge"), None);
        check("merge into a using (select * from b) c on true", "merge a select b", Some("merge"), None);
        check("select 1 from a; drop table b", "select a drop table b", None, None);
    }

    #[test]
    fn a_part_with_a_name_is_no_table() {
        let sql = "with recent as (select * from tracks), old (id) as (select 1 from recent) select * from recent, old";
        check(sql, "select tracks select select", Some("select"), Some("tracks"));
        let sql = "with gone as (delete from tracks returning *) insert into archive select * from gone";
        check(sql, "delete tracks insert archive select", Some("insert"), None);
        check("insert into a values (1) on conflict do update set b = 1", "insert a", Some("insert"), Some("a"));
        check(
            "insert into a select 1 from a on duplicate key update b = 1, c = 2",
            "insert a select a",
            Some("insert"),
            Some("a"),
        );
        check("load data infile 'f' into table a", "load a", Some("load"), Some("a"));
        check("select * from a into outfile 'f'", "select a", Some("select"), Some("a"));
        check("vacuum into \"file\"", "vacuum", Some("vacuum"), None);
    }

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
