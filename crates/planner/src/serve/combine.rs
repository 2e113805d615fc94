//! Prefill and decode instances put together: how many of each.
//!
//! A pool's rate is its instances times the rate of one, and the deployment's the smaller of the two pools'. Its power is
//! what all ranks draw idle plus the work of a request times the rate. Both depend on an option only through figures
//! of which more (or less) is always better, so that of options of the same size those that another beats in all of
//! them can be left out; what is left is tried in every number of instances that can be best.

use super::job::Objective;
use super::kinds::{Ground, Kind};
use super::price::batches;
use super::visit::{DecodeOption, PrefillOption, Surroundings, Visit};
use super::worth::{Candidate, Class, Front, Shape, Side, Worth};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// System, ranks of an instance and of a stage of it.
type Size = (usize, u32, u32);

fn size(kind: &Kind) -> Size {
    (kind.ground, kind.ranks(), kind.stage())
}

/// Options by size, and how many there were to begin with.
#[derive(Default)]
pub(super) struct Pools {
    prefill: BTreeMap<Size, Vec<PrefillOption>>,
    decode: BTreeMap<Size, Vec<DecodeOption>>,
    prefill_counts: BTreeMap<Size, Stages>,
    decode_counts: BTreeMap<Size, Stages>,
}

/// How many options of one size there are, fit, are worth a look, keep the limits, and are beaten by none.
#[derive(Debug, Clone, Copy, Default)]
struct Stages {
    all: u64,
    fit: u64,
    /// Those of them that fewer stages do not do as well.
    staged: u64,
    within: u64,
    kept: u64,
}

/// Disaggregated deployments and what became of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PairCounts {
    pub covered: u64,
    pub memory: u64,
    pub stages: u64,
    pub limits: u64,
    pub dominated: u64,
    pub ratio: u64,
    pub priced: u64,
}

impl Pools {
    /// Takes the options of a visit.
    pub fn take(&mut self, around: &Surroundings, visited: &Kind, visit: &mut Visit) {
        if !visit.starts {
            return;
        }
        let size = size(visited);
        let ground = &around.grounds[visited.ground];
        let budgets = ground.budgets.len() as u64;
        let grid = batches(ground.most_sequences).len() as u64;
        let prefill = self.prefill_counts.entry(size).or_default();
        prefill.all += budgets;
        prefill.fit += if visit.fits { budgets } else { 0 };
        prefill.staged = prefill.fit;
        prefill.within += visit.prefill_within;
        let decode = self.decode_counts.entry(size).or_default();
        decode.all += grid * (u64::from(around.drafts) + 1);
        decode.fit += visit.decode_fit;
        decode.staged += visit.decode_fit - visit.decode_skipped;
        decode.within += visit.decode.len() as u64;
        self.prefill.entry(size).or_default().append(&mut visit.prefill);
        self.decode.entry(size).or_default().append(&mut visit.decode);
    }

    /// Leaves out what another option of the same size beats.
    pub fn thin(&mut self, energy: bool) {
        for (size, options) in &mut self.prefill {
            *options = unbeaten(std::mem::take(options), |a| {
                let energy = if energy { a.above_idle } else { 0.0 };
                [-a.rate, -a.left, energy, a.port.port.handshake.get(), -a.port.own()]
            });
            let counts = self.prefill_counts.entry(*size).or_default();
            counts.kept = counts.within.min(options.len() as u64);
        }
        for (size, options) in &mut self.decode {
            *options = unbeaten(std::mem::take(options), |a| {
                let energy = if energy { a.above_idle } else { 0.0 };
                [-a.rate, a.tpot, energy, a.port.bytes, a.port.bytes / a.port.own()]
            });
            self.decode_counts.entry(*size).or_default().kept = options.len() as u64;
        }
    }

    /// Keeps every option, for tests.
    pub fn keep_all(&mut self) {
        for counts in self.prefill_counts.values_mut().chain(self.decode_counts.values_mut()) {
            counts.kept = counts.within;
        }
    }
}

/// Options none of whose keys, of which less is better, are all at least as bad as another's.
fn unbeaten<T, const N: usize>(mut options: Vec<T>, keys: impl Fn(&T) -> [f64; N]) -> Vec<T> {
    let compare = |a: &[f64; N], b: &[f64; N]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| a.total_cmp(b))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    };
    options.sort_by(|a, b| compare(&keys(a), &keys(b)));
    let mut kept: Vec<T> = Vec::new();
    let mut known: Vec<[f64; N]> = Vec::new();
    for option in options {
        let key = keys(&option);
        // What is sorted before is no worse in the first key.
        let beats = |other: &[f64; N]| other[1..].iter().zip(&key[1..]).all(|(other, own)| other <= own);
        if !known.iter().rev().any(beats) {
            known.push(key);
            kept.push(option);
        }
    }
    kept
}

