//! How fast traffic is simulated: `cargo bench -p supernode-scenario`.

use estimate::Resolver;
use hardware::Catalog;
use std::path::Path;
use supernode_scenario as scenario;

fn main() {
    divan::main();
}

fn simulate(resolver: &Resolver, text: &str, exact: bool) -> f64 {
    let raw = scenario::parse("bench", text).expect("a scenario");
    let mut resolved = scenario::resolve(&raw, Path::new(""), text, resolver).expect("it resolves");
    resolved.options.exact = exact;
    scenario::run(resolved, ()).expect("it runs").metrics.ttft.mean()
}

const CHAT: &str = r#"
[[deployment]]
model = "meta-llama/Llama-3.1-70B"
system = "h100-8"
weight_dtype = "fp8"
[[deployment.pool]]
tp = 8
[workload]
requests = 10000
rate = "4 /s"
isl = 1024
osl = 200
"#;

/// 10,000 Poisson requests of 1,024 in and 200 out on a node.
#[divan::bench]
fn ten_thousand_requests(bencher: divan::Bencher) {
    let resolver = Resolver::new(Catalog::builtin());
    bencher
        .counter(divan::counter::ItemsCount::new(10_000u32))
        .bench_local(|| simulate(&resolver, CHAT, false));
}

/// The same through every iteration.
#[divan::bench(sample_count = 3)]
fn ten_thousand_requests_exactly(bencher: divan::Bencher) {
    let resolver = Resolver::new(Catalog::builtin());
    bencher
        .counter(divan::counter::ItemsCount::new(10_000u32))
        .bench_local(|| simulate(&resolver, CHAT, true));
}

const SUPERNODE: &str = r#"
[[deployment]]
model = "deepseek-ai/DeepSeek-R1"
system = "cloudmatrix384"
engine = "cloudmatrix-infer"
weight_dtype = "int8"
spec_tokens = 1
spec_accept = 0.7
[[deployment.pool]]
role = "prefill"
instances = 6
dp = 32
ep = 32
[[deployment.pool]]
role = "decode"
dp = 320
ep = 320
[workload]
requests = 50000
rate = "110 /s"
isl = "lognormal(1000, 0.8, 8000)"
osl = "lognormal(200, 0.6, 1000)"
"#;

/// Prefill and decode pools of 256 packages.
#[divan::bench(sample_count = 10)]
fn fifty_thousand_requests_on_a_supernode(bencher: divan::Bencher) {
    let resolver = Resolver::new(Catalog::builtin());
    bencher
        .counter(divan::counter::ItemsCount::new(50_000u32))
        .bench_local(|| simulate(&resolver, SUPERNODE, false));
}
