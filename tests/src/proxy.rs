//! A proxy in front of a server that makes the network fail on command, and counts what goes by.

mod wire;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, mpsc},
    thread::{self, JoinHandle},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    sync::watch,
};
use wire::Frontend;

/// What the proxy does with connections and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everything goes through.
    #[default]
    Pass,
    /// New connections are accepted and hear nothing until the mode changes; then they are served. Old ones go on. A database that wakes.
    Hold,
    /// New connections are refused; old ones go on. A server that is down.
    Refuse,
    /// Nothing goes through in either direction, and nobody is told. A connection that loses a byte so stays silent for ever, for it could
    /// only go on wrongly. A cable that is cut.
    Silent,
}

/// What has gone by so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections accepted, those that are being held included.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// PostgreSQL messages that each end a request which the server must answer before the client can go on: simple queries and syncs, after the
    /// start-up. For a client that does not pipeline this is the number of round trips.
    pub round_trips: u64,
    /// PostgreSQL's requests to cancel a statement, each on a connection of its own.
    pub cancels: u64,
    /// Bytes from clients, swallowed ones included.
    pub bytes: u64,
}

/// A TCP proxy on 127.0.0.1, alive until dropped.
///
/// It runs on a thread of its own, so that a test may block, pause tokio's clock, or be over, without stopping it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    commands: Option<tokio::sync::mpsc::UnboundedSender<Command>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one in front of the server that a URL names: by TCP, or by a Unix socket with `host=`, for MySQL with `socket=`.
    ///
    /// # Errors
    /// If the URL names no server that we understand, or no port is free.
    pub fn start(url: &str) -> io::Result<Self> {
        let upstream = Upstream::of(url)?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            mode: watch::Sender::new(Mode::Pass),
            epoch: watch::Sender::new(0),
            traffic: watch::Sender::new(Traffic::default()),
            last: Mutex::new(Vec::new()),
            upstream: Mutex::new(upstream),
        });
        let (commands, received) = tokio::sync::mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("fault-proxy".into()).spawn({
            let shared = shared.clone();
            move || runtime.block_on(serve(listener, address, shared, received))
        })?;
        Ok(Self { address, commands: Some(commands), shared, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A PostgreSQL URL to the same database and user as `url`, through the proxy.
    pub fn url(&self, url: &str) -> String {
        let (user, _, database, _) = split(url).unwrap_or(("postgres", "", "postgres", ""));
        format!("postgres://{user}@{}/{database}", self.address)
    }

    /// Leads new connections to another server, as an address does that stands for several.
    ///
    /// # Errors
    /// If the URL names no server that we understand.
    pub fn lead_to(&self, url: &str) -> io::Result<()> {
        *self.shared.upstream() = Upstream::of(url)?;
        Ok(())
    }

    /// Changes the mode. In force when this returns.
    pub fn set(&self, mode: Mode) {
        self.send(|done| Command::Set(mode, done));
    }

    /// Cuts every open connection with a TCP reset. In force when this returns; the mode stays.
    pub fn reset_all(&self) {
        self.send(Command::Reset);
    }

    /// What has gone by so far.
    pub fn traffic(&self) -> Traffic {
        *self.shared.traffic.borrow()
    }

    /// Returns once the traffic is as described. Cancel safe. It has no limit of its own: put a timeout around it.
    pub async fn until(&self, mut is_so: impl FnMut(&Traffic) -> bool) -> Traffic {
        let mut traffic = self.shared.traffic.subscribe();
        *traffic.wait_for(|traffic| is_so(traffic)).await.expect("BUG: the sender lives as long as we do")
    }

    /// The types of PostgreSQL's messages that clients have sent since the last call, in order: `PBDES` is one prepared statement run for
    /// the first time, `Q` a simple query, `X` a goodbye. Start-up messages are not among them.
    pub fn take_messages(&self) -> String {
        std::mem::take(&mut *self.shared.messages()).into_iter().map(char::from).collect()
    }

    fn send(&self, command: impl FnOnce(mpsc::Sender<()>) -> Command) {
        let (done, told) = mpsc::channel();
        let commands = self.commands.as_ref().expect("BUG: taken only when dropped");
        commands.send(command(done)).expect("the proxy's thread has panicked");
        told.recv().expect("the proxy's thread has panicked");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

enum Command {
    Set(Mode, mpsc::Sender<()>),
    Reset(mpsc::Sender<()>),
}

#[derive(Debug)]
struct Shared {
    mode: watch::Sender<Mode>,
    /// Raised to cut every connection that started before.
    epoch: watch::Sender<u64>,
    traffic: watch::Sender<Traffic>,
    last: Mutex<Vec<u8>>,
    upstream: Mutex<Upstream>,
}

impl Shared {
    fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    fn count(&self, change: impl FnOnce(&mut Traffic)) {
        self.traffic.send_modify(change);
    }

    fn messages(&self) -> MutexGuard<'_, Vec<u8>> {
        self.last.lock().expect("BUG: nothing panics under this lock")
    }

    fn upstream(&self) -> MutexGuard<'_, Upstream> {
        self.upstream.lock().expect("BUG: nothing panics under this lock")
    }
}

/// The proxy's thread: accepts, and obeys commands, until its handle is dropped.
async fn serve(
    listener: std::net::TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    mut commands: tokio::sync::mpsc::UnboundedReceiver<Command>,
) {
    let mut door = Door::Open(TcpListener::from_std(listener).expect("BUG: the listener is non-blocking"));
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Set(mode, done)) => {
                    door = door.turn(mode == Mode::Refuse, address);
                    shared.mode.send_replace(mode);
                    let _ = done.send(());
                }
                Some(Command::Reset(done)) => {
                    shared.epoch.send_modify(|epoch| *epoch += 1);
                    // Every connection's task hears of it and leaves; then nothing is open.
                    let mut traffic = shared.traffic.subscribe();
                    let _ = traffic.wait_for(|traffic| traffic.open == 0).await;
                    let _ = done.send(());
                }
                None => return,
            },
            client = door.accept() => {
                // From now on a reset cuts it, also before its task has run for the first time.
                let epoch = shared.epoch.subscribe();
                shared.count(|traffic| { traffic.accepted += 1; traffic.open += 1; });
                let shared = shared.clone();
                tokio::spawn(async move {
                    connection(client, epoch, &shared).await;
                    shared.count(|traffic| traffic.open -= 1);
                });
            }
        }
    }
}

