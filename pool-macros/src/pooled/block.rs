//! A bare `#[pooled]` on an `impl` or `trait` block: expands the marked methods before an attribute below it,
//! such as `#[async_trait]`, rewrites them.

use super::{
    ast::{Function, ends_with},
    attr::Options,
    check::Place,
    function_at,
};
use crate::fault::Faults;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, ImplItem, Meta, Token, Visibility,
    parse::{ParseStream, Parser, discouraged::Speculative},
};

/// The block with its marked methods expanded; `None` if the item is no such block.
pub(crate) fn expand(args: &TokenStream, item: &TokenStream, faults: &mut Faults) -> Option<TokenStream> {
    let place = place(item)?;
    let mut tokens: Vec<TokenTree> = item.clone().into_iter().collect();
    let Some(TokenTree::Group(items)) = tokens.pop() else { return None };
    if !args.is_empty() {
        faults.at(
            args,
            "on a block, `#[pooled]` takes no options; write them on its methods: `#[pooled(from = self.db)]`",
        );
    }
    let mut found = 0;
    let expanded = methods(place, items.stream(), &mut found, faults);
    if found == 0 {
        let head: TokenStream = tokens.iter().cloned().collect();
        faults.at(
            head,
            "no method of this block is marked; write `#[pooled(from = self.db)]` on each that takes a connection",
        );
    }
    let mut items_expanded = Group::new(Delimiter::Brace, expanded);
    items_expanded.set_span(items.span());
    tokens.push(items_expanded.into());
    Some(tokens.into_iter().collect())
}

/// What kind of block it is. The items in it are not looked at.
fn place(item: &TokenStream) -> Option<Place> {
    let head = |input: ParseStream<'_>| {
        input.call(Attribute::parse_outer)?;
        input.parse::<Visibility>()?;
        input.parse::<Option<Token![unsafe]>>()?;
        let is_impl = input.parse::<Option<Token![impl]>>()?.is_some();
        if !is_impl && input.parse::<Option<Token![trait]>>()?.is_none() {
            input.parse::<TokenStream>()?;
            return Ok(None);
        }
        let rest: Vec<TokenTree> = input.parse::<TokenStream>()?.into_iter().collect();
        let is_block = matches!(rest.last(), Some(TokenTree::Group(last)) if last.delimiter() == Delimiter::Brace);
        // Not the `for` of `for<'a> Fn(&'a str)`.
        let names_trait = is_impl && rest.windows(2).any(|two| is_word(&two[0], "for") && !is_punct(&two[1], '<'));
        Ok(is_block.then_some(if names_trait { Place::TraitImpl } else { Place::Function }))
    };
    head.parse2(item.clone()).ok().flatten()
}

fn is_word(tree: &TokenTree, text: &str) -> bool {
    matches!(tree, TokenTree::Ident(word) if word == text)
}

fn is_punct(tree: &TokenTree, text: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == text)
}

/// The items of a block, one after the other; bodies are not parsed, and what cannot be read goes through as it is.
fn methods(place: Place, items: TokenStream, found: &mut usize, faults: &mut Faults) -> TokenStream {
    let all = |input: ParseStream<'_>| {
        let mut out = TokenStream::new();
        while !input.is_empty() {
            let ahead = input.fork();
            if let Ok(mut function) = ahead.parse::<Function>() {
                input.advance_to(&ahead);
                out.extend(match options(&mut function, faults) {
                    Some(options) => {
                        *found += 1;
                        function_at(place, function, options, faults)
                    }
                    None => function.into_token_stream(),
                });
            } else if let Ok(other) = input.fork().parse::<ImplItem>() {
                input.parse::<ImplItem>()?;
                other.to_tokens(&mut out);
            } else {
                input.parse::<TokenTree>()?.to_tokens(&mut out);
            }
        }
        Ok(out)
    };
    all.parse2(items.clone()).unwrap_or(items)
}

/// Takes `#[pooled(..)]` off a method.
fn options(function: &mut Function, faults: &mut Faults) -> Option<Options> {
    let at = function.attrs.iter().position(|attr| ends_with(attr.path(), "pooled"))?;
    let args = match function.attrs.remove(at).meta {
        Meta::List(list) => list.tokens,
        Meta::Path(_) => TokenStream::new(),
        Meta::NameValue(pair) => {
            faults.at(&pair, "`#[pooled]` takes its options in parentheses; write `#[pooled(from = self.db)]`");
            quote!()
        }
    };
    Some(Options::parse(args, faults))
}
