//! Collectives of a group of ranks over nested domains.
//!
//! A group spans one or more domains; a domain that joins `f` parts of the group is a *stage* of `f` members. Over
//! several stages a collective is composed from one per stage: an all-reduce is a reduce-scatter in the innermost
//! domain, an all-reduce of each member's share across, and an all-gather back, every member using its own port. The
//! library pipelines the stages in chunks, so that their latencies add up and of their transfers the longest counts,
//! plus [`PIPELINE_LOSS`] of the others. Domains of one class of link and bandwidth are one flat stage, as they were
//! measured; the ranks of one package are peers in it.

use super::curve::Curve;
use super::form::{Collective, CollectiveForm, Place};
use super::network::{CommError, Level, MAX_DOMAINS, Network};
use super::topology::share;
use crate::ops::Bound;
use crate::step::{Basis, Evidence};
use hardware::{DomainKind, Topology};
use units::{Bytes, Seconds};

/// Share of the shorter stages' transfers that pipelining does not hide. An assumption: nccl-tests on H100 nodes reach
/// 400 to 450 GB/s of bus bandwidth over 8 x 50 GB/s per node, which leaves little room for more.
pub const PIPELINE_LOSS: f64 = 0.1;

/// Message sizes that curves are tabulated for, as powers of two: 32 B to 64 GiB.
const SIZES: (i32, i32) = (5, 36);

/// The price of one collective or exchange.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CommCost {
    /// Duration.
    pub time: Seconds,
    /// [`Bound::Network`] if moving bytes takes longer than the latency that any size pays, else [`Bound::Launch`].
    pub bound: Bound,
    /// Bytes that one rank sends into each of the network's domains, innermost first.
    pub wire: [Bytes; MAX_DOMAINS],
}

impl CommCost {
    /// Nothing to do.
    pub const NONE: Self =
        Self { time: Seconds::ZERO, bound: Bound::Launch, wire: [Bytes::ZERO; MAX_DOMAINS] };

    /// Bytes that one rank sends over all its links.
    pub fn wire_total(&self) -> Bytes {
        self.wire.iter().copied().sum()
    }
}

/// A domain as the group uses it.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// Index of the (outermost merged) domain.
    pub(super) level: usize,
    /// Parts of the group that the domain joins.
    pub(super) members: f64,
    /// Ranks of the group inside one part.
    pub(super) inside: f64,
    /// Bytes/s of one rank, before the topology takes its share.
    pub(super) bandwidth: f64,
    pub(super) extra_latency: f64,
    far: bool,
    curves: [Curve; 4],
}

/// A group of ranks, prepared: evaluating a collective on it costs a few table look-ups and no allocation.
#[derive(Debug, Clone)]
pub struct Group {
    size: u32,
    pub(super) stages: Vec<Stage>,
    /// One rank to another, over the outermost stage.
    pair: Option<Curve>,
    evidence: Evidence,
    /// The same ranks as peers of the outer of two domains of one class of link: a library uses what a faster inner one
    /// has beyond it only where that is quicker.
    pub(super) flat: Option<Box<Group>>,
}

impl Group {
    pub(super) fn new(network: &Network, size: u32, stride: u32) -> Result<Self, CommError> {
        if size == 0 || stride == 0 {
            return Err(CommError::EmptyGroup { size, stride });
        }
        let of = |flat: bool| spans(network, f64::from(size), f64::from(stride), flat);
        let (own, flat) = (of(false), of(true));
        let mut group = Self::over(network, size, &own)?;
        if flat.len() < own.len() {
            group.flat = Some(Box::new(Self::over(network, size, &flat)?));
        }
        Ok(group)
    }

    fn over(network: &Network, size: u32, spans: &[Span]) -> Result<Self, CommError> {
        let mut stages = Vec::new();
        let mut evidence = Evidence { basis: Basis::Measured, rows: 0, sigma: 0.0 };
        for span in spans {
            let stage = Stage::new(network, span)?;
            let found = network.collective_set(stage.level, Collective::AllReduce.name(), stage.members)?;
            let of_stage = found.evidence(stage.members);
            if of_stage.sigma > evidence.sigma {
                evidence = of_stage;
            }
            stages.push(stage);
        }
        let pair = match stages.last() {
            Some(stage) => Some(curve(network, stage.level, Collective::AllToAll, &stage.pair())?),
            None => None,
        };
        Ok(Self { size, stages, pair, evidence, flat: None })
    }

    /// Ranks.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// What its prices rest on: the weakest of its stages.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The quicker of this way and that of flat peers.
    fn quicker(&self, price: impl Fn(&Self) -> CommCost) -> CommCost {
        let own = price(self);
        match self.flat.as_deref().map(price) {
            Some(flat) if flat.time < own.time => flat,
            _ => own,
        }
    }

