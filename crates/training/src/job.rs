//! What is trained, on how many ranks, cut how.

use crate::error::JobError;
use crate::schedule::Schedule;
use crate::stages::EDGES;
use model::{Attention, Ffn, LayerGroup, Model};
use units::Dtype;

/// Sizes of the parallel groups.
///
/// Ranks are numbered tensor parallel innermost, then context, then data, pipeline outermost (Megatron's
/// `tp-cp-ep-dp-pp`); expert groups are laid over the tensor, context and data ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layout {
    /// Tensor parallel size.
    pub tp: u32,
    /// Context parallel size.
    pub cp: u32,
    /// Pipeline parallel size.
    pub pp: u32,
    /// Data parallel size.
    pub dp: u32,
    /// Expert parallel size.
    pub ep: u32,
    /// Tensor parallel size of the experts.
    pub etp: u32,
}

impl Layout {
    /// Ranks it uses.
    pub fn ranks(&self) -> u32 {
        self.tp * self.cp * self.pp * self.dp
    }

    /// Ranks that hold the same expert weights.
    pub fn expert_dp(&self) -> u32 {
        (self.tp * self.cp * self.dp / (self.ep * self.etp)).max(1)
    }
}

/// What data-parallel ranks shard among themselves (ZeRO, arXiv 1910.02054).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Zero {
    /// Nothing: gradients are all-reduced, every rank updates everything.
    None,
    /// Optimizer state (Megatron's distributed optimizer).
    Optimizer,
    /// Optimizer state and gradients.
    Gradients,
    /// Weights too, gathered layer by layer (FSDP full shard).
    Weights,
}

impl Zero {
    /// From the stage number.
    ///
    /// # Errors
    /// The number is above 3.
    pub fn from_stage(stage: u32) -> Result<Self, JobError> {
        match stage {
            0 => Ok(Self::None),
            1 => Ok(Self::Optimizer),
            2 => Ok(Self::Gradients),
            3 => Ok(Self::Weights),
            _ => {
                Err(JobError::UnknownName { flag: "--zero", given: stage.to_string(), allowed: "0, 1, 2, 3" })
            }
        }
    }

    /// The stage number.
    pub fn stage(self) -> u32 {
        self as u32
    }
}

/// Which activations are computed again in the backward pass instead of being kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recompute {
    /// Everything is kept.
    None,
    /// The attention core is computed again (arXiv 2205.05198).
    Selective,
    /// Only the input of this many layers of each stage is kept, all of the others.
    Layers(u32),
    /// Only layer inputs are kept.
    Full,
}

impl Recompute {
    /// Reads `none`, `selective`, `full` or a number of layers per stage.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str) -> Result<Self, JobError> {
        match text {
            "none" => Ok(Self::None),
            "selective" => Ok(Self::Selective),
            "full" => Ok(Self::Full),
            other => other.parse().map(Self::Layers).map_err(|_| JobError::UnknownName {
                flag: "--recompute",
                given: other.to_owned(),
                allowed: "none, selective, full, or a number of layers per stage",
            }),
        }
    }

    /// As the command line writes it.
    pub fn name(self) -> String {
        match self {
            Self::None => "none".into(),
            Self::Selective => "selective".into(),
            Self::Layers(layers) => layers.to_string(),
            Self::Full => "full".into(),
        }
    }
}

/// How a sequence is spread over context-parallel ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContextMethod {
    /// Keys and values go round a ring.
    Ring,
    /// All-to-all from sequence shards to head shards and back (DeepSpeed-Ulysses, arXiv 2309.14509).
    Ulysses,
}

impl ContextMethod {
    /// As the command line writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Ulysses => "ulysses",
        }
    }
}

impl std::fmt::Display for ContextMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What is moved to host memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct Offload {
    /// Optimizer state lives on the host and is streamed through once per step.
    pub optimizer: bool,
    /// Kept activations go to the host after the forward pass and come back for the backward.
    pub activations: bool,
}

/// Sequences per step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Batch {
    /// Sequences per optimizer step over all ranks.
    pub global: u32,
    /// Sequences per micro-batch and data-parallel rank.
    pub micro: u32,
    /// Tokens per sequence.
    pub seq: u32,
}

impl Batch {
    /// Tokens per optimizer step.
    pub fn tokens(&self) -> f64 {
        f64::from(self.global) * f64::from(self.seq)
    }
}

