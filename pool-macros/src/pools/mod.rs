//! `#[derive(Pools)]`: parse, check, expand.

mod ast;
mod expand;

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
