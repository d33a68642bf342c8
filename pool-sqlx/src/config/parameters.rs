//! The parameters of a url, as other drivers write them, in the form that sqlx reads.

use ::url::form_urlencoded;

use super::fault::nearest;

pub(super) const SEVERAL_HOSTS: &str = "the url names several hosts, and sqlx connects to one: write the one, or a name that leads to \
                                        whichever is the writer";

const SSLMODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

const SSLMODES_OF_MYSQL: [&str; 5] = ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"];

/// What others call a mode: the word, PostgreSQL's mode, MySQL's.
const MEANT: [(&str, usize, usize); 20] = [
    ("disable", 0, 0),
    ("disabled", 0, 0),
    ("off", 0, 0),
    ("false", 0, 0),
    ("no", 0, 0),
    ("none", 0, 0),
    ("0", 0, 0),
    ("prefer", 2, 1),
    ("preferred", 2, 1),
    ("require", 3, 2),
    ("required", 3, 2),
    ("on", 3, 2),
    ("true", 3, 2),
    ("yes", 3, 2),
    ("1", 3, 2),
    ("no-verify", 3, 2),
    ("verify-ca", 4, 3),
    ("strict", 5, 4),
    ("verify-full", 5, 4),
    ("verify-identity", 5, 4),
];

/// The parameters of a url of PostgreSQL. An error does not quote what may be secret.
pub(super) fn of_postgres(query: &str) -> Result<Vec<String>, String> {
    let given = given(query);
    let stated = given.iter().find(|(key, _)| matches!(*key, "sslmode" | "ssl-mode")).map(|(_, mode)| *mode);
    if given.iter().filter(|(key, _)| *key == "host").count() > 1 {
        return Err(SEVERAL_HOSTS.to_owned());
    }
    let mut pairs = Vec::new();
    for (key, value) in given {
        match (key, value) {
            // sqlx would ignore asyncpg's word, and the connection might then go unencrypted.
            ("ssl", "true" | "True" | "1") if stated.is_none() => pairs.push("sslmode=require".to_owned()),
            ("ssl", "false" | "False" | "0") if stated.is_none() => pairs.push("sslmode=disable".to_owned()),
            ("ssl", mode) if stated.is_none() => match SSLMODES.contains(&mode) {
                true => pairs.push(format!("sslmode={mode}")),
                false => return Err(format!("ssl in the url is none of true, false, {}", SSLMODES.join(", "))),
            },
            // The authorities that sqlx trusts anyway; sqlx would take the word for a file.
            ("sslrootcert", "system") => match stated {
                None => pairs.push("sslmode=verify-full".to_owned()),
                Some("verify-full") => {}
                Some(_) => {
                    return Err(
                        "sslrootcert=system in the url asks for sslmode=verify-full, and nothing less".to_owned()
                    );
                }
            },
            ("sslmode" | "ssl-mode", mode) => {
                mode_of(key, mode, &SSLMODES, |&(_, mode, _)| mode)?;
                pairs.push(format!("{key}={mode}"));
            }
            (key, _) if speaks_of_tls(key) => {
                return Err(format!(
                    "{key} in the url is of another driver; say sslmode=verify-full&sslrootcert=/path/to/ca.pem, sslmode=require or \
                     sslmode=disable"
                ));
            }
            // Prisma's, JDBC's and pgx's. Without it other tables would be read.
            ("schema" | "currentSchema" | "search_path", schema) if decoded(schema) != "public" => {
                return Err(format!(
                    "{key} in the url is of another driver; say options=-c%20search_path%3D<schema>, or ALTER ROLE .. SET search_path"
                ));
            }
            ("host", host) => pairs.extend(host_of(&decoded(host), host)?),
            // pg8000's, which names the socket and not its folder.
            ("unix_sock", socket) => {
                let socket = decoded(socket);
                let folder = socket.split("/.s.PGSQL.").next().unwrap_or_default();
                pairs.push(format!("host={}", encoded(folder)));
            }
            ("port", port) if port.parse::<u16>().is_err() => {
                return Err("port in the url is no number from 1 to 65535".to_owned());
            }
            (key, value) => pairs.push(pair(key, value)),
        }
    }
    Ok(pairs)
}

