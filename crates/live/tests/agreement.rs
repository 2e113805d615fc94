//! What is decided live is decided again from the log: by hash, whatever the wall clock did.

mod common;

use common::{cluster, get, post, request, settings, up};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;
use supernode_live::core::{Replayed, replay};
use supernode_live::log::Reader;
use supernode_live::text::mix;
use supernode_live::{Server, Settings};

fn again(log: &Path) -> Replayed {
    let cluster = cluster();
    let meters = cluster.meters();
    replay(Reader::open(log).unwrap(), cluster.world, cluster.jobs, meters).unwrap()
}

/// Sends requests of all kinds from several connections; some clients hang up. Returns ids of answers that ended.
fn load(address: SocketAddr, seed: u64, requests: u64) -> Vec<String> {
    let client = |number: u64| {
        let mut ids = Vec::new();
        for turn in 0..requests {
            let draw = mix(seed ^ mix(number * 1000 + turn));
            let tokens = 1 + draw % 40;
            let prompt = "word ".repeat(1 + (draw >> 8) as usize % 120);
            let body = json!({"model": "model", "prompt": prompt, "max_tokens": tokens, "ignore_eos": true,
                "stream": draw & 1 == 1, "n": 1 + (draw >> 20) % 2});
            if draw >> 32 & 7 == 0 {
                hang_up(
                    address,
                    &json!({"prompt": prompt, "max_tokens": 400, "ignore_eos": true, "stream": true})
                        .to_string(),
                );
                continue;
            }
            let answer = post(address, "/v1/completions", &body);
            assert_eq!(answer.status, 200, "{answer:?}");
            let id =
                if draw & 1 == 1 { answer.events()[0]["id"].clone() } else { answer.json()["id"].clone() };
            ids.push(id.as_str().unwrap().trim_start_matches("cmpl-").to_owned());
        }
        ids
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|number| scope.spawn(move || client(number))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn hang_up(address: SocketAddr, body: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head =
        format!("POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    let _ = stream.read(&mut [0; 64]);
}

fn settings_in(folder: &Path) -> Settings {
    Settings {
        log: Some(folder.join("input.log")),
        ledger: Some(folder.join("ledger.db")),
        kv_base: Some(0),
        ..settings()
    }
}

fn command(server: &Server, body: &serde_json::Value) -> u64 {
    let answer = post(server.addresses.admin.unwrap(), "/command", body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["seq"].as_u64().unwrap()
}

/// The state once nothing is in flight: what clients have hung up on is noticed a little later.
fn quiet(server: &Server) -> serde_json::Value {
    for _ in 0..1000 {
        let state = get(server.addresses.admin.unwrap(), "/state").json();
        if state["in_flight"] == 0 {
            return state;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("requests stay in flight");
}

#[test]
fn a_replay_of_the_log_makes_the_same_decisions() {
    for (seed, speed) in [(1, "1"), (2, "10"), (3, "1000")] {
        let folder = tempfile::tempdir().unwrap();
        let server = up(Settings { speed: speed.parse().unwrap(), ..settings_in(folder.path()) });
        let main = server.addresses.main;
        let ids = std::thread::scope(|scope| {
            let client = scope.spawn(move || load(main, seed, if speed == "1" { 4 } else { 12 }));
            std::thread::sleep(Duration::from_millis(30));
            command(&server, &json!({"kill": {"chip": 1}}));
            command(&server, &json!({"latency": {"deployment": 0, "seconds": 0.01}}));
            command(&server, &json!({"policy": {"pool": 0, "router": "prefix-aware"}}));
            command(&server, &json!({"kill": {"link": 5}}));
            command(&server, &json!({"scale": {"pool": 0, "instances": 5}}));
            std::thread::sleep(Duration::from_millis(30));
            command(&server, &json!({"heal": {"chip": 1}}));
            command(&server, &json!({"drain": {"instance": 2}}));
            client.join().unwrap()
        });
        let state = quiet(&server);
        let hash = server.stop().unwrap();
        let found = again(&folder.path().join("input.log"));
        assert!(found.differs.is_none() && found.checks >= 1, "{found:?}");
        assert_eq!(found.hash, hash, "nothing was in flight at the end");
        assert!(!found.torn);
        assert_eq!(found.meters.completed, state["completed"].as_u64().unwrap());
        booked(&folder.path().join("ledger.db"), &ids);
    }
}

/// Every id is in the ledger, once.
fn booked(ledger: &Path, ids: &[String]) {
    let connection = rusqlite::Connection::open(ledger).unwrap();
    let mut find =
        connection.prepare("SELECT count(*) FROM requests WHERE id = ?1 AND outcome = 'completed'").unwrap();
    for id in ids {
        let rows: u64 = find.query_row([id], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1, "{id}");
    }
    assert!(!ids.is_empty());
}

#[test]
fn a_torn_log_is_good_up_to_the_tear() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("input.log");
    let server = up(settings_in(folder.path()));
    load(server.addresses.main, 7, 3);
    std::thread::sleep(Duration::from_millis(1100));
    load(server.addresses.main, 8, 3);
    server.stop().unwrap();
    let bytes = std::fs::read(&log).unwrap();
    let whole = again(&log);
    assert!(whole.checks >= 2 && whole.differs.is_none(), "{whole:?}");
    let line = bytes[..bytes.len() * 3 / 4].iter().rposition(|byte| *byte == b'\n').unwrap();
    // In the middle of a line: every line is longer than this.
    std::fs::write(&log, &bytes[..line + 10]).unwrap();
    let torn = again(&log);
    assert!(torn.torn && torn.differs.is_none() && torn.inputs < whole.inputs, "{torn:?}");
    // A log that has been tampered with is found out.
    let text = String::from_utf8(bytes).unwrap();
    let changed = text.replacen("\"input\":", "\"input\":1", 1);
    std::fs::write(&log, changed).unwrap();
    assert!(again(&log).differs.is_some());
}

#[test]
fn live_latencies_are_those_of_the_replay() {
    let folder = tempfile::tempdir().unwrap();
    let server = up(Settings { speed: "1".parse().unwrap(), ..settings_in(folder.path()) });
    let body = json!({"prompt": "one two three", "max_tokens": 20, "ignore_eos": true, "stream": true});
    let started = std::time::Instant::now();
    let answer = post(server.addresses.main, "/v1/completions", &body);
    let wall = started.elapsed().as_secs_f64();
    assert_eq!(answer.events().len(), 21);
    let state = get(server.addresses.admin.unwrap(), "/state").json();
    server.stop().unwrap();
    let found = again(&folder.path().join("input.log"));
    let replayed = found.meters.instances.iter().map(|meter| meter.e2e.sum).sum::<f64>();
    assert!(wall >= replayed, "no byte leaves before its instant: {wall} against {replayed}");
    // The wall clock of a busy machine is not the server's fault: the bound is loose.
    assert!(wall < replayed + 0.5, "{wall} against {replayed}");
    assert!(state["energy_j"].as_f64().unwrap() > 0.0);
}

#[test]
fn an_instance_has_its_own_port_and_takes_what_comes_there() {
    let server = up(settings());
    let (instance, address) = server.addresses.instances[2];
    assert_eq!(instance, 2);
    for _ in 0..3 {
        let body = json!({"prompt": "one two three", "max_tokens": 3, "ignore_eos": true});
        assert_eq!(post(address, "/v1/completions", &body).status, 200);
    }
    let metrics = get(address, "/metrics").body;
    assert!(
        metrics.contains("vllm:generation_tokens_total{model_name=\"model\",engine=\"0\"} 9"),
        "{metrics}"
    );
    command(&server, &json!({"kill": {"instance": 2}}));
    assert_eq!(get(address, "/health").status, 503);
    assert_eq!(post(address, "/v1/completions", &json!({"prompt": "one", "max_tokens": 3})).status, 503);
    assert_eq!(get(server.addresses.main, "/health").status, 200);
    let chips = get(server.addresses.metrics.unwrap(), "/metrics").body;
    assert_eq!(chips.matches("DCGM_FI_DEV_POWER_USAGE{").count(), 8);
    command(&server, &json!({"kill": {"node": 1}}));
    let chips = get(server.addresses.metrics.unwrap(), "/metrics").body;
    assert_eq!(chips.matches("DCGM_FI_DEV_XID_ERRORS{").count(), 8);
    assert_eq!(
        chips
            .lines()
            .filter(|line| line.starts_with("DCGM_FI_DEV_XID_ERRORS") && line.ends_with(" 79"))
            .count(),
        4
    );
    let wrong = request(server.addresses.admin.unwrap(), "POST", "/command", "guess", "{}");
    assert_eq!(wrong.status, 401);
    for body in [
        json!({"kill": {"chip": 99}}),
        json!({"kill": {}}),
        json!({"fly": 1}),
        json!({"all": [{"close": {"deployment": 0}}, {"drain": {"instance": 77}}]}),
    ] {
        assert_eq!(post(server.addresses.admin.unwrap(), "/command", &body).status, 400, "{body}");
    }
    assert_eq!(
        post(server.addresses.main, "/v1/completions", &json!({"prompt": "one", "max_tokens": 3})).status,
        200
    );
    server.stop().unwrap();
}
