//! What is said about mistakes, and what comes out.

use super::*;
use crate::fault::Faults;
use proc_macro2::{Delimiter, Group};

fn run(args: &str, item: &str) -> (TokenStream, Vec<String>) {
    let mut faults = Faults::default();
    let out = attribute(args.parse().expect("tokens"), item.parse().expect("tokens"), &mut faults);
    (out, faults.texts())
}

/// Each fault, in order, must start as expected: `the tokens it stands on: the message`.
#[track_caller]
fn refuses(args: &str, item: &str, expected: &[&str]) {
    let (out, faults) = run(args, item);
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "expected {expected:?}, got {fault:?}");
    }
    let name =
        |text: &str| text.split_once("fn ").map(|(_, rest)| rest.split(['(', '<', ' ']).next().map(str::to_owned));
    assert_eq!(name(&out.to_string()), name(item), "the item must stay");
}

#[track_caller]
fn refuses_option(args: &str, expected: &[&str]) {
    refuses(args, "async fn list(conn: &mut PgConn) -> Result<(), E> {}", expected);
    let (out, _) = run(args, "async fn list(conn: &mut PgConn) -> Result<(), E> {}");
    assert!(out.to_string().contains("acquire"), "it must still be expanded: {out}");
}

#[test]
fn a_function_without_a_connection_is_told_to_add_one() {
    let message = "list: `#[pooled]` found no connection argument; add one such as `conn: &mut PgConn`, or mark";
    refuses("", "async fn list() -> Result<(), E> {}", &[message]);
    refuses("", "async fn list(id: Path<i64>, q: &str) -> Result<(), E> {}", &[message]);
}

#[test]
fn what_was_perhaps_meant_as_the_connection_is_pointed_at() {
    let cases = [
        ("db: &mut Db", "db : & mut Db: is this the connection?"),
        ("conn: &PgConn", "conn : & PgConn: `#[pooled]` lends its connection mutably; write `conn: &mut PgConn`"),
        ("mut tx: PgTx", "mut tx : PgTx: `#[pooled]` lends its connection, and takes it back; write `tx: &mut PgTx`"),
        ("tx: PgTx", "tx : PgTx: `#[pooled]` lends its connection, and takes it back; write `tx: &mut PgTx`"),
        (
            "c: &mut Transaction<'_, Sqlite>",
            "c : & mut Transaction < '_ , Sqlite >: `Transaction` is sqlx's own, and `#[pooled]` brings one of its pool; write `c: &mut SqliteTx`",
        ),
        (
            "c: PoolConnection<Postgres>",
            "c : PoolConnection < Postgres >: `#[pooled]` lends its connection, and takes it back; write `c: &mut PgConn`",
        ),
        (
            "pool: &PgPool",
            "pool : & PgPool: `#[pooled]` brings the pool by itself; write `conn: &mut PgConn` in its place",
        ),
        (
            "pool: SqlitePool",
            "pool : SqlitePool: `#[pooled]` brings the pool by itself; write `conn: &mut SqliteConn` in its place",
        ),
    ];
    let cases = cases.into_iter().chain([
        (
            "conn: Option<&mut PgConn>",
            "conn : Option < & mut PgConn >: `#[pooled]` brings a connection or ends the function, so it is not optional; write \
             `conn: &mut PgConn`",
        ),
        ("State(pool): State<PgPool>", "State (pool) : State < PgPool >: `#[pooled]` brings the pool by itself; write"),
        ("conn: &mut impl Executor", "list: `#[pooled]` found no connection argument"),
    ]);
    for (arg, message) in cases {
        refuses("", &format!("async fn list({arg}) -> Result<(), E> {{}}"), &[message]);
    }
    let (_, faults) = run("", "async fn list(db: &mut Db) {}");
    assert!(faults[0].ends_with("for an alias write `#[conn] db: &mut Db`"), "{}", faults[0]);
}

