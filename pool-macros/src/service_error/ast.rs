//! The enum as we see it: one variant, one answer.

use crate::{
    duration,
    fault::Faults,
    names::{self, place},
    option::{self, Spec},
};
use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use syn::{
    Attribute, Data, DeriveInput, Expr, ExprLit, Generics, Index, Lit, LitInt, LitStr, Member, Meta, Path, Variant,
    Visibility,
};

/// The enum.
pub(crate) struct ServiceError {
    root: Option<Path>,
    /// The user writes the responses.
    pub(crate) own_response: bool,
    pub(crate) vis: Visibility,
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    pub(crate) variants: Vec<(Ident, Answer)>,
}

/// What a variant is to a client.
pub(crate) enum Answer {
    Status {
        status: LitInt,
        problem_type: Option<LitStr>,
        retry_after: Option<TokenStream>,
    },
    /// Found by the error in this field.
    Database {
        field: Member,
        /// Where errors about the field's type are shown.
        place: Span,
        not_found: Option<LitInt>,
        unique: Option<LitInt>,
    },
    /// None was given, which is a fault.
    Missing,
}

const ON_ENUM: &[Spec] =
    &[Spec { name: "own_response", example: "own_response" }, Spec { name: "crate", example: "crate = pool_sqlx" }];
const ON_VARIANT: &[Spec] = &[
    Spec { name: "status", example: "status = 404" },
    Spec { name: "type", example: "type = \"no-such-track\"" },
    Spec { name: "retry_after", example: "retry_after = \"5s\"" },
    Spec { name: "database", example: "database" },
    Spec { name: "not_found", example: "not_found = 404" },
    Spec { name: "unique", example: "unique = 409" },
];

impl ServiceError {
    /// The root of the generated paths, shown at this place.
    pub(crate) fn root(&self, span: Span) -> TokenStream {
        names::root(self.root.as_ref(), span)
    }
}

/// Reads the enum. `None` if there is nothing to write answers for.
pub(crate) fn read(item: TokenStream, faults: &mut Faults) -> Option<ServiceError> {
    let item: DeriveInput = match syn::parse2(item) {
        Ok(item) => item,
        Err(error) => {
            faults.parse(error);
            return None;
        }
    };
    let (mut root, mut own_response) = (None, false);
    each(&item.attrs, ON_ENUM, faults, |key, input, _| {
        match key == "own_response" {
            true => own_response = true,
            false => root = Some(input.call(Path::parse_mod_style)?),
        }
        Ok(())
    });
    let Data::Enum(data) = item.data else {
        let name = &item.ident;
        faults.at(
            name,
            format!(
                "`ServiceError` is for an enum with one variant for each kind of failure; write `enum {name} {{ .. }}`"
            ),
        );
        return None;
    };
    let variants = data.variants.into_iter().map(|variant| {
        let answer = answer(&variant, faults);
        (variant.ident, answer)
    });
    let variants = variants.collect();
    Some(ServiceError { root, own_response, vis: item.vis, name: item.ident, generics: item.generics, variants })
}

/// The options of a variant, as they were given.
#[derive(Default)]
struct Options {
    status: Option<LitInt>,
    problem_type: Option<LitStr>,
    retry_after: Option<TokenStream>,
    database: bool,
    not_found: Option<LitInt>,
    unique: Option<LitInt>,
    given: Vec<Ident>,
    /// A status was given, if a wrong one: it is not missing.
    is_status: bool,
}

