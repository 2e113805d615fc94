//! The price of a step of one deployment.

use super::deployment::{Deployment, LayoutError};
use super::energy::EnergyModel;
use super::memory::{DoesNotFit, MemoryFit};
use super::operators::{Collectives, Evidence, Operators};
use super::plan::{self, ExpertPlan, LayerPlan, MixPlan, Product, RankPlan, SoftmaxPlan};
use super::shape::{StepPrice, StepPricer, StepShape};
use super::table::Table;
use super::tally::{Family, Tally};
use crate::ops::{AttentionDecode, AttentionPrefill, Bound, Gemm, GroupedMoe, Precision};
use crate::routing;
use hardware::Engine;
use std::sync::Arc;
use units::{Bytes, Dtype, Joules, Seconds, Watts};

/// Why a deployment cannot be priced.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StepError {
    /// The sizes do not make a layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The memory is too small.
    #[error(transparent)]
    Memory(#[from] DoesNotFit),
    /// The chip has no peak for any format that could multiply this one.
    #[error("chip `{chip}` has no peak rate for {format} or a wider format; choose another --weight-dtype")]
    Format {
        /// Catalog key.
        chip: String,
        /// What the model wants.
        format: Dtype,
    },
}

/// A step with everything that is known about its price.
#[derive(Debug, Clone, PartialEq)]
pub struct StepCost {
    /// Duration, overlap taken off.
    pub time: Seconds,
    /// By family and bound, before overlap.
    pub tally: Tally,
    /// Communication behind computation.
    pub hidden: Seconds,
    /// Of all ranks of the instance; `None` where the chip's rating is unknown.
    pub energy: Option<Joules>,
    /// Standard deviation of ln(predicted / measured) that the parts add up to.
    pub sigma: f64,
}

/// Prices steps of one deployment; everything that does not depend on the step is worked out once.
pub struct StepModel {
    deployment: Deployment,
    plan: RankPlan,
    memory: MemoryFit,
    energy: Option<EnergyModel>,
    operators: Arc<dyn Operators>,
    collectives: Arc<dyn Collectives>,
    queries: f64,
    skew: f64,
    /// Micro-batches a step is cut into.
    split: f64,
    tables: Arc<Tables>,
}

/// Prices by one token count each.
#[derive(Debug, Default)]
struct Tables {
    linear: Table,
    absorb: Table,
    expand: Table,
    experts: Table,
    exchange: Table,
    head: Table,
    draft_linear: Table,
    draft_experts: Table,
}

/// Tokens and sequences of one step, with drafts counted.
struct Load {
    decode_seqs: f64,
    decode_tokens: f64,
    context: f64,
    prefill_seqs: f64,
    prefill_tokens: f64,
    prefill_past: f64,
    tokens: f64,
    total_tokens: f64,
    total_decode_seqs: f64,
}

impl Load {
    /// One of `parts` equal micro-batches.
    fn part(&self, parts: f64) -> Self {
        Self {
            decode_seqs: self.decode_seqs / parts,
            decode_tokens: self.decode_tokens / parts,
            context: self.context,
            prefill_seqs: self.prefill_seqs / parts,
            prefill_tokens: self.prefill_tokens / parts,
            prefill_past: self.prefill_past / parts,
            tokens: self.tokens / parts,
            total_tokens: self.total_tokens / parts,
            total_decode_seqs: self.total_decode_seqs / parts,
        }
    }
}

