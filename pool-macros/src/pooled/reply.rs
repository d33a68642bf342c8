//! What the return type says: whether it carries a failure, and what must not be in it.

use super::ast::{Carries, Pooled, Reply, last_name};
use crate::fault::Faults;
use syn::{
    ReturnType, Type, TypeReference, parse_quote,
    visit::{self, Visit},
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
    Reply { declared, carries }
}

/// What the compiler would say too, but of a signature that the user never saw.
pub(crate) fn check(pooled: &Pooled, faults: &mut Faults) {
    let others = pooled.receiver.is_some() || pooled.others.iter().any(|arg| mentions_lifetime(&arg.ty));
    if let (false, Some(borrow)) = (others, elided(&pooled.reply.declared)) {
        faults.at(
            borrow,
            "the connection goes back before the function returns, so its result cannot borrow from it; \
             return an owned value",
        );
    }
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