fn answer(variant: &Variant, faults: &mut Faults) -> Answer {
    let mut options = Options::default();
    each(&variant.attrs, ON_VARIANT, faults, |key, input, faults| {
        options.given.push(key.clone());
        match key.to_string().as_str() {
            "database" => options.database = true,
            "type" => options.problem_type = problem_type(input.parse()?, faults),
            "retry_after" => options.retry_after = duration::read(&input.parse()?, faults),
            "status" => {
                options.is_status = true;
                options.status = status(input.parse()?, faults);
            }
            "not_found" => options.not_found = status(input.parse()?, faults),
            _ => options.unique = status(input.parse()?, faults),
        }
        Ok(())
    });
    contradictions(&options, faults);
    let name = &variant.ident;
    if options.database {
        let Some((field, place)) = error_field(variant) else {
            let message =
                "`database` looks at the error in a variant, and this one has none; mark the field with `#[source]`";
            faults.at(name, message);
            return Answer::Missing;
        };
        return Answer::Database { field, place, not_found: options.not_found, unique: options.unique };
    }
    match options.status {
        Some(status) => Answer::Status { status, problem_type: options.problem_type, retry_after: options.retry_after },
        None => {
            if !options.is_status {
                let write = match wraps_database(variant) {
                    true => "`#[service(database)]`, which finds the status by the error",
                    false => "`#[service(status = 404)]`, or another one from 400 to 599",
                };
                faults.at(name, format!("`{name}` has no answer; write {write}"));
            }
            Answer::Missing
        }
    }
}

fn contradictions(options: &Options, faults: &mut Faults) {
    for key in &options.given {
        let of_database = key == "not_found" || key == "unique";
        match options.database {
            true if !of_database && key != "database" => {
                faults.at(key, format!("`database` finds the answer by the error; drop `{key}`"));
            }
            false if of_database => {
                faults.at(key, format!("`{key}` is a case of `database`; write `#[service(database, {key} = ..)]`"));
            }
            _ => {}
        }
    }
}

/// The field that is the error: the marked one, the one called `source`, else the only one.
fn error_field(variant: &Variant) -> Option<(Member, Span)> {
    let member = |at: usize, field: &syn::Field| {
        let member = match &field.ident {
            Some(name) => Member::Named(name.clone()),
            None => Member::Unnamed(Index::from(at)),
        };
        (member, place(&field.ty))
    };
    let is_source = |field: &syn::Field| {
        field.attrs.iter().any(|attr| attr.path().is_ident("from") || attr.path().is_ident("source"))
            || field.ident.as_ref().is_some_and(|name| name == "source")
    };
    let mut fields = variant.fields.iter().enumerate();
    match variant.fields.len() {
        1 => fields.next().map(|(at, field)| member(at, field)),
        _ => fields.find(|(_, field)| is_source(field)).map(|(at, field)| member(at, field)),
    }
}

/// Whether it looks as if the variant were made of an error of ours or of sqlx's.
fn wraps_database(variant: &Variant) -> bool {
    variant.fields.iter().any(|field| {
        let ty = field.ty.to_token_stream().to_string();
        ty.starts_with("sqlx ::") || ty.starts_with("pool_sqlx ::") || ty.starts_with("anyhow ::")
    })
}

/// A status of a failure. `None` after a fault.
fn status(value: Expr, faults: &mut Faults) -> Option<LitInt> {
    let status = match &value {
        Expr::Lit(ExprLit { lit: Lit::Int(status), .. }) => Some(status.clone()),
        _ => None,
    };
    let status = status.filter(|status| status.base10_parse().is_ok_and(|status| (400_u16..600).contains(&status)));
    if status.is_none() {
        faults.at(value, "write a status from 400 to 599");
    }
    status
}

fn problem_type(text: LitStr, faults: &mut Faults) -> Option<LitStr> {
    if text.value().trim().is_empty() {
        faults.at(text, "write a name or a URI, such as \"no-such-track\"");
        return None;
    }
    Some(text)
}

/// Reads the options of all `#[service(..)]`.
fn each(
    attrs: &[Attribute],
    known: &[Spec],
    faults: &mut Faults,
    mut take: impl FnMut(&Ident, syn::parse::ParseStream<'_>, &mut Faults) -> syn::Result<()>,
) {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("service")) {
        match &attr.meta {
            Meta::List(list) => option::each(list.tokens.clone(), known, |_| None, faults, &mut take),
            Meta::Path(_) | Meta::NameValue(_) => {
                faults.at(attr, format!("`service` needs parentheses; write `#[service({})]`", known[0].example));
            }
        }
    }
}
