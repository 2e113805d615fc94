//! What is streamed beside completions: responses, the state, changes of prefix caches; and commands that come by themselves.

mod common;

use common::{get, post, request, settings, up};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use supernode_live::Settings;

#[test]
fn responses_are_streamed_as_typed_events() {
    let server = up(settings());
    let body = json!({"input": "say something", "max_output_tokens": 6, "stream": true});
    let answer = post(server.addresses.main, "/v1/responses", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let kinds: Vec<&str> = answer.body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let data: Vec<Value> = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    for (at, (kind, event)) in kinds.iter().zip(&data).enumerate() {
        assert_eq!((&event["type"], &event["sequence_number"]), (&json!(kind), &json!(at)));
    }
    let order = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ];
    assert_eq!(kinds[..4], order);
    let end = ["response.output_text.done", "response.content_part.done", "response.output_item.done"];
    assert_eq!(kinds[kinds.len() - 4..kinds.len() - 1], end);
    let deltas: Vec<&str> = data.iter().filter_map(|event| event["delta"].as_str()).collect();
    let last = &data.last().unwrap()["response"];
    assert_eq!(last["usage"]["output_tokens"], deltas.len());
    assert_eq!(last["output"][0]["content"][0]["text"], deltas.concat());
    assert_eq!(data.last().unwrap()["type"], format!("response.{}", last["status"].as_str().unwrap()));
    let empty = post(server.addresses.main, "/v1/responses", &json!({"input": "", "stream": true}));
    assert_eq!(empty.status, 400);
    server.stop().unwrap();
}

#[test]
fn numbers_and_methods_are_what_http_and_json_say() {
    let server = up(settings());
    let main = server.addresses.main;
    let body =
        json!({"prompt": [1.0, 2.0, 3], "max_tokens": 4.0, "n": 2.0, "seed": -3.0, "ignore_eos": true});
    assert_eq!(post(main, "/v1/completions", &body).json()["usage"]["completion_tokens"], 8);
    assert_eq!(post(main, "/v1/completions", &json!({"prompt": "a", "max_tokens": 1.5})).status, 400);
    let wrong = request(main, "TRACE", "/v1/responses", "", "");
    assert!(wrong.status == 405 && wrong.head.to_ascii_lowercase().contains("\r\nallow: post"), "{wrong:?}");
    let wrong = request(main, "DELETE", "/v1/models", "", "");
    assert!(wrong.status == 405 && wrong.head.to_ascii_lowercase().contains("\r\nallow: get"), "{wrong:?}");
    let render = json!({"messages": [{"role": "nobody", "content": "a"}]});
    assert_eq!(post(main, "/v1/chat/completions/render", &render).status, 400);
    server.stop().unwrap();
}

#[test]
fn the_state_is_streamed_once_in_full_and_then_as_what_changed() {
    let server = up(settings());
    let stream = TcpStream::connect(server.addresses.admin.unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (&stream)
        .write_all(b"GET /state/stream HTTP/1.1\r\nhost: a\r\nauthorization: Bearer token\r\n\r\n")
        .unwrap();
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let mut next = || -> Value {
        let line = lines.find(|line| line.starts_with("data: ")).unwrap();
        serde_json::from_str(&line[6..]).unwrap()
    };
    let first = next();
    assert!(first["layout"]["seats"].is_array() && first["jobs"]["rows"].is_array(), "{first}");
    let second = next();
    assert!(second["virtual_seconds"].is_number() && second.get("layout").is_none(), "{second}");
    assert!(second.get("instances").is_none(), "nothing has changed there: {second}");
    let body = json!({"kill": {"chip": 1}});
    assert_eq!(post(server.addresses.admin.unwrap(), "/command", &body).status, 200);
    let told = (0..4).map(|_| next()).find(|patch| patch.get("broken").is_some()).unwrap();
    assert_eq!(told["broken"][0]["dead"], json!([1]));
    server.stop().unwrap();
}

#[test]
fn scripted_commands_come_at_their_times() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("faults.jsonl");
    let lines = "{\"at\": \"5 s\", \"kill\": {\"chip\": 3}}\n{\"at\": \"0 s\", \"kill\": {\"chip\": 7}}\n{\"at\": \"6 s\", \"kill\": {\"chip\": 99}}\n";
    std::fs::write(&script, lines).unwrap();
    let log = folder.path().join("input.log");
    let server = up(Settings { script: Some(script), log: Some(log.clone()), ..settings() });
    for _ in 0..500 {
        let dead = get(server.addresses.admin.unwrap(), "/state").json()["broken"][0]["dead"].clone();
        if dead == json!([3, 7]) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    server.stop().unwrap();
    let text = std::fs::read_to_string(log).unwrap();
    let parts: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line.get("part").is_some())
        .collect();
    assert_eq!(parts.len(), 2, "what names nothing is left out: {text}");
    assert!(parts[1]["at"].as_u64().unwrap() >= 5_000_000_000, "{parts:?}");
}

