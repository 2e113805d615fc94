//! Training jobs at the speed of their layout on the chips they got.

use crate::JobsError;
use cluster::file::raw::RawJob;
use cluster::{Checkpoint, Pace, Shape};
use hardware::{Catalog, DomainKind, System};
use model::Model;
use rustc_hash::FxHashMap;
use serde::Deserialize;
use training::goodput::Reliability;
use training::measured::Measured;
use training::report::{LongRunRequest, Ownership, run_goodput};
use training::site::{self, Site};
use training::spec::JobSpec;
use training::{Job, Machine, Profile, Step, check_memory, price};

/// A training job of the file, ready to be priced at any shape.
pub struct Trained {
    spec: JobSpec,
    model: Model,
    profile: Profile,
    site: Site,
    catalog: Catalog,
    /// Levels of the cluster by name, to find the scale-up domain among them.
    supernode: Option<usize>,
    prices: FxHashMap<Shape, Option<Pace>>,
    /// Whether links are shared, so that it matters what crosses them.
    crossing: bool,
}

impl Trained {
    /// Reads the job's `train` table.
    ///
    /// # Errors
    /// The table says what a training job cannot say, or names what is not known.
    pub fn new(
        catalog: &Catalog,
        system: &str,
        raw: &RawJob,
        levels: &[cluster::Level],
        crossing: bool,
        at: &str,
    ) -> Result<Self, JobsError> {
        let wrong = |problem: String| JobsError::Job { at: at.to_owned(), problem };
        let table = raw
            .train
            .clone()
            .ok_or_else(|| wrong("a training job needs a `[job.train]` table".to_owned()))?;
        let spec =
            JobSpec::deserialize(toml::Value::Table(table)).map_err(|error| wrong(error.to_string()))?;
        let shaped = spec.shape_model().map_err(|error| wrong(error.to_string()))?;
        let model = match (&spec.model, shaped) {
            (Some(name), _) => model::resolve(name).map_err(|error| wrong(error.to_string()))?,
            (None, Some(model)) => model,
            (None, None) => return Err(wrong("say what to train: `model` or `shape`".to_owned())),
        };
        let framework = spec.framework.as_deref().unwrap_or("megatron");
        let profile = site::profile(catalog, framework, spec.release.as_deref())
            .map_err(|error| wrong(error.to_string()))?;
        let site = Site::new(catalog, system, None).map_err(|error| wrong(error.to_string()))?;
        let supernode = levels.iter().position(|level| level.name == "supernode");
        Ok(Self {
            spec,
            model,
            profile,
            site,
            catalog: catalog.clone(),
            supernode,
            prices: FxHashMap::default(),
            crossing,
        })
    }

    /// The job on as many of `chips` chips as its sizes go with: the others idle.
    fn job(&self, chips: u32) -> Result<Job, String> {
        let per_chip = self.site.chip.ranks.max(1);
        let whole =
            [self.spec.tp, self.spec.pp, self.spec.cp].iter().map(|size| size.unwrap_or(1)).product::<u32>();
        let ranks = chips.saturating_mul(per_chip);
        let mut first = None;
        let mut tried = ranks - ranks % whole.max(1);
        while tried > 0 {
            match self.spec.job(self.model.clone(), tried) {
                Ok(job) => return Ok(job),
                Err(error) => first = first.or(Some(error.to_string())),
            }
            tried -= whole.max(1);
        }
        Err(first.unwrap_or_else(|| format!("{chips} chips hold no copy of the model of {whole} ranks")))
    }

    /// The system as the job sees it on these chips: domains as large as what it has of them.
    fn system(&self, shape: &Shape) -> System {
        let mut system = self.site.system.clone();
        let per_chip = self.site.chip.ranks.max(1);
        for domain in &mut system.domains {
            let chips = match domain.kind {
                DomainKind::Node if shape.nodes > 1 => shape.per_node,
                DomainKind::ScaleUp => match self.supernode.and_then(|level| shape.per_domain.get(level)) {
                    Some(chips) => *chips,
                    None => continue,
                },
                _ => continue,
            };
            if let Some(ranks) = domain.ranks {
                domain.ranks = Some(ranks.min(chips.saturating_mul(per_chip)).max(1));
            }
        }
        system
    }

    fn step(&self, job: &Job, system: &System) -> Result<Step, String> {
        let pricer =
            Measured::new(&self.catalog, &self.site.chip, system).map_err(|error| error.to_string())?;
        let machine = Machine { chip: &self.site.chip, pricer: &pricer, profile: &self.profile };
        price(job, &machine).map_err(|error| error.to_string())
    }

    /// Steps per second on chips of that shape.
    pub fn pace(&mut self, shape: &Shape) -> Option<Pace> {
        if let Some(known) = self.prices.get(shape) {
            return *known;
        }
        let pace = self.price(shape).ok().map(|(_, pace)| pace);
        self.prices.insert(shape.clone(), pace);
        pace
    }

    fn price(&self, shape: &Shape) -> Result<(Step, Pace), String> {
        let job = self.job(shape.chips)?;
        let system = self.system(shape);
        let step = self.step(&job, &system)?;
        check_memory(&job, &step, &self.site.chip).map_err(|error| error.to_string())?;
        let (mut crossing, mut demand) = (0.0, 0.0);
        if self.crossing && shape.nodes > 1 {
            // What goes over the outermost links is what would be saved if they were free.
            let mut free = system.clone();
            let ranks = job.layout.ranks();
            if let Some(outer) =
                free.domains.iter_mut().find(|domain| domain.ranks.is_none_or(|held| held >= ranks))
            {
                demand = outer.bandwidth.value.get() * f64::from(self.site.chip.ranks.max(1));
                outer.bandwidth.value = outer.bandwidth.value * 1e6;
            }
            let unhindered = self.step(&job, &free)?;
            crossing = (1.0 - unhindered.time / step.time).clamp(0.0, 1.0);
        }
        let pace = Pace { rate: 1.0 / step.time.get(), crossing, demand };
        Ok((step, pace))
    }

    /// Steps per second at the best shape, and what stopping it costs: checkpoints at Daly's interval, the time to read one
    /// and to start.
    ///
    /// # Errors
    /// The job does not go with its chips, or not into their memory.
    pub fn terms(&self, raw: &RawJob, shape: &Shape) -> Result<(f64, Checkpoint), String> {
        let job = self.job(shape.chips)?;
        let (step, pace) = self.price(shape)?;
        let text = self.catalog.text("failures", "default").map_err(|error| error.to_string())?;
        let reliability = Reliability::parse(text).map_err(|error| error.to_string())?;
        let prices = self.catalog.economics().map_err(|error| error.to_string())?.prices;
        let request = LongRunRequest {
            tokens: raw.steps.unwrap_or(1.0) * job.batch.tokens(),
            reliability: &reliability,
            interval: raw.checkpoint_interval,
            spares: Some(0),
            ownership: Ownership {
                electricity: prices.electricity.value,
                pue: prices.pue.value,
                lifetime: prices.depreciation.value,
            },
        };
        let (_, goodput) = run_goodput(&job, &step, &self.site, &request);
        let write = raw.checkpoint_write.map_or(goodput.write.get(), units::Seconds::get);
        let restore = raw.restart.map_or(reliability.restart.get() + write, units::Seconds::get);
        Ok((pace.rate, Checkpoint { interval: goodput.interval.get(), write, restore }))
    }
}