impl StepModel {
    /// Checks the layout and the memory, and prepares the tables.
    pub fn new(
        deployment: Deployment,
        operators: Arc<dyn Operators>,
        collectives: Arc<dyn Collectives>,
    ) -> Result<Self, StepError> {
        deployment.layout.check(&deployment.model)?;
        let formats = &deployment.model.quantization;
        for format in [formats.activations, formats.experts] {
            if deployment.chip.rank.peak(format).is_none() {
                return Err(StepError::Format { chip: deployment.chip.id.clone(), format });
            }
        }
        let plan = plan::plan(&deployment.model, &deployment.layout);
        let memory = MemoryFit::new(&deployment, &plan)?;
        let energy = EnergyModel::new(&deployment.chip, &deployment.system, formats.activations);
        Ok(Self {
            queries: 1.0 + f64::from(deployment.speculation.tokens),
            skew: deployment.expert_skew.unwrap_or(deployment.engine.device.expert_skew.value),
            split: if deployment.micro_batches { 2.0 } else { 1.0 },
            plan,
            memory,
            energy,
            operators,
            collectives,
            deployment,
            tables: Arc::default(),
        })
    }

    /// The same deployment under another engine with the same kernels, sharing every price that does not depend on it.
    ///
    /// # Errors
    /// The other engine leaves too little memory.
    pub fn with_engine(&self, engine: Arc<Engine>) -> Result<Self, StepError> {
        let deployment = Deployment { engine, ..self.deployment.clone() };
        let skew = deployment.expert_skew.unwrap_or(deployment.engine.device.expert_skew.value);
        Ok(Self {
            memory: MemoryFit::new(&deployment, &self.plan)?,
            plan: self.plan.clone(),
            energy: self.energy,
            operators: Arc::clone(&self.operators),
            collectives: Arc::clone(&self.collectives),
            queries: self.queries,
            skew,
            split: self.split,
            tables: if skew == self.skew { Arc::clone(&self.tables) } else { Arc::default() },
            deployment,
        })
    }

    /// What is priced.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// How the memory is used.
    pub fn memory(&self) -> &MemoryFit {
        &self.memory
    }

    /// What the instance draws when nothing runs; `None` where the chip's rating is unknown.
    pub fn idle_power(&self) -> Option<Watts> {
        self.energy.map(|energy| (energy.idle + energy.overhead) * f64::from(self.deployment.layout.ranks()))
    }

    /// The price with its breakdown, energy and error band.
    pub fn cost(&self, shape: &StepShape) -> StepCost {
        let load = self.load(shape);
        let mut device = Tally::default();
        device.add_scaled(
            &self.tables.linear.tally(load.tokens / self.split, |m| self.linear_at(m)),
            self.split,
        );
        device.add_scaled(&self.tables.absorb.tally(load.decode_tokens, |m| self.absorb_at(m)), 1.0);
        if load.prefill_tokens > 0.0 {
            let expanded = load.prefill_tokens + load.prefill_past;
            device.add_scaled(&self.tables.expand.tally(expanded, |m| self.expand_at(m)), 1.0);
        }
        device.add_scaled(&self.tables.head.tally(self.sampled(&load), |m| self.head_at(m)), 1.0);
        device.add_scaled(
            &self.tables.experts.tally(load.total_tokens / self.split, |m| self.experts_at(m)),
            self.split,
        );
        let part = load.part(self.split);
        for layer in &self.plan.layers {
            self.mix(&layer.mix, layer.count * self.split, &part, &mut device);
        }
        self.draft(&load, &mut device);
        device.stretch(self.slowdown(&load));
        let mut exchange = Tally::default();
        exchange.add_scaled(
            &self.tables.exchange.tally(load.total_tokens / self.split, |m| self.exchange_at(m)),
            self.split,
        );
        let hidden = self.hidden(&load, device.total(), exchange.total());
        device.add_scaled(&exchange, 1.0);
        device.add_time(Family::Elementwise, Bound::Launch, self.gaps(&load));
        let busy = device.total() - hidden;
        device.add_time(Family::Host, Bound::Launch, self.host(&load, busy));
        let time = device.total() - hidden;
        let ranks = f64::from(self.deployment.layout.ranks());
        StepCost {
            time,
            energy: self.energy.map(|energy| energy.energy(&device, time) * ranks),
            sigma: self.sigma(&device),
            tally: device,
            hidden,
        }
    }

