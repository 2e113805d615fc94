//! The expert loads that benchmark tables were measured under.
//!
//! NVIDIA AIConfigurator's collector times the busiest rank of an expert-parallel group under router outputs it makes
//! up: deterministic round-robin ("balanced") or a power law over experts (`collector/helper.py`, `balanced_logits`
//! and `_generate_power_law_distribution`). Its draws are not seeded, so the actual load of a row is not known;
//! [`Distribution::load`] gives the mean over draws of the same procedure.

use super::{BLOCKS, Load};

/// How a benchmark spreads tokens over experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// Round-robin: as many experts as possible, as evenly as possible.
    Balanced,
    /// Expert shares drawn from a power law with this exponent.
    PowerLaw(f64),
    /// Every expert equally likely, drawn at random.
    Uniform,
}

/// A case of a benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Case {
    /// Tokens over the whole expert-parallel group.
    pub tokens: u32,
    /// Experts of the model.
    pub experts: u32,
    /// Experts per token.
    pub topk: u32,
    /// Ranks of the expert-parallel group.
    pub ranks: u32,
    /// Whether the benchmark routes through the model's own group-limited gate.
    pub groups: Option<Groups>,
}

/// A gate that first keeps the best `kept` of `groups` groups of experts, by the sum of the two best scores in each,
/// and then takes the best experts inside them (DeepSeek-V3 technical report, section 2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Groups {
    /// Groups that the experts are cut into.
    pub groups: u32,
    /// Groups that a token may use.
    pub kept: u32,
}

impl Case {
    fn local(&self) -> usize {
        (self.experts / self.ranks.max(1)).max(1) as usize
    }
}

/// Draws averaged for a random distribution.
const DRAWS: u32 = 8;

impl Distribution {
    /// From the `distribution` column: `balanced`, `power_law_1.2`, `uniform`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "balanced" => Some(Self::Balanced),
            "uniform" => Some(Self::Uniform),
            _ => name.strip_prefix("power_law_")?.parse().ok().filter(|e: &f64| *e > 0.0).map(Self::PowerLaw),
        }
    }

    /// Load of the rank that the benchmark times. A power law costs up to a millisecond: keep the result.
    pub fn load(self, case: Case) -> Load {
        match self {
            Self::Balanced => balanced(case),
            Self::PowerLaw(exponent) => power_law(case, exponent),
            Self::Uniform => {
                let experts = f64::from(case.experts);
                super::uniform(f64::from(case.tokens), experts, f64::from(case.topk), case.local() as f64)
            }
        }
    }
}

/// The first rank under round-robin: choice `j` of token `i` is expert `i + j stride`, tokens stretched over the
/// stride when there are fewer.
fn balanced(case: Case) -> Load {
    let stride = case.experts.div_ceil(case.topk.max(1)).max(1);
    let mut counts = vec![0_u32; case.experts as usize];
    let mut chosen = Vec::with_capacity(case.topk as usize);
    for token in 0..case.tokens {
        let first = if case.tokens >= stride {
            token % case.experts
        } else {
            (f64::from(token) * f64::from(stride) / f64::from(case.tokens)) as u32
        };
        chosen.clear();
        chosen.extend((0..case.topk).map(|choice| (first + choice * stride) % case.experts));
        count(case, &mut chosen, &mut counts);
    }
    Load::of_counts(&counts[..case.local().min(counts.len())])
}

/// Counts the experts that a token goes to, whose router output favours `chosen` equally.
fn count(case: Case, chosen: &mut Vec<u32>, counts: &mut [u32]) {
    if let Some(groups) = case.groups {
        limit_to_groups(case, groups, chosen);
    }
    for expert in chosen {
        if let Some(count) = counts.get_mut(*expert as usize) {
            *count += 1;
        }
    }
}

