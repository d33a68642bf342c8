//! What the demonstration says at the end.

use super::load::Outcome;
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// Prints the table and gives the number of requests that got neither an answer nor a 503.
pub(super) fn print(phases: &[(&str, Vec<Outcome>)], status: Option<&Value>, refusal: Option<&str>) -> usize {
    print!("\n{}", render(phases, status));
    if let Some(refusal) = refusal {
        println!("\nwhat the log says of a refused request:\n  {}", refusal.trim());
    }
    println!();
    let unanswered: Vec<_> =
        phases.iter().flat_map(|(_, outcomes)| outcomes).filter(|outcome| !outcome.is_answered()).collect();
    for outcome in unanswered.iter().take(5) {
        let what = match &outcome.status {
            Ok(status) => format!("status {status}"),
            Err(error) => error.clone(),
        };
        println!("unanswered after {:.2} s: {what}", outcome.took.as_secs_f64());
    }
    unanswered.len()
}

fn render(phases: &[(&str, Vec<Outcome>)], status: Option<&Value>) -> String {
    let mut text = format!(
        "{:<10}{:>9}  {:<28}{:>20}{:>20}{:>20}\n{:<10}{:>9}  {:<28}{:>20}{:>20}{:>20}\n",
        "phase",
        "requests",
        "statuses",
        "wait, ms",
        "hold, ms",
        "503 after, ms",
        "",
        "",
        "",
        "p50  p95  max",
        "p50  p95  max",
        "p50  p95  max",
    );
    for (name, outcomes) in phases {
        let mut statuses = BTreeMap::<String, usize>::new();
        for outcome in outcomes {
            let status = outcome.status.as_ref().map_or("none".into(), u16::to_string);
            *statuses.entry(status).or_default() += 1;
        }
        let statuses: Vec<_> = statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        // Only a request that says how long it held tells how long it waited.
        let held: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.held).collect();
        let waited = outcomes.iter().filter_map(|outcome| Some(outcome.took.saturating_sub(outcome.held?))).collect();
        let refused = outcomes.iter().filter(|outcome| outcome.status == Ok(503)).map(|outcome| outcome.took).collect();
        text += &format!(
            "{name:<10}{:>9}  {:<28}{:>20}{:>20}{:>20}\n",
            outcomes.len(),
            statuses.join(", "),
            percentiles(waited),
            percentiles(held),
            percentiles(refused),
        );
    }
    if let Some(status) = status {
        text += &format!("connections: {}\n", connections(status));
    }
    text
}

/// Median, 95th percentile and maximum in milliseconds; a dash where there is nothing.
fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let Some(last) = times.len().checked_sub(1) else { return "-".into() };
    // The smallest value that so many in a hundred do not exceed.
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100).saturating_sub(1)];
    let ms = |time: Duration| time.as_millis();
    format!("{:>4} {:>4} {:>4}", ms(at(50)), ms(at(95)), ms(times[last]))
}

/// From the service's totals, wherever they stand in its answer.
fn connections(status: &Value) -> String {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64);
    let totals = status.get("totals").unwrap_or(status);
    let opened = number(totals.get("opened"));
    let open = number(status.get("open"));
    // opened - closed = open, at every instant.
    let closed = number(totals.get("closed")).or_else(|| opened?.checked_sub(open?));
    let show = |value: Option<u64>| value.map_or("unknown".into(), |value| value.to_string());
    format!("{} opened, {} closed, {} open at the end", show(opened), show(closed), show(open))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, took: u64, held: Option<u64>) -> Outcome {
        let held = held.map(Duration::from_millis);
        Outcome { status: Ok(status), took: Duration::from_millis(took), held }
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let ms = |range: std::ops::RangeInclusive<u64>| range.rev().map(Duration::from_millis).collect::<Vec<_>>();
        assert_eq!(percentiles(ms(1..=100)), "  50   95  100");
        assert_eq!(percentiles(ms(7..=7)), "   7    7    7");
        assert_eq!(percentiles(vec![]), "-");
    }

    #[test]
    fn table_counts_statuses_and_parts_waiting_from_holding() {
        let outcomes = vec![outcome(200, 700, Some(200)), outcome(200, 210, Some(200)), outcome(503, 1001, None)];
        let text = render(&[("burst", outcomes)], None);
        let row = text.lines().last().unwrap_or_default();
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!(
            words,
            ["burst", "3", "200:", "2,", "503:", "1", "10", "500", "500", "200", "200", "200", "1001", "1001", "1001"]
        );
    }

    #[test]
    fn connections_are_read_from_the_totals() {
        let status = serde_json::json!({ "open": 5, "totals": { "opened": 8 } });
        assert_eq!(connections(&status), "8 opened, 3 closed, 5 open at the end");
    }
}
