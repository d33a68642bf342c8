//! What MySQL and MariaDB do beside what a statement says.

use super::{
    keyword::Keyword,
    token::{Dialect, Token, Tokens},
    words::{is_any, rolls_back_to_savepoint, words},
};

/// Why a statement is refused in a transaction that has an owner: it would end it. By keyword.
pub(super) fn refusal(sql: &str) -> Option<String> {
    use Keyword::*;
    const OUTSIDE: &str = "run it on a connection, before the transaction or after it";
    const OURS: &str = "use tx.commit(), tx.rollback() or tx.begin()";
    let mut words = words(sql, Dialect::MySql);
    let first = words.next()?;
    let mut three = words.clone().take(3);
    let second = words.next().unwrap_or_default();
    let mut has = |known: &[&str]| three.any(|word| is_any(word, known));
    let way_out = match Keyword::of(first) {
        Begin => (second.is_empty() || is_any(second, &["work"])).then_some(OURS),
        Commit => Some(OURS),
        Rollback => (!rolls_back_to_savepoint(sql, Dialect::MySql)).then_some(OURS),
        Start if is_any(second, &["transaction"]) => Some(OURS),
        Create | Drop if is_temporary(sql) => None,
        Drop if is_any(second, &["prepare"]) => None,
        Analyze | Check => has(&["table", "tables"]).then_some(OUTSIDE),
        Cache | Load => is_any(second, &["index"]).then_some(OUTSIDE),
        Change => is_any(second, &["master", "replication"]).then_some(OUTSIDE),
        Set => (is_any(second, &["password"]) || has(&["autocommit", "`autocommit`"])).then_some(OUTSIDE),
        Alter | Create | Drop | Flush | Grant | Install | Lock | Optimize | Rename | Repair | Reset | Revoke
        | Start | Stop | Truncate | Uninstall | Unlock => Some(OUTSIDE),
        _ => None,
    }?;
    let words = format!("{first} {second}");
    let words = words.trim_end().to_ascii_uppercase();
    Some(format!("refused in a transaction, which {words} would end, as MySQL and MariaDB have it: {way_out}"))
}

/// Whether what is created or dropped is temporary: `CREATE [OR REPLACE] TEMPORARY TABLE ..`.
fn is_temporary(sql: &str) -> bool {
    let mut kind = words(sql, Dialect::MySql).skip(1).skip_while(|word| is_any(word, &["or", "replace"]));
    kind.next().is_some_and(|word| is_any(word, &["temporary"]))
}

/// Whether a statement that reads or defines leaves something in the session: a lock by name, a variable, a temporary table. By keyword.
pub(super) fn leaves_session_state(keyword: Keyword, sql: &str) -> bool {
    (keyword == Keyword::Create && is_temporary(sql)) || (may_fill_or_lock(sql.as_bytes()) && fills_or_locks(sql))
}

/// Whether the bytes of a variable that is filled, or of a lock, are in a text. Most texts end here.
fn may_fill_or_lock(text: &[u8]) -> bool {
    text.iter().enumerate().any(|(at, byte)| match byte {
        b':' => text.get(at + 1) == Some(&b'='),
        b'_' => text.get(at + 1..at + 5).is_some_and(|word| word.eq_ignore_ascii_case(b"lock")),
        b'@' => {
            // After the `o` of `into`, or after a comment.
            let before = text[..at].trim_ascii_end();
            matches!(before.last(), Some(b'o' | b'O' | b'/')) || text[before.len()..at].contains(&b'\n')
        }
        _ => false,
    })
}