#[test]
fn a_function_without_a_connection_keeps_its_body() {
    let item = "async fn list(id: u8) -> Result<(), E> { body(id) }";
    let (out, _) = run("", item);
    assert_eq!(out.to_string(), item.parse::<TokenStream>().expect("tokens").to_string());
}

#[test]
fn two_connections_are_refused_at_the_second() {
    let item = "async fn list(a: &mut PgConn, id: u8, b: &mut PgTx) -> Result<(), E> {}";
    refuses("", item, &["b : & mut PgTx: a second connection in one function: while it waits for `b` it keeps `a`"]);
    let (out, _) = run("", item);
    assert!(
        out.to_string().contains("b : :: pool_sqlx :: private :: PoolFor < PgTx"),
        "no second wave of errors: {out}"
    );
}

#[test]
fn a_mark_leaves_no_doubt() {
    let (out, faults) = run("", "async fn list(events: &mut EventTx, #[conn] conn: &mut PgConn) {}");
    assert_eq!(faults, [""; 0]);
    assert!(out.to_string().contains("events : & mut EventTx"), "{out}");
    refuses(
        "",
        "async fn list(#[conn] conn: &PgConn) {}",
        &["& PgConn: `#[conn]` marks a connection that is borrowed mutably; write the type as `&mut ..`"],
    );
}

#[test]
fn the_connection_needs_a_plain_name() {
    let message = "PgTx { id , .. }: the connection argument needs a plain name; write `conn: &mut ..`";
    refuses("", "async fn list(PgTx { id, .. }: &mut PgTx) -> Result<(), E> {}", &[message]);
    let (_, faults) = run("", "async fn list(_: &mut PgTx, mut other: u8) {}");
    assert_eq!(faults, [""; 0]);
}

#[test]
fn what_cannot_wait_is_told_to() {
    let cases = [
        ("fn list(conn: &mut PgConn) {}", "fn: `#[pooled]` waits for a connection; write `async fn`"),
        ("const async fn list(conn: &mut PgConn) {}", "const: `#[pooled]` waits for a connection, which a `const fn`"),
        ("async fn list(conn: &mut PgConn);", "list: `#[pooled]` wraps a body; put it on the implementation"),
        (
            "fn list<'a>(&'a self, conn: &'a mut PgConn) -> Pin<Box<dyn Future<Output = ()> + 'a>> { Box::pin(async {}) }",
            "list: `#[async_trait]` has rewritten this method before `#[pooled]` saw it; put a bare `#[pooled]`",
        ),
        (
            "#[pooled(timeout = \"1s\")] async fn list(conn: &mut PgConn) {}",
            "# [pooled (timeout = \"1s\")]: `#[pooled]` is given twice",
        ),
    ];
    for (item, message) in cases {
        refuses("", item, &[message]);
    }
}

#[test]
fn what_is_no_function_is_told_where_it_goes() {
    for item in ["struct List;", "pub mod list {}", "enum List { A }"] {
        let (out, faults) = run("", item);
        assert!(faults[0].contains("`#[pooled]` goes on an `async fn`, or bare on an `impl` block"), "{faults:?}");
        assert_eq!(out.to_string(), item.parse::<TokenStream>().expect("tokens").to_string());
    }
}

#[test]
fn unknown_options_get_a_likely_one() {
    refuses_option("timout = \"2s\"", &["timout: unknown option `timout`; did you mean `timeout`?"]);
    refuses_option(
        "acquire_timeout = \"2s\"",
        &["acquire_timeout: unknown option `acquire_timeout`; did you mean `timeout`?"],
    );
    refuses_option("retryafter = 2", &["retryafter: unknown option `retryafter`; did you mean `retry_after`?"]);
    refuses_option("tx", &["tx: there is no option `tx`: the type decides; take `tx: &mut PgTx`"]);
    refuses_option(
        "Replica",
        &["Replica: the pool is found by the type of the connection argument; if `Replica` is the key"],
    );
    refuses_option("zebra", &["zebra: unknown option `zebra`; there are `timeout`,"]);
}

