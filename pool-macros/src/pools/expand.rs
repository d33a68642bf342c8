//! Writes the methods. The crate's documentation lists them.

use super::ast::{Field, Opens, Pools};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;

/// `SECTIONS`, `connect`, `connect_with`, `close`, `ready`, `status`, for axum one `FromRef` for each pool, for actix `configure`.
pub(crate) fn expand(pools: &Pools) -> TokenStream {
    let (krate, name, vis, fields) = (pools.root(), &pools.name, &pools.vis, &pools.fields);
    let (impl_generics, type_generics, bounds) = pools.generics.split_for_impl();
    let sections = fields.iter().map(|field| &field.section);
    let connect = connect(&krate, vis, fields);
    let close = close(&krate, vis, fields);
    let ready = ready(&krate, vis, fields);
    let status = status(&krate, vis, fields);
    let from_ref = fields.iter().filter(|field| !field.twin).map(|Field { name: field, ty, .. }| {
        quote_spanned! {ours_at(ty.span())=>
            impl #impl_generics #krate::axum::extract::FromRef<#name #type_generics> for #ty #bounds {
                fn from_ref(pools: &#name #type_generics) -> Self {
                    ::core::clone::Clone::clone(&pools.#field)
                }
            }
        }
    });
    let watched = fields.iter().map(|Field { name, ty, .. }| {
        quote_spanned!(ours_at(ty.span())=> <#ty as #krate::private::IsPool>::watched(&self.#name))
    });
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

fn connect(krate: &TokenStream, vis: &syn::Visibility, fields: &[Field]) -> TokenStream {
    let names: Vec<_> = fields.iter().map(|field| &field.name).collect();
    let sections = fields.iter().map(|field| &field.section);
    let settings: Vec<_> =
        names.iter().map(|name| format_ident!("{}_settings", name, span = Span::mixed_site())).collect();
    let pools = fields.iter().zip(&settings).map(|(Field { name, ty, .. }, settings)| {
        let pool = quote_spanned!(ours_at(ty.span())=> <#ty as #krate::private::IsPool>::connect_lazy(#settings)?);
        quote!(#name: #pool)
    });
    let eager = fields.iter().filter(|field| field.opens == Opens::AtStart);
    let open = list(
        krate,
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
            let pools = Self { #(#pools,)* };
            let connected = #krate::private::all(#open).await;
            if let ::core::result::Result::Err(error) = connected {
                pools.close().await;
                return ::core::result::Result::Err(error);
            }
            ::core::result::Result::Ok(pools)
        }
    }
}

fn close(krate: &TokenStream, vis: &syn::Visibility, fields: &[Field]) -> TokenStream {
    let closing = list(krate, fields, quote!(#krate::CloseReport), "close", &quote_spanned!(Span::mixed_site()=> self));
    quote_spanned! {Span::mixed_site()=>
        /// Closes all pools at once, and tells of each what was still held when its grace ended.
        #vis async fn close(&self) -> ::std::vec::Vec<(&'static str, #krate::CloseReport)> {
            #krate::private::close_all(#closing).await
        }
    }
}

fn ready(krate: &TokenStream, vis: &syn::Visibility, fields: &[Field]) -> TokenStream {
    let owner = quote_spanned!(Span::mixed_site()=> self);
    let ready = list(krate, fields, quote!(::core::result::Result<(), #krate::Error>), "ready", &owner);
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

fn status(krate: &TokenStream, vis: &syn::Visibility, fields: &[Field]) -> TokenStream {
    let each = fields.iter().map(
        |Field { name, ty, section, .. }| quote_spanned!(ours_at(ty.span())=> (#section, <#ty as #krate::private::IsPool>::status(&self.#name))),
    );
    quote_spanned! {Span::mixed_site()=>
        /// The numbers of all pools.
        #vis fn status(&self) -> ::std::vec::Vec<(&'static str, #krate::Status)> {
            ::std::vec::Vec::from([#(#each),*])
        }
    }
}

/// `[("primary", Box::pin(pool.ready())), ..]`: futures of different types in one list.
fn list<'f>(
    krate: &TokenStream,
    fields: impl IntoIterator<Item = &'f Field>,
    output: TokenStream,
    method: &str,
    owner: &TokenStream,
) -> TokenStream {
    let each = fields.into_iter().map(|Field { name, ty, section, .. }| {
        let span = ours_at(ty.span());
        let method = Ident::new(method, span);
        quote_spanned! {span=>
            (#section, ::std::boxed::Box::pin(<#ty as #krate::private::IsPool>::#method(&#owner.#name))
                as ::core::pin::Pin<::std::boxed::Box<dyn ::core::future::Future<Output = #output> + ::core::marker::Send + '_>>)
        }
    });
    quote!(::std::vec::Vec::from([#(#each),*]))
}

/// A span for names of ours, shown at the user's type: there the compiler says that it is no pool.
fn ours_at(place: Span) -> Span {
    Span::mixed_site().located_at(place)
}
