//! The status page as people see it: in a real browser, beside a service whose pool is full.
//!
//! `UPDATE_BOOK=1 cargo test -p tests --test status_page` also takes the book's picture, which needs some minutes of history.
#![allow(clippy::unwrap_used)]

mod browser;
mod told;
mod tracks;

use axum::{Router, routing::get};
use browser::Tab;
use pool_sqlx::{
    Conn, DatabaseSettings, Error, MySqlPool, PgPool, Secret, SqliteConn, SqlitePool, StatusPage, Watchable, Watched,
    pooled,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    time::Duration,
};
use tests::{Mode, Postgres, Proxy};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
    task::JoinSet,
};

/// Keeps its connection until it is told.
#[pooled]
async fn keep(conn: &mut SqliteConn, until: &Notify) -> Result<(), Error> {
    sqlx::query("select 1").execute(conn).await?;
    until.notified().await;
    Ok(())
}

#[pooled]
async fn hurried(conn: &mut SqliteConn) -> Result<(), Error> {
    sqlx::query("select 1").execute(conn).await?;
    Ok(())
}

fn settings(name: &str) -> DatabaseSettings {
    let settings = DatabaseSettings::new("sqlite::memory:").unwrap().with_name(name);
    settings.with_pool_size(2).with_max_overflow(1).with_pool_timeout(Duration::from_secs(30))
}

/// Serves a page at `/admin/pool` until it is dropped.
struct Service {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Service {
    async fn start(page: &StatusPage) -> Self {
        Self::start_at(page, "127.0.0.1:0".parse().unwrap()).await
    }

