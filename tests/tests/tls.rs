//! TLS to real servers whose certificates an authority of our own has signed: who is let in, who is refused, and what is said then.
#![allow(clippy::unwrap_used)]

use futures_util::StreamExt;
use pool_sqlx::{Backend, CloseReason, DatabaseSettings, Error, ErrorKind, ListenEvent, MySqlPool, PgPool, Pool, sqlx};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use sqlx::Executor;
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};
use tests::{
    MariaDb, Postgres,
    server::postgres::{Database, Listen},
};

/// An authority, a stranger, and what the first has signed: a server called `localhost` and a client called `certain`.
struct Certificates {
    ca: String,
    stranger: String,
    server: (String, String),
    client: (String, String),
}

impl Certificates {
    fn new() -> Self {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let ca = authority("ours");
        let sign = |name: &str| {
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &ca).unwrap().pem(), key.serialize_pem())
        };
        Self { ca: ca.pem(), stranger: authority("stranger").pem(), server: sign("localhost"), client: sign("certain") }
    }

    fn files(&self) -> [(&str, &str); 7] {
        [
            ("ca.pem", &self.ca),
            ("stranger.pem", &self.stranger),
            ("server.crt", &self.server.0),
            ("server.key", &self.server.1),
            ("client.crt", &self.client.0),
            ("client.key", &self.client.1),
            // By TCP nobody gets in without TLS, so that whatever gets in has it: the pool's connections and those beside it.
            ("pg_hba.conf", "local all all trust\nhostssl all certain all cert\nhostssl all all all trust\n"),
        ]
    }
}

/// The one cluster of these tests.
fn cluster() -> &'static Postgres {
    static CLUSTER: LazyLock<Postgres> = LazyLock::new(|| {
        let settings = [("ssl", "on"), ("ssl_ca_file", "ca.pem")];
        let cluster = Postgres::start_with_files(Listen::Loopback, &settings, &Certificates::new().files()).unwrap();
        cluster.psql("postgres", "create role certain login").unwrap();
        cluster
    });
    &CLUSTER
}

/// By the name that the certificate is for, with the right authority.
fn verified(database: &Database<'_>) -> DatabaseSettings {
    let url = database.tcp_url().unwrap().replace("127.0.0.1", "localhost");
    let ca = cluster().file("ca.pem");
    settings(format!("{url}?sslmode=verify-full&sslrootcert={}", ca.display()))
}

fn settings(url: impl AsRef<str>) -> DatabaseSettings {
    let settings = DatabaseSettings::new(url).unwrap().with_pool_size(1u32).with_max_overflow(0u32);
    // A busy machine may take its time.
    settings.with_reset_timeout(Duration::from_secs(8)).with_connection_timeout(Duration::from_secs(30))
}

/// Connects, and is told at once that it cannot, and why.
async fn refused<DB: Backend>(url: &str, hints: &[&str]) {
    let asked = Instant::now();
    let error = Pool::<DB>::connect(settings(url)).await.expect_err(url);
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Connect, None), "{url}: {error}");
    assert!(hints.iter().all(|hint| error.to_string().contains(hint)), "{url}: {error}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{url}: waiting cannot help");
}

#[tokio::test]
async fn each_mode_encrypts_and_checks_what_it_says() {
    let (cluster, database) = (cluster(), cluster().database().unwrap());
    let by_number = database.tcp_url().unwrap();
    let by_name = by_number.replace("127.0.0.1", "localhost");
    let file = |name: &str| cluster.file(name).display().to_string();
    let (ca, stranger) = (file("ca.pem"), file("stranger.pem"));
    for url in [
        by_number.clone(),
        format!("{by_number}?sslmode=require"),
        format!("{by_number}?ssl=true"),
        format!("{by_number}?sslmode=require&sslrootcert={ca}"),
        format!("{by_number}?sslmode=verify-ca&sslrootcert={ca}"),
        format!("{by_name}?sslmode=verify-full&sslrootcert={ca}"),
        format!(
            "{by_name}?sslmode=verify-full&sslrootcert={ca}&sslcert={}&sslkey={}",
            file("client.crt"),
            file("client.key")
        )
        .replace("postgres@", "certain@"),
    ] {
        let pool = PgPool::connect(settings(&url)).await.expect(&url);
        let is_tls = sqlx::query_scalar::<_, bool>("select ssl from pg_stat_ssl where pid = pg_backend_pid()");
        assert!(is_tls.fetch_one(&pool).await.unwrap(), "{url}");
    }
    for (url, hints) in [
        (format!("{by_number}?sslmode=disable"), &["no encryption"][..]),
        (format!("{by_number}?sslmode=verify-full&sslrootcert={ca}"), &["127.0.0.1", "localhost", "sslmode=verify-ca"]),
        (format!("{by_name}?sslmode=verify-full&sslrootcert={stranger}"), &["UnknownIssuer", "sslrootcert="]),
        (format!("{by_name}?sslmode=require&sslrootcert={stranger}"), &["UnknownIssuer", "sslrootcert="]),
        (format!("{by_name}?sslmode=verify-full"), &["UnknownIssuer", "sslrootcert="]),
        (format!("{by_name}?sslmode=require").replace("postgres@", "certain@"), &["client certificate"]),
        (format!("{}&sslmode=require", database.url()), &["Unix socket", "sslmode=prefer"]),
    ] {
        refused::<sqlx::Postgres>(&url, hints).await;
    }
}

