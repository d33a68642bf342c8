//! The types of settings: how each is read from a value of a file or variable, and how it is written.

use std::{path::PathBuf, time::Duration};

use figment::value::{Num, Value};
use pool_core::{MaxOverflow, Nested};

use super::{Pooler, Reset, duration, settings::Provider, url};
use crate::words::{Secret, secret};

/// A type of a setting.
pub(super) trait SettingValue: Sized {
    const KIND: SettingKind;

    /// The error is a sentence such as `found "forty", expected a whole number such as 40`.
    fn read(value: &Value) -> Result<Self, String>;

    /// The value as one would write it.
    fn written(&self) -> String;
}

/// What a setting can be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingKind {
    /// A database url, secret.
    Url,
    /// Text.
    Text,
    /// The path of a file.
    Path,
    /// A whole number.
    Count,
    /// A whole number or `"none"`.
    CountOrNone,
    /// A whole number, `"unlimited"` or -1.
    Overflow,
    /// A duration: a number of seconds, or `"250ms" "2s" "5m" "2h"`.
    Duration,
    /// A duration or `"none"`.
    DurationOrNone,
    /// `true` or `false`; in the environment also `1 0 yes no on off`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// The value as an error may quote it.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::String(_, text) => match secret::quotable(text) {
            long if long.chars().count() > 80 => format!("\"{}…\"", long.chars().take(80).collect::<String>()),
            text => format!("\"{text}\""),
        },
        Value::Char(_, c) => format!("\"{c}\""),
        Value::Bool(_, b) => b.to_string(),
        Value::Num(_, num) => match (num.to_u128(), num.to_i128()) {
            (Some(n), _) => n.to_string(),
            (_, Some(n)) => n.to_string(),
            _ => format!("{:?}", float(num).unwrap_or(f64::NAN)),
        },
        Value::Empty(..) => "nothing".into(),
        Value::Dict(..) => "a table".into(),
        Value::Array(..) => "a list".into(),
    }
}

/// What is wrong with text that nobody trims, such as a host's name.
#[cfg(feature = "postgres")]
pub(crate) fn untidy(text: &str) -> Option<&'static str> {
    let has_space = text.trim() != text;
    quoted(text.trim()).or(has_space.then_some("the value begins or ends with white space; take it away"))
}

/// What is wrong with text that begins and ends with a quotation mark.
pub(super) fn quoted(text: &str) -> Option<&'static str> {
    const MARKS: [(char, char); 6] = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('„', '“'), ('‘', '’')];
    let (first, last) = (text.chars().next()?, text.chars().next_back()?);
    (text.len() > 1 && MARKS.contains(&(first, last))).then_some(
        "the value stands in quotation marks, which are a part of it; take them away (docker keeps those of an env file)",
    )
}

fn expected<T>(value: &Value, wanted: &str) -> Result<T, String> {
    Err(format!("found {}, expected {wanted}", found(value)))
}

