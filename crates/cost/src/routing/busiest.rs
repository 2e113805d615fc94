//! The busiest rank of an expert-parallel group, which all others wait for.
//!
//! Three things make it busier than the mean: chance (few tokens fall unevenly even if all experts are equally
//! likely), popularity (some experts are chosen more often, and a rank that holds several of them has bad luck), and
//! what balancing leaves over (replicas of the hottest experts, ranks filled greedily).

/// What is known of how tokens choose experts, and what the engine does about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Popularity {
    /// Standard deviation of an expert's share over its mean: 0 if all are equally likely. Shares are taken as
    /// log-normal.
    pub variation: f64,
    /// Whether experts are placed on ranks by their measured load (EPLB and its like) rather than in order.
    pub balanced: bool,
    /// Further replicas of the hottest experts, over all ranks; only used when balanced.
    pub redundant_experts: u32,
}

impl Popularity {
    /// All experts equally likely, as benchmarks with forced balance have it.
    pub const EVEN: Self = Self { variation: 0.0, balanced: false, redundant_experts: 0 };

    /// Load of the busiest of `ranks` ranks over the mean, in the long run: at least 1. `experts` are spread evenly
    /// over the ranks. Costs microseconds: ask once per deployment.
    ///
    /// In order of number, a rank's share is the mean of `experts / ranks` independent ones, and the expected maximum
    /// of `ranks` such is `1 + e(ranks) variation sqrt((1 - 1 / ranks) ranks / experts)` with `e` as in
    /// [`expected_maximum`]. When balanced, the quantiles of the popularity stand for the experts; the hottest are
    /// replicated one by one and ranks are filled with the hottest left first, as DeepSeek's EPLB does.
    pub fn imbalance(&self, experts: u32, ranks: u32) -> f64 {
        if self.variation <= 0.0 || ranks <= 1 || experts == 0 {
            return 1.0;
        }
        let (e, r) = (f64::from(experts), f64::from(ranks));
        let chance = 1.0 + expected_maximum(r) * self.variation * ((1.0 - 1.0 / r) * r / e).sqrt();
        if self.balanced {
            greedy(&self.replicated(experts), ranks).min(chance.max(1.0))
        } else {
            chance.min(r)
        }
    }

    /// Loads of all replicas, hottest first.
    fn replicated(&self, experts: u32) -> Vec<f64> {
        let sigma = (1.0 + self.variation * self.variation).ln().sqrt();
        let mut loads: Vec<(f64, u32)> = (0..experts)
            .map(|i| {
                let quantile = (f64::from(i) + 0.5) / f64::from(experts);
                ((sigma * normal_quantile(quantile)).exp(), 1)
            })
            .collect();
        for _ in 0..self.redundant_experts {
            let hottest = loads.iter_mut().max_by(|a, b| each(a).total_cmp(&each(b)));
            if let Some((_, replicas)) = hottest {
                *replicas += 1;
            }
        }
        let mut all: Vec<f64> =
            loads.iter().flat_map(|load| std::iter::repeat_n(each(load), load.1 as usize)).collect();
        all.sort_by(|a, b| b.total_cmp(a));
        all
    }
}

fn each(load: &(f64, u32)) -> f64 {
    load.0 / f64::from(load.1)
}

/// Maximum over mean of rank loads when `loads`, hottest first, go one by one to the emptiest rank with room.
fn greedy(loads: &[f64], ranks: u32) -> f64 {
    let room = loads.len().div_ceil(ranks as usize);
    let mut held = vec![(0.0_f64, 0_usize); ranks as usize];
    for load in loads {
        let emptiest = held.iter_mut().filter(|rank| rank.1 < room).min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some(rank) = emptiest {
            rank.0 += load;
            rank.1 += 1;
        }
    }
    let total: f64 = loads.iter().sum();
    let most = held.iter().map(|rank| rank.0).fold(0.0, f64::max);
    most * f64::from(ranks) / total
}