    fn load(&self, shape: &StepShape) -> Load {
        let rank = &shape.busiest;
        let decode_tokens = rank.decode_seqs * self.queries;
        Load {
            decode_seqs: rank.decode_seqs,
            decode_tokens,
            context: if rank.decode_seqs > 0.0 { rank.decode_context / rank.decode_seqs } else { 0.0 },
            prefill_seqs: rank.prefill_seqs,
            prefill_tokens: rank.prefill_tokens,
            prefill_past: rank.prefill_past,
            tokens: decode_tokens + rank.prefill_tokens,
            total_tokens: shape.total_decode_seqs * self.queries + shape.total_prefill_tokens,
            total_decode_seqs: shape.total_decode_seqs,
        }
    }

    /// Rows the output projection runs on: every query of a decoding sequence, the last token of a prompt.
    fn sampled(&self, load: &Load) -> f64 {
        load.decode_tokens + load.prefill_seqs
    }

    fn product(&self, product: &Product, tokens: f64, count: f64, tally: &mut Tally) {
        let cost = self.operators.gemm(Gemm { m: tokens, n: product.n, k: product.k }, product.precision);
        tally.add(product.family, cost, count);
    }

    fn linear_layer(&self, layer: &LayerPlan, tokens: f64, tally: &mut Tally) {
        for product in &layer.products {
            self.product(product, tokens, layer.count, tally);
        }
        let moved = self.operators.elementwise(Bytes::new(layer.elementwise_bytes * tokens));
        tally.add(Family::Elementwise, moved, layer.count);
        let row = Bytes::new(tokens * self.plan.hidden * Dtype::Bf16.bytes());
        let tp = self.deployment.layout.tp;
        if tp > 1 && layer.reductions > 0.0 {
            tally.add(
                Family::Collective,
                self.collectives.all_reduce(row, tp),
                layer.count * layer.reductions,
            );
        }
    }

    /// Everything that depends on the tokens of this rank alone.
    fn linear_at(&self, tokens: f64) -> Tally {
        let mut tally = Tally::default();
        if tokens == 0.0 {
            return tally;
        }
        for layer in &self.plan.layers {
            self.linear_layer(layer, tokens, &mut tally);
        }
        let stages = self.deployment.layout.pp;
        if stages > 1 {
            let row = Bytes::new(tokens * self.plan.hidden * Dtype::Bf16.bytes());
            let ranks = self.deployment.layout.tp * self.deployment.layout.dp;
            tally.add(Family::Collective, self.collectives.send(row, ranks), f64::from(stages - 1));
        }
        tally
    }

    fn softmax_layers(&self) -> impl Iterator<Item = (&SoftmaxPlan, f64)> {
        self.plan.layers.iter().filter_map(|layer| match &layer.mix {
            MixPlan::Softmax(softmax) => Some((softmax, layer.count)),
            _ => None,
        })
    }

    fn absorb_at(&self, tokens: f64) -> Tally {
        let mut tally = Tally::default();
        if tokens > 0.0 {
            for (softmax, count) in self.softmax_layers() {
                for product in &softmax.decode_products {
                    self.product(product, tokens, count, &mut tally);
                }
            }
        }
        tally
    }

    fn expand_at(&self, tokens: f64) -> Tally {
        let mut tally = Tally::default();
        if tokens > 0.0 {
            for (softmax, count) in self.softmax_layers() {
                for product in &softmax.expand_products {
                    self.product(product, tokens, count, &mut tally);
                }
            }
        }
        tally
    }

    fn head_at(&self, rows: f64) -> Tally {
        let mut tally = Tally::default();
        if rows == 0.0 {
            return tally;
        }
        self.product(&self.plan.head, rows, 1.0, &mut tally);
        let tp = self.deployment.layout.tp;
        let logits = rows * f64::from(self.deployment.model.vocab);
        if tp > 1 {
            let gathered = self.collectives.all_gather(Bytes::new(logits * 2.0), tp);
            tally.add(Family::Collective, gathered, 1.0);
        }
        // Sampling reads the logits about twice in single precision.
        tally.add(Family::Head, self.operators.elementwise(Bytes::new(logits * 8.0)), 1.0);
        tally
    }

