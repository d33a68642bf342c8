//! From the item to the tree that `expand` writes out, with a word on everything that is not as it should be.

use super::{
    ast::{Carries, Function, Loan, Pooled, ends_with},
    attr::Options,
    conn, reply,
};
use crate::{
    fault::Faults,
    names::{last_name, text},
};
use proc_macro2::Span;
use syn::{FnArg, ReceiverKind, ReturnType, Token, parse_quote};

/// Where the function stands, as far as the attribute can see.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The attribute is on the function itself.
    Function,
    /// The attribute on `impl Trait for ..` found it: the trait dictates the signature.
    TraitImpl,
}

/// Takes the function apart. `Err` gives it back where there is nothing to expand.
///
/// After a fault it goes on with what was probably meant: otherwise the compiler would add that the function
/// is no handler, and hide the one message that helps.
pub(crate) fn check(
    mut function: Function,
    options: Options,
    place: Place,
    faults: &mut Faults,
) -> Result<Pooled, Box<Function>> {
    if !waits(&mut function, faults) {
        return Err(Box::new(function));
    }
    let (mut receiver, mut args) = (None, Vec::new());
    for arg in std::mem::take(&mut function.sig.inputs) {
        match arg {
            FnArg::Receiver(this) => receiver = Some(this),
            FnArg::Typed(arg) => args.push(arg),
        }
    }
    let (mut conns, others) = conn::part(args, &function.sig.ident, faults);
    // Taken only where it is used: what is given back keeps it.
    let body = if conns.is_empty() { None } else { function.body.take() };
    let Some(body) = body else {
        let receiver = receiver.into_iter().map(FnArg::Receiver);
        function.sig.inputs = receiver.chain(others.into_iter().map(FnArg::Typed)).collect();
        return Err(Box::new(function));
    };
    let mut pooled = Pooled {
        options,
        attrs: function.attrs,
        vis: function.vis,
        reply: reply::read(&function.sig.output),
        sig: function.sig,
        receiver,
        conn: conns.remove(0),
        extra: conns,
        others,
        body,
        escapes: false,
    };
    one_connection(&mut pooled, faults);
    transaction(&pooled, faults);
    reply::check(&mut pooled, faults);
    method(&mut pooled, place, faults);
    Ok(pooled)
}

/// Whether there is a body that can wait. A function that is not `async` is made so.
fn waits(function: &mut Function, faults: &mut Faults) -> bool {
    let Function { attrs, sig, body, .. } = function;
    if let Some(second) = attrs.iter().position(|attr| ends_with(attr.path(), "pooled")) {
        faults.at(attrs.remove(second), "`#[pooled]` is given twice; keep one, with all options in it");
    }
    if body.is_none() {
        let message = "`#[pooled]` wraps a body; put it on the implementation, not on the trait's declaration";
        faults.at(&sig.ident, message);
        return false;
    }
    if let (None, ReturnType::Type(_, ty)) = (sig.asyncness, &sig.output)
        && last_name(ty) == "Pin"
    {
        faults.at(
            &sig.ident,
            "`#[async_trait]` has rewritten this method before `#[pooled]` saw it; \
             put a bare `#[pooled]` on the impl block, above `#[async_trait]`",
        );
        return false;
    }
    if sig.asyncness.is_none() {
        faults.at(sig.fn_token, "`#[pooled]` waits for a connection; write `async fn`");
        sig.asyncness = Some(Token![async](sig.fn_token.span));
    }
    if let Some(keyword) = sig.constness.take() {
        faults.at(keyword, "`#[pooled]` waits for a connection, which a `const fn` cannot; drop `const`");
    }
    true
}

fn one_connection(pooled: &mut Pooled, faults: &mut Faults) {
    let is_cfg = |attr: &&syn::Attribute| attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr");
    let conns = [&pooled.conn].into_iter().chain(&pooled.extra);
    let cfg = conns.flat_map(|conn| &conn.arg.attrs).find(is_cfg).cloned();
    if let Some(cfg) = cfg {
        faults.at(
            cfg,
            "`#[cfg]` on the connection has no effect here; write it above `#[pooled]`, on one function for each case, \
             or on an alias: `#[cfg(..)] type Db = PgConn;` and `#[conn] conn: &mut Db`",
        );
        pooled.conn.arg.attrs.retain(|attr| !is_cfg(&attr));
        pooled.extra.clear();
    }
    for extra in &pooled.extra {
        faults.at(
            &extra.arg,
            format!(
                "a second connection in one function: while it waits for `{}` it keeps `{}`, and enough such calls at once \
                 lock the pool up; take one and pass it on (if only one of them is a connection, mark that with `#[conn]`)",
                extra.name, pooled.conn.name
            ),
        );
    }
}

/// What only makes sense for a transaction, and what `retry` asks besides.
fn transaction(pooled: &Pooled, faults: &mut Faults) {
    let Pooled { options, conn, reply, receiver, .. } = pooled;
    if conn.loan == Loan::Given || !conn::is_perhaps_transaction(&conn.ty) {
        let (ty, name) = (text(&conn.ty), &conn.name);
        for key in &options.of_transactions {
            let message = format!("`{key}` is about a transaction, and `{ty}` is not one; write `{name}: &mut ..Tx`");
            faults.at(key, message);
        }
    }
    if last_name(&conn.ty).ends_with("Tx") && reply.carries == Carries::Values && reply::hides_failure(&reply.declared)
    {
        let ty = text(&reply.declared);
        faults.at(
            &reply.declared,
            format!(
                "a transaction commits unless the function fails, and `{ty}` does not tell whether it did; \
                 return a `Result`, or a `Response`, which rolls back if its status is 400 or above"
            ),
        );
    }
    let Some(retry) = &options.retry else { return };
    if reply.carries == Carries::Values {
        faults.at(&retry.key, "`retry` looks at the error; let the function return a `Result`");
    }
    if let Some(this) = receiver
        && !matches!(this.kind, ReceiverKind::Reference(_, _, None))
    {
        faults.at(this, "`retry` runs the body again; write `&self`, which every attempt can share");
    }
}

/// A method says where its pool is. After a fault it has one from nowhere: another argument would be a fault at each caller.
fn method(pooled: &mut Pooled, place: Place, faults: &mut Faults) {
    if place == Place::TraitImpl && pooled.reply.carries == Carries::Values {
        faults.at(
            &pooled.reply.declared,
            "the trait dictates this return type, and a failure of the pool does not fit into it; \
             let the trait return a `Result` whose error is `From<pool_sqlx::Error>`",
        );
    }
    if pooled.options.from.is_some() {
        return;
    }
    let message = match (place, &pooled.receiver) {
        (Place::TraitImpl, _) => {
            "the trait dictates this signature, so the pool cannot be an argument; write `#[pooled(from = self.db)]`"
        }
        (Place::Function, Some(_)) => {
            "a method says where its pool is; write `#[pooled(from = self.db)]`, or `from = pool` with an argument `pool: &PgPool`"
        }
        (Place::Function, None) => return,
    };
    faults.at(&pooled.sig.ident, message);
    let (root, ty) = (pooled.options.root(Span::mixed_site()), &pooled.conn.ty);
    let key = pooled.options.pool.take().unwrap_or_else(|| parse_quote!(#root::Main));
    pooled.options.from = Some(parse_quote!(
        ::core::option::Option::<&#root::private::PoolFor<#ty, #key>>::unwrap(::core::option::Option::None)
    ));
}