#[test]
fn options_are_given_once_and_with_their_value() {
    refuses_option("timeout", &["timeout: `timeout` needs a value; write `timeout = \"2s\"`"]);
    refuses_option("timeout =", &["timeout: `timeout` needs a value"]);
    refuses_option("timeout(\"2s\")", &["timeout: `timeout` needs a value"]);
    refuses_option("timeout = , pool = A", &["timeout: `timeout` needs a value"]);
    refuses_option("timeout = 1, timeout = 2", &["timeout: `timeout` is given twice; keep one"]);
    refuses_option("timeout = \"1s\" pool = A", &["pool: expected `,` between two options"]);
    refuses_option("\"2s\"", &["\"2s\": expected an option such as `timeout = \"2s\"`"]);
    refuses_option(
        "pool = \"replica\"",
        &["\"replica\": `pool` takes the key type of the pool; write `pool = Replica`"],
    );
    refuses_option(
        "pool = read_replica",
        &[
            "read_replica: `pool` takes the key type of the pool, as in `PgPool<ReadReplica>`; write `pool = ReadReplica`",
        ],
    );
    refuses_option("pool = keys::replica", &[]);
    refuses_option("pool = u8", &[]);
    refuses_option("pool = A, from = self.db", &["A: `from` names the pool already; drop `pool`"]);
}

#[test]
fn counts_and_levels_are_read() {
    let tx =
        |args: &str, expected: &[&str]| refuses(args, "async fn list(tx: &mut PgTx) -> Result<(), E> {}", expected);
    tx("limit = 5, retry = 2, read_only, isolation = \"serializable\", statement_timeout = \"500ms\"", &[]);
    tx("limit = 0", &["0: write a whole number from 1"]);
    tx("retry = \"2\"", &["\"2\": write a whole number from 1"]);
    tx("retry = 99999999999", &["99999999999: write a whole number from 1"]);
    tx("read_only = true", &["read_only: `read_only` takes no value; write `read_only`"]);
    tx("isolation = \"snapshot\"", &["\"snapshot\": not a level; write \"read committed\", \"repeatable read\" or"]);
    tx("isolation = Serializable", &["Serializable: not a level"]);
}

#[test]
fn options_of_transactions_need_one() {
    for option in ["read_only", "retry = 2", "isolation = \"serializable\""] {
        let key = option.split(' ').next().expect("a key");
        let message =
            format!("{key}: `{key}` is about a transaction, and `PgConn` is not one; write `conn: &mut ..Tx`");
        refuses_option(option, &[&message]);
        let (_, faults) = run(option, "async fn list(#[conn] db: &mut Db) -> Result<(), E> {}");
        assert_eq!(faults, [""; 0], "an alias may be one");
    }
}

#[test]
fn a_transaction_needs_to_know_whether_to_commit() {
    let tx = |reply: &str, expected: &[&str]| {
        refuses("", &format!("async fn list(tx: &mut PgTx) -> {reply} {{}}"), expected)
    };
    tx(
        "impl IntoResponse",
        &["impl IntoResponse: a transaction commits unless the function fails, and `impl IntoResponse` does not"],
    );
    tx("(StatusCode, String)", &["(StatusCode , String): a transaction commits unless"]);
    for fine in ["Result<impl IntoResponse, E>", "Response", "()", "Json<Track>", "Result<(StatusCode, String), E>"] {
        tx(fine, &[]);
    }
    refuses("", "async fn list(conn: &mut PgConn) -> impl IntoResponse {}", &[]);
}

#[test]
fn retry_needs_an_error_to_look_at_and_a_self_to_share() {
    refuses(
        "retry = 2",
        "async fn list(tx: &mut PgTx) -> u8 {}",
        &["retry: `retry` looks at the error; let the function"],
    );
    refuses(
        "retry = 2, from = self.db",
        "async fn list(&mut self, tx: &mut PgTx) -> Result<(), E> {}",
        &["& mut self: `retry` runs the body again; write `&self`"],
    );
}

