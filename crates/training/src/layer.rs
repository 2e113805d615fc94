//! What a micro-batch costs in one layer: forward, gradient of the inputs, gradient of the weights, recomputation.

use crate::framework::{AttentionKernel, Coefficients, Profile, Selective};
use crate::job::{ContextMethod, Job, Recompute, Zero};
use crate::memory::LayerMemory;
use crate::pricer::{Collective, Exchange, Group, Pricer};
use crate::schedule::Schedule;
use crate::shapes::{Core, Experts, LayerShape, Product};
use crate::times::{Part, Times};
use cost::ops::{AttentionPrefill, Gemm};
use model::LayerGroup;
use units::{Bytes, Dtype, Flop, Seconds};

/// Matrix products of the backward pass of fused attention over those of the forward (five to two), at the rate it
/// reaches against the forward's (0.86: FlashAttention-3, arXiv 2407.08608, figures 5 and 6).
const ATTENTION_BACKWARD: f64 = 2.5 / 0.86;
/// Rows a grouped product is padded to per expert.
const EXPERT_TILE: f64 = 128.0;

/// Everything a price depends on besides the layer.
pub struct Context<'a> {
    /// The job.
    pub job: &'a Job,
    /// The framework.
    pub profile: &'a Profile,
    /// Its coefficients for this chip.
    pub coefficients: Coefficients,
    /// The machine.
    pub pricer: &'a dyn Pricer,
}

/// A micro-batch in a layer (or in several, added up).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PassTimes {
    /// Forward.
    pub forward: Times,
    /// Gradient of the inputs, recomputation included.
    pub backward_input: Times,
    /// Gradient of the weights.
    pub backward_weight: Times,
}

impl PassTimes {
    /// All three.
    pub fn total(&self) -> Times {
        self.forward + self.backward_input + self.backward_weight
    }

    /// Adds `count` of another.
    pub fn add(&mut self, other: &Self, count: f64) {
        self.forward += other.forward * count;
        self.backward_input += other.backward_input * count;
        self.backward_weight += other.backward_weight * count;
    }
}

/// Rate of the links of `group` in a busy cluster over an idle one.
pub(crate) fn network(pricer: &dyn Pricer, coefficients: &Coefficients, group: Group) -> f64 {
    if pricer.inside_scale_up(group) { 1.0 } else { coefficients.network }
}

impl<'a> Context<'a> {
    /// A context for chips of `family`.
    pub fn new(job: &'a Job, profile: &'a Profile, family: &str, pricer: &'a dyn Pricer) -> Self {
        Self { job, profile, coefficients: profile.for_family(family), pricer }
    }

    /// Tokens of a micro-batch on this rank's sequence shard.
    fn tokens(&self) -> f64 {
        self.job.micro_tokens()
    }

    /// Divisor of what sequence parallelism shards.
    fn shards(&self) -> f64 {
        if self.job.sequence_parallel { f64::from(self.job.layout.tp) } else { 1.0 }
    }

    fn low_precision(&self) -> bool {
        self.job.precision.multiplier_bits() <= 8
    }

    /// A product of `rows` tokens with a weight, in the job's precision.
    pub(crate) fn product(&self, m: f64, n: f64, k: f64, dtype: Dtype) -> Seconds {
        let low = dtype.multiplier_bits() <= 8;
        let rate = self.coefficients.matrix * if low { self.coefficients.fp8 } else { 1.0 };
        self.pricer.gemm(Gemm { m, n, k }, dtype) / rate
    }

    pub(crate) fn stream(&self, bytes: f64) -> Seconds {
        self.pricer.stream(Bytes::new(bytes)) * self.coefficients.passes
    }

    /// Rate of the links of `group` in a busy cluster over an idle one: other jobs and other stages share the scale-out
    /// network only.
    pub(crate) fn network(&self, group: Group) -> f64 {
        network(self.pricer, &self.coefficients, group)
    }

    fn collective(&self, op: Collective, bytes: f64, group: Group) -> Seconds {
        self.pricer.collective(op, Bytes::new(bytes), group) / self.network(group)
    }