    fn expert_layer(&self, experts: &ExpertPlan, count: f64, total: f64, tally: &mut Tally) {
        let ep = f64::from(self.deployment.layout.ep);
        let skew = if self.deployment.layout.ep > 1 { 1.0 + self.skew } else { 1.0 };
        let rows = total * experts.topk / ep * skew;
        let op = GroupedMoe {
            tokens: total,
            topk: experts.topk,
            experts: experts.experts,
            local_experts: experts.local_experts,
            local_rows: rows,
            active_experts: routing::touched(rows, experts.local_experts),
            hidden: experts.hidden,
            intermediate: experts.intermediate,
            gated: experts.gated,
        };
        tally.add(Family::Experts, self.operators.moe(op, experts.precision), count);
    }

    /// Routed experts, by the tokens of all data-parallel ranks.
    fn experts_at(&self, total: f64) -> Tally {
        let mut tally = Tally::default();
        if total > 0.0 {
            for layer in &self.plan.layers {
                if let Some(experts) = &layer.experts {
                    self.expert_layer(experts, layer.count, total, &mut tally);
                }
            }
        }
        tally
    }

    /// Communication around the experts of one layer.
    fn exchange_layer(&self, experts: &ExpertPlan, count: f64, total: f64, tally: &mut Tally) {
        let layout = &self.deployment.layout;
        let group = layout.tp * layout.dp;
        if group == 1 {
            return;
        }
        let per_token = Bytes::new(experts.hidden * Dtype::Bf16.bytes());
        if layout.dp == 1 {
            // Every rank holds every token: each adds its experts' share and one all-reduce sums them.
            tally.add(Family::Collective, self.collectives.all_reduce(per_token * total, group), count);
            return;
        }
        let mine = total / f64::from(group);
        let sent = Bytes::new(experts.hidden * experts.precision.activation.bytes());
        tally.add(Family::Dispatch, self.collectives.dispatch(mine, experts.topk, sent, group), count);
        tally.add(Family::Dispatch, self.collectives.combine(mine, experts.topk, per_token, group), count);
    }

    fn exchange_at(&self, total: f64) -> Tally {
        let mut tally = Tally::default();
        if total > 0.0 {
            for layer in &self.plan.layers {
                if let Some(experts) = &layer.experts {
                    self.exchange_layer(experts, layer.count, total, &mut tally);
                }
            }
        }
        tally
    }

    fn mix(&self, mix: &MixPlan, count: f64, load: &Load, tally: &mut Tally) {
        match mix {
            MixPlan::Softmax(softmax) => {
                self.softmax_decode(softmax, count, load, tally);
                self.softmax_prefill(softmax, count, load, tally);
            }
            MixPlan::Linear(linear) => {
                let shard = f64::from(self.deployment.layout.tp);
                for (sequences, tokens) in self.scans(load) {
                    let cost = self.operators.linear_attention(linear, sequences, tokens, shard);
                    tally.add(Family::Attention, cost, count);
                }
            }
            MixPlan::StateSpace(ssm) => {
                let shard = f64::from(self.deployment.layout.tp);
                for (sequences, tokens) in self.scans(load) {
                    tally.add(
                        Family::Attention,
                        self.operators.state_space(ssm, sequences, tokens, shard),
                        count,
                    );
                }
            }
            MixPlan::None => {}
        }
    }

    /// (sequences, tokens) of the decoding and of the prefilling part of a step, the empty ones left out.
    fn scans(&self, load: &Load) -> impl Iterator<Item = (f64, f64)> {
        [(load.decode_seqs, load.decode_tokens), (load.prefill_seqs, load.prefill_tokens)]
            .into_iter()
            .filter(|(sequences, tokens)| *sequences > 0.0 && *tokens > 0.0)
    }