/// Pairs of pool sizes `(p, d)` with at least one instance each that the chips hold.
fn pairs(around: &Surroundings, prefill: Size, decode: Size) -> u64 {
    let mut count = 0;
    let mut instances = 1;
    loop {
        let most = most_decodes(around, prefill, decode, instances);
        if most == 0 {
            return count;
        }
        count += u64::from(most);
        instances += 1;
    }
}

/// Decode instances that fit beside `instances` prefill instances.
fn most_decodes(around: &Surroundings, prefill: Size, decode: Size, instances: u32) -> u32 {
    let ground = |size: Size| -> &Ground { &around.grounds[size.0] };
    let ranks = prefill.1.saturating_mul(instances);
    if prefill.0 == decode.0 {
        return ground(prefill).ranks().saturating_sub(ranks) / decode.1;
    }
    if ranks > ground(prefill).ranks() {
        return 0;
    }
    let left = around.judge.available - ground(prefill).chips_of(ranks);
    let by_total = left * f64::from(ground(decode).chip.ranks.max(1)) / f64::from(decode.1);
    (by_total.max(0.0) as u32).min(ground(decode).ranks() / decode.1)
}

/// What is best of one pair of sizes.
#[derive(Default)]
struct Best {
    best: Option<Candidate>,
    front: Front<Candidate>,
    priced: u64,
}

/// What is best of every pair of sizes.
#[derive(Default)]
pub(super) struct Combined {
    pub classes: BTreeMap<Class, Candidate>,
    pub front: Front<Candidate>,
    pub counts: PairCounts,
}

impl Combined {
    /// Takes a candidate in that is the best of its class.
    fn offer(&mut self, around: &Surroundings, candidate: Candidate) {
        let known = self.classes.entry(candidate.shape.class()).or_insert(candidate);
        if around.judge.prefers(&candidate.worth, &known.worth) {
            *known = candidate;
        }
    }
}

/// How long what a stopped search had found before is still put together.
const AFTERMATH: Duration = Duration::from_millis(300);

/// When putting pools together has to end.
#[derive(Clone, Copy)]
enum End {
    /// When the search is stopped.
    Stopped,
    /// The search was stopped before: at an instant.
    At(Instant),
}

impl End {
    fn of(around: &Surroundings) -> Self {
        if around.stopped() { Self::At(Instant::now() + AFTERMATH) } else { Self::Stopped }
    }

    fn is_here(self, around: &Surroundings) -> bool {
        match self {
            Self::Stopped => around.cancel.load(Ordering::Relaxed),
            Self::At(instant) => Instant::now() >= instant,
        }
    }
}

/// Tries every pair of sizes, on all cores. What a stopped search has brought back is still put together, as far as that
/// takes no time that a user notices.
pub(super) fn combine(around: &Surroundings, pools: &Pools) -> Combined {
    let end = End::of(around);
    let mut sizes: Vec<(Size, Size)> = Vec::new();
    for prefill in pools.prefill_counts.keys() {
        for decode in pools.decode_counts.keys() {
            if prefill.0 == decode.0 || around.job.options.mix {
                sizes.push((*prefill, *decode));
            }
        }
    }
    let tried: Vec<([Size; 2], u64, Best)> = sizes
        .par_iter()
        .map(|(prefill, decode)| {
            let count = pairs(around, *prefill, *decode);
            let best =
                if count == 0 { Best::default() } else { try_sizes(around, pools, *prefill, *decode, end) };
            ([*prefill, *decode], count, best)
        })
        .collect();
    let mut combined = Combined::default();
    for ([prefill, decode], pairs, best) in tried {
        let of = |stage: fn(&Stages) -> u64| {
            let prefills = pools.prefill_counts.get(&prefill).map_or(0, stage);
            let decodes = pools.decode_counts.get(&decode).map_or(0, stage);
            prefills.saturating_mul(decodes).saturating_mul(pairs)
        };
        let (all, fit, staged) = (of(|s| s.all), of(|s| s.fit), of(|s| s.staged));
        let (within, kept) = (of(|s| s.within), of(|s| s.kept));
        let counts = &mut combined.counts;
        counts.covered = counts.covered.saturating_add(all);
        counts.memory = counts.memory.saturating_add(all - fit);
        counts.stages = counts.stages.saturating_add(fit - staged);
        counts.limits = counts.limits.saturating_add(staged - within);
        counts.dominated = counts.dominated.saturating_add(within - kept);
        counts.ratio = counts.ratio.saturating_add(kept.saturating_sub(best.priced));
        counts.priced = counts.priced.saturating_add(best.priced);
        if let Some(best) = best.best {
            combined.offer(around, best);
        }
        combined.front.merge(best.front);
    }
    combined
}

