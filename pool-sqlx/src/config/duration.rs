//! Durations as people write them.

use std::time::Duration;

/// Longest duration that a setting takes: a hundred years. More would overflow the clock when added to it.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What a duration may look like, to end the sentence `expected …`.
const WANTED: &str = r#"a duration such as 10 (seconds), "250ms", "2s", "5m" or "2h""#;

/// Reads `10`, `10.0`, `250ms`, `2s`, `5m` or `2h`. A bare number is seconds, a fraction is allowed.
///
/// The error says what was expected instead.
pub(super) fn parse(text: &str) -> Result<Duration, &'static str> {
    let text = text.trim();
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'));
    let number = text[..text.len() - unit.len()].trim();
    let scale = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(WANTED),
    };
    match number.parse::<f64>() {
        Ok(number) => seconds(number * scale),
        Err(_) => Err(WANTED),
    }
}

/// A number of seconds.
pub(super) fn seconds(seconds: f64) -> Result<Duration, &'static str> {
    if seconds.is_nan() {
        return Err(WANTED);
    }
    if seconds < 0.0 {
        return Err("a duration of zero or more");
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err("a duration of at most 876000h, which is a hundred years"),
    }
}

/// A duration as [`parse`] reads it, to the millisecond.
pub(super) fn written(duration: Duration) -> String {
    let millis = duration.as_millis();
    let mut units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)].into_iter();
    match units.find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_written() {
        fn check(text: &str, millis: u64) {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        check("10", 10_000);
        check("10.0", 10_000);
        check("0", 0);
        check("0.1", 100);
        check("250ms", 250);
        check("1.5s", 1_500);
        check("2s", 2_000);
        check("2 s", 2_000);
        check(" 5m ", 300_000);
        check("0.5h", 1_800_000);
        check("2h", 7_200_000);
        check("7200", 7_200_000);
    }

    #[test]
    fn durations_are_written_in_their_largest_unit() {
        fn check(text: &str) {
            assert_eq!(written(parse(text).expect(text)), text);
        }
        for text in ["0", "1ms", "1500ms", "10s", "90s", "1m", "90m", "2h"] {
            check(text);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        fn check(text: &str, reason: &str) {
            let problem = parse(text).expect_err(text);
            assert!(problem.contains(reason), "{text}: {problem}");
        }
        check("-1", "zero or more");
        check("-0.5s", "zero or more");
        check("nan", "such as");
        check("inf", "such as");
        check("", "such as");
        check("s", "such as");
        check("2 weeks", "such as");
        check("1e3", "such as");
        check("1h30m", "such as");
        check("--2", "such as");
        check("99999999999999999999999h", "at most");
        check("876001h", "at most");
    }

    #[test]
    fn floats_outside_of_time_are_refused() {
        assert!(seconds(f64::NAN).is_err());
        assert!(seconds(f64::INFINITY).is_err());
        assert!(seconds(f64::NEG_INFINITY).is_err());
        assert_eq!(seconds(0.25), Ok(Duration::from_millis(250)));
    }
}
