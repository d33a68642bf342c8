//! From the item to the tree that `expand` writes out, with a word on everything that is not as it should be.

use super::{
    ast::{Carries, ConnArg, Function, Loan, Pooled, Reply, ends_with, last_name, last_segment, peel},
    attr::Options,
};
use crate::fault::Faults;
use proc_macro2::Ident;
use quote::ToTokens;
use syn::{
    FnArg, GenericArgument, Pat, PatType, PathArguments, Receiver, ReceiverKind, ReturnType, Token, Type,
    TypeReference, parse_quote,
    spanned::Spanned,
    visit::{self, Visit},
};

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
    let name = function.sig.ident.clone();
    if let Some(second) = function.attrs.iter().position(|attr| ends_with(attr.path(), "pooled")) {
        faults.at(function.attrs.remove(second), "`#[pooled]` is given twice; keep one, with all options in it");
    }
    let Some(body) = function.body.take() else {
        faults.at(&name, "`#[pooled]` wraps a body; put it on the implementation, not on the trait's declaration");
        return Err(Box::new(function));
    };
    if function.sig.asyncness.is_none() {
        if let ReturnType::Type(_, ty) = &function.sig.output
            && last_name(ty) == "Pin"
        {
            faults.at(
                &name,
                "`#[async_trait]` has rewritten this method before `#[pooled]` saw it; \
                 put a bare `#[pooled]` on the impl block, above `#[async_trait]`",
            );
            return Err(Box::new(Function { body: Some(body), ..function }));
        }
        faults.at(function.sig.fn_token, "`#[pooled]` waits for a connection; write `async fn`");
        function.sig.asyncness = Some(Token![async](function.sig.fn_token.span));
    }
    if let Some(keyword) = function.sig.constness.take() {
        faults.at(keyword, "`#[pooled]` waits for a connection, which a `const fn` cannot; drop `const`");
    }

    let (mut receiver, mut args) = (None, Vec::new());
    for arg in std::mem::take(&mut function.sig.inputs) {
        match arg {
            FnArg::Receiver(this) => receiver = Some(this),
            FnArg::Typed(arg) => args.push(arg),
        }
    }
    let (mut conns, mut others) = connections(args, faults);
    if conns.is_empty() {
        match others.iter().enumerate().find_map(|(at, arg)| Some((at, near_miss(arg)?))) {
            Some((at, near)) => {
                faults.at(&others[at], near.message);
                if let Some(ty) = near.meant {
                    conns.push(conn_arg(others.remove(at), ty, Loan::Lent, faults));
                }
            }
            None => faults.at(
                &name,
                "`#[pooled]` found no connection argument; add one such as `conn: &mut PgConn`, \
                 or mark an argument whose type is an alias with `#[conn]`",
            ),
        }
    }
    if conns.is_empty() {
        let receiver = receiver.into_iter().map(FnArg::Receiver);
        function.sig.inputs = receiver.chain(others.into_iter().map(FnArg::Typed)).collect();
        return Err(Box::new(Function { body: Some(body), ..function }));
    }
    let conn = conns.remove(0);
    for extra in &conns {
        faults.at(
            &extra.arg,
            format!(
                "a second connection in one function: while it waits for `{}` it keeps `{}`, and enough such calls at once \
                 lock the pool up; take one and pass it on (if only one of them is a connection, mark that with `#[conn]`)",
                extra.name, conn.name
            ),
        );
    }

    if conn.loan == Loan::Given || !is_perhaps_transaction(&conn.ty) {
        for key in &options.of_transactions {
            faults.at(
                key,
                format!(
                    "`{key}` is about a transaction, and `{}` is not one; write `{}: &mut ..Tx`",
                    text(&conn.ty),
                    conn.name
                ),
            );
        }
    }

    let declared: Type = match &function.sig.output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    };
    let carries = match last_name(&declared) {
        name if name.ends_with("Result") || name == "Response" || name == "HttpResponse" => Carries::Failures,
        _ => Carries::Values,
    };
    if let (Some(retry), Carries::Values) = (&options.retry, carries) {
        faults.at(&retry.key, "`retry` looks at the error; let the function return a `Result`");
    }
    if let (Some(_), Some(this)) = (&options.retry, &receiver)
        && !is_shared(this)
    {
        faults.at(this, "`retry` runs the body again; write `&self`, which every attempt can share");
    }
    if receiver.is_none()
        && let Some(borrow) = elided(&declared)
        && !others.iter().any(|arg| mentions_lifetime(&arg.ty))
    {
        faults.at(
            borrow,
            "the connection goes back before the function returns, so its result cannot borrow from it; return an owned value",
        );
    }
    if place == Place::TraitImpl {
        if options.from.is_none() {
            faults.at(&name, "the trait dictates this signature, so the pool cannot be an argument; write `#[pooled(from = self.db)]`");
        }
        if carries == Carries::Values {
            faults.at(
                &declared,
                "the trait dictates this return type, and a failure of the pool does not fit into it; \
                 let the trait return a `Result` whose error is `From<pool_sqlx::Error>`",
            );
        }
    }

    Ok(Pooled {
        options,
        attrs: function.attrs,
        vis: function.vis,
        sig: function.sig,
        receiver,
        conn,
        extra: conns,
        others: others.into_iter().map(FnArg::Typed).collect(),
        reply: Reply { declared, carries },
        body,
    })
}

