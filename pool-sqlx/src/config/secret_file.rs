//! Files that hold a url or a password, as Docker and Kubernetes hand out secrets. They are read again at each connect, for secrets
//! rotate.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ::url::{Url, form_urlencoded};

use super::{BeforeConnect, ConfigError, ConfigFault, DatabaseSettings, url};
use crate::words::{Secret, secret::quotable};

/// No secret is longer; a path to something else is not read to its end.
const LONGEST: u64 = 64 * 1024;

impl DatabaseSettings {
    /// Sets `password_file`, and reads it.
    ///
    /// It is read again before each connect, so a password that rotates counts from the next connect on. Line breaks at the end are
    /// not part of it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is empty. The error does not quote it.
    pub fn with_password_file(self, path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let mut settings = self.set_in_code("password_file");
        settings.password_file = Some(path.into());
        read_password(&mut settings)?;
        Ok(settings)
    }
}

/// Puts what the files hold into the settings, and has them read again at each connect.
pub(super) fn read(settings: &mut DatabaseSettings) -> Vec<ConfigFault> {
    let faults = [read_url(settings), read_password(settings)];
    faults.into_iter().filter_map(Result::err).collect()
}

fn read_url(settings: &mut DatabaseSettings) -> Result<(), ConfigFault> {
    let Some(path) = settings.url_file.clone() else { return Ok(()) };
    let url = url_in(&path).map_err(|problem| settings.fault("url_file", problem))?;
    let place = settings.explicit("url_file").unwrap_or("url_file");
    let place = format!("{place}, the file {}", path.display());
    settings.explicit.insert("url", place);
    if let (without, Some(_)) = parted(&url) {
        settings.before_connect = Some(again("url_file", path, move |path, has_told| {
            let (now, password) = parted(&url_in(path)?);
            if now != without && !has_told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    target: "pool",
                    "the url in {} is another one now; only its password counts before the next start",
                    path.display()
                );
            }
            password.ok_or_else(|| format!("the url in {} has no password any more", path.display()))
        }));
    }
    settings.url = Secret::new(url);
    Ok(())
}

/// The password of this moment becomes a part of the url, too, for whoever connects beside the pool.
fn read_password(settings: &mut DatabaseSettings) -> Result<(), ConfigFault> {
    let Some(path) = settings.password_file.clone() else { return Ok(()) };
    let password = content(&path).map_err(|problem| settings.fault("password_file", problem))?;
    settings.url = Secret::new(with_password(settings.url.expose(), &password));
    settings.before_connect = Some(again("password_file", path, |path, _| content(path)));
    Ok(())
}

/// Asks the file for the password, on a thread that may wait.
fn again(
    what: &'static str,
    path: PathBuf,
    ask: impl Fn(&Path, &AtomicBool) -> Result<String, String> + Send + Sync + 'static,
) -> BeforeConnect {
    let shared = Arc::new((path, ask, AtomicBool::new(false)));
    BeforeConnect::new(what, move || {
        let shared = Arc::clone(&shared);
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || (shared.1)(&shared.0, &shared.2)).await?;
            Ok(Secret::new(read?))
        })
    })
}

fn url_in(path: &Path) -> Result<String, String> {
    let text = content(path)?;
    url::normalise(&text).map_err(|problem| format!("in {}: {problem}", shown(path)))
}

/// What the file holds, without line breaks at its end. The error does not quote it.
fn content(path: &Path) -> Result<String, String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let path = shown(path);
    let bytes = read().map_err(|error| format!("{path} cannot be read: {error}"))?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("{path} is longer than any secret"));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{path} is not UTF-8"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("{path} is empty")),
        secret if secret.contains('\0') => Err(format!("{path} has a NUL in it, which no server takes")),
        secret => Ok(secret.to_owned()),
    }
}

/// The path, unless somebody may have written the secret in its place.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    let is_path = path.is_absolute() || text.starts_with('.');
    match is_path {
        true => quotable(&text),
        false => "the file (a path that begins with neither / nor ./ is not quoted)".to_owned(),
    }
}

