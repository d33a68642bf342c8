//! From the item to the tree that `expand` writes out, with a word on everything that is not as it should be.

use super::{
    ast::{Carries, ConnArg, Function, Pooled, Reply, ends_with, last_name, last_segment, peel},
    attr::Options,
};
use crate::fault::Faults;
use proc_macro2::Ident;
use quote::ToTokens;
use syn::{
    FnArg, GenericArgument, Pat, PatType, PathArguments, ReturnType, Token, Type, TypeReference, parse_quote,
    spanned::Spanned,
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
    let (mut conns, others) = connections(args, faults);
    if conns.is_empty() {
        let near = others.iter().find_map(near_miss);
        match near {
            Some((place, message)) => faults.at(place, message),
            None => faults.at(
                &name,
                "`#[pooled]` found no connection argument; add one such as `conn: &mut PgConn`, \
                 or mark an argument whose type is an alias with `#[conn]`",
            ),
        }
        function.sig.inputs =
            receiver.into_iter().map(FnArg::Receiver).chain(others.into_iter().map(FnArg::Typed)).collect();
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

    let declared: Type = match &function.sig.output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    };
    let carries = match last_name(&declared) {
        name if name.ends_with("Result") || name == "Response" || name == "HttpResponse" => Carries::Failures,
        _ => Carries::Values,
    };
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

/// Parts the connections from the other arguments. If any is marked `#[conn]`, only marked ones count.
fn connections(args: Vec<PatType>, faults: &mut Faults) -> (Vec<ConnArg>, Vec<PatType>) {
    let any_marked = args.iter().any(is_marked);
    let (mut conns, mut others) = (Vec::new(), Vec::new());
    for mut arg in args {
        let marked = is_marked(&arg);
        arg.attrs.retain(|attr| !attr.path().is_ident("conn"));
        match asks(&arg.ty) {
            _ if any_marked && !marked => others.push(arg),
            Asks::Named(ty) | Asks::Perhaps(ty) if marked => conns.push(conn_arg(arg, ty, faults)),
            Asks::Named(ty) => conns.push(conn_arg(arg, ty, faults)),
            Asks::Nothing if marked => {
                faults.at(&arg.ty, "`#[conn]` marks a borrowed connection; write the type as `&mut ..`");
                let ty = arg.ty.clone();
                let ty = match peel(&ty) {
                    Type::Reference(reference) => (*reference.elem).clone(),
                    _ => (*ty).clone(),
                };
                conns.push(conn_arg(arg, ty, faults));
            }
            _ => others.push(arg),
        }
    }
    (conns, others)
}

fn is_marked(arg: &PatType) -> bool {
    arg.attrs.iter().any(|attr| attr.path().is_ident("conn"))
}

/// What an argument's type tells.
enum Asks {
    /// `&mut ..Conn`, `&mut ..Connection`, `&mut ..Tx`.
    Named(Type),
    /// `&mut` something: a connection if marked.
    Perhaps(Type),
    Nothing,
}

fn asks(ty: &Type) -> Asks {
    match peel(ty) {
        Type::Reference(TypeReference { mutability: Some(_), elem, .. }) => {
            let ty = peel(elem).clone();
            if is_connection_name(&last_name(&ty)) { Asks::Named(ty) } else { Asks::Perhaps(ty) }
        }
        _ => Asks::Nothing,
    }
}

/// sqlx's own pooled connection ends like one, but is not one that we lend.
fn is_connection_name(name: &str) -> bool {
    ["Conn", "Connection", "Tx"].iter().any(|end| name.ends_with(end)) && name != "PoolConnection"
}

fn conn_arg(arg: PatType, ty: Type, faults: &mut Faults) -> ConnArg {
    let name = match &*arg.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => pat.ident.clone(),
        Pat::Wild(pat) => Ident::new("_conn", pat.span()),
        pattern => {
            faults.at(pattern, "the connection argument needs a plain name; write `conn: &mut ..`");
            Ident::new("_conn", pattern.span())
        }
    };
    ConnArg { arg, name, ty }
}

/// An argument that was perhaps meant as the connection, and what to write instead.
fn near_miss(arg: &PatType) -> Option<(proc_macro2::TokenStream, String)> {
    let pattern = arg.pat.to_token_stream().to_string();
    let at = |message: String| Some((arg.to_token_stream(), message));
    let named = |ty: &Type| {
        let name = last_name(ty);
        match name.as_str() {
            "Transaction" => Some(format!("{}Tx", database(ty))),
            "PoolConnection" => Some(format!("{}Conn", database(ty))),
            name if is_connection_name(name) => Some(text(ty)),
            _ => None,
        }
    };
    match peel(&arg.ty) {
        Type::Reference(TypeReference { mutability, elem, .. }) => match named(elem) {
            Some(ty) => at(format!("`#[pooled]` lends its connection mutably; write `{pattern}: &mut {ty}`")),
            None if last_name(elem).ends_with("Pool") => at(takes_the_pool(elem)),
            None if mutability.is_some() => at(format!(
                "is this the connection? `#[pooled]` knows one by the name of its type, `&mut ..Conn`, `&mut ..Connection` or \
                 `&mut ..Tx`; for an alias write `#[conn] {pattern}: {}`",
                text(&arg.ty)
            )),
            None => None,
        },
        ty => match named(ty) {
            Some(ty) => {
                at(format!("`#[pooled]` lends its connection, and takes it back; write `{pattern}: &mut {ty}`"))
            }
            None if last_name(ty).ends_with("Pool") => at(takes_the_pool(ty)),
            None => None,
        },
    }
}

fn takes_the_pool(pool: &Type) -> String {
    let name = last_name(pool);
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
