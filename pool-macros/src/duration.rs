//! Durations in attributes: `"2s"`, `"250ms"`, `2.5` (seconds), or a `Duration` constant.

use crate::fault::Faults;
use proc_macro2::TokenStream;
use quote::quote;
use std::time::Duration;
use syn::{Expr, ExprLit, Lit};

/// The expression that gives the duration, checked as far as a macro can. `None` after a fault.
///
/// A bare number is seconds, as in the configuration. A number in quotes must have a unit: in code,
/// a reader cannot tell what `"5"` means.
pub(crate) fn read(value: &Expr, faults: &mut Faults) -> Option<TokenStream> {
    let read = match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => parse(&text.value()),
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) if number.suffix().is_empty() => {
            seconds(number.base10_digits(), 1.0)
        }
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) if number.suffix().is_empty() => {
            seconds(number.base10_digits(), 1.0)
        }
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) if is_unit(number.suffix()) => Err(quoted(number)),
        Expr::Lit(ExprLit { lit: Lit::Float(number), .. }) if is_unit(number.suffix()) => Err(quoted(number)),
        Expr::Lit(_) | Expr::Unary(_) => {
            Err("not a duration; write one such as \"2s\" or \"500ms\", or a number of seconds".into())
        }
        constant => return Some(quote!(#constant)),
    };
    match read {
        Ok(duration) if duration.is_zero() => {
            faults.at(value, "a limit of zero lets nothing pass; write at least \"1ms\", or leave the option out");
            None
        }
        Ok(duration) => {
            let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
            Some(quote!(::core::time::Duration::new(#seconds, #nanos)))
        }
        Err(message) => {
            faults.at(value, message);
            None
        }
    }
}

/// `2s` reads as a number of the type `s`.
fn quoted(number: &impl std::fmt::Display) -> String {
    format!("a duration needs quotes; write \"{number}\"")
}

fn is_unit(text: &str) -> bool {
    ["ms", "s", "m", "h"].contains(&text)
}

fn parse(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let unit = match unit.trim() {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" if number.parse::<f64>().is_ok() => {
            return Err(format!("`{text}` has no unit; write \"{number}s\" or \"{number}ms\""));
        }
        _ => return Err(wrong(text)),
    };
    seconds(number, unit).map_err(|_| wrong(text))
}

fn seconds(number: &str, unit: f64) -> Result<Duration, String> {
    let number: f64 = number.parse().map_err(|_| wrong(number))?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| format!("`{number}` seconds are out of range"))
}

fn wrong(text: &str) -> String {
    format!("`{text}` is not a duration; write a number and a unit: \"500ms\", \"2s\", \"1.5m\" or \"1h\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: &str) {
        let mut faults = Faults::default();
        let read = read(&syn::parse_str(value).unwrap(), &mut faults);
        let said = match read {
            Some(tokens) => tokens.to_string().replace(' ', "").replace("::core::time::Duration::new", ""),
            None => faults.texts().join(" | "),
        };
        assert!(said.contains(expected), "{value} gave {said}");
    }

    #[test]
    fn a_duration_has_a_number_and_a_unit() {
        check(r#""2s""#, "(2u64,0u32)");
        check(r#""250ms""#, "(0u64,250000000u32)");
        check(r#"" 1.5 s ""#, "(1u64,500000000u32)");
        check(r#""5m""#, "(300u64,0u32)");
        check(r#""2h""#, "(7200u64,0u32)");
    }

    #[test]
    fn a_bare_number_is_seconds() {
        check("2", "(2u64,0u32)");
        check("1_000", "(1000u64,0u32)");
        check("0.25", "(0u64,250000000u32)");
    }

    #[test]
    fn another_expression_is_left_to_the_compiler() {
        check("crate::LIMIT", "crate::LIMIT");
        check("Duration::from_secs(3)", "Duration::from_secs(3)");
    }

    #[test]
    fn what_is_no_duration_is_told_what_to_write() {
        check(r#""5""#, r#""5": `5` has no unit; write "5s" or "5ms""#);
        check(r#""2 parsecs""#, r#""2 parsecs": `2 parsecs` is not a duration; write a number and a unit"#);
        check(r#""s""#, "`s` is not a duration");
        check(r#""""#, "`` is not a duration");
        check(r#""1.2.3s""#, "`1.2.3s` is not a duration");
        check(r#""0s""#, "a limit of zero");
        check("0", "0: a limit of zero");
        check("true", "true: not a duration; write one such as");
        check("-1", "- 1: not a duration");
        check("2u8", "2u8: not a duration");
        check("2s", "2s: a duration needs quotes; write \"2s\"");
        check("1.5ms", "1.5ms: a duration needs quotes; write \"1.5ms\"");
        check(r#""99999999999999999999999h""#, "is not a duration");
    }
}
