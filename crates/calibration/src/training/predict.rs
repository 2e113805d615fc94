//! A published run, predicted as laid out.

use super::row::TrainingRow;
use hardware::{Catalog, CatalogError, Chip};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use training::capabilities::OffloadName;
use training::schedule::Schedule;
use training::shape::{ExpertSizes, Shape};
use training::site::{Site, SiteError};
use training::{
    Batch, ContextMethod, Framework, Job, JobError, Layout, Machine, Offload, Profile, Recompute, Step, Zero,
    check_memory,
};
use units::{BytesPerSecond, Dtype};

/// Why a row has no prediction.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The catalog lacks something the row names.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The system has no prices.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The layout contradicts itself.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A size the row must state.
    #[error("row {id} does not state {what}")]
    Missing {
        /// Row.
        id: String,
        /// Column.
        what: &'static str,
    },
    /// A precision nobody knows.
    #[error("row {id}: {source}")]
    Precision {
        /// Row.
        id: String,
        /// What is wrong.
        source: units::UnknownDtype,
    },
}

/// What was assumed where a row does not say: of the layouts that fit, the fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The job.
    pub job: Job,
    /// Its price.
    pub step: Step,
    /// Why it would not fit in memory, if it would not.
    pub misfit: Option<JobError>,
}

/// A chip with the prices of its kernels and links.
pub type Priced = Arc<Site>;

/// Predicts rows; systems, kernels and profiles are read once.
pub struct Predictor {
    catalog: Catalog,
    frameworks: BTreeMap<String, Framework>,
    machines: Mutex<BTreeMap<(String, u64), Priced>>,
}

impl Predictor {
    /// With the frameworks of `catalog`.
    ///
    /// # Errors
    /// A framework profile cannot be read.
    pub fn new(catalog: Catalog) -> Result<Self, RowError> {
        let mut frameworks = BTreeMap::new();
        for id in catalog.ids("frameworks") {
            let framework = Framework::parse(&id, catalog.text("frameworks", &id)?)?;
            frameworks.insert(id, framework);
        }
        Ok(Self { catalog, frameworks, machines: Mutex::default() })
    }

    /// The framework release a row ran on: by its date if it tells, else the newest.
    ///
    /// # Errors
    /// The framework is not in the catalog.
    pub fn profile(&self, row: &TrainingRow) -> Result<&Profile, RowError> {
        let id = self.catalog.document("frameworks", &row.framework)?.id.to_owned();
        let framework = self
            .frameworks
            .get(&id)
            .ok_or_else(|| RowError::Missing { id: row.id.clone(), what: "a framework of the catalog" })?;
        Ok(row.month.as_deref().map_or(framework.newest(), |month| framework.at(month)))
    }

    /// The chip of a row and its prices.
    ///
    /// # Errors
    /// The system is not in the catalog, or its chip has no prices.
    pub fn machine(&self, row: &TrainingRow) -> Result<Priced, RowError> {
        let nic = row.nic_gbps.map(|gbps| BytesPerSecond::new(gbps * 1e9 / 8.0));
        let key = (row.system.clone(), nic.map_or(0, |nic| nic.get().to_bits()));
        let known = self.machines.lock().map_or(None, |machines| machines.get(&key).cloned());
        if let Some(known) = known {
            return Ok(known);
        }
        let priced = Arc::new(Site::new(&self.catalog, &row.system, None, nic)?);
        if let Ok(mut machines) = self.machines.lock() {
            machines.insert(key, priced.clone());
        }
        Ok(priced)
    }

    /// Predicts a row under its framework release.
    ///
    /// # Errors
    /// The row names something unknown or contradicts itself.
    pub fn predict(&self, row: &TrainingRow) -> Result<Chosen, RowError> {
        self.predict_as(row, self.profile(row)?)
    }

