//! Jobs are submitted, watched and stopped while the cluster serves, and a replay decides on them alike.

mod common;

use common::{cluster, get, post, settings, up};
use serde_json::{Value, json};
use std::time::Duration;
use supernode_live::core::replay;
use supernode_live::log::Reader;
use supernode_live::{Server, Settings};

fn order(server: &Server, body: &Value) -> Value {
    let answer = post(server.addresses.admin.unwrap(), "/command", body);
    assert_eq!(answer.status, 200, "{body}: {answer:?}");
    answer.json()
}

#[track_caller]
fn refused(server: &Server, body: &Value, words: &str) {
    let answer = post(server.addresses.admin.unwrap(), "/command", body);
    assert_eq!(answer.status, 400, "{body}: {answer:?}");
    assert!(answer.body.contains(words), "`{words}` is not in {}", answer.body);
}

fn job(server: &Server, id: u64) -> Value {
    let jobs = get(server.addresses.admin.unwrap(), "/jobs").json();
    let rows = jobs["rows"].as_array().unwrap();
    rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("no job {id} in {jobs}")).clone()
}

/// The job once it is in that state.
#[track_caller]
fn becomes(server: &Server, id: u64, state: &str) -> Value {
    for _ in 0..500 {
        let found = job(server, id);
        if found["state"] == state {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("job {id} does not become {state}: {}", job(server, id));
}

fn serves(server: &Server) {
    let body = json!({"prompt": "one two", "max_tokens": 3, "ignore_eos": true});
    assert_eq!(post(server.addresses.main, "/v1/completions", &body).status, 200);
}

#[test]
fn jobs_run_beside_requests_and_instances_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("input.log");
    let server = up(Settings { log: Some(log.clone()), speed: "1".parse().unwrap(), ..settings() });
    // Four instances stand on all eight chips; two of them go, and their node is free.
    let long = json!({"submit_job": {"name": "long", "chips": 4, "duration": "1 h", "checkpoint_write": "1 s", "tenant": "a"}});
    assert_eq!(order(&server, &long)["jobs"], json!([0]));
    let waiting = job(&server, 0);
    assert_eq!((&waiting["state"], &waiting["chips"]), (&json!("waiting"), &json!([])));
    assert!(waiting["why"].as_str().unwrap().contains("0 chips are free"), "{waiting}");
    order(&server, &json!({"drain": {"instance": 2}}));
    order(&server, &json!({"drain": {"instance": 3}}));
    assert_eq!(becomes(&server, 0, "running")["chips"], json!([[4, 8]]));
    serves(&server);
    // It is preempted for one that waits: it goes behind it.
    let short =
        json!({"submit_job": {"name": "short", "chips": 2, "duration": "2 s", "count": 2, "tenant": "b"}});
    assert_eq!(order(&server, &short)["jobs"], json!([1, 2]));
    order(&server, &json!({"preempt_job": 0}));
    becomes(&server, 1, "running");
    assert_eq!(job(&server, 0)["preemptions"], 1);
    becomes(&server, 2, "finished");
    assert_eq!(becomes(&server, 0, "running")["preemptions"], 1);
    // Held, it does not start though its chips are free.
    order(&server, &json!({"hold_job": 0}));
    let held = becomes(&server, 0, "held");
    assert!(held["why"].as_str().unwrap().contains("an operator holds it back"), "{held}");
    order(&server, &json!({"release_job": 0}));
    becomes(&server, 0, "running");
    // A chip under it breaks; it runs again once the chip is mended.
    order(&server, &json!({"kill": {"chip": 5}}));
    assert_eq!(becomes(&server, 0, "waiting")["failures"], 1);
    order(&server, &json!({"heal": {"chip": 5}}));
    becomes(&server, 0, "running");
    order(&server, &json!({"drain_node": 1}));
    becomes(&server, 0, "waiting");
    order(&server, &json!({"undrain_node": 1}));
    becomes(&server, 0, "running");
    order(&server, &json!({"job_priority": {"job": 0, "priority": 7}}));
    assert_eq!(job(&server, 0)["priority"], 7);
    // A new instance takes the first chips that no instance stands on, and the job goes.
    order(&server, &json!({"scale": {"pool": 0, "instances": 3}}));
    let moved = becomes(&server, 0, "waiting");
    assert!(moved["preemptions"].as_u64().unwrap() >= 4, "{moved}");
    order(&server, &json!({"cancel_job": 0}));
    becomes(&server, 0, "cancelled");
    serves(&server);
    let state = get(server.addresses.admin.unwrap(), "/state").json();
    assert_eq!(state["jobs"]["over"], 3);
    let hash = server.stop().unwrap();
    let again = cluster();
    let meters = again.meters();
    let found = replay(Reader::open(&log).unwrap(), again.world, again.jobs, meters).unwrap();
    assert!(found.differs.is_none() && found.checks > 0, "{found:?}");
    assert_eq!(found.hash, hash);
    assert_eq!(found.jobs.unwrap().over, 3);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let server = up(settings());
    for (body, words) in [
        (json!({"submit_job": {"chips": 0, "duration": "1 h"}}), "a job needs at least one chip"),
        (json!({"submit_job": {"chips": 9, "duration": "1 h"}}), "it asks for 9 chips, the cluster has 8"),
        (json!({"submit_job": {"chips": 1}}), "duration"),
        (json!({"submit_job": {"chips": 1, "duration": "1 h", "tenant": "x"}}), "there is no tenant `x`"),
        (json!({"submit_job": {"chips": 1, "duration": "1 h", "colour": 1}}), "colour"),
        (json!({"submit_job": {"chips": 1, "duration": "1 h", "at": "2 h"}}), "submitted when it is sent"),
        (json!({"submit_job": {"chips": 1, "kind": "training", "steps": 5}}), "name one"),
        (json!({"submit_job": {"chips": 1, "kind": "serving"}}), "services are the deployments"),
        (json!({"submit_job": []}), "submitted: job"),
        (json!({"submit_job": null}), "submitted: job"),
        (json!({"preempt_job": 0}), "there is no job 0"),
        (json!({"preempt_job": -1}), "preempt_job"),
        (json!({"drain_node": 2}), "there is no node 2; there are 2"),
        (json!({"job_quota": {"tenant": "c", "chips": 1}}), "there is no tenant `c`"),
        (json!({"job_priority": {"job": 1}}), "job_priority"),
        (json!({"fly_job": 1}), "there is no command `fly_job`; there are kill"),
        (json!({}), "a command is one key"),
        (json!([1]), "cannot be read"),
    ] {
        refused(&server, &body, words);
    }
    assert_eq!(get(server.addresses.admin.unwrap(), "/jobs").json()["over"], 0);
    assert_eq!(post(server.addresses.admin.unwrap(), "/jobs", &json!({})).status, 405);
    order(&server, &json!({"submit_job": {"chips": 1, "duration": "1 h"}}));
    refused(&server, &json!({"preempt_job": 0}), "job 0 is waiting; only a running job can be preempted");
    refused(&server, &json!({"release_job": 0}), "only a job that is held");
    serves(&server);
    server.stop().unwrap();
}
