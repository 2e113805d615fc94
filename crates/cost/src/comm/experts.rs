//! Expert dispatch and combine on a group of ranks.

use super::curve::Curve;
use super::exchange::{Direction, ExchangeForm, Load, touched_groups};
use super::form::{Collective, Place};
use super::group::{CommCost, Group, PIPELINE_LOSS, Span, Stage, spans};
use super::links::LinkSet;
use super::network::{CommError, GENERIC, MAX_DOMAINS, Network};
use crate::ops::Bound;
use crate::step::Evidence;
use units::{Bytes, Seconds};

/// A library that moves tokens to their experts and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Library {
    /// DeepEP's low-latency kernels: one message per token and expert, fixed buffers, at most
    /// [`Library::LOW_LATENCY_TOKENS`] tokens per rank.
    DeepEpLowLatency,
    /// DeepEP's normal kernels: one message per token and rank, over the network one per token and node.
    DeepEpNormal,
    /// CANN's fused dispatch and combine on Ascend: one message per token and expert.
    Cann,
    /// TensorRT-LLM's one-sided NVLink kernels: one message per token and rank.
    TrtLlmOneSided,
    /// TensorRT-LLM's two-sided NVLink kernels, whose preparation is a kernel of its own.
    TrtLlmTwoSided,
    /// No library: all tokens are gathered by all ranks and the results reduced and scattered.
    AllGather,
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::DeepEpLowLatency,
        Self::DeepEpNormal,
        Self::Cann,
        Self::TrtLlmOneSided,
        Self::TrtLlmTwoSided,
        Self::AllGather,
    ];

    /// Tokens per rank that the buffers of low-latency kernels are made for at most.
    pub const LOW_LATENCY_TOKENS: f64 = 1024.0;

    /// Its name in link files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeepEpLowLatency => "deepep-low-latency",
            Self::DeepEpNormal => "deepep-normal",
            Self::Cann => "cann",
            Self::TrtLlmOneSided => "trtllm-one-sided",
            Self::TrtLlmTwoSided => "trtllm-two-sided",
            Self::AllGather => "all-gather",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|library| library.name() == name)
    }

    /// Libraries behind an engine's word for its expert exchange: `deepep` (both its kinds), `trtllm`, `cann`, a library's
    /// own name, or anything else for gathering and scattering.
    pub fn named(word: &str) -> Vec<Self> {
        match word {
            "deepep" => vec![Self::DeepEpLowLatency, Self::DeepEpNormal],
            "trtllm" => vec![Self::TrtLlmOneSided],
            other => vec![Self::from_name(other).unwrap_or(Self::AllGather)],
        }
    }

    /// Whether a token going to several experts of one rank is sent there once.
    pub const fn deduplicates(self) -> bool {
        matches!(self, Self::DeepEpNormal | Self::TrtLlmOneSided | Self::TrtLlmTwoSided)
    }

    /// Cores that copy rows on a chip of `chip_cores` for `experts` experts. `given` is what a deployment reserves.
    pub fn cores(self, chip_cores: f64, experts: f64, given: Option<f64>) -> f64 {
        match self {
            // One group of warps per expert, as many groups on a core as it takes to fit them on the chip.
            Self::DeepEpLowLatency => {
                (experts / (experts / chip_cores).ceil().max(1.0)).ceil().min(chip_cores)
            }
            // The library's default.
            Self::DeepEpNormal => given.unwrap_or(20.0).min(chip_cores),
            Self::Cann | Self::TrtLlmOneSided | Self::TrtLlmTwoSided | Self::AllGather => chip_cores,
        }
    }
}

/// How tokens choose experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Routing {
    /// Distinct experts, uniformly at random.
    #[default]
    Random,
    /// Spread over as many ranks as possible: some benchmarks' "balanced".
    Spread,
}

impl Routing {
    /// Expected number of `groups` equal groups of experts that one token's experts lie in.
    pub fn touched(self, groups: f64, experts: f64, topk: u32) -> f64 {
        match self {
            Self::Random => touched_groups(groups, experts, topk),
            Self::Spread => groups.min(f64::from(topk)),
        }
    }
}

/// Routing that lets a token choose only experts of a few groups, so that it goes to few nodes (DeepSeek-V3: 4 of 8).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupLimit {
    /// Groups that the experts are divided into.
    pub groups: u32,
    /// Groups a token may go to.
    pub chosen: u32,
}

impl GroupLimit {
    /// Most of `parts` equal parts of the experts that a token goes to.
    fn most(self, parts: f64) -> f64 {
        f64::from(self.chosen.max(1)) * (parts / f64::from(self.groups.max(1))).max(1.0)
    }
}