    /// Predicts a row under a given profile.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn predict_as(&self, row: &TrainingRow, profile: &Profile) -> Result<Chosen, RowError> {
        let machine = self.machine(row)?;
        let stated = self.fastest(row, &machine, candidates(row, &machine.chip, profile)?, profile)?;
        if stated.misfit.is_none() {
            return Ok(stated);
        }
        // The run was published, so it did fit: what its table calls a distributed optimizer may shard weights too, and
        // what it calls custom, or does not print, may compute more again or keep activations on the host.
        let jobs = candidates(row, &machine.chip, profile)?;
        for jobs in thriftier(row, profile, &jobs) {
            let found = self.fastest(row, &machine, jobs, profile)?;
            if found.misfit.is_none() {
                return Ok(found);
            }
        }
        Ok(stated)
    }

    /// The fastest of `jobs` that fits, or the fastest of all if none does.
    fn fastest(
        &self,
        row: &TrainingRow,
        machine: &Priced,
        jobs: Vec<Job>,
        profile: &Profile,
    ) -> Result<Chosen, RowError> {
        let mut best: Option<Chosen> = None;
        let mut error = None;
        for job in jobs {
            match price(job, machine, profile) {
                Ok(chosen) => {
                    let better = best.as_ref().is_none_or(|best| {
                        (chosen.misfit.is_some(), chosen.step.time.get())
                            < (best.misfit.is_some(), best.step.time.get())
                    });
                    if better {
                        best = Some(chosen);
                    }
                }
                Err(found) => error = Some(found),
            }
        }
        best.ok_or_else(|| {
            error.map_or_else(
                || RowError::Missing { id: row.id.clone(), what: "a layout that divides its batch" },
                RowError::from,
            )
        })
    }

    /// The measured step time of a row in seconds, `job` being what it was taken to mean: as printed, from tokens per
    /// second, or from the FLOP rate or utilisation with FLOPs counted as its source counts them.
    pub fn measured(&self, row: &TrainingRow, job: &Job) -> Option<f64> {
        if let Some(printed) = row.printed_time() {
            return Some(printed);
        }
        let rate = match (row.tflops, row.mfu) {
            (Some(tflops), _) => tflops * 1e12,
            (None, Some(percent)) => {
                let chip = &self.machine(row).ok()?.chip;
                percent / 100.0 * chip.rank.peak(job.precision)?.get() * f64::from(chip.ranks.max(1))
            }
            (None, None) => return None,
        };
        let work = training::flops::counted(job, !row.counts_causal).get();
        Some(work / (rate * f64::from(row.chips))).filter(|time| time.is_finite() && *time > 0.0)
    }

    /// The runs that `row` is fitted or held out with.
    ///
    /// # Errors
    /// The framework or the system is not in the catalog.
    pub fn group(&self, row: &TrainingRow) -> Result<String, RowError> {
        Ok(super::split::group(row, self.profile(row)?, &self.machine(row)?.chip.family))
    }

    /// Whether the release that a row ran on was fitted on that row.
    pub fn fitted_on(&self, row: &TrainingRow) -> bool {
        self.profile(row).is_ok_and(|profile| profile.fitted_on.contains(&row.id))
    }

    /// The same with `profiles` in place of the releases of their names.
    pub fn adopt(&mut self, profiles: Vec<Profile>) {
        for profile in profiles {
            if let Some(framework) = self.frameworks.remove(&profile.framework) {
                self.frameworks.insert(framework.id.clone(), framework.with_release(profile));
            }
        }
    }

    /// The frameworks of the catalog.
    pub fn frameworks(&self) -> impl Iterator<Item = &Framework> {
        self.frameworks.values()
    }
}

fn price(job: Job, machine: &Priced, profile: &Profile) -> Result<Chosen, JobError> {
    let step = training::price(&job, &Machine { chip: &machine.chip, pricer: &machine.pricer, profile })?;
    let misfit = check_memory(&job, &step, &machine.chip).err();
    Ok(Chosen { job, step, misfit })
}

