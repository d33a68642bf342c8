//! From a figment to settings, with every fault and its place.

use std::cmp::Ordering;

use figment::{
    Figment, Metadata, Profile, Provider as _, Source,
    error::Kind,
    value::{Dict, Tag, Value},
};

use super::{
    ConfigError, ConfigFault, DatabaseSettings, environment,
    fault::{nearest, verdict},
    file, millis,
    reference::{did_you_mean, reference},
    secret_file,
    value::{found, quoted},
};
use crate::words::{Secret, secret};

/// Reads the section `databases.<name>`.
pub(super) fn read(figment: &Figment, name: &str) -> Result<DatabaseSettings, ConfigError> {
    let databases = databases(figment)?;
    let section = databases.get(name).and_then(Value::as_dict);
    let value = |key| section?.get(key).filter(|value| !matches!(value, Value::Empty(..)));
    let mut reader = Reader { figment, name, faults: Vec::new() };
    reader.check_tables();
    if value("url").is_none() && value("url_file").is_none() {
        reader.no_url(&databases);
    }

    let mut settings = DatabaseSettings::defaults();
    settings.profile = figment.profile().to_string();
    settings.pool.name = name.to_owned();
    for setting in reference() {
        let (Some(value), key) = (value(setting.key), setting.key) else { continue };
        let read = match value.as_str().and_then(quoted) {
            Some(problem) => Err(problem.to_owned()),
            None => millis::check(key, value).and_then(|()| (setting.set)(&mut settings, value)),
        };
        match read {
            Ok(()) => {
                let place = place(figment, value.tag(), name, key);
                if let Some(doubt) = millis::doubt(key, value) {
                    tracing::warn!(target: "pool", "{place}: {doubt}");
                }
                settings.explicit.insert(key, place);
            }
            Err(problem) => reader.fault(key, value.tag(), problem),
        }
    }
    if let (Some(url), Some(file), Some(_)) = (value("url"), value("url_file"), &settings.url_file) {
        // The one that overrides the other counts, as everywhere.
        match rank(figment, url.tag()).cmp(&rank(figment, file.tag())) {
            Ordering::Less => {}
            Ordering::Greater => {
                settings.url_file = None;
                settings.explicit.remove("url_file");
            }
            Ordering::Equal => {
                let place = place(figment, url.tag(), name, "url");
                settings.url_file = None;
                reader.fault("url_file", file.tag(), format!("the url is given by {place}, too; keep one of them"));
            }
        }
    }
    for fault in secret_file::read(&mut settings) {
        reader.faults.push(fault);
    }
    if settings.explicit("pool_timeout").is_none() {
        settings.pool.pool_timeout = settings.pool.connection_timeout;
    }
    // To the server, a limit of zero is none.
    for limit in
        [&mut settings.statement_timeout, &mut settings.lock_timeout, &mut settings.idle_in_transaction_timeout]
    {
        *limit = limit.filter(|limit| !limit.is_zero());
    }
    // What the types cannot see. A key whose value was refused above holds its default, about which there is nothing to say.
    let Reader { mut faults, .. } = reader;
    let refused: Vec<String> = faults.iter().map(|fault| fault.key.clone()).filter(|key| !key.is_empty()).collect();
    let speaks_of =
        |problem: &str, key: &String| problem.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key);
    let found = settings.faults().into_iter();
    faults.extend(found.filter(|fault| !refused.iter().any(|key| speaks_of(&fault.problem, key))));
    verdict(faults)?;
    Ok(settings)
}

/// Every value that is set, redacted, with its place.
pub(super) fn explain(figment: &Figment) -> Vec<super::Explained> {
    let mut explained = Vec::new();
    for (name, section) in databases(figment).unwrap_or_default() {
        for (key, value) in section.as_dict().into_iter().flatten() {
            let is_url = key == "url" || key == "listen_url";
            let shown = match value.as_str() {
                Some(text) if is_url => format!("\"{}\"", Secret::new(text)),
                _ => found(value),
            };
            let source = place(figment, value.tag(), &name, key);
            explained.push(super::Explained { path: format!("databases.{name}.{key}"), value: shown, source });
        }
    }
    explained
}