/// The listening socket, or one that only keeps the port: who connects to it is refused, and nobody else can take it.
enum Door {
    Open(TcpListener),
    Shut { _keeper: TcpSocket },
}

impl Door {
    fn turn(self, shut: bool, address: SocketAddr) -> Self {
        match (self, shut) {
            (Self::Open(listener), true) => {
                drop(listener);
                Self::Shut { _keeper: bind(address) }
            }
            (Self::Shut { _keeper }, false) => {
                drop(_keeper);
                Self::Open(bind(address).listen(1024).expect("listen where we listened before"))
            }
            (same, _) => same,
        }
    }

    async fn accept(&self) -> TcpStream {
        loop {
            match self {
                Self::Open(listener) => {
                    if let Ok((client, _)) = listener.accept().await {
                        return client;
                    }
                }
                Self::Shut { .. } => std::future::pending().await,
            }
        }
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("make a socket");
    // Connections that were accepted on this port may still be open.
    socket.set_reuseaddr(true).expect("reuse the address");
    socket.bind(address).expect("bind where we were bound before");
    socket
}

/// One client's connection, until either side leaves or it is reset.
async fn connection(mut client: TcpStream, mut epoch: watch::Receiver<u64>, shared: &Shared) {
    let was_reset = tokio::select! {
        biased;
        Ok(()) = epoch.changed() => true,
        _ = converse(&mut client, shared) => false,
    };
    if was_reset {
        let _ = client.set_zero_linger();
    }
}

async fn converse(client: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut mode = shared.mode.subscribe();
    let _ = mode.wait_for(|mode| *mode != Mode::Hold).await;
    let (mut from_client, mut to_client) = client.split();
    if shared.mode() == Mode::Silent {
        // The server never hears of it.
        return swallow(&mut from_client, shared).await;
    }
    let upstream = shared.upstream().clone();
    let (mut from_server, mut to_server) = upstream.connect().await?;
    let mut frontend = Frontend::default();
    let there = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let size = from_client.read(&mut buffer).await?;
            if size == 0 {
                return Ok(());
            }
            let seen = frontend.read(&buffer[..size]);
            shared.messages().extend(&seen.messages);
            shared.count(|traffic| {
                traffic.bytes += size as u64;
                traffic.round_trips += seen.round_trips();
                traffic.cancels += seen.cancels;
            });
            if shared.mode() == Mode::Silent {
                return swallow(&mut from_client, shared).await;
            }
            to_server.write_all(&buffer[..size]).await?;
        }
    };
    let back = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let size = from_server.read(&mut buffer).await?;
            if shared.mode() == Mode::Silent {
                // The client is not told of the end either.
                return std::future::pending().await;
            }
            if size == 0 {
                return Ok(());
            }
            to_client.write_all(&buffer[..size]).await?;
        }
    };
    tokio::select! { end = there => end, end = back => end }
}