/// What a group-limited gate makes of a made-up router output that favours `chosen` equally and all others less: the
/// groups with the most favoured experts stay (two are enough, the first wins a tie), favoured experts in other groups
/// are lost, and the first experts of the kept groups take their place.
fn limit_to_groups(case: Case, groups: Groups, chosen: &mut Vec<u32>) {
    let size = (case.experts / groups.groups.max(1)).max(1);
    let mut scores: Vec<(u32, u32)> = (0..groups.groups).map(|group| (group, 0)).collect();
    for expert in chosen.iter() {
        if let Some(score) = scores.get_mut((expert / size) as usize) {
            score.1 = (score.1 + 1).min(2);
        }
    }
    scores.sort_by_key(|(group, score)| (std::cmp::Reverse(*score), *group));
    scores.truncate(groups.kept as usize);
    scores.sort_unstable();
    chosen.retain(|expert| scores.iter().any(|(group, _)| *group == expert / size));
    let spare = scores.iter().flat_map(|(group, _)| group * size..(group + 1) * size);
    for expert in spare {
        if chosen.len() >= case.topk as usize {
            break;
        }
        if !chosen.contains(&expert) {
            chosen.push(expert);
        }
    }
}

fn power_law(case: Case, exponent: f64) -> Load {
    let mut rng = SplitMix::new(
        u64::from(case.tokens) << 36
            ^ u64::from(case.experts) << 20
            ^ u64::from(case.topk) << 12
            ^ u64::from(case.ranks)
            ^ exponent.to_bits(),
    );
    let mut mean = Load::default();
    let share = 1.0 / f64::from(DRAWS);
    for _ in 0..DRAWS {
        let load = Load::of_counts(&busiest(case, draw(case, exponent, &mut rng)));
        mean.rows += share * load.rows;
        mean.active_experts += share * load.active_experts;
        for i in 0..BLOCKS.len() {
            mean.tiles[i] += share * load.tiles[i];
        }
    }
    mean
}

/// Rows per expert of the rank timed: the busiest by `counts`. The collector swaps it with the first rank before it
/// deals the experts out to tokens, which is where a group-limited gate comes in.
fn busiest(case: Case, mut counts: Vec<u32>) -> Vec<u32> {
    let local = case.local();
    let total = |rank: usize| counts.iter().skip(rank * local).take(local).sum::<u32>();
    let ranks = counts.len() / local;
    let most = (0..ranks).max_by_key(|rank| (total(*rank), std::cmp::Reverse(*rank))).unwrap_or(0);
    for i in 0..local {
        counts.swap(i, most * local + i);
    }
    if case.groups.is_some() {
        counts = through_gate(case, &counts);
    }
    counts.truncate(local);
    counts
}

/// The experts with their rows laid out in a row, fullest first: token `i` takes every `tokens`-th from `i` on.
fn through_gate(case: Case, counts: &[u32]) -> Vec<u32> {
    let mut fullest: Vec<u32> = (0..case.experts).collect();
    fullest.sort_by_key(|expert| std::cmp::Reverse(counts[*expert as usize]));
    let laid: Vec<u32> = fullest
        .into_iter()
        .flat_map(|expert| std::iter::repeat_n(expert, counts[expert as usize] as usize))
        .collect();
    let mut gated = vec![0; counts.len()];
    let mut chosen = Vec::with_capacity(case.topk as usize);
    for token in 0..case.tokens as usize {
        chosen.clear();
        chosen.extend(laid.iter().skip(token).step_by(case.tokens as usize).copied());
        count(case, &mut chosen, &mut gated);
    }
    gated
}

/// Tokens of each expert: shares from the power law, scaled to the total and rounded; no expert gets more than one
/// choice of each token, and what rounding and that bound leave over is dealt out rank by rank.
fn draw(case: Case, exponent: f64, rng: &mut SplitMix) -> Vec<u32> {
    let pairs = u64::from(case.tokens) * u64::from(case.topk);
    let (low, high) =
        if pairs > u64::from(case.experts) { (1.0, f64::from(case.tokens) * 0.8) } else { (0.01, 2.0) };
    let power = 1.0 - exponent;
    let (from, to) = (f64::powf(low, power), f64::powf(high, power));
    let shares: Vec<f64> =
        (0..case.experts).map(|_| ((to - from) * rng.uniform() + from).powf(1.0 / power)).collect();
    let scale = pairs as f64 / shares.iter().sum::<f64>();
    let mut counts: Vec<u32> =
        shares.iter().map(|share| ((share * scale).round() as u32).min(case.tokens)).collect();
    let placed: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    deal(&mut counts, case, pairs as i64 - placed as i64);
    counts
}

