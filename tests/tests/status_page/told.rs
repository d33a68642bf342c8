//! What the page tells of pools that are not as usual, to those who look and to those who listen.

use crate::{Service, Tab, be_hidden, hurried, until};
use pool_sqlx::{DatabaseSettings, SqlitePool, StatusPage, Watchable, Watched};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::task::JoinSet;

fn settings(name: &str, pool_size: u32, max_overflow: u32) -> DatabaseSettings {
    let settings = DatabaseSettings::new("sqlite::memory:").unwrap().with_name(name);
    settings.with_pool_size(pool_size).with_max_overflow(max_overflow).with_pool_timeout(Duration::from_secs(1))
}

/// What each tile of a pool shows, under the words that its note has.
fn tile(tab: &mut Tab, words: &str) -> (String, String) {
    let tile = tab.js(&format!(
        "[...document.querySelectorAll('.tile')].filter(t => t.innerText.includes({words:?})).map(t => [t.children[0].textContent, t.children[1].textContent])"
    ));
    assert_eq!(tile.as_array().map(Vec::len), Some(1), "{words:?}: {tile}\n{}", tab.text("article"));
    [0, 1].map(|i| tile[0][i].as_str().unwrap().to_owned()).into()
}

/// The points of a pool's curve, from left to right as they were drawn: 0 is utilisation, 1 is waits.
const POINTS: &str = "(i => [...document.querySelectorAll('section svg')[i].querySelector('.curve').points])";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_starves_is_nowhere_said_to_serve() {
    let pool = SqlitePool::connect(settings("tracks", 1, 0)).await.unwrap();
    let page = StatusPage::of(&pool);
    for _ in 0..100 {
        drop(pool.acquire().await.unwrap());
    }
    let held = pool.acquire().await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let pool = pool.clone();
        callers.spawn(async move {
            loop {
                hurried(pool.clone()).await.unwrap_err();
            }
        });
    }
    until(|| pool.status().totals.timeouts >= 40).await;
    // One that loses patience before its time has run out.
    tokio::time::timeout(Duration::from_millis(20), pool.acquire()).await.unwrap_err();
    until(|| pool.status().waiting == 20).await;

    let service = Service::start(&page).await;
    let mut tab = Tab::open();
    tab.go(&service.url("/admin/pool/"));
    tab.until("document.querySelector('.state').textContent == '✕ Full'");

    let (waited, wait, failed) =
        (tile(&mut tab, "of callers had to wait"), tile(&mut tab, "95 of 100 callers"), tile(&mut tab, "turned away"));
    let number = |text: &str| text.trim_end_matches(" %").replace(',', "").parse::<u32>().unwrap();
    assert!(number(&waited.0) >= 35, "60 and more of 161 and more: {waited:?}");
    assert_eq!(wait.0, "never");
    assert!(wait.1.contains("were 95 of 100 callers served, last minute: only "), "{wait:?}");
    assert!(number(&failed.0) >= 40, "{failed:?}");
    assert_eq!(failed.1, "turned away, last minute: all because their time ran out; 1 more gave up");
    let article = tab.text("article");
    let (_, so_far) = article.split_once("So far ").unwrap_or_else(|| panic!("{article}"));
    let (waited, got_none) = so_far.split_once(" % of callers had to wait or got none; ").unwrap();
    assert!(number(waited) >= 35 && number(got_none.split_once(" %").unwrap().0) >= 25, "{article}");
    assert_eq!(tab.complaints(), [""; 0]);
    // First the callers, for one of them would get what is dropped.
    callers.shutdown().await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_keeps_none_is_told_by_its_limit() {
    let pool = SqlitePool::connect(settings("tracks", 0, 5)).await.unwrap();
    let unlimited = settings("no end", 0, 0).with_max_overflow(pool_sqlx::MaxOverflow::Unlimited);
    let unlimited = SqlitePool::connect(unlimited).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(pool.acquire().await.unwrap());
        held.push(unlimited.acquire().await.unwrap());
    }
    let watched: Vec<Watched> = [pool.watched(), unlimited.watched()].concat();
    let service = Service::start(&StatusPage::of(&watched)).await;
    let mut tab = Tab::open();
    tab.go(&service.url("/admin/pool/"));
    tab.until("document.querySelectorAll('.curve').length >= 2");
    for (article, shown) in [
        (
            "#pool-0",
            [
                "✓ Calm",
                "3 of at most 5 connections are in use, and nobody waits.",
                "60 %\nof the limit: 3 of at most 5 in use",
                "limit: 5, all of it overflow",
                "Connections in use, as a share of the limit, because pool_size is 0.",
                "100 %: the limit, 5 connections",
            ],
        ),
        (
            "#pool-1",
            [
                "✓ Calm",
                "3 connections are in use, and nobody waits.",
                "3\nin use; there is no limit",
                "limit: none, all of it overflow",
                "There is no limit that they could be a share of.",
                "at most 3 in use at once.",
            ],
        ),
    ] {
        let page = tab.text(article);
        for shown in shown {
            assert!(page.contains(shown), "{shown:?} is not in\n{page}");
        }
        assert!(!page.contains("300 %") && !page.contains("of 0"), "{page}");
    }
    let glance = tab.js("[...document.querySelectorAll('nav tbody tr')].map(tr => tr.cells[1].textContent)");
    assert_eq!(glance, json!(["60 %", "3 in use"]));
    // 60 % is drawn where 60 % is.
    let [point, zero, whole] = [
        format!("{POINTS}(0).at(-1).y"),
        "+[...document.querySelectorAll('section svg text')].find(t => t.textContent == '0 %').getAttribute('y') - 4"
            .to_owned(),
        "+document.querySelector('line.cap[data-value]').getAttribute('y1')".to_owned(),
    ]
    .map(|what| tab.js(&what).as_f64().unwrap());
    assert!((point - (zero - 0.6 * (zero - whole))).abs() < 0.2, "60 % is at {point}, 0 % at {zero}, 100 % at {whole}");

    held.extend([pool.acquire().await.unwrap()]);
    tab.until("document.querySelector('#pool-0 .state').textContent == '▲ Busy'");
    assert_eq!(tab.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_that_change_at_once_are_all_said() {
    let pools: Vec<_> = ["north", "south", "west"]
        .map(|name| SqlitePool::connect_lazy(settings(name, 1, 0)).unwrap())
        .into_iter()
        .collect();
    let watched: Vec<Watched> = pools.iter().flat_map(Watchable::watched).collect();
    let service = Service::start(&StatusPage::of(&watched)).await;
    let mut tab = Tab::open();
    tab.go(&service.url("/admin/pool/"));
    tab.until("document.querySelectorAll('article .state').length == 3");
    assert_eq!(tab.js("document.querySelector('#say').textContent"), "", "nothing has changed");
    // While it does not ask, so that one answer has both.
    tab.js(&be_hidden(true));
    tab.until("asking === false");
    let held = [pools[0].acquire().await.unwrap(), pools[2].acquire().await.unwrap()];
    tab.js(&be_hidden(false));
    tab.until("document.querySelector('article .state').textContent == '▲ Busy'");
    let busy = |name: &str| {
        format!(
            "{name}: Busy. 1 of 1 connection is in use, and nobody waits. From 80 % on it is time to look who holds them."
        )
    };
    tab.until("document.querySelector('#say').textContent");
    let said = "[...document.querySelectorAll('#say > *')].map(e => e.textContent)";
    assert_eq!(tab.js(said), json!([busy("north"), busy("west")]));
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_stood_still_or_was_set_puts_no_point_upon_another() {
    let pool = SqlitePool::connect(settings("tracks", 1, 0)).await.unwrap();
    let service = Service::start(&StatusPage::of(&pool)).await;
    let mut tab = Tab::open();
    tab.go(&service.url("/admin/pool/"));
    tab.until(&format!("{POINTS}(0).length >= 3"));
    // The machine of the browser sleeps for an hour in which its clock stands still, and the service has many looks for it then.
    tab.js(
        "window.ahead = 0; window.looks = 0; window.answers = 0; window.service = fetch; fetch = async (...asked) => {
            const answer = await service(...asked), told = await answer.json();
            told.now_unix_seconds += ahead;
            if (looks) {
                told.history.seconds_ago = Array.from({ length: looks }, (_, i) => looks - 1 - i);
                told.pools[0].history = { utilisation: Array(looks).fill(1), wait_seconds: Array(looks).fill(null), failed: Array(looks).fill(0) };
                looks = 0;
            }
            answers++;
            return { ok: true, json: async () => told };
        }; 0",
    );
    let mut after = |ahead: i32, looks: u32| {
        tab.until("asking === false");
        tab.js(&format!("ahead = {ahead}; looks = {looks}; answers = 0"));
        tab.until("answers > 0 && looks == 0 && asking === false");
        let points = tab.js(&format!("{POINTS}(0).map(p => p.x)"));
        let points: Vec<f64> = points.as_array().unwrap().iter().map(|x| Value::as_f64(x).unwrap()).collect();
        assert!(points.is_sorted_by(|a, b| a < b), "after {ahead} s and {looks} looks: {points:?}");
        points.len()
    };
    assert!((200..203).contains(&after(3600, 200)), "what was before the sleep is gone");
    // The service's clock is set back, and what it told before is of no time that there was.
    assert!((100..103).contains(&after(-3600, 100)), "what is later than now is gone");
    assert_eq!(tab.complaints(), [""; 0]);
}
