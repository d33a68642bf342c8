//! Statements of MySQL: the server keeps the limits of some, or of all.

use super::{Flavour, State};
use crate::{
    DatabaseSettings,
    backend::{Answer, Keeper, Prepared, Statements, query::executor_of_sqlx},
    sql::{self, Dialect, statements},
};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Executor, MySql, MySqlConnection, mysql::MySqlRow};
use std::time::Duration;

impl Statements for MySql {
    fn keeper(_: &DatabaseSettings, session: &State) -> Keeper {
        match session.flavour {
            Flavour::MySql => Keeper::Both,
            Flavour::MariaDb => Keeper::Server,
        }
    }

    async fn limit(
        conn: &mut MySqlConnection,
        session: &State,
        statement_timeout: Duration,
    ) -> Result<(), sqlx::Error> {
        let set = format!("SET SESSION {}", session.flavour.limit(statement_timeout));
        conn.execute(AssertSqlSafe(set)).await.map(drop)
    }

    const SINGLE: bool = true;

    fn refusal(sql: &str, alone: bool) -> Option<String> {
        let (words, way_out) = match alone {
            true => sql::mysql::ends_transactions(sql),
            false => statements(sql, Dialect::MySql).find_map(sql::mysql::ends_transactions),
        }?;
        Some(format!("refused in a transaction, which {words} would end, as MySQL and MariaDB have it: {way_out}"))
    }

    fn lingers(sql: &str) -> bool {
        let has =
            |what: &str| sql.as_bytes().windows(what.len()).any(|text| text.eq_ignore_ascii_case(what.as_bytes()));
        // A lock by name, a variable of the session, a temporary table.
        ["get_lock", ":="].into_iter().any(has)
            || sql::mysql::fills_variable(sql)
            || (sql::first_words(sql).any(|word| word.eq_ignore_ascii_case("create")) && has("temporary"))
    }

    fn fetch_optional<'e>(conn: &'e mut MySqlConnection, query: Prepared<MySql>) -> Answer<'e, Option<MySqlRow>> {
        // sqlx goes home with the first row, whatever the server still does: the next user would wait for its end. The end of an
        // answer of one row comes with it.
        let mut answer = conn.fetch_many(query);
        Box::pin(async move {
            let mut first = None;
            while let Some(item) = answer.try_next().await? {
                first = first.or(item.right());
            }
            Ok(first)
        })
    }

    executor_of_sqlx!(without fetch_optional);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_transaction_past_its_owner_is_refused_in_it() {
        fn check(sql: &str, expected: Option<&str>) {
            let refusal = MySql::refusal(sql, false);
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
        check("start transaction", Some("begin_nested"));
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
        check("select n as a$$ from t; commit; select n as $$ from t", Some("COMMIT"));
        check("", None);
        check(";; ;", None);
        assert_eq!(
            MySql::refusal("insert into t values (1); drop table t", true),
            None,
            "the server takes one statement"
        );
    }

    #[test]
    fn what_a_harmless_statement_leaves_in_the_session_is_known_by_its_words() {
        fn check(sql: &str, expected: bool) {
            assert_eq!(MySql::lingers(sql), expected, "{sql}");
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
    }
}
