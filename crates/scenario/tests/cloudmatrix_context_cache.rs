//! The context cache of "Serving Large Language Models on Huawei CloudMatrix384" (arXiv 2506.12708 v2, section 5.4.4).
//!
//! One prefill instance of 16 packages (EP32), prompts of 4,096 tokens of which a share is in the pooled memory, ten users per
//! rank. Published: prefill throughput 1.42 times as high at 50 % reuse as at 12.5 %, and 2.28 times at 90 % as without; time
//! to the first token 34 % less at 50 % and 59 % less at 90 %.
//!
//! One figure is fitted here: what software gets out of the pool, 0.8 GB/s per package where the fabric carries 300. At the
//! fabric's own rate the throughput at 90 % comes out half as high again.

use estimate::Resolver;
use hardware::Catalog;
use std::path::Path;
use supernode_scenario as scenario;

/// Throughput in prompt tokens per second and mean time to the first token in seconds with `reuse` of each prompt cached.
fn prefill(reuse: f64) -> (f64, f64) {
    let text = format!(
        r#"
[[deployment]]
model = "deepseek-ai/DeepSeek-R1"
system = "cloudmatrix384"
engine = "cloudmatrix-infer"
weight_dtype = "int8"
[[deployment.pool]]
dp = 32
ep = 32
token_budget = 8192
# Memory for five prompts per rank: what is reused comes from the pool, not from the device.
kv_blocks = 600
[[deployment.tier]]
kind = "pool"
bandwidth = "12.8 GB/s"
[workload]
arrival = "closed"
users = 320
warm_up = 3000
requests = 2000
isl = 4096
osl = 1
[workload.prefix]
groups = 1000
share = {reuse}
block = 128
"#
    );
    let raw = scenario::parse("context cache", &text).expect("a scenario");
    let resolver = Resolver::new(Catalog::builtin());
    let resolved = scenario::resolve(&raw, Path::new(""), &text, &resolver).expect("it resolves");
    let metrics = scenario::run(resolved, ()).expect("it runs").metrics;
    let found = (metrics.cached_tokens + metrics.fetched_tokens) as f64 / metrics.input_tokens as f64;
    assert!((found - reuse).abs() < 0.05, "{found} of the prompts were found, {reuse} are in the pool");
    (metrics.input_tokens as f64 / metrics.duration().get(), metrics.ttft.mean())
}

#[track_caller]
fn check(what: &str, simulated: f64, published: f64) {
    let off = simulated / published - 1.0;
    println!("{what}: {simulated:.3} against {published:.2} ({:+.1} %)", off * 100.0);
    assert!(off.abs() < 0.2, "{what}: {simulated:.3} against {published:.2}");
}

#[test]
fn reuse_speeds_prefill_up_as_published_in_arxiv_2506_12708() {
    let [none, little, half, most] = [0.0, 0.125, 0.5, 0.9].map(prefill);
    check("throughput at 50 % over 12.5 %", half.0 / little.0, 1.42);
    check("throughput at 90 % over none", most.0 / none.0, 2.28);
    check("time to first token at 50 %", half.1 / none.1, 1.0 - 0.34);
    check("time to first token at 90 %", most.1 / none.1, 1.0 - 0.59);
}