/// Greets as a ZeroMQ peer of that kind.
fn peer(address: SocketAddr, kind: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xFF, 0x7F, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting).unwrap();
    stream.read_exact(&mut [0; 64]).unwrap();
    let mut ready = b"\x05READY\x0BSocket-Type\x00\x00\x00".to_vec();
    ready.push(kind.len() as u8);
    ready.extend_from_slice(kind.as_bytes());
    stream.write_all(&[&[4, ready.len() as u8][..], &ready].concat()).unwrap();
    message(&mut stream);
    stream
}

/// The frames of the next message, or of a command.
fn message(stream: &mut TcpStream) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    loop {
        let mut flags = [0];
        stream.read_exact(&mut flags).unwrap();
        let mut length = [0; 8];
        let at = if flags[0] & 2 == 0 { 7 } else { 0 };
        stream.read_exact(&mut length[at..]).unwrap();
        let mut body = vec![0; u64::from_be_bytes(length) as usize];
        stream.read_exact(&mut body).unwrap();
        frames.push(body);
        if flags[0] & 1 == 0 {
            return frames;
        }
    }
}

#[test]
fn blocks_are_told_with_their_tokens_and_can_be_asked_for_again() {
    let server = up(Settings { kv_base: Some(0), kv_replay: Some(0), ..settings() });
    let ((instance, events), (_, replay)) = (server.addresses.kv[0], server.addresses.kv_replay[0]);
    let address = server.addresses.instances.iter().find(|one| one.0 == instance).unwrap().1;
    let mut subscriber = peer(events, "SUB");
    subscriber.write_all(b"\x00\x01\x01").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let tokens: Vec<u32> = (100..132).collect();
    let body = json!({"prompt": tokens, "max_tokens": 2, "ignore_eos": true});
    assert_eq!(post(address, "/v1/completions", &body).status, 200);
    let told = message(&mut subscriber);
    assert_eq!((told.len(), &told[1]), (3, &0u64.to_be_bytes().to_vec()));
    // A block of sixteen tokens, 100 to 115: an array of 16, small numbers as one byte each.
    let block: Vec<u8> = [0xDC, 0, 16].into_iter().chain(100..116u8).collect();
    assert!(told[2].windows(block.len()).any(|bytes| bytes == block), "{:x?}", told[2]);
    let mut asks = peer(replay, "DEALER");
    asks.write_all(&[&[1, 0, 0, 8][..], &0u64.to_be_bytes()].concat()).unwrap();
    assert_eq!(message(&mut asks), [Vec::new(), told[1].clone(), told[2].clone()], "as it was told");
    let mut last = message(&mut asks);
    while last[1] != (-1i64).to_be_bytes() {
        last = message(&mut asks);
    }
    assert!(last[2].is_empty());
    server.stop().unwrap();
}
