//! Opens connections: by whichever address of the host answers, and with the way out where TLS stands in the way.

use super::{Dial, Options};
use futures_util::{
    StreamExt,
    future::{Either, pending, select},
    stream::FuturesUnordered,
};
use sqlx::{Connection, Error};
use std::{collections::VecDeque, future::Future, io, net::SocketAddr, pin::pin, time::Duration};
use tokio::{
    net::{TcpStream, lookup_host},
    time::sleep,
};

/// How long an address may take before the others are asked, one after another at this distance (RFC 8305).
const LATE: Duration = Duration::from_millis(250);

/// Opens one connection. Whoever calls bounds the time.
///
/// sqlx tries the addresses of a host one after another, each for as long as the system does, which may be minutes. So we look the
/// host up and dial the addresses ourselves, unless TLS may be spoken: its names go with sqlx's idea of the host.
pub(crate) async fn dial<DB: Dial>(options: &Options<DB>) -> Result<DB::Connection, Error> {
    let Some(host) = DB::host(options) else {
        return DB::Connection::connect_with(options).await.map_err(explain);
    };
    let addresses = lookup_host(host).await?.collect();
    let connect = |address: SocketAddr| {
        let options = DB::at(options, address.ip());
        async move { DB::Connection::connect_with(&options).await }
    };
    by_any(addresses, connect).await.map_err(explain)
}

/// The options with an address that answers in the place of the host, for connects of sqlx's own.
#[cfg(feature = "postgres")]
pub(crate) async fn reachable<DB: Dial>(options: Options<DB>) -> Result<Options<DB>, Error> {
    let Some(host) = DB::host(&options) else { return Ok(options) };
    let addresses: VecDeque<_> = lookup_host(host).await?.collect();
    if addresses.len() < 2 {
        return Ok(options);
    }
    let ask = |address| async move { Ok(TcpStream::connect(address).await.map(|_| address)?) };
    Ok(DB::at(&options, by_any(addresses, ask).await?.ip()))
}

/// Connects to one address after another; when one is late, to whichever answers first.
///
/// One at a time only: the server has never more than one connection of ours for it.
async fn by_any<C, F>(mut addresses: VecDeque<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> Result<C, Error>
where
    F: Future<Output = Result<C, Error>>,
{
    let mut error = Error::Io(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    let mut next = addresses.pop_front();
    while let Some(address) = next {
        let outcome = match select(pin!(connect(address)), pin!(overtaken(address, &addresses))).await {
            Either::Left((outcome, _)) => Ok(outcome),
            Either::Right((faster, _)) => Err(faster),
        };
        next = match outcome {
            Ok(Err(Error::Io(failure))) if is_of_address(&failure) => {
                error = failure.into();
                addresses.pop_front()
            }
            Ok(outcome) => return outcome,
            Err(faster) => {
                addresses.retain(|address| *address != faster);
                Some(faster)
            }
        };
    }
    Err(error)
}

/// The first address that answers while the one being dialled does not. For ever if there is none.
///
/// Asked by a connection that is closed as soon as it is there, of which neither PostgreSQL's log nor its list of sessions says anything.
/// The one being dialled is asked first: if it answers, it is slow and not gone, as a database that wakes, and dialling goes on.
async fn overtaken(dialled: SocketAddr, others: &VecDeque<SocketAddr>) -> SocketAddr {
    if others.is_empty() {
        return pending().await;
    }
    let ask = |(place, address): (u32, SocketAddr)| async move {
        sleep(LATE * place).await;
        TcpStream::connect(address).await.map(|_| address)
    };
    let everyone = std::iter::once(dialled).chain(others.iter().copied());
    let mut answers: FuturesUnordered<_> = (1..).zip(everyone).map(ask).collect();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(first) if first == dialled => break,
            Ok(first) => return first,
            Err(_) => {}
        }
    }
    pending().await
}

/// An address of IPv6 as sqlx can use it: sqlx looks a url's host up as it is, with its brackets.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) fn without_brackets(host: &str) -> Option<String> {
    Some(host.strip_prefix('[')?.strip_suffix(']')?.to_owned())
}

