//! The kinds of instances there are: layouts times formats, before anything is priced.

use super::job::{Job, Place};
use estimate::economics::{Ownership, Site};
use estimate::{EstimateError, Formats, OperatingPoint, Resolver, SharedPrices, Sizes};
use hardware::{Chip, DomainKind, System};
use model::{Ffn, Model};
use std::sync::Arc;
use units::Dtype;

/// One system with what a search needs to know of it.
pub(super) struct Ground {
    pub system: Arc<System>,
    pub chip: Arc<Chip>,
    pub engine: String,
    /// The chip, where it is not the system's own.
    pub other_chip: Option<String>,
    /// Packages that may be used.
    pub chips: u32,
    pub formats: Vec<Formats>,
    pub budgets: Vec<u32>,
    /// Most sequences of an attention rank that the engine runs.
    pub most_sequences: u32,
    /// What the step models of its kinds have in common.
    pub shared: SharedPrices,
}

impl Ground {
    pub fn survey(resolver: &Resolver, job: &Job, place: &Place) -> Result<Self, EstimateError> {
        let (system, chip) = resolver.placed(&place.system, place.chip.as_deref())?;
        let engine = resolver.engine(job.options.engine.as_deref(), None, &chip)?;
        let model = resolver.model(&job.model)?;
        let mut budgets = job.options.budgets.clone();
        budgets.push(engine.scheduler.token_budget.value);
        budgets.sort_unstable();
        budgets.dedup();
        Ok(Self {
            formats: formats(job, &chip, &model, engine.memory.fp8_cache),
            chips: place.chips.unwrap_or(system.chips),
            engine: engine.id.clone(),
            other_chip: place.chip.clone(),
            most_sequences: engine.scheduler.max_sequences.value,
            budgets,
            shared: SharedPrices::default(),
            system,
            chip,
        })
    }

    /// How its packages are paid for at `site`; `None` where nobody knows.
    pub fn ownership(&self, site: &Site) -> Option<Ownership> {
        Ownership::of(&self.system, &self.chip, site.basis)
    }

    /// Ranks that may be used.
    pub fn ranks(&self) -> u32 {
        self.chips.saturating_mul(self.chip.ranks.max(1))
    }

    /// Chips of `ranks` ranks.
    pub fn chips_of(&self, ranks: u32) -> f64 {
        f64::from(ranks) / f64::from(self.chip.ranks.max(1))
    }
}

/// Formats to consider: those asked for, else the checkpoint's and eight bits where the chip multiplies eight bits.
fn formats(job: &Job, chip: &Chip, model: &Model, fp8_cache: bool) -> Vec<Formats> {
    let native =
        |formats: &[Dtype]| formats.iter().copied().find(|format| chip.rank.matrix.contains_key(format));
    let float = native(&[Dtype::Fp8, Dtype::Mxfp8, Dtype::Hif8]);
    let eight = float.or(native(&[Dtype::Int8]));
    let mut weights: Vec<Option<Dtype>> = job.options.weights.iter().copied().map(Some).collect();
    if weights.is_empty() {
        weights.push(None);
        weights.extend(eight.map(Some));
    }
    let mut caches: Vec<Option<Dtype>> = job.options.caches.iter().copied().map(Some).collect();
    if caches.is_empty() {
        caches.push(None);
        caches.extend(float.map(|_| Some(Dtype::Fp8)));
    }
    let mut found: Vec<Formats> = Vec::new();
    let mut seen = Vec::new();
    for weight in weights {
        for kv in &caches {
            let formats = Formats { weight, act: weight, moe: weight, kv: *kv };
            let wanted = model::Dtypes { weights: weight, activations: weight, kv: *kv, experts: weight };
            let mut resolved = model.clone().with_dtypes(wanted).quantization;
            if fp8_cache && kv.is_none() && resolved.weights.bytes() < 1.5 {
                resolved.kv = Dtype::Fp8;
            }
            // A second name for formats that are there already is no second kind.
            if !seen.contains(&resolved) {
                seen.push(resolved);
                found.push(formats);
            }
        }
    }
    found
}

/// One kind of instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Kind {
    pub ground: usize,
    pub tp: u32,
    pub pp: u32,
    pub dp: u32,
    pub ep: u32,
    pub moe_tp: u32,
    pub redundant: u32,
    pub formats: Formats,
}

impl Kind {
    pub fn ranks(&self) -> u32 {
        self.stage() * self.pp
    }

    /// Ranks of a pipeline stage.
    pub fn stage(&self) -> u32 {
        self.tp * self.dp
    }

