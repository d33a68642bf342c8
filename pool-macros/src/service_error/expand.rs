//! Writes the answers. The crate's documentation lists them.

use super::ast::{Answer, ServiceError};
use crate::names::ours_at;
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;

/// `failure`, and what each framework asks of an error.
pub(crate) fn expand(error: &ServiceError) -> TokenStream {
    let (krate, vis, name) = (error.root(Span::mixed_site()), &error.vis, &error.name);
    let (impl_generics, type_generics, bounds) = error.generics.split_for_impl();
    let arms = error.variants.iter().map(|(variant, answer)| arm(error, variant, answer));
    // That the enum is an error is asked here and nowhere else: once.
    let span = ours_at(name.span());
    let shown = error.root(span);
    let answers = quote_spanned!(span=> impl #impl_generics #shown::private::Answers for #name #type_generics #bounds);
    let responses = (!error.own_response).then(|| responses(error));
    quote_spanned! {Span::mixed_site()=>
        #answers {
            fn failure(&self) -> #krate::Failure {
                #[allow(unused_imports)]
                use #krate::private::{LookAnyway as _, LookAtError as _, LookIntoBox as _};
                match self { #(#arms)* }
            }
        }
        impl #impl_generics #name #type_generics #bounds {
            /// How the service answers for this error.
            #vis fn failure(&self) -> #krate::Failure {
                #krate::private::failure(self)
            }
        }
        #responses
    }
}

fn responses(error: &ServiceError) -> TokenStream {
    let (krate, name) = (error.root(Span::mixed_site()), &error.name);
    let (impl_generics, type_generics, bounds) = error.generics.split_for_impl();
    // Which framework is there is a feature of pool-sqlx, which this crate cannot see: the macros are empty without it.
    quote_spanned! {Span::mixed_site()=>
        #krate::__if_axum! {
            impl #impl_generics #krate::axum::response::IntoResponse for #name #type_generics #bounds {
                fn into_response(self) -> #krate::axum::response::Response {
                    #krate::axum::response::IntoResponse::into_response(#krate::private::answer(&self))
                }
            }
        }
        #krate::__if_actix! {
            impl #impl_generics #krate::actix_web::ResponseError for #name #type_generics #bounds {
                fn status_code(&self) -> #krate::actix_web::http::StatusCode {
                    #krate::private::actix_status(&self.failure())
                }
                fn error_response(&self) -> #krate::actix_web::HttpResponse {
                    ::core::convert::Into::into(#krate::private::answer(self))
                }
            }
        }
        #krate::__if_tonic! {
            impl #impl_generics ::core::convert::From<#name #type_generics> for #krate::tonic::Status #bounds {
                fn from(error: #name #type_generics) -> Self {
                    ::core::convert::Into::into(#krate::private::answer(&error))
                }
            }
        }
    }
}

fn arm(error: &ServiceError, variant: &Ident, answer: &Answer) -> TokenStream {
    let span = ours_at(variant.span());
    let krate = error.root(span);
    match answer {
        Answer::Missing => quote_spanned!(span=> Self::#variant { .. } => #krate::Failure::new(500),),
        Answer::Status { status, problem_type, retry_after } => {
            let problem_type = problem_type.iter().map(|text| quote_spanned!(span=> .with_type(#text)));
            let retry_after = retry_after.iter().map(|delay| quote_spanned!(span=> .with_retry_after(#delay)));
            // What went wrong inside is nobody's business outside.
            let is_client_s = status.base10_parse().is_ok_and(|status: u16| status < 500);
            let detail = is_client_s.then(|| quote_spanned!(span=> .with_detail(#krate::private::text(self))));
            quote_spanned! {span=>
                Self::#variant { .. } => #krate::Failure::new(#status) #(#problem_type)* #(#retry_after)* #detail,
            }
        }
        Answer::Database { field, place, not_found, unique } => {
            let option = |status: &Option<syn::LitInt>| match status {
                Some(status) => quote_spanned!(status.span()=> ::core::option::Option::Some(#status)),
                None => quote_spanned!(span=> ::core::option::Option::None),
            };
            let (not_found, unique) = (option(not_found), option(unique));
            let shown = ours_at(*place);
            let look = error.root(shown);
            let look = quote_spanned!(shown=> (&&#look::private::Look(error)).error());
            quote_spanned! {span=>
                Self::#variant { #field: error, .. } => #krate::private::failure_in(#look, #not_found, #unique),
            }
        }
    }
}