/// Declared databases of which the program knows nothing but a name that is nearly the same.
pub(crate) fn strangers(figment: &Figment, names: &[&str]) -> Option<ConfigError> {
    let declared = databases(figment).ok()?;
    let unknown = declared.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    let faults = unknown.filter_map(|(name, section)| {
        let meant = nearest(name, names.iter().copied())?;
        Some(ConfigFault {
            key: String::new(),
            profile: figment.profile().to_string(),
            source: Some(place(figment, section.tag(), name, "")),
            problem: format!("the program has no database {name}; did you mean {meant}?"),
        })
    });
    verdict(faults.collect()).err()
}

/// The table `databases` as the selected profile sees it.
pub(super) fn databases(figment: &Figment) -> Result<Dict, ConfigError> {
    match figment.find_value("databases") {
        // A setting that has no database is none; `check_tables` tells.
        Ok(Value::Dict(_, databases)) => {
            Ok(databases.into_iter().filter(|(key, value)| value.as_dict().is_some() || !is_setting(key)).collect())
        }
        Ok(_) => Ok(Dict::new()), // `check_tables` tells.
        Err(error) if matches!(error.kind, Kind::MissingField(_)) => Ok(Dict::new()),
        Err(error) => {
            let faults = error.into_iter().map(|error| ConfigFault {
                key: String::new(),
                profile: figment.profile().to_string(),
                source: error.metadata.as_ref().map(source),
                problem: secret::scrub(&error.kind.to_string()),
            });
            verdict(faults.collect()).map(|()| Dict::new())
        }
    }
}

struct Reader<'a> {
    figment: &'a Figment,
    name: &'a str,
    faults: Vec<ConfigFault>,
}

