//! `DATABASE_*` variables: whose they are, and one figment provider for each, so that an error can name it.

use std::{collections::BTreeSet, ffi::OsString};

use figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{
    fault::nearest,
    reference::{Setting, by_alias, reference},
    value::SettingKind,
};

/// Name of our providers' metadata; the source is the variable.
pub(super) const NAME: &str = "environment variable";

/// A variable that is a setting of a database.
#[derive(Debug)]
pub(super) struct Variable {
    name: String,
    database: String,
    setting: &'static Setting,
    value: Option<String>,
}

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// In the order of merging: `DATABASE_PRIMARY_URL` after `DATABASE_URL`, for it is the more specific.
    pub(super) variables: Vec<Variable>,
    /// Variables that look like settings and are none, each with a hint. Other programs own such names too, so they are no faults.
    pub(super) strays: Vec<String>,
}

/// Reads the variables for the databases that a file or the program declares. A database is also declared by a url of its own.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    declared: &BTreeSet<String>,
) -> Environment {
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    let mut small: Vec<String> = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let value = value.into_string().ok().map(|text| text.trim().to_owned());
        // Set but empty is how a compose file says that something is not set.
        if value.as_deref() == Some("") {
            continue;
        }
        match name.strip_prefix("DATABASE_") {
            Some(rest) => found.push((rest.to_owned(), value)),
            None if name.get(..9).is_some_and(|prefix| prefix.eq_ignore_ascii_case("DATABASE_")) => {
                small.push(name.to_owned());
            }
            None => {}
        }
    }
    found.sort();
    small.sort();

    let mut databases: Vec<(String, String)> = declared.iter().map(|name| (upper(name), name.clone())).collect();
    let own_urls: Vec<String> = found
        .iter()
        .filter(|(rest, _)| setting(rest).is_none() && !rest.ends_with("_LISTEN_URL"))
        .filter_map(|(rest, _)| rest.strip_suffix("_URL").or(rest.strip_suffix("_URL_FILE")).map(str::to_owned))
        .collect();
    let own_urls: Vec<String> = BTreeSet::from_iter(own_urls).into_iter().collect();
    for name in &own_urls {
        if databases.iter().all(|(upper, _)| upper != name) {
            databases.push((name.clone(), name.to_ascii_lowercase()));
        }
    }
    let only = match declared.iter().collect::<Vec<_>>()[..] {
        [] if found.iter().any(|(rest, _)| rest == "URL" || rest == "URL_FILE") => None,
        [] => Some(own_urls.as_slice()).filter(|names| names.len() == 1).map(|names| names[0].to_ascii_lowercase()),
        [name] => Some(name.clone()),
        _ => None,
    };
    let unnamed = only.unwrap_or_else(|| "primary".to_owned());
    if databases.iter().all(|(_, name)| *name != unnamed) {
        databases.push((upper(&unnamed), unnamed.clone()));
    }
    // The longest name first: with databases `a` and `a_b`, DATABASE_A_B_URL is the latter's.
    databases.sort_by_key(|(upper, _)| std::cmp::Reverse(upper.len()));

    let mut whole = Vec::new();
    let mut named = Vec::new();
    let mut strays = Vec::new();
    for (rest, value) in found {
        let variable = |database: &str, setting| Variable {
            name: format!("DATABASE_{rest}"),
            database: database.to_owned(),
            setting,
            value: value.clone(),
        };
        // Whole names first: a database called `pool` must not swallow DATABASE_POOL_SIZE.
        if let Some(setting) = setting(&rest) {
            whole.push(variable(&unnamed, setting));
        } else if let Some((name, setting)) = databases.iter().find_map(|(upper, name)| {
            let key = rest.strip_prefix(upper.as_str())?.strip_prefix('_')?;
            Some((name, setting(key)?))
        }) {
            named.push(variable(name, setting));
        } else {
            strays.push(stray(&rest, &databases));
        }
    }
    for one in &named {
        strays.extend(whole.iter().filter_map(|other| differ(other, one)));
    }
    // What is no setting in capitals either is of another program.
    strays.extend(small.iter().filter_map(|name| {
        let capitals = name.to_ascii_uppercase();
        let rest = capitals.strip_prefix("DATABASE_")?;
        let of_one = |upper: &String| rest.strip_prefix(upper.as_str())?.strip_prefix('_').and_then(setting);
        let is_setting = setting(rest).is_some() || databases.iter().any(|(upper, _)| of_one(upper).is_some());
        is_setting.then(|| format!("{name} has no effect: variables are in capitals, {capitals}"))
    }));
    whole.extend(named);
    Environment { variables: whole, strays }
}

