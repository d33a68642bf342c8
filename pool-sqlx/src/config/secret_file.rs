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

use super::{BeforeConnect, ConfigFault, DatabaseSettings, url};
use crate::words::{Secret, secret::quotable};

/// No secret is longer; a path to something else is not read to its end.
const LONGEST: u64 = 64 * 1024;

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
pub(super) fn read_password(settings: &mut DatabaseSettings) -> Result<(), ConfigFault> {
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
}
