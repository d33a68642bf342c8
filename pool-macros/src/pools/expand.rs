//! Writes the methods. The crate's documentation lists them.

use super::ast::{Field, Opens, Pools};
use crate::names::{ours_at, place};
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;

/// `SECTIONS`, `connect`, `connect_with`, `close`, `ready`, `status`, for axum one `FromRef` for each pool, for actix `configure`.
pub(crate) fn expand(pools: &Pools) -> TokenStream {
    let (krate, name, vis, fields) = (pools.root(Span::mixed_site()), &pools.name, &pools.vis, &pools.fields);
    let (impl_generics, type_generics, bounds) = pools.generics.split_for_impl();
    let sections = fields.iter().map(|field| &field.section);
    let connect = connect(pools, &krate);
    let close = close(pools, &krate);
    let ready = ready(pools, &krate);
    let status = status(pools, &krate);
    let from_ref = fields.iter().filter(|field| !field.twin).map(|Field { name: field, ty, .. }| {
        quote_spanned! {ours_at(ty.span())=>
            impl #impl_generics #krate::axum::extract::FromRef<#name #type_generics> for #ty #bounds {
                fn from_ref(pools: &#name #type_generics) -> Self {
                    ::core::clone::Clone::clone(&pools.#field)
                }
            }
        }
    });
    let watched = fields
        .iter()
        .map(|field| call(pools, field, "watched", |name| quote_spanned!(Span::mixed_site()=> &self.#name)));
    let names = fields.iter().map(|field| &field.name);
    let configure = quote_spanned! {Span::mixed_site()=>
        impl #impl_generics #name #type_generics #bounds {
            /// Lets an actix application's handlers find the pools: `App::new().configure(|config| databases.configure(config))`.
            #vis fn configure(&self, config: &mut #krate::actix_web::web::ServiceConfig) {
                #(config.app_data(::core::clone::Clone::clone(&self.#names));)*
            }
        }
    };
    let watchable = quote_spanned! {Span::mixed_site()=>
        impl #impl_generics #krate::private::HasPools for #name #type_generics #bounds {}
        impl #impl_generics #krate::Watchable for #name #type_generics #bounds {
            fn watched(&self) -> ::std::vec::Vec<#krate::Watched> {
                let pools: [::std::vec::Vec<#krate::Watched>; _] = [#(#watched),*];
                ::core::iter::Iterator::collect(::core::iter::Iterator::flatten(::core::iter::IntoIterator::into_iter(pools)))
            }
        }
    };
    // Which framework is there is a feature of pool-sqlx, which this crate cannot see: the macro is empty without it.
    quote! {
        impl #impl_generics #name #type_generics #bounds {
            /// The sections of the configuration, one for each pool, in the order of the fields.
            #vis const SECTIONS: &'static [&'static str] = &[#(#sections),*];
            #connect
            #close
            #ready
            #status
        }
        #watchable
        #krate::__if_axum! { #(#from_ref)* }
        #krate::__if_actix! { #configure }
    }
}