    async fn start_at(page: &StatusPage, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app: Router =
            Router::new().nest("/admin", Router::new().merge(page.axum("/pool")).route("/", get(|| async {})));
        Self { address, task: tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits in real time, for what happens on other threads.
async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_a_pool_that_fills_up_and_calms_down() {
    let pool = SqlitePool::connect(settings("tracks")).await.unwrap();
    let service = Service::start(&StatusPage::of(&pool)).await;
    let mut tab = Tab::open();
    tab.screen(1200, "light");
    tab.go(&service.url("/admin/pool/"));
    tab.until("document.querySelector('.state').textContent == '✓ Calm'");
    assert_eq!(tab.text("h2"), "tracks");

    let released = std::sync::Arc::new(Notify::new());
    let mut keepers = JoinSet::new();
    for _ in 0..3 {
        let (pool, released) = (pool.clone(), released.clone());
        keepers.spawn(async move { keep(pool, &released).await.unwrap() });
    }
    until(|| pool.status().in_use == 3).await;
    let waiting = tokio::spawn(hurried(pool.clone()));
    until(|| pool.status().waiting == 1).await;
    pool.acquire_timeout(Duration::ZERO).await.unwrap_err();

    tab.until("document.querySelector('.state').textContent == '✕ Full'");
    tab.until("document.querySelectorAll('.lost').length == 1");
    let page = tab.text("article");
    for shown in [
        "All 3 connections are taken. 1 caller waits for one",
        "In the last minute 1 caller was turned away.",
        "150 %\nutilisation: 3 of 2 in use",
        "1\nturned away, last minute",
        "80 %: time to look",
        "150 %: the limit, 3 connections",
        "every connection was in use until their time ran out",
        "all are taken (limit of size 2 overflow 1 reached, in use 3 of 3, idle 0, waiting",
        "a connection was opened",
        "Database: fine",
    ] {
        assert!(page.contains(shown), "{shown:?} is not in\n{page}");
    }
    // Who holds them: the handler by name and line.
    let holder = tab.js("document.querySelector('section:has(> h3) table tbody tr')?.innerText");
    assert!(holder.as_str().unwrap().starts_with("status_page::keep\n"), "{holder}");
    assert!(holder.as_str().unwrap().contains("tests/status_page/main.rs:") && page.contains("3\t"), "{holder}");

    // The curve has a point for each second, the line is where 80 % is, and both can be heard as well as seen.
    tab.until("document.querySelector('.curve').points.numberOfItems > 3");
    let [line, zero, whole] = ["0.8", "0 %", "100 %"].map(|what| {
        let label = format!(
            "[...document.querySelectorAll('svg text')].find(t => t.textContent == '{what}').getAttribute('y') - 4"
        );
        let line = "Number(document.querySelector('line.limit').getAttribute('y1'))".to_owned();
        tab.js(if what == "0.8" { &line } else { &label }).as_f64().unwrap()
    });
    assert!((line - (zero - 0.8 * (zero - whole))).abs() < 0.01, "80 % is at {line}, 0 % at {zero}, 100 % at {whole}");
    let last =
        tab.js("(l => l.getItem(l.numberOfItems - 1).y)(document.querySelector('.curve').points)").as_f64().unwrap();
    assert!((last - (zero - 1.5 * (zero - whole))).abs() < 0.2, "150 % is drawn at {last}");
    let unspoken = "[...document.querySelectorAll('svg')].filter(s => s.getAttribute('role') != 'img' || !s.getAttribute('aria-label')).length";
    assert_eq!(tab.js(unspoken), 0);
    assert_eq!(tab.js("document.title"), "✕ Full: tracks · connection pools");

    released.notify_waiters();
    keepers.join_all().await;
    waiting.await.unwrap().unwrap();
    tab.until("document.querySelector('.state').textContent == '✕ Turning callers away'");
    tab.until("document.querySelector('article').innerText.includes('Nobody: every connection is free.')");
    assert_eq!(tab.complaints(), [""; 0]);
    let elsewhere: Vec<_> =
        tab.requests().into_iter().filter(|url| !url.starts_with(&service.url("/admin/pool/"))).collect();
    assert_eq!(elsewhere, [""; 0], "the page asks nobody else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_markup_are_shown_as_text_on_a_narrow_screen_in_light_and_dark() {
    let hostile = "<img src=x onerror=alert(1)>";
    let long = "a_name_without_an_end_".repeat(6);
    let names = [hostile, "</script><script>alert(2)</script>", "\"'&amp;{{7*7}}", &long];
    let pools: Vec<_> = (0..20)
        .map(|i| {
            let name = names.get(i).map_or(format!("shard {i}"), |name| (*name).to_owned());
            SqlitePool::connect_lazy(settings(&name)).unwrap()
        })
        .collect();
    // An error with markup, too: it becomes an event and the reason of a refusal.
    let refused = format!("sqlite:///nowhere/{hostile}/x.db");
    let lost = SqlitePool::connect_lazy(DatabaseSettings::new(&refused).unwrap().with_name(hostile)).unwrap();
    lost.acquire_timeout(Duration::from_millis(200)).await.unwrap_err();
    let watched: Vec<Watched> = pools.iter().chain([&lost]).flat_map(Watchable::watched).collect();
    let service = Service::start(&StatusPage::of(&watched)).await;
    lost.acquire_timeout(Duration::from_millis(200)).await.unwrap_err();

    let mut tab = Tab::open();
    for scheme in ["light", "dark"] {
        tab.screen(360, scheme);
        // Without the slash, too, the page finds its numbers.
        tab.go(&service.url("/admin/pool"));
        tab.until("document.querySelectorAll('article').length == 21");
        tab.js("document.querySelectorAll('details').forEach(d => d.open = true)");
        let shown = tab.js("[...document.querySelectorAll('h2')].slice(0, 4).map(h => h.textContent)");
        assert_eq!(shown, Value::from_iter(names));
        assert_eq!(
            tab.js("document.images.length + document.scripts.length + document.links.length"),
            1 + 21,
            "one script, the list's links"
        );
        assert_eq!(tab.js("document.querySelectorAll('nav a').length"), 21);
        tab.until("document.querySelectorAll('article')[20].innerText.includes('<img src=x')");
        let width = tab.js("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)");
        let widest = tab.js("[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 361).map(e => e.outerHTML.slice(0, 200)).slice(0, 5)");
        assert_eq!((width, widest), (360.into(), Value::Array(vec![])), "{scheme}: something is wider than the screen");
        let (contrast, what) = least_contrast(&mut tab);
        assert!(contrast >= 4.5, "{scheme}: {what} has a contrast of {contrast}, and 4.5 is needed to read it");
        let brightness = tab.js(
            "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).reduce((sum, part) => sum + +part, 0)",
        );
        assert_eq!(brightness.as_f64().unwrap() < 380.0, scheme == "dark", "{scheme}: {brightness}");
    }
    assert_eq!(tab.complaints(), [""; 0]);
}

/// The element whose text is the hardest to read, by the formula of WCAG 2.
fn least_contrast(tab: &mut Tab) -> (f64, String) {
    let worst = tab.js(
        "(() => {
        const rgb = text => text.match(/[0-9.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const opacity = e => e ? getComputedStyle(e).opacity * opacity(e.parentElement) : 1;
        const back = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } };
        let worst = [99, ''];
        for (const e of document.querySelectorAll('body *')) {
            if (![...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()) || !e.getClientRects().length) continue;
            const style = getComputedStyle(e), ground = back(e), share = opacity(e);
            const seen = rgb(e instanceof SVGElement ? style.fill : style.color).map((c, i) => c * share + ground[i] * (1 - share));
            const [a, b] = [light(seen.slice(0, 3)), light(ground)].sort((a, b) => b - a);
            const contrast = (a + 0.05) / (b + 0.05);
            if (contrast < worst[0]) worst = [contrast, e.outerHTML.slice(0, 200)];
        }
        return worst;
        })()",
    );
    (worst[0].as_f64().unwrap(), worst[1].to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_when_the_service_is_silent_and_goes_on_when_it_is_back() {
    let pool = SqlitePool::connect(settings("tracks")).await.unwrap();
    let page = StatusPage::of(&pool);
    let service = Service::start(&page).await;
    let address = service.address;
    let mut tab = Tab::open();
    tab.go(&service.url("/admin/pool/"));
    tab.until("document.querySelector('.curve')");
    assert_eq!(tab.text("#alarm"), "");

    // The connection that the tab keeps open ends with the service's runtime, so it is cut on the tab's side.
    drop(service);
    tab.call("Network.emulateNetworkConditions", offline(true));
    tab.until(
        "document.querySelector('#alarm').innerText.startsWith('The service does not answer. Its last answer was at ')",
    );
    assert_eq!(tab.js("document.title"), "✕ No answer: tracks · connection pools");
    let age = tab.text("#age");
    assert!(age.contains("it cannot be reached. What you see below is ") && age.contains(" s old."), "{age}");
    // Who listens hears the first once, and the second not at all: it changes each second.
    assert_eq!(tab.js("document.querySelector('#alarm').getAttribute('role')"), "alert");
    assert_eq!(tab.js("document.querySelector('#age').closest('[role], [aria-live]')"), Value::Null);
    tab.js("window.spoken = 0; new MutationObserver(() => spoken++).observe(document.querySelector('#alarm'), { subtree: true, childList: true, characterData: true, attributes: true })");
    tab.js(&format!("window.before = {}", json!(age)));
    tab.until("document.querySelector('#age').innerText != before");
    assert_eq!(tab.js("spoken"), 0, "the alert was written anew");
    let (contrast, what) = least_contrast(&mut tab);
    assert!(contrast >= 4.5, "what is old can still be read: {what} has a contrast of {contrast}");

    // Another process, whose looks have other numbers, and which has a pool more.
    let other = SqlitePool::connect(settings("other")).await.unwrap();
    let page = StatusPage::of(&[pool.clone(), other.clone()][..]);
    let _service = Service::start_at(&page, address).await;
    tab.call("Network.emulateNetworkConditions", offline(false));
    tab.until(
        "document.querySelector('#silence').innerText.trim() == '' && document.querySelectorAll('article').length == 2",
    );
    tab.until("document.title == '✓ Calm: tracks · connection pools'");
    assert_eq!(tab.js("document.querySelector('#say').textContent"), "The service answers again.");
    tab.until("document.querySelectorAll('.curve').length == 4 || document.querySelectorAll('.curve').length == 2");

    // Who came to a link by keyboard stays there while its row changes.
    tab.js("document.querySelectorAll('nav a')[1].focus()");
    let _held = other.acquire().await.unwrap();
    tab.until("document.querySelectorAll('nav tbody tr')[1].cells[1].textContent != '0 %'");
    assert_eq!(tab.js("document.activeElement.textContent"), "other");
    let thrown: Vec<_> = tab.complaints().into_iter().filter(|text| !text.contains("net::ERR_")).collect();
    assert_eq!(thrown, [""; 0]);
}

fn offline(offline: bool) -> Value {
    json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_nobody_sees_asks_nothing_and_catches_up_when_it_is_seen() {
    let pool = SqlitePool::connect(settings("tracks")).await.unwrap();
    let page = StatusPage::of(&pool);
    let service = Service::start(&page).await;
    let mut tab = Tab::open();
    tab.go(&service.url("/admin/pool/"));
    tab.until("document.querySelector('.curve')");
    tab.js(&be_hidden(true));
    // What was asked before is answered.
    tab.until("asking === false");
    assert_eq!(tab.js("document.title"), "tracks · connection pools", "a state that may be over by now");
    let (asked, before) = (tab.requests().len(), tab.js("next"));
    // Ten seconds of the tab's time, which need not be ours; after a little more it stands still.
    tab.js("setTimeout(() => document.body.dataset.waited = 'yes', 10000)");
    let ahead = json!({ "policy": "pauseIfNetworkFetchesPending", "budget": 11000 });
    tab.call("Emulation.setVirtualTimePolicy", ahead);
    tab.until("document.body.dataset.waited == 'yes'");
    assert_eq!(tab.requests().len(), asked, "{:?}", tab.requests());
    tab.js(&be_hidden(false));
    until(|| tab.requests().len() > asked).await;
    assert!(tab.requests()[asked].ends_with(&format!("since={before}")), "{:?}", tab.requests());
}

/// Has the page believe that it is seen or not.
fn be_hidden(hidden: bool) -> String {
    format!(
        "Object.defineProperty(document, 'hidden', {{ configurable: true, value: {hidden} }}); document.dispatchEvent(new Event('visibilitychange'))"
    )
}

/// Every path of the document, such as `pools[].connections.open`, with the types of what is there.
fn paths(value: &Value, path: &str, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        // Their keys are names, not words of the schema.
        Value::Object(fields) if path.ends_with("by_verdict") || path.ends_with("by_type") => {
            return fields.values().for_each(|field| paths(field, &format!("{path}.*"), found));
        }
        Value::Object(fields) if fields.contains_key("p95") => "distribution",
        Value::Object(fields) => {
            let dot = if path.is_empty() { "" } else { "." };
            return fields.iter().for_each(|(name, field)| paths(field, &format!("{path}{dot}{name}"), found));
        }
        Value::Array(items) => return items.iter().for_each(|item| paths(item, &format!("{path}[]"), found)),
        Value::String(_) => "text",
        Value::Number(_) => "number",
        Value::Bool(_) => "true or false",
        Value::Null => "null",
    };
    found.entry(path.to_owned()).or_default().insert(kind);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_describes_the_document_and_nothing_else() {
    // A pool of which there is something to say under every heading.
    let lame = settings("lame").with_pool_timeout(Duration::from_secs(2));
    let pool = SqlitePool::connect(lame.with_statement_timeout(None)).await.unwrap();
    let page = StatusPage::of(&pool);
    drop(pool.acquire().await.unwrap());
    let lost = PgPool::connect_lazy(DatabaseSettings::new("postgres://app@127.0.0.1:1/app").unwrap()).unwrap();
    let lost_page = StatusPage::of(&lost);
    lost.acquire_timeout(Duration::from_secs(1)).await.unwrap_err();
    let _held: Vec<Conn<_>> =
        [pool.acquire().await, pool.acquire().await, pool.acquire().await].map(Result::unwrap).into();
    pool.acquire().await.unwrap_err();
    let document = |page: &StatusPage| serde_json::from_str::<Value>(&page.json("since=0")).unwrap();
    until(|| document(&page)["history"]["seconds_ago"].as_array().is_some_and(|looks| !looks.is_empty())).await;
    until(|| document(&page)["pools"][0]["events"].as_array().is_some_and(|events| !events.is_empty())).await;
    let mut found = BTreeMap::new();
    paths(&document(&page), "", &mut found);
    paths(&document(&lost_page), "", &mut found);

    let reference = fs::read_to_string(in_repository("book/src/reference/status-json.md")).unwrap();
    let rows = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | ")?.into());
    let described: BTreeMap<&str, &str> = rows
        .filter(|(path, _)| !path.starts_with('*'))
        .map(|(path, rest)| (path, rest.split_once(" |").expect("a row has three columns").0))
        .collect();
    let mut wrong: Vec<_> = described
        .keys()
        .filter(|path| !found.contains_key(**path))
        .map(|path| format!("{path} is not in the document"))
        .collect();
    for (path, kinds) in &found {
        let said = described.get(path.as_str()).copied().unwrap_or("not described");
        let allowed = |kind: &str| {
            said == kind || said.strip_suffix(" or null").is_some_and(|said| said == kind || kind == "null")
        };
        if !kinds.iter().all(|kind| allowed(kind)) {
            wrong.push(format!("{path} is {kinds:?}, the book says: {said}"));
        }
    }
    assert_eq!(wrong, [""; 0], "book/src/reference/status-json.md");
    let waits = &document(&page)["pools"][0]["total"]["wait_seconds"];
    let parts: Vec<_> = waits.as_object().unwrap().keys().collect();
    assert!(parts.iter().all(|part| reference.contains(&format!("| `*.{part}` |"))) && parts.len() == 6, "{parts:?}");
    assert_eq!(document(&page)["schema"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_password_nor_user_nor_url_is_in_the_document() {
    let cluster = Postgres::shared();
    let url = cluster.url("postgres").replace("postgres://postgres@", "postgres://mata:hari@");
    assert!(url.contains("mata:hari"), "{url}");
    let pool = PgPool::connect_lazy(DatabaseSettings::new(&url).unwrap().with_name("spies")).unwrap();
    let page = StatusPage::of(&pool);
    let refused = pool.acquire_timeout(Duration::from_secs(10)).await.unwrap_err().to_string();
    assert!(refused.contains("mata"), "the server quotes the name: {refused}");
    until(|| page.json("").contains("connect_failed")).await;
    let document = page.json("since=0");
    assert_eq!(document.matches("the server does not let us in (28000)").count(), 2, "event and refusal: {document}");
    for secret in ["mata", "hari", "postgres://"] {
        assert!(!document.contains(secret), "{secret} is in {document}");
    }
}

/// A server that says this to everybody who has said something, or at once, and hangs up.
async fn says(answer: Vec<u8>, listens_first: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut heard = [0; 1024];
            if listens_first && socket.read(&mut heard).await.is_err() {
                continue;
            }
            let _ = socket.write_all(&answer).await;
            let _ = socket.shutdown().await;
            // Until the other side has hung up, too: what it says would be answered by a reset.
            while matches!(socket.read(&mut heard).await, Ok(1..)) {}
        }
    });
    address
}

/// An error of PostgreSQL, in whichever language.
fn by_postgresql(code: &str, text: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap();
    [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat()
}

/// An error of MariaDB, in the place of its greeting.
fn by_mariadb(number: u16, text: &str) -> Vec<u8> {
    let body = [&[0xff][..], &number.to_le_bytes(), b"#42000", text.as_bytes()].concat();
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&length[..3], &[0], &body].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_named_by_an_error_in_whichever_words_is_not_in_the_document() {
    let lame = |url: &str| {
        let settings = DatabaseSettings::new(url).unwrap().with_pool_timeout(Duration::from_secs(2));
        settings.with_pool_size(1).with_max_overflow(0)
    };
    let german = r#"Passwort-Authentifizierung für Benutzer »mata« fehlgeschlagen"#;
    for (code, text, shown) in [
        ("28P01", german, "the server does not let us in (28P01)"),
        ("28000", "Rolle »mata« existiert nicht", "the server does not let us in (28000)"),
        (
            "53300",
            "trop de connexions pour le rôle « mata »",
            "the server has no room for another connection of ours (53300)",
        ),
        ("XX000", "USER=mata", "the server ended the connection (XX000)"),
    ] {
        let address = says(by_postgresql(code, text), true).await;
        let pool = PgPool::connect_lazy(lame(&format!("postgres://mata:hari@{address}/app?sslmode=disable"))).unwrap();
        check(&pool, StatusPage::of(&pool), text, shown).await;
    }
    for (number, text) in [
        (1226, "User 'mata' has exceeded the 'max_user_connections' resource (current value: 1)"),
        (1203, "User mata already has more than 'max_user_connections' active connections"),
    ] {
        let address = says(by_mariadb(number, text), false).await;
        let pool =
            MySqlPool::connect_lazy(lame(&format!("mysql://mata:hari@{address}/app?ssl-mode=disabled"))).unwrap();
        let shown = format!("the server has no room for another connection of ours ({number})");
        check(&pool, StatusPage::of(&pool), text, &shown).await;
    }
    let vault = "GET https://vault.example/v1?token=hari failed; fallback Postgres://mata:hari@db/app";
    let settings = lame("postgres://app@127.0.0.1:1/app").with_before_connect(move || async move {
        Err::<Secret, Box<dyn std::error::Error + Send + Sync>>(vault.into())
    });
    let pool = PgPool::connect_lazy(settings).unwrap();
    let said = "before_connect failed: GET https://vault.example/v1?… failed; fallback Postgres://…@db/app";
    check(&pool, StatusPage::of(&pool), said, "before_connect failed; the log says how").await;

    /// The error, which is for the log, has the words, and the document what may be shown, in an event and in a refusal.
    async fn check<DB: pool_sqlx::Backend>(pool: &pool_sqlx::Pool<DB>, page: StatusPage, words: &str, shown: &str) {
        let refused = pool.acquire().await.unwrap_err().to_string();
        assert!(refused.contains(words), "{words:?} is not in {refused}");
        assert!(!refused.contains("hari"), "{refused}");
        until(|| page.json("").contains("connect_failed")).await;
        let document = page.json("since=0");
        assert_eq!(document.matches(shown).count(), 2, "{shown:?} is not twice in {document}");
        for secret in ["mata", "hari", "vault"] {
            assert!(!document.contains(secret), "{secret} is in {document}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_is_not_called_fine() {
    let database = Postgres::shared().database().unwrap();
    let proxy = Proxy::start(&database.url()).unwrap();
    let settings = |url: &str| DatabaseSettings::new(url).unwrap().with_pool_timeout(Duration::from_secs(2));
    // One that never got a connection, and one that has one open, which serves on.
    let without = PgPool::connect_lazy(settings("postgres://app@127.0.0.1:1/app").with_name("without")).unwrap();
    let with = PgPool::connect_lazy(settings(&proxy.url(&database.url())).with_name("with")).unwrap();
    let held = with.acquire().await.unwrap();
    let watched = [without.watched(), with.watched()].concat();
    let page = StatusPage::of(&watched);
    let failures = |page: &StatusPage| {
        let document: Value = serde_json::from_str(&page.json("")).unwrap();
        [0, 1].map(|i| document["pools"][i]["connect_failures_in_a_row"].as_u64().unwrap())
    };
    assert_eq!(failures(&page), [0, 0]);
    proxy.set(Mode::Refuse);
    for pool in [&without, &with] {
        pool.acquire().await.unwrap_err();
        pool.acquire().await.unwrap_err();
    }
    let failed = failures(&page);
    assert!(failed[0] >= 2 && failed[1] >= 2, "{failed:?}");

    let service = Service::start(&page).await;
    let mut tab = Tab::open();
    tab.go(&service.url("/admin/pool/"));
    tab.until("document.querySelectorAll('article .state').length == 2");
    let each = |tab: &mut Tab, what: &str| {
        tab.js(&format!("[...document.querySelectorAll('article {what}')].map(e => e.textContent)"))
    };
    assert_eq!(each(&mut tab, ".state"), json!(["✕ Cannot connect", "✕ Cannot connect"]));
    assert_eq!(
        each(&mut tab, "header > .small:not(.soft)"),
        json!(["Database: cannot connect", "Database: cannot connect"])
    );
    let sentences = each(&mut tab, ".sentence");
    let sentence = |i: usize| sentences[i].as_str().unwrap();
    for (i, parts) in [
        (0, ["attempts to open a connection failed", "None is open.", "2 callers were turned away"]),
        (
            1,
            [
                "attempts to open a connection failed",
                "1 connection is open and may still serve.",
                "2 callers were turned away",
            ],
        ),
    ] {
        assert!(parts.iter().all(|part| sentence(i).contains(part)), "{}", sentence(i));
    }
    assert!(
        sentence(0).contains("a connection could not be opened: error communicating with database: "),
        "{}",
        sentence(0)
    );

    proxy.set(Mode::Pass);
    drop(with.acquire().await.unwrap());
    assert_eq!(failures(&page)[1], 0);
    tab.until("document.querySelectorAll('article header > .small')[2].textContent == 'Database: fine'");
    assert_eq!(tab.complaints(), [""; 0]);
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_picture_in_the_book_is_one_of_the_page() {
    let path = in_repository("book/src/images/status-page.webp");
    if std::env::var_os("UPDATE_BOOK").is_some() {
        let pool = SqlitePool::connect(tracks::settings()).await.unwrap();
        let service = Service::start(&StatusPage::of(&pool)).await;
        let _clients = tracks::clients(&pool).await;
        let mut tab = Tab::open();
        tab.screen(1080, "light");
        tab.go(&service.url("/admin/pool/"));
        tab.until("document.querySelector('.state').textContent == '✕ Full'");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, tab.picture()).unwrap();
    }
    let picture = fs::read(&path).expect("UPDATE_BOOK=1 cargo test -p tests --test status_page takes it");
    assert!(picture[8..12] == *b"WEBP" && picture.len() < 200_000, "{} bytes", picture.len());
}

fn in_repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