/// Which of two variables for one setting counts, if they say different things.
fn differ(whole: &Variable, named: &Variable) -> Option<String> {
    let is_same = (whole.setting.key, &whole.database) == (named.setting.key, &named.database);
    (is_same && whole.value != named.value)
        .then(|| format!("{} and {} are both set and differ: {1} counts", whole.name, named.name))
}

/// The variable by which a database's setting is named, `DATABASE_X` or `DATABASE_<NAME>_X`.
pub(super) fn variable(database: &str, key: &str) -> String {
    format!("DATABASE_{}_{}", upper(database), key.to_ascii_uppercase())
}

fn upper(database: &str) -> String {
    database.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn setting(key: &str) -> Option<&'static Setting> {
    reference().iter().find(|setting| setting.key.to_ascii_uppercase() == key)
}

/// A variable of ours that cannot be used, as a provider, so that it is a fault like any other.
pub(super) struct Refused(pub(super) &'static str, pub(super) &'static str);

impl Provider for Refused {
    fn metadata(&self) -> Metadata {
        Metadata::from(NAME, self.0)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Err(Error::from(self.1))
    }
}

/// What a url holds, and where it belongs.
fn part_of_a_url(rest: &str, prefixes: &[String]) -> Option<String> {
    let (prefix, part) =
        prefixes.iter().rev().find_map(|prefix| Some((prefix, rest.strip_prefix(prefix.as_str())?)))?;
    let file = format!(", or into the file that DATABASE_{prefix}PASSWORD_FILE names");
    let file = match part {
        "PASSWORD" | "PASS" | "PASSWD" => file.as_str(),
        "HOST" | "HOSTNAME" | "PORT" | "USER" | "USERNAME" | "NAME" | "DBNAME" | "DB" => "",
        _ => return None,
    };
    Some(format!("DATABASE_{rest} is not a setting and has no effect; it belongs into DATABASE_{prefix}URL{file}"))
}

fn stray(rest: &str, databases: &[(String, String)]) -> String {
    let mut prefixes = vec![String::new()];
    prefixes.extend(databases.iter().map(|(upper, _)| format!("{upper}_")));
    if let Some(stray) = part_of_a_url(rest, &prefixes) {
        return stray;
    }
    let meant = prefixes.iter().find_map(|prefix| {
        let key = rest.strip_prefix(prefix.as_str())?.to_ascii_lowercase();
        Some(format!("{prefix}{}", by_alias(&key)?.to_ascii_uppercase()))
    });
    let meant = meant.or_else(|| {
        let all: Vec<String> = prefixes
            .iter()
            .flat_map(|prefix| {
                reference().iter().map(move |setting| format!("{prefix}{}", setting.key.to_ascii_uppercase()))
            })
            .collect();
        nearest(rest, all.iter().map(String::as_str)).map(str::to_owned)
    });
    match meant {
        Some(meant) => format!("DATABASE_{rest} is not a setting and has no effect; did you mean DATABASE_{meant}?"),
        None => format!("DATABASE_{rest} is not a setting of a declared database and has no effect"),
    }
}