/// The problem, with what to write if it is only that a number, `true` or `false` is text.
fn bare(problem: String, value: &Value) -> String {
    let text = value.as_str().map(str::trim).unwrap_or_default();
    let is_bare = text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok();
    if is_bare { format!("{problem}; write {text} without quotes") } else { problem }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl SettingValue for $number {
            const KIND: SettingKind = SettingKind::Count;

            fn read(value: &Value) -> Result<Self, String> {
                match whole(value) {
                    Some(n) => n.try_into().or_else(|_| expected(value, &format!("a whole number from 0 to {}", <$number>::MAX))),
                    None => expected(value, "a whole number such as 40").map_err(|problem| bare(problem, value)),
                }
            }

            fn written(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64, usize);

pub(super) fn whole(value: &Value) -> Option<i128> {
    value.to_num().and_then(|num| num.to_i128().or_else(|| num.to_u128().and_then(|n| n.try_into().ok())))
}

fn float(num: &Num) -> Option<f64> {
    match *num {
        Num::F32(n) => Some(n.into()),
        Num::F64(n) => Some(n),
        _ => None,
    }
}

impl SettingValue for bool {
    const KIND: SettingKind = SettingKind::Switch;

    fn read(value: &Value) -> Result<Self, String> {
        let wrong = || expected(value, "true or false").map_err(|problem| bare(problem, value));
        value.to_bool().map_or_else(wrong, Ok)
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for String {
    const KIND: SettingKind = SettingKind::Text;

    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().map_or_else(|| expected(value, "text in quotes"), |text| Ok(text.to_owned()))
    }

    fn written(&self) -> String {
        self.clone()
    }
}

impl SettingValue for PathBuf {
    const KIND: SettingKind = SettingKind::Path;

    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str().map(str::trim) {
            Some("") => Err("the path is empty; leave it out, or write one such as /run/secrets/db".to_owned()),
            Some(path) => Ok(Self::from(path)),
            None => Err("expected a path in quotes, such as \"/run/secrets/db\"".to_owned()),
        }
    }

    fn written(&self) -> String {
        self.display().to_string()
    }
}

impl SettingValue for Secret {
    const KIND: SettingKind = SettingKind::Url;

    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some(text) => url::normalise(text).map(Secret::new),
            // What stands where a url should is not quoted, whatever it is.
            None => Err("expected a url in quotes".into()),
        }
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for Duration {
    const KIND: SettingKind = SettingKind::Duration;

    fn read(value: &Value) -> Result<Self, String> {
        let parsed = match value {
            Value::String(_, text) => duration::parse(text),
            Value::Num(_, num) => match (float(num), whole(value)) {
                (Some(seconds), _) => duration::seconds(seconds),
                // Exact up to 2^53 seconds, far above the longest that is taken.
                (None, Some(seconds)) => duration::seconds(seconds as f64),
                (None, None) => duration::seconds(f64::INFINITY),
            },
            _ => duration::parse(""),
        };
        parsed.or_else(|wanted| expected(value, wanted))
    }

    fn written(&self) -> String {
        duration::written(*self)
    }
}

impl SettingValue for MaxOverflow {
    const KIND: SettingKind = SettingKind::Overflow;

    fn read(value: &Value) -> Result<Self, String> {
        const WANTED: &str = r#"a whole number such as 5, or "unlimited" (-1)"#;
        if value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("unlimited")) || whole(value) == Some(-1) {
            return Ok(Self::Unlimited);
        }
        match whole(value).and_then(|n| u32::try_from(n).ok()) {
            Some(n) => Ok(Self::Limited(n)),
            None => expected(value, WANTED).map_err(|problem| bare(problem, value)),
        }
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

impl<T: SettingValue> SettingValue for Option<T> {
    const KIND: SettingKind = match T::KIND {
        SettingKind::Count => SettingKind::CountOrNone,
        SettingKind::Duration => SettingKind::DurationOrNone,
        kind => kind,
    };

    fn read(value: &Value) -> Result<Self, String> {
        if value.as_str().is_some_and(|text| text.trim().eq_ignore_ascii_case("none")) {
            return Ok(None);
        }
        T::read(value).map(Some).map_err(|problem| format!("{problem}, or \"none\""))
    }

    fn written(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), T::written)
    }
}

macro_rules! choices {
    ($($choice:ty { $($word:literal => $variant:ident),* } $wanted:literal)*) => {$(
        impl SettingValue for $choice {
            const KIND: SettingKind = SettingKind::Choice(&[$($word),*]);

            fn read(value: &Value) -> Result<Self, String> {
                match value.as_str().map(str::to_ascii_lowercase).as_deref() {
                    $(Some($word) => Ok(Self::$variant),)*
                    _ => expected(value, $wanted),
                }
            }

            fn written(&self) -> String {
                match self {
                    $(Self::$variant => $word.to_owned(),)*
                }
            }
        }
    )*};
}

choices! {
    Nested { "allow" => Allow, "warn" => Warn, "deny" => Deny } r#""allow", "warn" or "deny""#
    Reset { "rollback" => Rollback, "session" => Session, "full" => Full } r#""rollback", "session" or "full""#
    Pooler { "direct" => Direct, "prepared" => Prepared, "unprepared" => Unprepared } r#""direct", "prepared" or "unprepared""#
    Provider { "none" => None, "neon" => Neon } r#""none" or "neon""#
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: SettingValue + std::fmt::Debug>(value: impl Into<Value>, expected: &str) {
        assert_eq!(T::read(&value.into()).expect_err("refused"), expected);
    }

    #[test]
    fn faults_say_what_was_found_and_what_was_expected() {
        refused::<u32>("10", r#"found "10", expected a whole number such as 40; write 10 without quotes"#);
        refused::<Option<u32>>(
            "10",
            r#"found "10", expected a whole number such as 40; write 10 without quotes, or "none""#,
        );
        refused::<MaxOverflow>(
            "-1",
            r#"found "-1", expected a whole number such as 5, or "unlimited" (-1); write -1 without quotes"#,
        );
        refused::<bool>("true", r#"found "true", expected true or false; write true without quotes"#);
        refused::<u32>("forty", r#"found "forty", expected a whole number such as 40"#);
        refused::<u32>(1.5, "found 1.5, expected a whole number such as 40");
        refused::<u32>(-1, "found -1, expected a whole number from 0 to 4294967295");
        refused::<u16>(70_000, "found 70000, expected a whole number from 0 to 65535");
        refused::<Option<u64>>("many", r#"found "many", expected a whole number such as 40, or "none""#);
        refused::<bool>("si", r#"found "si", expected true or false"#);
        refused::<MaxOverflow>(-2, r#"found -2, expected a whole number such as 5, or "unlimited" (-1)"#);
        refused::<Duration>(-1, "found -1, expected a duration of zero or more");
        refused::<Duration>(
            u64::MAX,
            "found 18446744073709551615, expected a duration of at most 876000h, which is a hundred years",
        );
        refused::<Duration>(
            f64::NAN,
            r#"found NaN, expected a duration such as 10 (seconds), "250ms", "2s", "5m" or "2h""#,
        );
        refused::<Duration>(
            true,
            r#"found true, expected a duration such as 10 (seconds), "250ms", "2s", "5m" or "2h""#,
        );
        refused::<bool>("x".repeat(100), &format!("found \"{}…\", expected true or false", "x".repeat(80)));
        refused::<Reset>("rolback", r#"found "rolback", expected "rollback", "session" or "full""#);
        refused::<String>(7, "found 7, expected text in quotes");
        refused::<Secret>(12345, "expected a url in quotes");
        refused::<u32>(
            "postgres://app:hunter2@db/app",
            r#"found "postgres://app:***@db/app", expected a whole number such as 40"#,
        );
    }

    #[test]
    fn values_are_read_from_every_form_they_come_in() {
        fn check<T: SettingValue + std::fmt::Debug + PartialEq>(value: impl Into<Value>, expected: T) {
            assert_eq!(T::read(&value.into()), Ok(expected));
        }
        check(40u64, 40u32);
        check(40i64, 40u32);
        check(10, Duration::from_secs(10));
        check(10.0, Duration::from_secs(10));
        check("10", Duration::from_secs(10));
        check("none", None::<Duration>);
        check("None", None::<usize>);
        check("2h", Some(Duration::from_secs(7200)));
        check(-1, MaxOverflow::Unlimited);
        check("unlimited", MaxOverflow::Unlimited);
        check(0, MaxOverflow::Limited(0));
        check("Full", Reset::Full);
        check("deny", Nested::Deny);
    }
}