#[test]
fn a_connection_by_value_is_given_and_a_transaction_is_not() {
    let (out, faults) = run("", "async fn list(conn: Conn<Postgres>) -> Result<(), E> {}");
    assert_eq!(faults, [""; 0]);
    assert!(
        out.to_string().contains(":: pool_sqlx :: private :: giving (held , async move | conn : Conn < Postgres > |"),
        "{out}"
    );
    refuses(
        "",
        "async fn list(#[conn] tx: PgTx) -> Result<(), E> {}",
        &["PgTx: a transaction is lent, so that it can commit"],
    );
    refuses(
        "",
        "async fn list(a: PgConn, b: &mut PgConn) -> Result<(), E> {}",
        &["b : & mut PgConn: a second connection"],
    );
    refuses(
        "read_only",
        "async fn list(#[conn] a: Alias) -> Result<(), E> {}",
        &["read_only: `read_only` is about a transaction"],
    );
}

#[test]
fn nothing_may_be_borrowed_from_the_connection() {
    let message = "& str: the connection goes back before the function returns, so its result cannot borrow from it";
    refuses("", "async fn list(conn: &mut PgConn) -> Result<&str, E> {}", &[message]);
    for fine in ["conn: &mut PgConn, a: &str", "&self, conn: &mut PgConn", "conn: &mut PgConn, a: Cow<'_, str>"] {
        assert_eq!(run("from = db", &format!("async fn list({fine}) -> Result<&str, E> {{}}")).1, [""; 0]);
    }
    assert_eq!(run("", "async fn list(conn: &mut PgConn) -> Result<&'static str, E> {}").1, [""; 0]);

    let stream = |reply: &str, found: &str| {
        let message = format!("{found}: the connection goes back before the function returns");
        refuses("", &format!("async fn list(conn: &'c mut PgConn) -> Result<{reply}, E> {{}}"), &[&message]);
    };
    stream("BoxStream<'_, Track>", "'_");
    stream("impl Stream<Item = Track> + '_", "'_");
    stream("BoxStream<'c, Track>", "'c");
    let (out, _) = run("", "async fn list(conn: &mut PgConn) -> Result<BoxStream<'_, Track>, E> {}");
    assert!(out.to_string().contains("BoxStream < 'static , Track >"), "no second wave of errors: {out}");
    assert_eq!(run("", "async fn list(conn: &'c mut PgConn, a: &'c str) -> Result<&'c str, E> {}").1, [""; 0]);
    assert_eq!(run("", "async fn list(conn: &mut PgConn) -> Box<dyn Fn(&str)> {}").1, [""; 0]);
}

#[test]
fn a_question_mark_needs_a_result() {
    let body = |reply: &str, body: &str| run("", &format!("async fn list(conn: &mut PgConn) {reply} {{ {body} }}"));
    for (reply, write) in [("-> Json<Track>", "Json<Track>"), ("", "()"), ("-> Response", "Response")] {
        let (out, faults) = body(reply, "let a = b(conn).await?; c(a?)");
        let fix = format!("write `-> Result<{write}, pool_sqlx::Error>`");
        assert!(
            faults.len() == 1 && faults[0].starts_with("?: `?` returns an error") && faults[0].ends_with(&fix),
            "{faults:?}"
        );
        assert!(out.to_string().contains("b (conn) . await . unwrap ()"), "no second wave of errors: {out}");
    }
    for fine in ["async { b?; Ok(1) }.await", "let a = || b?;", "log!(?a)", "fn a<T: ?Sized>() { b? }"] {
        let (out, faults) = body("-> Json<Track>", fine);
        assert!(faults.is_empty() && !out.to_string().contains("unwrap"), "{fine}: {faults:?}");
    }
    for reply in ["-> Option<Track>", "-> Result<Track, E>", "-> Reply", "-> impl IntoResponse"] {
        assert_eq!(body(reply, "b?").1, [""; 0], "{reply}");
    }
}