    /// The three passes of a dense product: output, input gradient, weight gradient, casts beside them.
    pub(crate) fn dense(&self, passes: &mut PassTimes, product: &Product, rows: f64, dtype: Dtype) {
        let Product { outputs: n, inputs: k } = *product;
        passes.forward.add(Part::Gemm, self.product(rows, n, k, dtype));
        passes.backward_input.add(Part::Gemm, self.product(rows, k, n, dtype));
        let gradient = self.product(n, k, rows, dtype);
        passes.backward_weight.add(Part::Gemm, gradient);
        passes.backward_weight.add(Part::Elementwise, self.accumulation(product.weights(), gradient));
        if dtype.multiplier_bits() <= 8 {
            // Read in 16 bits, written as 8 twice: as it is for one product and transposed for another.
            passes.forward.add(Part::Elementwise, self.stream(4.0 * rows * k + 4.0 * product.weights()));
            passes.backward_input.add(Part::Elementwise, self.stream(4.0 * rows * n));
        }
    }

    /// Adding the gradient of `weights` to what earlier micro-batches left, beyond what the `product` that computes it
    /// hides.
    fn accumulation(&self, weights: f64, product: Seconds) -> Seconds {
        let stream = self.pricer.stream(Bytes::new(2.0 * self.profile.accumulator_bytes * weights));
        if self.profile.accumulates_in_products { (stream - product).max(Seconds::ZERO) } else { stream }
    }

    fn experts(&self, passes: &mut PassTimes, experts: &Experts) {
        let layout = &self.job.layout;
        let rows = self.tokens() / f64::from(layout.tp) * experts.topk * f64::from(layout.etp);
        let padded = experts.local * (rows / experts.local / EXPERT_TILE).ceil() * EXPERT_TILE;
        let dtype = self.job.precision;
        for product in [&experts.up, &experts.down] {
            let Product { outputs: n, inputs: k } = *product;
            let weights = self.pricer.stream(Bytes::new(experts.local * product.weights() * dtype.bytes()));
            let forward = self.product(padded, n, k, dtype).max(weights);
            passes.forward.add(Part::Experts, forward);
            passes.backward_input.add(Part::Experts, self.product(padded, k, n, dtype).max(weights));
            // One product per expert, inner length its own rows.
            let gradient = self.product(n * experts.local, k, padded / experts.local, dtype);
            passes.backward_weight.add(Part::Experts, gradient);
            let accumulation = self.accumulation(experts.local * product.weights(), gradient);
            passes.backward_weight.add(Part::Elementwise, accumulation);
            if self.low_precision() {
                let casts = 4.0 * rows * k + 4.0 * experts.local * product.weights();
                passes.forward.add(Part::Elementwise, self.stream(casts));
                passes.backward_input.add(Part::Elementwise, self.stream(4.0 * rows * n));
            }
        }
        let width = experts.up.inputs;
        let pairs = self.pricer.stream(Bytes::new(self.coefficients.routing * 2.0 * rows * width));
        passes.forward.add(Part::Elementwise, pairs);
        passes.backward_input.add(Part::Elementwise, pairs);
        let (forward, backward) = activation_bytes(experts.gated);
        passes.forward.add(Part::Elementwise, self.stream(forward * rows * experts.inner));
        passes.backward_input.add(Part::Elementwise, self.stream(backward * rows * experts.inner));
    }

    /// The attention core, forward and backward.
    fn core(&self, core: &Core) -> (Times, Times) {
        match self.profile.attention {
            AttentionKernel::Fused => self.fused(core),
            AttentionKernel::Unfused => self.unfused(core),
        }
    }

    fn fused(&self, core: &Core) -> (Times, Times) {
        let job = self.job;
        let cp = f64::from(job.layout.cp);
        let seq = f64::from(job.batch.seq);
        // A balanced ring gives each rank an equal share of the causal triangle; Ulysses gives whole sequences of
        // fewer heads.
        let (new, past, heads, kv_heads) = match job.context {
            ContextMethod::Ring => (seq / cp, (seq - seq / cp) / 2.0, core.heads, core.kv_heads),
            ContextMethod::Ulysses => (seq, 0.0, core.heads / cp, (core.kv_heads / cp).max(1.0)),
        };
        let op = |window| AttentionPrefill {
            batch: f64::from(job.batch.micro),
            new_tokens: new,
            past_tokens: past,
            heads,
            kv_heads,
            qk_dim: core.qk_dim,
            v_dim: core.v_dim,
            window,
        };
        let mut time = self.pricer.attention(op(None));
        if core.window.is_some() {
            let skipped = time - self.pricer.attention(op(core.window));
            time -= skipped.max(Seconds::ZERO) * self.coefficients.window;
        }
        let time = time / self.coefficients.attention;
        let (mut forward, mut backward) = (Times::default(), Times::default());
        forward.add(Part::Attention, time);
        backward.add(Part::Attention, time * ATTENTION_BACKWARD);
        (forward, backward)
    }