fn is_shared(receiver: &Receiver) -> bool {
    matches!(receiver.kind, ReceiverKind::Reference(_, _, None))
}

/// The first reference in a type whose lifetime is left out.
fn elided(ty: &Type) -> Option<TypeReference> {
    struct Elided(Option<TypeReference>);
    impl<'ast> Visit<'ast> for Elided {
        fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
            if reference.lifetime.is_none() && self.0.is_none() {
                self.0 = Some(reference.clone());
            }
            visit::visit_type_reference(self, reference);
        }

        // These have lifetimes of their own.
        fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}
        fn visit_parenthesized_generic_arguments(&mut self, _: &'ast syn::ParenthesizedGenericArguments) {}
    }
    let mut elided = Elided(None);
    elided.visit_type(ty);
    elided.0
}

/// Whether a type could lend its lifetime to the result.
fn mentions_lifetime(ty: &Type) -> bool {
    struct Mentions(bool);
    impl<'ast> Visit<'ast> for Mentions {
        fn visit_type_reference(&mut self, _: &'ast TypeReference) {
            self.0 = true;
        }

        fn visit_lifetime(&mut self, _: &'ast syn::Lifetime) {
            self.0 = true;
        }
    }
    let mut mentions = Mentions(false);
    mentions.visit_type(ty);
    mentions.0
}

/// An alias may stand for a transaction: there the compiler decides.
fn is_perhaps_transaction(ty: &Type) -> bool {
    let name = last_name(ty);
    !is_connection_name(&name) || name.ends_with("Tx")
}

/// Parts the connections from the other arguments. If any is marked `#[conn]`, only marked ones count.
fn connections(args: Vec<PatType>, faults: &mut Faults) -> (Vec<ConnArg>, Vec<PatType>) {
    let any_marked = args.iter().any(is_marked);
    let (mut conns, mut others) = (Vec::new(), Vec::new());
    for mut arg in args {
        let marked = is_marked(&arg);
        arg.attrs.retain(|attr| !attr.path().is_ident("conn"));
        if any_marked && !marked {
            others.push(arg);
            continue;
        }
        match asks(&arg.ty) {
            (Some(Loan::Given), ty) if marked && last_name(&ty).ends_with("Tx") => {
                faults.at(&arg.ty, "a transaction is lent, so that it can commit after the body; write `&mut ..Tx`");
                conns.push(conn_arg(arg, ty, Loan::Lent, faults));
            }
            (Some(loan), ty) if marked || is_named(&ty, loan) => conns.push(conn_arg(arg, ty, loan, faults)),
            (None, ty) if marked => {
                faults
                    .at(&arg.ty, "`#[conn]` marks a connection that is borrowed mutably; write the type as `&mut ..`");
                conns.push(conn_arg(arg, ty, Loan::Lent, faults));
            }
            _ => others.push(arg),
        }
    }
    (conns, others)
}

fn is_marked(arg: &PatType) -> bool {
    arg.attrs.iter().any(|attr| attr.path().is_ident("conn"))
}

