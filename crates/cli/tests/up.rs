//! `supernode up` on the real binary: what `observe` measures is what `replay` says, and a crash loses nothing.

#![cfg(feature = "live")]

use assert_cmd::Command;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};

const CLUSTER: [&str; 8] =
    ["--system", "h100-8", "--model", "meta-llama/Llama-3.1-8B", "--weight-dtype", "fp8", "--instances", "2"];

struct Up {
    child: Child,
    main: String,
    admin: String,
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn up(folder: &Path, speed: &str) -> Up {
    let file = |name: &str| folder.join(name).display().to_string();
    let own = [
        "--port",
        "0",
        "--admin-port",
        "0",
        "--metrics-port",
        "0",
        "--admin-token",
        "token",
        "--speed",
        speed,
    ];
    let files = ["--log".to_owned(), file("input.log"), "--ledger".to_owned(), file("ledger.db")];
    let mut child = Process::new(env!("CARGO_BIN_EXE_supernode"))
        .arg("up")
        .args(CLUSTER)
        .args(own)
        .args(files)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is built");
    let (mut main, mut admin) = (String::new(), String::new());
    for line in BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok) {
        let address = |line: &str| {
            line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or("").to_owned()
        };
        if line.starts_with("OpenAI API") {
            main = address(&line);
        } else if line.starts_with("console") {
            admin = address(&line);
        } else if line.starts_with("connections") {
            break;
        }
    }
    assert!(!main.is_empty(), "it says where it listens");
    Up { child, main, admin }
}

fn post(address: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer token\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn json(arguments: &[&str]) -> Value {
    let output = Command::cargo_bin("supernode").unwrap().args(arguments).arg("--json").output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {message}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn what_is_observed_is_what_the_replay_says_and_a_crash_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut server = up(folder.path(), "1");
    let url = format!("http://{}", server.main);
    let (row, trace) = (file("row.csv"), file("trace.jsonl"));
    let seen = json(&[
        "observe",
        &url,
        "--concurrency",
        "4",
        "--requests",
        "24",
        "--isl",
        "100",
        "--osl",
        "16",
        "--column",
        "system=h100-8",
        "--column",
        "model=meta-llama/Llama-3.1-8B",
        "--row",
        &row,
        "--save-trace",
        &trace,
    ]);
    assert_eq!((&seen["completed"], &seen["failed"]), (&24.into(), &0.into()));
    assert_eq!(seen["output_tokens_mean"], 16.0);
    assert!(post(&server.admin, "/command", r#"{"kill": {"chip": 0}}"#).contains("\"seq\":"));
    assert!(
        post(&server.main, "/v1/completions", r#"{"prompt": "a b c", "max_tokens": 3}"#)
            .starts_with("HTTP/1.1 200")
    );
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let replay = json(&["replay", &file("input.log")]);
    assert_eq!((&replay["agrees"], &replay["completed"]), (&true.into(), &25.into()));
    // The observer's wall clock never runs ahead of the virtual one; how far it is behind is this machine's business.
    let (live, virtual_) =
        (seen["tpot_s"]["mean"].as_f64().unwrap(), replay["tpot_s"]["p50"].as_f64().unwrap());
    assert!(live > 0.0 && virtual_ > 0.0);
    let connection = rusqlite_rows(&file("ledger.db"));
    assert!(connection > 0, "the ledger is there after a crash");
    // The trace is one that `simulate` replays, the row one that `validate` reads.
    let simulated = json(&[&["simulate"], &CLUSTER[..6], &["--trace", &trace]].concat());
    assert_eq!(simulated["requests"]["completed"], 24);
    let text = std::fs::read_to_string(&row).unwrap();
    assert!(text.starts_with("id,mode,model,system,chips,isl,osl,concurrency,ttft_ms,"), "{text}");
    Command::cargo_bin("supernode").unwrap().args(["validate", "--data", &row]).assert().success();
}

/// The size of the ledger's write-ahead log or file: its rows are counted in the tests of the crate itself.
fn rusqlite_rows(path: &str) -> u64 {
    let size = |path: &str| std::fs::metadata(path).map_or(0, |file| file.len());
    size(path) + size(&format!("{path}-wal"))
}

#[test]
fn wrong_input_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("no.log").display().to_string();
    std::fs::write(&log, "{}\n").unwrap();
    let keys = folder.path().join("keys.toml").display().to_string();
    std::fs::write(&keys, "[[key]]\npublic = \"a\"\nsha256 = \"b\"\ntenant = 1\n").unwrap();
    let cases: [(&[&str], &str); 8] = [
        (&["replay", &log], "first line of an input log"),
        (&["replay", "/nowhere/input.log"], "/nowhere/input.log"),
        (&["up", "--speed", "0"], "speed"),
        (&["up", "--host", "0.0.0.0", "--port", "0"], "--keys"),
        (&["up", "--port", "0", "--keys", &keys], "64 hexadecimal digits"),
        (&["observe", "https://a"], "http://host:port"),
        (&["observe", "http://127.0.0.1:1", "--row", "x.csv"], "--column system"),
        (&["observe", "http://127.0.0.1:1", "--column", "ttft_ms=1"], "measured"),
    ];
    for (arguments, word) in cases {
        let output = Command::cargo_bin("supernode").unwrap().args(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(word), "{arguments:?}: `{word}` is not in: {message}");
    }
    let output = Command::cargo_bin("supernode").unwrap().args(["keys", "--tenant", "3"]).output().unwrap();
    let entry = String::from_utf8(output.stdout).unwrap();
    assert!(entry.contains("tenant = 3") && !entry.contains("sn-"), "{entry}");
}