/// Rows of the busiest of `ranks` ranks over the mean from chance alone: `tokens` tokens each choose `topk` of
/// `experts` equally likely experts. The rows of a rank then have a hypergeometric share of each token's choices, and
/// the expected maximum of `ranks` sums of many is `mean + e(ranks) sd`.
pub fn chance(tokens: f64, experts: f64, topk: f64, ranks: f64) -> f64 {
    if ranks <= 1.0 || experts <= 1.0 || tokens <= 0.0 {
        return 1.0;
    }
    let share = 1.0 / ranks;
    let mean = tokens * topk * share;
    let variance = mean * (1.0 - share) * ((experts - topk) / (experts - 1.0)).max(0.0);
    let most = (topk * tokens).min(tokens * experts / ranks);
    ((mean + expected_maximum(ranks) * variance.sqrt()) / mean).min(most / mean).max(1.0)
}

/// Expected maximum of `n` independent standard normal variables, linear in ln n between tabulated values.
pub fn expected_maximum(n: f64) -> f64 {
    // n = 1, 2, 4 ... 1024; integrals of x d(Phi(x)^n).
    const TABLE: [f64; 11] =
        [0.0, 0.5642, 1.0294, 1.4236, 1.7660, 2.0697, 2.3437, 2.5944, 2.8265, 3.0434, 3.2477];
    let x = n.max(1.0).log2().min(10.0);
    let i = (x as usize).min(TABLE.len() - 2);
    TABLE[i] + (x - i as f64) * (TABLE[i + 1] - TABLE[i])
}

/// Inverse of the standard normal distribution function, to 5e-4 (Abramowitz and Stegun 26.2.23).
fn normal_quantile(p: f64) -> f64 {
    let tail = p.min(1.0 - p).max(1e-12);
    let t = (-2.0 * tail.ln()).sqrt();
    let z = t
        - (2.515_517 + 0.802_853 * t + 0.010_328 * t * t)
            / (1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t * t * t);
    if p < 0.5 { -z } else { z }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::benchmark::SplitMix;

    /// Phi by the trapezium rule on a fine grid, then the integral of x d(Phi^n).
    fn maximum_by_integration(n: f64) -> f64 {
        let (step, mut phi, mut sum) = (1e-3, 0.0, 0.0);
        for i in 0..20_000 {
            let x = -10.0 + f64::from(i) * step;
            let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let next = phi + density * step;
            sum += x * (f64::powf(next, n) - f64::powf(phi, n));
            phi = next;
        }
        sum
    }

    #[test]
    fn the_table_of_maxima_is_right() {
        for power in 0..=10 {
            let n = f64::from(1 << power);
            assert!((expected_maximum(n) - maximum_by_integration(n)).abs() < 3e-3, "{n}");
        }
    }

    #[test]
    fn chance_agrees_with_sampling() {
        let (tokens, experts, topk, ranks) = (256, 64, 4, 16);
        let mut rng = SplitMix::new(1);
        let mut total = 0.0;
        for _ in 0..300 {
            let mut rows = vec![0_u32; ranks];
            for _ in 0..tokens {
                let mut free: Vec<usize> = (0..experts).collect();
                for _ in 0..topk {
                    let pick = free.swap_remove((rng.uniform() * free.len() as f64) as usize);
                    rows[pick * ranks / experts] += 1;
                }
            }
            total += f64::from(*rows.iter().max().unwrap());
        }
        let sampled = total / 300.0 / (tokens * topk / ranks) as f64;
        let found = chance(tokens as f64, experts as f64, topk as f64, ranks as f64);
        assert!((found / sampled - 1.0).abs() < 0.02, "{found} {sampled}");
    }

    #[test]
    fn balancing_and_replicas_help() {
        let placed = Popularity { variation: 0.8, balanced: false, redundant_experts: 0 };
        let balanced = Popularity { balanced: true, ..placed };
        let replicated = Popularity { redundant_experts: 32, ..balanced };
        let [a, b, c] = [placed, balanced, replicated].map(|p| p.imbalance(256, 32));
        assert!(a > 1.4 && b < a && c < 1.1 && c <= b, "{a} {b} {c}");
        assert_eq!(Popularity::EVEN.imbalance(256, 32), 1.0);
    }

    #[test]
    fn a_rank_per_expert_waits_for_the_hottest_replica() {
        let one_each = Popularity { variation: 1.0, balanced: true, redundant_experts: 0 };
        let spare = Popularity { redundant_experts: 64, ..one_each };
        assert!(spare.imbalance(64, 64) < one_each.imbalance(64, 64));
    }
}