/// The same jobs with less in device memory, in ways that a table need not print, step by step.
fn thriftier(row: &TrainingRow, profile: &Profile, jobs: &[Job]) -> Vec<Vec<Job>> {
    let sharded: Vec<Job> = jobs.iter().map(|job| Job { zero: Zero::Weights, ..job.clone() }).collect();
    let again = |jobs: &[Job]| -> Vec<Job> {
        let recomputes = recomputations(row, jobs.first().map_or(1, |job| job.layout.pp));
        let more = |job: &Job| {
            let job = job.clone();
            recomputes.clone().into_iter().map(move |recompute| Job { recompute, ..job.clone() })
        };
        jobs.iter().flat_map(more).collect()
    };
    let mut steps = vec![sharded.clone()];
    if row.recompute == "custom" {
        steps.extend([again(jobs), again(&sharded)]);
    }
    if profile.can.offload.value.contains(&OffloadName::Activations) {
        let offload =
            |job: &Job| Job { offload: Offload { activations: true, ..job.offload }, ..job.clone() };
        steps.extend([jobs.iter().map(offload).collect(), sharded.iter().map(offload).collect()]);
        if profile.can.offload.value.contains(&OffloadName::Optimizer) {
            let both = Offload { activations: true, optimizer: true };
            steps.push(sharded.iter().map(|job| Job { offload: both, ..job.clone() }).collect());
        }
    }
    steps
}

/// Every recomputation that a row may leave open.
fn recomputations(row: &TrainingRow, pp: u32) -> Vec<Recompute> {
    let most = row.layers.div_ceil(pp);
    let some = (1..8).map(|eighths| (most * eighths).div_ceil(8)).map(Recompute::Layers);
    [Recompute::None, Recompute::Selective].into_iter().chain(some).chain([Recompute::Full]).collect()
}

/// Tensor parallel sizes that a row may mean: what it states, else powers of two that divide heads and chips.
fn tensor_sizes(row: &TrainingRow, ranks: u32) -> Vec<u32> {
    let goes = |tp: &u32| row.heads % tp == 0 && ranks % tp == 0;
    row.tp.map_or_else(|| [1, 2, 4, 8].into_iter().filter(goes).collect(), |tp| vec![tp])
}

/// The jobs a row may mean: one if it states everything, else one for each value of what it leaves open.
fn candidates(row: &TrainingRow, chip: &Chip, profile: &Profile) -> Result<Vec<Job>, RowError> {
    let ranks = row.chips * chip.ranks.max(1);
    let mut jobs = Vec::new();
    for tp in tensor_sizes(row, ranks) {
        jobs.extend(candidates_over(row, tp, ranks, profile)?);
    }
    Ok(jobs)
}

/// Those with tensor parallelism over `tp` ranks.
fn candidates_over(row: &TrainingRow, tp: u32, ranks: u32, profile: &Profile) -> Result<Vec<Job>, RowError> {
    let (pp, cp) = (row.pp.unwrap_or(1), row.cp.unwrap_or(1));
    let cut = (tp * pp * cp).max(1);
    let dp = row.dp.filter(|dp| dp * cut == ranks).unwrap_or(ranks / cut).max(1);
    // Experts lie on the ranks of one stage: a table that prints more means all of them.
    let ep = row.ep.unwrap_or(1).min(tp * cp * dp);
    let layout = Layout { tp, cp, pp, dp, ep, etp: row.etp.unwrap_or(if ep > 1 { 1 } else { tp }) };
    // PyTorch's row-wise scaled products are another kernel than its tensor-wise ones, as slow as block-scaled ones.
    let precision = if row.notes.contains("rowwise") { "fp8_block" } else { &row.precision };
    let precision: Dtype =
        precision.parse().map_err(|source| RowError::Precision { id: row.id.clone(), source })?;
    let per_rank = row.global_batch / dp;
    let micros: Vec<u32> = match row.micro_batch {
        Some(micro) => vec![micro],
        None => (0..6).map(|power| 1 << power).filter(|micro| per_rank % micro == 0).collect(),
    };
    let recomputes = match row.recompute.as_str() {
        "none" => vec![Recompute::None],
        "selective" => vec![Recompute::Selective],
        "full" => vec![Recompute::Full],
        "custom" => vec![Recompute::Selective],
        _ => recomputations(row, pp),
    };
    let zero = match (row.zero, row.distributed_optimizer) {
        (Some(stage), _) => Zero::from_stage(stage)?,
        (None, Some(false)) => Zero::None,
        _ => Zero::Optimizer,
    };
    let fused = profile.attention == training::framework::AttentionKernel::Fused;
    let job = Job {
        model: model_of(row),
        layout,
        batch: Batch { global: row.global_batch, micro: 1, seq: row.seq },
        schedule: Schedule::OneFOneB,
        precision,
        zero,
        recompute: Recompute::None,
        sequence_parallel: tp > 1 && row.sequence_parallel.unwrap_or(fused),
        context: ContextMethod::Ring,
        offload: Offload { activations: row.notes.contains("activation offload"), optimizer: false },
        mtp: !row.model.contains("w/o MTP"),
        edge_layers: (None, None),
    };
    let mut jobs = Vec::new();
    for schedule in schedules(row, pp)? {
        for micro in &micros {
            for recompute in &recomputes {
                // Where a batch leaves a remainder, every rank waits for those with one micro-batch more.
                let share = (dp * micro).max(1);
                let global = row.global_batch.div_ceil(share) * share;
                let batch = Batch { micro: *micro, global, ..job.batch };
                jobs.push(Job { batch, recompute: *recompute, schedule, ..job.clone() });
            }
        }
    }
    Ok(jobs)
}