    pub fn point(&self, ground: &Ground, job: &Job) -> OperatingPoint {
        OperatingPoint {
            system: ground.system.id.clone(),
            chip: ground.other_chip.clone(),
            model: job.model.clone(),
            engine: Some(ground.engine.clone()),
            formats: self.formats,
            sizes: Sizes {
                instances: None,
                tp: Some(self.tp),
                pp: Some(self.pp),
                dp: Some(self.dp),
                ep: Some(self.ep),
                moe_tp: Some(self.moe_tp),
                redundant_experts: Some(self.redundant),
            },
            ..OperatingPoint::default()
        }
    }
}

/// Sizes of tensor-parallel groups: powers of two up to a host's ranks.
fn tensor_sizes(ground: &Ground, model: &Model) -> Vec<u32> {
    let node = ground.system.domain(DomainKind::Node).and_then(|domain| domain.ranks).unwrap_or(8);
    let heads = model.layers.iter().filter_map(|group| match &group.attention {
        model::Attention::MultiHead(heads) => Some(heads.heads),
        model::Attention::Mla(mla) => Some(mla.heads),
        _ => None,
    });
    let most = node.min(16).min(heads.min().unwrap_or(u32::MAX)).max(1);
    std::iter::successors(Some(1_u32), |size| size.checked_mul(2)).take_while(|size| *size <= most).collect()
}

/// Odd factors of the ranks of a stage, and from how many ranks on each is looked at: machines come in threes and nines
/// of a power of two (a rack of 72), and wide expert parallelism with spare replicas in fives (320 for 256 experts).
const FACTORS: [(u32, u32); 4] = [(1, 1), (3, 24), (9, 72), (5, 320)];

/// Ranks that hold one stage of a model with experts: powers of two times a factor, and the machine itself.
fn stage_sizes(ranks: u32) -> Vec<u32> {
    let of = |(factor, from): (u32, u32)| {
        let sizes = std::iter::successors(Some(factor), |size| size.checked_mul(2));
        sizes.take_while(move |size| *size <= ranks).filter(move |size| *size >= from)
    };
    let mut sizes: Vec<u32> = FACTORS.into_iter().flat_map(of).collect();
    sizes.push(ranks);
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn experts_of(model: &Model) -> Option<u32> {
    model.layers.iter().find_map(|group| match &group.ffn {
        Ffn::Moe(moe) => Some(moe.experts),
        _ => None,
    })
}

/// Every kind of instance on one system.
///
/// Without experts, data parallelism inside an instance is the same as more instances, so that only one of the two is
/// looked at.
///
/// Kinds that differ in their number of pipeline stages only are together, fewer stages first.
pub(super) fn kinds(index: usize, ground: &Ground, job: &Job, model: &Model) -> Vec<Vec<Kind>> {
    let experts = experts_of(model);
    let layers: u32 = model.layers.iter().map(|group| group.count).sum();
    let widest = ground.ranks().min(job.options.widest);
    let mut found = Vec::new();
    for tp in tensor_sizes(ground, model) {
        let stages: Vec<u32> = if experts.is_some() { stage_sizes(widest) } else { vec![tp] };
        for stage in stages.into_iter().filter(|stage| stage % tp == 0) {
            for (ep, moe_tp, redundant) in expert_cuts(experts, stage, tp) {
                for formats in &ground.formats {
                    let dp = stage / tp;
                    let staged =
                        |pp| Kind { ground: index, tp, pp, dp, ep, moe_tp, redundant, formats: *formats };
                    let counts = job.options.stages.iter().copied();
                    let mut counts: Vec<u32> = counts.filter(|pp| *pp >= 1 && *pp <= layers).collect();
                    counts.retain(|pp| stage.saturating_mul(*pp) <= widest);
                    counts.sort_unstable();
                    found.push(counts.into_iter().map(staged).collect());
                }
            }
        }
    }
    found
}

/// Expert-parallel ranks, ranks of one expert, and spare replicas: experts whole on all ranks of the stage, with one
/// replica per rank more or without, or cut over all of them where attention is not data-parallel.
fn expert_cuts(experts: Option<u32>, stage: u32, tp: u32) -> Vec<(u32, u32, u32)> {
    let Some(experts) = experts else { return vec![(1, stage, 0)] };
    if stage == 1 {
        return vec![(1, 1, 0)];
    }
    let spare = experts.div_ceil(stage) * stage - experts;
    let mut cuts = vec![(stage, 1, spare), (stage, 1, spare + stage)];
    if stage == tp {
        cuts.push((1, stage, 0));
    }
    cuts
}
