//! A small cluster on a made-up chip, and a client that sees every byte.

#![allow(dead_code)]

use serde_json::Value;
use serving::{
    Admission, ClusterConfig, DeploymentConfig, EngineLimits, LoadTime, PoolConfig, Recovery, Role,
    RouterPolicy,
};
use sim::placement::PoolHardware;
use sim::testing::Roofline;
use sim::{Options, World};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use supernode_live::app::{Model, Money, PoolFacts};
use supernode_live::jobs::Jobs;
use supernode_live::{Cluster, Server, Settings};
use units::{Bytes, DollarsPerHour, Seconds, Watts};

/// Four instances of two chips each in one system of eight.
pub fn cluster() -> Cluster<Roofline> {
    let limits = EngineLimits { prefix_cache: Some(16), max_context: 8192, ..EngineLimits::default() };
    let pool = PoolConfig {
        name: "pool".to_owned(),
        role: Role::Aggregated,
        limits,
        instances: 4,
        router: RouterPolicy::LeastTokens,
        load: LoadTime { warm: Seconds::new(1.0), cold: Seconds::new(5.0) },
        scaling: None,
    };
    let deployment = DeploymentConfig {
        name: "model".to_owned(),
        pools: vec![pool],
        tiers: Vec::new(),
        admission: Admission::default(),
        recovery: Recovery::default(),
    };
    let config = ClusterConfig { deployments: vec![deployment], ..ClusterConfig::default() };
    let hardware = PoolHardware {
        system: "system".to_owned(),
        system_chips: 8,
        node_chips: 4,
        board_chips: 2,
        ranks_per_chip: 1,
        ranks: 2,
        ranks_per_attention: 2,
    };
    let options = Options { hardware: vec![hardware], ..Options::default() };
    let facts = PoolFacts {
        name: "pool".to_owned(),
        deployment: 0,
        chip: "Chip".to_owned(),
        ascend: false,
        system: "system".to_owned(),
        idle_chip: Watts::new(100.0),
        peak_chip: Watts::new(700.0),
        memory_chip: Bytes::new(80e9),
        weights_chip: Bytes::new(20e9),
        kv_chip: Bytes::new(50e9),
    };
    Cluster {
        world: World::new(config, vec![Roofline::default()], options).unwrap(),
        idle: vec![Watts::new(200.0)],
        models: vec![Model {
            name: "model".to_owned(),
            deployment: 0,
            max_context: 8192,
            block: 16,
            gate: 1,
        }],
        pools: vec![facts],
        entries: vec![0, 1, 2, 3],
        chips: 8,
        jobs: Some(jobs()),
        money: Money { hourly: Some(DollarsPerHour::new(8.0)), per_joule: 1e-8 },
    }
}

/// A workload manager on the same eight chips.
pub fn jobs() -> Jobs {
    let text = "[cluster]\nchips = 8\nnode = 4\n[[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"b\"\n";
    let raw = cluster::file::parse("jobs.toml", text).unwrap();
    let place = cluster::Place { file: "jobs.toml".to_owned(), text: text.to_owned() };
    let catalog = hardware::Catalog::builtin();
    let (manager, intake) = jobs::Manager::open(&catalog, raw, &place, Default::default()).unwrap();
    Jobs::new(manager, intake, 0)
}

/// Any free ports, a hundred times as fast as the cluster would be.
pub fn settings() -> Settings {
    Settings {
        port: 0,
        admin_port: Some(0),
        metrics_port: Some(0),
        instance_base: Some(0),
        speed: "100".parse().unwrap(),
        token: Some("token".to_owned()),
        drain: Duration::from_secs(5),
        ..Settings::default()
    }
}

pub fn up(settings: Settings) -> Server {
    Server::start(cluster(), settings).unwrap()
}

/// An answer: status, head, body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The documents of a stream; the last event must be `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let mut data: Vec<&str> = self.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(data.pop(), Some("[DONE]"), "{self:?}");
        data.into_iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }
}

/// Sends raw bytes and reads until the server closes or the answer is whole.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A server that refuses early may have closed already.
    let _ = stream.write_all(bytes);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Answer { status, head: head.to_owned(), body: if chunked { unchunked(body) } else { body.to_owned() } }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..size).filter(|chunk| !chunk.is_empty()) else { break };
        whole.push_str(chunk);
        body = rest.get(size + 2..).unwrap_or("");
    }
    whole
}

pub fn request(address: SocketAddr, method: &str, path: &str, key: &str, body: &str) -> Answer {
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    raw(address, text.as_bytes())
}

pub fn post(address: SocketAddr, path: &str, body: &Value) -> Answer {
    request(address, "POST", path, "token", &body.to_string())
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, "token", "")
}
