//! Just enough of Rust's grammar to know which paths a file names. A real parser would double the time to build xtask.

use std::{iter::Peekable, str::CharIndices};

/// A path such as `crate::state::Slot`, written out or gathered from a `use` tree, with the line where it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

/// Every path of two segments or more that the file names outside its tests, and every one-segment `use`.
pub(super) fn paths(source: &str) -> Vec<Path> {
    let tokens = without_tests(tokens(source));
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        if token.text == "use" && !follows_path(&tokens, at) {
            at = use_tree(&tokens, at + 1, &[], &mut paths);
        } else if is_name(&token.text) && !follows_path(&tokens, at) {
            let mut segments = vec![token.text.clone()];
            at += 1;
            while at + 1 < tokens.len() && tokens[at].text == "::" && is_name(&tokens[at + 1].text) {
                segments.push(tokens[at + 1].text.clone());
                at += 2;
            }
            if segments.len() > 1 {
                paths.push(Path { segments, line: token.line });
            }
        } else {
            at += 1;
        }
    }
    paths
}

/// What a file brings under other names: `pub use module::{A, B as C}` gives `(A, module)` and `(C, module)`.
pub(super) fn reexports(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let tokens = without_tests(tokens(source));
    for (at, token) in tokens.iter().enumerate() {
        if token.text == "use" && at > 0 && (tokens[at - 1].text == "pub" || tokens[at - 1].text == ")") {
            let mut paths = Vec::new();
            use_tree(&tokens, at + 1, &[], &mut paths);
            for path in paths {
                let segments: Vec<_> = path.segments.iter().filter(|s| *s != "crate" && *s != "self").collect();
                if let [module, .., name] = segments.as_slice() {
                    found.push(((*name).clone(), (*module).clone()));
                }
            }
        }
    }
    found
}

#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn follows_path(tokens: &[Token], at: usize) -> bool {
    at > 0 && matches!(tokens[at - 1].text.as_str(), "::" | ".") && at > 1 && tokens[at - 2].text != "use"
}

/// Reads one `use` tree and gives where it ends.
fn use_tree(tokens: &[Token], mut at: usize, prefix: &[String], paths: &mut Vec<Path>) -> usize {
    let mut segments = prefix.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = use_tree(tokens, at, &segments, paths);
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => at += 2,
            "*" => {
                segments.push("*".into());
                at += 1;
            }
            name if is_name(name) => {
                segments.push(name.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    if segments.len() > prefix.len() {
        paths.push(Path { segments, line });
    }
    at
}

/// Takes out what stands under `#[cfg(test)]`: tests may look at anything.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        kept.push(token);
        let is_mark = kept.len() >= MARK.len()
            && kept[kept.len() - MARK.len()..].iter().zip(MARK).all(|(token, mark)| token.text == mark);
        if is_mark {
            let mut depth = 0;
            for token in tokens.by_ref() {
                depth += i32::from(token.text == "{") - i32::from(token.text == "}");
                if depth == 0 && matches!(token.text.as_str(), ";" | "}") {
                    break;
                }
            }
        }
    }
    kept
}

/// Names, `::`, and single signs; comments, strings, characters and lifetimes are left out.
fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut chars = source.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let rest = &source[at..];
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if c == '"' || starts_string(rest) {
            string(rest)
        } else if c == '\'' {
            quote(rest)
        } else {
            0
        };
        if skip > 0 {
            line += rest[..skip].matches('\n').count();
            skip_to(&mut chars, at + skip);
        } else if c == '\n' {
            line += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(Token { text: rest[..end].to_owned(), line });
            skip_to(&mut chars, at + end);
        } else if rest.starts_with("::") {
            tokens.push(Token { text: "::".into(), line });
            chars.next();
        } else if !c.is_whitespace() {
            tokens.push(Token { text: c.into(), line });
        }
    }
    tokens
}