#[tokio::test]
async fn a_statement_that_was_left_running_is_cancelled_over_tls_too() {
    let database = cluster().database().unwrap();
    let pool = PgPool::connect(verified(&database)).await.unwrap();
    for _ in 0..2 {
        let mut conn = pool.acquire().await.unwrap();
        let watched = sqlx::query("select pg_sleep(60)").execute(&mut conn);
        tokio::time::timeout(Duration::from_millis(50), watched).await.unwrap_err();
        drop(conn);
        let mut conn = pool.acquire().await.unwrap();
        let raw = conn.raw().execute("select pg_sleep(60)");
        tokio::time::timeout(Duration::from_millis(50), raw).await.unwrap_err();
        let dropped = Instant::now();
        drop(conn);
        sqlx::query("select 1").execute(&pool).await.unwrap();
        assert!(dropped.elapsed() < Duration::from_secs(7), "{:?}", dropped.elapsed());
    }
    assert_eq!(pool.status().totals.opened, 1, "each was cancelled, and the connection kept");
}

#[tokio::test]
async fn cancelled_requests_over_tls_leave_nothing_behind() {
    let database = cluster().database().unwrap();
    let pool = PgPool::connect(verified(&database).with_pool_size(4u32)).await.unwrap();
    let request = async |n: i64| -> Result<(), Error> {
        let mut tx = pool.begin().await?;
        sqlx::query("select pg_sleep(0.0002)").execute(&mut tx).await?;
        assert_eq!(sqlx::query_scalar::<_, i64>("select $1").bind(n).fetch_one(&mut tx).await?, n);
        tx.commit().await
    };
    let begun = Instant::now();
    let usual: Vec<_> = futures_util::stream::iter(0..32).map(request).buffer_unordered(8).collect().await;
    assert!(usual.iter().all(Result::is_ok), "{usual:?}");
    let usual = begun.elapsed() / 4;
    let requests = futures_util::stream::iter(0..300_i64).map(|n| {
        // Spread over twice the time a request takes here, by a multiplier that visits every remainder; one or the other has time.
        let share = (n.unsigned_abs() * 7919 % 1000) as u32;
        let patience = if n % 50 == 49 { Duration::from_secs(30) } else { usual * share / 500 };
        tokio::time::timeout(patience, request(n))
    });
    let outcomes: Vec<_> = requests.buffer_unordered(8).collect().await;
    let (answered, cancelled): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!(answered.iter().all(|answer| matches!(answer, Ok(Ok(())))), "{answered:?}");
    assert!(!answered.is_empty() && !cancelled.is_empty(), "{} and {}", answered.len(), cancelled.len());
    for conn in futures_util::future::join_all((0..4).map(|_| pool.acquire())).await {
        let clean = sqlx::Connection::begin_with(conn.unwrap().raw(), "SELECT 1").await.map(drop);
        assert!(matches!(clean, Err(sqlx::Error::BeginFailed)), "{clean:?}");
    }
    assert_eq!(pool.status().totals.closed_by.of(CloseReason::Broken), 0, "none broken");
}

#[tokio::test]
async fn listening_goes_over_tls_too() {
    let database = cluster().database().unwrap();
    let pool = PgPool::connect_lazy(verified(&database)).unwrap();
    let mut listener = pool.listen(["tracks"]).unwrap();
    let limit = Duration::from_secs(40);
    assert_eq!(tokio::time::timeout(limit, listener.next()).await.unwrap(), Some(ListenEvent::Resync));
    database.psql("notify tracks, 'one'").unwrap();
    let heard = tokio::time::timeout(limit, listener.next()).await.unwrap();
    assert!(matches!(heard, Some(ListenEvent::Notification { payload, .. }) if payload == "one"));
}

#[tokio::test]
async fn mariadb_is_checked_likewise() {
    let arguments = ["--ssl-ca=ca.pem", "--ssl-cert=server.crt", "--ssl-key=server.key"];
    let server = MariaDb::start_with_files(&arguments, &Certificates::new().files()[..4]).unwrap();
    let database = server.database().unwrap();
    let by_name = database.url();
    let by_number = by_name.replace("localhost", "127.0.0.1");
    let [ca, stranger] = ["ca.pem", "stranger.pem"].map(|name| server.file(name).display().to_string());
    for url in [
        format!("{by_number}&ssl-mode=REQUIRED"),
        format!("{by_number}&ssl-mode=VERIFY_CA&ssl-ca={ca}"),
        format!("{by_name}&ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"),
    ] {
        let pool = MySqlPool::connect(settings(&url)).await.expect(&url);
        let (_, cipher): (String, String) =
            sqlx::query_as("show session status like 'Ssl_cipher'").fetch_one(&pool).await.unwrap();
        assert_ne!(cipher, "", "{url}");
        let mut conn = pool.acquire().await.unwrap();
        let sleep = sqlx::query("select sleep(60)").execute(&mut conn);
        tokio::time::timeout(Duration::from_millis(50), sleep).await.unwrap_err();
        drop(conn);
        sqlx::query("select 1").execute(&pool).await.unwrap();
        let sleeping = "select count(*) from information_schema.processlist where info = 'select sleep(60)'";
        assert_eq!(database.sql(sleeping).unwrap(), "0", "{url}");
    }
    for (url, hints) in [
        (format!("{by_number}&ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"), ["127.0.0.1", "ssl-mode=VERIFY_CA"]),
        (format!("{by_name}&ssl-mode=VERIFY_IDENTITY&ssl-ca={stranger}"), ["UnknownIssuer", "ssl-ca"]),
        (format!("{by_name}&ssl-mode=REQUIRED&ssl-ca={stranger}"), ["UnknownIssuer", "ssl-ca"]),
    ] {
        refused::<sqlx::MySql>(&url, &hints).await;
    }
}
