//! LISTEN: notifications of PostgreSQL on a connection of their own, with every gap told.

use crate::{
    Error, Pool,
    backend::{Options, dial::explain},
};
use futures_core::Stream;
use pool_core::{dice, pause};
use sqlx::{
    Connection, Postgres,
    postgres::{PgListener, PgPoolOptions},
};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

/// How often the server is asked for a sign of life, and how long it may take. What is silent for longer is lost.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Notifications that wait for a slow reader. More of them are a gap.
const WAITING: usize = 1024;
/// The pause before the first new attempt, doubled for each further one up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a [`Listener`] hears.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenEvent {
    /// A `NOTIFY`.
    Notification {
        /// The channel.
        channel: String,
        /// The text given to `NOTIFY`, empty if there was none.
        payload: String,
    },
    /// From here on nothing is missed, but what was sent before may have been: read the state anew.
    ///
    /// The first event of every listener, and the first after every gap: a lost connection, or a reader that was too slow.
    Resync,
}

/// Listens to channels, for as long as it is held; reconnects by itself. Ends when the pool is closed.
///
/// It has a connection of its own, beside the pool's slots, to `listen_url` or else `url`; before that another one, closed at once, finds
/// out whether it leads to a server. Each connect has `connection_timeout`, a heartbeat goes out every 5 s and is given 5 s, and between
/// failed connects there are pauses from 100 ms up to a minute. When it is lost, or a heartbeat fails, the pool tests one of its idle
/// connections too, so that it knows of a lost database before its users do.
///
/// # Example
///
/// ```
/// # mod example {
/// use pool_sqlx::{Error, ListenEvent, PgPool};
///
/// async fn watch(pool: &PgPool) -> Result<(), Error> {
///     let mut listener = pool.listen(["tracks"])?;
///     while let Some(event) = listener.next().await {
///         match event {
///             ListenEvent::Resync => { /* read everything */ }
///             ListenEvent::Notification { payload, .. } => { /* read what it names */ }
///             _ => {}
///         }
///     }
///     Ok(()) // the pool was closed
/// }
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it listens for as long as it is held"]
pub struct Listener {
    events: mpsc::Receiver<ListenEvent>,
    task: JoinHandle<()>,
}

impl Listener {
    /// The next event; `None` once the pool is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ListenEvent> {
        self.events.recv().await
    }
}

