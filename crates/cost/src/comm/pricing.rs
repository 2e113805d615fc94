//! Communication of one instance, as the step model asks for it.

use super::experts::{Exchange, ExchangeSpec, GroupLimit, Library, Routing};
use super::group::{CommCost, Group};
use super::network::{CommError, Network};
use crate::ops::OpCost;
use crate::step::{Collectives, Deployment, Evidence};
use hardware::{Catalog, DomainKind};
use model::Ffn;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use units::{Bytes, Flop};

/// What an instance communicates, besides what each call says.
#[derive(Debug, Clone, PartialEq)]
pub struct CommSpec {
    /// Routed experts of a layer; 0 for a dense model.
    pub experts: f64,
    /// Libraries that exchange tokens, each used where it is the quickest: DeepEP's low-latency kernels for few tokens
    /// and its normal ones for many.
    pub libraries: Vec<Library>,
    /// Groups of experts that routing lets a token go to.
    pub group_limit: Option<GroupLimit>,
    /// Cores that exchanges may take.
    pub cores: Option<f64>,
    /// Ranks of the whole instance; the group that the evidence is about.
    pub ranks: u32,
}

impl CommSpec {
    /// What a deployment communicates.
    fn of(deployment: &Deployment) -> Self {
        let layout = &deployment.layout;
        let moe = deployment.model.layers.iter().find_map(|group| match &group.ffn {
            Ffn::Moe(moe) => Some(moe),
            _ => None,
        });
        let experts = moe.map_or(0.0, |moe| f64::from(moe.experts + layout.redundant_experts));
        let limits = moe.filter(|moe| moe.groups > 1 && moe.topk_groups < moe.groups);
        Self {
            experts,
            libraries: libraries(deployment, moe.map_or(0, |moe| moe.topk)),
            group_limit: limits.map(|moe| GroupLimit { groups: moe.groups, chosen: moe.topk_groups }),
            cores: None,
            ranks: layout.tp.saturating_mul(layout.dp),
        }
    }
}

/// What exchanges tokens in a deployment of experts of which each token goes to `topk`.
///
/// TensorRT-LLM sends tokens to their experts' ranks only where there are more of these than a token has experts, and only
/// over links that several nodes share memory on (`select_alltoall_method_type` of its fused MoE modules); elsewhere it
/// gathers all tokens on all ranks.
fn libraries(deployment: &Deployment, topk: u32) -> Vec<Library> {
    let named = Library::named(&deployment.engine.comm.expert);
    let shared = deployment.system.domain(DomainKind::ScaleUp).is_some();
    let sends = deployment.layout.ep > topk && shared;
    if named == [Library::TrtLlmOneSided] && !sends { vec![Library::AllGather] } else { named }
}

/// Prices the collectives of one instance, whose ranks are numbered from 0 without gaps.
#[derive(Debug)]
pub struct InstanceComm {
    network: Network,
    spec: CommSpec,
    /// Used to answer for a group that cannot be prepared; preparing the whole instance has proved the links sound.
    whole: Group,
    evidence: Evidence,
    groups: RwLock<BTreeMap<(u32, u32), Group>>,
    exchanges: RwLock<BTreeMap<ExchangeKey, Vec<(Library, Exchange)>>>,
}

type ExchangeKey = (u32, u32, u64, u64);

impl InstanceComm {
    /// Prices an instance on a network.
    ///
    /// # Errors
    /// If a link class lacks what the instance needs.
    pub fn new(network: Network, spec: CommSpec) -> Result<Self, CommError> {
        let whole = network.group(spec.ranks.max(1), 1)?;
        let mut evidence = whole.evidence().clone();
        if spec.experts > 0.0 && spec.ranks > 1 {
            for library in &spec.libraries {
                let row = Bytes::new(1.0);
                let exchange = Exchange::new(&network, &whole, &exchange_spec(&spec, *library, 1, row, row))?;
                if exchange.evidence().sigma > evidence.sigma {
                    evidence = exchange.evidence().clone();
                }
            }
        }
        Ok(Self { network, spec, whole, evidence, groups: RwLock::default(), exchanges: RwLock::default() })
    }

    /// Prices a deployment: its system's links, its engine's libraries.
    ///
    /// # Errors
    /// If a link file is malformed or lacks what the deployment needs.
    pub fn for_deployment(catalog: &Catalog, deployment: &Deployment) -> Result<Self, CommError> {
        Self::on_network(Self::network_of(catalog, deployment)?, deployment)
    }

    /// The network of a deployment, which others of the same system, chip and engine may share.
    ///
    /// # Errors
    /// If a link file is malformed or the system nests too many domains.
    pub fn network_of(catalog: &Catalog, deployment: &Deployment) -> Result<Network, CommError> {
        let engine = &deployment.engine;
        let stacks: &[String] = if engine.comm.all_reduce == "custom" { &engine.stacks } else { &[] };
        Network::new(catalog, &deployment.system, &deployment.chip, stacks)
    }

