//! What is logged on a test's own thread, for tests that run on one.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};
use tracing_subscriber::filter::LevelFilter;

/// The log since it was begun, until it is dropped.
pub(crate) struct Log {
    text: Text,
    _until: tracing::subscriber::DefaultGuard,
}

/// If there is only one subscriber, tracing asks the one of whichever thread comes by a line first whether anybody wants it, and remembers
/// the answer: a test without a log would say no for those that have one.
static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| tracing_subscriber::registry().into());

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn begin() -> Self {
        LazyLock::force(&SECOND);
        let text = Text::default();
        let writer = text.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::INFO)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Self { text, _until: tracing::subscriber::set_default(subscriber) }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until these words have been logged.
    pub(crate) async fn says(&self, words: &str) {
        let said = async {
            while !self.text().contains(words) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), said).await.is_err() {
            panic!("no {words:?} within 30 s in:\n{}", self.text());
        }
    }
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
