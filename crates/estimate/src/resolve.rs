//! Names and sizes to step models.

use crate::sizes::{as_launched, expert_sizes, spare_experts};
use crate::spec::{OperatingPoint, Sizes};
use bounded::ranges::OutOfRange;
use cost::comm::{InstanceComm, Network};
use cost::step::{Deployment, Layout, LayoutError, Speculation, StepError, StepModel, TablePool};
use hardware::catalog::CatalogError;
use hardware::{Catalog, Chip, Engine, System};
use model::Model;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use units::Bytes;

/// Why a point cannot be estimated.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EstimateError {
    /// A name is not in the catalog, or its file is malformed.
    #[error(transparent)]
    Catalog(#[from] Box<CatalogError>),
    /// The model cannot be read.
    #[error("{0}")]
    Model(String),
    /// Coefficients are missing or malformed.
    #[error("{0}")]
    Coefficients(String),
    /// The deployment is impossible.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The chips do not make whole instances.
    #[error(
        "`chips` {chips} is {ranks} ranks, which does not hold one instance of {needed} ranks; raise `chips` or lower the sizes"
    )]
    TooFewChips {
        /// Packages given.
        chips: f64,
        /// Their ranks.
        ranks: u32,
        /// Ranks of one instance.
        needed: u32,
    },
    /// Something the mode needs was not given.
    #[error("`{key}` is needed for `mode` {mode}; {hint}")]
    Missing {
        /// The key.
        key: &'static str,
        /// The mode.
        mode: &'static str,
        /// What to give.
        hint: &'static str,
    },
    /// A number is out of its range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// Requests are longer than the model's context.
    #[error(
        "{model} has a context of {most} tokens, less than the {tokens} of a request; shorten prompt and answer, or give a \
         config.json that extends the context"
    )]
    Context {
        /// The model.
        model: String,
        /// Tokens of a request with its answer.
        tokens: f64,
        /// Tokens of the model's context.
        most: u32,
    },
    /// The cache of the requests that run at once is too small.
    #[error(
        "does not fit: the cache of {sequences} sequences of {tokens} tokens takes {needed} per rank, and there is room for \
         {room}; use fewer or shorter sequences, a narrower kv_dtype, or more ranks"
    )]
    Cache {
        /// Sequences of one rank.
        sequences: f64,
        /// Tokens of each.
        tokens: f64,
        /// What they take.
        needed: Bytes,
        /// What there is.
        room: Bytes,
    },
    /// A number is out of its range.
    #[error("`{key}` {value} is out of range; allowed is {allowed}")]
    Range {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        allowed: &'static str,
    },
}

impl EstimateError {
    /// Whether the deployment is one that cannot do what is asked, rather than a slip in what was asked.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Step(error) => error.is_refusal(),
            Self::Context { .. } | Self::Cache { .. } => true,
            _ => false,
        }
    }
}

impl From<CatalogError> for EstimateError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(Box::new(error))
    }
}

impl From<LayoutError> for EstimateError {
    fn from(error: LayoutError) -> Self {
        Self::Step(StepError::Layout(error))
    }
}

/// Which instance of a deployment a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Roles {
    /// Prefill and decode.
    Both,
    /// Prefill.
    Prefill,
    /// Decode.
    Decode,
}

impl From<Roles> for serving::Role {
    fn from(role: Roles) -> Self {
        match role {
            Roles::Both => Self::Aggregated,
            Roles::Prefill => Self::Prefill,
            Roles::Decode => Self::Decode,
        }
    }
}

impl From<serving::Role> for Roles {
    fn from(role: serving::Role) -> Self {
        match role {
            serving::Role::Aggregated => Self::Both,
            serving::Role::Prefill => Self::Prefill,
            serving::Role::Decode => Self::Decode,
        }
    }
}

/// Looks names up once and keeps what it found; prices of equal deployments are shared.
#[derive(Clone)]
pub struct Resolver {
    caches: Arc<Caches>,
    engine_override: Option<Arc<Engine>>,
}

/// What prices the operators of deployments that differ in layout only.
struct Priced(Arc<dyn cost::step::Operators>);

/// What step models have in common of one model on one system under one engine: see [`Resolver::step_model_on`].
#[derive(Default)]
pub struct SharedPrices {
    operators: Mutex<BTreeMap<String, Arc<Priced>>>,
    tables: TablePool,
}

fn is_ideal(engine: &Engine) -> bool {
    engine.stacks.iter().any(|stack| stack == "ideal")
}

