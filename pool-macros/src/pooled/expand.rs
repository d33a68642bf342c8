//! Writes the function out. The crate's documentation shows the result.

use super::{
    ast::{Carries, ConnArg, Loan, Pooled, split_inner_attributes},
    attr::{Retry, Setting, Value},
    conn::is_perhaps_transaction,
};
use crate::names::{ours_at, place};
use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    FnArg, PatType, ReturnType, Token, Type, parse_quote, parse_quote_spanned, punctuated::Punctuated,
    spanned::Spanned, visit_mut::VisitMut,
};

/// The function that takes the pool where the user wrote the connection, and borrows from it around the body.
///
/// One function with an inner block, not an inner function: that could not name `self`, `Self` or the generics.
/// Our variables have `mixed_site` spans, so the user's code cannot see them and may use the same names.
/// Paths are absolute, since users shadow `Ok` and `Result`.
/// Each part is shown at what it is about, the connection's type or the return type: there errors about it appear.
pub(crate) fn expand(pooled: Pooled) -> TokenStream {
    let code = Code::new(&pooled);
    let Pooled { attrs, vis, sig, body, .. } = &pooled;
    let (inner_attrs, statements) = split_inner_attributes(body.stream());
    let mut sig = sig.clone();
    sig.inputs = code.inputs();
    sig.output = code.output();

    let call = code.call();
    let acquire = code.acquire();
    let work = match &pooled.options.retry {
        None => {
            let run = code.run(body, statements, None);
            let finish = code.finish();
            quote!(#acquire #run #finish)
        }
        Some(retry) => {
            let clones = clones(&mut sig, &pooled.conn.name);
            let run = code.run(body, statements, Some(clones));
            let finish = code.finish_or_retry(retry);
            quote_spanned! {Span::mixed_site()=>
                let mut attempt: u32 = 0;
                loop {
                    #acquire
                    #run
                    #finish
                }
            }
        }
    };
    quote! {
        #(#attrs)* #inner_attrs #vis #sig {
            #call
            #work
        }
    }
}

/// Writes the parts.
struct Code<'p> {
    pooled: &'p Pooled,
    /// The argument that asks for the connection.
    conn_span: Span,
    /// The return type; the name where there is none.
    reply_span: Span,
    /// What a failure of the pool, `error`, becomes.
    failure: TokenStream,
}