/// The pipeline schedules a row may mean. A table that prints neither the virtual stages nor the recomputation of a run
/// leaves both to its recipe; one that prints the recomputation would print virtual stages if there were any.
fn schedules(row: &TrainingRow, pp: u32) -> Result<Vec<Schedule>, RowError> {
    if let Some(name) = &row.schedule {
        return Ok(vec![Schedule::parse(name, row.vpp.unwrap_or(1))?]);
    }
    if row.notes.contains("DualPipe") {
        return Ok(vec![Schedule::DualPipe]);
    }
    if row.vpp.is_some() || !row.recompute.is_empty() || pp == 1 {
        return Ok(vec![Schedule::parse("1f1b", row.vpp.unwrap_or(1))?]);
    }
    let even = |chunks: &u32| row.layers % (pp * chunks) == 0 || (row.layers + 2) % (pp * chunks) == 0;
    let chunks = (1..=row.layers.div_ceil(pp)).filter(|chunks| *chunks == 1 || even(chunks));
    chunks.map(|chunks| Ok(Schedule::parse("1f1b", chunks)?)).collect()
}

/// The model of a row: a built-in one of that name if the sizes agree, else one of the sizes stated.
fn model_of(row: &TrainingRow) -> model::Model {
    let name = row.model.split(" (").next().unwrap_or(&row.model);
    if let Ok(model) = model::builtin(name) {
        let layers: u32 = model.layers.iter().map(|group| group.count).sum();
        if layers == row.layers && model.hidden == row.hidden {
            return model;
        }
    }
    let gated = row.gated.unwrap_or(false);
    let moe_ffn = row.moe_ffn.or(row.ffn).unwrap_or(4 * row.hidden);
    let shape = Shape {
        name: row.model.clone(),
        ffn: row.ffn.unwrap_or(4 * row.hidden),
        kv_heads: row.kv_heads.unwrap_or(row.heads),
        head_dim: row.head_dim.unwrap_or(row.hidden / row.heads.max(1)),
        gated,
        experts: row.experts.map(|experts| ExpertSizes {
            experts,
            topk: row.topk.unwrap_or(2),
            intermediate: moe_ffn,
            shared_intermediate: row.shared_experts.unwrap_or(0) * moe_ffn,
            first_dense: row.first_dense.unwrap_or(0),
        }),
        // GPT-2's vocabulary padded as Megatron pads it, where a row leaves it out.
        ..Shape::gpt(row.layers, row.hidden, row.heads, row.vocab.unwrap_or(51_200))
    };
    shape.model()
}
