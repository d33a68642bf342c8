//! What cannot work through a transaction pooler before PostgreSQL.
//!
//! Each transaction may run on another server connection, so what a session holds is lost, or stays with another client. A statement
//! that is prepared in one round trip and run in the next may meet another client's statement: wrong rows, and no error.

use super::{
    Scope,
    keyword::Keyword,
    token::Dialect,
    words::{contains, is_any, words},
};
use crate::Pooler;

/// Why a statement cannot be sent through the pooler, and what to do instead. By keyword: what functions do is not seen.
pub(super) fn refusal(pooler: Pooler, sql: &str, scope: Scope) -> Option<String> {
    let mode = match pooler {
        Pooler::Direct => return None,
        Pooler::Prepared => "prepared",
        Pooler::Unprepared => "unprepared",
    };
    let advice = advice(pooler, sql, scope)?;
    Some(format!("refused, for it cannot work with pooler = \"{mode}\": {advice}"))
}

fn advice(pooler: Pooler, sql: &str, scope: Scope) -> Option<&'static str> {
    use Keyword::*;
    let mut words = words_that_run(sql);
    let keyword = Keyword::of(words.next().unwrap_or_default());
    let mut has_next = |known: &[&str]| words.next().is_some_and(|word| is_any(word, known));
    let wraps = pooler == Pooler::Unprepared;
    match keyword {
        Listen | Unlisten => Some("LISTEN needs a session of its own; use pool.listen() with listen_url"),
        Set if has_next(&["local", "transaction", "constraints"]) => None,
        Set | Reset | Load => Some(
            "a setting of the session would stay with a stranger; use SET LOCAL in a transaction, or ALTER ROLE .. SET",
        ),
        Prepare if has_next(&["transaction"]) => None,
        Prepare | Execute | Deallocate | Discard => {
            Some("prepared statements by name belong to the session; leave them to sqlx")
        }
        Create | Select | With | Values | Table if leaves_temporary(sql, scope) => Some(
            "what is temporary belongs to the session and would stay for strangers, in the place of their own tables; use CREATE TEMP TABLE .. \
             ON COMMIT DROP in a transaction",
        ),
        Declare if in_lower_case(sql, |words| has_in_order(words, &["with", "hold"])) => Some(
            "a cursor WITH HOLD would stay with a stranger; read it in the transaction, or stream the rows of the query",
        ),
        Vacuum | Create | Drop | Alter | Reindex
            if wraps && scope == Scope::Session && is_no_part_of_a_transaction(sql) =>
        {
            Some(
                "it cannot run in a transaction, and every statement runs in one of ours; run it in a migration that begins with \
                 `-- no-transaction` (pool.migrate, past the pooler by listen_url), or over a connection to the server itself",
            )
        }
        Rollback if scope == Scope::Transaction && (has_next(&["to"]) || has_next(&["to"])) => None,
        Begin | Start | Commit | End | Rollback | Abort if wraps => Some(match scope {
            Scope::Transaction => {
                "the statements after it would be spread over several server connections; use tx.commit() or tx.rollback()"
            }
            Scope::Session => "every statement runs in a transaction of ours; use pool.begin()",
        }),
        _ if holds_a_lock(sql) => Some(
            "an advisory lock of the session would stay with a stranger; use pg_advisory_xact_lock in a transaction",
        ),
        _ => None,
    }
}

fn holds_a_lock(sql: &str) -> bool {
    const LOCK: &str = "advisory_lock";
    let mut words = words(sql, Dialect::Postgres);
    // What `DO` runs stands in quotes.
    contains(sql, LOCK)
        && (words.clone().next().is_some_and(|first| is_any(first, &["do"])) || words.any(|word| contains(word, LOCK)))
}