fn try_sizes(around: &Surroundings, pools: &Pools, prefill: Size, decode: Size, end: End) -> Best {
    let mut best = Best::default();
    let (Some(prefills), Some(decodes)) = (pools.prefill.get(&prefill), pools.decode.get(&decode)) else {
        return best;
    };
    for fill in prefills {
        if end.is_here(around) {
            break;
        }
        // Between them they keep the limit on the first token.
        let within = |option: &&DecodeOption| option.port.time(&fill.port) + option.streamed <= fill.left;
        let decodes: Vec<&DecodeOption> = decodes.iter().filter(within).collect();
        match around.judge.target {
            Some(target) => {
                for option in decodes {
                    sized(around, fill, option, target, &mut best);
                }
            }
            None => filled(around, fill, &decodes, end, &mut best),
        }
    }
    best
}

/// The fewest instances of either kind that reach the target.
fn sized(around: &Surroundings, fill: &PrefillOption, option: &DecodeOption, target: f64, best: &mut Best) {
    let (fills, decodes) = ((target / fill.rate).ceil(), (target / option.rate).ceil());
    if fills > f64::from(u32::MAX) || decodes > f64::from(u32::MAX) {
        return;
    }
    let (fills, decodes) = (fills.max(1.0) as u32, decodes.max(1.0) as u32);
    let sizes = [size(&fill.kind), size(&option.kind)];
    if decodes <= most_decodes(around, sizes[0], sizes[1], fills) {
        offer(around, fill, option, (fills, decodes), best);
    }
}

/// Numbers of prefill instances that are tried at most. Where there are more, they are tried in equal strides, so that
/// what is found is within one instance in so many of the best.
const MOST_FILLS: u32 = 4096;

/// The best numbers of prefill and decode instances on the chips there are.
fn filled(around: &Surroundings, fill: &PrefillOption, options: &[&DecodeOption], end: End, best: &mut Best) {
    for option in options {
        if !around.exhaustive {
            fullest(around, fill, option, best);
            if !may_be_better(around, fill, option, best) {
                continue;
            }
        }
        every(around, fill, option, end, best);
        if end.is_here(around) {
            return;
        }
    }
}

/// The numbers of instances that serve most. With more prefill instances the rate rises until there are more than the
/// decode instances beside them can follow, and falls from there on: the best is on either side of that point.
fn fullest(around: &Surroundings, fill: &PrefillOption, option: &DecodeOption, best: &mut Best) {
    let sizes = [size(&fill.kind), size(&option.kind)];
    let most = |fills: u32| most_decodes(around, sizes[0], sizes[1], fills);
    let follows = |fills: u32| f64::from(fills) * fill.rate / option.rate <= f64::from(most(fills));
    // The last number that the decode instances follow.
    let (mut low, mut high) = (0, around.grounds[fill.kind.ground].ranks() / sizes[0].1 + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if most(middle) > 0 && follows(middle) { low = middle } else { high = middle }
    }
    for fills in [low, low + 1] {
        let most = most(fills);
        if fills > 0 && most > 0 {
            with_fills(around, fill, option, (fills, most), best);
        }
    }
}

/// Whether some number of instances can be better than the best known: no cut into whole instances is cheaper per request
/// than pools of just the size that keeps both busy. For the throughput alone [`fullest`] knows the answer, unless the power
/// budget does not stretch to as many.
fn may_be_better(around: &Surroundings, fill: &PrefillOption, option: &DecodeOption, best: &Best) -> bool {
    if around.judge.power.is_some() {
        return true;
    }
    if around.judge.objective == Objective::Throughput {
        return false;
    }
    let bound = around.judge.score(&pair_worth(around, fill, option, (1.0, fill.rate / option.rate)));
    // A figure that nobody knows compares with nothing.
    let Some(known) = best.best.map(|best| around.judge.score(&best.worth)) else { return true };
    bound.is_nan() || known.is_nan() || bound >= known - 1e-9 * known.abs()
}