impl Variable {
    /// The value with its type, so that other readers of the figment get numbers as numbers; text that is none stays text, and is
    /// refused with its place when it is read. A url stays text whatever it looks like.
    fn typed(&self, text: &str) -> Value {
        let number = || {
            let signed = || text.parse::<i64>().map(Value::from);
            text.parse::<u64>().map(Value::from).or_else(|_| signed()).ok()
        };
        let typed = match self.setting.kind {
            SettingKind::Count | SettingKind::CountOrNone | SettingKind::Overflow => number(),
            SettingKind::Switch => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(Value::from(true)),
                "false" | "0" | "no" | "off" => Some(Value::from(false)),
                _ => None,
            },
            _ => None,
        };
        typed.unwrap_or_else(|| Value::from(text))
    }
}

impl Provider for Variable {
    fn metadata(&self) -> Metadata {
        let name = self.name.clone();
        Metadata::from(NAME, name.clone()).interpolater(move |_, _| name.clone())
    }

    /// In the global profile: the environment overrides every profile of a file, not only `[default]`.
    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let Some(text) = &self.value else {
            return Err(Error::from("the value is not UTF-8"));
        };
        let setting = Dict::from([(self.setting.key.to_owned(), self.typed(text))]);
        let databases = Dict::from([(self.database.clone(), Value::from(setting))]);
        Ok(Profile::Global.collect(Dict::from([("databases".to_owned(), Value::from(databases))])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_names(names: &[&str], declared: &[&str]) -> Environment {
        let variables = names.iter().map(|name| (OsString::from(name), OsString::from("1")));
        read(variables, &declared.iter().map(|name| (*name).to_owned()).collect())
    }

    /// `variable -> database.key` for each, then the strays.
    fn owners(names: &[&str], declared: &[&str]) -> Vec<String> {
        let environment = read_names(names, declared);
        environment
            .variables
            .iter()
            .map(|v| format!("{} -> {}.{}", v.name, v.database, v.setting.key))
            .chain(environment.strays)
            .collect()
    }

    #[test]
    fn unnamed_variables_are_the_primarys_or_the_only_ones() {
        fn check(names: &[&str], declared: &[&str], expected: &str) {
            assert_eq!(owners(names, declared)[0], expected, "{names:?} {declared:?}");
        }
        check(&["DATABASE_URL"], &[], "DATABASE_URL -> primary.url");
        check(&["DATABASE_URL"], &["primary", "replica"], "DATABASE_URL -> primary.url");
        check(&["DATABASE_URL"], &["tracks"], "DATABASE_URL -> tracks.url");
        check(&["DATABASE_URL"], &["orders", "users"], "DATABASE_URL -> primary.url");
        check(&["DATABASE_POOL_SIZE", "DATABASE_TRACKS_URL"], &[], "DATABASE_POOL_SIZE -> tracks.pool_size");
        // Some platforms set a second url beside the one that is meant.
        check(&["DATABASE_URL", "DATABASE_PUBLIC_URL"], &[], "DATABASE_URL -> primary.url");
    }

    #[test]
    fn whole_setting_names_come_before_database_names() {
        assert_eq!(
            owners(
                &["DATABASE_POOL_SIZE", "DATABASE_POOL_TIMEOUT", "DATABASE_POOL_URL", "DATABASE_POOL_POOL_SIZE"],
                &["pool", "primary"]
            ),
            [
                "DATABASE_POOL_SIZE -> primary.pool_size",
                "DATABASE_POOL_TIMEOUT -> primary.pool_timeout",
                "DATABASE_POOL_POOL_SIZE -> pool.pool_size",
                "DATABASE_POOL_URL -> pool.url",
            ]
        );
    }

    #[test]
    fn the_longest_database_name_wins() {
        assert_eq!(
            owners(&["DATABASE_A_B_URL", "DATABASE_A_URL"], &["a", "a-b", "primary"]),
            ["DATABASE_A_B_URL -> a-b.url", "DATABASE_A_URL -> a.url"]
        );
    }

    #[test]
    fn an_own_url_declares_a_database_and_nothing_else_does() {
        assert_eq!(
            owners(
                &["DATABASE_URL", "DATABASE_REPLICA_URL", "DATABASE_REPLICA_POOL_SIZE", "DATABASE_REPLICA_LISTEN_URL"],
                &[]
            ),
            [
                "DATABASE_URL -> primary.url",
                "DATABASE_REPLICA_LISTEN_URL -> replica.listen_url",
                "DATABASE_REPLICA_POOL_SIZE -> replica.pool_size",
                "DATABASE_REPLICA_URL -> replica.url",
            ]
        );
        assert_eq!(
            owners(&["DATABASE_MAX_POOL_SIZE"], &[]),
            ["DATABASE_MAX_POOL_SIZE is not a setting of a declared database and has no effect"]
        );
    }

    #[test]
    fn strays_come_with_what_was_probably_meant() {
        fn check(name: &str, meant: Option<&str>) {
            let strays = read_names(&[name], &["primary", "replica"]).strays;
            let [stray] = &strays[..] else { panic!("{strays:?}") };
            assert!(stray.contains(name), "{stray}");
            match meant {
                Some(meant) => assert!(stray.ends_with(&format!("did you mean {meant}?")), "{stray}"),
                None => assert!(!stray.contains("did you mean"), "{stray}"),
            }
        }
        check("DATABASE_POOLSIZE", Some("DATABASE_POOL_SIZE"));
        check("DATABASE_CONECTION_TIMEOUT", Some("DATABASE_CONNECTION_TIMEOUT"));
        check("DATABASE_REPLICA_POOLSIZE", Some("DATABASE_REPLICA_POOL_SIZE"));
        check("DATABASE_ACQUIRE_TIMEOUT", Some("DATABASE_POOL_TIMEOUT"));
        check("DATABASE_REPLICA_MAX_CONNECTIONS", Some("DATABASE_REPLICA_POOL_SIZE"));
        check("DATABASE_HOST", None);
    }

    #[test]
    fn set_but_empty_is_not_set() {
        let variables = [("DATABASE_POOL_SIZE", ""), ("DATABASE_URL", "  "), ("DATABASE_NONSENSE", "")];
        let environment = read(variables.map(|(name, value)| (name.into(), value.into())), &BTreeSet::new());
        assert!(environment.variables.is_empty() && environment.strays.is_empty(), "{environment:?}");
    }

    #[test]
    #[cfg(unix)]
    fn a_value_that_is_no_text_is_a_fault_of_its_variable() {
        use std::os::unix::ffi::OsStringExt;
        let variables = [("DATABASE_URL".into(), OsString::from_vec(vec![b'p', 0xff]))];
        let variable = read(variables, &BTreeSet::new()).variables.remove(0);
        let error = figment::Figment::from(variable).find_value("databases").expect_err("not text").to_string();
        assert_eq!(error, "the value is not UTF-8 in DATABASE_URL environment variable");
    }

    #[test]
    fn variables_get_the_type_of_their_setting() {
        fn check(name: &str, text: &str, expected: impl Into<Value>) {
            let environment = read([(name.into(), text.into())], &BTreeSet::new());
            let variable = &environment.variables[0];
            assert_eq!(variable.typed(text), expected.into(), "{name}={text}");
        }
        check("DATABASE_URL", "12345", "12345");
        check("DATABASE_APPLICATION_NAME", "007", "007");
        check("DATABASE_POOL_SIZE", "10", 10u64);
        check("DATABASE_POOL_SIZE", "many", "many");
        check("DATABASE_MAX_OVERFLOW", "-1", -1i64);
        check("DATABASE_STATEMENT_TIMEOUT", "10.0", "10.0");
        for (text, expected) in
            [("1", true), ("YES", true), ("On", true), ("True", true), ("0", false), ("no", false), ("OFF", false)]
        {
            check("DATABASE_POOL_PRE_PING", text, expected);
        }
    }
}
