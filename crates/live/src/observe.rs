//! The other direction: drives any OpenAI-compatible endpoint with a workload and measures what its clients see.

use crate::text::{Words, mix};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use units::Seconds;
use workload::{Arrival, Source, WorkloadError};

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Host and port.
    pub authority: String,
    /// What comes before `/v1`.
    pub prefix: String,
}

/// Why an endpoint cannot be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The address is none.
    #[error("`{0}` is not an address that can be observed; give http://host:port")]
    Url(String),
    /// Nobody is there.
    #[error("{0}: cannot be reached ({1})")]
    Connect(String, std::io::Error),
    /// The runtime cannot be started.
    #[error("{0}")]
    System(#[from] std::io::Error),
    /// The workload cannot be read.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// It serves no model.
    #[error("{0}: no model is served there ({1}); name one with --model")]
    Model(String, String),
}

impl Url {
    /// Reads an address.
    ///
    /// # Errors
    /// One that is not plain HTTP.
    pub fn parse(text: &str) -> Result<Self, ObserveError> {
        let wrong = || ObserveError::Url(text.to_owned());
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = path.trim_end_matches('/').trim_end_matches("v1").trim_end_matches('/');
        if authority.is_empty() {
            return Err(wrong());
        }
        let authority =
            if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        Ok(Self { authority, prefix })
    }
}

/// How to drive it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The endpoint.
    pub url: Url,
    /// The model; the first that is served if none is named.
    pub model: Option<String>,
    /// The key.
    pub key: Option<String>,
    /// Longest that one request may take.
    pub timeout: Duration,
    /// Requests in flight at most, whatever the workload says.
    pub most: usize,
    /// Seed of the prompts.
    pub seed: u64,
}

/// What was seen of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What the workload calls it.
    pub ticket: u64,
    /// When it was sent, after the start.
    pub sent: Seconds,
    /// Until its first token.
    pub ttft: Option<Seconds>,
    /// Until its last.
    pub e2e: Seconds,
    /// Prompt tokens, as the endpoint counts them.
    pub input: u32,
    /// Output tokens, as the endpoint counts them.
    pub output: u32,
    /// What went wrong.
    pub error: Option<String>,
    /// Whether it counts in results.
    pub measured: bool,
}

impl Seen {
    /// Time per output token after the first.
    pub fn tpot(&self) -> Option<Seconds> {
        let first = self.ttft.filter(|_| self.output > 1)?;
        Some((self.e2e - first) / f64::from(self.output - 1))
    }
}

/// Drives an endpoint with everything that a workload sends, at its times, and returns what was seen, in the order of
/// sending.
///
/// # Errors
/// An endpoint that is not there, or a workload that cannot be read.
pub fn observe(options: &Options, source: &mut dyn Source) -> Result<(String, Vec<Seen>), ObserveError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(drive(options, source))
}

async fn drive(options: &Options, source: &mut dyn Source) -> Result<(String, Vec<Seen>), ObserveError> {
    let authority = &options.url.authority;
    let failed = |error| ObserveError::Connect(authority.clone(), error);
    let address = tokio::net::lookup_host(authority).await.map_err(failed)?.next();
    let address = address.ok_or_else(|| failed(std::io::Error::other("it has no address")))?;
    let pool = Arc::new(Pool { address, idle: Mutex::new(Vec::new()) });
    let model = match &options.model {
        Some(model) => model.clone(),
        None => served(options, &pool).await?,
    };
    let shared = Arc::new((options.clone(), model.clone()));
    let start = Instant::now();
    let (done, mut ends) = tokio::sync::mpsc::unbounded_channel::<Seen>();
    let (mut seen, mut in_flight) = (Vec::new(), 0_usize);
    loop {
        let due = source.peek()?.map(|at| start + Duration::from_secs_f64(at.get().max(0.0)));
        if due.is_none() && in_flight == 0 {
            break;
        }
        let room = in_flight < options.most;
        tokio::select! {
            biased;
            Some(end) = ends.recv() => {
                in_flight -= 1;
                source.ended(end.ticket, end.sent + end.e2e);
                seen.push(end);
            }
            () = async { sleep_until(due.unwrap_or(start)).await }, if due.is_some() && room => {
                let Some(arrival) = source.pop()? else { continue };
                in_flight += 1;
                let (shared, pool, done) = (Arc::clone(&shared), Arc::clone(&pool), done.clone());
                tokio::spawn(async move {
                    let end = one(&shared.0, &shared.1, &pool, &arrival, start).await;
                    // The receiver lives until every request has ended.
                    let _ = done.send(end);
                });
            }
        }
    }
    seen.sort_by(|a, b| a.sent.get().total_cmp(&b.sent.get()));
    Ok((model, seen))
}

type Sender = SendRequest<Full<Bytes>>;

/// Connections that wait for their next request.
struct Pool {
    address: SocketAddr,
    idle: Mutex<Vec<Sender>>,
}

impl Pool {
    /// Sends a request and waits for the head of its answer; the connection goes back by [`Pool::put`] once the body is read.
    ///
    /// A server may close a connection while it waits for its next request. A request that such a connection did not
    /// answer is sent once more, on a new one.
    async fn send(&self, request: &Request<Full<Bytes>>) -> Result<(Response<Incoming>, Sender), String> {
        let text = |error: hyper::Error| error.to_string();
        if let Some(mut sender) = self.waiting().await {
            match sender.send_request(request.clone()).await {
                Ok(answer) => return Ok((answer, sender)),
                Err(error) if error.is_canceled() || error.is_closed() || error.is_incomplete_message() => {}
                Err(error) => return Err(text(error)),
            }
        }
        let mut sender = self.connect().await.map_err(|error| error.to_string())?;
        let answer = sender.send_request(request.clone()).await.map_err(text)?;
        Ok((answer, sender))
    }