impl Stream for Listener {
    type Item = ListenEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ListenEvent>> {
        self.events.poll_recv(cx)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<Key> Pool<Postgres, Key> {
    /// Listens to these channels. Returns at once; the connection is opened in the background.
    ///
    /// # Errors
    ///
    /// Behind a pooler without a `listen_url`, or if that is no url of PostgreSQL or one that is known for a pooler of transactions. That it
    /// is one all the same is found out by each connect, and logged: then nothing is heard, a `Resync` neither.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn listen(&self, channels: impl IntoIterator<Item = impl Into<String>>) -> Result<Listener, Error> {
        let (sender, events) = mpsc::channel(WAITING);
        let listening = Listening {
            options: self.core().manager().aside("notifications belong to a session")?,
            channels: channels.into_iter().map(Into::into).collect(),
            events: sender,
            gap: true,
        };
        let (closing, pool) = (self.core().manager().closing.subscribe(), self.clone().keyed());
        Ok(Listener { events, task: tokio::spawn(listening.run(pool, closing)) })
    }
}

/// The task behind a [`Listener`].
struct Listening {
    options: Options<Postgres>,
    channels: Vec<String>,
    events: mpsc::Sender<ListenEvent>,
    /// Something may have been missed that nobody was told of yet.
    gap: bool,
}

impl Listening {
    async fn run(mut self, pool: Pool<Postgres>, mut closing: watch::Receiver<bool>) {
        let mut failures = 0;
        let forever = async {
            loop {
                let limit = pool.settings().connection_timeout;
                let lost = match timeout(limit, self.connect(&pool)).await {
                    Ok(Ok(listener)) => self.serve(listener, &pool, &mut failures).await,
                    Ok(Err(error)) => format!("cannot connect: {error}"),
                    Err(_) => format!("no connection within connection_timeout = {limit:?}"),
                };
                self.gap = true;
                let pause = pause(FIRST_PAUSE, LONGEST_PAUSE, failures, dice());
                failures += 1;
                let name = &pool.core().manager().settings().pool.name;
                tracing::warn!(target: "pool", "pool {name}: not listening, next attempt in {pause:.1?}: {lost}");
                sleep(pause).await;
            }
        };
        // Dropping the sender ends the stream; it goes with `self`.
        tokio::select! {
            () = forever => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }

    async fn connect(&self, pool: &Pool<Postgres>) -> Result<PgListener, sqlx::Error> {
        // A pool of sqlx's own tries again and again, and says only that it did: so we look first who is there, and whether it keeps sessions.
        let _ = pool.core().manager().dial_aside(&self.options).await?.close().await;
        // sqlx takes notifications from a pool only. This one is nobody else's.
        let own = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let own = own.test_before_acquire(false).acquire_timeout(pool.settings().connection_timeout);
        let options = pool.core().manager().fresh(&self.options).await?;
        let mut listener = PgListener::connect_with(&own.connect_lazy_with(options)).await.map_err(explain)?;
        listener.ignore_pool_close_event(true);
        listener.eager_reconnect(false);
        listener.listen_all(self.channels.iter().map(String::as_str)).await?;
        Ok(listener)
    }

    /// Passes notifications on until the connection is lost, and says why.
    async fn serve(&mut self, mut listener: PgListener, pool: &Pool<Postgres>, failures: &mut u32) -> String {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.tell_gap();
        let lost = loop {
            tokio::select! {
                heard = listener.try_recv() => match heard {
                    Ok(Some(heard)) => self.tell(ListenEvent::Notification {
                        channel: heard.channel().to_owned(),
                        payload: heard.payload().to_owned(),
                    }),
                    Ok(None) => break "the connection was lost".to_owned(),
                    Err(error) => break format!("the connection was lost: {error}"),
                },
                _ = heartbeat.tick() => match timeout(HEARTBEAT, sqlx::query("SELECT 1").execute(&mut listener)).await {
                    Ok(Ok(_)) => self.tell_gap(),
                    Ok(Err(error)) => break format!("the heartbeat failed: {error}"),
                    Err(_) => break format!("no answer to the heartbeat within {HEARTBEAT:?}"),
                },
            }
            *failures = 0;
        };
        pool.heartbeat_failed();
        lost
    }

    fn tell(&mut self, event: ListenEvent) {
        self.tell_gap();
        // No room: whoever reads must read everything anew, so there is no use in keeping this one.
        if self.gap || self.events.try_send(event).is_err() {
            self.gap = true;
        }
    }

    /// Tells of a gap, if there is one and room to tell.
    fn tell_gap(&mut self) {
        if self.gap && self.events.try_send(ListenEvent::Resync).is_ok() {
            self.gap = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatabaseSettings, backend::Dial};

    #[test]
    fn a_reader_that_is_too_slow_is_told_of_the_gap_when_there_is_room() {
        let (events, mut heard) = mpsc::channel(2);
        let settings = DatabaseSettings::new("postgres://db/app").expect("a url");
        let options = Postgres::configure(&settings, None).expect("options");
        let mut listening = Listening { options, channels: Vec::new(), events, gap: false };
        let note = |payload: &str| ListenEvent::Notification { channel: "c".into(), payload: payload.into() };
        ["1", "2", "lost"].into_iter().for_each(|payload| listening.tell(note(payload)));
        assert_eq!([heard.try_recv(), heard.try_recv()], [Ok(note("1")), Ok(note("2"))]);
        listening.tell(note("4"));
        assert_eq!([heard.try_recv(), heard.try_recv()], [Ok(ListenEvent::Resync), Ok(note("4"))]);
    }
}