    /// Sum of `bytes` on each rank, left on all of them.
    pub fn all_reduce(&self, bytes: Bytes) -> CommCost {
        self.quicker(|group| {
            group.nested(
                bytes.get(),
                Collective::ReduceScatter,
                Collective::AllReduce,
                Some(Collective::AllGather),
            )
        })
    }

    /// `bytes` in total, an equal share from each rank, gathered on all of them.
    pub fn all_gather(&self, bytes: Bytes) -> CommCost {
        self.quicker(|group| group.nested(bytes.get(), Collective::AllGather, Collective::AllGather, None))
    }

    /// Sum of `bytes` on each rank, an equal share left on each.
    pub fn reduce_scatter(&self, bytes: Bytes) -> CommCost {
        self.quicker(|group| {
            group.nested(bytes.get(), Collective::ReduceScatter, Collective::ReduceScatter, None)
        })
    }

    /// `bytes` from one rank to all: each rank passes on a share, then all gather (van de Geijn), which for large
    /// messages costs what gathering costs.
    pub fn broadcast(&self, bytes: Bytes) -> CommCost {
        self.all_gather(bytes)
    }

    /// `bytes` on each rank, an equal share to each rank. Peers in different domains are served at the same time.
    pub fn all_to_all(&self, bytes: Bytes) -> CommCost {
        self.quicker(|group| group.to_all(bytes))
    }

    fn to_all(&self, bytes: Bytes) -> CommCost {
        let total = f64::from(self.size);
        let mut sum = Sum::default();
        for stage in &self.stages {
            // Of the n ranks, `inside * members - inside` are reached at this stage; the stage's own all-to-all sends
            // (members - 1) / members of what it is given.
            let reached = stage.inside * (stage.members - 1.0) / total;
            let given = bytes.get() * reached * stage.members / (stage.members - 1.0);
            let curve = stage.curve(Collective::AllToAll);
            sum.add(
                stage.level,
                curve.at(given),
                curve.latency(),
                Collective::AllToAll.wire(stage.members, given),
            );
        }
        sum.cost()
    }

    /// `bytes` from one rank to another in the group's outermost domain: a pipeline stage to the next, a cache to the
    /// instance that decodes.
    pub fn send(&self, bytes: Bytes) -> CommCost {
        let (Some(pair), Some(stage)) = (&self.pair, self.stages.last()) else { return CommCost::NONE };
        let mut sum = Sum::default();
        // A pair exchanges half of each rank's buffer.
        sum.add(stage.level, pair.at(2.0 * bytes.get()), pair.latency(), bytes.get());
        sum.cost()
    }

    /// `inner` (and `back`, over the same link) in every stage but the outermost, which does `outer`.
    fn nested(&self, bytes: f64, inner: Collective, outer: Collective, back: Option<Collective>) -> CommCost {
        let mut sum = Sum::default();
        let last = self.stages.len().saturating_sub(1);
        for (at, stage) in self.stages.iter().enumerate() {
            let bytes = bytes / stage.inside;
            let first = if at == last { outer } else { inner };
            let curve = stage.curve(first);
            let (mut time, mut latency) = (curve.at(bytes), curve.latency());
            let mut wire = first.wire(stage.members, bytes);
            if let (Some(back), true) = (back, at < last) {
                let curve = stage.curve(back);
                time += curve.at(bytes);
                latency += curve.latency();
                wire += back.wire(stage.members, bytes);
            }
            sum.add(stage.level, time, latency, wire);
        }
        sum.cost()
    }
}

/// Adds up stages: latencies in a row, transfers pipelined.
#[derive(Default)]
struct Sum {
    latency: f64,
    longest: f64,
    transfer: f64,
    wire: [Bytes; MAX_DOMAINS],
}

impl Sum {
    fn add(&mut self, level: usize, time: f64, latency: f64, wire: f64) {
        let transfer = (time - latency).max(0.0);
        self.latency += latency;
        self.longest = self.longest.max(transfer);
        self.transfer += transfer;
        self.wire[level] += Bytes::new(wire);
    }

    fn cost(self) -> CommCost {
        let transfer = self.longest + PIPELINE_LOSS * (self.transfer - self.longest);
        let bound = if transfer > self.latency { Bound::Network } else { Bound::Launch };
        CommCost { time: Seconds::new(self.latency + transfer), bound, wire: self.wire }
    }
}

impl Stage {
    fn new(network: &Network, span: &Span) -> Result<Self, CommError> {
        let curve =
            |collective| self::curve(network, span.level, collective, &span.place(network, collective));
        Ok(Self {
            level: span.level,
            members: span.members,
            inside: span.inside,
            bandwidth: span.place(network, Collective::AllToAll).bandwidth,
            extra_latency: span.extra_latency,
            far: span.far,
            curves: [
                curve(Collective::AllReduce)?,
                curve(Collective::AllGather)?,
                curve(Collective::ReduceScatter)?,
                curve(Collective::AllToAll)?,
            ],
        })
    }