/// The parameters of a url of MySQL or MariaDB.
pub(super) fn of_mysql(query: &str) -> Result<Vec<String>, String> {
    let mut pairs = Vec::new();
    for (key, value) in given(query) {
        match (key, value) {
            ("sslmode" | "ssl-mode", mode) => {
                mode_of(key, mode, &SSLMODES_OF_MYSQL, |&(_, _, mode)| mode)?;
                pairs.push(format!("{key}={mode}"));
            }
            // PyMySQL's and mysqlclient's `ssl_ca=..` would be dropped, and the connection might then go unverified or unencrypted.
            (key, _) if key == "ssl" || key.starts_with("ssl_") || speaks_of_tls(key) => {
                let key = if key.len() <= 24 { key } else { "ssl_.." };
                return Err(format!(
                    "{key} in the url is of another driver; say ssl-mode=VERIFY_IDENTITY&ssl-ca=/path/to/ca.pem (and ssl-cert, ssl-key), \
                     or ssl-mode=DISABLED"
                ));
            }
            ("unix_socket", socket) => pairs.push(format!("socket={socket}")),
            (key, value) => pairs.push(pair(key, value)),
        }
    }
    Ok(pairs)
}

fn given(query: &str) -> Vec<(&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect()
}

fn pair(key: &str, value: &str) -> String {
    if value.is_empty() { key.to_owned() } else { format!("{key}={value}") }
}

/// Whether another driver asks for TLS by this name. What does not weaken the connection when it is dropped is not among them.
fn speaks_of_tls(key: &str) -> bool {
    const READ: [&str; 4] = ["sslmode", "ssl-mode", "sslca", "ssl-ca"];
    const OTHERS: [&str; 14] = [
        "sslmode",
        "sslaccept",
        "sslca",
        "sslverify",
        "sslcertreqs",
        "sslcheckhostname",
        "tls",
        "tlsmode",
        "tlsca",
        "usessl",
        "requiressl",
        "enablessl",
        "sslenabled",
        "verifyservercertificate",
    ];
    let bare: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    !READ.contains(&key) && OTHERS.contains(&bare.as_str())
}

/// Refuses what is no mode. It is quoted only if it is a word that others have for one.
fn mode_of(
    key: &str,
    mode: &str,
    modes: &[&str],
    place: impl Fn(&(&str, usize, usize)) -> usize,
) -> Result<(), String> {
    if modes.iter().any(|known| known.eq_ignore_ascii_case(mode)) {
        return Ok(());
    }
    let word = mode.to_ascii_lowercase().replace('_', "-");
    let known = nearest(&word, MEANT.iter().map(|(word, ..)| *word));
    let meant = MEANT.iter().find(|(word, ..)| Some(*word) == known).map(place).and_then(|at| modes.get(at));
    let there_are = modes.join(", ");
    Err(match meant {
        Some(meant) => format!("{key} in the url is \"{mode}\"; did you mean {meant}? There are {there_are}"),
        None => format!("{key} in the url is none of {there_are}"),
    })
}

/// A host among the parameters, with which SQLAlchemy gives the port.
fn host_of(host: &str, as_given: &str) -> Result<Vec<String>, String> {
    if host.starts_with('/') {
        return Ok(vec![format!("host={as_given}")]);
    }
    if host.contains(',') {
        return Err(SEVERAL_HOSTS.to_owned());
    }
    match host.split_once(':') {
        Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(vec![format!("host={}", encoded(name)), format!("port={port}")])
        }
        _ => Ok(vec![format!("host={as_given}")]),
    }
}

fn decoded(value: &str) -> String {
    let pair = format!("x={value}");
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn encoded(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes()).collect()
}