fn connect(pools: &Pools, krate: &TokenStream) -> TokenStream {
    let Pools { vis, fields, .. } = pools;
    let names: Vec<_> = fields.iter().map(|field| &field.name).collect();
    let sections = fields.iter().map(|field| &field.section);
    let settings: Vec<_> =
        names.iter().map(|name| format_ident!("{}_settings", name, span = Span::mixed_site())).collect();
    let opened = fields.iter().zip(&settings).map(|(field, settings)| {
        let (name, pool) =
            (&field.name, call(pools, field, "connect_lazy", |_| quote_spanned!(Span::mixed_site()=> #settings)));
        quote!(#name: #pool?)
    });
    let eager = fields.iter().filter(|field| field.opens == Opens::AtStart);
    let open = list(
        pools,
        eager,
        quote!(::core::result::Result<(), #krate::Error>),
        "open",
        &quote_spanned!(Span::mixed_site()=> pools),
    );
    quote_spanned! {Span::mixed_site()=>
        /// Connects all pools at once, as `Pool.toml` and the environment say: opens `pool_size` connections of each.
        ///
        /// # Errors
        ///
        /// Every fault of every section, each with its source; else the first connection that failed, after the
        /// pools that did connect have been closed.
        #vis async fn connect() -> ::core::result::Result<Self, #krate::Error> {
            Self::connect_with(&#krate::DatabaseSettings::figment_for(Self::SECTIONS)).await
        }

        /// Connects all pools at once, as this configuration says.
        ///
        /// # Errors
        ///
        /// As [`connect`](Self::connect).
        #vis async fn connect_with(figment: &#krate::figment::Figment) -> ::core::result::Result<Self, #krate::Error> {
            let mut sections = #krate::private::Sections::new(figment, Self::SECTIONS);
            #(let #settings = sections.read(#sections);)*
            sections.finish()?;
            let (#(::core::option::Option::Some(#settings),)*) = (#(#settings,)*) else {
                ::core::unreachable!("BUG: a section is missing, and `finish` did not say so");
            };
            let pools = Self { #(#opened,)* };
            let connected = #krate::private::all(#open).await;
            if let ::core::result::Result::Err(error) = connected {
                pools.close().await;
                return ::core::result::Result::Err(error);
            }
            ::core::result::Result::Ok(pools)
        }
    }
}

fn close(pools: &Pools, krate: &TokenStream) -> TokenStream {
    let Pools { vis, fields, .. } = pools;
    let closing = list(pools, fields, quote!(#krate::CloseReport), "close", &quote_spanned!(Span::mixed_site()=> self));
    quote_spanned! {Span::mixed_site()=>
        /// Closes all pools at once, and tells of each what was still held when its grace ended.
        #vis async fn close(&self) -> ::std::vec::Vec<(&'static str, #krate::CloseReport)> {
            #krate::private::close_all(#closing).await
        }
    }
}

fn ready(pools: &Pools, krate: &TokenStream) -> TokenStream {
    let Pools { vis, fields, .. } = pools;
    let owner = quote_spanned!(Span::mixed_site()=> self);
    let ready = list(pools, fields, quote!(::core::result::Result<(), #krate::Error>), "ready", &owner);
    quote_spanned! {Span::mixed_site()=>
        /// Tells whether a request would get a connection that works, from each pool. For a readiness check.
        ///
        /// # Errors
        ///
        /// What the first pool that is not ready says; its name is in it.
        #vis async fn ready(&self) -> ::core::result::Result<(), #krate::Error> {
            #krate::private::all(#ready).await
        }
    }
}

fn status(pools: &Pools, krate: &TokenStream) -> TokenStream {
    let Pools { vis, fields, .. } = pools;
    let each = fields.iter().map(|field| {
        let (section, status) =
            (&field.section, call(pools, field, "status", |name| quote_spanned!(Span::mixed_site()=> &self.#name)));
        quote!((#section, #status))
    });
    quote_spanned! {Span::mixed_site()=>
        /// The numbers of all pools.
        #vis fn status(&self) -> ::std::vec::Vec<(&'static str, #krate::Status)> {
            ::std::vec::Vec::from([#(#each),*])
        }
    }
}

/// `[("primary", Box::pin(pool.ready())), ..]`: futures of different types in one list.
fn list<'f>(
    pools: &Pools,
    fields: impl IntoIterator<Item = &'f Field>,
    output: TokenStream,
    method: &str,
    owner: &TokenStream,
) -> TokenStream {
    let each = fields.into_iter().map(|field| {
        let (section, future) = (&field.section, call(pools, field, method, |name| quote_spanned!(Span::mixed_site()=> &#owner.#name)));
        quote_spanned! {Span::mixed_site()=>
            (#section, ::std::boxed::Box::pin(#future)
                as ::core::pin::Pin<::std::boxed::Box<dyn ::core::future::Future<Output = #output> + ::core::marker::Send + '_>>)
        }
    });
    quote!(::std::vec::Vec::from([#(#each),*]))
}

/// A call of `IsPool`, all of it shown at the field's type: there the compiler says, once, that it is no pool.
fn call(pools: &Pools, field: &Field, method: &str, argument: impl Fn(&Ident) -> TokenStream) -> TokenStream {
    let span = ours_at(place(&field.ty));
    let (krate, method) = (pools.root(span), Ident::new(method, span));
    let shown = |mut tree: TokenTree| {
        tree.set_span(tree.span().located_at(span));
        tree
    };
    let argument: TokenStream = argument(&field.name).into_iter().map(shown).collect();
    quote_spanned!(span=> #krate::private::IsPool::#method(#argument))
}