    /// Prices a deployment on a network made by [`InstanceComm::network_of`] for one like it.
    ///
    /// # Errors
    /// If a link class lacks what the deployment needs.
    pub fn on_network(network: Network, deployment: &Deployment) -> Result<Self, CommError> {
        Self::new(network, CommSpec::of(deployment))
    }

    /// The network underneath.
    pub fn network(&self) -> &Network {
        &self.network
    }

    fn with_group(&self, size: u32, stride: u32, price: impl Fn(&Group) -> CommCost) -> OpCost {
        let (size, stride) = (size.max(1), stride.max(1));
        let known = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = known.get(&(size, stride)) {
            return op_cost(price(group));
        }
        drop(known);
        let group = self.network.group(size, stride).unwrap_or_else(|_| self.whole.clone());
        let cost = op_cost(price(&group));
        self.groups.write().unwrap_or_else(PoisonError::into_inner).insert((size, stride), group);
        cost
    }

    fn exchange(&self, key: ExchangeKey, tokens: f64, price: impl Fn(&Exchange) -> CommCost) -> OpCost {
        let known = self.exchanges.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(exchanges) = known.get(&key) {
            return op_cost(quickest(exchanges, tokens, price));
        }
        drop(known);
        let exchanges = self.prepare(key);
        let cost = op_cost(quickest(&exchanges, tokens, price));
        self.exchanges.write().unwrap_or_else(PoisonError::into_inner).insert(key, exchanges);
        cost
    }

    fn prepare(&self, (size, topk, dispatch, combine): ExchangeKey) -> Vec<(Library, Exchange)> {
        let group = self.network.group(size.max(1), 1).unwrap_or_else(|_| self.whole.clone());
        let rows = [dispatch, combine].map(|bits| Bytes::new(f64::from_bits(bits)));
        let prepared = self.spec.libraries.iter().filter_map(|library| {
            let spec = exchange_spec(&self.spec, *library, topk, rows[0], rows[1]);
            Exchange::new(&self.network, &group, &spec).ok().map(|exchange| (*library, exchange))
        });
        prepared.collect()
    }
}

fn exchange_spec(
    spec: &CommSpec,
    library: Library,
    topk: u32,
    dispatch: Bytes,
    combine: Bytes,
) -> ExchangeSpec {
    ExchangeSpec {
        library,
        experts: spec.experts.max(f64::from(topk)),
        topk,
        dispatch_row: dispatch,
        combine_row: combine,
        routing: Routing::Random,
        group_limit: spec.group_limit,
        cores: spec.cores,
    }
}

/// The price of the library that is quickest for so many tokens, among those whose buffers hold them.
fn quickest(
    exchanges: &[(Library, Exchange)],
    tokens: f64,
    price: impl Fn(&Exchange) -> CommCost,
) -> CommCost {
    let fits =
        |library: Library| library != Library::DeepEpLowLatency || tokens <= Library::LOW_LATENCY_TOKENS;
    let mut best: Option<CommCost> = None;
    for (library, exchange) in exchanges {
        if !fits(*library) && exchanges.len() > 1 {
            continue;
        }
        let cost = price(exchange);
        if best.is_none_or(|best| cost.time < best.time) {
            best = Some(cost);
        }
    }
    best.unwrap_or(CommCost::NONE)
}

fn op_cost(cost: CommCost) -> OpCost {
    OpCost { time: cost.time, bound: cost.bound, flop: Flop::ZERO, bytes: cost.wire_total() }
}

impl Collectives for InstanceComm {
    fn all_reduce(&self, bytes: Bytes, group: u32) -> OpCost {
        self.with_group(group, 1, |group| group.all_reduce(bytes))
    }

    fn all_gather(&self, bytes: Bytes, group: u32) -> OpCost {
        self.with_group(group, 1, |group| group.all_gather(bytes))
    }

    fn dispatch(&self, tokens: f64, topk: f64, token_bytes: Bytes, group: u32) -> OpCost {
        let key =
            (group, topk.round().max(1.0) as u32, token_bytes.get().to_bits(), token_bytes.get().to_bits());
        self.exchange(key, tokens, |exchange| exchange.dispatch(tokens))
    }

    fn combine(&self, tokens: f64, topk: f64, token_bytes: Bytes, group: u32) -> OpCost {
        let key =
            (group, topk.round().max(1.0) as u32, token_bytes.get().to_bits(), token_bytes.get().to_bits());
        self.exchange(key, tokens, |exchange| exchange.combine(tokens))
    }

    fn send(&self, bytes: Bytes, stage: u32) -> OpCost {
        self.with_group(2, stage, |group| group.send(bytes))
    }

    fn evidence(&self) -> Evidence {
        self.evidence.clone()
    }
}