#[test]
fn a_method_says_where_its_pool_is() {
    let item = "async fn a(&self, id: i64, conn: &mut PgConn) -> Result<(), E> {}";
    refuses(
        "",
        item,
        &["a: a method says where its pool is; write `#[pooled(from = self.db)]`, or `from = pool` with"],
    );
    assert!(run("", item).0.to_string().contains("async fn a (& self , id : i64)"), "no second wave of errors");
}

#[test]
fn a_condition_on_the_connection_is_told_where_it_goes() {
    let message = "# [cfg (a)]: `#[cfg]` on the connection has no effect here; write it above `#[pooled]`";
    refuses(
        "",
        "async fn list(#[cfg(a)] c: &mut SqliteConn, #[cfg(b)] c: &mut PgConn) -> Result<(), E> {}",
        &[message],
    );
    refuses("", "async fn list(#[cfg(a)] c: &mut SqliteConn) -> Result<(), E> {}", &[message]);
}

#[test]
fn a_body_may_come_through_macro_rules() {
    let body = Group::new(Delimiter::None, quote!({ body(conn).await }));
    let (out, faults) = {
        let mut faults = Faults::default();
        let item = quote!(async fn list(conn: &mut PgConn) -> Result<(), E> #body);
        (attribute(TokenStream::new(), item, &mut faults), faults.texts())
    };
    assert_eq!(faults, [""; 0]);
    assert!(out.to_string().contains("} body (conn) . await })"), "{out}");
}

#[test]
fn a_bad_duration_is_told_what_to_write() {
    refuses_option("timeout = \"5\"", &["\"5\": `5` has no unit; write \"5s\" or \"5ms\""]);
    refuses_option("timeout = \"2 parsecs\"", &["\"2 parsecs\": `2 parsecs` is not a duration"]);
    refuses_option("timeout = 0", &["0: a limit of zero"]);
    refuses_option("retry_after = true", &["true: not a duration; write one such as \"2s\""]);
}

#[test]
fn all_faults_are_reported_at_once() {
    refuses(
        "timout = 1, pool, timeout = \"x\"",
        "fn list(a: &mut PgConn, b: &mut PgConn) {}",
        &[
            "timout: unknown",
            "pool: `pool` needs",
            "\"x\": `x` is not",
            "fn: `#[pooled]` waits",
            "b : & mut PgConn: a second",
        ],
    );
}

#[test]
fn a_half_typed_body_still_expands() {
    let (out, faults) = run("", "async fn list(conn: &mut PgConn) -> Result<(), E> { let x = conn. }");
    assert_eq!(faults, [""; 0]);
    assert!(out.to_string().contains("let x = conn ."), "{out}");
}

#[test]
fn inner_attributes_of_the_body_stay_with_the_function() {
    let (out, _) = run("", "#[a] async fn list(conn: &mut PgConn) { #![allow(b)] #![c = 1] #[d] { conn } }");
    let out = out.to_string();
    assert!(out.starts_with("# [a] # [allow (b)] # [c = 1] async fn list"), "{out}");
    assert!(out.contains("# [d] { conn } }"), "{out}");
}

#[test]
fn a_bare_attribute_on_a_block_expands_its_marked_methods() {
    let block = "#[async_trait] impl Users for Service {
        type Error = E;
        async fn untouched(&self) { half. }
        #[pooled(from = self.db)]
        async fn rename(&self, id: i64, conn: &mut PgConn) -> Result<(), E> { body }
    }";
    let (out, faults) = run("", block);
    assert_eq!(faults, [""; 0]);
    let out = out.to_string();
    assert!(
        out.starts_with(
            "# [async_trait] impl Users for Service { type Error = E ; async fn untouched (& self) { half . }"
        ),
        "{out}"
    );
    assert!(out.contains("async fn rename (& self , id : i64) -> Result < () , E >"), "{out}");
    assert!(!out.contains("pooled ("), "{out}");
}

