//! What the parts of a model cost a micro-batch, wherever a pipeline puts them.

use crate::framework::{Coefficients, Profile};
use crate::job::{Job, Recompute};
use crate::layer::{Context, PassTimes};
use crate::memory::LayerMemory;
use crate::partition::Contents;
use crate::schedule::StageTimes;
use crate::times::Part;
use units::Seconds;

/// The three passes of a micro-batch, in whatever detail.
pub(crate) trait Passes: Copy + Default {
    /// Adds `count` of another.
    fn add(&mut self, other: &Self, count: f64);

    /// Adds to the forward pass and to that of the input gradient.
    fn add_each_way(&mut self, part: Part, time: Seconds);
}

impl Passes for PassTimes {
    fn add(&mut self, other: &Self, count: f64) {
        PassTimes::add(self, other, count);
    }

    fn add_each_way(&mut self, part: Part, time: Seconds) {
        self.forward.add(part, time);
        self.backward_input.add(part, time);
    }
}

impl Passes for StageTimes {
    fn add(&mut self, other: &Self, count: f64) {
        self.forward += other.forward * count;
        self.backward_input += other.backward_input * count;
        self.backward_weight += other.backward_weight * count;
    }

    fn add_each_way(&mut self, _: Part, time: Seconds) {
        self.forward += time;
        self.backward_input += time;
    }
}

/// What every virtual stage spends on a micro-batch besides its layers, each way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Between {
    /// Layers of a stage that are computed again.
    pub again: u32,
    /// Sending that nothing hides.
    pub sends: Seconds,
    /// Fixed host time.
    pub host: Seconds,
}

impl Between {
    /// Of `chunks` stages to a rank, `pp` ranks that take `send` from one to the next.
    pub fn new(
        recompute: Recompute,
        chunks: u32,
        pp: u32,
        send: Seconds,
        coefficients: &Coefficients,
    ) -> Self {
        let again = match recompute {
            Recompute::Layers(layers) => layers.div_ceil(chunks),
            _ => 0,
        };
        let sends = if pp > 1 { send * (1.0 - coefficients.hidden_pp) } else { Seconds::ZERO };
        Self { again, sends, host: Seconds::new(coefficients.host_micro / f64::from(chunks) / 2.0) }
    }
}

/// Everything a pipeline is put together from.
#[derive(Debug)]
pub(crate) struct Parts<T> {
    /// One layer of each kind, in the model's order: as most are, and computed again where some layers of each stage are.
    pub kinds: Vec<[T; 2]>,
    /// The embedding lookup.
    pub embedding: T,
    /// Output projection, loss and prediction modules.
    pub head: T,
}

impl<T: Passes> Parts<T> {
    /// A micro-batch through a virtual stage that holds `contents`.
    pub fn stage(&self, contents: &Contents, between: &Between) -> T {
        let mut passes = T::default();
        let mut again = between.again;
        for ([kept, computed_again], count) in self.kinds.iter().zip(&contents.layers) {
            let recomputed = again.min(*count);
            again -= recomputed;
            passes.add(kept, f64::from(count - recomputed));
            passes.add(computed_again, f64::from(recomputed));
        }
        if contents.first {
            passes.add(&self.embedding, 1.0);
        }
        if contents.last {
            passes.add(&self.head, 1.0);
        }
        passes.add_each_way(Part::Pipeline, between.sends);
        passes.add_each_way(Part::Host, between.host);
        passes
    }
}

impl Parts<PassTimes> {
    /// Of the job of `context`, whose schedule matters to experts' exchanges alone.
    pub fn new(context: &Context<'_>) -> Self {
        let (some, other) = match context.job.recompute {
            Recompute::Layers(_) => (Recompute::None, Recompute::Full),
            recompute => (recompute, recompute),
        };
        let kind = |group| {
            let kept = context.layer(group, some);
            [kept, if some == other { kept } else { context.layer(group, other) }]
        };
        let mut head = context.head();
        head.add(&context.mtp(), 1.0);
        Self {
            kinds: context.job.model.layers.iter().map(kind).collect(),
            embedding: context.embedding(),
            head,
        }
    }

    /// The same by pass alone.
    pub fn totals(&self) -> Parts<StageTimes> {
        Parts {
            kinds: self.kinds.iter().map(|kind| kind.map(|passes| stage_times(&passes))).collect(),
            embedding: stage_times(&self.embedding),
            head: stage_times(&self.head),
        }
    }
}

/// Times by pass alone.
pub(crate) fn stage_times(passes: &PassTimes) -> StageTimes {
    StageTimes {
        forward: passes.forward.total(),
        backward_input: passes.backward_input.total(),
        backward_weight: passes.backward_weight.total(),
    }
}

/// Each kind of layer of `job` in memory.
pub(crate) fn memories(job: &Job, profile: &Profile) -> Vec<LayerMemory> {
    job.model.layers.iter().map(|group| LayerMemory::new(job, profile, group)).collect()
}
