//! The alerts and the dashboard that users install, taken apart for checks.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where they are: the book offers them to download.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../book/src/monitoring")
}

/// An expression of PromQL, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// The panel's or the variable's title, or the rule's name.
    pub of: String,
    /// Its text.
    pub text: String,
    /// The labels that name its series on the dashboard.
    pub legend: Vec<String>,
}

/// Every expression of a Grafana dashboard, with numbers in the places of its variables: `window` for a range, and whatever there is for the
/// rest.
///
/// # Errors
/// If it is not JSON, has no expressions, or names a variable that it does not have.
pub fn of_dashboard(json: &str, window: &str) -> Result<Vec<Expression>, String> {
    let dashboard: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    collect(&dashboard, "the dashboard", &mut found);
    let variables = dashboard["templating"]["list"].as_array().ok_or("it has no variables")?;
    for variable in variables {
        let definition = variable["definition"].as_str().unwrap_or_default();
        if let Some((series, _)) = definition.strip_prefix("label_values(").and_then(|of| of.rsplit_once(", ")) {
            found.push(Expression { of: title(variable), text: series.to_owned(), legend: Vec::new() });
        }
    }
    let names: Vec<_> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    for expression in &mut found {
        expression.text = expression.text.replace("$__rate_interval", window);
        for name in &names {
            expression.text = expression.text.replace(&format!("\"${name}\""), "\".*\"");
        }
        if expression.text.contains('$') {
            return Err(format!("{}: there is no such variable: {}", expression.of, expression.text));
        }
    }
    if found.is_empty() { Err("it has no expressions".into()) } else { Ok(found) }
}

fn collect(value: &Value, of: &str, found: &mut Vec<Expression>) {
    let own = title(value);
    let of = if own.is_empty() { of } else { &own };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, field)| match field.as_str() {
            Some(text) if key == "expr" => {
                let legend = legend(value["legendFormat"].as_str().unwrap_or_default());
                found.push(Expression { of: of.to_owned(), text: text.to_owned(), legend });
            }
            _ => collect(field, of, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| collect(value, of, found)),
        _ => {}
    }
}

/// The labels of `p95 {{pool}}`.
fn legend(format: &str) -> Vec<String> {
    format.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim().to_owned())).collect()
}

fn title(value: &Value) -> String {
    ["title", "name"].iter().find_map(|key| value[key].as_str()).unwrap_or_default().to_owned()
}

/// Every expression of a file of Prometheus rules that is written as ours: a rule begins with `- record:` or `- alert:`.
pub fn of_rules(yaml: &str) -> Vec<Expression> {
    let mut found = Vec::new();
    for rule in rules(yaml) {
        let Some((_, rest)) = rule.split_once("    expr: ") else { continue };
        // A block is indented deeper than its key.
        let (first, rest) = rest.split_once('\n').unwrap_or((rest, ""));
        let block = rest.lines().take_while(|line| line.starts_with("      ")).map(str::trim);
        let lines: Vec<_> = [first].into_iter().filter(|line| *line != "|").chain(block).collect();
        found.push(Expression { of: name(rule).to_owned(), text: lines.join(" "), legend: Vec::new() });
    }
    found
}

/// The text of every rule, from its name on.
pub fn rules(yaml: &str) -> impl Iterator<Item = &str> {
    let starts = ["\n  - record: ", "\n  - alert: "];
    let mut at: Vec<_> = starts.iter().flat_map(|start| yaml.match_indices(start).map(|(at, _)| at)).collect();
    at.push(yaml.len());
    at.sort_unstable();
    (0..at.len() - 1).map(move |i| yaml[at[i]..at[i + 1]].trim_start_matches(['\n', ' ', '-']))
}

/// The name of a rule.
pub fn name(rule: &str) -> &str {
    rule.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, name)| name.trim())
}

/// The metrics that an expression names.
pub fn metrics(expression: &str) -> Vec<&str> {
    const WORDS: [&str; 12] = [
        "and",
        "or",
        "unless",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "bool",
        "offset",
        "atan2",
    ];
    const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first == '{' || first == '[' {
            rest = rest.split_once(if first == '{' { '}' } else { ']' }).map_or("", |(_, after)| after);
        } else if first.is_ascii_digit() {
            // A number, or one such as `1e5`.
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if is_of_a_name(first) {
            let end = rest.find(|c| !is_of_a_name(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after.trim_start();
            if LISTS.contains(&word) && rest.starts_with('(') {
                rest = rest.split_once(')').map_or("", |(_, after)| after);
            } else if !WORDS.contains(&word) && !is_called(rest) {
                found.push(word);
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// Whether the word before is a function, `rate(…)`, or sums up, `sum by (…) (…)`.
fn is_called(rest: &str) -> bool {
    ["(", "by (", "without ("].iter().any(|call| rest.starts_with(call))
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_told_from_functions_labels_numbers_and_words() {
        let check = |expression, expected: &[&str]| assert_eq!(metrics(expression), expected, "{expression}");
        check("up", &["up"]);
        check("sum without (a, b) (x{c=\"d\", e=~\"f|g\"}) / clamp_min(pool_size, 1)", &["x", "pool_size"]);
        check("pool:a:b >= 1 and on (job) y_z > 0.05e3 or rate(w_total[5m])", &["pool:a:b", "y_z", "w_total"]);
        check("histogram_quantile(0.99, sum by (le, p) (rate(w_bucket{j=~\".*\"}[1m])))", &["w_bucket"]);
    }

    #[test]
    fn rules_are_read_with_their_expressions() {
        let yaml = "groups:\n- name: a\n  rules:\n  # Why.\n  - record: a:b\n    expr: rate(c[5m])\n\n  - alert: Bad\n    expr: |\n      \
                    a:b\n        > 1\n    for: 5m\n    labels:\n      severity: x\n";
        let found = of_rules(yaml);
        let found: Vec<_> = found.iter().map(|found| (&*found.of, &*found.text)).collect();
        assert_eq!(found, [("a:b", "rate(c[5m])"), ("Bad", "a:b > 1")]);
    }

    #[test]
    fn expressions_of_a_dashboard_are_found_with_their_panels() {
        let json = r#"{"title": "d", "templating": {"list": [{"name": "job", "definition": "label_values(up{x=\"y\"}, job)"}]},
            "panels": [{"title": "A", "targets": [{"expr": "rate(a{job=~\"$job\"}[$__rate_interval])"}, {"expr": "b", "legendFormat": "x {{y}}"}]}]}"#;
        let found = of_dashboard(json, "1m").unwrap();
        assert_eq!(found[1].legend, ["y"]);
        let found: Vec<_> = found.iter().map(|found| (&*found.of, &*found.text)).collect();
        assert_eq!(found, [("A", "rate(a{job=~\".*\"}[1m])"), ("A", "b"), ("job", "up{x=\"y\"}")]);
        let unknown = of_dashboard(&json.replace("$job", "$jobs"), "1m").unwrap_err();
        assert!(unknown.starts_with("A: there is no such variable"), "{unknown}");
    }
}