    fn curve(&self, collective: Collective) -> &Curve {
        &self.curves[collective as usize]
    }

    fn pair(&self) -> Place {
        let (bandwidth, extra_latency) = (self.bandwidth, self.extra_latency);
        Place { ranks: 2.0, bandwidth, extra_latency, in_network: false, far: self.far }
    }
}

fn curve(network: &Network, level: usize, collective: Collective, place: &Place) -> Result<Curve, CommError> {
    let found = network.collective_set(level, collective.name(), place.ranks)?;
    let form = CollectiveForm::new(&found.set.params, found.set.rings_to);
    let time = |bytes: f64| form.time(collective, bytes, place);
    Ok(Curve::new(SIZES.0, SIZES.1, |bytes| found.set.corrected(bytes, place.ranks, time)))
}

/// A stage before it is priced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub(super) level: usize,
    pub(super) members: f64,
    pub(super) inside: f64,
    places: f64,
    pub(super) extra_latency: f64,
    far: bool,
}

impl Span {
    pub(super) fn place(&self, network: &Network, collective: Collective) -> Place {
        let level = &network.levels[self.level];
        Place {
            ranks: self.members,
            bandwidth: level.bandwidth * share(level.topology, collective, self.members, self.places),
            extra_latency: self.extra_latency,
            in_network: level.reduces(),
            far: self.far,
        }
    }

    /// `ranks` ranks as peers in the outermost domain, whatever joins them further in.
    pub(super) fn outermost(network: &Network, ranks: f64) -> Option<Self> {
        let level = network.levels.len().checked_sub(1)?;
        let extra_latency = extra_latency(&network.levels[level]);
        Some(Self { level, members: ranks, inside: 1.0, places: f64::INFINITY, extra_latency, far: true })
    }
}

/// How a group of `size` ranks, `stride` apart, divides over the domains. Where it does not divide evenly, the parts
/// are of equal size on average. With `flat`, a domain that is slower than the one inside it takes that in too, where the
/// links are of one class.
pub(super) fn spans(network: &Network, size: f64, stride: f64, flat: bool) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    // Ranks of the group, and domains of the system, inside one domain of the level below.
    let (mut inside, mut below) = (1.0_f64, 1.0_f64);
    for (index, level) in network.levels.iter().enumerate() {
        let held = if level.capacity.is_finite() { (level.capacity / stride).floor().max(1.0) } else { size };
        let parts = (size / held.min(size)).ceil();
        let here = size / parts;
        let members = here / inside;
        let places =
            if level.capacity.is_finite() { (level.capacity / below).max(members) } else { f64::INFINITY };
        below = level.capacity;
        if members <= 1.0 + 1e-9 {
            continue;
        }
        let far = !matches!(level.kind, DomainKind::Package | DomainKind::Node);
        let span = Span { level: index, members, inside, places, extra_latency: extra_latency(level), far };
        match spans.last() {
            Some(last) if merges(&network.levels[last.level], level, flat) => {
                let merged = merge(last, &span);
                spans.pop();
                spans.push(merged);
            }
            _ => spans.push(span),
        }
        inside = here;
        if here >= size {
            break;
        }
    }
    spans
}

fn extra_latency(level: &Level) -> f64 {
    level.classes.first().map_or(0.0, |class| level.latency - class.latency.get())
}

/// Whether ranks of `inner` domains are peers in `outer` as if there were no boundary: in a package always, else if
/// both are switched links of one class and the outer is as fast, or if `flat` whatever its rate.
fn merges(inner: &Level, outer: &Level, flat: bool) -> bool {
    let switched = |level: &Level| match level.topology {
        Topology::Switch { .. } => true,
        Topology::Clos { oversubscription } => oversubscription <= 1.0,
        Topology::FullMesh | Topology::Ring | Topology::Torus { .. } => false,
    };
    let same_class =
        inner.classes.first().map(|class| &class.id) == outer.classes.first().map(|class| &class.id);
    let as_fast = flat || (inner.bandwidth / outer.bandwidth).ln() < 0.1;
    inner.kind == DomainKind::Package || (same_class && as_fast && switched(inner) && switched(outer))
}

fn merge(inner: &Span, outer: &Span) -> Span {
    let members = inner.members * outer.members;
    // Of the members - 1 peers, inner.members - 1 are near.
    let near = (inner.members - 1.0) / (members - 1.0);
    Span {
        level: outer.level,
        members,
        inside: inner.inside,
        places: inner.places * outer.places,
        extra_latency: near * inner.extra_latency + (1.0 - near) * outer.extra_latency,
        far: outer.far,
    }
}