/// Reads to the end and forgets it.
async fn swallow(client: &mut (impl AsyncRead + Unpin), shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let size = client.read(&mut buffer).await?;
        if size == 0 {
            return Ok(());
        }
        shared.count(|traffic| traffic.bytes += size as u64);
    }
}

/// Where the real server is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Upstream {
    Tcp(String),
    Unix(PathBuf),
}

type Halves = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

impl Upstream {
    fn of(url: &str) -> io::Result<Self> {
        let unclear = || io::Error::new(io::ErrorKind::InvalidInput, format!("no server is named by `{url}`"));
        let (_, server, _, query) = split(url).ok_or_else(unclear)?;
        let (host, port) = server.rsplit_once(':').unwrap_or((server, "5432"));
        let parameter = |key| query.split('&').find_map(|pair| pair.strip_prefix(key));
        match (parameter("host="), parameter("socket=")) {
            (Some(directory), _) => Ok(Self::Unix(PathBuf::from(directory).join(format!(".s.PGSQL.{port}")))),
            (None, Some(path)) => Ok(Self::Unix(path.into())),
            (None, None) if host.is_empty() => Err(unclear()),
            (None, None) => Ok(Self::Tcp(format!("{host}:{port}"))),
        }
    }

    async fn connect(&self) -> io::Result<Halves> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (read, write) = stream.into_split();
                Ok((Box::new(read), Box::new(write)))
            }
            Self::Unix(path) => {
                let (read, write) = UnixStream::connect(path).await?.into_split();
                Ok((Box::new(read), Box::new(write)))
            }
        }
    }
}

