//! What is drawn.

use estimate::{Formats, Mode, OperatingPoint as Point, Sizes};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg64;
use units::Dtype;

const SYSTEMS: [&str; 10] = [
    "h100-8",
    "h200-8",
    "h20-8",
    "a100-8",
    "gb200-nvl72",
    "cloudmatrix384",
    "atlas-800i-a3",
    "b200-8",
    "mi300x-8",
    "atlas-800t-a2",
];

const MODELS: [&str; 9] = [
    "meta-llama/Llama-3.1-8B",
    "meta-llama/Llama-3.1-70B",
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen3-32B",
    "Qwen/Qwen3-30B-A3B",
    "Qwen/Qwen3-235B-A22B",
    "deepseek-ai/DeepSeek-R1",
    "openai/gpt-oss-120b",
    "google/gemma-3-27b-it",
];

/// A point that may or may not be one that can run.
pub fn draw(random: &mut Pcg64) -> Point {
    let pick =
        |random: &mut Pcg64, list: &[&str]| list.choose(random).copied().unwrap_or_default().to_owned();
    let power = |random: &mut Pcg64, most: u32| 1_u32 << random.random_range(0..=most);
    let some = |random: &mut Pcg64, value: u32| random.random_bool(0.3).then_some(value);
    let tp = power(random, 3);
    let dp = if random.random_bool(0.3) { power(random, 4) } else { 1 };
    let sizes = Sizes {
        tp: Some(tp),
        pp: Some(if random.random_bool(0.1) { 2 } else { 1 }),
        dp: Some(dp),
        ep: some(random, tp * dp),
        ..Sizes::default()
    };
    let weight = [None, None, Some(Dtype::Bf16), Some(Dtype::Fp8), Some(Dtype::Int8)];
    let weight = *weight.choose(random).unwrap_or(&None);
    let spec_tokens = if random.random_bool(0.1) { random.random_range(1..=3) } else { 0 };
    let osl =
        if random.random_bool(0.1) { random.random_range(1..=12) } else { random.random_range(2..=3000) };
    Point {
        system: pick(random, &SYSTEMS),
        model: pick(random, &MODELS),
        formats: Formats { weight, act: weight, moe: weight, kv: None },
        mode: Mode::Agg,
        isl: Some(random.random_range(1..=20_000)),
        osl: Some(osl),
        concurrency: Some(power(random, 10)),
        sizes,
        spec_tokens,
        spec_accept: (spec_tokens > 0).then(|| random.random_range(0.0..=1.0)),
        prefix_hit: if random.random_bool(0.2) { random.random_range(0.0..0.95) } else { 0.0 },
        ..Point::default()
    }
}

/// The drawn part of a point in one line.
pub fn describe(point: &Point) -> String {
    let size = |value: Option<u32>| value.map_or("-".to_owned(), |value| value.to_string());
    format!(
        "{} {} {} tp{} pp{} dp{} ep{} {}/{} users {} spec {} hit {:.2}",
        point.system,
        point.model,
        point.formats.weight.map_or("-".to_owned(), |format| format.to_string()),
        size(point.sizes.tp),
        size(point.sizes.pp),
        size(point.sizes.dp),
        size(point.sizes.ep),
        size(point.isl),
        size(point.osl),
        size(point.concurrency),
        point.spec_tokens,
        point.prefix_hit
    )
}
