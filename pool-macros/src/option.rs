//! The list of options in an attribute's parentheses: `timeout = "2s", lazy`.

use crate::fault::Faults;
use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::{
    Token,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    token,
};

/// An option that an attribute knows.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    /// How it is written. A flag is written as its bare name.
    pub(crate) example: &'static str,
}

impl Spec {
    fn is_flag(&self) -> bool {
        self.name == self.example
    }
}

/// Reads a list of options and gives each known one to `take`, which reads its value.
///
/// Goes on after every fault at the next comma, so that all are reported at once. An option whose value
/// is missing, or that is unknown or repeated, is not given to `take`.
pub(crate) fn each(
    tokens: TokenStream,
    known: &[Spec],
    hint: impl Fn(&str) -> Option<String>,
    faults: &mut Faults,
    mut take: impl FnMut(&Ident, ParseStream<'_>, &mut Faults) -> syn::Result<()>,
) {
    let list = |input: ParseStream<'_>| {
        let mut seen: Vec<Ident> = Vec::new();
        while !input.is_empty() {
            one(input, known, &hint, &mut seen, faults, &mut take);
            if !input.is_empty() && !input.peek(Token![,]) {
                let next = input.cursor().token_tree().map(|(tree, _)| tree);
                faults.at(next, "expected `,` between two options");
                skip(input);
            }
            let _ = input.parse::<Option<Token![,]>>();
        }
        Ok(())
    };
    if let Err(error) = list.parse2(tokens) {
        faults.parse(error);
    }
}

fn one(
    input: ParseStream<'_>,
    known: &[Spec],
    hint: &impl Fn(&str) -> Option<String>,
    seen: &mut Vec<Ident>,
    faults: &mut Faults,
    take: &mut impl FnMut(&Ident, ParseStream<'_>, &mut Faults) -> syn::Result<()>,
) {
    let Ok(key) = input.call(Ident::parse_any) else {
        let found = input.cursor().token_tree().map(|(tree, _)| tree);
        faults.at(found, format!("expected an option such as `{}`", known[0].example));
        return skip(input);
    };
    let name = key.to_string();
    let Some(spec) = known.iter().find(|spec| spec.name == name) else {
        faults.at(&key, hint(&name).unwrap_or_else(|| unknown(&name, known)));
        return skip(input);
    };
    if seen.contains(&key) {
        faults.at(&key, format!("`{name}` is given twice; keep one"));
        return skip(input);
    }
    seen.push(key.clone());

    let has_value = input.peek(Token![=]);
    if spec.is_flag() {
        if has_value || input.peek(token::Paren) {
            faults.at(&key, format!("`{name}` takes no value; write `{name}`"));
            skip(input);
        }
    } else {
        if has_value {
            let _ = input.parse::<Token![=]>();
        }
        if !has_value || input.is_empty() || input.peek(Token![,]) {
            faults.at(&key, format!("`{name}` needs a value; write `{}`", spec.example));
            return skip(input);
        }
    }
    if let Err(error) = take(&key, input, faults) {
        faults.parse(error);
        skip(input);
    }
}

/// Leaves the rest of an option unread.
fn skip(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        let _ = input.parse::<TokenTree>();
    }
}

fn unknown(name: &str, known: &[Spec]) -> String {
    let nearest =
        known.iter().map(|spec| (strsim::jaro_winkler(name, spec.name), spec.name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        // 0.75 takes every slip of one or two letters that we tried, and no word of another meaning.
        Some((likeness, nearest)) if likeness > 0.75 => format!("unknown option `{name}`; did you mean `{nearest}`?"),
        _ => {
            let names: Vec<_> = known.iter().map(|spec| format!("`{}`", spec.name)).collect();
            format!("unknown option `{name}`; there are {}", names.join(", "))
        }
    }
}
