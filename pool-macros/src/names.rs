//! What a name says: the last word of a type, a type as its user wrote it.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::{Path, PathSegment, Type, ext::IdentExt, spanned::Spanned};

/// A type without invisible groups (those that came through `macro_rules!`) and parentheses.
pub(crate) fn peel(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => peel(&group.elem),
        Type::Paren(paren) => peel(&paren.elem),
        ty => ty,
    }
}

/// The last segment of a type that is a path: `PgConn` of `&`-less `pool_sqlx::PgConn`.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match peel(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// Where an error about a type is shown: at its name, which is its last word.
pub(crate) fn place(ty: &Type) -> Span {
    last_segment(ty).map_or_else(|| ty.span(), |segment| segment.ident.span())
}

/// Its name, or nothing for a type that is no path.
pub(crate) fn last_name(ty: &Type) -> String {
    last_segment(ty).map(|segment| segment.ident.to_string()).unwrap_or_default()
}

/// `ReadReplica` of `read_replica`.
pub(crate) fn camel(name: &Ident) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>())
    };
    name.unraw().to_string().split('_').filter_map(word).collect()
}

/// The root of the generated paths, `::pool_sqlx` or the one of `crate = path`, shown at this place.
///
/// A call must have one place in all its tokens: or the compiler reports twice, once on the attribute.
pub(crate) fn root(given: Option<&Path>, span: Span) -> TokenStream {
    let Some(path) = given else { return quote_spanned!(span=> ::pool_sqlx) };
    // What the user's own path means stays as it is.
    let shown = |mut tree: TokenTree| {
        tree.set_span(tree.span().located_at(span));
        tree
    };
    path.to_token_stream().into_iter().map(shown).collect()
}

/// A span for names of ours, shown at the user's place.
pub(crate) fn ours_at(place: Span) -> Span {
    Span::mixed_site().located_at(place)
}

/// A type as a user would write it.
pub(crate) fn text(ty: &Type) -> String {
    ty.to_token_stream()
        .to_string()
        .replace("& mut", "&mut")
        .replace(" :: ", "::")
        .replace(" < ", "<")
        .replace(" >", ">")
}
