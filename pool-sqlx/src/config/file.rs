//! `Pool.toml`: a table for each profile.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use figment::{
    Error, Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};

use super::{environment, value};
use crate::words::secret;

/// Name of the file's metadata if the file was read. Every key in such a file is ours.
pub(super) const NAME: &str = "TOML file of the pools";

/// Name of the file's metadata if there is no such file.
pub(super) const ABSENT: &str = "missing file";

const POOL_TOML: &str = "Pool.toml";

/// The file at `POOL_CONFIG`, else `Pool.toml` in the working directory. Figment's own provider does not say whether a file was
/// there, and quotes the lines of one that it cannot read.
#[derive(Debug)]
pub(super) struct PoolFile {
    path: PathBuf,
    /// Whether `POOL_CONFIG` names it. A file that somebody named must be there.
    named: bool,
    text: std::io::Result<String>,
}

impl PoolFile {
    pub(super) fn open() -> Self {
        let named = std::env::var_os("POOL_CONFIG").map(|path| match path.to_str() {
            Some(text) => PathBuf::from(text.trim()),
            None => PathBuf::from(path),
        });
        let named = named.filter(|path| !path.as_os_str().is_empty());
        let path = named.clone().unwrap_or_else(|| PathBuf::from(POOL_TOML));
        let text = std::fs::read_to_string(&path);
        Self { path, named: named.is_some(), text }
    }

    /// How a log line says what was read.
    pub(super) fn describe(&self) -> String {
        match &self.text {
            Ok(_) => self.path.display().to_string(),
            Err(_) => format!("no {}", self.path.display()),
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        !self.named && self.text.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// Why the file that `POOL_CONFIG` names cannot be used, or that there is something wrong with the file itself.
    fn problem(&self, error: &std::io::Error) -> String {
        let path = self.path.display();
        if let Some(problem) = self.path.to_str().and_then(value::quoted) {
            return problem.to_owned();
        }
        match error.kind() {
            ErrorKind::NotFound => {
                format!("there is no file {path}; correct the path, or unset the variable to read ./{POOL_TOML}")
            }
            _ => format!("cannot read {path}: {error}"),
        }
    }
}

impl Provider for PoolFile {
    fn metadata(&self) -> Metadata {
        match &self.text {
            Ok(_) if self.named && is_of_another_format(&self.path) => Metadata::from(environment::NAME, "POOL_CONFIG"),
            Err(_) if self.named => Metadata::from(environment::NAME, "POOL_CONFIG"),
            Err(_) if self.is_absent() => Metadata::from(ABSENT, self.path.as_path()),
            _ => Metadata::from(NAME, self.path.as_path()),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let text = match &self.text {
            Ok(text) => text,
            Err(_) if self.is_absent() => return Ok(Map::new()),
            Err(error) => return Err(Error::from(self.problem(error))),
        };
        if self.named && is_of_another_format(&self.path) {
            let path = self.path.display();
            return Err(Error::from(format!("{path} is no TOML by its name; {OTHER_FORMATS}")));
        }
        let tables: Dict = Toml::from_str(text).map_err(|error| Error::from(secret::scrub(&error.to_string())))?;
        let mut profiles = Map::new();
        for (name, table) in tables {
            let Value::Dict(_, table) = table else {
                let name = secret::quotable(&name);
                return Err(Error::from(format!(
                    "`{name}` stands outside of a table; settings belong under a profile and a database, such as [default.databases.primary]"
                )));
            };
            profiles.insert(Profile::from(name), table);
        }
        Ok(profiles)
    }
}

const OTHER_FORMATS: &str = "YAML and JSON come in by a provider of figment and connect_with(&figment)";

fn is_of_another_format(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| ["yaml", "yml", "json", "json5", "ini", "env"].iter().any(|it| extension == *it))
}

/// A file in the working directory that is nearly called `Pool.toml`, and what to do about it.
pub(super) fn nearly_so_called() -> Option<String> {
    let mut names: Vec<String> = std::fs::read_dir(".")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != POOL_TOML && is_nearly_so_called(name))
        .collect();
    names.sort();
    let name = names.first()?;
    Some(match is_of_another_format(Path::new(name)) {
        true => format!("{name} is not read: {OTHER_FORMATS}"),
        false => format!("{name} is not read: its name must be {POOL_TOML}"),
    })
}

fn is_nearly_so_called(name: &str) -> bool {
    let name = name.to_lowercase();
    const NEAR: [&str; 8] =
        ["pool.toml", "pools.toml", ".pool.toml", "pool.tml", "pool.toml.txt", "pool.yaml", "pool.yml", "pool.json"];
    NEAR.contains(&name.as_str())
}

/// Where the program has looked for `Pool.toml`, and where there is one.
pub(super) fn where_it_is_not() -> String {
    let Ok(here) = std::env::current_dir() else { return format!("; there is no {POOL_TOML}") };
    let mut hint = format!("; there is no {POOL_TOML} in {}", here.display());
    if let Some(near) = nearly_so_called() {
        return format!("{hint} ({near})");
    }
    let above = here.ancestors().skip(1).map(Path::to_owned);
    let below = ["config", "conf", "etc"].into_iter().map(|folder| here.join(folder));
    if let Some(file) = below.chain(above).map(|folder| folder.join(POOL_TOML)).find(|file| file.is_file()) {
        hint.push_str(&format!(" (there is {}: set POOL_CONFIG to it, or start the program there)", file.display()));
    }
    hint
}

/// That a `.env` is not read, if there is one. sqlx's macros and its command line do read it.
pub(super) fn unread_env() -> Option<String> {
    let here = std::env::current_dir().ok()?;
    let file = here.ancestors().map(|folder| folder.join(".env")).find(|file| file.is_file())?;
    Some(format!(
        "; {} is not read: export its lines (set -a; . ./.env; set +a), or call dotenvy::dotenv() first",
        file.display()
    ))
}
