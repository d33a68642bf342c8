//! The operations and tables of a statement, for telemetry.

use super::{
    keyword::Keyword,
    token::{Dialect, Token, Tokens},
};
use std::fmt::Write;

/// Longest summary, by OpenTelemetry's conventions.
const LONGEST_SUMMARY: usize = 255;

/// No keyword that matters here is longer.
const LONGEST_KEYWORD: usize = 13;

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

    /// Whether the statement always returns rows, even if there are none.
    pub(crate) fn is_question(&self) -> bool {
        use Keyword::*;
        let keyword = self.operation.as_deref().map(Keyword::of);
        matches!(keyword, Some(Select | Values | Show | Table))
    }
}

/// The shape of a statement, from its words. Empty if it is not certain what is a value.
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
        match (token, &mut self.path) {
            (Token::Sign("."), Some(path)) => path.push('.'),
            (Token::Word(name) | Token::Quoted(name), Some(path)) if path.ends_with('.') => {
                path.push_str(unquoted(name));
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
            "INTO" if self.operation.as_deref().map(Keyword::of) == Some(Keyword::Vacuum) => {}
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

fn unquoted(name: &str) -> &str {
    let quotes = ['"', '`', '[', ']'];
    name.strip_prefix(quotes).and_then(|name| name.strip_suffix(quotes)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::Postgres;

    #[test]
    fn a_long_summary_is_cut() {
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
}