/// Whether another address of the same host may do better.
fn is_of_address(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(error.kind(), AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable | TimedOut)
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
    use std::{net::Ipv4Addr, sync::Mutex};
    use tokio::{
        net::{TcpListener, TcpSocket},
        time::{Instant, timeout},
    };

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    /// An address that does not answer, for its queue is full.
    async fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        let listener = socket.listen(1).expect("listening");
        let address = listener.local_addr().expect("an address");
        let mut queue = Vec::new();
        while let Ok(queued) = timeout(Duration::from_millis(50), TcpStream::connect(address)).await {
            queue.push(queued.expect("a place in the queue"));
        }
        (listener, queue, address)
    }

    async fn connect(address: SocketAddr) -> Result<SocketAddr, Error> {
        Ok(TcpStream::connect(address).await?.peer_addr()?)
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_is_left_for_one_that_does() {
        let (_listener, _queue, dead) = black_hole().await;
        let (_other, alive) = listener().await;
        let begun = Instant::now();
        let dialled = timeout(LATE * 120, by_any([dead, alive].into(), connect)).await;
        assert_eq!(dialled.expect("the dead one is left").expect("one is alive"), alive);
        assert!(begun.elapsed() >= LATE, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_left_at_once_and_the_last_error_is_told() {
        // Bound, and nobody listens: nobody else can take the port.
        let keeper = TcpSocket::new_v4().expect("a socket");
        keeper.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        let refusing = keeper.local_addr().expect("an address");
        let (_other, alive) = listener().await;
        // A busy machine may be late, but not every time.
        let mut took = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            assert_eq!(by_any([refusing, alive].into(), connect).await.expect("one is alive"), alive);
            took.push(begun.elapsed());
        }
        assert!(took.iter().any(|took| *took < LATE), "{took:?}");
        let error = by_any([refusing, refusing].into(), connect).await.expect_err("nobody is there");
        assert!(matches!(&error, Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_answers_and_takes_its_time_is_not_left() {
        let ((_one, waking), (other, awake)) = (listener().await, listener().await);
        let dialled = Mutex::new(Vec::new());
        let slowly = |address| {
            dialled.lock().expect("no panic").push(address);
            async move {
                sleep(LATE * 4).await;
                connect(address).await
            }
        };
        assert_eq!(by_any([waking, awake].into(), slowly).await.expect("it wakes"), waking);
        assert_eq!(*dialled.lock().expect("no panic"), [waking]);
        assert!(timeout(LATE, other.accept()).await.is_err(), "the other one hears nothing");
    }

    #[tokio::test]
    async fn what_the_server_says_is_final_whatever_other_addresses_there_are() {
        let ((_one, first), (_two, second)) = (listener().await, listener().await);
        let denied = |address| async move {
            connect(address).await?;
            Err::<(), _>(Error::Protocol("denied".into()))
        };
        assert!(matches!(by_any([first, second].into(), denied).await, Err(Error::Protocol(_))));
    }

    #[test]
    #[cfg(feature = "postgres")]
    fn a_host_is_dialled_by_its_addresses_where_no_tls_can_be_spoken() {
        fn check(url: &str, expected: Option<(&str, u16)>) {
            let settings = crate::DatabaseSettings::new(url).expect(url);
            let options = <sqlx::Postgres as Dial>::configure(&settings, None).expect(url);
            assert_eq!(<sqlx::Postgres as Dial>::host(&options), expected, "{url}");
        }
        check("postgres://app@db/app?sslmode=disable", Some(("db", 5432)));
        // sqlx would look a name with brackets up.
        check("postgres://app@[::1]:5433/app?sslmode=disable", Some(("::1", 5433)));
        let has_tls = crate::backend::hidden::has_tls();
        check("postgres://app@db/app?sslmode=prefer", (!has_tls).then_some(("db", 5432)));
        check("postgres:///app?host=/run/pg&sslmode=disable", None);
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
