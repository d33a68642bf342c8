//! `#[derive(ServiceError)]`: parse, check, expand.

mod ast;
mod expand;

use crate::fault::Faults;
use proc_macro2::TokenStream;
use quote::quote;

/// The answers of the enum, after a `compile_error!` for each fault.
pub(crate) fn expand(item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let answers = ast::read(item, &mut faults).map(|error| expand::expand(&error));
    let faults = faults.into_tokens();
    quote!(#faults #answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(item: &str, expected: &[&str]) -> String {
        let mut faults = Faults::default();
        let error = ast::read(item.parse().expect("tokens"), &mut faults);
        let texts = faults.texts();
        assert_eq!(texts.len(), expected.len(), "{texts:#?}");
        for (fault, expected) in texts.iter().zip(expected) {
            assert!(fault.starts_with(expected), "expected {expected:?}, got {fault:?}");
        }
        error.map(|error| expand::expand(&error).to_string()).unwrap_or_default()
    }

    #[test]
    fn a_variant_without_an_answer_is_told_to_take_one() {
        let out = check(
            "enum E { NoTrack(i64), Db(#[from] sqlx::Error) }",
            &[
                "NoTrack: `NoTrack` has no answer; write `#[service(status = 404)]`",
                "Db: `Db` has no answer; write `#[service(database)]`, which finds the status by the error",
            ],
        );
        assert!(out.contains("Self :: NoTrack { .. } =>"), "no second wave of errors: {out}");
    }

    #[test]
    fn what_is_no_enum_is_told_what_to_write() {
        let message =
            "E: `ServiceError` is for an enum with one variant for each kind of failure; write `enum E { .. }`";
        check("struct E;", &[message]);
        check("union E { a: u8 }", &[message]);
    }

    #[test]
    fn a_status_is_one_of_a_failure() {
        let status =
            |status: &str, expected: &[&str]| check(&format!("enum E {{ #[service(status = {status})] A }}"), expected);
        status("404", &[]);
        status("599", &[]);
        for wrong in ["200", "399", "600", "0", "\"404\"", "NOT_FOUND", "70000"] {
            status(wrong, &[&format!("{wrong}: write a status from 400 to 599")]);
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_told_apart() {
        let variant =
            |options: &str, expected: &[&str]| check(&format!("enum E {{ #[service({options})] A(Inner) }}"), expected);
        variant("database, not_found = 404, unique = 409", &[]);
        variant("database, status = 500", &["status: `database` finds the answer by the error; drop `status`"]);
        variant("database, type = \"a\"", &["type: `database` finds the answer by the error; drop `type`"]);
        variant(
            "status = 404, unique = 409",
            &["unique: `unique` is a case of `database`; write `#[service(database, unique = ..)]`"],
        );
        variant("type = \"a\"", &["A: `A` has no answer"]);
        variant("status = 404, type = \"\"", &["\"\": write a name or a URI, such as \"no-such-track\""]);
        variant("stauts = 404", &["stauts: unknown option `stauts`; did you mean `status`?", "A: `A` has no answer"]);
        variant("status = 503, retry_after = \"5\"", &["\"5\": `5` has no unit"]);
    }

    #[test]
    fn the_error_in_a_variant_is_its_only_field_or_the_marked_one() {
        let field = |fields: &str, found: &str, expected: &[&str]| {
            let out = check(&format!("enum E {{ #[service(database)] A {fields} }}"), expected);
            assert!(out.contains(found), "{out}");
        };
        field("(Inner)", "Self :: A { 0 : error , .. }", &[]);
        field("{ inner: Inner }", "Self :: A { inner : error , .. }", &[]);
        field("(i64, #[from] Inner)", "Self :: A { 1 : error , .. }", &[]);
        field("{ id: i64, #[source] inner: Inner }", "Self :: A { inner : error , .. }", &[]);
        field("{ id: i64, source: Inner }", "Self :: A { source : error , .. }", &[]);
        let message =
            "A: `database` looks at the error in a variant, and this one has none; mark the field with `#[source]`";
        field("", "Self :: A { .. }", &[message]);
        field("(i64, Inner)", "Self :: A { .. }", &[message]);
    }

    #[test]
    fn responses_of_one_s_own_leave_the_answer() {
        let enum_with =
            |attr: &str, expected: &[&str]| check(&format!("{attr} enum E {{ #[service(status = 404)] A }}"), expected);
        assert!(enum_with("", &[]).contains("IntoResponse for E"));
        let out = enum_with("#[service(own_response)]", &[]);
        assert!(out.contains("fn failure (& self)") && !out.contains("IntoResponse"), "{out}");
        enum_with("#[service(own_response = true)]", &["own_response: `own_response` takes no value"]);
        enum_with(
            "#[service(own_reponse)]",
            &["own_reponse: unknown option `own_reponse`; did you mean `own_response`?"],
        );
    }

    #[test]
    fn only_a_client_s_fault_shows_its_text() {
        let out = check("enum E { #[service(status = 404)] A, #[service(status = 500)] B }", &[]);
        assert_eq!(out.matches("with_detail").count(), 1, "{out}");
    }
}