/// User, server, database and query of `scheme://user@server/database?query`.
fn split(url: &str) -> Option<(&str, &str, &str, &str)> {
    let (_, rest) = url.split_once("://")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, "postgres"));
    let (user, server) = authority.rsplit_once('@').unwrap_or(("postgres", authority));
    Some((user, server, database, query))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Postgres;
    use std::time::Duration;
    use tokio::time::timeout;

    /// A server that says back what it hears, by lines of any length.
    async fn echo() -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut peer, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = peer.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        format!("postgres://postgres@{address}/x")
    }

    async fn say(client: &mut TcpStream, words: &str) {
        client.write_all(words.as_bytes()).await.unwrap();
    }

    async fn hear(client: &mut TcpStream) -> io::Result<String> {
        let mut buffer = [0; 64];
        let size = client.read(&mut buffer).await?;
        Ok(String::from_utf8_lossy(&buffer[..size]).into_owned())
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address()).await.unwrap()
    }

    /// A client that has spoken through the proxy once.
    async fn talker(proxy: &Proxy) -> TcpStream {
        let mut client = connect(proxy).await;
        say(&mut client, "hello").await;
        assert_eq!(hear(&mut client).await.unwrap(), "hello");
        client
    }

    #[tokio::test]
    async fn passes_both_ways_and_counts_connections() {
        let proxy = Proxy::start(&echo().await).unwrap();
        let client = talker(&proxy).await;
        assert_eq!((proxy.traffic().accepted, proxy.traffic().open, proxy.traffic().bytes), (1, 1, 5));
        drop(client);
        assert_eq!(proxy.until(|traffic| traffic.open == 0).await.accepted, 1);
    }

    #[tokio::test]
    async fn held_connection_is_served_when_released() {
        let proxy = Proxy::start(&echo().await).unwrap();
        let mut old = talker(&proxy).await;
        proxy.set(Mode::Hold);
        let mut held = connect(&proxy).await;
        say(&mut held, "early").await;
        proxy.until(|traffic| traffic.accepted == 2).await;
        say(&mut old, "still").await;
        assert_eq!(hear(&mut old).await.unwrap(), "still");
        assert_eq!(held.try_read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        proxy.set(Mode::Pass);
        assert_eq!(hear(&mut held).await.unwrap(), "early");
    }

    #[tokio::test]
    async fn refusal_meets_new_connections_only_and_ends() {
        let proxy = Proxy::start(&echo().await).unwrap();
        let mut old = talker(&proxy).await;
        proxy.set(Mode::Refuse);
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        say(&mut old, "still").await;
        assert_eq!(hear(&mut old).await.unwrap(), "still");
        proxy.set(Mode::Pass);
        talker(&proxy).await;
    }

    #[tokio::test]
    async fn silence_swallows_both_ways_and_ends_for_new_connections_only() {
        let proxy = Proxy::start(&echo().await).unwrap();
        let mut old = talker(&proxy).await;
        proxy.set(Mode::Silent);
        say(&mut old, "lost").await;
        let mut during = connect(&proxy).await;
        say(&mut during, "lost").await;
        proxy.until(|traffic| traffic.bytes == 5 + 4 + 4).await;
        proxy.set(Mode::Pass);
        talker(&proxy).await;
        say(&mut old, "lost too").await;
        proxy.until(|traffic| traffic.bytes == 5 + 4 + 4 + 5 + 8).await;
        for client in [&mut old, &mut during] {
            assert_eq!(client.try_read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[tokio::test]
    async fn reset_cuts_every_connection_held_ones_too() {
        let proxy = Proxy::start(&echo().await).unwrap();
        let mut old = talker(&proxy).await;
        proxy.set(Mode::Hold);
        let mut held = connect(&proxy).await;
        proxy.until(|traffic| traffic.open == 2).await;
        proxy.reset_all();
        assert_eq!(proxy.traffic().open, 0);
        for client in [&mut old, &mut held] {
            assert_eq!(hear(client).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn dropped_proxy_closes_its_connections_and_its_port() {
        let proxy = Proxy::start(&echo().await).unwrap();
        let mut client = talker(&proxy).await;
        let address = proxy.address();
        drop(proxy);
        assert!(
            !matches!(timeout(Duration::from_secs(30), hear(&mut client)).await.unwrap(), Ok(said) if !said.is_empty())
        );
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[test]
    fn round_trips_of_a_real_client_are_counted() {
        let cluster = Postgres::shared();
        let proxy = Proxy::start(&cluster.url("postgres")).unwrap();
        // psql sends a simple query for each -c.
        let through = proxy.url(&cluster.url("postgres"));
        let psql = |more: &[&str]| {
            let mut arguments = vec!["-XqAt", "-d", &through, "-c", "select 1"];
            arguments.extend(more);
            cluster.run_psql(&arguments).unwrap()
        };
        // The client may be gone before its goodbye has come through.
        let to_the_end = || {
            let mut messages = proxy.take_messages();
            while !messages.ends_with('X') {
                messages += &proxy.take_messages();
            }
            messages
        };
        assert_eq!(psql(&[]), "1");
        assert_eq!(to_the_end(), "QX");
        assert_eq!(psql(&["-c", "select 2"]), "1\n2");
        assert_eq!(to_the_end(), "QQX");
        assert_eq!(proxy.traffic().round_trips, 3);
        assert_eq!(proxy.traffic().accepted, 2);
    }

    #[test]
    fn server_is_read_off_the_url() {
        let check = |url, expected| assert_eq!(Upstream::of(url).ok(), expected, "{url}");
        let unix = |path: &str| Some(Upstream::Unix(path.into()));
        check("postgres://postgres@localhost:5433/x?host=/tmp/a", unix("/tmp/a/.s.PGSQL.5433"));
        check("postgres://postgres@localhost/x?sslmode=disable&host=/tmp/a", unix("/tmp/a/.s.PGSQL.5432"));
        check("mysql://root@localhost/x?socket=/tmp/a/socket", unix("/tmp/a/socket"));
        check("postgres://u:p@127.0.0.1:7/x", Some(Upstream::Tcp("127.0.0.1:7".into())));
        check("postgres://db.example.org", Some(Upstream::Tcp("db.example.org:5432".into())));
        check("nowhere", None);
    }
}