impl Reader<'_> {
    fn no_url(&mut self, databases: &Dict) {
        let (name, profile) = (self.name, self.figment.profile());
        let files = || self.figment.metadata().filter(|m| m.source.as_ref().is_some_and(|s| s.file_path().is_some()));
        let is_absent = |metadata: &&Metadata| metadata.name == file::ABSENT;
        let file = files().find(|metadata| !is_absent(metadata)).or_else(|| files().next());
        let file = file.map_or_else(|| "Pool.toml".to_owned(), source);
        let is_only = databases.keys().all(|other| other == name) && !databases.is_empty();
        let variable =
            if name == "primary" || is_only { "DATABASE_URL".to_owned() } else { environment::variable(name, "url") };
        let mut problem =
            format!("no url for database {name} (profile {profile}): set databases.{name}.url in {file} or {variable}");
        let others = databases.keys().map(String::as_str).filter(|other| *other != name);
        let variable_of = |section: &Value| variable_of(self.figment.get_metadata(section.tag())?);
        if let Some(other) = nearest(name, others.clone()) {
            problem.push_str(&format!("; did you mean the database {}?", secret::quotable(other)));
        } else {
            let section = |other: &str| databases.get(other).filter(|section| section.as_dict().is_some());
            let of_files = others.clone().filter(|other| {
                section(other).is_some_and(|section| {
                    section.as_dict().into_iter().flatten().any(|(_, value)| variable_of(value).is_none())
                })
            });
            let there_are: Vec<String> = of_files.map(secret::quotable).collect();
            if !there_are.is_empty() {
                problem.push_str(&format!(
                    "; {file} has no database {name}, but {}: a name there has to be one that the program uses",
                    there_are.join(", ")
                ));
            }
        }
        for other in others {
            let url = databases.get(other).and_then(|section| section.find_ref("url"));
            if url.and_then(variable_of) == Some("DATABASE_URL") {
                problem.push_str(&format!("; DATABASE_URL was taken for the database {other}"));
            }
        }
        if self.figment.metadata().any(|metadata| is_absent(&metadata)) && files().count() == 1 {
            problem.push_str(&file::where_it_is_not());
        }
        if files().any(|metadata| [file::ABSENT, file::NAME].contains(&&*metadata.name)) {
            problem.push_str(&file::unread_env().unwrap_or_default());
        }
        self.faults.push(ConfigFault { key: "url".into(), profile: profile.to_string(), source: None, problem });
    }

    /// Refuses what nobody would read, in every profile: a misspelt key would otherwise be a setting without effect, and one of
    /// production would be found in production.
    fn check_tables(&mut self) {
        for (profile, sections) in self.figment.data().unwrap_or_default() {
            // Settings that stand in no database's table.
            let mut homeless: Vec<&str> = Vec::new();
            for (section, value) in &sections {
                let shown = secret::quotable(section);
                // In a file of ours there is nothing of another part of the program.
                let is_ours =
                    self.figment.get_metadata(value.tag()).is_some_and(|metadata| metadata.name == file::NAME);
                let problem = match value.as_dict() {
                    Some(_) if profile == "databases" => {
                        format!("[databases.{shown}] has no profile; write [default.databases.{shown}]")
                    }
                    _ if section == "databases" => {
                        self.check_table(&profile, value);
                        continue;
                    }
                    Some(_) if nearest(section, ["databases"]).is_some() => {
                        format!("[{profile}.{shown}] is not read; did you mean [{profile}.databases]?")
                    }
                    Some(table) if is_table_of_a_database(table, is_ours, section == self.name) => {
                        format!("[{profile}.{shown}] is not read; did you mean [{profile}.databases.{shown}]?")
                    }
                    None if is_ours && is_setting(section) => {
                        homeless.push(section);
                        continue;
                    }
                    _ => continue, // Of another part of the program.
                };
                let source = self.figment.get_metadata(value.tag()).map(source);
                self.faults.push(ConfigFault { key: section.clone(), profile: profile.to_string(), source, problem });
            }
            if let [first, ..] = homeless[..] {
                // `[primary]` and `[databases]` are profiles to the file, and something else to whoever wrote it.
                let meant =
                    if profile == "databases" || profile == self.name { "default" } else { profile.as_str().as_str() };
                let problem = format!(
                    "{} in [{profile}] is read for no database; did you mean [{meant}.databases.{}]?",
                    homeless.join(", "),
                    self.name
                );
                let source = sections.get(first).and_then(|value| self.figment.get_metadata(value.tag())).map(source);
                self.faults.push(ConfigFault { key: first.to_owned(), profile: profile.to_string(), source, problem });
            }
        }
    }

    fn check_table(&mut self, profile: &Profile, databases: &Value) {
        let name = self.name;
        let mut fault = |key: &str, value: &Value, problem: String| {
            let source = Some(place_in(self.figment, profile, value.tag(), name, key));
            self.faults.push(ConfigFault { key: key.to_owned(), profile: profile.to_string(), source, problem });
        };
        let Some(tables) = databases.as_dict() else {
            return fault(
                "",
                databases,
                format!("found {} for all databases, expected a table for each", found(databases)),
            );
        };
        let homeless =
            tables.iter().filter(|(key, value)| *key != name && value.as_dict().is_none() && is_setting(key));
        let homeless: Vec<&str> = homeless.map(|(key, _)| key.as_str()).collect();
        if let Some(value) = homeless.first().and_then(|key| tables.get(*key)) {
            let problem =
                format!("{} in [{profile}.databases] is read for no database; write it here", homeless.join(", "));
            fault("", value, problem);
        }
        let Some(table) = tables.get(name) else { return };
        let Some(keys) = table.as_dict() else {
            return fault("", table, format!("found {}, expected a table of settings with a url", found(table)));
        };
        let unknown = keys.iter().filter(|(key, _)| !is_setting(key));
        let (parts, unknown): (Vec<_>, Vec<_>) = unknown.partition(|(key, value)| is_part_of_a_url(key, value));
        if let [(_, value), ..] = parts[..] {
            let keys = parts.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", ");
            let problem = "these belong into url = \"postgres://user:password@host:5432/database\"; a password may stand in a \
                           file, too (password_file)";
            fault(&keys, value, problem.to_owned());
        }
        for (key, value) in unknown {
            let problem = match (did_you_mean(key), value) {
                (Some(meant), _) => format!("unknown key; did you mean {meant}?"),
                (None, Value::Dict(..)) => {
                    format!("a table here is not read; a profile comes first: [<profile>.databases.{name}]")
                }
                (None, _) => "unknown key; see the settings table for those there are".to_owned(),
            };
            fault(&secret::quotable(key), value, problem);
        }
    }

    fn fault(&mut self, key: &str, tag: Tag, problem: String) {
        self.faults.push(ConfigFault {
            key: key.to_owned(),
            profile: profile(self.figment, tag).to_string(),
            source: Some(place(self.figment, tag, self.name, key)),
            problem,
        });
    }
}

