//! The function as we see it: a signature that we read, and a body that we do not.

use super::attr::Options;
use proc_macro2::{Delimiter, Group, Ident, Punct, Spacing, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt};
use syn::{
    Attribute, PatType, Path, Receiver, Signature, Token, Type, Visibility,
    parse::{Parse, ParseStream},
};

/// The item under the attribute.
///
/// The body stays an unread group of tokens, so that a half-typed one still expands and an editor keeps its help.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// `None` for a declaration in a trait.
    pub(crate) body: Option<Group>,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig = input.parse()?;
        let body = match input.parse::<Option<Token![;]>>()? {
            Some(_) => None,
            None if input.peek(syn::token::Brace) => Some(braces(input.parse()?)),
            None => return Err(input.error("expected the function's body")),
        };
        Ok(Self { attrs, vis, sig, body })
    }
}

/// A body in braces. `$body:block` of a `macro_rules!` comes in an invisible group around them.
fn braces(tree: TokenTree) -> Group {
    let TokenTree::Group(group) = tree else { unreachable!("BUG: a brace was seen") };
    match group.stream().into_iter().next() {
        Some(inner) if group.delimiter() == Delimiter::None => braces(inner),
        _ => group,
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.append_all(&self.attrs);
        self.vis.to_tokens(tokens);
        self.sig.to_tokens(tokens);
        match &self.body {
            Some(body) => body.to_tokens(tokens),
            None => <Token![;]>::default().to_tokens(tokens),
        }
    }
}

/// A function that passed the checks, taken apart.
pub(crate) struct Pooled {
    pub(crate) options: Options,
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    /// Without its arguments, which follow.
    pub(crate) sig: Signature,
    pub(crate) receiver: Option<Receiver>,
    pub(crate) conn: ConnArg,
    /// Connections too many: a fault was reported, and they are kept only so that nothing else is.
    pub(crate) extra: Vec<ConnArg>,
    pub(crate) others: Vec<PatType>,
    pub(crate) reply: Reply,
    pub(crate) body: Group,
    /// The result borrows from the connection: a fault was reported, and the body gets one that lives for ever.
    pub(crate) escapes: bool,
}

/// The argument that asks for the connection.
pub(crate) struct ConnArg {
    /// As the user wrote it, without `#[conn]`.
    pub(crate) arg: PatType,
    /// Its name, which the pool argument takes over.
    pub(crate) name: Ident,
    /// The connection's type, without the reference.
    pub(crate) ty: Type,
    pub(crate) loan: Loan,
}

/// Who gives the connection back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loan {
    /// `&mut PgConn`: we do, after the body.
    Lent,
    /// `PgConn`: the body, by dropping it whenever it is done.
    Given,
}

/// The return type.
pub(crate) struct Reply {
    /// As the user wrote it; `()` if left out.
    pub(crate) declared: Type,
    pub(crate) carries: Carries,
    /// `E` where it is written `Result<T, E>`.
    pub(crate) error: Option<Type>,
}

/// Whether a failure of the pool fits into the return type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carries {
    /// `..Result`, `Response`, `HttpResponse`: by the trait `Reply`.
    Failures,
    /// Anything else: it is wrapped in a `Result`.
    Values,
}

/// Whether an attribute goes by this name, however it was imported.
pub(crate) fn ends_with(path: &Path, name: &str) -> bool {
    path.segments.last().is_some_and(|segment| segment.ident == name)
}

/// Inner attributes (`#![allow(..)]`) at the start of a body, as outer ones, and the rest.
///
/// We put a statement first, where they could not stand.
pub(crate) fn split_inner_attributes(body: TokenStream) -> (TokenStream, TokenStream) {
    let mut attrs = TokenStream::new();
    let mut rest: Vec<TokenTree> = body.into_iter().collect();
    while let [TokenTree::Punct(hash), TokenTree::Punct(bang), TokenTree::Group(content), ..] = &rest[..]
        && hash.as_char() == '#'
        && bang.as_char() == '!'
        && content.delimiter() == Delimiter::Bracket
    {
        // Joined to the `!`, which goes.
        let mut alone = Punct::new('#', Spacing::Alone);
        alone.set_span(hash.span());
        attrs.append(alone);
        attrs.append(content.clone());
        rest.drain(..3);
    }
    (attrs, rest.into_iter().collect())
}
