//! Requests at a given rate, whether the earlier ones were answered or not: a service in trouble is not asked less.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// A stretch of the demonstration.
pub(super) struct Phase {
    pub(super) name: &'static str,
    pub(super) requests: u32,
    pub(super) per_second: u32,
    pub(super) choose: fn(u32) -> Request,
}

/// What to ask.
pub(super) struct Request {
    path: String,
    body: Option<&'static str>,
    hold: Option<Duration>,
}

impl Request {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { path: path.into(), body: None, hold: None }
    }

    pub(super) fn post(path: impl Into<String>, body: &'static str) -> Self {
        Self { path: path.into(), body: Some(body), hold: None }
    }

    /// A request that was asked to hold its connection for so long.
    pub(super) fn holding(path: impl Into<String>, hold: Duration) -> Self {
        Self { hold: Some(hold), ..Self::get(path) }
    }
}

/// What came of one request.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The status, or why there was none within the limit.
    pub(super) status: Result<u16, String>,
    /// From sending to the end of the answer.
    pub(super) took: Duration,
    /// How long its handler held the connection, where it says so.
    pub(super) held: Option<Duration>,
}

impl Outcome {
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.status, Ok(status) if status < 500 || status == 503)
    }
}

/// Runs a phase to the last answer and gives what came of each request.
pub(super) fn run(phase: &Phase, url: &str, limit: Duration) -> Vec<Outcome> {
    let agent = agent(limit);
    let (tell, told) = mpsc::channel();
    let progress = Progress::start(phase, url);
    let start = Instant::now();
    for number in 0..phase.requests {
        thread::sleep(
            (start + Duration::from_secs(1) * number / phase.per_second).saturating_duration_since(Instant::now()),
        );
        let request = (phase.choose)(number);
        let (agent, tell, url) = (agent.clone(), tell.clone(), format!("{url}{}", request.path));
        progress.sent.fetch_add(1, Ordering::Relaxed);
        let counts = progress.counts.clone();
        thread::spawn(move || {
            let outcome = ask(&agent, &url, &request);
            counts.add(&outcome);
            let _ = tell.send(outcome);
        });
    }
    drop(tell);
    let outcomes = told.into_iter().collect();
    progress.finish();
    outcomes
}

/// The service's own word on its pool, if it has one.
pub(super) fn status(url: &str) -> Option<serde_json::Value> {
    let mut answer = agent(Duration::from_secs(1)).get(format!("{url}/stats/pool")).call().ok()?;
    serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok().filter(serde_json::Value::is_object)
}

fn agent(limit: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(limit)).http_status_as_error(false).proxy(None);
    config.max_idle_connections(256).max_idle_connections_per_host(256).build().new_agent()
}

fn ask(agent: &ureq::Agent, url: &str, request: &Request) -> Outcome {
    let start = Instant::now();
    let answer = match request.body {
        Some(body) => agent.post(url).content_type("application/json").send(body),
        None => agent.get(url).call(),
    };
    let answer = answer.and_then(|mut answer| {
        let timing = answer.headers().get("server-timing").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = answer.status().as_u16();
        answer.body_mut().read_to_vec()?;
        Ok((status, timing))
    });
    let took = start.elapsed();
    match answer {
        Ok((status, timing)) => {
            let told = timing.as_deref().and_then(held);
            let held = if status < 300 { told.or(request.hold) } else { None };
            Outcome { status: Ok(status), took, held }
        }
        Err(error) => Outcome { status: Err(error.to_string()), took, held: None },
    }
}

/// From `Server-Timing: hold;dur=203.4`, in milliseconds.
fn held(timing: &str) -> Option<Duration> {
    let entry = timing.split(',').find(|entry| entry.trim().starts_with("hold;"))?;
    let (_, milliseconds) = entry.split_once("dur=")?;
    let milliseconds: f64 = milliseconds.split(';').next()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(milliseconds / 1000.0).ok()
}

#[derive(Default)]
struct Counts {
    answered: AtomicUsize,
    refused: AtomicUsize,
    failed: AtomicUsize,
}