/// What is exchanged around a layer of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExchangeSpec {
    /// The library.
    pub library: Library,
    /// Experts of the layer, over all ranks.
    pub experts: f64,
    /// Experts per token.
    pub topk: u32,
    /// Bytes of a token on the way out, scales included.
    pub dispatch_row: Bytes,
    /// Bytes of a token on the way back.
    pub combine_row: Bytes,
    /// How tokens choose.
    pub routing: Routing,
    /// Groups of experts that routing lets a token go to, if it limits them.
    pub group_limit: Option<GroupLimit>,
    /// Cores that normal kernels may take; the library's default if absent.
    pub cores: Option<f64>,
}

/// An exchange, prepared for a group and a layer: an evaluation costs a table look-up and no allocation.
#[derive(Debug, Clone)]
pub struct Exchange {
    dispatch: Leg,
    combine: Leg,
    evidence: Evidence,
}

/// One direction: seconds over tokens per rank, and bytes per token on each domain.
#[derive(Debug, Clone)]
struct Leg {
    curve: Option<Curve>,
    wire: [f64; MAX_DOMAINS],
    /// The same among flat peers, where that is another way.
    flat: Option<Box<Leg>>,
}

/// Tokens per rank that curves are tabulated for, as powers of two.
const TOKENS: (i32, i32) = (-4, 21);

impl Exchange {
    /// Prepares an exchange.
    ///
    /// # Errors
    /// If no link class knows the library.
    pub fn new(network: &Network, group: &Group, spec: &ExchangeSpec) -> Result<Self, CommError> {
        if spec.library == Library::AllGather {
            return Ok(Self::gathering(group, spec));
        }
        let mut evidence = group.evidence().clone();
        if let Some(stage) = group.stages.last() {
            let dispatch = Direction::Dispatch.name();
            let found = network.library_set(stage.level, dispatch, spec.library.name())?;
            evidence = found.evidence(f64::from(group.size()));
        }
        Ok(Self {
            dispatch: Leg::new(network, group, spec, Direction::Dispatch)?,
            combine: Leg::new(network, group, spec, Direction::Combine)?,
            evidence,
        })
    }

    fn gathering(group: &Group, spec: &ExchangeSpec) -> Self {
        let ranks = f64::from(group.size());
        let leg = |row: Bytes, cost: &dyn Fn(Bytes) -> CommCost| Leg {
            curve: (group.size() > 1)
                .then(|| Curve::new(TOKENS.0, TOKENS.1, |tokens| cost(row * (tokens * ranks)).time.get())),
            wire: cost(row * ranks).wire.map(Bytes::get),
            flat: None,
        };
        Self {
            dispatch: leg(spec.dispatch_row, &|bytes| group.all_gather(bytes)),
            combine: leg(spec.combine_row, &|bytes| group.reduce_scatter(bytes)),
            evidence: group.evidence().clone(),
        }
    }

    /// Tokens to their experts: each rank holds `tokens`.
    pub fn dispatch(&self, tokens: f64) -> CommCost {
        self.dispatch.cost(tokens)
    }

    /// The results back to their tokens' ranks, summed: each rank is owed `tokens`.
    pub fn combine(&self, tokens: f64) -> CommCost {
        self.combine.cost(tokens)
    }

    /// What the prices rest on.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

impl Leg {
    fn new(network: &Network, group: &Group, spec: &ExchangeSpec, way: Direction) -> Result<Self, CommError> {
        let mut wire = [0.0; MAX_DOMAINS];
        let mut stages = Vec::new();
        for (at, stage) in group.stages.iter().enumerate() {
            let found = network.library_set(stage.level, way.name(), spec.library.name())?;
            let load = load(network, group, spec, way, at);
            wire[stage.level] += load.remote * load.row_bytes;
            let mut forms = vec![(ExchangeForm::new(&found.set.params, found.set.rings_to), found.set)];
            if way == Direction::Dispatch && spec.library == Library::TrtLlmTwoSided {
                let prepare = network.library_set(stage.level, PREPARE, spec.library.name())?;
                forms.push((ExchangeForm::new(&prepare.set.params, prepare.set.rings_to), prepare.set));
            }
            stages.push((load, forms));
        }
        let curve = (!stages.is_empty()).then(|| {
            Curve::new(TOKENS.0, TOKENS.1, |tokens| {
                let times = stages.iter().map(|(load, forms)| -> f64 {
                    let time = |form: &ExchangeForm, tokens| form.time(&Load { tokens, ..*load });
                    let corrected = |(form, set): &(ExchangeForm, &LinkSet)| {
                        set.corrected(tokens, load.ranks, |tokens| time(form, tokens))
                    };
                    forms.iter().map(corrected).sum()
                });
                // Near and far tokens travel at the same time; the slower way decides, as in a collective.
                let (longest, total) =
                    times.fold((0.0_f64, 0.0), |(longest, total), time| (longest.max(time), total + time));
                longest + PIPELINE_LOSS * (total - longest)
            })
        });
        let flat = group.flat.as_deref().map(|flat| Self::new(network, flat, spec, way).map(Box::new));
        Ok(Self { curve, wire, flat: flat.transpose()? })
    }