struct Caches {
    catalog: Catalog,
    models: Mutex<BTreeMap<String, Arc<Model>>>,
    chips: Mutex<BTreeMap<String, Arc<Chip>>>,
    systems: Mutex<BTreeMap<String, Arc<System>>>,
    refitted: Mutex<BTreeMap<(String, String), Arc<System>>>,
    engines: Mutex<BTreeMap<String, Arc<Engine>>>,
    kernels: Mutex<BTreeMap<String, Arc<cost::kernels::Kernels>>>,
    networks: Mutex<BTreeMap<(String, String, String), Arc<Network>>>,
    steps: Mutex<BTreeMap<String, Arc<StepModel>>>,
}

/// What `cache` holds under `key`, made on the first call.
fn kept<K: Ord + Clone, V>(
    cache: &Mutex<BTreeMap<K, Arc<V>>>,
    key: &K,
    make: impl FnOnce() -> Result<V, EstimateError>,
) -> Result<Arc<V>, EstimateError> {
    let lock = || cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(found) = lock().get(key) {
        return Ok(Arc::clone(found));
    }
    let made = Arc::new(make()?);
    lock().insert(key.clone(), Arc::clone(&made));
    Ok(made)
}

impl Resolver {
    /// Over a catalog.
    pub fn new(catalog: Catalog) -> Self {
        let caches = Caches {
            catalog,
            models: Mutex::default(),
            chips: Mutex::default(),
            systems: Mutex::default(),
            refitted: Mutex::default(),
            engines: Mutex::default(),
            kernels: Mutex::default(),
            networks: Mutex::default(),
            steps: Mutex::default(),
        };
        Self { caches: Arc::new(caches), engine_override: None }
    }

    /// The same lookups with the overheads of every deployment's engine replaced by this one's; kernels and collectives
    /// stay those of the engine that a point names. For fitting an engine.
    #[must_use]
    pub fn with_engine(&self, engine: Engine) -> Self {
        Self { caches: Arc::clone(&self.caches), engine_override: Some(Arc::new(engine)) }
    }

    /// The catalog behind it.
    pub fn catalog(&self) -> &Catalog {
        &self.caches.catalog
    }

    /// A model by built-in name or path.
    ///
    /// # Errors
    /// Neither a known name nor a readable config.
    pub fn model(&self, name: &str) -> Result<Arc<Model>, EstimateError> {
        let key = name.to_owned();
        kept(&self.caches.models, &key, || {
            model::resolve(name).map_err(|error| EstimateError::Model(error.to_string()))
        })
    }

    /// A system by key.
    ///
    /// # Errors
    /// No such system.
    pub fn system(&self, name: &str) -> Result<Arc<System>, EstimateError> {
        kept(&self.caches.systems, &name.to_owned(), || Ok(self.caches.catalog.system(name)?))
    }

    /// The chip of a point: the one named, by its key or that of a system of it, else the system's own.
    ///
    /// # Errors
    /// No such chip or system.
    pub fn chip(&self, point: &OperatingPoint) -> Result<Arc<Chip>, EstimateError> {
        let name = match &point.chip {
            Some(name) => name.clone(),
            None => self.system(&point.system)?.chip.clone(),
        };
        kept(&self.caches.chips, &name, || Ok(self.caches.catalog.chip_or_that_of_a_system(&name)?))
    }

    /// A system and its chip; with another chip in it where one is named.
    ///
    /// # Errors
    /// No such chip or system.
    pub fn placed(
        &self,
        system: &str,
        chip: Option<&str>,
    ) -> Result<(Arc<System>, Arc<Chip>), EstimateError> {
        let point = OperatingPoint {
            system: system.to_owned(),
            chip: chip.map(str::to_owned),
            ..OperatingPoint::default()
        };
        let found = self.chip(&point)?;
        let Some(chip) = chip else { return Ok((self.system(system)?, found)) };
        let key = (system.to_owned(), chip.to_owned());
        let refitted =
            kept(&self.caches.refitted, &key, || Ok(self.caches.catalog.system_with_chip(system, chip)?.0))?;
        Ok((refitted, found))
    }

    /// An engine by key, in the release that `version` names; without a key, the chip's usual engine.
    ///
    /// # Errors
    /// No such engine.
    pub fn engine(
        &self,
        name: Option<&str>,
        version: Option<&str>,
        chip: &Chip,
    ) -> Result<Arc<Engine>, EstimateError> {
        let find = |name: &str| {
            kept(&self.caches.engines, &name.to_owned(), || Ok(self.caches.catalog.engine(name)?))
        };
        let named = find(name.unwrap_or(chip.usual_engine()))?;
        let there = named.on_vendor(&chip.vendor);
        let newest = if there == named.id { named } else { find(there)? };
        let wanted = newest.of_release(version);
        if wanted == newest.id { Ok(newest) } else { find(wanted) }
    }

