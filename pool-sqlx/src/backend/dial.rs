//! Opens connections, and names the way out where TLS stands in the way.

use super::{Dial, Options};
use sqlx::{
    Connection, Error,
    error::{DatabaseError, ErrorKind},
};
use std::{borrow::Cow, fmt, io};

/// Opens one connection. The caller bounds the time.
pub(crate) async fn dial<DB: Dial>(options: &Options<DB>) -> Result<DB::Connection, Error> {
    DB::Connection::connect_with(options).await.map_err(|error| reword::<DB>(options, error))
}

/// An address of IPv6 as sqlx can use it: sqlx looks a url's host up as it is, with its brackets.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) fn without_brackets(host: &str) -> Option<String> {
    Some(host.strip_prefix('[')?.strip_suffix(']')?.to_owned())
}

/// The error of a connect, with the way out where it is about TLS.
///
/// sqlx passes what rustls finds in the handshake on as an error of the network, which would be tried again and again.
pub(crate) fn explain(error: Error) -> Error {
    let said = match &error {
        Error::Tls(said) => said.to_string(),
        Error::Io(said) if said.kind() == io::ErrorKind::InvalidData => said.to_string(),
        _ => return error,
    };
    match advice(&said) {
        Some(advice) => Error::Tls(format!("{said}; {advice}").into()),
        None => Error::Tls(said.into()),
    }
}

/// The error of a connect with what it leaves out and without what is of no use, if the database knows better.
fn reword<DB: Dial>(options: &Options<DB>, error: Error) -> Error {
    match error {
        Error::Database(said) => match DB::reworded(options, &*said) {
            Some(text) => Error::Database(Box::new(Reworded { said, text })),
            None => Error::Database(said),
        },
        error => explain(error),
    }
}

#[derive(Debug)]
struct Reworded {
    said: Box<dyn DatabaseError>,
    text: String,
}

impl fmt::Display for Reworded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Reworded {}

/// Whoever downcasts finds the error within.
impl DatabaseError for Reworded {
    fn message(&self) -> &str {
        &self.text
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.said.code()
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self.said.as_error()
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self.said.as_error_mut()
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self.said.into_error()
    }

    fn is_transient_in_connect_phase(&self) -> bool {
        self.said.is_transient_in_connect_phase()
    }

    fn constraint(&self) -> Option<&str> {
        self.said.constraint()
    }

    fn table(&self) -> Option<&str> {
        self.said.table()
    }

    fn kind(&self) -> ErrorKind {
        self.said.kind()
    }
}

/// What to do about it, by the words of rustls and of sqlx.
fn advice(said: &str) -> Option<&'static str> {
    const ADVICE: [(&str, &str); 9] = [
        (
            "not valid for name",
            "connect by a name that the certificate is for; sslmode=verify-ca (MySQL: ssl-mode=VERIFY_CA) does not compare it",
        ),
        (
            "UnknownIssuer",
            "name the authority that signed the server's certificate: sslrootcert=/path/to/ca.pem in the url (MySQL: ssl-ca)",
        ),
        (
            "BadSignature",
            "the authority in the url (sslrootcert, MySQL: ssl-ca) has the name of the one that signed the server's certificate, and not its key",
        ),
        (
            "CaUsedAsEndEntity",
            "the server shows the certificate of an authority as its own: give it one that the authority has signed",
        ),
        ("UnsupportedCertVersion", "give the server a certificate of version 3, with its names as subjectAltName"),
        ("expired", "the server needs a new certificate, or one of the two clocks is wrong"),
        (
            "received fatal alert",
            "the server refuses: perhaps it wants a certificate of the client: sslcert and sslkey in the url (MySQL: ssl-cert, ssl-key)",
        ),
        (
            "does not support TLS",
            "switch TLS on at the server (PostgreSQL has none on a Unix socket), or ask for less: sslmode=prefer or disable",
        ),
        ("invalid dns name", "the host of the url is no name that a certificate could be for"),
    ];
    ADVICE.iter().find(|(words, _)| said.contains(words)).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Class;

    #[test]
    #[cfg(feature = "postgres")]
    fn an_address_of_ipv6_loses_its_brackets() {
        fn check(url: &str, expected: &str) {
            let settings = crate::DatabaseSettings::new(url).expect(url);
            let options = <sqlx::Postgres as Dial>::configure(&settings, None).expect(url);
            assert_eq!((options.get_host(), options.get_port()), (expected, 5433), "{url}");
        }
        check("postgres://app@db:5433/app", "db");
        check("postgres://app@[::1]:5433/app", "::1");
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_final_and_names_the_way_out() {
        let rustls = |said: &str| Error::Io(io::Error::new(io::ErrorKind::InvalidData, said.to_owned()));
        let explained = explain(rustls("invalid peer certificate: UnknownIssuer"));
        assert_eq!(Class::of(&explained), Class::Denied);
        assert!(explained.to_string().contains("sslrootcert="), "{explained}");
        assert_eq!(Class::of(&explain(rustls("something new"))), Class::Denied);
    }

    #[test]
    fn a_peer_that_goes_away_in_the_handshake_is_tried_again() {
        let gone = Error::Io(io::ErrorKind::UnexpectedEof.into());
        assert_eq!(Class::of(&explain(gone)), Class::Lost);
    }
}
