//! Prices from kernels and links measured on the chip or its relatives.

use crate::pricer::{Collective, Dispatcher, Exchange, Group, Pricer};
use crate::roofline::Roofline;
use cost::comm::{self, CommError, Network};
use cost::kernels::{Kernels, KernelsError, PricedGemm};
use cost::ops::elementwise::Elementwise;
use cost::ops::{AttentionPrefill, Gemm, Machine, Precision};
use hardware::{Catalog, Chip, System};
use std::collections::BTreeMap;
use std::sync::RwLock;
use units::{Bytes, Dtype, Flop, Seconds};

/// What tells one prepared exchange from another: group, library, row bytes, experts, experts per token, node limit.
type ExchangeKey = (Group, Dispatcher, u64, u32, u32, u32);

/// A chip whose kernels were measured, in a system.
pub struct Measured {
    kernels: Kernels,
    gemms: BTreeMap<Dtype, PricedGemm>,
    elementwise: Elementwise,
    machine: Machine,
    network: Network,
    roofline: Roofline,
    groups: RwLock<BTreeMap<Group, comm::Group>>,
    exchanges: RwLock<BTreeMap<ExchangeKey, comm::Exchange>>,
}

/// Why a chip in a system cannot be priced.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// Its kernels.
    #[error(transparent)]
    Kernels(#[from] KernelsError),
    /// Its links.
    #[error(transparent)]
    Links(#[from] CommError),
}

const FORMATS: [Dtype; 8] = [
    Dtype::Bf16,
    Dtype::Fp16,
    Dtype::Fp8,
    Dtype::Fp8Block,
    Dtype::Mxfp8,
    Dtype::Nvfp4,
    Dtype::Mxfp4,
    Dtype::Hif8,
];

const BF16: Precision = Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 };

impl Measured {
    /// One rank of `chip` in `system`.
    ///
    /// # Errors
    /// A profile of the catalog is malformed, or the chip has no matrix unit for 16-bit operands.
    pub fn new(catalog: &Catalog, chip: &Chip, system: &System) -> Result<Self, PriceError> {
        let kernels = Kernels::load(chip, &[], |id| catalog.text("kernels", id).ok());
        let mut gemms = BTreeMap::new();
        for dtype in FORMATS.into_iter().filter(|dtype| chip.rank.compute_dtype(*dtype).is_some()) {
            match kernels.gemm_kernel(Precision { weight: dtype, activation: dtype }) {
                Ok(kernel) => drop(gemms.insert(dtype, kernel.without_quantise())),
                // Nothing measured on the chip, its relatives or in general: the data sheet has to do.
                Err(KernelsError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self {
            gemms,
            elementwise: kernels.elementwise_kernel(),
            machine: kernels.machine(Dtype::Bf16)?,
            network: Network::new(catalog, system, chip, &[])?,
            roofline: Roofline::new(chip, system),
            kernels,
            groups: RwLock::default(),
            exchanges: RwLock::default(),
        })
    }

    /// What `price` says of the group, prepared once; `None` if no link class knows it.
    fn with_group<T>(&self, group: Group, price: impl Fn(&comm::Group) -> T) -> Option<T> {
        if let Some(known) = self.groups.read().ok()?.get(&group) {
            return Some(price(known));
        }
        let made = self.network.group(group.size, group.stride).ok()?;
        let result = price(&made);
        self.groups.write().ok()?.insert(group, made);
        Some(result)
    }

    fn prepared_exchange(&self, op: &Exchange) -> Option<Seconds> {
        let library = match op.dispatcher {
            Dispatcher::AllToAll => return None,
            Dispatcher::DeepEp | Dispatcher::HybridEp => comm::Library::DeepEpNormal,
            Dispatcher::Cann => comm::Library::Cann,
        };
        let limit = op.node_limit.unwrap_or(0);
        let key = (op.group, op.dispatcher, op.row.get().to_bits(), op.experts, op.topk, limit);
        let price =
            |exchange: &comm::Exchange| exchange.dispatch(op.tokens).time + exchange.combine(op.tokens).time;
        if let Some(known) = self.exchanges.read().ok()?.get(&key) {
            return Some(price(known));
        }
        let spec = comm::ExchangeSpec {
            library,
            experts: f64::from(op.experts),
            topk: op.topk,
            dispatch_row: op.row,
            combine_row: op.row,
            routing: comm::Routing::Random,
            // A limit of nodes is a limit of groups of experts, one group to a node.
            group_limit: op.node_limit.map(|nodes| comm::GroupLimit {
                groups: op.group.size.div_ceil(NODE).max(nodes),
                chosen: nodes,
            }),
            cores: (op.dispatcher == Dispatcher::HybridEp).then_some(f64::INFINITY),
        };
        let made =
            self.with_group(op.group, |group| comm::Exchange::new(&self.network, group, &spec).ok())??;
        let result = price(&made);
        self.exchanges.write().ok()?.insert(key, made);
        Some(result)
    }
}

/// Ranks of a node, for limits of nodes.
const NODE: u32 = 8;

impl Pricer for Measured {
    fn gemm(&self, op: Gemm, dtype: Dtype) -> Seconds {
        self.gemms.get(&dtype).map_or_else(|| self.roofline.gemm(op, dtype), |kernel| kernel.price(op).time)
    }

    fn attention(&self, op: AttentionPrefill) -> Seconds {
        self.kernels
            .attention_prefill(op, BF16)
            .map_or_else(|_| self.roofline.attention(op), |priced| priced.cost.time)
    }

    fn vector(&self, flop: Flop) -> Seconds {
        self.roofline.vector(flop)
    }

    fn stream(&self, bytes: Bytes) -> Seconds {
        if bytes.get() <= 0.0 {
            return Seconds::ZERO;
        }
        self.elementwise.price(&self.machine, bytes, f64::INFINITY).time
    }

    fn inside_scale_up(&self, group: Group) -> bool {
        self.roofline.inside_scale_up(group)
    }

    fn collective(&self, op: Collective, bytes: Bytes, group: Group) -> Seconds {
        if group.size <= 1 || bytes.get() <= 0.0 {
            return Seconds::ZERO;
        }
        let priced = self.with_group(group, |group| match op {
            Collective::AllReduce => group.all_reduce(bytes).time,
            Collective::AllGather => group.all_gather(bytes).time,
            Collective::ReduceScatter => group.reduce_scatter(bytes).time,
            Collective::AllToAll => group.all_to_all(bytes).time,
        });
        priced.unwrap_or_else(|| self.roofline.collective(op, bytes, group))
    }

    fn exchange(&self, op: &Exchange) -> Seconds {
        if op.group.size <= 1 {
            return Seconds::ZERO;
        }
        self.prepared_exchange(op).unwrap_or_else(|| {
            let bytes = op.row * op.tokens * f64::from(op.topk);
            self.collective(Collective::AllToAll, bytes, op.group) * 2.0
        })
    }

    fn send(&self, bytes: Bytes, stride: u32) -> Seconds {
        let priced = self.with_group(Group::new(2, stride), |pair| pair.send(bytes).time);
        priced.unwrap_or_else(|| self.roofline.send(bytes, stride))
    }

    fn host_copy(&self, bytes: Bytes) -> Seconds {
        self.roofline.host_copy(bytes)
    }
}