    /// Layout of `sizes` with what is missing derived from the model and the ranks at hand.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn layout(&self, sizes: &Sizes, model: &Model, ranks: Option<u32>) -> Result<Layout, EstimateError> {
        let has_experts = model.layers.iter().any(|group| matches!(group.ffn, model::Ffn::Moe(_)));
        let pp = sizes.pp.unwrap_or(1).max(1);
        // Expert parallelism wider than the tensor-parallel group has data-parallel attention.
        let wide = sizes.ep.filter(|ep| *ep > 1 && has_experts);
        let given = sizes.tp.filter(|tp| *tp > 0);
        let across = match (wide, given) {
            (Some(ep), None) => Some(ep),
            (Some(ep), Some(tp)) => sizes.moe_tp.map(|moe_tp| ep.saturating_mul(moe_tp.max(1)) / tp),
            (None, _) => None,
        };
        let dp = sizes.dp.or(across).unwrap_or(1).max(1);
        // Experts that are said to lie on `ep` x `moe_tp` ranks say how many ranks an instance has.
        let holding = wide.zip(sizes.moe_tp).map(|(ep, moe_tp)| ep.saturating_mul(moe_tp.max(1)));
        let tp = given.unwrap_or_else(|| {
            let on = holding.or(ranks.map(|ranks| ranks / pp));
            on.map_or(1, |ranks| (ranks / dp).max(1))
        });
        let all = tp.saturating_mul(dp);
        let (ep, moe_tp) = if has_experts { expert_sizes(sizes, all, dp) } else { (1, all) };
        let redundant_experts = sizes.redundant_experts.unwrap_or_else(|| spare_experts(model, ep));
        let layout = Layout { tp, pp, dp, ep, moe_tp, redundant_experts };
        layout.check(model)?;
        Ok(layout)
    }

    /// The step model of one kind of instance of a point.
    ///
    /// # Errors
    /// Names that are unknown, sizes that contradict each other, weights that do not fit.
    pub fn step_model(&self, point: &OperatingPoint, role: Roles) -> Result<Arc<StepModel>, EstimateError> {
        let sizes = match role {
            Roles::Both => &point.sizes,
            Roles::Prefill => &point.prefill,
            Roles::Decode => &point.decode,
        };
        let key = format!(
            "{}|{:?}|{}|{:?}|{:?}|{:?}|{sizes:?}|{}|{:?}|{:?}|{:?}|{role:?}|{:?}",
            point.system,
            point.chip,
            point.model,
            point.engine,
            point.engine_version,
            point.formats,
            point.spec_tokens,
            point.spec_accept,
            point.expert_skew,
            point.micro_batches,
            (sizes.tp.is_none()).then_some(point.chips),
        );
        let step = kept(&self.caches.steps, &key, || self.build(point, sizes, role))?;
        let usual = self.engine_override.as_ref().unwrap_or(&step.deployment().engine);
        let launched = point.token_budget.is_some()
            || point.max_sequences.is_some()
            || point.execution.is_some()
            || point.memory_fraction.is_some()
            || point.stream_interval.is_some();
        let engine = match (launched, &self.engine_override) {
            (false, None) => return Ok(step),
            (false, Some(engine)) => Arc::clone(engine),
            (true, _) => Arc::new(as_launched(usual, point)),
        };
        Ok(Arc::new(step.with_engine(engine)?))
    }

    /// The step model of an instance with the sizes of [`OperatingPoint::sizes`], which is not kept; for searches over layouts and
    /// formats of one model on one system under one engine, of which `shared` holds what they have in common.
    ///
    /// # Errors
    /// As those of [`Resolver::step_model`].
    pub fn step_model_on(
        &self,
        shared: &SharedPrices,
        point: &OperatingPoint,
    ) -> Result<StepModel, EstimateError> {
        let deployment = self.deployment(point, &point.sizes, Roles::Both)?;
        let key = format!("{:?}", deployment.model.quantization);
        let operators = kept(&shared.operators, &key, || self.operators(&deployment))?;
        let model = self.price(deployment, Arc::clone(&operators.0))?;
        Ok(model.sharing(&shared.tables))
    }

    fn build(&self, point: &OperatingPoint, sizes: &Sizes, role: Roles) -> Result<StepModel, EstimateError> {
        let deployment = self.deployment(point, sizes, role)?;
        let operators = self.operators(&deployment)?;
        self.price(deployment, operators.0)
    }

    fn deployment(
        &self,
        point: &OperatingPoint,
        sizes: &Sizes,
        role: Roles,
    ) -> Result<Deployment, EstimateError> {
        let (system, chip) = self.placed(&point.system, point.chip.as_deref())?;
        let engine = self.engine(point.engine.as_deref(), point.engine_version.as_deref(), &chip)?;
        let formats = &point.formats;
        let wanted = model::Dtypes {
            weights: formats.weight,
            activations: formats.act,
            kv: formats.kv,
            experts: formats.moe,
        };
        let mut model = self.model(&point.model)?.as_ref().clone().with_dtypes(wanted);
        let narrow = model.quantization.weights.bytes().min(model.quantization.experts.bytes()) < 1.5;
        if engine.memory.fp8_cache && narrow && formats.kv.is_none() {
            model.quantization.kv = units::Dtype::Fp8;
        }
        let ranks = point.chips.map(|chips| (chips * f64::from(chip.ranks)).round() as u32);
        let layout = self.layout(sizes, &model, ranks)?;
        let speculation = match role {
            Roles::Prefill => Speculation::NONE,
            _ => {
                let tokens = point.spec_tokens;
                let usual = Speculation::accepted_share(tokens, engine.scheduler.acceptance.value);
                Speculation { tokens, acceptance: point.spec_accept.unwrap_or(usual) }
            }
        };
        let micro_batches = point.micro_batches.unwrap_or(engine.micro_batches && layout.dp > 1);
        Ok(Deployment {
            model: Arc::new(model),
            chip: Arc::clone(&chip),
            system: Arc::clone(&system),
            engine: Arc::clone(&engine),
            layout,
            speculation,
            expert_skew: point.expert_skew,
            micro_batches,
        })
    }

    /// What prices the operators of a deployment.
    fn operators(&self, deployment: &Deployment) -> Result<Priced, EstimateError> {
        let (chip, engine) = (&deployment.chip, &deployment.engine);
        if is_ideal(engine) {
            return Ok(Priced(Arc::new(cost::step::IdealOperators::new(&chip.rank))));
        }
        let kernels = kept(&self.caches.kernels, &chip.id, || {
            let read = |id: &str| self.caches.catalog.text("kernels", id).ok();
            Ok::<_, EstimateError>(cost::kernels::Kernels::load(chip, &[], read))
        })?;
        let kernels = Arc::new(kernels.with_stacks(&engine.stacks));
        let operators =
            cost::step::KernelOperators::new(kernels, engine.fused_quantise, engine.device.launch.value);
        Ok(Priced(Arc::new(operators)))
    }

    fn price(
        &self,
        deployment: Deployment,
        operators: Arc<dyn cost::step::Operators>,
    ) -> Result<StepModel, EstimateError> {
        if is_ideal(&deployment.engine) {
            let collectives = cost::step::IdealCollectives::new(&deployment.system, &deployment.chip);
            return Ok(StepModel::new(deployment, operators, Arc::new(collectives))?);
        }
        let collectives = self.collectives(&deployment)?;
        Ok(StepModel::new(deployment, operators, Arc::new(collectives))?)
    }

    fn collectives(&self, deployment: &Deployment) -> Result<InstanceComm, EstimateError> {
        let unusable = |error: cost::comm::CommError| EstimateError::Coefficients(error.to_string());
        let key = (deployment.system.id.clone(), deployment.chip.id.clone(), deployment.engine.id.clone());
        let network = kept(&self.caches.networks, &key, || {
            InstanceComm::network_of(&self.caches.catalog, deployment).map_err(unusable)
        })?;
        InstanceComm::on_network(network.as_ref().clone(), deployment).map_err(unusable)
    }

    /// Instances that the chips of `point` make, for a kind that takes `layout`.
    ///
    /// # Errors
    /// Not even one.
    pub fn instances(&self, point: &OperatingPoint, layout: &Layout) -> Result<u32, EstimateError> {
        let chip = self.chip(point)?;
        let needed = layout.ranks();
        let chips = point.chips.unwrap_or(f64::from(needed) / f64::from(chip.ranks));
        let ranks = (chips * f64::from(chip.ranks)).round() as u32;
        if ranks < needed {
            return Err(EstimateError::TooFewChips { chips, ranks, needed });
        }
        Ok(ranks / needed)
    }
}
