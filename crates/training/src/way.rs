//! How a schedule bounds the time of a step from below.

use crate::partition::Partition;
use crate::schedule::{Schedule, StageTimes};
use model::LayerGroup;

/// How far a kind of rank is from where micro-batches enter.
#[derive(Debug)]
struct Reach {
    /// Ranks in front of the farthest of the kind.
    depth: u32,
    /// How many of each distinct stage these are.
    before: Vec<u32>,
}

/// A schedule with its cut of the model.
#[derive(Debug)]
pub(crate) struct Way {
    /// The schedule.
    pub schedule: Schedule,
    /// What each rank holds.
    pub partition: Partition,
    /// Of each kind of rank.
    reaches: Vec<Reach>,
    /// Share of the layers on the rank with the fewest, where all are alike; else nothing.
    pub least: f64,
    /// Share of the layers on the first rank.
    pub first: f64,
}

impl Way {
    /// Of layers `groups` over `pp` ranks, `edges` of them in the first and the last stage where that is set; `None` if the
    /// schedule cannot cut them.
    pub fn new(
        schedule: Schedule,
        groups: &[LayerGroup],
        pp: u32,
        edges: (Option<u32>, Option<u32>),
    ) -> Option<Self> {
        let partition = Partition::new(groups, schedule, pp, edges).ok()?;
        let reaches = (0..partition.ranks.len()).map(|kind| Reach::new(schedule, &partition, kind)).collect();
        let layers: u32 = groups.iter().map(|group| group.count).sum();
        let share = |count: u32| f64::from(count) / f64::from(layers);
        let fewest = partition.ranks.iter().map(|rank| rank.contents.count()).min()?;
        let least = if groups.len() == 1 { share(fewest) } else { 0.0 };
        let first = share(partition.ranks[0].contents.count());
        Some(Self { schedule, partition, reaches, least, first })
    }

    /// A time before which not every rank can be done; distinct stages take `stages` and begin `send` after their neighbour.
    ///
    /// A rank begins when the first micro-batch has come down to it. When it has taken the last one back, with all of its
    /// other work done but for some weight gradients, that one still has to go back up to the first rank.
    pub fn least(&self, stages: &[StageTimes], micros: u32, send: f64) -> f64 {
        let weight = |stage: &usize| stages[*stage].backward_weight.get();
        let entry = f64::from(self.late(0, micros)) * weight(&self.partition.stage_of[0]);
        let (each, fused) = match self.schedule {
            // Half of the micro-batches go through each of a rank's two stages.
            Schedule::DualPipe => (0.5 * f64::from(micros), 0.0),
            Schedule::ZeroBubbleH1 => (f64::from(micros), 0.0),
            _ => (f64::from(micros), 1.0),
        };
        let kinds = self.partition.ranks.iter().zip(&self.reaches);
        let ends = kinds.map(|(rank, reach)| {
            let work = each * rank.stages.iter().map(|stage| stages[*stage].total().get()).sum::<f64>();
            let hops = f64::from(reach.depth) * send;
            let (mut down, mut up) = (hops, hops);
            for (count, times) in reach.before.iter().zip(stages) {
                let count = f64::from(*count);
                down += count * times.forward.get();
                up += count * (times.backward_input + times.backward_weight * fused).get();
            }
            let heaviest = rank.stages.iter().map(weight).fold(0.0, f64::max);
            let late = f64::from(self.late(reach.depth, micros)) * heaviest;
            down + work + (up + entry - late).max(0.0)
        });
        ends.fold(0.0, f64::max)
    }

    /// Weight gradients that a rank with `depth` in front of it has left when it has taken the last micro-batch back.
    fn late(&self, depth: u32, micros: u32) -> u32 {
        match self.schedule {
            Schedule::DualPipe => depth + 1,
            Schedule::ZeroBubbleH1 => (depth + 1).min(micros),
            _ => 0,
        }
    }
}

impl Reach {
    fn new(schedule: Schedule, partition: &Partition, kind: usize) -> Self {
        let pp = partition.rank_of.len();
        let depth_of = |rank: usize| match schedule {
            // Micro-batches enter from both ends.
            Schedule::DualPipe => rank.min(pp - 1 - rank),
            _ => rank,
        };
        let alike = (0..pp).filter(|rank| partition.rank_of[*rank] == kind);
        let depth = alike.map(depth_of).max().unwrap_or(0);
        let mut before = vec![0; partition.stages.len()];
        for stage in &partition.stage_of[..depth] {
            before[*stage] += 1;
        }
        Self { depth: depth as u32, before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::makespan;
    use crate::shape::Shape;
    use proptest::prelude::*;
    use units::Seconds;

    /// Layers of one kind, or the first of another.
    fn groups(layers: u32, mixed: bool) -> Vec<LayerGroup> {
        let first = if mixed { ",gated=true,experts=8,topk=2,moe-ffn=64,first-dense=1" } else { "" };
        let text = format!("layers={layers},hidden=64,heads=4,vocab=512{first}");
        Shape::parse(&text).expect("a shape").model().layers
    }

    /// A schedule with ranks and micro-batches that it can run.
    fn schedule(which: u32, chunks: u32, pp: u32, micros: u32) -> (Schedule, u32, u32) {
        match which {
            0 => (Schedule::OneFOneB, pp, micros),
            1 => (Schedule::GPipe, pp, micros),
            2 => (Schedule::ZeroBubbleH1, pp, micros),
            3 => (Schedule::DualPipe, 2 * pp, 4 * pp + 2 * micros),
            _ => (Schedule::Interleaved { chunks }, pp, micros),
        }
    }

    proptest! {
        #[test]
        fn no_pipeline_is_done_before_its_bound(
            which in 0u32..5,
            chunks in 2u32..4,
            pp in 1u32..9,
            micros in 1u32..40,
            layers in 2u32..30,
            mixed in any::<bool>(),
            send in 0.0f64..0.5,
            times in prop::collection::vec(0.1f64..3.0, 3 * 12),
        ) {
            let (schedule, pp, micros) = schedule(which, chunks, pp, micros);
            let Some(way) = Way::new(schedule, &groups(layers, mixed), pp, (None, None)) else { return Ok(()) };
            let of = |at: usize| Seconds::new(times[at % times.len()]);
            let distinct = 0..way.partition.stages.len();
            let stages: Vec<StageTimes> = distinct
                .map(|stage| StageTimes {
                    forward: of(3 * stage),
                    backward_input: of(3 * stage + 1),
                    backward_weight: of(3 * stage + 2),
                })
                .collect();
            let all: Vec<StageTimes> = way.partition.stage_of.iter().map(|stage| stages[*stage]).collect();
            let (makespan, _) = makespan(schedule, pp, micros, &all, Seconds::new(send));
            let least = way.least(&stages, micros, send);
            prop_assert!(least <= makespan.get() * (1.0 + 1e-9), "{least} s, {makespan} in full");
        }
    }
}