    fn softmax_decode(&self, softmax: &SoftmaxPlan, count: f64, load: &Load, tally: &mut Tally) {
        if load.decode_seqs <= 0.0 {
            return;
        }
        // A plain window goes to the operator; a folded or selected past is a shorter context to it.
        let plain = softmax.fold.is_none() && softmax.indexer.is_none();
        let op = AttentionDecode {
            batch: load.decode_seqs,
            queries: self.queries,
            context: if plain { load.context } else { softmax.read(load.context) },
            heads: softmax.heads,
            kv_heads: softmax.kv_heads,
            qk_dim: softmax.qk_dim,
            v_dim: softmax.v_dim,
            kv_dim: softmax.kv_dim,
            window: if plain { softmax.window } else { None },
        };
        self.score(softmax, count, load.decode_tokens, load.context, tally);
        let cost = if softmax.latent {
            self.operators
                .mla_decode(AttentionDecode { v_dim: latent_value(softmax), ..op }, softmax.precision)
        } else {
            self.operators.attention_decode(op, softmax.precision)
        };
        tally.add(Family::Attention, cost, count);
    }

    /// The indexer in front of a sparse attention.
    fn score(&self, softmax: &SoftmaxPlan, count: f64, queries: f64, context: f64, tally: &mut Tally) {
        let Some(indexer) = softmax.indexer.as_ref().filter(|indexer| !indexer.shared) else { return };
        let (heads, dim) = (f64::from(indexer.heads), f64::from(indexer.head_dim));
        let cost = self.operators.indexer(heads, dim, queries, softmax.scored(context));
        tally.add(Family::Attention, cost, count);
    }

    fn softmax_prefill(&self, softmax: &SoftmaxPlan, count: f64, load: &Load, tally: &mut Tally) {
        if load.prefill_seqs <= 0.0 || load.prefill_tokens <= 0.0 {
            return;
        }
        let (new, past) = (load.prefill_tokens / load.prefill_seqs, load.prefill_past / load.prefill_seqs);
        let mean = past + new / 2.0;
        let plain = softmax.fold.is_none() && softmax.indexer.is_none();
        let read = softmax.read(mean);
        let op = AttentionPrefill {
            batch: load.prefill_seqs,
            new_tokens: new,
            past_tokens: past,
            heads: softmax.heads,
            kv_heads: if softmax.latent && !softmax.decode_products.is_empty() {
                softmax.heads
            } else {
                softmax.kv_heads
            },
            qk_dim: softmax.qk_dim,
            v_dim: softmax.v_dim,
            window: if plain { softmax.window } else { (read < mean).then_some(read) },
        };
        self.score(softmax, count, load.prefill_tokens, mean, tally);
        let precision = Precision { activation: Dtype::Bf16, ..softmax.precision };
        let cost = if softmax.latent {
            self.operators.mla_prefill(op, precision)
        } else {
            self.operators.attention_prefill(op, precision)
        };
        tally.add(Family::Attention, cost, count);
    }