/// The url without its password, and the password as the server gets it.
fn parted(url: &str) -> (String, Option<String>) {
    let Ok(mut parsed) = Url::parse(url) else { return (url.to_owned(), None) };
    let mut password = parsed.password().map(decoded);
    let _ = parsed.set_password(None);
    if parsed.scheme() == "postgres" && parsed.query().is_some() {
        let (secret, rest): (Vec<_>, Vec<_>) =
            parsed.query_pairs().into_owned().partition(|(key, _): &(String, String)| key == "password");
        // As sqlx has it: the parameter is read after the rest.
        password = secret.into_iter().next_back().map(|(_, secret)| secret).or(password);
        parsed.query_pairs_mut().clear().extend_pairs(rest);
    }
    (parsed.into(), password)
}

fn with_password(url: &str, password: &str) -> String {
    let Ok(mut parsed) = Url::parse(&parted(url).0) else { return url.to_owned() };
    // `set_password` encodes what is special, but for the percent sign.
    if parsed.set_password(Some(&password.replace('%', "%25"))).is_err() && parsed.scheme() == "postgres" {
        // A socket has no host that a password could stand before.
        parsed.query_pairs_mut().append_pair("password", password);
    }
    parsed.into()
}

/// Percent-decoded, with a plus sign as it is.
fn decoded(text: &str) -> String {
    let text = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(text.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_goes_into_a_url_and_comes_out_as_it_was() {
        fn check(url: &str, expected: &str) {
            for password in ["hunter2", "p@ss:w/o?r#d", "100%", "a%40b", "a+b c&d=e", "ü[x]"] {
                let with = with_password(url, password);
                assert_eq!(parted(&with), (expected.to_owned(), Some(password.to_owned())), "{url} {password}");
            }
        }
        check("postgres://app@db/app", "postgres://app@db/app");
        check("postgres://app:old@db/app?sslmode=require", "postgres://app@db/app?sslmode=require");
        check("postgres:///app?host=%2Frun%2Fpg&password=old", "postgres:///app?host=%2Frun%2Fpg");
        check("mysql://app@localhost/app", "mysql://app@localhost/app");
    }

    /// A folder of its own, gone when dropped.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pool-secret-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).expect("written");
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    async fn next(settings: &DatabaseSettings) -> Result<String, String> {
        let password = settings.before_connect.as_ref().expect("the file is asked").password().await;
        password.map(|password| password.expose().to_owned()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_password_that_rotates_counts_from_the_next_connect_on() {
        let scratch = Scratch::new("password");
        let path = scratch.write("password", "one\n");
        let settings = DatabaseSettings::new("postgres://app:old@db/app").expect("a url");
        let settings = settings.with_password_file(&path).expect("read");
        assert_eq!(settings.url.expose(), "postgres://app:one@db/app");
        scratch.write("password", "two words\r\n");
        assert_eq!(next(&settings).await.as_deref(), Ok("two words"));
        std::fs::remove_file(&path).expect("removed");
        let error = next(&settings).await.expect_err("it is gone");
        let expected = format!("password_file failed: {} cannot be read: ", path.display());
        assert!(error.starts_with(&expected), "{error}");
    }

    #[tokio::test]
    async fn a_url_that_rotates_gives_its_password() {
        let scratch = Scratch::new("url");
        let path = scratch.write("url", "postgresql+asyncpg://app:on%65@db/app\n");
        let mut settings = DatabaseSettings::defaults();
        settings.url_file = Some(path.clone());
        assert_eq!(read(&mut settings), []);
        assert_eq!(settings.url.expose(), "postgres://app:on%65@db/app");
        assert_eq!(next(&settings).await.as_deref(), Ok("one"));
        scratch.write("url", "postgresql+asyncpg://app:tw%40@db/app");
        assert_eq!(next(&settings).await.as_deref(), Ok("tw@"));
        for (text, expected) in [
            ("postgres://app@db/app", "has no password any more"),
            ("hunter2", "expected a url such as"),
            ("\n", "is empty"),
        ] {
            scratch.write("url", text);
            let error = next(&settings).await.expect_err(expected);
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
        // Nothing is asked again where there is no password.
        let mut settings = DatabaseSettings::defaults();
        settings.url_file = Some(scratch.write("url", "sqlite://app.db"));
        assert_eq!(read(&mut settings), []);
        assert!(settings.before_connect.is_none());
    }
}
