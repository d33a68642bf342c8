//! What is known of a statement from its text.

use super::{
    Scope,
    keyword::Keyword,
    mysql, pooled,
    token::{Dialect, Token, Tokens, is_space},
    words::{is_any, rolls_back_to_savepoint, statements, words},
};
use crate::Pooler;

/// How a text is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// With arguments. PostgreSQL and MySQL take one statement then; SQLite runs all that the text has.
    Extended,
    /// The text alone: it may have several statements.
    Simple,
}

/// What is known of a statement from its text. Worked out once, when the statement comes in.
///
/// By keyword: what functions and procedures do inside is not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    dialect: Dialect,
    /// The first one of the text.
    keyword: Keyword,
    statements: Statements,
    pub(crate) effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statements {
    One,
    /// More than one, or it is not certain where the first one ends.
    Several,
}

/// What a statement leaves in the session. Of several statements the greatest counts: it asks for the most to be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// No transaction and no setting, whatever comes of the statement.
    None,
    /// In a transaction, nothing that outlives it: `SET LOCAL`, `SAVEPOINT`, `NOTIFY`, `LOCK TABLE`.
    Local,
    /// Anything: it may begin or end a transaction, or no rule knows it.
    Unknown,
    /// A setting of the session.
    Setting,
    /// Notifications will come in, between the statements of the next user.
    Listens,
    /// The server forgets the statements that sqlx has prepared.
    ForgetsStatements,
}

impl Facts {
    pub(crate) fn of(sql: &str, dialect: Dialect, protocol: Protocol) -> Self {
        let is_alone = protocol == Protocol::Extended && dialect != Dialect::Sqlite;
        match is_alone || !separates(sql) {
            true => Self::of_one(sql, dialect),
            false => Self::of_several(sql, dialect),
        }
    }

    /// Whether the answer may have rows, whose types sqlx looks up.
    pub(crate) fn may_answer(self) -> bool {
        use Keyword::*;
        matches!(self.keyword, Select | Insert | Update | Delete | With | Merge | Values | Table | Fetch | Call)
    }

    /// Why the statement is refused, and what to do instead: it cannot work through the pooler, or would end a transaction past its owner.
    pub(crate) fn refusal(self, sql: &str, pooler: Pooler, scope: Scope) -> Option<String> {
        let refusal = |sql| match self.dialect {
            Dialect::Postgres => pooled::refusal(pooler, sql, scope),
            Dialect::MySql if scope == Scope::Transaction => mysql::refusal(sql),
            _ => None,
        };
        match self.statements {
            // None of them ends a transaction.
            Statements::One if self.dialect == Dialect::MySql && self.may_answer() => None,
            Statements::One => refusal(sql),
            Statements::Several => statements(sql, self.dialect).find_map(refusal),
        }
    }

    fn of_one(sql: &str, dialect: Dialect) -> Self {
        let keyword = first_keyword(sql, dialect);
        Self { dialect, keyword, statements: Statements::One, effect: Effect::of(keyword, sql, dialect) }
    }

