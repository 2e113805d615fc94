//! Claims of `docs/security.md` that no other test holds.

mod common;

use common::{Answer, get, request, settings, up};
use serde_json::json;
use std::path::Path;
use supernode_live::keys;
use supernode_live::up::Settings;

/// All that a folder holds, as bytes.
fn everything(folder: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.flat_map(|file| std::fs::read(file).unwrap()).collect()
}

fn holds(all: &[u8], text: &str) -> bool {
    all.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn what_people_write_is_kept_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (key, entry) = keys::make(1).unwrap();
    let path = folder.path().join("keys.toml");
    std::fs::write(&path, entry).unwrap();
    let server = up(Settings {
        keys: Some(path),
        log: Some(folder.path().join("input.log")),
        ledger: Some(folder.path().join("ledger.db")),
        ..settings()
    });
    let prompt = "zq-private-7391 of nobody else's concern";
    let body = json!({"prompt": prompt, "max_tokens": 2, "user": "zq-user-7391"}).to_string();
    let answer: Answer = request(server.addresses.main, "POST", "/v1/completions", &key, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    server.stop().unwrap();
    let all = everything(folder.path());
    let secret = key.rsplit('-').next().unwrap();
    let public = key.split('-').nth(1).unwrap();
    assert!(holds(&all, public), "the ledger says whose request it was");
    for hidden in ["zq-private-7391", "zq-user-7391", secret] {
        assert!(!holds(&all, hidden), "`{hidden}` was kept");
    }
}

#[test]
fn clients_reach_no_command_and_no_state() {
    let server = up(settings());
    let main = server.addresses.main;
    for (method, path) in
        [("GET", "/state"), ("GET", "/metrics/state"), ("POST", "/command"), ("GET", "/openapi.json/..")]
    {
        let status = request(main, method, path, "", "{}").status;
        assert!(matches!(status, 404 | 405), "{method} {path}: {status}");
    }
    let admin = server.addresses.admin.unwrap();
    assert!(admin.ip().is_loopback(), "commands are taken from this machine alone");
    assert_eq!(get(admin, "/state").status, 200);
    server.stop().unwrap();
}