/// Whether something temporary is left when the transaction ends.
fn leaves_temporary(sql: &str, scope: Scope) -> bool {
    const TEMPORARY: [&str; 2] = ["temp", "temporary"];
    const SCHEMA: [&str; 2] = ["pg_temp", "\"pg_temp\""];
    contains(sql, "temp")
        && in_lower_case(sql, |words| match words {
            // `CREATE OR REPLACE LOCAL TEMP ..`, `CREATE TABLE IF NOT EXISTS pg_temp.t ..`, and not `CREATE TABLE t AS SELECT .. FROM pg_temp.t`
            ["create", rest @ ..] => {
                let is_table = rest.iter().take(3).any(|word| *word == "table");
                let ends = is_table && scope == Scope::Transaction && has_in_order(words, &["on", "commit", "drop"]);
                !ends
                    && (begins_with(rest, &["or", "replace", "local", "global"], &TEMPORARY)
                        || begins_with(rest, &BEFORE_A_NAME, &SCHEMA))
            }
            // `SELECT .. INTO TEMP t`, and not `WITH .. AS (INSERT INTO temp ..)`
            _ => words.windows(2).enumerate().any(|(at, two)| {
                let rest = &words[at + 2..];
                two[1] == "into"
                    && !["insert", "merge"].contains(&two[0])
                    && (begins_with(rest, &["local", "global"], &TEMPORARY) || begins_with(rest, &["table"], &SCHEMA))
            }),
        })
}

/// What may stand between `CREATE` and a name that has a schema.
const BEFORE_A_NAME: [&str; 29] = [
    "or",
    "replace",
    "unlogged",
    "foreign",
    "recursive",
    "materialized",
    "table",
    "view",
    "sequence",
    "function",
    "procedure",
    "aggregate",
    "type",
    "domain",
    "operator",
    "class",
    "family",
    "statistics",
    "collation",
    "default",
    "conversion",
    "text",
    "search",
    "configuration",
    "dictionary",
    "parser",
    "if",
    "not",
    "exists",
];

/// Whether one of these comes first, fillers aside.
fn begins_with(words: &[&str], fillers: &[&str], expected: &[&str]) -> bool {
    words.iter().find(|word| !fillers.contains(word)).is_some_and(|word| expected.contains(word))
}

/// Whether the server refuses it in a transaction.
fn is_no_part_of_a_transaction(sql: &str) -> bool {
    in_lower_case(sql, |words| match words {
        ["vacuum", ..] | ["create" | "drop", "database" | "tablespace", ..] | ["alter", "system", ..] => true,
        ["create" | "drop", "index", "concurrently", ..] | ["create", "unique", "index", "concurrently", ..] => true,
        // `REINDEX (VERBOSE) TABLE CONCURRENTLY t`
        ["reindex", rest @ ..] => {
            let is_kind = |word: &&str| ["index", "table", "schema", "database", "system"].contains(word);
            let kind = rest.iter().position(is_kind).unwrap_or_default();
            rest.get(kind).is_some_and(|kind| ["schema", "database", "system"].contains(kind))
                || rest.iter().take(kind + 2).any(|word| *word == "concurrently")
        }
        ["alter", "table", rest @ ..] => rest.contains(&"detach") && rest.last() == Some(&"concurrently"),
        _ => false,
    })
}

/// Whether these words stand one after another.
fn has_in_order(words: &[&str], expected: &[&str]) -> bool {
    words.windows(expected.len()).any(|words| words == expected)
}