/// Whether a result goes into a variable, or a lock is taken by name. A text that servers may read differently counts.
fn fills_or_locks(sql: &str) -> bool {
    let mut last = Token::Space;
    Tokens::new(sql, Dialect::MySql).filter(|token| *token != Some(Token::Space)).any(|token| {
        let Some(token) = token else { return true };
        let found = match token {
            Token::Word(word) | Token::Quoted(word) => is_any(word, &["get_lock", "`get_lock`"]),
            Token::Sign("=") => last == Token::Sign(":"),
            Token::Sign(sign) => sign.starts_with('@') && sign != "@@" && last.is(&["into"]),
            _ => false,
        };
        last = token;
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Pooler,
        sql::{Facts, Protocol, Scope},
    };

    #[test]
    fn what_ends_a_transaction_past_its_owner_is_refused_in_it() {
        fn refusal(sql: &str, protocol: Protocol) -> Option<String> {
            Facts::of(sql, Dialect::MySql, protocol).refusal(sql, Pooler::Direct, Scope::Transaction)
        }
        fn check(sql: &str, expected: Option<&str>) {
            let refusal = refusal(sql, Protocol::Simple);
            assert_eq!(refusal.is_some(), expected.is_some(), "{sql}: {refusal:?}");
            assert!(refusal.unwrap_or_default().contains(expected.unwrap_or_default()), "{sql}");
        }
        check("create table t (n int)", Some("CREATE TABLE would end"));
        check("/* why */ Truncate t", Some("after it"));
        check("lock tables t write", Some("LOCK TABLES"));
        check("grant select on t to u", Some("GRANT"));
        check("analyze local table t", Some("ANALYZE"));
        check("analyze format=json select 1", None);
        check("set session autocommit = 1", Some("SET SESSION"));
        check("set @@autocommit=1", Some("SET"));
        check("set @@session.autocommit=1", Some("SET"));
        check("set `autocommit` = 1", Some("SET"));
        check("set @n = 1, @m = 'a', autocommit = 1", Some("SET"));
        check("set @n = 1", None);
        check("set @autocommit = 1", None);
        check("set @n = 'autocommit'", None);
        check("commit", Some("tx.commit()"));
        check("start transaction", Some("tx.begin()"));
        check("BEGIN", Some("tx.commit()"));
        check("begin not atomic select 1; end", None);
        check("rollback", Some("tx.rollback()"));
        check("rollback work to savepoint a", None);
        check("rollback /* all of it */ work to savepoint a", None);
        check("rollback /* to */", Some("tx.rollback()"));
        check("create temporary table t (n int)", None);
        check("create or replace temporary table t (n int)", None);
        check("create /* mine */ temporary table t (n int)", None);
        check("drop temporary table t", None);
        check("drop /*!40005 temporary */ table t", None);
        check("drop prepare p", None);
        check("check table t", Some("CHECK TABLE"));
        check("cache index t in c", Some("CACHE INDEX"));
        check("change master to master_port = 1", Some("CHANGE MASTER"));
        check("load data infile 'f' into table t", None);
        check("insert into t values (1)", None);
        check("insert into t values (1); drop table t", Some("DROP TABLE"));
        check(r#"insert into t values ('; drop table t', "\"; drop table t", 'it''s; drop table t')"#, None);
        check(r"insert into t values ('it\'s'); commit", Some("COMMIT"));
        check(r"insert into t values ('it\'s; commit')", None);
        check("insert into `a;commit` values (1)", None);
        check("insert into t values (1); -- then; drop nothing\n insert into t values (2)", None);
        check("insert into t values (1); # then; drop nothing\n insert into t values (2)", None);
        check("-- don't wait\ninsert into t values (1); commit", Some("COMMIT"));
        check("insert into t values (1) /* don't wait */; commit", Some("COMMIT"));
        check("select 5--1; commit", Some("COMMIT"));
        check("select 1 /* ; commit */", None);
        check("/*!50000 create table t (n int) */", Some("CREATE TABLE"));
        check("/*!80000 create*/ table t (n int)", Some("CREATE TABLE"));
        check("/*M! commit */", Some("COMMIT"));
        check("select 1; /*M!100100commit */", Some("COMMIT"));
        check("select /*!50000 2 */* 3; commit", Some("COMMIT"));
        check("select /*!50000 high_priority */ n from t", None);
        check("select 2*/* ; commit */3", None);
        check("select 2*/* ' */3; commit; select '", Some("COMMIT"));
        check("select n as a$$ from t; commit; select n as $$ from t", Some("COMMIT"));
        check("", None);
        check(";; ;", None);
        assert_eq!(
            refusal("insert into t values (1); drop table t", Protocol::Extended),
            None,
            "the server takes one statement"
        );
        let outside = Facts::of("commit", Dialect::MySql, Protocol::Simple);
        assert_eq!(outside.refusal("commit", Pooler::Direct, Scope::Session), None);
    }

    #[test]
    fn what_a_harmless_statement_leaves_in_the_session_is_known_by_its_words() {
        fn check(sql: &str, expected: bool) {
            assert_eq!(
                leaves_session_state(Facts::of(sql, Dialect::MySql, Protocol::Extended).keyword(), sql),
                expected,
                "{sql}"
            );
        }
        check("CREATE TEMPORARY TABLE t (n int)", true);
        check("select n from files where is_temporary = 0", false);
        check("select Get_Lock('a', 1)", true);
        check("select @n := n from t", true);
        for into in ["INTO @n", "into  @n", "into\n@n", "into\t@n", "into@n", "into/**/@n", "into -- why\n @'n'"] {
            check(&format!("select n {into} from t"), true);
        }
        check("select 'ä' as é into @n", true);
        check("insert into users values ('a@b.example')", false);
        check("insert into t select @@max_statement_time", false);
        check("select n from pinto @", false);
        check("select @@max_statement_time, 'a@b.example' from t where n = ?", false);
        check("insert into t values ('into', '@n', 'get_lock', ':=')", false);
        check("insert into t values ('hello @n', 'select 1 into @n') -- get_lock(\n", false);
        check("select n from t where has_lock = 1", false);
        check("select `get_lock`('a', 1)", true);
        check("create table t as select 1 as n, 'temporary' as kind", false);
        check("create or replace temporary table t (n int)", true);
        check("/* /* mine */ create temporary table t (n int)", true);
        check(r"insert into t values ('it\'s', 'a@b.example')", false);
        // With NO_BACKSLASH_ESCAPES the second string ends before the lock.
        check(r"select '\', get_lock('a', 1), 'b'", true);
        check("select /*!50000 get_lock('a', 1) */", true);
    }
}
