//! The form of expert dispatch and combine: a library that moves rows of tokens between the ranks of their experts.
//!
//! One rank holds `T` tokens of `h` bytes. A token is sent in `copies` copies (one per expert, per rank or per node,
//! as the library deduplicates), of which `remote` leave the rank. The wire takes `w = T remote h / (e B growth(n))`;
//! the cores that copy rows take, per token, `pn(copies h / copy, token + copies row + h / scan) / cores`, where `copy`
//! and `scan` are bytes/s of one core. Both overlap: with `pn(a, b) = (a^q + b^q)^(1/q)`,
//!
//! ```text
//! t = start + per_expert E + doubling log2(n) + h / first + T per_token + pn(w, T / cores * pn(...))
//! ```
//!
//! DeepEP's normal kernels run on as many cores as they are given, its low-latency kernels on one core (or warp group)
//! per expert, which is why few experts make them slow; TensorRT-LLM's and CANN's use the whole chip.

use crate::kernels::ParamSpec;
use std::collections::BTreeMap;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Tokens to their experts.
    Dispatch,
    /// Results back, summed at the token's rank.
    Combine,
}

impl Direction {
    /// Its name in link files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dispatch => "dispatch",
            Self::Combine => "combine",
        }
    }
}

/// Ranks at which the efficiency is stated.
const REFERENCE_RANKS: f64 = 8.0;

/// Coefficients of an exchange. Priors are medians over the measured sets.
pub const EXCHANGE_PARAMS: [ParamSpec; 13] = [
    ParamSpec::new("start", "s", "launch and synchronisation", 3e-7, 3e-4, 1.5e-5, 1.0),
    ParamSpec::new("per_expert", "s", "flags and counters of one expert", 1e-11, 1e-6, 1e-8, 1.0),
    ParamSpec::new("doubling", "s", "twice the ranks to synchronise with", 1e-8, 3e-5, 1e-6, 1.0),
    ParamSpec::new("first", "B/s", "rate at which the first row is copied", 1e7, 1e13, 1e9, 1.5),
    ParamSpec::new("per_token", "s", "work on a token that the whole chip waits for", 1e-12, 1e-6, 1e-8, 1.0),
    ParamSpec::new("efficiency", "", "share of link bandwidth", 0.03, 1.0, 0.65, 0.2),
    ParamSpec::new("growth", "", "bandwidth per rank after doubling the ranks", 0.5, 1.3, 0.97, 0.1),
    ParamSpec::new("copy", "B/s", "rate at which one core sends copies", 1e8, 3e12, 3e10, 0.6),
    ParamSpec::new("token", "s", "work of one core on a token", 1e-11, 1e-4, 3e-7, 1.0),
    ParamSpec::new("row", "s", "work of one core on a copy", 1e-11, 1e-4, 1.5e-7, 1.0),
    ParamSpec::new(
        "scan",
        "B/s",
        "rate at which one core reads or reduces a token once",
        1e8,
        1e13,
        1e10,
        1.0,
    ),
    ParamSpec::new("blend", "", "how well wire and cores overlap", 0.7, 10.0, 2.5, 0.6),
    ParamSpec::new("cores", "", "cores the library takes; absent: by its own rule", 1.0, 1024.0, 20.0, 1.0),
];

/// What is exchanged, from one rank's point of view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Tokens on the rank.
    pub tokens: f64,
    /// Bytes of one copy of a token.
    pub row_bytes: f64,
    /// Copies of a token that the library makes.
    pub copies: f64,
    /// Copies that leave the rank over this link.
    pub remote: f64,
    /// Ranks of the group.
    pub ranks: f64,
    /// Experts of the layer.
    pub experts: f64,
    /// Cores that copy.
    pub cores: f64,
    /// Bytes/s that one rank can send.
    pub bandwidth: f64,
    /// Seconds a first byte takes beyond what it took where the coefficients were measured.
    pub extra_latency: f64,
}

/// Coefficients of one direction of one library on one class of link; see the module for their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ExchangeForm {
    start: f64,
    per_expert: f64,
    doubling: f64,
    /// Reciprocal rates, so that an absent one costs nothing.
    first: f64,
    per_token: f64,
    efficiency: Option<f64>,
    growth: Option<f64>,
    copy: f64,
    token: f64,
    row: f64,
    scan: f64,
    blend: f64,
    most_ranks: f64,
}

impl ExchangeForm {
    /// From coefficients by name; one that is absent switches its term off.
    pub fn new(params: &BTreeMap<String, f64>, most_ranks: f64) -> Self {
        let get = |name: &str| params.get(name).copied();
        let or_zero = |name: &str| get(name).unwrap_or(0.0);
        let slowness = |name: &str| get(name).map_or(0.0, |rate| 1.0 / rate);
        Self {
            start: or_zero("start"),
            per_expert: or_zero("per_expert"),
            doubling: or_zero("doubling"),
            first: slowness("first"),
            per_token: or_zero("per_token"),
            efficiency: get("efficiency"),
            growth: get("growth"),
            copy: slowness("copy"),
            token: or_zero("token"),
            row: or_zero("row"),
            scan: slowness("scan"),
            blend: get("blend").unwrap_or(4.0),
            most_ranks,
        }
    }

    /// Seconds before the first and after the last token, whatever their number.
    pub fn latency(&self, load: &Load) -> f64 {
        let doublings = load.ranks.max(1.0).log2();
        self.start
            + self.per_expert * load.experts
            + (self.doubling + load.extra_latency).max(0.0) * doublings
            + self.first * load.row_bytes
    }

    /// Seconds for one direction.
    pub fn time(&self, load: &Load) -> f64 {
        let growth = self.growth.map_or(1.0, |growth| {
            growth.powf((load.ranks.min(self.most_ranks.max(REFERENCE_RANKS)) / REFERENCE_RANKS).log2())
        });
        let wire = self.efficiency.map_or(0.0, |efficiency| {
            load.tokens * load.remote * load.row_bytes / ((efficiency * growth).min(1.0) * load.bandwidth)
        });
        let per_core = blend(
            load.copies * load.row_bytes * self.copy,
            self.token + load.copies * self.row + load.row_bytes * self.scan,
            self.blend,
        );
        let copying = load.tokens * per_core / load.cores.max(1.0);
        self.latency(load) + load.tokens * self.per_token + blend(wire, copying, self.blend)
    }
}

/// `(a^q + b^q)^(1/q)`: the sum at `q = 1`, the maximum as `q` grows.
fn blend(a: f64, b: f64, q: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low <= 0.0 { high } else { high * (1.0 + (low / high).powf(q)).powf(1.0 / q) }
}

/// Expected number of `groups` equal groups of `experts` experts that `topk` distinct experts, drawn uniformly, touch:
/// `g (1 - C(E - E/g, k) / C(E, k))`, the hypergeometric law.
pub fn touched_groups(groups: f64, experts: f64, topk: u32) -> f64 {
    if groups <= 1.0 {
        return groups;
    }
    let others = experts - experts / groups;
    let missed: f64 =
        (0..topk).map(|i| ((others - f64::from(i)) / (experts - f64::from(i))).max(0.0)).product();
    groups * (1.0 - missed)
}