/// Adds (or takes away) `remaining` rows one at a time, rank after rank, each time at the emptiest (fullest) expert.
fn deal(counts: &mut [u32], case: Case, mut remaining: i64) {
    while remaining != 0 {
        let before = remaining;
        for rank in counts.chunks_mut(case.local()) {
            let expert = if remaining > 0 {
                rank.iter_mut().filter(|count| **count < case.tokens).min_by_key(|count| **count)
            } else {
                rank.iter_mut().filter(|count| **count > 0).max_by_key(|count| **count)
            };
            if let Some(count) = expert {
                *count = count.wrapping_add_signed(remaining.signum() as i32);
                remaining -= remaining.signum();
            }
            if remaining == 0 {
                break;
            }
        }
        if remaining == before {
            break;
        }
    }
}

/// The SplitMix64 generator (Steele, Lea and Flood 2014): small, seeded, the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECODE: Case = Case { tokens: 16, experts: 256, topk: 8, ranks: 1, groups: None };

    #[test]
    fn balanced_touches_as_many_experts_as_it_can() {
        assert_eq!(Distribution::Balanced.load(DECODE).active_experts, 128.0);
        let shard = Distribution::Balanced.load(Case { ranks: 8, ..DECODE });
        assert_eq!((shard.rows, shard.active_experts), (16.0, 16.0));
        let large = Distribution::Balanced.load(Case { tokens: 1024, ranks: 8, ..DECODE });
        assert_eq!(
            (large.rows, large.active_experts, large.tiles[1], large.tiles[4]),
            (1024.0, 32.0, 64.0, 32.0)
        );
    }

    #[test]
    fn a_power_law_touches_fewer_and_overloads_a_rank() {
        let skewed = Distribution::PowerLaw(1.2);
        let touched = skewed.load(DECODE).active_experts;
        assert!((75.0..90.0).contains(&touched), "{touched}");
        let busiest = skewed.load(Case { tokens: 4096, ranks: 32, ..DECODE }).rows;
        assert!(busiest > 1.5 * 4096.0 * 8.0 / 32.0, "{busiest}");
    }

    #[test]
    fn every_choice_is_dealt_out_within_bounds() {
        let mut rng = SplitMix::new(3);
        for tokens in [1, 3, 64, 1000] {
            for (experts, topk) in [(8, 2), (128, 8), (16, 1), (512, 22)] {
                let case = Case { tokens, experts, topk, ranks: 4, groups: None };
                let counts = draw(case, 1.2, &mut rng);
                assert_eq!(counts.iter().sum::<u32>(), tokens * topk, "{case:?}");
                assert!(counts.iter().all(|count| *count <= tokens), "{case:?}");
            }
        }
    }

    #[test]
    fn a_group_limited_gate_touches_half_and_crowds_the_first_experts() {
        let groups = Some(Groups { groups: 8, kept: 4 });
        let whole = Distribution::Balanced.load(Case { tokens: 256, groups, ..DECODE });
        assert_eq!((whole.rows, whole.active_experts), (2048.0, 128.0));
        // Each token has one favoured expert in every group: four are lost, the first four experts stand in.
        let shard = Distribution::Balanced.load(Case { tokens: 4096, ranks: 32, groups, ..DECODE });
        assert!(shard.rows > 4.0 * 4096.0 && shard.rows < 5.5 * 4096.0, "{shard:?}");
        let skewed = Distribution::PowerLaw(1.2).load(Case { tokens: 1024, groups, ..DECODE });
        assert_eq!(skewed.rows, 8192.0);
    }

    #[test]
    fn names_are_read() {
        assert_eq!(Distribution::from_name("power_law_1.01"), Some(Distribution::PowerLaw(1.01)));
        assert_eq!(Distribution::from_name("balanced"), Some(Distribution::Balanced));
        assert_eq!(Distribution::from_name("power_law_x"), None);
    }
}