    fn cost(&self, tokens: f64) -> CommCost {
        let own = self.over(tokens);
        match self.flat.as_deref().map(|flat| flat.over(tokens)) {
            Some(flat) if flat.time < own.time => flat,
            _ => own,
        }
    }

    fn over(&self, tokens: f64) -> CommCost {
        let Some(curve) = &self.curve else { return CommCost::NONE };
        if tokens <= 0.0 {
            return CommCost::NONE;
        }
        let time = curve.at(tokens);
        let bound = if time > 2.0 * curve.latency() { Bound::Network } else { Bound::Launch };
        CommCost { time: Seconds::new(time), bound, wire: self.wire.map(|bytes| Bytes::new(bytes * tokens)) }
    }
}

/// Operation of the link files for the preparation of TensorRT-LLM's two-sided exchange.
pub const PREPARE: &str = "prepare";

/// One rank's load on stage `at` of the group for one token.
fn load(network: &Network, group: &Group, spec: &ExchangeSpec, way: Direction, at: usize) -> Load {
    let stage: &Stage = &group.stages[at];
    let total = f64::from(group.size());
    let ranks = if at + 1 == group.stages.len() { total } else { stage.members };
    let place = ExchangePlace {
        members: stage.members,
        inside: stage.inside,
        total,
        ranks,
        bandwidth: stage.bandwidth,
        extra_latency: stage.extra_latency,
    };
    place.load(network.cores, spec, way)
}

/// Where one stage of an exchange takes place.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ExchangePlace {
    members: f64,
    inside: f64,
    total: f64,
    ranks: f64,
    bandwidth: f64,
    extra_latency: f64,
}

impl ExchangePlace {
    fn flat(network: &Network, span: &Span) -> Self {
        Self {
            members: span.members,
            inside: span.inside,
            total: span.members,
            ranks: span.members,
            bandwidth: span.place(network, Collective::AllToAll).bandwidth,
            extra_latency: span.extra_latency,
        }
    }

    fn load(&self, cores: f64, spec: &ExchangeSpec, way: Direction) -> Load {
        let row_bytes = match way {
            Direction::Dispatch => spec.dispatch_row,
            Direction::Combine => spec.combine_row,
        };
        let inner = self.inside <= 1.0;
        let elsewhere = (self.members - 1.0) / self.members;
        let (copies, remote) = if spec.library.deduplicates() {
            // Parts that this stage tells apart: ranks inside the innermost stage, nodes further out. What arrives at
            // a node for several of its ranks is passed on inside it, so that inner stages carry a copy for each rank.
            let parts = if inner { self.total } else { self.members };
            let touched = spec.routing.touched(parts, spec.experts, spec.topk);
            let limited = spec.group_limit.map_or(touched, |limit| touched.min(limit.most(parts)));
            (limited, limited * elsewhere)
        } else {
            let topk = f64::from(spec.topk);
            (topk, topk * elsewhere * self.inside * self.members / self.total)
        };
        Load {
            tokens: 1.0,
            row_bytes: row_bytes.get(),
            copies,
            remote,
            ranks: self.ranks,
            experts: spec.experts,
            cores: spec.library.cores(cores, spec.experts, spec.cores),
            bandwidth: self.bandwidth,
            extra_latency: self.extra_latency,
        }
    }
}

impl Network {
    /// The load of one token exchanged among `ranks` consecutive ranks, and the link class it loads, if that is one
    /// flat stage; with `outermost`, among ranks that are peers in the outermost domain, as benchmarks of a network with
    /// one rank per node have them.
    pub fn exchange_load(
        &self,
        spec: &ExchangeSpec,
        way: Direction,
        ranks: u32,
        outermost: bool,
    ) -> Option<(&str, Load)> {
        let span = self.flat_span(ranks, outermost)?;
        Some((self.class_of(span.level), ExchangePlace::flat(self, &span).load(self.cores, spec, way)))
    }

    /// Where `ranks` consecutive ranks meet for a collective, and the link class there, if that is one flat stage.
    pub fn place(&self, collective: Collective, ranks: u32) -> Option<(&str, Place)> {
        let span = self.flat_span(ranks, false)?;
        Some((self.class_of(span.level), span.place(self, collective)))
    }

    fn flat_span(&self, ranks: u32, outermost: bool) -> Option<Span> {
        if outermost {
            return Span::outermost(self, f64::from(ranks));
        }
        match spans(self, f64::from(ranks), 1.0, false)[..] {
            [span] => Some(span),
            _ => None,
        }
    }

    fn class_of(&self, level: usize) -> &str {
        self.levels[level].classes.first().map_or(GENERIC, |class| class.id.as_str())
    }
}
