//! A load generator that checks every answer it counts: closed loop over keep-alive connections.
//!
//! `cargo run --release -p supernode-live --example load -- 127.0.0.1:8000 --connections 512 --seconds 10 --tokens 4 --stream`
//!
//! `--rate R` makes it an open loop: R requests per second whatever the answers do, spread over the connections.
//!
//! With `self` for the address it brings up the small cluster of the tests in its own process, writes its log to a
//! temporary file, and holds the replay to it afterwards.

#[path = "../tests/common/mod.rs"]
mod common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use supernode_live::core::replay;
use supernode_live::log::Reader;
use supernode_live::{Server, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the connections get to be made in, before the first request.
const SET_UP: Duration = Duration::from_millis(500);

/// Microseconds: of whole answers, and between two tokens of one.
#[derive(Default)]
struct Times {
    whole: Vec<u32>,
    between: Vec<u32>,
}

impl Times {
    fn add(&mut self, other: Self) {
        self.whole.extend(other.whole);
        self.between.extend(other.between);
    }
}

/// A quantile in milliseconds.
fn quantile(times: &mut [u32], q: f64) -> f64 {
    times.sort_unstable();
    times.get((q * (times.len().max(1) - 1) as f64) as usize).map_or(0.0, |time| f64::from(*time) / 1000.0)
}

struct Plan {
    address: SocketAddr,
    request: Vec<u8>,
    tokens: usize,
    stream: bool,
    from: Instant,
    until: Instant,
    /// Between two requests of an open loop, all connections together.
    every: Option<Duration>,
    connections: u32,
    answers: AtomicU64,
    wrong: AtomicU64,
}

fn value(arguments: &[String], name: &str, usual: u64) -> u64 {
    let at = arguments.iter().position(|word| word == name);
    at.and_then(|at| arguments.get(at + 1)).and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let own = (arguments.first().map(String::as_str) == Some("self")).then(|| own(&arguments));
    let given = || arguments.first().and_then(|text| text.parse().ok());
    let Some(address) = own.as_ref().map(|own| own.0.addresses.main).or_else(given) else {
        eprintln!(
            "give HOST:PORT, or self [--speed X] [--connections N] [--seconds N] [--tokens N] [--stream] [--rate R]"
        );
        std::process::exit(2);
    };
    let (connections, seconds) =
        (value(&arguments, "--connections", 256), value(&arguments, "--seconds", 10));
    let (tokens, stream) =
        (value(&arguments, "--tokens", 4) as usize, arguments.iter().any(|word| word == "--stream"));
    let body = format!(
        r#"{{"prompt":"the quick brown fox","max_tokens":{tokens},"ignore_eos":true,"stream":{stream}}}"#
    );
    let request =
        format!("POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (rate, from) = (value(&arguments, "--rate", 0), Instant::now() + SET_UP);
    let plan = Arc::new(Plan {
        address,
        request: request.into_bytes(),
        tokens,
        stream,
        from,
        until: from + Duration::from_secs(seconds),
        every: (rate > 0).then(|| Duration::from_secs(1) / rate as u32),
        connections: connections as u32,
        answers: AtomicU64::new(0),
        wrong: AtomicU64::new(0),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let Ok(runtime) = runtime else { std::process::exit(2) };
    let mut times = runtime.block_on(async {
        let clients: Vec<_> =
            (0..plan.connections).map(|number| tokio::spawn(client(Arc::clone(&plan), number))).collect();
        let mut times = Times::default();
        for client in clients {
            times.add(client.await.unwrap_or_default());
        }
        times
    });
    let wall = from.elapsed().as_secs_f64();
    let (answers, wrong) = (plan.answers.load(Ordering::Relaxed), plan.wrong.load(Ordering::Relaxed));
    println!(
        "{answers} answers checked, {wrong} wrong, {:.0} requests/s, {:.0} tokens/s, latency p50 {:.2} ms p99 {:.2} ms",
        answers as f64 / wall,
        (answers as usize * tokens) as f64 / wall,
        quantile(&mut times.whole, 0.5),
        quantile(&mut times.whole, 0.99)
    );
    if stream {
        let between = &mut times.between;
        println!("between tokens p50 {:.2} ms p99 {:.2} ms", quantile(between, 0.5), quantile(between, 0.99));
    }
    let differs = own.is_some_and(|(server, log)| differs(server, &log));
    std::process::exit(i32::from(wrong > 0 || answers == 0 || differs));
}

/// A server in this process, and its log.
fn own(arguments: &[String]) -> (Server, PathBuf) {
    let log = std::env::temp_dir().join(format!("supernode-load-{}.log", std::process::id()));
    let speed = format!("{}", value(arguments, "--speed", 100));
    let speed = speed.parse().unwrap_or_default();
    let settings = Settings { speed, log: Some(log.clone()), instance_base: None, ..common::settings() };
    (common::up(settings), log)
}

/// Whether the replay of the log decides otherwise.
fn differs(server: Server, log: &Path) -> bool {
    let hash = server.stop();
    let cluster = common::cluster();
    let meters = cluster.meters();
    let found = Reader::open(log).map(|reader| replay(reader, cluster.world, cluster.jobs, meters));
    let _ = std::fs::remove_file(log);
    match (hash, found) {
        (Ok(hash), Ok(Ok(found))) => {
            println!("{} checks of the log hold; live {hash}, replayed {}", found.checks, found.hash);
            found.differs.is_some() || found.hash != hash
        }
        other => {
            eprintln!("{other:?}");
            true
        }
    }
}

/// One connection: a request after the other, or each at its own instant of the open loop.
async fn client(plan: Arc<Plan>, number: u32) -> Times {
    let mut times = Times::default();
    let Ok(mut stream) = TcpStream::connect(plan.address).await else {
        plan.wrong.fetch_add(1, Ordering::Relaxed);
        return times;
    };
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(16 << 10);
    tokio::time::sleep_until(plan.from.into()).await;
    for turn in 0u32.. {
        if let Some(every) = plan.every {
            let at = plan.from + every * (turn * plan.connections + number);
            tokio::time::sleep_until(at.into()).await;
        }
        if Instant::now() >= plan.until {
            break;
        }
        let sent = Instant::now();
        if stream.write_all(&plan.request).await.is_err()
            || !answered(&plan, &mut stream, &mut buffer, &mut times).await
        {
            plan.wrong.fetch_add(1, Ordering::Relaxed);
            return times;
        }
        plan.answers.fetch_add(1, Ordering::Relaxed);
        times.whole.push(sent.elapsed().as_micros() as u32);
    }
    times
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// Reads an answer; true if it is whole and says what it should.
async fn answered(plan: &Plan, stream: &mut TcpStream, buffer: &mut Vec<u8>, times: &mut Times) -> bool {
    buffer.clear();
    if plan.stream {
        return streamed(plan, stream, buffer, times).await;
    }
    loop {
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return false;
        }
        let Some(head) = find(buffer, b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let Some(length) = length.and_then(|length| length.parse::<usize>().ok()) else { return false };
        if buffer.len() >= head + 4 + length {
            let told = format!("\"completion_tokens\":{},", plan.tokens);
            return buffer.starts_with(b"HTTP/1.1 200") && find(buffer, told.as_bytes()).is_some();
        }
    }
}

/// The same of a stream: one event per token and one for the end, and the time between any two tokens.
async fn streamed(plan: &Plan, stream: &mut TcpStream, buffer: &mut Vec<u8>, times: &mut Times) -> bool {
    const EVENT: &[u8] = b"data: {\"i";
    let (mut events, mut looked, mut last) = (0, 0, None);
    loop {
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return false;
        }
        let now = Instant::now();
        while let Some(at) = find(&buffer[looked..], EVENT) {
            looked += at + EVENT.len();
            events += 1;
            let gap = last.replace(now).map(|last: Instant| (now - last).as_micros() as u32);
            // The event of the end is no token.
            times.between.extend(gap.filter(|_| events <= plan.tokens));
        }
        if buffer.ends_with(b"0\r\n\r\n") && find(&buffer[looked..], b"data: [DONE]").is_some() {
            return buffer.starts_with(b"HTTP/1.1 200") && events == plan.tokens + 1;
        }
    }
}
