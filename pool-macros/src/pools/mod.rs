//! `#[derive(Pools)]`: parse, check, expand.

mod ast;
mod expand;
pub(crate) mod nested;

use crate::fault::Faults;
use proc_macro2::TokenStream;
use quote::quote;

/// The methods of the struct, after a `compile_error!` for each fault.
pub(crate) fn expand(item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let methods = ast::read(item, &mut faults).map(|pools| expand::expand(&pools));
    let faults = faults.into_tokens();
    quote!(#faults #methods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(item: &str, expected: &[&str]) -> String {
        let mut faults = Faults::default();
        let pools = ast::read(item.parse().expect("tokens"), &mut faults);
        let texts = faults.texts();
        assert_eq!(texts.len(), expected.len(), "{texts:#?}");
        for (fault, expected) in texts.iter().zip(expected) {
            assert!(fault.starts_with(expected), "expected {expected:?}, got {fault:?}");
        }
        pools.map(|pools| expand::expand(&pools).to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_no_struct_of_pools_is_told_what_to_write() {
        let named = "Databases: `Pools` needs a name for each pool; write `{ primary: PgPool }`";
        check("struct Databases;", &[named]);
        check("struct Databases(PgPool);", &[named]);
        check("struct Databases {}", &[named]);
        check(
            "enum Databases { A }",
            &["Databases: `Pools` is for a struct with one field for each pool; write `struct"],
        );
    }

    #[test]
    fn two_pools_of_one_type_are_told_to_take_a_key() {
        let same = |first: &str, second: &str, suggestion: &str| {
            let message = format!(
                "{}: `read_only` has the same type as `primary`, and handlers find a pool by its type; \
                 add a key type: write `struct ReadOnly;` and `read_only: {suggestion}`",
                second.parse::<TokenStream>().expect("tokens")
            );
            check(&format!("struct Databases {{ primary: {first}, read_only: {second} }}"), &[&message]);
        };
        same("PgPool", "PgPool", "PgPool<ReadOnly>");
        same("PgPool", "pool_sqlx::PgPool<Main>", "PgPool<ReadOnly>");
        same("Pool<Postgres>", "PgPool", "PgPool<ReadOnly>");
        same("SqlitePool", "Pool<sqlx::Sqlite, Main>", "SqlitePool<ReadOnly>");
        same("PgPool<A>", "Pool<Postgres, A>", "PgPool<ReadOnly>");
        check("struct Databases { a: PgPool, b: PgPool<B>, c: SqlitePool, d: Pool<Postgres, D> }", &[]);
    }

    #[test]
    fn two_pools_read_two_sections() {
        let item = "struct Databases { a: PgPool, #[pool(section = \"a\")] b: SqlitePool }";
        check(item, &["\"a\": `b` reads the same section as `a`; write another one"]);
    }

    #[test]
    fn options_are_checked() {
        let field =
            |attr: &str, expected: &[&str]| check(&format!("struct Databases {{ {attr} a: PgPool }}"), expected);
        field("#[pool(lasy)]", &["lasy: unknown option `lasy`; did you mean `lazy`?"]);
        field("#[pool(lazy = true)]", &["lazy: `lazy` takes no value; write `lazy`"]);
        field("#[pool(section)]", &["section: `section` needs a value; write `section = \"replica\"`"]);
        field("#[pool(section = \"my-db\")]", &["\"my-db\": a section's name is part of a variable's name"]);
        field("#[pool(section = \"\")]", &["\"\": a section's name"]);
        field("#[pool]", &["# [pool]: `pool` needs parentheses; write `#[pool(section = \"replica\")]`"]);
        check(
            "#[pools(krate = a)] struct Databases { a: PgPool }",
            &["krate: unknown option `krate`; did you mean `crate`?"],
        );
    }

    #[test]
    fn all_faults_are_reported_at_once_and_the_methods_are_still_written() {
        let out = check(
            "struct Databases { #[pool(lasy)] a: PgPool, #[pool(section = 1)] b: PgPool }",
            &["lasy: unknown option", "#: expected string literal", "PgPool: `b` has the same type as `a`"],
        );
        assert!(out.contains("const SECTIONS") && out.contains("async fn connect"), "{out}");
        assert_eq!(out.matches("FromRef < Databases > for").count(), 1, "no second wave of errors: {out}");
    }

    #[test]
    fn words_of_others_get_ours() {
        let option =
            |option: &str, message: &str| check(&format!("struct D {{ #[pool({option})] a: PgPool }}"), &[message]);
        option("name = \"a\"", "name: unknown option `name`; did you mean `section`?");
        option(
            "url = \"postgres://db\"",
            "url: the url is in the configuration; write it in `Pool.toml` or as DATABASE_URL",
        );
    }

    #[test]
    fn a_lazy_pool_is_not_warmed() {
        let out = check("pub struct Databases { a: PgPool, #[pool(lazy)] b: SqlitePool }", &[]);
        assert!(out.contains(":: IsPool :: open (& pools . a)"), "{out}");
        assert!(!out.contains("open (& pools . b)"), "{out}");
        assert!(out.contains("pub async fn connect_with"), "the methods are as public as the struct: {out}");
    }
}
