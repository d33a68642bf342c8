//! `#[pooled]`: parse, check, expand.

mod ast;
mod attr;
mod check;
mod expand;

use crate::fault::Faults;
use ast::Function;
use attr::Options;
use check::Place;
use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

/// The item as it goes on to the compiler, after a `compile_error!` for each fault.
pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let item = attribute(args, item, &mut faults);
    let faults = faults.into_tokens();
    quote!(#faults #item)
}

fn attribute(args: TokenStream, item: TokenStream, faults: &mut Faults) -> TokenStream {
    let options = Options::parse(args, faults);
    match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function_at(Place::Function, function, options, faults),
        // Half typed: it goes on as it is, so that an editor still knows it.
        Err(error) => {
            faults.parse(error);
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