fn skip_to(chars: &mut Peekable<CharIndices<'_>>, end: usize) {
    while chars.next_if(|(at, _)| *at < end).is_some() {}
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    for at in rest.char_indices().map(|(at, _)| at) {
        if rest[at..].starts_with("/*") {
            depth += 1;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    rest.len()
}

fn starts_string(rest: &str) -> bool {
    let after = rest.trim_start_matches(['b', 'c', 'r']);
    rest.len() - after.len() <= 2 && after.len() < rest.len() && after.trim_start_matches('#').starts_with('"') && {
        // `r#name` and `b'x'` are no strings; hashes belong to raw ones only.
        after.starts_with('"') || rest[..rest.len() - after.len()].contains('r')
    }
}

fn string(rest: &str) -> usize {
    let open = rest.find('"').expect("BUG: the caller saw a quotation mark");
    let prefix = &rest[..open];
    let body = &rest[open + 1..];
    if prefix.contains('r') {
        let close = format!("\"{}", "#".repeat(prefix.matches('#').count()));
        return body.find(&close).map_or(rest.len(), |at| open + 1 + at + close.len());
    }
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return open + 1 + at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character such as `'"'`, or a lifetime such as `'a`.
fn quote(rest: &str) -> usize {
    let mut chars = rest[1..].chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => rest[3.min(rest.len())..].find('\'').map_or(rest.len(), |at| at + 4),
        (Some(c), Some('\'')) => 1 + c.len_utf8() + 1,
        _ => 1 + rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len() - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[(usize, &str)]) {
        let found: Vec<_> = paths(source).into_iter().map(|path| (path.line, path.segments.join("::"))).collect();
        let found: Vec<_> = found.iter().map(|(line, path)| (*line, path.as_str())).collect();
        assert_eq!(found, expected, "in {source:?}");
    }

    #[test]
    fn use_trees_are_written_out() {
        check(
            "use crate::{a::B, c::{D as E, self}, f::*};\nuse std::fmt;",
            &[(1, "crate::a::B"), (1, "crate::c::D"), (1, "crate::c::self"), (1, "crate::f::*"), (2, "std::fmt")],
        );
    }

    #[test]
    fn paths_in_the_code_are_found() {
        check("fn f() -> super::X {\n  Instant::now()\n}", &[(1, "super::X"), (2, "Instant::now")]);
        check("pub(crate) use ::tokio::time;", &[(1, "tokio::time")]);
        check("let x = y.z(); use_it();", &[]);
    }

    #[test]
    fn what_is_no_code_is_not_looked_at() {
        check("// use crate::a;\n/* use crate::b; /* */ use crate::c; */ use crate::d;", &[(2, "crate::d")]);
        check("let s = \"a \\\" crate::a\"; let r = r#\"crate::b \" \"#; use crate::c;", &[(1, "crate::c")]);
        check("let c = ('\"', '\\'', '\\u{7f}'); fn f<'a>(x: &'a crate::A) {}", &[(1, "crate::A")]);
        check("let s = \"one\ntwo\";\ncrate::a()", &[(3, "crate::a")]);
    }

    #[test]
    fn tests_may_name_anything() {
        check(
            "use crate::a;\n#[cfg(test)]\nmod tests { use crate::b; fn f() { {} } }\nuse crate::c;",
            &[(1, "crate::a"), (4, "crate::c")],
        );
        check("#[cfg(test)] use crate::b; use crate::c;", &[(1, "crate::c")]);
        check("#[cfg(any(test, feature = \"x\"))] use crate::b;", &[(1, "crate::b")]);
    }

    #[test]
    fn reexports_tell_the_module_of_a_name() {
        let found = reexports("mod a; use a::Hidden; pub use a::{B, c::D as E}; pub(crate) use crate::f::G;");
        let found: Vec<_> = found.iter().map(|(name, module)| (name.as_str(), module.as_str())).collect();
        assert_eq!(found, [("B", "a"), ("D", "a"), ("G", "f")]);
    }
}
