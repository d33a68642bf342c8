//! The least of HTTP: enough to ask a server on this machine.

use super::Error;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The body of what a server answers at this path.
pub fn get(address: SocketAddr, path: &str) -> Result<String, Error> {
    let mut answer = String::new();
    let mut ask = || {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(LIMIT))?;
        // By the old protocol the body ends with the connection.
        write!(socket, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n")?;
        socket.read_to_string(&mut answer)
    };
    ask().map_err(Error::doing(format!("ask {address} for {path}")))?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| Error::new(format!("{address} answered {answer:?}")))
}