    /// The draft module: once over everything the step prefills or verifies, and once more per further draft token.
    fn draft(&self, load: &Load, tally: &mut Tally) {
        let Some(layer) = self.plan.draft.as_ref().filter(|_| self.deployment.speculation.tokens > 0) else {
            return;
        };
        let rounds = f64::from(self.deployment.speculation.tokens);
        let linear = |tokens: f64| {
            let mut tally = Tally::default();
            if tokens > 0.0 {
                self.linear_layer(layer, tokens, &mut tally);
                if let MixPlan::Softmax(softmax) = &layer.mix {
                    for product in &softmax.decode_products {
                        self.product(product, tokens, layer.count, &mut tally);
                    }
                }
            }
            tally
        };
        let experts = |total: f64| {
            let mut tally = Tally::default();
            if let Some(experts) = layer.experts.as_ref().filter(|_| total > 0.0) {
                self.expert_layer(experts, layer.count, total, &mut tally);
                self.exchange_layer(experts, layer.count, total, &mut tally);
            }
            tally
        };
        let once = Load { decode_tokens: load.decode_seqs, prefill_tokens: 0.0, prefill_seqs: 0.0, ..*load };
        tally.add_scaled(&self.tables.draft_linear.tally(load.decode_seqs, linear), rounds);
        tally.add_scaled(&self.tables.draft_experts.tally(load.total_decode_seqs, experts), rounds);
        tally.add_scaled(&self.tables.head.tally(load.decode_seqs, |rows| self.head_at(rows)), rounds);
        self.mix(&layer.mix, layer.count * rounds, &once, tally);
        if load.prefill_tokens > 0.0 {
            let prompts = Load { decode_seqs: 0.0, decode_tokens: 0.0, ..*load };
            tally.add_scaled(&self.tables.draft_linear.tally(load.prefill_tokens, linear), 1.0);
            tally.add_scaled(&self.tables.draft_experts.tally(load.total_tokens, experts), 1.0);
            self.mix(&layer.mix, layer.count, &prompts, tally);
        }
    }

    /// How much longer operators take in place, by the share of prefill tokens in the step.
    fn slowdown(&self, load: &Load) -> f64 {
        let device = &self.deployment.engine.device;
        let share = if load.tokens > 0.0 { load.prefill_tokens / load.tokens } else { 0.0 };
        device.decode_slowdown.value * (1.0 - share) + device.prefill_slowdown.value * share
    }

    fn hidden(&self, load: &Load, compute: Seconds, exchange: Seconds) -> Seconds {
        if self.split == 1.0 {
            return Seconds::ZERO;
        }
        let device = &self.deployment.engine.device;
        let share = if load.prefill_tokens > load.decode_tokens {
            device.prefill_overlap.value
        } else {
            device.decode_overlap.value
        };
        compute.min(exchange) * share
    }

    fn layers(&self) -> f64 {
        self.plan.layers.iter().map(|layer| layer.count).sum()
    }

    /// Gaps between kernels: inside a graph for pure decoding, launched one by one otherwise.
    fn gaps(&self, load: &Load) -> Seconds {
        let device = &self.deployment.engine.device;
        let eager = if load.prefill_tokens > 0.0 { device.layer_eager.value } else { Seconds::ZERO };
        (device.layer.value + eager) * self.layers() * self.split
    }

    /// What the device waits for the host.
    fn host(&self, load: &Load, busy: Seconds) -> Seconds {
        let host = &self.deployment.engine.host;
        let work = host.step.value + host.sequence.value * (load.decode_seqs + load.prefill_seqs);
        let behind = work * host.hidden.value;
        work - behind + (behind - busy).max(Seconds::ZERO)
    }

    /// Errors of one family go together, those of different families apart.
    fn sigma(&self, tally: &Tally) -> f64 {
        let total = tally.total().get().max(f64::MIN_POSITIVE);
        let variance: f64 = Family::ALL
            .iter()
            .map(|family| {
                let share = tally.family_time(*family).get() / total;
                (share * self.evidence(*family).sigma).powi(2)
            })
            .sum();
        variance.sqrt()
    }

    /// What the prices of a family rest on.
    pub fn evidence(&self, family: Family) -> Evidence {
        match family {
            Family::Collective | Family::Dispatch => self.collectives.evidence(),
            other => self.operators.evidence(other),
        }
    }
}

/// Width of the value in the latent space: the cached latent without its rotary part.
fn latent_value(softmax: &SoftmaxPlan) -> f64 {
    softmax.decode_products.last().map_or(softmax.v_dim, |product| product.k)
}

impl StepPricer for StepModel {
    fn price(&self, shape: &StepShape) -> StepPrice {
        let cost = self.cost(shape);
        StepPrice { time: cost.time, energy: cost.energy.unwrap_or(Joules::ZERO) }
    }
}
