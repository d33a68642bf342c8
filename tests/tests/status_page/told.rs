//! What the page tells of pools that are not as usual, to those who look and to those who listen.

use crate::{Service, Tab, hurried, until};
use pool_sqlx::{DatabaseSettings, SqlitePool, StatusPage, Watchable, Watched};
use serde_json::json;
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