/// How an argument of this type would take a connection, and of which type. `None`: by a shared reference.
fn asks(ty: &Type) -> (Option<Loan>, Type) {
    match peel(ty) {
        Type::Reference(TypeReference { mutability, elem, .. }) => {
            (mutability.is_some().then_some(Loan::Lent), peel(elem).clone())
        }
        ty => (Some(Loan::Given), ty.clone()),
    }
}

/// Whether the name alone tells a connection. By value only our own types do: many an extractor is called `..Connection`.
fn is_named(ty: &Type, loan: Loan) -> bool {
    let name = last_name(ty);
    match loan {
        Loan::Lent => is_connection_name(&name),
        Loan::Given => ["Conn", "PgConn", "SqliteConn", "MySqlConn"].contains(&name.as_str()),
    }
}

/// sqlx's own pooled connection ends like one, but is not one that we lend.
fn is_connection_name(name: &str) -> bool {
    ["Conn", "Connection", "Tx"].iter().any(|end| name.ends_with(end)) && name != "PoolConnection"
}

fn conn_arg(arg: PatType, ty: Type, loan: Loan, faults: &mut Faults) -> ConnArg {
    let name = match &*arg.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => pat.ident.clone(),
        Pat::Wild(pat) => Ident::new("_conn", pat.span()),
        pattern => {
            faults.at(pattern, "the connection argument needs a plain name; write `conn: &mut ..`");
            Ident::new("_conn", pattern.span())
        }
    };
    ConnArg { arg, name, ty, loan }
}

/// An argument that was perhaps meant as the connection.
struct NearMiss {
    message: String,
    /// The connection's type, if the function can be expanded with it.
    meant: Option<Type>,
}

fn near_miss(arg: &PatType) -> Option<NearMiss> {
    let pattern = arg.pat.to_token_stream().to_string();
    let (loan, ty) = asks(&arg.ty);
    let name = last_name(&ty);
    let ours = match name.as_str() {
        "Transaction" => Some(format!("{}Tx", database(&ty))),
        "PoolConnection" => Some(format!("{}Conn", database(&ty))),
        name if is_connection_name(name) => Some(text(&ty)),
        _ => None,
    };
    let (message, meant) = match (ours, loan) {
        (Some(ours), Some(Loan::Given)) => {
            (format!("`#[pooled]` lends its connection, and takes it back; write `{pattern}: &mut {ours}`"), None)
        }
        (Some(ours), _) => {
            let meant = is_connection_name(&name).then_some(ty);
            (format!("`#[pooled]` lends its connection mutably; write `{pattern}: &mut {ours}`"), meant)
        }
        (None, _) if name.ends_with("Pool") => (takes_the_pool(&name), None),
        (None, Some(Loan::Lent)) => {
            let message = format!(
                "is this the connection? `#[pooled]` knows one by the name of its type, `&mut ..Conn`, `&mut ..Connection` or \
                 `&mut ..Tx`; for an alias write `#[conn] {pattern}: &mut {}`",
                text(&ty)
            );
            // An alias has no arguments: a `&mut Vec<u8>` would only bring a second wave of errors.
            let is_alias = last_segment(&ty).is_some_and(|segment| segment.arguments.is_empty());
            (message, is_alias.then_some(ty))
        }
        (None, _) => return None,
    };
    Some(NearMiss { message, meant })
}

fn takes_the_pool(name: &str) -> String {
    let database = name.strip_suffix("Pool").unwrap_or_default();
    format!("`#[pooled]` brings the pool by itself; write `conn: &mut {database}Conn` in its place")
}

/// `Pg` of `Transaction<'_, Postgres>`.
fn database(ty: &Type) -> String {
    let argument = match last_segment(ty).map(|segment| &segment.arguments) {
        Some(PathArguments::AngleBracketed(list)) => list.args.iter().rev().find_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(last_name(ty)),
            _ => None,
        }),
        _ => None,
    };
    match argument.as_deref() {
        Some("Sqlite") => "Sqlite",
        Some("MySql") => "MySql",
        _ => "Pg",
    }
    .to_owned()
}

/// A type as a user would write it.
fn text(ty: &Type) -> String {
    ty.to_token_stream()
        .to_string()
        .replace("& mut", "&mut")
        .replace(" :: ", "::")
        .replace(" < ", "<")
        .replace(" >", ">")
}
