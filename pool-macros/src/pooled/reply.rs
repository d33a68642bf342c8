//! What the return type says: whether it carries a failure, and what must not be in it.

use super::ast::{Carries, Pooled, Reply};
use crate::{
    fault::Faults,
    names::{last_name, last_segment, peel, text},
};
use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Block, Expr, GenericArgument, Lifetime, PathArguments, ReturnType, Token, Type, TypeReference, parse_quote,
    visit::{self, Visit},
    visit_mut::{self, VisitMut},
};

/// The return type, read.
pub(crate) fn read(output: &ReturnType) -> Reply {
    let declared: Type = match output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    };
    let carries = match last_name(&declared) {
        name if name.ends_with("Result") || name == "Response" || name == "HttpResponse" => Carries::Failures,
        _ => Carries::Values,
    };
    let error = error(&declared);
    Reply { declared, carries, error }
}

/// `E` of `Result<T, E>`.
fn error(declared: &Type) -> Option<Type> {
    let segment = last_segment(declared).filter(|segment| segment.ident == "Result")?;
    let PathArguments::AngleBracketed(list) = &segment.arguments else { return None };
    match (list.args.len(), list.args.last()) {
        (2, Some(GenericArgument::Type(error))) => Some(error.clone()),
        _ => None,
    }
}

/// What the compiler would say too, but of a signature that the user never saw.
pub(crate) fn check(pooled: &mut Pooled, faults: &mut Faults) {
    borrows(pooled, faults);
    question_mark(pooled, faults);
}

/// A result that borrows from the connection. After the fault the function returns what is `'static`, or the compiler
/// would add what it thinks of a lifetime without an argument.
fn borrows(pooled: &mut Pooled, faults: &mut Faults) {
    let mut others = Lifetimes(Vec::new());
    pooled.others.iter().for_each(|arg| others.visit_type(&arg.ty));
    let own = match peel(&pooled.conn.arg.ty) {
        Type::Reference(reference) => reference.lifetime.clone().filter(|own| !others.0.contains(&Some(own.clone()))),
        _ => None,
    };
    let elided = pooled.receiver.is_none() && others.0.is_empty();
    let mut borrows = Borrows { own, elided, found: None };
    borrows.visit_type_mut(&mut pooled.reply.declared);
    let Some(found) = borrows.found else { return };
    faults.at(
        found,
        "the connection goes back before the function returns, so its result cannot borrow from it; return an owned value, \
         `fetch_all` in the place of `fetch`",
    );
    pooled.escapes = true;
    if let ReturnType::Type(_, ty) = &mut pooled.sig.output {
        **ty = pooled.reply.declared.clone();
    }
}

/// The lifetimes in a type; `None` is a reference without one.
struct Lifetimes(Vec<Option<Lifetime>>);

impl<'ast> Visit<'ast> for Lifetimes {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        self.0.extend(reference.lifetime.is_none().then_some(None));
        visit::visit_type_reference(self, reference);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        self.0.push(Some(lifetime.clone()));
    }
}

/// Finds the first lifetime that could only be the connection's, and makes all of them `'static`.
struct Borrows {
    /// The connection's, if it has a name and no other argument has it.
    own: Option<Lifetime>,
    /// Whether one that is left out could only be the connection's.
    elided: bool,
    found: Option<TokenStream>,
}

impl VisitMut for Borrows {
    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        if self.elided && reference.lifetime.is_none() {
            self.found.get_or_insert(reference.to_token_stream());
            reference.lifetime = Some(Lifetime::new("'static", Span::mixed_site()));
        }
        visit_mut::visit_type_reference_mut(self, reference);
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if self.own.as_ref() == Some(lifetime) || self.elided && lifetime.ident == "_" {
            self.found.get_or_insert(lifetime.to_token_stream());
            lifetime.ident = Ident::new("static", lifetime.ident.span());
        }
    }

    // These have lifetimes of their own.
    fn visit_type_fn_ptr_mut(&mut self, _: &mut syn::TypeFnPtr) {}
    fn visit_parenthesized_generic_arguments_mut(&mut self, _: &mut syn::ParenthesizedGenericArguments) {}
}

/// Names of types that are neither `Result` nor `Option`, and are not used as names of one.
const PLAIN: &[&str] = &[
    "Json",
    "Html",
    "Redirect",
    "Response",
    "HttpResponse",
    "StatusCode",
    "Body",
    "Bytes",
    "String",
    "Vec",
    "bool",
    "i32",
    "i64",
    "u32",
    "u64",
    "usize",
];

/// A `?` where there is no `Result` to return. Only here is a body read, and only if such a type is returned and a `?` is in it.
fn question_mark(pooled: &mut Pooled, faults: &mut Faults) {
    let declared = peel(&pooled.reply.declared);
    let is_plain = match declared {
        Type::Tuple(_) | Type::Reference(_) => true,
        declared => PLAIN.contains(&last_name(declared).as_str()),
    };
    if !is_plain || !has_question_mark(pooled.body.stream()) {
        return;
    }
    let Ok(mut body) = syn::parse2::<Block>(TokenTree::from(pooled.body.clone()).into()) else { return };
    let mut marks = QuestionMarks(None);
    marks.visit_block_mut(&mut body);
    let Some(mark) = marks.0 else { return };
    let ty = text(declared);
    faults.at(
        mark,
        format!("`?` returns an error, and `{ty}` has no place for one; write `-> Result<{ty}, pool_sqlx::Error>`"),
    );
    let mut unwrapped = Group::new(Delimiter::Brace, quote::quote!(#body));
    unwrapped.set_span(pooled.body.span());
    pooled.body = unwrapped;
}

fn has_question_mark(body: TokenStream) -> bool {
    body.into_iter().any(|tree| match tree {
        TokenTree::Punct(punct) => punct.as_char() == '?',
        TokenTree::Group(group) => has_question_mark(group.stream()),
        _ => false,
    })
}

/// Finds the first `?` that ends the function itself, and makes an `unwrap` of each.
struct QuestionMarks(Option<Token![?]>);

impl VisitMut for QuestionMarks {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        match expr {
            // What a `?` in them ends is not the function.
            Expr::Closure(_) | Expr::Async(_) | Expr::TryBlock(_) => {}
            Expr::Try(tried) => {
                self.visit_expr_mut(&mut tried.expr);
                self.0.get_or_insert(tried.question_token);
                let inner = &tried.expr;
                *expr = parse_quote!(#inner.unwrap());
            }
            _ => visit_mut::visit_expr_mut(self, expr),
        }
    }

    fn visit_item_mut(&mut self, _: &mut syn::Item) {}
}

/// Whether a value of this type may be a failure, which nobody could tell: `impl IntoResponse`, `(StatusCode, String)`.
pub(crate) fn hides_failure(ty: &Type) -> bool {
    struct Hides(bool);
    impl<'ast> Visit<'ast> for Hides {
        fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {
            self.0 = true;
        }

        fn visit_type_path(&mut self, path: &'ast syn::TypePath) {
            self.0 |= path.path.segments.last().is_some_and(|segment| segment.ident == "StatusCode");
            visit::visit_type_path(self, path);
        }
    }
    let mut hides = Hides(false);
    hides.visit_type(ty);
    hides.0
}
