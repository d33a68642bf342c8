//! A page that shows pools live, and the same numbers as JSON: one self-contained HTML file, off unless mounted.

mod events;
mod history;
mod json;
#[cfg_attr(not(any(feature = "axum", feature = "actix")), allow(dead_code, unused_imports))]
mod web;

use crate::{Event, Watchable, Watched, observe::lock};
use events::Events;
use history::{History, SECOND};
use std::{
    fmt,
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Instant, SystemTime},
};

/// A page that shows each pool live: utilisation, waits, who holds connections, what happened, why callers were turned away.
///
/// It has two addresses: the page itself, and `status.json` beside it. Nothing in either is secret (no user, no password, no URL; of a
/// database's error the code, and not its words), but who holds what is nobody else's business: mount it where only you come, see the book's guide.
///
/// From the moment it is made, it notes what happens, and a thread of its own looks at the numbers once a second, so that the page has the
/// last five minutes to show whenever it is opened. Make one for a service and clone it. When the last clone is dropped, the thread ends and
/// what was noted is freed; an observer that does nothing stays with each pool, so do not make pages by the thousand.
///
/// # Example
///
/// ```
/// # #[cfg(all(feature = "axum", feature = "sqlite"))]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pool_sqlx::{DatabaseSettings, SqlitePool, StatusPage};
///
/// let pool = SqlitePool::connect(DatabaseSettings::new("sqlite::memory:")?).await?;
/// let app: axum::Router = axum::Router::new().merge(StatusPage::of(&pool).axum("/pool"));
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "axum", feature = "sqlite")))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct StatusPage {
    inner: Arc<Inner>,
}

impl StatusPage {
    /// The page of these pools: of one, or of all that `#[derive(Pools)]` keeps together.
    pub fn of(pools: &(impl Watchable + ?Sized)) -> Self {
        let pools: Vec<_> = pools.watched().into_iter().map(Pool::new).collect();
        let history = Mutex::new(History::new(&pools, Instant::now()));
        let (stop, stopped) = mpsc::channel();
        let inner = Arc::new(Inner { pools, since: SystemTime::now(), history, _stop: stop });
        let weak = Arc::downgrade(&inner);
        let looking = thread::Builder::new().name("pool-status".into()).spawn(move || {
            // Ends when the page, and so the sender, is dropped.
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(SECOND) {
                let Some(inner) = weak.upgrade() else { return };
                lock(&inner.history).look(&inner.pools, Instant::now());
            }
        });
        if let Err(error) = looking {
            tracing::warn!(target: "pool", "the status page has no history: cannot start a thread: {error}");
        }
        Self { inner }
    }

    /// The numbers of all pools at this moment, as the book's reference describes them: what `status.json` answers. The query is the
    /// request's, empty if it has none; with `since=0` the document has the last minutes, too.
    pub fn json(&self, query: &str) -> String {
        let since = query.split('&').find_map(|pair| pair.strip_prefix("since="));
        self.inner.json(since.and_then(|number| number.parse().ok()))
    }

    /// The page itself, which asks for `status.json` beside its own address. For frameworks that are not named below.
    pub const HTML: &'static str = include_str!("page.html");

    /// What either answer must carry.
    ///
    /// The page runs its own script and style, known by their hashes, and speaks to its own host; it is in nobody's frame, and nothing of
    /// it is kept.
    pub const HEADERS: [(&'static str, &'static str); 4] = [
        (
            "content-security-policy",
            "default-src 'none'; \
             script-src 'sha256-UUBzKXFSKqFJNkH/WYcO+xZcg2fkZ4YsWSkethh7CsM='; \
             style-src 'sha256-XUGqC6UtGj8leilRFi/S5Sji9Ks6Oocvxz8x5CwM46U='; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
        ),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ];
}

/// The pools' names and numbers.
impl fmt::Debug for StatusPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.inner.pools.iter().map(|pool| &pool.watched)).finish()
    }
}

struct Inner {
    pools: Vec<Pool>,
    since: SystemTime,
    history: Mutex<History>,
    // Nothing is ever sent: the other end hears when this one is gone.
    _stop: mpsc::Sender<()>,
}

struct Pool {
    watched: Watched,
    events: Arc<Mutex<Events>>,
}

impl Pool {
    fn new(watched: Watched) -> Self {
        let events = Arc::<Mutex<Events>>::default();
        // The pool keeps its observers for good, and this one must not keep what a dropped page has noted.
        let (noted, tally) = (Arc::downgrade(&events), Arc::downgrade(watched.tally()));
        watched.observe(move |event: &Event| {
            if let (Some(noted), Some(tally)) = (noted.upgrade(), tally.upgrade()) {
                lock(&noted).note(event, SystemTime::now(), |words| tally.shown(words));
            }
        });
        Self { watched, events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatabaseSettings, SqlitePool};
    use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
    use sha2::{Digest, Sha256};

    fn page() -> StatusPage {
        let settings = DatabaseSettings::new("sqlite::memory:").expect("a good url");
        StatusPage::of(&SqlitePool::connect_lazy(settings).expect("good settings"))
    }

    #[test]
    fn the_policy_allows_the_pages_own_script_and_style_and_no_other() {
        let policy = StatusPage::HEADERS[0].1;
        for (tag, directive) in [("script", "script-src"), ("style", "style-src")] {
            let (_, rest) = StatusPage::HTML.split_once(&format!("<{tag}>")).unwrap();
            let (text, after) = rest.split_once(&format!("</{tag}>")).unwrap();
            assert!(!after.contains(&format!("<{tag}")), "one {tag} only");
            let expected =
                format!("{directive} 'sha256-{}';", BASE64.encode(Sha256::digest(text.replace("\r\n", "\n"))));
            assert!(policy.contains(&expected), "the {tag} has changed: its hash in HEADERS must be {expected}");
        }
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    }

    #[test]
    fn the_page_speaks_of_no_other_host() {
        // The name of a vocabulary, not an address.
        let text = StatusPage::HTML.replace("'http://www.w3.org/2000/svg'", "");
        for foreign in ["http:", "https:", "//www", "src=", "@import", "url("] {
            assert!(!text.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn nothing_keeps_the_pools_when_the_page_is_gone() {
        let page = page();
        let inner = Arc::downgrade(&page.inner);
        let clone = page.clone();
        drop(page);
        assert!(inner.upgrade().is_some());
        drop(clone);
        // The thread may hold it for the moment of a look.
        while inner.upgrade().is_some() {
            thread::yield_now();
        }
    }

    #[test]
    fn what_a_dropped_page_has_noted_is_freed_while_the_pool_lives_on() {
        let settings = DatabaseSettings::new("sqlite::memory:").expect("a good url");
        let pool = SqlitePool::connect_lazy(settings).expect("good settings");
        let page = StatusPage::of(&pool);
        let noted = Arc::downgrade(&page.inner.pools[0].events);
        drop(page);
        let begun = Instant::now();
        while noted.upgrade().is_some() {
            assert!(begun.elapsed() < SECOND * 10, "the pool's observer keeps it");
            thread::yield_now();
        }
        drop(pool);
    }
}
