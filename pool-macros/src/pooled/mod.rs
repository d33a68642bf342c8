//! `#[pooled]`: parse, check, expand.

mod ast;
mod attr;
mod block;
mod check;
mod conn;
mod expand;
mod reply;

use crate::fault::Faults;
use ast::Function;
use attr::Options;
use check::Place;
use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};

/// The item as it goes on to the compiler, after a `compile_error!` for each fault.
pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let item = attribute(args, item, &mut faults);
    let faults = faults.into_tokens();
    quote!(#faults #item)
}

fn attribute(args: TokenStream, item: TokenStream, faults: &mut Faults) -> TokenStream {
    if let Some(block) = block::expand(&args, &item, faults) {
        return block;
    }
    let options = Options::parse(args, faults);
    match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function_at(Place::Function, function, options, faults),
        // Half typed, or no function: it goes on as it is, so that an editor still knows it.
        Err(error) => {
            match keyword(&item) {
                Some(other) => faults
                    .at(other, "`#[pooled]` goes on an `async fn`, or bare on an `impl` block with marked methods"),
                None => faults.parse(error),
            }
            item
        }
    }
}

fn function_at(place: Place, function: Function, options: Options, faults: &mut Faults) -> TokenStream {
    match check::check(function, options, place, faults) {
        Ok(pooled) => expand::expand(pooled),
        Err(function) => function.into_token_stream(),
    }
}

/// The word that says that an item is no function.
fn keyword(item: &TokenStream) -> Option<TokenTree> {
    let words = ["struct", "enum", "union", "mod", "type", "use", "static", "macro_rules"];
    let mut words = item.clone().into_iter().filter_map(|tree| match &tree {
        TokenTree::Ident(word) if word == "fn" => Some(None),
        TokenTree::Ident(word) if words.contains(&word.to_string().as_str()) => Some(Some(tree)),
        _ => None,
    });
    words.next().flatten()
}

#[cfg(test)]
mod tests;