/// Asks something of the words that run, in lower case. A name in quotes is as it is.
fn in_lower_case<T>(sql: &str, ask: impl FnOnce(&[&str]) -> T) -> T {
    let lower = |word: &str| if word.starts_with('"') { word.to_owned() } else { word.to_ascii_lowercase() };
    let words: Vec<String> = words_that_run(sql).map(lower).collect();
    ask(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The words of a statement, or of the one that `EXPLAIN ANALYZE` runs.
fn words_that_run(sql: &str) -> impl Iterator<Item = &str> {
    // None of them is an option of `EXPLAIN`.
    const EXPLAINED: [&str; 12] = [
        "select", "with", "values", "table", "insert", "update", "delete", "merge", "create", "declare", "execute",
        "refresh",
    ];
    let mut options = words(sql, Dialect::Postgres).take_while(|word| !is_any(word, &EXPLAINED));
    let runs = options.next().is_some_and(|first| is_any(first, &["explain"]))
        && options.any(|word| is_any(word, &["analyze", "analyse"]));
    words(sql, Dialect::Postgres).skip_while(move |word| runs && !is_any(word, &EXPLAINED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Facts, Protocol};

    fn refusal(pooler: Pooler, sql: &str, alone: bool, in_transaction: bool) -> Option<String> {
        let protocol = if alone { Protocol::Extended } else { Protocol::Simple };
        let scope = if in_transaction { Scope::Transaction } else { Scope::Session };
        Facts::of(sql, Dialect::Postgres, protocol).refusal(sql, pooler, scope)
    }

    #[test]
    fn what_needs_a_session_is_refused_behind_a_pooler_only() {
        fn check(sql: &str, alone: bool, expected: Option<&str>) {
            for pooler in [Pooler::Prepared, Pooler::Unprepared] {
                let refused = refusal(pooler, sql, alone, false);
                assert_eq!(refused.is_some(), expected.is_some(), "{sql}: {refused:?}");
                assert!(refused.unwrap_or_default().contains(expected.unwrap_or_default()), "{sql}");
            }
            assert_eq!(refusal(Pooler::Direct, sql, alone, false), None);
        }
        check("LISTEN tracks", false, Some("listen_url"));
        check("set search_path = a", false, Some("SET LOCAL"));
        check("select 1; set search_path = a", false, Some("SET LOCAL"));
        check("select '; set search_path = a'", true, None);
        check("select '; set search_path = a', '\\'; reset all", false, Some("ALTER ROLE"));
        check("select '; set search_path = a'", false, None);
        check("select 1; -- don't; reset all\n select 2", false, None);
        check("select 1; -- don't\n reset all", false, Some("ALTER ROLE"));
        check("set /* here */ local search_path = a", false, None);
        check("SET LOCAL search_path = a", false, None);
        check("set transaction read only", false, None);
        check("reset all", false, Some("ALTER ROLE"));
        check("select pg_try_advisory_lock(1)", true, Some("pg_advisory_xact_lock"));
        check("select pg_advisory_xact_lock(1)", true, None);
        check("select 'pg_advisory_lock' as name", true, None);
        check("select 1 -- no pg_advisory_lock", true, None);
        check("explain (analyze) select \"pg_advisory_lock\"(1)", true, Some("pg_advisory_xact_lock"));
        check("do $$ begin perform pg_advisory_lock(1); end $$", false, Some("pg_advisory_xact_lock"));
        check("do $$ begin perform 1; end $$", false, None);
        check("create temp table t () on commit drop", false, Some("ON COMMIT DROP"));
        check("create table t ()", false, None);
        check("deallocate all", false, Some("sqlx"));
        check("select * from settings", true, None);
        assert_eq!(refusal(Pooler::Prepared, "begin", false, false), None);
        assert!(refusal(Pooler::Unprepared, "begin", false, false).is_some());
        for end in ["commit", "END", "rollback", "abort", "commit and chain", "begin"] {
            assert!(
                refusal(Pooler::Unprepared, end, false, true).is_some_and(|why| why.contains("tx.commit()")),
                "{end}"
            );
        }
        for partial in ["rollback to a", "ROLLBACK WORK TO SAVEPOINT a", "savepoint a", "release a"] {
            assert_eq!(refusal(Pooler::Unprepared, partial, false, true), None, "{partial}");
        }
    }

    #[test]
    fn what_is_temporary_has_to_end_with_its_transaction() {
        fn check(sql: &str, expected: bool) {
            for pooler in [Pooler::Prepared, Pooler::Unprepared] {
                let refused = refusal(pooler, sql, true, true).is_some();
                assert_eq!(refused, expected, "{sql}");
                assert!(refusal(pooler, sql, true, false).is_some() || !expected, "{sql}");
            }
            assert_eq!(refusal(Pooler::Direct, sql, true, true), None);
        }
        check("create temp table t () on commit drop", false);
        check("CREATE LOCAL TEMPORARY TABLE IF NOT EXISTS t (n int)\n  ON  COMMIT /* at once */ DROP", false);
        check("create table pg_temp.t (n int) on commit drop", false);
        check("create temp table t (n text default 'on commit drop')", true);
        check("create temp table t () on commit delete rows", true);
        check("create local temporary table t ()", true);
        check("create table if not exists pg_temp.t ()", true);
        check("create or replace temp view t as select 1", true);
        check("create temp sequence s", true);
        check("create function pg_temp.f() returns int language sql as 'select 1'", true);
        check("select 1 as n into temp t", true);
        check("select 1 as n into local temporary table t", true);
        check("select 1 as n into pg_temp.t", true);
        check("select 1 as n into table pg_temp.t", true);
        check("select 1 as n into \"pg_temp\".t", true);
        check("create table \"pg_temp\".t (n int)", true);
        check("create table \"pg_temp\".t (n int) on commit drop", false);
        check("create materialized view if not exists PG_TEMP.t as select 1", true);
        check("explain analyze create temp table t as select 1", true);
        check("explain analyze create temp table t on commit drop as select 1", false);
        check("EXPLAIN (ANALYZE, buffers off) select 1 as n into temp t", true);
        check("explain analyze verbose with x as (select 1 as n) select n into temp t from x", true);
        check("explain create temp table t as select 1", false);
        check("explain analyze select temp from t", false);
        check("with x as (select 1 as n) select n into temp t from x", true);
        check("declare c cursor with hold for select 1", true);
        check("declare c cursor for select 1", false);
        check("create table temperatures (n int)", false);
        check("create table t (temp int, is_temporary bool, a int, b int, temporary int)", false);
        check("select temp, 'into temp t' from temperatures", false);
        check("create index on pg_temp.t (n)", false);
        check("create table x as select * from pg_temp.t", false);
        check("create trigger a before insert on pg_temp.t for each row execute function f()", false);
        check("create table temp (n int)", false);
        check("create table \"PG_TEMP\".t (n int)", false);
        check("select 1 as n into table temp", false);
        check("select 1 as n into \"temp\"", false);
        check("select 1 as \"into\", temp from t", false);
        check("insert into temp values (1)", false);
        check("with x as (insert into temp values (1) returning n) select n from x", false);
    }

    #[test]
    fn what_cannot_run_in_a_transaction_is_refused_where_every_statement_runs_in_one_of_ours() {
        fn check(sql: &str, expected: bool) {
            let refused = refusal(Pooler::Unprepared, sql, true, false);
            assert_eq!(refused.is_some_and(|why| why.contains("-- no-transaction")), expected, "{sql}");
            assert_eq!(refusal(Pooler::Prepared, sql, true, false), None, "{sql}");
        }
        check("vacuum (analyze) t", true);
        check("create database app", true);
        check("drop database if exists app", true);
        check("create index concurrently on t (n)", true);
        check("CREATE UNIQUE INDEX CONCURRENTLY i ON t (n)", true);
        check("drop index concurrently i", true);
        check("reindex (verbose) table concurrently t", true);
        check("reindex (concurrently, verbose) table t", true);
        check("reindex index concurrently system", true);
        check("reindex database app", true);
        check("reindex schema public", true);
        check("REINDEX SYSTEM app", true);
        check("reindex table system", false);
        check("reindex table public.system", false);
        check("reindex table public.concurrently", false);
        check("create index \"concurrently\" on t (n)", false);
        check("alter system set work_mem = '1MB'", true);
        check("alter table t detach partition p concurrently", true);
        check("create index on t (n)", false);
        check("reindex table t", false);
        check("alter table t add column concurrently int", false);
        check("refresh materialized view concurrently v", false);
        check("analyze t", false);
        check("call p()", false);
    }
}