    /// A connection that has answered and is still open.
    async fn waiting(&self) -> Option<Sender> {
        loop {
            let mut sender = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    async fn connect(&self) -> std::io::Result<Sender> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::spawn(async move {
            // A connection that ends shows in the request that used it.
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn put(&self, sender: Sender) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    }
}

fn request(options: &Options, path: &str, body: Option<String>) -> Result<Request<Full<Bytes>>, String> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut builder = Request::builder()
        .method(method)
        .uri(format!("{}{path}", options.url.prefix))
        .header(HOST, &options.url.authority)
        .header(CONTENT_TYPE, "application/json");
    if let Some(key) = &options.key {
        builder = builder.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    builder.body(Full::new(Bytes::from(body.unwrap_or_default()))).map_err(|error| error.to_string())
}

async fn served(options: &Options, pool: &Pool) -> Result<String, ObserveError> {
    let authority = options.url.authority.clone();
    let first = pool.connect().await.map_err(|error| ObserveError::Connect(authority.clone(), error))?;
    pool.put(first);
    let none = |why: String| ObserveError::Model(authority.clone(), why);
    let request = request(options, "/v1/models", None).map_err(none)?;
    let (answer, sender) = pool.send(&request).await.map_err(none)?;
    let body = answer.into_body().collect().await.map_err(|error| none(error.to_string()))?.to_bytes();
    pool.put(sender);
    let document: Value = serde_json::from_slice(&body).map_err(|error| none(error.to_string()))?;
    document["data"][0]["id"].as_str().map(str::to_owned).ok_or_else(|| none(document.to_string()))
}

/// Sends one request and reads its stream.
async fn one(options: &Options, model: &str, pool: &Pool, arrival: &Arrival, start: Instant) -> Seen {
    // Prompts differ from the first word on, so that nothing is found in a cache unless the workload wants it.
    let words = Words::new(mix(options.seed ^ mix(arrival.ticket)), Vec::new());
    let prompt = words.text(0, arrival.input.max(1));
    let body = json!({
        "model": model, "prompt": prompt, "max_tokens": arrival.output, "min_tokens": arrival.output,
        "ignore_eos": true, "temperature": 0, "stream": true, "stream_options": {"include_usage": true},
    });
    let sent = Instant::now();
    let mut seen = Seen {
        ticket: arrival.ticket,
        sent: Seconds::new((sent - start).as_secs_f64()),
        ttft: None,
        e2e: Seconds::ZERO,
        input: arrival.input,
        output: 0,
        error: None,
        measured: arrival.measured,
    };
    let result = timeout(options.timeout, stream(options, pool, body.to_string(), sent, &mut seen)).await;
    seen.error = match result {
        Ok(Ok(())) if seen.output == 0 => Some("no token came".to_owned()),
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(_) => Some(format!("took longer than {} s", options.timeout.as_secs())),
    };
    if seen.e2e == Seconds::ZERO {
        seen.e2e = Seconds::new(sent.elapsed().as_secs_f64());
    }
    seen
}

async fn stream(
    options: &Options,
    pool: &Pool,
    body: String,
    sent: Instant,
    seen: &mut Seen,
) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let request = request(options, "/v1/completions", Some(body))?;
    let (answer, sender) = pool.send(&request).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    if !status.is_success() {
        let whole = body.collect().await.map_err(|error| text(&error))?.to_bytes();
        pool.put(sender);
        return Err(format!(
            "status {}: {}",
            status.as_u16(),
            String::from_utf8_lossy(&whole[..whole.len().min(300)])
        ));
    }
    let (mut line, mut told, mut done) = (Vec::new(), None, false);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| text(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        let now = Seconds::new(sent.elapsed().as_secs_f64());
        for byte in data {
            if *byte != b'\n' {
                line.push(*byte);
                continue;
            }
            done |= event(&line, now, seen, &mut told)?;
            line.clear();
        }
    }
    if !done {
        return Err("the stream ended without [DONE]".to_owned());
    }
    if let Some((input, output)) = told {
        (seen.input, seen.output) = (input, output);
    }
    pool.put(sender);
    Ok(())
}

/// Takes a line of a stream in; true for the last.
fn event(line: &[u8], now: Seconds, seen: &mut Seen, told: &mut Option<(u32, u32)>) -> Result<bool, String> {
    let Some(data) = line.strip_prefix(b"data:") else { return Ok(false) };
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        return Ok(true);
    }
    let event: Value =
        serde_json::from_slice(data).map_err(|error| format!("an event cannot be read: {error}"))?;
    if let Some(message) = event["error"]["message"].as_str() {
        return Err(message.to_owned());
    }
    let usage = |key: &str| event["usage"][key].as_u64().and_then(|count| u32::try_from(count).ok());
    if let (Some(input), Some(output)) = (usage("prompt_tokens"), usage("completion_tokens")) {
        *told = Some((input, output));
    }
    let choice = &event["choices"][0];
    let piece = choice["text"].as_str().or_else(|| choice["delta"]["content"].as_str());
    if piece.is_some_and(|piece| !piece.is_empty()) {
        seen.ttft.get_or_insert(now);
        seen.e2e = now;
        seen.output += 1;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_others_refused() {
        let url = Url::parse("http://127.0.0.1:8000/v1/").unwrap();
        assert_eq!((url.authority.as_str(), url.prefix.as_str()), ("127.0.0.1:8000", ""));
        assert_eq!(
            Url::parse("http://a/b/v1").unwrap(),
            Url { authority: "a:80".to_owned(), prefix: "/b".to_owned() }
        );
        for wrong in ["", "a:80", "https://a", "http:///x"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }
}
