//! The examples as their readers start them: the programs that cargo has built, on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};
use tests::Postgres;

/// How long an example may take to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// A directory for SQLite files, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pool-examples-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn url(&self, file: &str) -> String {
        format!("sqlite://{}", self.0.join(file).display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The command that starts an example, with nothing of the caller's settings.
fn example(name: &str, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(tests::example(name));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("DATABASE_") || name.starts_with("POOL_") || name == "RUST_LOG" {
            command.env_remove(&*name);
        }
    }
    command.env("ADDR", "127.0.0.1:0").envs(settings.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// An example that serves; killed when dropped.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        Self::run(name, example(name, settings))
    }

    fn run(name: &str, mut example: Command) -> Self {
        let mut child = example.spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on http://").map(str::to_owned);
        let mut service = Self { child, address: String::new() };
        service.address = address.unwrap_or_else(|| panic!("{name} does not listen: {first:?}"));
        service
    }

    /// The status and the whole answer, headers in lower case.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, format!("{}\r\n\r\n{body}", head.to_lowercase()))
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "")
    }

    /// Asks it to end, as a supervisor would.
    fn stop(mut self) -> ExitStatus {
        Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status().unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < STOP_LIMIT, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answers(seen: (u16, String), status: u16, part: &str) {
    assert!(seen.0 == status && seen.1.contains(part), "wanted {status} with {part}, got {seen:?}");
}

fn tracks(url: &str) {
    let service = Service::start("tracks", &[("DATABASE_URL", url)]);
    answers(service.get("/tracks/1"), 200, r#""title":"So What""#);
    answers(service.ask("POST", "/tracks", r#"{"title":"Naima","artist":"John Coltrane"}"#), 201, r#""id":4"#);
    answers(service.ask("POST", "/tracks", r#"{"title":" ","artist":"John Coltrane"}"#), 422, "title: 1 to 200");
    answers(service.ask("POST", "/tracks/1/like", ""), 200, r#""likes":1"#);
    answers(service.get("/stats"), 200, r#"{"tracks":4,"likes":1}"#);
    answers(service.get("/tracks/99"), 404, "No such track");
    answers(service.get("/health/ready"), 200, "ready");
    answers(service.get("/stats/pool"), 200, r#""pool_size":10"#);
    assert!(service.stop().success());
}

#[test]
fn tracks_answers_on_sqlite() {
    tracks(&Scratch::new().url("tracks.db"));
}

#[test]
fn tracks_answers_on_postgresql() {
    tracks(&Postgres::shared().database().unwrap().url());
}

#[test]
fn a_full_pool_is_a_503_that_says_when_to_come_back() {
    let scratch = Scratch::new();
    let url = scratch.url("tracks.db");
    let small = [("DATABASE_POOL_SIZE", "1"), ("DATABASE_MAX_OVERFLOW", "0"), ("DATABASE_POOL_TIMEOUT", "1")];
    let service = Service::start("tracks", &[&small[..], &[("DATABASE_URL", &url)]].concat());
    thread::scope(|scope| {
        let listener = scope.spawn(|| service.get("/tracks/1/listen?ms=5000"));
        while !service.get("/stats/pool").1.contains(r#""in_use":1"#) {}
        let refused = service.get("/tracks/1");
        answers(refused.clone(), 503, "urn:pool:exhausted");
        answers(refused, 503, "retry-after: 1\r\n");
        answers(listener.join().unwrap(), 200, "So What");
    });
}

fn jobs(url: &str) {
    let output = example("jobs", &[("DATABASE_URL", url)]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    // Quick workers may never meet: how many connections they took up to the cap is up to the machine.
    let peak = said
        .strip_prefix("20 jobs done by 8 workers over ")
        .and_then(|rest| rest.split_once(" connections at most"))
        .and_then(|(peak, _)| peak.parse::<u32>().ok());
    assert!(output.status.success() && peak.is_some_and(|peak| (1..=3).contains(&peak)), "{said}");
}

#[test]
fn jobs_are_done_on_sqlite() {
    jobs(&Scratch::new().url("jobs.db"));
}

#[test]
fn jobs_are_done_on_postgresql_and_none_is_left() {
    let database = Postgres::shared().database().unwrap();
    jobs(&database.url());
    assert_eq!(database.psql("select count(*) from jobs").unwrap(), "0");
}

/// What the example of other formats prints, and what it complains of.
fn formats(folder: &Scratch, settings: &[(&str, &str)], arguments: &[&str]) -> (String, String) {
    let mut command = example("formats", settings);
    let output = command.args(arguments).current_dir(&folder.0).stderr(Stdio::piped()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (text(output.stdout), text(output.stderr))
}

#[test]
fn a_configuration_in_yaml_or_json_is_overridden_by_the_environment_and_that_by_the_command_line() {
    let folder = Scratch::new();
    let says = |settings: &[_], arguments: &[_], expected: &str| {
        let (said, complaint) = formats(&folder, settings, arguments);
        assert_eq!((said.as_str(), complaint.as_str()), (expected, ""), "{settings:?} {arguments:?}");
    };
    let yaml = "default:\n  databases:\n    primary:\n      url: sqlite://yaml.db\n      pool_size: 3\n";
    fs::write(folder.0.join("service.yaml"), yaml).unwrap();
    says(&[], &[], r#"3 connections to Some("yaml.db")"#);
    let json = r#"{"production": {"databases": {"primary": {"url": "sqlite://json.db", "pool_size": 4}}}}"#;
    fs::write(folder.0.join("service.json"), json).unwrap();
    let production = ("POOL_PROFILE", "production");
    says(&[production], &[], r#"4 connections to Some("json.db")"#);
    let variable = ("DATABASE_URL", "sqlite://variable.db");
    says(&[production, variable], &[], r#"4 connections to Some("variable.db")"#);
    says(
        &[production, variable],
        &["--database-url", "sqlite://argument.db"],
        r#"4 connections to Some("argument.db")"#,
    );
}

#[test]
fn main_prints_the_faults_of_a_configuration_one_a_line_with_their_file() {
    let folder = Scratch::new();
    let yaml = "default:\n  databases:\n    primary:\n      url: ''\n      pool_size: '3'\n      password: hunter2\n";
    fs::write(folder.0.join("service.yaml"), yaml).unwrap();
    let (said, complaint) = formats(&folder, &[], &[]);
    let lines: Vec<&str> = complaint.lines().collect();
    assert_eq!((said.as_str(), lines[0]), ("", "Error: the configuration is wrong:"), "{complaint}");
    for expected in [
        "service.yaml, [default.databases.primary] url: the url is empty",
        "service.yaml, [default.databases.primary] pool_size: found \"3\", expected a whole number such as 40; write 3 without quotes",
        "service.yaml, [default.databases.primary] password: these belong into url = ",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("  {expected}"))), "{expected}: {complaint}");
    }
    assert!(lines.len() == 4 && !complaint.contains("hunter2"), "{complaint}");
}

fn actix(url: &str) {
    let service = Service::start("actix", &[("DATABASE_URL", url)]);
    let milk = r#"{"title":"milk","text":"two bottles"}"#;
    answers(service.ask("POST", "/notes", milk), 201, milk);
    answers(service.ask("POST", "/notes", milk), 409, "application/problem+json");
    answers(service.get("/notes/milk"), 200, milk);
    answers(service.get("/notes/bread"), 404, r#""detail":"there is no note bread""#);
    answers(service.get("/ready"), 200, "ready");
    assert!(service.stop().success());
}

#[test]
fn actix_answers_on_sqlite() {
    actix(&Scratch::new().url("notes.db"));
}

#[test]
fn actix_answers_on_postgresql() {
    actix(&Postgres::shared().database().unwrap().url());
}

#[test]
fn a_replica_answers_what_reads_and_the_primary_while_it_is_away() {
    let scratch = Scratch::new();
    let (url, readable) = (scratch.url("titles.db"), scratch.url("titles.db?mode=ro"));
    let service = Service::start("replica", &[("DATABASE_URL", &url), ("DATABASE_REPLICA_URL", &readable)]);
    answers(service.ask("POST", "/titles", "So What"), 200, "added");
    let listed = service.get("/titles");
    answers(listed.clone(), 200, r#"["So What"]"#);
    answers(listed, 200, "x-from: replica\r\n");
    answers(service.get("/pools"), 200, "replica: in use 0 of 15, idle 1");
    assert!(service.stop().success());

    let away = scratch.url("nowhere/titles.db?mode=ro");
    let service = Service::start("replica", &[("DATABASE_URL", &url), ("DATABASE_REPLICA_URL", &away)]);
    let listed = service.get("/titles");
    answers(listed.clone(), 200, r#"["So What"]"#);
    answers(listed, 200, "x-from: primary\r\n");
}

#[test]
fn a_replica_of_postgresql_that_refuses_is_replaced_by_the_primary() {
    let database = Postgres::shared().database().unwrap();
    let url = database.url();
    let settings = [("DATABASE_URL", &*url), ("DATABASE_REPLICA_URL", "postgres://app@127.0.0.1:1/app")];
    let service = Service::start("replica", &settings);
    answers(service.ask("POST", "/titles", "So What"), 200, "added");
    let listed = service.get("/titles");
    answers(listed.clone(), 200, r#"["So What"]"#);
    answers(listed, 200, "x-from: primary\r\n");
}

/// A server that sleeps as in the tutorial: stopped, until this is dropped.
struct Asleep(String);

impl Asleep {
    fn send(&self, signal: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.0)]).status().unwrap();
        assert!(sent.success(), "kill -{signal} {}", self.0);
    }

    fn of(server: &str) -> Self {
        let asleep = Self(server.to_owned());
        asleep.send("STOP");
        asleep
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        self.send("CONT");
    }
}

/// What the page shows, on the service of the example and with shorter limits: nobody should read of a log that there is no more.
#[test]
fn the_tutorial_s_cold_start_goes_as_its_page_says() {
    const PAGE: &str = include_str!("../../book/src/tutorial/cold-start.md");
    let cluster = Postgres::start().unwrap();
    let server = fs::read_to_string(cluster.file("postmaster.pid")).unwrap().lines().next().unwrap().to_owned();
    let scratch = Scratch::new();
    let log = scratch.0.join("log");
    let mut command = example(
        "tracks",
        &[
            ("DATABASE_URL", &cluster.url("postgres")),
            ("POOL_PROFILE", "production"),
            ("DATABASE_IDLE_TIMEOUT", "0.2"),
            ("DATABASE_POOL_TIMEOUT", "6"),
            ("DATABASE_SLOW_ACQUIRE", "0.2"),
        ],
    );
    command.stderr(fs::File::create(&log).unwrap());
    let service = Service::run("tracks", command);
    let until_the_pool_says = |part: &str| {
        let begun = Instant::now();
        while !service.get("/stats/pool").1.contains(part) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{part}: {:?}", service.get("/stats/pool"));
        }
    };
    let logged = |wanted: &str| {
        let text = fs::read_to_string(&log).unwrap();
        text.lines()
            .filter_map(|line| line.find("WARN pool: ").map(|at| line[at..].to_owned()))
            .filter(|line| line.contains(wanted))
            .collect::<Vec<_>>()
    };
    let shown =
        |wanted: &str| PAGE.lines().find(|line| line.starts_with("WARN pool: ") && line.contains(wanted)).unwrap();

    // Fifteen requests meet a database that sleeps, and it wakes in time.
    until_the_pool_says(r#""open":0"#);
    thread::scope(|scope| {
        let asleep = Asleep::of(&server);
        let requests: Vec<_> = (0..15).map(|_| scope.spawn(|| service.get("/tracks"))).collect();
        until_the_pool_says(r#""waiting":15"#);
        thread::sleep(Duration::from_millis(300)); // above slow_acquire: each wait is worth a line
        drop(asleep);
        requests.into_iter().for_each(|request| answers(request.join().unwrap(), 200, "So What"));
    });
    let line = |line: &str| {
        let (head, story) = line.split_once(": +").map(|(head, story)| (head.to_owned(), story.to_owned())).unwrap();
        let (_, head) = head.split_once(") waited ").expect("a site");
        let steps = story.split(" pool=").next().unwrap().split(", ");
        let steps: BTreeSet<String> = steps.map(|step| step.split(' ').skip(1).collect::<Vec<_>>().join(" ")).collect();
        (without_numbers(head), steps)
    };
    let waited = logged("service::list (");
    assert_eq!(waited.len(), 15, "{waited:?}");
    let page = line(shown(" waited "));
    assert!(waited.iter().any(|seen| line(seen) == page), "{page:?}: {waited:#?}");

    // Then it sleeps for longer than anybody waits.
    until_the_pool_says(r#""open":0"#);
    let asleep = Asleep::of(&server);
    let refused = service.get("/tracks");
    drop(asleep);
    let answer = PAGE
        .lines()
        .filter(|line| ["HTTP/1.1 ", "content-", "retry-after: ", "{"].iter().any(|part| line.starts_with(part)));
    for part in answer {
        let part = if part.starts_with("HTTP") { part.to_lowercase() } else { part.to_owned() };
        answers(refused.clone(), 503, &part);
    }
    let refusals = logged("problem=");
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(without_numbers(&refusals[0]), without_numbers(shown("problem=")));

    answers(service.get("/tracks"), 200, "So What");
    assert!(service.stop().success());
}

/// `10s` and `9.8ms` alike: what differs from run to run.
fn without_numbers(line: &str) -> String {
    let words = line.split_inclusive([' ', '(', ',', ';', ')']);
    words
        .map(|word| match word.trim_start_matches('+').starts_with(|c: char| c.is_ascii_digit()) {
            true => format!("N{}", word.trim_start_matches(|c: char| c.is_alphanumeric() || "+.".contains(c))),
            false => word.to_owned(),
        })
        .collect()
}
