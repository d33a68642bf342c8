//! What MySQL and MariaDB make of a statement beside what it says.

use super::{
    token::Dialect,
    words::{after_comments, words},
};

/// Whether a statement commits what was done in the transaction so far, or ends it otherwise: by which words, and what to do instead.
pub(crate) fn ends_transactions(sql: &str) -> Option<(String, &'static str)> {
    const OUTSIDE: &str = "run it on a connection, before the transaction or after it";
    const OURS: &str = "use tx.commit(), tx.rollback() or tx.begin_nested()";
    // What such a statement begins with. Every statement of a transaction comes by here, and most begin with another word.
    const FIRST: [&str; 26] = [
        "alter",
        "analyze",
        "begin",
        "cache",
        "change",
        "check",
        "commit",
        "create",
        "drop",
        "flush",
        "grant",
        "install",
        "load",
        "lock",
        "optimize",
        "rename",
        "repair",
        "reset",
        "revoke",
        "rollback",
        "set",
        "start",
        "stop",
        "truncate",
        "uninstall",
        "unlock",
    ];
    let mut words = words(sql, Dialect::MySql);
    let first = words.next()?;
    let first = FIRST.into_iter().find(|known| known.eq_ignore_ascii_case(first))?;
    let mut next = || words.next().map(str::to_ascii_lowercase).unwrap_or_default();
    let three = [next(), next(), next()];
    let [second, third, fourth] = three.each_ref().map(String::as_str);
    let has = |word| [second, third, fourth].contains(&word);
    let way_out = match first {
        "begin" => ["", "work"].contains(&second).then_some(OURS),
        "commit" => Some(OURS),
        "rollback" => (!has("to")).then_some(OURS),
        "start" if second == "transaction" => Some(OURS),
        "create" | "drop" if second == "temporary" || (second, third, fourth) == ("or", "replace", "temporary") => None,
        "drop" if second == "prepare" => None,
        "analyze" | "check" => (has("table") || has("tables")).then_some(OUTSIDE),
        "cache" | "load" => (second == "index").then_some(OUTSIDE),
        "change" => ["master", "replication"].contains(&second).then_some(OUTSIDE),
        "set" => (second == "password" || has("autocommit") || has("`autocommit`")).then_some(OUTSIDE),
        _ => Some(OUTSIDE),
    }?;
    Some((format!("{first} {second}").trim_end().to_ascii_uppercase(), way_out))
}

/// Whether a result goes into a variable of the session: `into` and a single `@`, with nothing that counts between them.
pub(crate) fn fills_variable(sql: &str) -> bool {
    let is_of_a_word = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'$' || !c.is_ascii();
    let text = sql.as_bytes();
    text.windows(4).enumerate().any(|(at, word)| {
        word.eq_ignore_ascii_case(b"into")
            && !text[..at].last().is_some_and(|&before| is_of_a_word(before))
            && after_comments(&sql[at + 4..]).strip_prefix('@').is_some_and(|name| !name.starts_with('@'))
    })
}