    fn unfused(&self, core: &Core) -> (Times, Times) {
        let seq = f64::from(self.job.batch.seq);
        let rows = self.tokens() * core.heads;
        let product = |n: f64, k: f64| {
            // Tensor cores load 16 bytes at a time: a 16-bit head width that is no multiple of 8 falls back to the
            // vector unit.
            if n % 8.0 == 0.0 && k % 8.0 == 0.0 {
                self.product(rows, n, k, Dtype::Bf16) / self.coefficients.attention
            } else {
                self.pricer.vector(Flop::new(2.0 * rows * n * k))
            }
        };
        let scores = product(seq, core.qk_dim) + product(core.v_dim, seq);
        let (mut forward, mut backward) = (Times::default(), Times::default());
        forward.add(Part::Attention, scores);
        backward.add(Part::Attention, scores * 2.0);
        // Softmax reads and writes, dropout reads and writes and keeps a byte of mask; backward likewise with two inputs.
        forward.add(Part::Attention, self.stream(9.0 * rows * seq));
        backward.add(Part::Attention, self.stream(11.0 * rows * seq));
        (forward, backward)
    }

    /// Norms, residuals, rotations and activations.
    fn elementwise(&self, shape: &LayerShape) -> (Seconds, Seconds) {
        let tokens = self.tokens();
        let stream_width = tokens * shape.hidden / self.shards();
        let mut forward = shape.norms * 10.0 * stream_width;
        let mut backward = shape.norms * 10.0 * stream_width;
        if let Some(core) = shape.core.as_ref().filter(|core| core.rotated) {
            let width = tokens * (core.heads + core.kv_heads) * core.qk_dim;
            forward += 4.0 * width;
            backward += 4.0 * width;
        }
        let (up, down) = activation_bytes(shape.gated);
        forward += up * tokens * shape.dense_inner;
        backward += down * tokens * shape.dense_inner;
        (self.stream(forward), self.stream(backward))
    }

    fn tensor_parallel(&self, shape: &LayerShape, passes: &mut PassTimes) {
        let tp = self.job.layout.tp;
        if tp == 1 {
            return;
        }
        let bytes = 2.0 * self.tokens() * shape.hidden;
        let group = Group::new(tp, 1);
        // One exchange in front of and one behind attention, and the same for a dense feed-forward part. Routed
        // experts take their tokens sharded as they are.
        let blocks = f64::from(u8::from(shape.core.is_some())) + f64::from(u8::from(shape.dense_inner > 0.0));
        let hidden = self.coefficients.hidden_tp;
        let (forward, backward) = if self.job.sequence_parallel {
            let pair = self.pricer.collective(Collective::AllGather, Bytes::new(bytes), group)
                + self.pricer.collective(Collective::ReduceScatter, Bytes::new(bytes), group);
            // The backward pass gathers the saved input shard once more for the weight gradient.
            (pair, pair + self.pricer.collective(Collective::AllGather, Bytes::new(bytes), group))
        } else {
            let reduce = self.pricer.collective(Collective::AllReduce, Bytes::new(bytes), group);
            (reduce, reduce)
        };
        let behind = passes.forward[Part::Gemm];
        passes.forward.add_hiding(Part::TensorParallel, forward * blocks, hidden, behind);
        let behind = passes.backward_input[Part::Gemm] + passes.backward_weight[Part::Gemm];
        passes.backward_input.add_hiding(Part::TensorParallel, backward * blocks, hidden, behind);
    }

    fn context_parallel(&self, core: &Core, passes: &mut PassTimes) {
        let layout = &self.job.layout;
        if layout.cp == 1 {
            return;
        }
        let tokens = self.tokens();
        let kv = 2.0 * tokens * core.kv_heads * (core.qk_dim + core.v_dim);
        let time = match self.job.context {
            ContextMethod::Ring => {
                self.pricer.send(Bytes::new(kv), layout.tp) * f64::from(layout.cp - 1)
                    / self.network(Group::new(layout.cp, layout.tp))
            }
            ContextMethod::Ulysses => {
                let query = 2.0 * tokens * core.heads * (core.qk_dim + core.v_dim);
                self.collective(Collective::AllToAll, kv + query, Group::new(layout.cp, layout.tp))
            }
        };
        let hidden = self.coefficients.hidden_cp;
        let behind = passes.forward[Part::Attention];
        passes.forward.add_hiding(Part::ContextParallel, time, hidden, behind);
        let behind = passes.backward_input[Part::Attention];
        passes.backward_input.add_hiding(Part::ContextParallel, time * 2.0, hidden, behind);
    }

