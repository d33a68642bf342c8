//! Where a database is.

use std::fmt;

/// Where a database is. Nothing in it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Host name or directory of the socket; `None` for a file.
    pub host: Option<String>,
    /// Port; `None` for a file or a socket.
    pub port: Option<u16>,
    /// Name of the database, or of its file.
    pub database: Option<String>,
}

/// `db.example.com:5432/app`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            f.write_str(host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match (&self.host, &self.database) {
            (Some(_), Some(database)) => write!(f, "/{database}"),
            (None, Some(database)) => f.write_str(database),
            _ => Ok(()),
        }
    }
}
