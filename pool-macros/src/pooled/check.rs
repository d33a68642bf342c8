//! From the item to the tree that `expand` writes out, with a word on everything that is not as it should be.

use super::{
    ast::{Carries, Function, Loan, Pooled, ends_with, last_name},
    attr::Options,
    conn, reply,
};
use crate::fault::Faults;
use syn::{FnArg, ReceiverKind, ReturnType, Token};

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
    let pooled = Pooled {
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
    };
    one_connection(&pooled, faults);
    transaction(&pooled, faults);
    reply::check(&pooled, faults);
    if place == Place::TraitImpl {
        signature_of_trait(&pooled, faults);
    }
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

fn one_connection(pooled: &Pooled, faults: &mut Faults) {
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
        let (ty, name) = (conn::text(&conn.ty), &conn.name);
        for key in &options.of_transactions {
            let message = format!("`{key}` is about a transaction, and `{ty}` is not one; write `{name}: &mut ..Tx`");
            faults.at(key, message);
        }
    }
    if last_name(&conn.ty).ends_with("Tx") && reply.carries == Carries::Values && reply::hides_failure(&reply.declared)
    {
        let ty = conn::text(&reply.declared);
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

fn signature_of_trait(pooled: &Pooled, faults: &mut Faults) {
    if pooled.options.from.is_none() {
        faults.at(
            &pooled.sig.ident,
            "the trait dictates this signature, so the pool cannot be an argument; write `#[pooled(from = self.db)]`",
        );
    }
    if pooled.reply.carries == Carries::Values {
        faults.at(
            &pooled.reply.declared,
            "the trait dictates this return type, and a failure of the pool does not fit into it; \
             let the trait return a `Result` whose error is `From<pool_sqlx::Error>`",
        );
    }
}
