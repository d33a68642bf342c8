//! What is wrong with the user's code: all of it, each fault on the user's own token.

use proc_macro2::{Punct, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use std::fmt::Display;

/// The faults found so far. Nothing stops at the first one.
#[derive(Default)]
pub(crate) struct Faults(Vec<Fault>);

struct Fault {
    /// The tokens that the compiler underlines.
    at: TokenStream,
    message: String,
}

impl Faults {
    /// Adds a fault at these tokens. The message says what to write.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.0.push(Fault { at: tokens.into_token_stream(), message: message.to_string() });
    }

    /// Adds what the parser could not read.
    pub(crate) fn parse(&mut self, error: syn::Error) {
        for error in error {
            let mut place = Punct::new('#', Spacing::Alone);
            place.set_span(error.span());
            self.at(TokenTree::from(place), error);
        }
    }

    /// The faults as `compile_error!` calls, to stand beside the item.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.into_iter().map(|fault| syn::Error::new_spanned(fault.at, fault.message).into_compile_error()).collect()
    }

    /// Each fault as `tokens: message`, for tests.
    #[cfg(test)]
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(|fault| format!("{}: {}", fault.at, fault.message)).collect()
    }
}