/// One training job, fully decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What is trained.
    pub model: Model,
    /// How it is cut.
    pub layout: Layout,
    /// How much per step.
    pub batch: Batch,
    /// Order of work in the pipeline.
    pub schedule: Schedule,
    /// Format the matrix products run in.
    pub precision: Dtype,
    /// Sharding over data-parallel ranks.
    pub zero: Zero,
    /// Activations computed again.
    pub recompute: Recompute,
    /// Whether norms and residuals are sharded over the tensor-parallel ranks.
    pub sequence_parallel: bool,
    /// Method of context parallelism.
    pub context: ContextMethod,
    /// What lives on the host.
    pub offload: Offload,
    /// Whether the multi-token-prediction modules are trained too.
    pub mtp: bool,
    /// Layers of the first and of the last virtual stage, where they are not the even share.
    pub edge_layers: (Option<u32>, Option<u32>),
}

impl Job {
    /// Micro-batches per step and data-parallel rank.
    pub fn micros(&self) -> u32 {
        (self.batch.global / (self.layout.dp * self.batch.micro).max(1)).max(1)
    }

    /// Tokens of one micro-batch on one rank, before tensor parallelism.
    pub fn micro_tokens(&self) -> f64 {
        f64::from(self.batch.micro) * f64::from(self.batch.seq) / f64::from(self.layout.cp)
    }

    /// Layers of the model.
    pub fn layers(&self) -> u32 {
        self.model.layers.iter().map(|group| group.count).sum()
    }

    /// The model's layer groups in order, one entry per layer.
    pub fn each_layer(&self) -> impl Iterator<Item = &LayerGroup> {
        self.model.layers.iter().flat_map(|group| std::iter::repeat_n(group, group.count as usize))
    }

    /// Checks that the sizes go together.
    ///
    /// # Errors
    /// The first rule that does not hold, naming the flags to change.
    pub fn check(&self) -> Result<(), JobError> {
        let Layout { tp, cp, pp, dp, ep, etp } = self.layout;
        for (flag, value) in [
            ("--tp", tp),
            ("--cp", cp),
            ("--pp", pp),
            ("--dp", dp),
            ("--ep", ep),
            ("--etp", etp),
            ("--micro-batch", self.batch.micro),
            ("--global-batch", self.batch.global),
            ("--seq", self.batch.seq),
            ("--vpp", self.schedule.chunks()),
        ] {
            if value == 0 {
                return Err(JobError::Zero { flag });
            }
        }
        self.multiple(
            "--global-batch",
            self.batch.global,
            "dp x micro-batch",
            dp.saturating_mul(self.batch.micro),
            "--global-batch, --micro-batch or --dp",
        )?;
        self.multiple("--seq", self.batch.seq, "cp", cp, "--seq or --cp")?;
        self.check_stages()?;
        self.schedule.check(pp, self.micros())?;
        self.check_experts()?;
        self.model.layers.iter().try_for_each(|group| self.check_layer(group))
    }

    fn check_stages(&self) -> Result<(), JobError> {
        let stages = self.schedule.virtual_stages(self.layout.pp);
        let layers = self.layers();
        if stages > layers + EDGES {
            return Err(JobError::Stages { stages, layers });
        }
        let whole = |edge: Option<u32>| edge.is_none_or(|edge| edge == layers);
        if stages == 1 && !(whole(self.edge_layers.0) && whole(self.edge_layers.1)) {
            return Err(JobError::Edges { stages, layers });
        }
        Ok(())
    }

    fn check_experts(&self) -> Result<(), JobError> {
        let Layout { tp, cp, dp, ep, etp, .. } = self.layout;
        let experts = self.model.layers.iter().find_map(|group| match &group.ffn {
            Ffn::Moe(moe) => Some(moe.experts),
            _ => None,
        });
        match experts {
            None if ep > 1 => Err(JobError::NoExperts { ep }),
            None => Ok(()),
            Some(experts) => {
                self.multiple("experts", experts, "ep", ep, "--ep")?;
                self.multiple("tp x cp x dp", tp * cp * dp, "ep x etp", ep * etp, "--ep, --etp or --dp")
            }
        }
    }

    fn check_layer(&self, group: &LayerGroup) -> Result<(), JobError> {
        let heads = match &group.attention {
            Attention::MultiHead(attention) => attention.heads,
            Attention::Mla(attention) => attention.heads,
            Attention::None => self.layout.tp,
            _ => {
                return Err(JobError::Unsupported {
                    model: self.model.id.clone(),
                    part: "a linear, state-space or compressed attention",
                });
            }
        };
        self.multiple("attention heads", heads, "tp", self.layout.tp, "--tp")
    }

    fn multiple(
        &self,
        what: &'static str,
        value: u32,
        by_what: &'static str,
        by: u32,
        flags: &'static str,
    ) -> Result<(), JobError> {
        if value % by.max(1) == 0 {
            Ok(())
        } else {
            Err(JobError::NotMultiple { what, value, by_what, by, flags })
        }
    }
}