    fn expert_parallel(&self, experts: &Experts, passes: &mut PassTimes) {
        let layout = &self.job.layout;
        let tokens = self.tokens() / f64::from(layout.tp);
        let mut time = self.pricer.exchange(&Exchange {
            dispatcher: self.profile.dispatcher,
            tokens,
            row: Bytes::new(2.0 * experts.up.inputs),
            topk: experts.topk as u32,
            experts: experts.total as u32,
            node_limit: experts.node_limit,
            group: Group::new(layout.ep, layout.etp),
        });
        if layout.etp > 1 {
            let bytes = 2.0 * tokens * experts.topk * experts.up.inputs;
            let group = Group::new(layout.etp, 1);
            time += self.collective(Collective::AllGather, bytes * f64::from(layout.etp), group)
                + self.collective(Collective::ReduceScatter, bytes * f64::from(layout.etp), group);
        }
        // DualPipe runs the forward of one micro-batch beside the backward of another so that each computes while the
        // other exchanges.
        let dual = self.job.schedule == Schedule::DualPipe;
        let hidden = if dual { 1.0 } else { self.coefficients.hidden_ep };
        let behind = passes.forward.compute();
        passes.forward.add_hiding(Part::ExpertParallel, time, hidden, behind);
        let behind = passes.backward_input.compute();
        passes.backward_input.add_hiding(Part::ExpertParallel, time, hidden, behind);
    }

    /// Fully sharded weights: gathered before each pass, gradients reduced after the backward.
    fn sharding(&self, shape: &LayerShape, passes: &mut PassTimes) {
        let layout = &self.job.layout;
        if self.job.zero != Zero::Weights || layout.dp * layout.cp == 1 {
            return;
        }
        let group = Group::new(layout.dp * layout.cp, layout.tp);
        let expert_group = Group::new(layout.expert_dp(), layout.ep * layout.etp);
        let exchange = |op, bytes: f64| {
            self.collective(op, bytes * shape.dense_weights(), group)
                + self.collective(op, bytes * shape.expert_weights(), expert_group)
        };
        let repeats = if self.profile.reshard_every_micro { 1.0 } else { 1.0 / f64::from(self.job.micros()) };
        let gather = exchange(Collective::AllGather, 2.0);
        let reduce = exchange(Collective::ReduceScatter, self.profile.gradient_bytes) * repeats;
        let hidden = self.coefficients.hidden_dp;
        let behind = passes.forward.compute();
        passes.forward.add_hiding(Part::Sharding, gather, hidden, behind);
        let behind = passes.backward_input.compute() + passes.backward_weight.compute();
        passes.backward_input.add_hiding(Part::Sharding, gather + reduce, hidden, behind);
    }

    /// What is computed again in the backward pass.
    fn recomputed(&self, shape: &LayerShape, forward: &Times, core: &Times, recompute: Recompute) -> Times {
        match (recompute, self.profile.selective) {
            (Recompute::None, _) => Times::default(),
            (Recompute::Full | Recompute::Layers(_), _) => *forward,
            (Recompute::Selective, Selective::Attention) => *core,
            (Recompute::Selective, Selective::Modules) => {
                let mut again = Times::default();
                again.add(Part::Elementwise, forward[Part::Elementwise] * 0.5);
                for product in shape.latent_products() {
                    let Product { outputs: n, inputs: k } = *product;
                    again.add(Part::Gemm, self.product(self.tokens(), n, k, self.job.precision));
                }
                again
            }
            (Recompute::Selective, Selective::HalfTheProducts) => {
                let mut again = Times::default();
                again.add(Part::Gemm, forward[Part::Gemm] * 0.5);
                again.add(Part::Elementwise, forward[Part::Elementwise]);
                again.add(Part::Experts, forward[Part::Experts] * 0.5);
                again
            }
        }
    }

