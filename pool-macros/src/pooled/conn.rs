//! Which argument asks for the connection, and how.

use super::ast::{ConnArg, Loan};
use crate::{
    fault::Faults,
    names::{last_name, last_segment, peel, text},
};
use proc_macro2::Ident;
use quote::ToTokens;
use syn::{GenericArgument, Pat, PatType, PathArguments, Type, TypeReference, spanned::Spanned};

/// The connections and the other arguments, parted. None is a fault; more than one is for the caller to say.
pub(crate) fn part(args: Vec<PatType>, function: &Ident, faults: &mut Faults) -> (Vec<ConnArg>, Vec<PatType>) {
    let (mut conns, mut others) = named(args, faults);
    if conns.is_empty() {
        match others.iter().enumerate().find_map(|(at, arg)| Some((at, near_miss(arg)?))) {
            Some((at, near)) => {
                faults.at(&others[at], near.message);
                if let Some(ty) = near.meant {
                    conns.push(conn_arg(others.remove(at), ty, Loan::Lent, faults));
                }
            }
            None => faults.at(
                function,
                "`#[pooled]` found no connection argument; add one such as `conn: &mut PgConn`, \
                 or mark an argument whose type is an alias with `#[conn]`",
            ),
        }
    }
    (conns, others)
}

/// By mark and by name. If any is marked `#[conn]`, only marked ones count.
fn named(args: Vec<PatType>, faults: &mut Faults) -> (Vec<ConnArg>, Vec<PatType>) {
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

/// An alias may stand for a transaction: there the compiler decides.
pub(crate) fn is_perhaps_transaction(ty: &Type) -> bool {
    let name = last_name(ty);
    !is_connection_name(&name) || name.ends_with("Tx")
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
    ["Conn", "Connection", "Tx", "PgSession", "MySqlSession", "SqliteSession"].iter().any(|end| name.ends_with(end))
        && name != "PoolConnection"
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
    let pattern = match &*arg.pat {
        Pat::Ident(pat) => pat.ident.to_string(),
        pattern => pattern.to_token_stream().to_string(),
    };
    let (loan, ty) = asks(&arg.ty);
    let name = last_name(&ty);
    let ours = match name.as_str() {
        "Transaction" => Some(format!("{}Tx", database(&ty))),
        "PoolConnection" => Some(format!("{}Conn", database(&ty))),
        name if is_connection_name(name) => Some(text(&ty)),
        _ => None,
    };
    if let Some(inner) = optional(&ty) {
        let message = format!(
            "`#[pooled]` brings a connection or ends the function, so it is not optional; write `{pattern}: &mut {}`",
            text(&inner)
        );
        return Some(NearMiss { message, meant: Some(inner) });
    }
    let (message, meant) = match (ours, loan) {
        (Some(ours), Some(Loan::Given)) => {
            (format!("`#[pooled]` lends its connection, and takes it back; write `{pattern}: &mut {ours}`"), None)
        }
        (Some(ours), Some(Loan::Lent)) if !is_connection_name(&name) => (
            format!("`{name}` is sqlx's own, and `#[pooled]` brings one of its pool; write `{pattern}: &mut {ours}`"),
            None,
        ),
        (Some(ours), _) => {
            let meant = is_connection_name(&name).then_some(ty);
            (format!("`#[pooled]` lends its connection mutably; write `{pattern}: &mut {ours}`"), meant)
        }
        (None, _) if name.ends_with("Pool") => (takes_the_pool(&name), None),
        (None, _) if argument(&ty).ends_with("Pool") => (takes_the_pool(&argument(&ty)), None),
        (None, Some(Loan::Lent)) if !name.is_empty() => {
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

/// `PgConn` of `Option<&mut PgConn>`.
fn optional(ty: &Type) -> Option<Type> {
    let segment = last_segment(ty).filter(|segment| segment.ident == "Option")?;
    let PathArguments::AngleBracketed(list) = &segment.arguments else { return None };
    let Some(GenericArgument::Type(inner)) = list.args.first() else { return None };
    let (_, inner) = asks(inner);
    is_connection_name(&last_name(&inner)).then_some(inner)
}

fn takes_the_pool(name: &str) -> String {
    let database = name.strip_suffix("Pool").unwrap_or_default();
    format!("`#[pooled]` brings the pool by itself; write `conn: &mut {database}Conn` in its place")
}

/// `Pg` of `Transaction<'_, Postgres>`.
fn database(ty: &Type) -> &'static str {
    match argument(ty).as_str() {
        "Sqlite" => "Sqlite",
        "MySql" => "MySql",
        _ => "Pg",
    }
}

/// The name of the last type in a type's angle brackets: `PgPool` of `State<PgPool>`.
fn argument(ty: &Type) -> String {
    let types = |argument: &GenericArgument| match argument {
        GenericArgument::Type(ty) => Some(last_name(ty)),
        _ => None,
    };
    match last_segment(ty).map(|segment| &segment.arguments) {
        Some(PathArguments::AngleBracketed(list)) => list.args.iter().rev().find_map(types).unwrap_or_default(),
        _ => String::new(),
    }
}
