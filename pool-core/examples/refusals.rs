//! Twelve ways to be refused, and the line that each leaves in the log: `cargo run -p pool-core --example refusals --features testing`.
//!
//! On virtual time, so it takes none.

use pool_core::{
    AcquireError, ErrorClass, MaxOverflow, Nested, Pause, Pool, Pooled, Settings, Site,
    testing::{Reply, Script, ScriptError},
};
use std::time::Duration;
use tokio::time::sleep;

type Refused = AcquireError<ScriptError>;

fn pool(settings: Settings) -> (Script, Pool<Script>) {
    let script = Script::new();
    (script.clone(), Pool::new(script, settings.with_name("primary")).expect("good settings"))
}

fn small() -> Settings {
    Settings::default().with_pool_size(2).with_max_overflow(1)
}

async fn hold(pool: &Pool<Script>, site: Site) -> Pooled<Script> {
    pool.acquire_at(site, None).await.expect("a free connection")
}

fn show(what: &str, error: &Refused) {
    println!("{what}\n  {error}\n  story: {}\n", error.story());
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    let (export, list) = (Site::named("app::export"), Site::named("app::list"));
    let ask = |pool: Pool<Script>| async move {
        pool.acquire_at(Site::named("app::track"), None).await.map(drop).expect_err("refused")
    };

    let (_, p) = pool(small());
    let _all = [hold(&p, export).await, hold(&p, export).await, hold(&p, list).await];
    show("1. all connections are busy", &ask(p.clone()).await);

    let (_, p) = pool(small());
    let _all = [hold(&p, export).await, hold(&p, export).await, hold(&p, list).await];
    sleep(Duration::from_secs(300)).await;
    show("2. somebody has kept connections for five minutes", &ask(p.clone()).await);

    let (_, p) = pool(small().with_max_overflow(0).with_pool_size(1));
    let outer = hold(&p, list).await;
    let inner = outer.hold().during(ask(p.clone())).await;
    show("3. a handler holds the only connection and asks for another", &inner);

    let (_, p) = pool(small().with_nested(Nested::Deny));
    let outer = hold(&p, list).await;
    show("4. the same, where that is denied", &outer.hold().during(ask(p.clone())).await);

    let (script, p) = pool(small());
    script.always_connect(Reply::fail(ErrorClass::Transient, "connection refused (os error 111)"));
    show("5. nobody listens at the address", &ask(p.clone()).await);

    let (script, p) = pool(small());
    script.always_connect(Reply::fail(ErrorClass::Permanent, "password authentication failed for user \"app\""));
    show("6. the password is wrong", &ask(p.clone()).await);

    let (script, p) = pool(small());
    script.always_connect(Reply::hang());
    show("7. the server accepts and says nothing", &ask(p.clone()).await);

    let (script, p) = pool(small());
    let _busy = [hold(&p, export).await, hold(&p, list).await];
    script.always_connect(Reply::fail(ErrorClass::Transient, "sorry, too many clients already"));
    show("8. the server has no connection left for our overflow", &ask(p.clone()).await);

    let (script, p) = pool(small().with_pool_timeout(Duration::from_secs(2)));
    drop(hold(&p, list).await);
    sleep(Duration::from_secs(60)).await;
    script.always_ping(Reply::hang());
    script.always_connect(Reply::hang());
    show("9. the idle connection is dead and so is the server", &ask(p.clone()).await);

    let (_, p) = pool(small().with_max_overflow(0).with_max_waiting(1));
    let _busy = [hold(&p, export).await, hold(&p, list).await];
    let (_, second) = tokio::join!(ask(p.clone()), async {
        tokio::task::yield_now().await;
        ask(p.clone()).await
    });
    show("10. too many wait already", &second);

    let (_, p) = pool(small());
    p.pause(Pause::Refuse);
    show("11. lending is paused", &ask(p.clone()).await);

    let (_, p) = pool(small().with_max_overflow(MaxOverflow::Unlimited));
    drop(p.close().await);
    show("12. the service is shutting down", &ask(p.clone()).await);
}
