//! From a figment to settings, with every fault and its place.

use figment::{
    Figment, Metadata, Profile, Provider as _, Source,
    error::Kind,
    value::{Dict, Tag, Value},
};

use super::{
    ConfigError, ConfigFault, DatabaseSettings, environment,
    fault::{nearest, verdict},
    reference::{did_you_mean, reference},
    value::found,
};
use crate::words::{Secret, secret};

/// Reads the section `databases.<name>`.
pub(super) fn read(figment: &Figment, name: &str) -> Result<DatabaseSettings, ConfigError> {
    let databases = databases(figment)?;
    let section = databases.get(name).and_then(Value::as_dict);
    let value = |key| section?.get(key).filter(|value| !matches!(value, Value::Empty(..)));
    let mut reader = Reader { figment, name, faults: Vec::new() };
    reader.check_tables();
    if value("url").is_none() {
        reader.no_url(&databases);
    }

    let mut settings = DatabaseSettings::defaults();
    settings.profile = figment.profile().to_string();
    settings.pool.name = name.to_owned();
    for setting in reference() {
        let (Some(value), key) = (value(setting.key), setting.key) else { continue };
        match (setting.set)(&mut settings, value) {
            Ok(()) => drop(settings.explicit.insert(key, place(figment, value.tag(), name, key))),
            Err(problem) => reader.fault(key, value.tag(), problem),
        }
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
        Ok(Value::Dict(_, databases)) => Ok(databases),
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
        let file = self.figment.metadata().find_map(|m| m.source.as_ref().filter(|s| s.file_path().is_some()));
        let file = file.map_or_else(|| "Pool.toml".to_owned(), Source::to_string);
        let is_only = databases.keys().all(|other| other == name) && !databases.is_empty();
        let variable =
            if name == "primary" || is_only { "DATABASE_URL".to_owned() } else { environment::variable(name, "url") };
        let mut problem =
            format!("no url for database {name} (profile {profile}): set databases.{name}.url in {file} or {variable}");
        let others = databases.keys().map(String::as_str).filter(|other| *other != name);
        if let Some(other) = nearest(name, others.clone()) {
            problem.push_str(&format!("; did you mean the database {other}?"));
        }
        for other in others {
            let tag = databases.get(other).and_then(|section| section.find_ref("url")).map(Value::tag);
            if tag.and_then(|tag| variable_of(self.figment.get_metadata(tag)?)) == Some("DATABASE_URL") {
                problem.push_str(&format!("; DATABASE_URL was taken for the database {other}"));
            }
        }
        self.faults.push(ConfigFault { key: "url".into(), profile: profile.to_string(), source: None, problem });
    }

    /// Refuses what nobody would read, in every profile: a misspelt key would otherwise be a setting without effect, and one of
    /// production would be found in production.
    fn check_tables(&mut self) {
        for (profile, sections) in self.figment.data().unwrap_or_default() {
            for (section, value) in &sections {
                let is_table = value.as_dict().is_some();
                let problem = if profile == "databases" {
                    format!("[databases.{section}] has no profile; write [default.databases.{section}]")
                } else if section == "databases" {
                    self.check_table(&profile, value);
                    continue;
                } else if is_table && nearest(section, ["databases"]).is_some() {
                    format!("[{profile}.{section}] is not read; did you mean [{profile}.databases]?")
                } else {
                    continue; // Of another part of the program.
                };
                let source = self.figment.get_metadata(value.tag()).map(source);
                self.faults.push(ConfigFault { key: section.clone(), profile: profile.to_string(), source, problem });
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
        let Some(table) = tables.get(name) else { return };
        let Some(keys) = table.as_dict() else {
            return fault("", table, format!("found {}, expected a table of settings with a url", found(table)));
        };
        for (key, value) in keys.iter().filter(|(key, _)| reference().iter().all(|setting| setting.key != *key)) {
            let hint = match did_you_mean(key) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "see the settings table for those there are".to_owned(),
            };
            fault(&secret::quotable(key), value, format!("unknown key; {hint}"));
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
