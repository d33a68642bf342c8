//! Writes the function out. The crate's documentation shows the result.

use super::{
    ast::{Carries, ConnArg, Loan, Pooled, split_inner_attributes},
    attr::{Retry, Value},
};
use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::{FnArg, Type, parse_quote, parse_quote_spanned, spanned::Spanned, visit_mut::VisitMut};

/// The function that takes the pool where the user wrote the connection, and borrows from it around the body.
///
/// One function with an inner block, not an inner function: that could not name `self`, `Self` or the generics.
/// Our variables have `mixed_site` spans, so the user's code cannot see them and may use the same names.
/// Paths are absolute, since users shadow `Ok` and `Result`.
pub(crate) fn expand(pooled: Pooled) -> TokenStream {
    let code = Code::new(&pooled);
    let Pooled { attrs, vis, sig, body, .. } = &pooled;
    let (inner_attrs, statements) = split_inner_attributes(body.stream());
    let mut sig = sig.clone();
    sig.inputs = inputs(&pooled);
    if pooled.reply.carries == Carries::Values {
        let (declared, root) = (&pooled.reply.declared, &code.root);
        sig.output = parse_quote_spanned!(code.reply_span=> -> ::core::result::Result<#declared, #root::Error>);
    }

    let call = code.call();
    let acquire = code.acquire();
    let work = match &pooled.options.retry {
        None => {
            let run = code.run(body, statements, &TokenStream::new());
            let finish = code.finish();
            quote!(#acquire #run #finish)
        }
        Some(retry) => {
            let clones = clones(&mut sig, &pooled.conn.name);
            let run = code.run(body, statements, &clones);
            let finish = code.finish_or_retry(retry);
            let times = retry.times;
            quote_spanned! {Span::mixed_site()=>
                let mut left: u32 = #times;
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

/// The pool goes first: extractors of a body must stay last.
fn inputs(pooled: &Pooled) -> syn::punctuated::Punctuated<FnArg, syn::Token![,]> {
    let handles = [&pooled.conn].into_iter().chain(&pooled.extra).filter(|_| pooled.options.from.is_none());
    let handles = handles.map(|ConnArg { name, ty, .. }| -> FnArg {
        let root = pooled.options.root(located_here(ty.span()));
        let key = match &pooled.options.pool {
            Some(key) => quote!(#key),
            None => quote!(#root::Main),
        };
        parse_quote_spanned!(located_here(ty.span())=> #name: #root::private::PoolFor<#ty, #key>)
    });
    let receiver = pooled.receiver.iter().cloned().map(FnArg::Receiver);
    receiver.chain(handles).chain(pooled.others.iter().cloned()).collect()
}

/// The parts of the new body.
struct Code<'p> {
    pooled: &'p Pooled,
    root: TokenStream,
    /// What a failure of the pool becomes.
    failure: TokenStream,
    /// Errors about the reply belong on the return type, or on the name where there is none.
    reply_span: Span,
}

impl<'p> Code<'p> {
    fn new(pooled: &'p Pooled) -> Self {
        let root = pooled.options.root(Span::mixed_site());
        let reply_span = match &pooled.sig.output {
            syn::ReturnType::Default => located_here(pooled.sig.ident.span()),
            syn::ReturnType::Type(_, ty) => located_here(ty.span()),
        };
        let failure = match pooled.reply.carries {
            // The whole call, its parentheses included: or the compiler reports twice, once on the attribute.
            Carries::Failures => located(quote_here(quote!(#root::private::Reply::from_pool_error(error))), reply_span),
            Carries::Values => quote_here(quote!(::core::result::Result::Err(error))),
        };
        Self { pooled, root, failure, reply_span }
    }

    /// The function's one static: its name, its line, its limits.
    fn call(&self) -> TokenStream {
        let Self { pooled, root, .. } = self;
        let name = &pooled.sig.ident;
        let text = name.to_string();
        // The location that `Site::named` takes is that of these tokens: the user's line, hence the bare span.
        let named = pooled.options.root(name.span());
        let site = quote_spanned! {name.span()=>
            #named::private::Site::named(::core::concat!(::core::module_path!(), "::", #text))
        };
        let settings = pooled.options.settings.iter().map(|setting| {
            let key = &setting.key;
            let value = match &setting.value {
                Value::Tokens(value) => value.clone(),
                Value::Isolation(level) => quote!(#root::private::Isolation::#level),
            };
            quote!(.#key(#value))
        });
        quote! {
            static __CALL: #root::private::Call = #root::private::Call::new(#site)#(#settings)*;
        }
    }

    /// Runs after all extractors, a body's included.
    fn acquire(&self) -> TokenStream {
        let Self { pooled, root, failure, .. } = self;
        let ConnArg { name, ty, .. } = &pooled.conn;
        let pool = match &pooled.options.from {
            Some(from) => {
                let root = pooled.options.root(located_here(from.span()));
                quote_spanned!(located_here(from.span())=> #root::private::as_pool::<#ty, _>(&(#from)))
            }
            None => quote!(&#name),
        };
        let held = match pooled.conn.loan {
            Loan::Lent => quote_here(quote!(mut held)),
            Loan::Given => quote_here(quote!(held)),
        };
        // On the type: there the compiler says that it is no connection.
        let acquire = located(quote_here(quote!(#root::private::acquire::<#ty, _>)), ty.span());
        quote_spanned! {Span::mixed_site()=>
            let #held = match #acquire(#pool, &__CALL).await {
                ::core::result::Result::Ok(held) => held,
                ::core::result::Result::Err(error) => return #failure,
            };
        }
    }

    /// The user's statements, in a block of their own: `return` and `?` end it, not us.
    fn run(&self, body: &Group, statements: TokenStream, clones: &TokenStream) -> TokenStream {
        let Self { pooled, root, reply_span, .. } = self;
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

        let lend = {
            let ConnArg { arg, ty, loan, .. } = &pooled.conn;
            let (attrs, pat) = (&arg.attrs, &arg.pat);
            let span = located_here(arg.span());
            let root = pooled.options.root(span);
            match loan {
                Loan::Lent => {
                    quote_spanned!(span=> #(#attrs)* let #pat: &mut #ty = #root::private::lend::<#ty>(&mut held);)
                }
                Loan::Given => quote_spanned!(span=> #(#attrs)* let #pat: #ty = #root::private::give::<#ty>(held);),
            }
        };
        // A connection that was given may be gone long before the body ends: nothing is marked as held.
        let run = match pooled.conn.loan {
            Loan::Lent => quote!(#root::private::holding(&__CALL, async move #block)),
            Loan::Given => quote!(async move #block),
        };
        let extra = pooled.extra.iter().map(|ConnArg { arg, ty, .. }| {
            let pat = &arg.pat;
            quote!(let #pat: &mut #ty = ::core::option::Option::unwrap(::core::option::Option::None);)
        });
        // `async move`: by reference the future would be smaller, but not `Send` with an argument that is not `Sync`.
        // Only this lint is allowed here: a wider list would also silence the user's own code.
        quote_spanned! {Span::mixed_site()=>
            #[allow(clippy::let_unit_value)]
            let reply: #reply = {
                #clones
                #lend
                #(#extra)*
                #run.await
            };
        }
    }

    /// Commits or rolls back, and releases, before the caller can make a response of the value.
    fn finish(&self) -> TokenStream {
        let Self { pooled, root, failure, .. } = self;
        let (success, reply) = (self.success(), self.reply());
        if pooled.conn.loan == Loan::Given {
            return reply;
        }
        let ty = &pooled.conn.ty;
        quote_spanned! {Span::mixed_site()=>
            let success = #success;
            match #root::private::finish::<#ty>(held, success).await {
                ::core::result::Result::Ok(()) => #reply,
                ::core::result::Result::Err(error) => #failure,
            }
        }
    }

    /// The same in the loop of `retry`: the body may ask for another attempt by its error, and so may the commit.
    fn finish_or_retry(&self, retry: &Retry) -> TokenStream {
        let Self { pooled, root, failure, .. } = self;
        let (success, reply, ty) = (self.success(), self.reply(), &pooled.conn.ty);
        let wants = |what: TokenStream| {
            located(quote_here(quote!(#root::private::RetryOn::wants_retry(&#what))), retry.key.span())
        };
        let (reply_wants, error_wants) = (wants(quote!(reply)), wants(quote!(error)));
        quote_spanned! {Span::mixed_site()=>
            let success = #success;
            let again = left > 0 && #reply_wants;
            match #root::private::finish::<#ty>(held, success).await {
                ::core::result::Result::Ok(()) if !again => break #reply,
                ::core::result::Result::Err(error) if left == 0 || !#error_wants => break #failure,
                _ => left -= 1,
            }
        }
    }

    fn success(&self) -> TokenStream {
        let Self { pooled, root, reply_span, .. } = self;
        match pooled.reply.carries {
            Carries::Failures => located(quote_here(quote!(#root::private::Reply::is_success(&reply))), *reply_span),
            Carries::Values => quote!(true),
        }
    }

    fn reply(&self) -> TokenStream {
        quote_here(match self.pooled.reply.carries {
            Carries::Failures => quote!(reply),
            Carries::Values => quote!(::core::result::Result::Ok(reply)),
        })
    }
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
    let clone = |(mutability, name): (_, syn::Ident)| quote_spanned!(located_here(name.span())=> let #mutability #name = ::core::clone::Clone::clone(&#name););
    bindings.0.into_iter().filter(|(_, name)| name != pool).map(clone).collect()
}

/// The same tokens, shown at another place; what they name stays the same.
pub(crate) fn located(tokens: TokenStream, at: Span) -> TokenStream {
    map_spans(tokens, &|span| span.located_at(at))
}

/// Our own names at the user's place.
fn located_here(at: Span) -> Span {
    Span::mixed_site().located_at(at)
}

fn quote_here(tokens: TokenStream) -> TokenStream {
    map_spans(tokens, &|_| Span::mixed_site())
}

fn map_spans(tokens: TokenStream, map: &impl Fn(Span) -> Span) -> TokenStream {
    let one = |tree: TokenTree| match tree {
        TokenTree::Group(group) => {
            let mut mapped = Group::new(group.delimiter(), map_spans(group.stream(), map));
            mapped.set_span(map(group.span()));
            TokenTree::Group(mapped)
        }
        mut tree => {
            tree.set_span(map(tree.span()));
            tree
        }
    };
    tokens.into_iter().map(one).collect()
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