impl Counts {
    fn add(&self, outcome: &Outcome) {
        let count = match outcome.status {
            Ok(503) => &self.refused,
            _ if outcome.is_answered() => &self.answered,
            _ => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A line that is redrawn on a terminal four times a second, and printed anew each second elsewhere.
struct Progress {
    sent: Arc<AtomicUsize>,
    counts: Arc<Counts>,
    is_over: Arc<AtomicBool>,
    painter: thread::JoinHandle<()>,
}

impl Progress {
    fn start(phase: &Phase, url: &str) -> Self {
        let (sent, counts, is_over) =
            (Arc::<AtomicUsize>::default(), Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let painter = thread::spawn({
            let (sent, counts, is_over) = (sent.clone(), counts.clone(), is_over.clone());
            let (name, total, url) = (phase.name, phase.requests, url.to_owned());
            move || {
                let is_terminal = io::stdout().is_terminal();
                let every = Duration::from_millis(if is_terminal { 250 } else { 1000 });
                let start = Instant::now();
                loop {
                    // Looked at first, so that the last line is painted after the last answer.
                    let over = is_over.load(Ordering::Acquire);
                    let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
                    let line = format!(
                        "{name:<9} {:>4.1} s  sent {:>3} of {total}, answered {:>3}, refused (503) {:>3}, failed {}{}",
                        start.elapsed().as_secs_f64(),
                        load(&sent),
                        load(&counts.answered),
                        load(&counts.refused),
                        load(&counts.failed),
                        status(&url).map(|status| describe(&status)).unwrap_or_default(),
                    );
                    if is_terminal {
                        print!("\r\x1b[K{line}");
                        let _ = io::stdout().flush();
                    } else {
                        println!("{line}");
                    }
                    if over {
                        break;
                    }
                    thread::park_timeout(every);
                }
                if is_terminal {
                    println!();
                }
            }
        });
        Self { sent, counts, is_over, painter }
    }

    fn finish(self) {
        self.is_over.store(true, Ordering::Release);
        self.painter.thread().unpark();
        let _ = self.painter.join();
    }
}

/// What the pool does at the moment.
fn describe(status: &serde_json::Value) -> String {
    let number =
        |name: &str| status.get(name).and_then(serde_json::Value::as_u64).map_or("?".into(), |n| n.to_string());
    format!("; pool: in use {}, idle {}, waiting {}", number("in_use"), number("idle"), number("waiting"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader},
        net::TcpListener,
    };

    /// A server that gives each path's last segment as the status, and says nothing to `/silent`.
    fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let mut kept = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut first = String::new();
                reader.read_line(&mut first).unwrap();
                let mut line = String::from("x");
                while line.trim() != "" {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                }
                let path = first.split(' ').nth(1).unwrap_or_default();
                match path.rsplit('/').next().unwrap_or_default() {
                    "silent" => kept.push(stream),
                    status => {
                        let head = "server-timing: wait;dur=5, hold;dur=203.5\r\nconnection: close";
                        let _ = write!(stream, "HTTP/1.1 {status} Word\r\n{head}\r\ncontent-length: 2\r\n\r\nok");
                    }
                }
            }
        });
        url
    }

    fn outcome(path: &str) -> Outcome {
        let url = format!("{}{path}", server());
        ask(&agent(Duration::from_millis(300)), &url, &Request::get(path))
    }

    #[test]
    fn answer_and_refusal_are_told_from_failure() {
        let check = |path, is_answered| assert_eq!(outcome(path).is_answered(), is_answered, "{path}");
        check("/200", true);
        check("/404", true);
        check("/503", true);
        check("/500", false);
        check("/silent", false);
    }

    #[test]
    fn what_the_service_says_of_itself_is_read() {
        let good = outcome("/200");
        assert_eq!((good.status, good.held), (Ok(200), Some(Duration::from_micros(203_500))));
        let refused = outcome("/503");
        assert_eq!((refused.status, refused.held), (Ok(503), None));
    }

    #[test]
    fn phase_sends_every_request_and_waits_for_every_answer() {
        let choose = |number| Request::get(if number % 2 == 0 { "/200" } else { "/503" });
        let outcomes =
            run(&Phase { name: "test", requests: 10, per_second: 500, choose }, &server(), Duration::from_secs(5));
        let refused = outcomes.iter().filter(|outcome| outcome.status == Ok(503)).count();
        assert_eq!((outcomes.len(), refused), (10, 5));
    }
}