fn is_setting(key: &str) -> bool {
    reference().iter().any(|setting| setting.key == key)
}

/// What other programs have a key for, and a url holds.
fn is_part_of_a_url(key: &str, value: &Value) -> bool {
    const PARTS: [&str; 16] = [
        "host", "hostname", "server", "port", "user", "username", "password", "passwd", "pass", "database", "dbname",
        "db", "db_name", "sslmode", "scheme", "driver",
    ];
    value.as_dict().is_none() && PARTS.contains(&key.to_ascii_lowercase().as_str())
}

/// Whether a table beside `databases` was meant to be one within it.
fn is_table_of_a_database(table: &Dict, is_ours: bool, has_its_name: bool) -> bool {
    match is_ours {
        true => table.keys().any(|key| is_setting(key) || (has_its_name && did_you_mean(key).is_some())),
        false => has_its_name && table.contains_key("url"),
    }
}

/// How far a value overrides others: `[default]`, the profile, the environment, what a program merged on top.
fn rank(figment: &Figment, tag: Tag) -> u8 {
    match tag.profile() {
        _ if figment.get_metadata(tag).and_then(variable_of).is_some() => 2,
        Some(profile) if profile == Profile::Default => 0,
        Some(profile) if profile != Profile::Global => 1,
        _ => 3,
    }
}

/// Where a value came from: `Pool.toml, [production.databases.primary] pool_size`, or `DATABASE_POOL_SIZE`.
fn place(figment: &Figment, tag: Tag, database: &str, key: &str) -> String {
    place_in(figment, &profile(figment, tag), tag, database, key)
}

fn place_in(figment: &Figment, profile: &Profile, tag: Tag, database: &str, key: &str) -> String {
    let path = format!("databases.{database}");
    let place = match figment.get_metadata(tag) {
        None => format!("{path} {key}"),
        Some(metadata) => match variable_of(metadata) {
            Some(variable) => return variable.to_owned(),
            None if metadata.source.as_ref().is_some_and(|source| source.file_path().is_some()) => {
                format!("{}, [{profile}.{path}] {key}", source(metadata))
            }
            None => format!("{}, {path} {key}", source(metadata)),
        },
    };
    place.trim_end().to_owned()
}

fn source(metadata: &Metadata) -> String {
    metadata.source.as_ref().map_or_else(|| metadata.name.to_string(), Source::to_string)
}

/// The variable, if one of our own providers brought the value.
fn variable_of(metadata: &Metadata) -> Option<&str> {
    if metadata.name == environment::NAME { metadata.source.as_ref()?.custom() } else { None }
}

/// The profile that a value stands in. What comes from the environment stands in all of them: the selected one is named.
fn profile(figment: &Figment, tag: Tag) -> Profile {
    let by_variable = figment.get_metadata(tag).and_then(variable_of).is_some();
    match tag.profile() {
        Some(profile) if !by_variable => profile,
        _ => figment.profile().clone(),
    }
}
