//! `#[derive(HasPools)]`: lets handlers find the pools of a struct that is a field of the state.

use super::ast;
use crate::{
    fault::Faults,
    names::{self, ours_at, place},
};
use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Fields, Type, parse_quote, spanned::Spanned};

/// One `FromRef` for all pools of the field, after a `compile_error!` for each fault.
pub(crate) fn expand(item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let from_ref = from_ref(item, &mut faults);
    let faults = faults.into_tokens();
    quote!(#faults #from_ref)
}

/// `FromRef` is not transitive: that `Databases` gives a pool says nothing about a state that has `Databases`.
fn from_ref(item: TokenStream, faults: &mut Faults) -> Option<TokenStream> {
    let item: DeriveInput = match syn::parse2(item) {
        Ok(item) => item,
        Err(error) => {
            faults.parse(error);
            return None;
        }
    };
    let root = ast::read_root(&item.attrs, faults);
    let (field, databases) = marked(&item, faults)?;
    let (span, shown) = (ours_at(databases.span()), ours_at(place(databases)));
    let (krate, shown_krate) = (names::root(root.as_ref(), span), names::root(root.as_ref(), shown));
    let (_, own, bounds) = item.generics.split_for_impl();
    let bounds = bounds.map(|bounds| &bounds.predicates);
    let (own_generics, ..) = item.generics.split_for_impl();
    let mut all = item.generics.clone();
    all.params.push(parse_quote!(__DB: #krate::Backend));
    all.params.push(parse_quote!(__Key));
    let (impl_generics, ..) = all.split_for_impl();
    let state = &item.ident;
    let has_pools = quote_spanned!(shown=> #shown_krate::private::HasPools);
    Some(quote_spanned! {span=>
        impl #own_generics #krate::private::HasPools for #state #own
        where
            #databases: #has_pools,
            #bounds
        {
        }
        #krate::__if_axum! {
            impl #impl_generics #krate::axum::extract::FromRef<#state #own> for #krate::Pool<__DB, __Key>
            where
                #krate::Pool<__DB, __Key>: #krate::axum::extract::FromRef<#databases>,
                #bounds
            {
                fn from_ref(state: &#state #own) -> Self {
                    #krate::axum::extract::FromRef::from_ref(&state.#field)
                }
            }
        }
    })
}

/// The field that has the pools.
fn marked<'i>(item: &'i DeriveInput, faults: &mut Faults) -> Option<(&'i Ident, &'i Type)> {
    let example = "write `#[pools] databases: Databases`";
    let Data::Struct(syn::DataStruct { fields: Fields::Named(fields), .. }) = &item.data else {
        faults.at(&item.ident, format!("`HasPools` is for a struct with named fields; {example}"));
        return None;
    };
    let mut marked = fields.named.iter().filter(|field| field.attrs.iter().any(|attr| attr.path().is_ident("pools")));
    let Some(first) = marked.next() else {
        faults.at(&item.ident, format!("`HasPools` needs a mark on the field that has the pools; {example}"));
        return None;
    };
    for second in marked {
        let message = "only one field can have the pools; move all of them into one `#[derive(Pools)]` struct";
        faults.at(&second.ty, message);
    }
    Some((first.ident.as_ref()?, &first.ty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(item: &str, expected: &[&str]) {
        let mut faults = Faults::default();
        from_ref(item.parse().expect("tokens"), &mut faults);
        assert_eq!(faults.texts(), expected);
    }

    #[test]
    fn exactly_one_field_is_marked() {
        let write = "write `#[pools] databases: Databases`";
        check("struct App(Databases);", &[&format!("App: `HasPools` is for a struct with named fields; {write}")]);
        check(
            "struct App { d: Databases }",
            &[&format!("App: `HasPools` needs a mark on the field that has the pools; {write}")],
        );
        check(
            "struct App { #[pools] a: Databases, #[pools] b: Others }",
            &["Others: only one field can have the pools; move all of them into one `#[derive(Pools)]` struct"],
        );
        check("#[pools(crate = a)] struct App<'a, T: Clone> where T: Copy { #[pools] a: Databases, b: &'a T }", &[]);
    }
}