    fn of_several(sql: &str, dialect: Dialect) -> Self {
        let is_empty = |part: &&str| Tokens::as_run(part, dialect).all(|token| token == Some(Token::Space));
        let mut parts = statements(sql, dialect).filter(|part| !is_empty(part)).map(|part| Self::of_one(part, dialect));
        let Some(first) = parts.next() else { return Self::of_one("", dialect) };
        match parts.map(|part| part.effect).max() {
            // A semicolon in a string, or before a comment.
            None if Tokens::new(sql, dialect).all(|token| token.is_some()) => first,
            others => {
                let effect = first.effect.max(others.unwrap_or(Effect::Unknown)).max(Effect::Unknown);
                Self { statements: Statements::Several, effect, ..first }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn keyword(self) -> Keyword {
        self.keyword
    }
}

impl Effect {
    fn of(keyword: Keyword, sql: &str, dialect: Dialect) -> Self {
        use Keyword::*;
        match (keyword, dialect) {
            (
                Select | Insert | Update | Delete | With | Merge | Replace | Values | Table | Explain | Show | Create
                | Alter | Drop | Truncate | Comment | Analyze | Refresh,
                _,
            ) => match dialect {
                Dialect::MySql if mysql::leaves_session_state(keyword, sql) => Self::Unknown,
                _ => Self::None,
            },
            (Set, Dialect::Postgres) => {
                let scope = words(sql, dialect).nth(1).unwrap_or_default();
                if is_any(scope, &["local", "transaction", "constraints"]) { Self::Local } else { Self::Setting }
            }
            (Set | Reset | Pragma, _) => Self::Setting,
            (Rollback, _) if rolls_back_to_savepoint(sql, dialect) => Self::Local,
            (Savepoint | Release, _) | (Notify | Lock, Dialect::Postgres) => Self::Local,
            (Listen, Dialect::Postgres) => Self::Listens,
            (Discard | Deallocate, Dialect::Postgres) => Self::ForgetsStatements,
            _ => Self::Unknown,
        }
    }
}

/// Whether something follows a semicolon.
fn separates(sql: &str) -> bool {
    sql.find(';').is_some_and(|at| sql[at..].contains(|c| c != ';' && !is_space(c)))
}

/// The first word of a text, brackets aside. `Other` where it depends on the version of the server.
fn first_keyword(sql: &str, dialect: Dialect) -> Keyword {
    let text = sql.trim_start_matches(|c| matches!(c, '(' | ';') || is_space(c));
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Keyword::of(text);
    }
    // A comment comes first, or no statement does.
    let mut tokens = Tokens::new(text, dialect);
    match tokens.find(|token| !matches!(token, Some(Token::Space | Token::Sign("(" | ";")))) {
        Some(Some(Token::Word(word))) => Keyword::of(word),
        _ => Keyword::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{MySql, Postgres, Sqlite};

    const ALL: [Dialect; 3] = [Postgres, MySql, Sqlite];

    #[test]
    fn a_statement_is_tidy_by_its_first_word_and_by_being_alone() {
        #[track_caller]
        fn check_in(dialects: &[Dialect], sql: &str, simple: bool, extended: bool) {
            for dialect in dialects {
                let is_tidy = |protocol| Facts::of(sql, *dialect, protocol).effect == Effect::None;
                // SQLite runs all that the text has, with arguments, too.
                let extended = if *dialect == Sqlite { simple } else { extended };
                let found = (is_tidy(Protocol::Simple), is_tidy(Protocol::Extended));
                assert_eq!(found, (simple, extended), "{dialect:?} {sql}");
            }
        }
        #[track_caller]
        fn check(sql: &str, simple: bool, extended: bool) {
            check_in(&ALL, sql, simple, extended);
        }
        check("select 1", true, true);
        check("  SELECT 1 ; ", true, true);
        check("-- why\nselect 1", true, true);
        check("/* tag */ select 1", true, true);
        check_in(&[MySql], "# tag\nselect 1", true, true);
        check("(select 1) union (select 2)", true, true);
        check("insert into t values (';')", true, true);
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
        // Semicolons that separate nothing.
        check("select 1; -- done; begin", true, true);
        check("; ;select 1;;", true, true);
        check("select ';' /* ; */ as \";\" -- ;", true, true);
        check("select 1; select 2", false, true);
        check("; begin", false, false);
        // Comments that nest in PostgreSQL, and end at the first end elsewhere.
        check_in(&[Postgres], "/* /* a */ select */ begin", false, false);
        check_in(&[MySql, Sqlite], "/* /* a */ select 1", true, true);
        check_in(&[Postgres], "( /* a */ ( /* b */ select 1))", true, true);
        // A word ends where the name does.
        check("select1", false, false);
        check("select_1 2", false, false);
        check_in(&[Postgres, Sqlite], "# tag\nselect 1", false, false);
        // MySQL runs what is in there, or does not, by its version.
        check_in(&[MySql], "/*! begin */ select 1", false, false);
        check_in(&[MySql], "/*!99999 insert */ begin", false, false);
        // By a setting of the server, the string ends at the first quote or at the last.
        check_in(&[Postgres, MySql], r"select '\'; begin; --'", false, true);
        check_in(&[Sqlite], r"select '\', ';begin;--'", true, true);
        check_in(&[Postgres], r"select E'\';', $$;$$, $a$ ;$$; $a$", true, true);
        check_in(&[MySql], "select \";\", `;` # ;", true, true);
        check_in(&[Sqlite], "select [;], `;`", true, true);
        check_in(&[Sqlite], "select 1 /* ; open", true, true);
    }

    #[test]
    fn the_statements_of_a_text_have_their_effects_together() {
        #[track_caller]
        fn check(dialect: Dialect, sql: &str, expected: Effect) {
            assert_eq!(Facts::of(sql, dialect, Protocol::Simple).effect, expected, "{sql}");
        }
        check(Postgres, "/* app */ LISTEN tracks", Effect::Listens);
        check(Postgres, "select 1; -- x\n discard all;", Effect::ForgetsStatements);
        check(Postgres, "deallocate a; listen b; select 1", Effect::ForgetsStatements);
        check(Postgres, "select 1; listen tracks", Effect::Listens);
        check(Postgres, "/* /* */ select 1; */ listen a", Effect::Listens);
        check(Postgres, "insert into log values ('a; deallocate x')", Effect::None);
        check(Postgres, "insert into log values ('a'); -- b; listen x", Effect::None);
        check(Postgres, "insert into log values ($$a; discard all$$); select 2", Effect::Unknown);
        check(Postgres, "select 1 as \"a; listen b\"", Effect::None);
        check(Postgres, r"select a from t where b ?E'\'; listen c'", Effect::None);
        check(
            Postgres,
            r"select E'a\'; listen b', E'c' -- d
            '\'; listen e'",
            Effect::None,
        );
        check(Postgres, "set search_path = a", Effect::Setting);
        check(Postgres, "begin; set a.b = 1; commit", Effect::Setting);
        check(Postgres, "set session characteristics as transaction read only", Effect::Setting);
        for local in ["set /* here */ local a.b = 1", "SET transaction read only", "set constraints all deferred"] {
            check(Postgres, local, Effect::Local);
        }
        for local in ["savepoint a", "release a", "rollback work to savepoint a", "notify a", "lock table t"] {
            check(Postgres, local, Effect::Local);
        }
        check(Postgres, "set local a.b = 1; savepoint a", Effect::Unknown);
        check(Postgres, "rollback", Effect::Unknown);
        check(MySql, "lock tables t write", Effect::Unknown);
        check(MySql, "set local sort_buffer_size = 1", Effect::Setting);
        check(MySql, "deallocate prepare p", Effect::Unknown);
        check(Sqlite, "pragma foreign_keys = off", Effect::Setting);
    }

    #[test]
    fn a_statement_may_answer_rows_by_its_first_word() {
        for sql in ["/* /* */ a */ (select 1)", "insert into t values (1)", "fetch 1 from c", "Call p()"] {
            assert!(Facts::of(sql, Postgres, Protocol::Extended).may_answer(), "{sql}");
        }
        for sql in ["create table t ()", "refresh materialized view v", "selection", "/* /* */ select */ begin", ""] {
            assert!(!Facts::of(sql, Postgres, Protocol::Extended).may_answer(), "{sql}");
        }
    }
}