    /// A micro-batch through one layer of `group`, computing again what `recompute` says.
    pub fn layer(&self, group: &LayerGroup, recompute: Recompute) -> PassTimes {
        let shape = LayerShape::new(self.job, group);
        let mut passes = PassTimes::default();
        for product in &shape.products {
            self.dense(&mut passes, product, self.tokens(), self.job.precision);
        }
        let (forward, backward) = self.elementwise(&shape);
        passes.forward.add(Part::Elementwise, forward);
        passes.backward_input.add(Part::Elementwise, backward);
        let mut core_forward = Times::default();
        if let Some(core) = &shape.core {
            let (forward, backward) = self.core(core);
            passes.forward += forward;
            passes.backward_input += backward;
            core_forward = forward;
            self.context_parallel(core, &mut passes);
        }
        if let Some(experts) = &shape.experts {
            self.experts(&mut passes, experts);
            self.expert_parallel(experts, &mut passes);
        }
        self.tensor_parallel(&shape, &mut passes);
        let again = self.recomputed(&shape, &passes.forward, &core_forward, recompute);
        self.sharding(&shape, &mut passes);
        self.offload(group, recompute, &mut passes);
        self.wait_for_host(&mut passes.forward, shape.experts.is_some(), 1.0);
        passes.backward_input += again;
        let repeats = if again.total() > Seconds::ZERO { 2.0 } else { 1.0 };
        let backward = passes.backward_input + passes.backward_weight;
        let mut waiting = backward;
        self.wait_for_host(&mut waiting, shape.experts.is_some(), repeats);
        passes.backward_input.add(Part::Host, waiting[Part::Host] - backward[Part::Host]);
        passes
    }

    /// Kernels cannot start before the host has launched them.
    fn wait_for_host(&self, times: &mut Times, experts: bool, passes: f64) {
        let moe = if experts { self.coefficients.host_moe } else { 0.0 };
        let host = Seconds::new((self.coefficients.host_layer + moe) * passes);
        let wait = host - times.total();
        times.add(Part::Host, wait.max(Seconds::ZERO));
    }

    /// What is kept of a layer goes to the host and comes back; what is computed again is not kept.
    fn offload(&self, group: &LayerGroup, recompute: Recompute, passes: &mut PassTimes) {
        if !self.job.offload.activations {
            return;
        }
        let bytes = LayerMemory::new(self.job, self.profile, group).kept(recompute);
        let copy = self.pricer.host_copy(Bytes::new(bytes));
        let behind = passes.forward.compute();
        passes.forward.add_hiding(Part::Offload, copy, 1.0, behind);
        let behind = passes.backward_input.compute() + passes.backward_weight.compute();
        passes.backward_input.add_hiding(Part::Offload, copy, 1.0, behind);
    }

    /// The embedding lookup.
    pub fn embedding(&self) -> PassTimes {
        let width = self.tokens() * f64::from(self.job.model.hidden);
        let mut passes = PassTimes::default();
        passes.forward.add(Part::Elementwise, self.stream(4.0 * width));
        passes.backward_weight.add(Part::Elementwise, self.stream(8.0 * width));
        passes
    }

    /// Final norm, output projection and loss; always in 16 bits.
    pub fn head(&self) -> PassTimes {
        let (hidden, vocab) = (f64::from(self.job.model.hidden), f64::from(self.job.model.vocab));
        let outputs = (vocab / f64::from(self.job.layout.tp)).ceil();
        let mut passes = PassTimes::default();
        let product = Product { outputs, inputs: hidden };
        self.dense(&mut passes, &product, self.tokens(), Dtype::Bf16);
        // Logits are widened to 32 bits, reduced, and their gradient written back in place.
        passes.forward.add(Part::Elementwise, self.stream(12.0 * self.tokens() * outputs));
        passes.backward_input.add(Part::Elementwise, self.stream(10.0 * self.tokens() * outputs));
        passes
    }

    /// Multi-token-prediction modules: each a layer, a projection of two hidden vectors to one, and the head again.
    pub fn mtp(&self) -> PassTimes {
        let mut passes = PassTimes::default();
        let Some((count, group)) = self.job.model.mtp.as_ref().filter(|_| self.job.mtp) else {
            return passes;
        };
        let hidden = f64::from(self.job.model.hidden);
        let mut one = self.layer(group, self.job.recompute);
        let projection = Product { outputs: hidden / f64::from(self.job.layout.tp), inputs: 2.0 * hidden };
        self.dense(&mut one, &projection, self.tokens(), self.job.precision);
        one.add(&self.head(), 1.0);
        passes.add(&one, f64::from(*count));
        passes
    }
}

/// Bytes per inner element that an activation function moves, forward and backward, in 16 bits.
fn activation_bytes(gated: bool) -> (f64, f64) {
    if gated { (6.0, 10.0) } else { (4.0, 6.0) }
}
