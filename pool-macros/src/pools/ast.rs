//! The struct as we see it: one field, one pool, one section of the configuration.

use crate::{
    fault::Faults,
    names::{self, camel},
    option::{self, Spec},
};
use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use std::collections::HashMap;
use syn::{
    Attribute, Data, DeriveInput, Fields, GenericArgument, Generics, LitStr, Meta, Path, PathArguments, Type,
    Visibility, ext::IdentExt,
};

/// The struct.
pub(crate) struct Pools {
    root: Option<Path>,
    pub(crate) vis: Visibility,
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    pub(crate) fields: Vec<Field>,
}

/// One pool.
pub(crate) struct Field {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    /// Section of the configuration.
    pub(crate) section: LitStr,
    pub(crate) opens: Opens,
    /// Has the type of an earlier one: a fault was reported, and nothing shall be said of it twice.
    pub(crate) twin: bool,
}

/// When a pool opens its first connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opens {
    AtStart,
    WhenUsed,
}

const ON_STRUCT: &[Spec] = &[Spec { name: "crate", example: "crate = pool_sqlx" }];
const ON_FIELD: &[Spec] =
    &[Spec { name: "section", example: "section = \"replica\"" }, Spec { name: "lazy", example: "lazy" }];

impl Pools {
    /// The root of the generated paths, shown at this place.
    pub(crate) fn root(&self, span: Span) -> TokenStream {
        names::root(self.root.as_ref(), span)
    }
}

/// `#[pools(crate = path)]` on the struct.
pub(crate) fn read_root(attrs: &[Attribute], faults: &mut Faults) -> Option<Path> {
    let mut root = None;
    each(attrs, "pools", ON_STRUCT, faults, |_, input, _| {
        root = Some(input.call(Path::parse_mod_style)?);
        Ok(())
    });
    root
}

/// Reads the struct. `None` if there is nothing to write methods for.
pub(crate) fn read(item: TokenStream, faults: &mut Faults) -> Option<Pools> {
    let item: DeriveInput = match syn::parse2(item) {
        Ok(item) => item,
        Err(error) => {
            faults.parse(error);
            return None;
        }
    };
    let root = read_root(&item.attrs, faults);
    let fields = match item.data {
        Data::Struct(data) => match data.fields {
            Fields::Named(fields) if !fields.named.is_empty() => fields.named,
            _ => {
                faults.at(&item.ident, "`Pools` needs a name for each pool; write `{ primary: PgPool }`");
                return None;
            }
        },
        Data::Enum(_) | Data::Union(_) => {
            faults.at(
                &item.ident,
                "`Pools` is for a struct with one field for each pool; write `struct Databases { primary: PgPool }`",
            );
            return None;
        }
    };
    let mut fields: Vec<_> = fields.into_iter().filter_map(|field| read_field(field, faults)).collect();
    refuse_twins(&mut fields, faults);
    Some(Pools { root, vis: item.vis, name: item.ident, generics: item.generics, fields })
}

fn read_field(field: syn::Field, faults: &mut Faults) -> Option<Field> {
    let name = field.ident?;
    let mut section = LitStr::new(&name.unraw().to_string(), name.span());
    let mut opens = Opens::AtStart;
    each(&field.attrs, "pool", ON_FIELD, faults, |key, input, faults| {
        if key == "lazy" {
            opens = Opens::WhenUsed;
            return Ok(());
        }
        let given: LitStr = input.parse()?;
        let text = given.value();
        if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            faults.at(
                given,
                "a section's name is part of a variable's name (DATABASE_<NAME>_URL); \
                 write letters, digits and `_` only, such as \"replica\"",
            );
        } else {
            section = given;
        }
        Ok(())
    });
    Some(Field { name, ty: field.ty, section, opens, twin: false })
}

/// Reads the options of all attributes of this name.
fn each(
    attrs: &[Attribute],
    name: &str,
    known: &[Spec],
    faults: &mut Faults,
    mut take: impl FnMut(&Ident, syn::parse::ParseStream<'_>, &mut Faults) -> syn::Result<()>,
) {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident(name)) {
        match &attr.meta {
            Meta::List(list) => option::each(list.tokens.clone(), known, hint, faults, &mut take),
            Meta::Path(_) | Meta::NameValue(_) => {
                faults.at(attr, format!("`{name}` needs parentheses; write `#[{name}({})]`", known[0].example));
            }
        }
    }
}

/// Words that others use for what we call otherwise.
fn hint(name: &str) -> Option<String> {
    match name {
        "name" | "key" | "database" => Some(format!("unknown option `{name}`; did you mean `section`?")),
        "url" => Some("the url is in the configuration; write it in `Pool.toml` or as DATABASE_URL".to_owned()),
        _ => None,
    }
}

/// Pools are found by their type, so no two may have the same; and no two may read the same section.
fn refuse_twins(fields: &mut [Field], faults: &mut Faults) {
    let (mut types, mut sections) = (HashMap::new(), HashMap::new());
    for field in fields {
        if let Some(first) = types.insert(identity(&field.ty), &field.name) {
            field.twin = true;
            let key = camel(&field.name);
            let pool = identity(&field.ty);
            let pool = pool.split(' ').next().unwrap_or_default();
            faults.at(
                &field.ty,
                format!(
                    "`{0}` has the same type as `{first}`, and handlers find a pool by its type; \
                     add a key type: write `struct {key};` and `{0}: {pool}<{key}>`",
                    field.name,
                ),
            );
        }
        if let Some(first) = sections.insert(field.section.value(), &field.name) {
            faults.at(
                &field.section,
                format!(
                    "`{}` reads the same section as `{first}`; write another one: `#[pool(section = \"..\")]`",
                    field.name
                ),
            );
        }
    }
}

/// What a pool type says whichever way it is written: `PgPool`, `pool_sqlx::PgPool<Main>` and `Pool<Postgres>` are one.
fn identity(ty: &Type) -> String {
    let Type::Path(path) = ty else { return ty.to_token_stream().to_string() };
    let Some(segment) = path.path.segments.last() else { return String::new() };
    let mut words = vec![segment.ident.to_string()];
    if let PathArguments::AngleBracketed(list) = &segment.arguments {
        words.extend(list.args.iter().map(|argument| match argument {
            GenericArgument::Type(Type::Path(path)) if path.qself.is_none() => {
                path.path.segments.last().map(ToTokens::to_token_stream).unwrap_or_default().to_string()
            }
            other => other.to_token_stream().to_string(),
        }));
    }
    if words[0] == "Pool" && words.len() > 1 {
        words.remove(0);
        words[0] = match words[0].as_str() {
            "Postgres" => "PgPool".to_owned(),
            database => format!("{database}Pool"),
        };
    }
    if words.last().is_some_and(|word| word == "Main") {
        words.pop();
    }
    words.join(" ")
}
