//! No key is ignored: in every mode each key of an operating point changes the estimate, or is refused with its name.

use hardware::Catalog;
use hardware::money::Site;
use supernode_estimate::{
    Estimate, EstimateError, KEYS, KeyError, OperatingPoint, Resolver, estimate, refuse_idle, refuse_unused,
};

/// A value of each key that says something else than the points below.
const VALUES: &[(&str, &str)] = &[
    ("system", "h200-8"),
    ("chip", "h800"),
    ("chips", "16"),
    ("model", "Qwen/Qwen3-235B-A22B"),
    ("engine", "trtllm"),
    ("engine_version", "0.12.0"),
    ("mode", "prefill"),
    ("weight_dtype", "fp8"),
    ("act_dtype", "fp8"),
    ("kv_dtype", "fp8"),
    ("moe_dtype", "fp8"),
    ("isl", "3000"),
    ("osl", "300"),
    ("length_spread", "0.5"),
    ("concurrency", "48"),
    ("tp", "2"),
    ("pp", "2"),
    ("dp", "2"),
    ("ep", "4"),
    ("moe_tp", "2"),
    ("redundant_experts", "8"),
    ("prefill_instances", "2"),
    ("prefill_tp", "8"),
    ("prefill_pp", "2"),
    ("prefill_dp", "2"),
    ("prefill_ep", "4"),
    ("prefill_moe_tp", "2"),
    ("prefill_redundant_experts", "8"),
    ("decode_instances", "2"),
    ("decode_tp", "8"),
    ("decode_pp", "2"),
    ("decode_dp", "2"),
    ("decode_ep", "4"),
    ("decode_moe_tp", "2"),
    ("decode_redundant_experts", "8"),
    ("batch_per_rank", "24"),
    ("kv_len", "3000"),
    ("spec_tokens", "1"),
    ("spec_accept", "0.5"),
    ("prefix_hit", "0.5"),
    ("token_budget", "64"),
    ("max_sequences", "2"),
    ("memory_fraction", "0.7"),
    ("stream_interval", "4"),
    ("execution", "eager"),
    ("expert_skew", "3"),
    ("micro_batches", "true"),
];

const EXPERTS: [(&str, &str); 3] =
    [("system", "h100-8"), ("model", "Qwen/Qwen3-30B-A3B"), ("engine", "vllm")];
const DENSE: [(&str, &str); 3] =
    [("system", "h100-8"), ("model", "meta-llama/Llama-3.1-8B"), ("engine", "vllm")];

/// One point of every mode, with and without experts, by what they are called.
fn points() -> Vec<(&'static str, OperatingPoint)> {
    let point = |model: &[(&'static str, &'static str)], more: &[(&'static str, &'static str)]| {
        OperatingPoint::of([model, more].concat()).expect("keys")
    };
    let load = [("isl", "1500"), ("osl", "150"), ("concurrency", "24")];
    let apart = [("mode", "disagg"), ("prefill_tp", "4"), ("decode_tp", "4")];
    let decode = [("mode", "decode"), ("tp", "4"), ("batch_per_rank", "16"), ("kv_len", "1500")];
    let users = [("mode", "decode"), ("tp", "4"), ("concurrency", "16"), ("isl", "1500"), ("osl", "150")];
    let prefill = [("mode", "prefill"), ("tp", "4"), ("isl", "1500"), ("batch_per_rank", "6000")];
    let wide = [("tp", "1"), ("dp", "4"), ("ep", "4")];
    vec![
        ("dense agg", point(&DENSE, &[&load[..], &[("tp", "4")]].concat())),
        ("agg", point(&EXPERTS, &[&load[..], &[("tp", "4")]].concat())),
        ("wide agg", point(&EXPERTS, &[&load[..], &wide].concat())),
        ("disagg", point(&EXPERTS, &[&load[..], &apart].concat())),
        ("decode", point(&EXPERTS, &decode)),
        ("decode of users", point(&EXPERTS, &users)),
        ("prefill", point(&EXPERTS, &prefill)),
    ]
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("{0}")]
    Point(#[from] EstimateError),
    #[error("{0}")]
    Idle(#[from] supernode_estimate::IdleKey),
}

fn answer(resolver: &Resolver, site: &Site, point: &OperatingPoint) -> Result<Vec<f64>, Refused> {
    refuse_unused(point)?;
    let found = estimate(resolver, point, site)?;
    refuse_idle(resolver, point, found.pools.iter().map(|pool| (pool.role, &*pool.model)))?;
    Ok(figures(&found))
}

fn figures(found: &Estimate) -> Vec<f64> {
    let time = |figure: Option<supernode_estimate::Figure<units::Seconds>>| {
        figure.map_or(0.0, |figure| figure.value.get())
    };
    let mut all = vec![time(found.ttft), time(found.tpot), found.throughput.value.get()];
    all.extend([found.chips, found.concurrency, found.decoding]);
    all.extend(found.pools.iter().flat_map(|pool| {
        [f64::from(pool.instances), pool.model.memory().for_cache().get(), pool.step.time.get()]
    }));
    all
}

#[test]
fn every_key_changes_the_estimate_in_every_mode_or_is_refused() {
    let names: Vec<&str> = VALUES.iter().map(|(key, _)| *key).collect();
    let known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(names, known, "every key has a value here, in the order of the list");
    let catalog = Catalog::builtin();
    let site = Site::new(&catalog.economics().expect("prices").prices, hardware::Basis::Buy);
    let resolver = Resolver::new(catalog);
    let mut problems = Vec::new();
    for (name, point) in points() {
        let before = answer(&resolver, &site, &point).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (key, value) in VALUES {
            let mut changed = point.clone();
            changed.set(key, value).expect("a value of the key");
            if changed == point {
                continue;
            }
            match answer(&resolver, &site, &changed) {
                // An engine takes two micro-batches only where that is quicker.
                Ok(after) if after == before && *key == "micro_batches" => {}
                Ok(after) if after == before => {
                    problems.push(format!("{name}: {key} = {value} changes nothing"))
                }
                Ok(_) => {}
                // A model that does not fit, or sizes that do not go together, are answers.
                Err(Refused::Point(_)) => {}
                Err(error) if error.to_string().contains(key) => {}
                Err(error) => {
                    problems.push(format!("{name}: {key} = {value} is refused without its name: {error}"))
                }
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn what_a_point_says_can_be_laid_over_another() {
    let mut under =
        OperatingPoint::of([("system", "h100-8"), ("tp", "4"), ("kv_dtype", "fp8")]).expect("keys");
    let over = OperatingPoint::of([("tp", "8"), ("execution", "eager"), ("max_seqs", "3")]).expect("keys");
    under.overlay(&over);
    let said: Vec<String> =
        KEYS.iter().filter_map(|key| Some(format!("{}={}", key.name, key.said(&under)?))).collect();
    assert_eq!(said.join(" "), "system=h100-8 kv_dtype=fp8 tp=8 max_sequences=3 execution=eager");
}

/// A deployment of `system` with the chip it has anyway is that of the system.
#[test]
fn a_chip_placed_where_it_is_already_changes_nothing() {
    let resolver = Resolver::new(Catalog::builtin());
    let site = Site::new(&resolver.catalog().economics().expect("prices").prices, hardware::Basis::Buy);
    let (_, point) = points().remove(0);
    let own = answer(&resolver, &site, &point).expect("an estimate");
    let placed = OperatingPoint { chip: Some("h100".to_owned()), ..point };
    assert_eq!(answer(&resolver, &site, &placed).expect("an estimate"), own);
}
