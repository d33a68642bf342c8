//! A database in a file of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use pool_sqlx::{DatabaseSettings, SqlitePool};
use std::{
    io::Write,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

/// A file that goes when it is dropped.
pub struct File(PathBuf);

impl File {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pool-sqlx-{}-{}.db", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    pub fn settings(&self) -> DatabaseSettings {
        DatabaseSettings::new(format!("sqlite://{}", self.0.display())).unwrap()
    }

    /// A pool of one connection.
    pub fn one(&self) -> SqlitePool {
        SqlitePool::connect_lazy(self.settings().with_pool_size(1u32).with_max_overflow(0u32)).unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.0.display()));
        }
    }
}

/// What a subscriber writes; clones share it.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Counts to far more than anybody waits for.
pub const ENDLESS: &str = "with recursive c(n) as (select 1 union all select n + 1 from c) select count(*) from c";

/// Takes some tens of milliseconds on a very quick machine.
pub const LONG: &str =
    "with recursive c(n) as (select 1 union all select n + 1 from c limit 1500000) select count(*) from c";

/// A client on a socket of its own, which reads and writes as slowly as a test likes.
pub struct Client(pub tokio::net::TcpStream);

impl Client {
    pub async fn to(address: std::net::SocketAddr) -> Self {
        Self(tokio::net::TcpStream::connect(address).await.unwrap())
    }

    pub async fn send(&mut self, text: &str) {
        tokio::io::AsyncWriteExt::write_all(&mut self.0, text.as_bytes()).await.unwrap();
    }

    /// All that the server says until it closes.
    pub async fn rest(mut self) -> String {
        let mut text = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut self.0, &mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }
}

/// One request without a body, and the whole answer, in small letters.
pub async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut client = Client::to(address).await;
    client.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await;
    client.rest().await.to_ascii_lowercase()
}