/// Every number of prefill instances, with the decode instances that use it best.
fn every(around: &Surroundings, fill: &PrefillOption, option: &DecodeOption, end: End, best: &mut Best) {
    let sizes = [size(&fill.kind), size(&option.kind)];
    let stride = (around.grounds[fill.kind.ground].ranks() / sizes[0].1).div_ceil(MOST_FILLS).max(1);
    for fills in (1..).step_by(stride as usize) {
        let most = most_decodes(around, sizes[0], sizes[1], fills);
        if most == 0 || (fills % 256 == 0 && end.is_here(around)) {
            return;
        }
        with_fills(around, fill, option, (fills, most), best);
    }
}

/// `fills` prefill instances with as many decode instances, of `most` at most, as keep them busy, or one fewer.
fn with_fills(
    around: &Surroundings,
    fill: &PrefillOption,
    option: &DecodeOption,
    (fills, most): (u32, u32),
    best: &mut Best,
) {
    let busy = f64::from(fills) * fill.rate / option.rate;
    let enough = if busy >= f64::from(most) { most } else { (busy.ceil() as u32).clamp(1, most) };
    offer(around, fill, option, (fills, enough), best);
    if enough > 1 && f64::from(enough) > busy {
        offer(around, fill, option, (fills, enough - 1), best);
    }
}

fn offer(
    around: &Surroundings,
    fill: &PrefillOption,
    option: &DecodeOption,
    (fills, decodes): (u32, u32),
    best: &mut Best,
) {
    best.priced += 1;
    let worth = pair_worth(around, fill, option, (f64::from(fills), f64::from(decodes)));
    let judge = &around.judge;
    if !judge.affords(&worth) {
        return;
    }
    let candidate = || {
        let prefill = Side { kind: fill.kind, drafts: 0, budget: fill.budget, batch: 0, instances: fills };
        let decode = Side {
            kind: option.kind,
            drafts: option.drafts,
            budget: 0,
            batch: option.batch,
            instances: decodes,
        };
        Candidate { shape: Shape::Disaggregated(prefill, decode), worth }
    };
    best.front.offer(1.0 / worth.tpot, judge.density(&worth), candidate);
    if best.best.as_ref().is_none_or(|known| judge.prefers(&worth, &known.worth)) {
        best.best = Some(candidate());
    }
}

/// What `fills` prefill and `decodes` decode instances do together, at the load that is asked for if one is.
pub(super) fn pair_worth(
    around: &Surroundings,
    fill: &PrefillOption,
    option: &DecodeOption,
    (fills, decodes): (f64, f64),
) -> Worth {
    let most = around.judge.target.unwrap_or_else(|| (fills * fill.rate).min(decodes * option.rate));
    let idle = fills * fill.idle + decodes * option.idle;
    let rate = around.judge.within_power(most, idle, fill.above_idle + option.above_idle);
    let side = |kind: &Kind, count: f64| around.grounds[kind.ground].chips_of(kind.ranks()) * count;
    let chips = [side(&fill.kind, fills), side(&option.kind, decodes)];
    let power =
        [fills * fill.idle + rate * fill.above_idle, decodes * option.idle + rate * option.above_idle];
    let paid = around.hourly[fill.kind.ground].of(chips[0], power[0])
        + around.hourly[option.kind.ground].of(chips[1], power[1]);
    Worth { rate, tpot: option.tpot, chips: chips[0] + chips[1], power: power[0] + power[1], money: paid }
}

#[cfg(test)]
mod tests {
    use super::unbeaten;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_left_out_is_beaten(options in proptest::collection::vec([0_u8..6, 0_u8..6, 0_u8..6], 1..50)) {
            let keys = |option: &[u8; 3]| option.map(f64::from);
            let kept = unbeaten(options.clone(), keys);
            for option in &options {
                let beaten = kept.iter().any(|other| other.iter().zip(option).all(|(a, b)| a <= b));
                prop_assert!(beaten, "{option:?} was left out and nothing is as good");
            }
            for (index, option) in kept.iter().enumerate() {
                let rest = kept.iter().enumerate().filter(|(other, _)| *other != index);
                let beaten = rest.map(|(_, o)| o).any(|other| other.iter().zip(option).all(|(a, b)| a <= b));
                prop_assert!(!beaten, "{option:?} was kept and is beaten");
            }
        }
    }
}
