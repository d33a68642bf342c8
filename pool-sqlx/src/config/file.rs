//! `Pool.toml`: a table for each profile.

use std::{io::ErrorKind, path::PathBuf};

use figment::{
    Error, Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};

use super::environment;
use crate::words::secret;

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
        let named = std::env::var_os("POOL_CONFIG").filter(|path| !path.is_empty());
        let path = named.as_ref().map_or_else(|| PathBuf::from("Pool.toml"), PathBuf::from);
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
}

impl Provider for PoolFile {
    fn metadata(&self) -> Metadata {
        match &self.text {
            Err(_) if self.named => Metadata::from(environment::NAME, "POOL_CONFIG"),
            _ => Metadata::from("TOML file", self.path.as_path()),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let path = self.path.display();
        let text = match &self.text {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !self.named => return Ok(Map::new()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::from(format!(
                    "there is no file {path}; correct the path, or unset the variable to read ./Pool.toml"
                )));
            }
            Err(error) => return Err(Error::from(format!("cannot read {path}: {error}"))),
        };
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
