//! What a framework release can be told to do: the layouts that a plan covers and that a job may ask for.

use crate::error::JobError;
use crate::job::{ContextMethod, Job, Recompute};
use crate::schedule::Schedule;
use hardware::Grade;
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// The values that a release knows for one knob, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Capability<T> {
    /// The values.
    pub value: Vec<T>,
    /// Where that is documented.
    pub source: String,
    /// How good the evidence is.
    pub grade: Grade,
}

impl<T> Capability<T> {
    fn assumed(value: Vec<T>) -> Self {
        Self {
            value,
            source: "not stated: what Megatron-Core without options does".to_owned(),
            grade: Grade::Assumed,
        }
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }
    };
}

named! {
    /// A pipeline schedule by name, whatever its number of chunks.
    ScheduleName {
        /// All forwards, then all backwards.
        GPipe = "gpipe",
        /// One forward, one backward.
        OneFOneB = "1f1b",
        /// 1F1B over several model chunks per rank.
        Interleaved = "interleaved",
        /// Zero-bubble H1.
        ZeroBubbleH1 = "zb-h1",
        /// Micro-batches from both ends.
        DualPipe = "dualpipe",
    }
}

named! {
    /// A kind of recomputation.
    RecomputeName {
        /// Everything is kept.
        None = "none",
        /// What is cheap to compute again.
        Selective = "selective",
        /// Some layers of each stage as a whole.
        Layers = "layers",
        /// Every layer as a whole.
        Full = "full",
    }
}

named! {
    /// Something that can live in host memory.
    OffloadName {
        /// Optimizer state.
        Optimizer = "optimizer",
        /// Kept activations.
        Activations = "activations",
    }
}

named! {
    /// A way to cut a model over ranks.
    Axis {
        /// Tensor parallelism.
        Tensor = "tensor",
        /// Norms and residuals sharded over the tensor-parallel ranks.
        Sequence = "sequence",
        /// Pipeline parallelism.
        Pipeline = "pipeline",
        /// Context parallelism.
        Context = "context",
        /// Expert parallelism.
        Expert = "expert",
    }
}

impl From<Schedule> for ScheduleName {
    fn from(schedule: Schedule) -> Self {
        match schedule {
            Schedule::GPipe => Self::GPipe,
            Schedule::OneFOneB => Self::OneFOneB,
            Schedule::Interleaved { .. } => Self::Interleaved,
            Schedule::ZeroBubbleH1 => Self::ZeroBubbleH1,
            Schedule::DualPipe => Self::DualPipe,
        }
    }
}

impl From<Recompute> for RecomputeName {
    fn from(recompute: Recompute) -> Self {
        match recompute {
            Recompute::None => Self::None,
            Recompute::Selective => Self::Selective,
            Recompute::Layers(_) => Self::Layers,
            Recompute::Full => Self::Full,
        }
    }
}

/// What a release can do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capabilities {
    /// Ways to cut the model.
    pub parallel: Capability<Axis>,
    /// Pipeline schedules.
    pub schedules: Capability<ScheduleName>,
    /// ZeRO stages.
    pub zero: Capability<u32>,
    /// Recomputation.
    pub recompute: Capability<RecomputeName>,
    /// Methods of context parallelism.
    pub context: Capability<ContextMethod>,
    /// What can live on the host.
    pub offload: Capability<OffloadName>,
}

impl Default for Capabilities {
    fn default() -> Self {
        use {RecomputeName as R, ScheduleName as S};
        Self {
            parallel: Capability::assumed(vec![
                Axis::Tensor,
                Axis::Sequence,
                Axis::Pipeline,
                Axis::Context,
                Axis::Expert,
            ]),
            schedules: Capability::assumed(vec![S::OneFOneB, S::Interleaved]),
            zero: Capability::assumed(vec![0, 1]),
            recompute: Capability::assumed(vec![R::None, R::Selective, R::Layers, R::Full]),
            context: Capability::assumed(vec![ContextMethod::Ring]),
            offload: Capability::assumed(Vec::new()),
        }
    }
}

impl Capabilities {
    /// Whether there is a list without entries where a job needs one.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        [
            ("schedules", self.schedules.value.is_empty()),
            ("zero", self.zero.value.is_empty()),
            ("recompute", self.recompute.value.is_empty()),
        ]
        .into_iter()
        .find_map(|(name, empty)| empty.then_some(name))
    }

    /// Whether the model can be cut along `axis`.
    pub fn cuts(&self, axis: Axis) -> bool {
        self.parallel.value.contains(&axis)
    }

    /// Whether `release` can run `job`.
    ///
    /// # Errors
    /// The first thing asked for that it cannot do, with what it can.
    pub fn check(&self, job: &Job, release: &str) -> Result<(), JobError> {
        let layout = &job.layout;
        let axes = [
            ("--tp", layout.tp > 1, Axis::Tensor),
            ("--sequence-parallel", job.sequence_parallel, Axis::Sequence),
            ("--pp", layout.pp > 1, Axis::Pipeline),
            ("--cp", layout.cp > 1, Axis::Context),
            ("--ep", layout.ep > 1, Axis::Expert),
        ];
        for (flag, _, axis) in axes.into_iter().filter(|(_, asked, _)| *asked) {
            known(release, flag, axis, &self.parallel)?;
        }
        if layout.pp > 1 {
            known(release, "--schedule", ScheduleName::from(job.schedule), &self.schedules)?;
        }
        known(release, "--zero", job.zero.stage(), &self.zero)?;
        known(release, "--recompute", RecomputeName::from(job.recompute), &self.recompute)?;
        if layout.cp > 1 {
            known(release, "--context", job.context, &self.context)?;
        }
        if job.offload.optimizer {
            known(release, "--offload-optimizer", OffloadName::Optimizer, &self.offload)?;
        }
        if job.offload.activations {
            known(release, "--offload-activations", OffloadName::Activations, &self.offload)?;
        }
        Ok(())
    }
}

fn known<T: PartialEq + Display>(
    release: &str,
    flag: &'static str,
    asked: T,
    can: &Capability<T>,
) -> Result<(), JobError> {
    if can.value.contains(&asked) {
        return Ok(());
    }
    let names: Vec<String> = can.value.iter().map(T::to_string).collect();
    Err(JobError::Incapable {
        release: release.to_owned(),
        flag,
        asked: asked.to_string(),
        allowed: if names.is_empty() { "nothing of the kind".to_owned() } else { names.join(", ") },
        source_of: can.source.clone(),
    })
}