impl<'p> Code<'p> {
    fn new(pooled: &'p Pooled) -> Self {
        let conn_span = ours_at(pooled.conn.arg.span());
        let reply_span = ours_at(match &pooled.sig.output {
            ReturnType::Default => pooled.sig.ident.span(),
            ReturnType::Type(_, ty) => ty.span(),
        });
        let failure = match (pooled.reply.carries, &pooled.reply.error) {
            (Carries::Failures, Some(ty)) => {
                let span = ours_at(place(ty));
                let rt = private(pooled, span);
                quote_spanned!(span=> ::core::result::Result::Err(#rt::FromFailure::from_failure(error)))
            }
            (Carries::Failures, None) => {
                let rt = private(pooled, reply_span);
                quote_spanned!(reply_span=> #rt::Reply::from_pool_error(error))
            }
            (Carries::Values, _) => quote_spanned!(reply_span=> ::core::result::Result::Err(error)),
        };
        Self { pooled, conn_span, reply_span, failure }
    }

    /// The pool goes first: the extractor of a request's body must stay last.
    fn inputs(&self) -> Punctuated<FnArg, Token![,]> {
        let Pooled { options, receiver, conn, extra, others, .. } = self.pooled;
        let handles = [conn].into_iter().chain(extra).filter(|_| options.from.is_none());
        let handles = handles.map(|ConnArg { name, ty, .. }| -> FnArg {
            let span = ours_at(ty.span());
            let root = options.root(span);
            let key = match &options.pool {
                Some(key) => quote!(#key),
                None => quote_spanned!(span=> #root::Main),
            };
            parse_quote_spanned!(span=> #name: #root::private::PoolFor<#ty, #key>)
        });
        let receiver = receiver.iter().cloned().map(FnArg::Receiver);
        receiver.chain(handles).chain(others.iter().cloned().map(FnArg::Typed)).collect()
    }

    fn output(&self) -> ReturnType {
        let Pooled { options, sig, reply, .. } = self.pooled;
        let (root, declared) = (options.root(self.reply_span), &reply.declared);
        match reply.carries {
            Carries::Failures => sig.output.clone(),
            Carries::Values => {
                parse_quote_spanned!(self.reply_span=> -> ::core::result::Result<#declared, #root::Error>)
            }
        }
    }

    /// The function's one static: its name, its line, its limits.
    fn call(&self) -> TokenStream {
        let Pooled { options, sig, conn, .. } = self.pooled;
        let (rt, name) = (private(self.pooled, Span::mixed_site()), sig.ident.to_string());
        // `Site::named` takes the location of these tokens: the user's line, if they have the user's bare span.
        let span = sig.ident.span();
        let root = options.root(span);
        let site = quote_spanned! {span=>
            #root::private::Site::named(::core::concat!(::core::module_path!(), "::", #name))
        };
        let settings = options.settings.iter().map(|Setting { key, value }| match value {
            Value::Tokens(value) => quote!(.#key(#value)),
            Value::Isolation(level) => quote!(.#key(#rt::Isolation::#level)),
        });
        // A name tells no more than that it may be one. Where it tells that it is none, there was a fault.
        let asks_for_one = !options.of_transactions.is_empty() && is_perhaps_transaction(&conn.ty);
        let transaction = asks_for_one.then(|| {
            let (span, ty) = (ours_at(conn.ty.span()), &conn.ty);
            let rt = private(self.pooled, span);
            quote_spanned!(span=> #rt::transaction::<#ty>();)
        });
        quote_spanned! {Span::mixed_site()=>
            static __CALL: #rt::Call = #rt::Call::new(#site)#(#settings)*;
            #transaction
        }
    }

    /// Runs after all extractors, a body's included.
    fn acquire(&self) -> TokenStream {
        let Self { pooled, failure, .. } = self;
        let ConnArg { name, ty, loan, .. } = &pooled.conn;
        let span = ours_at(ty.span());
        let rt = private(pooled, span);
        let pool = match &pooled.options.from {
            Some(from) => {
                let span = ours_at(from.span());
                let rt = private(pooled, span);
                quote_spanned!(span=> #rt::as_pool::<#ty, _>(&(#from)))
            }
            None => quote_spanned!(span=> &#name),
        };
        let mutable = (*loan == Loan::Lent).then(|| quote_spanned!(span=> mut));
        quote_spanned! {span=>
            let #mutable held = match #rt::acquire::<#ty, _>(#pool, &__CALL).await {
                ::core::result::Result::Ok(held) => held,
                ::core::result::Result::Err(error) => return #failure,
            };
        }
    }

    /// The user's statements, in a closure of their own: `return` and `?` end it, not us.
    ///
    /// The connection is the closure's argument, so the compiler knows it by its name and says where it escapes.
    fn run(&self, body: &Group, statements: TokenStream, clones: Option<TokenStream>) -> TokenStream {
        let Self { pooled, conn_span, reply_span, .. } = self;
        let mut reply = pooled.reply.declared.clone();
        EraseImpl.visit_type_mut(&mut reply);
        // Never runs. Tells inference the declared type before it reads the body, so that `?` and coercions work as written.
        let hint = quote_spanned! {*reply_span=>
            #[allow(unknown_lints, unreachable_code, clippy::diverging_sub_expression, clippy::empty_loop,
                clippy::let_unit_value, clippy::needless_return, clippy::let_with_type_underscore)]
            if false {
                let reply: #reply = loop {};
                return reply;
            }
        };
        // Spliced into one group with the user's brace span: an extra pair would be linted, and errors would lose their place.
        let mut block = Group::new(Delimiter::Brace, quote!(#hint #statements));
        block.set_span(body.span());

        let rt = private(pooled, *conn_span);
        let ConnArg { arg: PatType { attrs, pat, .. }, ty, loan, .. } = &pooled.conn;
        // `move`: by reference the future would be smaller, but not `Send` with an argument that is not `Sync`.
        // Shown at the return type, which is what the compiler points at when a `?` has nowhere to go.
        let asynchronous = quote_spanned!(*reply_span=> async move);
        let run = match loan {
            Loan::Lent => {
                // Where a lifetime of the connection is spoken of, the argument's own `&` is shown.
                let lent = quote_spanned!(self.pooled.conn.arg.ty.span()=> &mut);
                let pat = if pooled.escapes { quote!(_) } else { quote!(#pat) };
                let body = quote!(#asynchronous |#(#attrs)* #pat: #lent #ty| #block);
                quote_spanned!(*conn_span=> #rt::holding(&mut held, #body))
            }
            // Not marked as holding: the connection may be gone long before the body ends.
            Loan::Given => {
                let body = quote!(#asynchronous |#(#attrs)* #pat: #ty| #block);
                quote_spanned!(*conn_span=> #rt::giving(held, #body))
            }
        };
        let never = pooled.escapes.then_some(&pooled.conn);
        let extra = pooled.extra.iter().chain(never).map(|ConnArg { arg: PatType { pat, .. }, ty, .. }| {
            quote!(let #pat: &mut #ty = ::core::option::Option::unwrap(::core::option::Option::None);)
        });
        // Only this lint is allowed here: a wider list would also silence the user's own code.
        quote_spanned! {*conn_span=>
            #[allow(clippy::let_unit_value)]
            let reply: #reply = {
                #clones
                #(#extra)*
                #run.await
            };
        }
    }

    /// Commits or rolls back, and releases, before the caller can make a response of the value.
    fn finish(&self) -> TokenStream {
        let Self { pooled, conn_span, failure, .. } = self;
        let rt = private(pooled, *conn_span);
        let (success, reply) = (self.success(), self.reply());
        if pooled.conn.loan == Loan::Given {
            return reply;
        }
        quote_spanned! {*conn_span=>
            let success = #success;
            match #rt::finish(held, success).await {
                ::core::result::Result::Ok(()) => #reply,
                ::core::result::Result::Err(error) => #failure,
            }
        }
    }

    /// The same in the loop of `retry`: the body may ask for another attempt by its error, and so may the commit.
    fn finish_or_retry(&self, retry: &Retry) -> TokenStream {
        let Self { pooled, conn_span, failure, .. } = self;
        let rt = private(pooled, *conn_span);
        let (success, reply) = (self.success(), self.reply());
        let span = ours_at(retry.key.span());
        let asked = private(pooled, span);
        let reply_asks = quote_spanned!(span=> #asked::RetryOn::wants_retry(&reply));
        let error_asks = quote_spanned!(span=> #asked::RetryOn::wants_retry(&error));
        let times = retry.times;
        quote_spanned! {*conn_span=>
            let success = #success;
            let left = attempt < #times;
            let again = left && #reply_asks;
            match #rt::finish(held, success).await {
                ::core::result::Result::Ok(()) if !again => break #reply,
                ::core::result::Result::Err(error) if !left || !#error_asks => break #failure,
                _ => {}
            }
            #rt::back_off(attempt).await;
            attempt += 1;
        }
    }

    fn success(&self) -> TokenStream {
        let Self { pooled, reply_span, .. } = self;
        let rt = private(pooled, *reply_span);
        match (pooled.reply.carries, &pooled.reply.error) {
            (Carries::Failures, Some(_)) => quote_spanned!(*reply_span=> ::core::result::Result::is_ok(&reply)),
            (Carries::Failures, None) => quote_spanned!(*reply_span=> #rt::Reply::is_success(&reply)),
            (Carries::Values, _) => quote!(true),
        }
    }

    fn reply(&self) -> TokenStream {
        match self.pooled.reply.carries {
            Carries::Failures => quote_spanned!(self.reply_span=> reply),
            Carries::Values => quote_spanned!(self.reply_span=> ::core::result::Result::Ok(reply)),
        }
    }
}

/// The run time's module, shown at this place.
fn private(pooled: &Pooled, span: Span) -> TokenStream {
    let root = pooled.options.root(span);
    quote_spanned!(span=> #root::private)
}

/// A copy of each variable that the arguments bind, for one attempt. `mut` moves from the arguments to the copies.
fn clones(sig: &mut syn::Signature, pool: &syn::Ident) -> TokenStream {
    struct Bindings(Vec<(Option<syn::Token![mut]>, syn::Ident)>);
    impl VisitMut for Bindings {
        fn visit_pat_ident_mut(&mut self, pat: &mut syn::PatIdent) {
            // `Unit: Unit` names a struct: it binds nothing.
            if !pat.ident.to_string().starts_with(char::is_uppercase) {
                self.0.push((pat.mutability.take(), pat.ident.clone()));
            }
            syn::visit_mut::visit_pat_ident_mut(self, pat);
        }
    }
    let mut bindings = Bindings(Vec::new());
    for arg in &mut sig.inputs {
        if let FnArg::Typed(arg) = arg {
            bindings.visit_pat_mut(&mut arg.pat);
        }
    }
    let clone = |(mutability, name): (_, syn::Ident)| quote_spanned!(ours_at(name.span())=> let #mutability #name = ::core::clone::Clone::clone(&#name););
    bindings.0.into_iter().filter(|(_, name)| name != pool).map(clone).collect()
}

/// `impl Trait` cannot be the type of a variable: `_` is.
struct EraseImpl;

impl VisitMut for EraseImpl {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        match ty {
            Type::ImplTrait(_) => *ty = parse_quote!(_),
            _ => syn::visit_mut::visit_type_mut(self, ty),
        }
    }
}