#[test]
fn a_block_says_what_is_missing() {
    let block = |method: &str| format!("impl Users for Service {{ {method} }}");
    refuses("", &block("async fn a(&self) {}"), &["impl Users for Service: no method of this block is marked"]);
    refuses(
        "from = self.db",
        &block("#[pooled(from = self.db)] async fn a(&self, conn: &mut PgConn) -> Result<(), E> {}"),
        &["from = self . db: on a block, `#[pooled]` takes no options"],
    );
    refuses(
        "",
        &block("#[pooled] async fn a(&self, conn: &mut PgConn) -> u8 {}"),
        &["u8: the trait dictates this return type", "a: the trait dictates this signature"],
    );
    refuses(
        "",
        &block("#[pooled = 1] async fn a(&self) {}"),
        &["pooled = 1: `#[pooled]` takes its options in parentheses", "a: `#[pooled]` found no"],
    );
    let inherent = "impl<F: for<'a> Fn(&'a str)> Service<F> { #[pooled(from = self.db)] async fn a(&self, conn: &mut PgConn) -> u8 {} }";
    assert_eq!(run("", inherent).1, [""; 0]);
}

#[test]
fn the_expansion_is_as_documented() {
    let (out, faults) = run(
        "timeout = \"2s\", pool = Replica",
        "pub async fn add(id: i64, mut conn: &mut PgConn) -> Result<i64, E> { body(conn, id).await }",
    );
    assert_eq!(faults, [""; 0]);
    let expected = quote! {
        pub async fn add(conn: ::pool_sqlx::private::PoolFor<PgConn, Replica>, id: i64) -> Result<i64, E> {
            static __CALL: ::pool_sqlx::private::Call = ::pool_sqlx::private::Call::new(
                ::pool_sqlx::private::Site::named(::core::concat!(::core::module_path!(), "::", "add"))
            ).timeout(::core::time::Duration::new(2u64, 0u32));
            let mut held = match ::pool_sqlx::private::acquire::<PgConn, _>(&conn, &__CALL).await {
                ::core::result::Result::Ok(held) => held,
                ::core::result::Result::Err(error) => return ::core::result::Result::Err(::pool_sqlx::private::FromFailure::from_failure(error)),
            };
            #[allow(clippy::let_unit_value)]
            let reply: Result<i64, E> = {
                ::pool_sqlx::private::holding(&mut held, async move |mut conn: &mut PgConn| {
                    #[allow(unknown_lints, unreachable_code, clippy::diverging_sub_expression, clippy::empty_loop,
                        clippy::let_unit_value, clippy::needless_return, clippy::let_with_type_underscore)]
                    if false {
                        let reply: Result<i64, E> = loop {};
                        return reply;
                    }
                    body(conn, id).await
                }).await
            };
            let success = ::core::result::Result::is_ok(&reply);
            match ::pool_sqlx::private::finish(held, success).await {
                ::core::result::Result::Ok(()) => reply,
                ::core::result::Result::Err(error) => ::core::result::Result::Err(::pool_sqlx::private::FromFailure::from_failure(error)),
            }
        }
    };
    assert_eq!(out.to_string(), expected.to_string());
}

#[test]
fn a_plain_value_is_wrapped() {
    let (out, _) = run("crate = my_root", "async fn count(conn: &mut PgConn) -> impl IntoResponse { 1 }");
    let out = out.to_string();
    assert!(out.contains("-> :: core :: result :: Result < impl IntoResponse , my_root :: Error >"), "{out}");
    assert!(out.contains("let reply : _ ="), "{out}");
    assert!(out.contains("Ok (()) => :: core :: result :: Result :: Ok (reply)"), "{out}");
}
