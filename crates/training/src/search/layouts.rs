//! The layouts of a family, and which of them are worth pricing.

use super::bound::Whole;
use super::families::Family;
use super::{Candidate, Cut, Found, JobIndex, Search, Space, worst_of};
use crate::job::{Offload, Recompute, Zero};
use crate::schedule::Schedule;
use crate::stages::EDGES;
use crate::step::send_time;
use crate::way::Way;
use std::rc::Rc;

/// A way to keep the states, with the least time that follows the last gradient.
struct State {
    zero: Zero,
    optimizer: bool,
    after: f64,
}

/// A way with the least time of its pipeline under what the model costs it.
struct Floor<'w> {
    way: &'w Way,
    time: f64,
    whole: Rc<Whole>,
}

impl Search<'_> {
    /// Recomputation of a family's layouts over `pp` stages: of everything alike, and in the first family of a quarter, half
    /// or three quarters of a stage's layers too.
    fn recomputes(&self, family: Recompute, pp: u32) -> Vec<Recompute> {
        let mut all = vec![family];
        if self.space.recompute_parts && self.space.recompute.first() == Some(&family) {
            let layers = self.template.layers().div_ceil(pp);
            let quarters = (1..4).map(|quarters| layers * quarters / 4);
            all.extend(quarters.filter(|some| (1..layers).contains(some)).map(Recompute::Layers));
            all.dedup();
        }
        all
    }

    /// Every schedule that can cut the layers over `pp` ranks.
    pub(super) fn ways(&mut self, pp: u32) -> Rc<[Way]> {
        if let Some(known) = self.ways.get(&pp) {
            return Rc::clone(known);
        }
        let (layers, groups) = (self.template.layers(), &self.template.model.layers);
        let edges = self.space.edge_layers;
        let made: Rc<[Way]> = if pp == 1 {
            Way::new(Schedule::OneFOneB, groups, pp, edges).into_iter().collect()
        } else {
            let plain = self.space.schedules.iter().copied();
            let chunks =
                self.space.vpp.iter().filter(|chunks| **chunks > 1 && pp * **chunks <= layers + EDGES);
            let interleaved = chunks.map(|chunks| Schedule::Interleaved { chunks: *chunks });
            // What no number of micro-batches makes run is left out when that number is known.
            let odd = |schedule: &Schedule| *schedule == Schedule::DualPipe && pp % 2 == 1;
            plain
                .chain(interleaved)
                .filter(|schedule| !odd(schedule))
                .filter_map(|schedule| Way::new(schedule, groups, pp, edges))
                .collect()
        };
        self.ways.insert(pp, Rc::clone(&made));
        made
    }

    /// Counts every layout of `family` and prices those that may be among the best.
    pub(super) fn explore(&mut self, family: &Family, best: &mut Vec<Found>, keep: usize) {
        let worst = worst_of(best, keep);
        let mut candidates = Vec::new();
        for &(pp, dp) in family.sizes.iter() {
            if self.is_stopped() {
                return;
            }
            for micros in self.micro_batches(pp, dp, family.cut.micro) {
                self.explore_sizes(family, (pp, dp, micros), worst, &mut candidates);
            }
        }
        candidates.sort_by(|a: &Candidate, b| a.bound.total_cmp(&b.bound));
        let mut left = candidates.len() as u64;
        for candidate in candidates {
            if candidate.bound >= worst_of(best, keep) || self.is_stopped() {
                break;
            }
            self.try_one(&candidate.job_index, best, keep);
            left -= 1;
        }
        self.counts.too_slow += left;
    }

    /// The layouts of `family` with these sizes that may be better than `worst`.
    fn explore_sizes(
        &mut self,
        family: &Family,
        (pp, dp, micros): (u32, u32, u32),
        worst: f64,
        candidates: &mut Vec<Candidate>,
    ) {
        let ways = self.ways(pp);
        let ways: Vec<&Way> = ways.iter().filter(|way| way.schedule.check(pp, micros).is_ok()).collect();
        let recomputes = self.recomputes(family.cut.recompute, pp);
        if family.bound >= worst {
            let optimizers = optimizers(self.space, &family.cut).count();
            let all = ways.len() * recomputes.len() * self.space.zero.len() * optimizers;
            self.counts.covered += all as u64;
            self.counts.too_slow += all as u64;
            return;
        }
        for recompute in recomputes {
            let cut = Cut { recompute, ..family.cut };
            self.options(cut, (pp, dp, micros), &ways, worst, candidates);
        }
    }

    /// Layouts of one cut and one set of sizes: those that shard weights do the same work and gather weights besides, so
    /// that they are not even priced where that work alone takes too long.
    fn options(
        &mut self,
        cut: Cut,
        (pp, dp, micros): (u32, u32, u32),
        ways: &[&Way],
        worst: f64,
        out: &mut Vec<Candidate>,
    ) {
        let (schedule, zero, optimizer) = (Schedule::OneFOneB, Zero::None, false);
        let index = JobIndex { cut, pp, dp, micros, schedule, zero, optimizer };
        let whole = self.whole(&index);
        let states = self.states_that_fit(&index, &whole, ways.len() as u64);
        let (sharding, states): (Vec<State>, Vec<State>) =
            states.into_iter().partition(|state| state.zero == Zero::Weights);
        let floors = self.floors(&index, ways);
        self.combine(&index, &floors, &states, worst, out);
        let hopeful = self.hopeful(&index, &floors, &sharding, worst);
        if !hopeful.is_empty() {
            let ways: Vec<&Way> = hopeful.iter().map(|floor| floor.way).collect();
            let index = JobIndex { cut: Cut { sharded_over: dp, ..cut }, ..index };
            let floors = self.floors(&index, &ways);
            self.combine(&index, &floors, &sharding, worst, out);
        }
    }

    /// Ways to keep the states that may fit; the others are counted.
    fn states_that_fit(&mut self, index: &JobIndex, whole: &Whole, ways: u64) -> Vec<State> {
        let space = self.space;
        let mut states = Vec::new();
        for &zero in &space.zero {
            for optimizer in optimizers(space, &index.cut) {
                let index = JobIndex { zero, optimizer, ..*index };
                self.counts.covered += ways;
                if self.least_memory(&index, whole) > self.capacity() {
                    self.counts.too_big += ways;
                } else {
                    states.push(State { zero, optimizer, after: self.tail(&index, whole) });
                }
            }
        }
        states
    }

    /// The least time of each way's pipeline.
    fn floors<'w>(&mut self, index: &JobIndex, ways: &[&'w Way]) -> Vec<Floor<'w>> {
        let plain = self.whole(index);
        let dual = self.whole(&JobIndex { schedule: Schedule::DualPipe, ..*index });
        self.job(index);
        let send = send_time(&self.job, &self.coefficients, self.machine.pricer);
        let floor = |way: &&'w Way| {
            let whole = if way.schedule == Schedule::DualPipe { &dual } else { &plain };
            Floor { way, time: self.pipeline(index, whole, way, send), whole: Rc::clone(whole) }
        };
        ways.iter().map(floor).collect()
    }

    /// Those of `floors` that with one of `states` may be better than `worst`; layouts of the others are counted.
    fn hopeful<'f, 'w>(
        &mut self,
        index: &JobIndex,
        floors: &'f [Floor<'w>],
        states: &[State],
        worst: f64,
    ) -> Vec<&'f Floor<'w>> {
        let shortest = states.iter().map(|state| state.after).fold(f64::INFINITY, f64::min);
        let hopeful: Vec<&Floor<'_>> = floors
            .iter()
            .filter(|floor| self.worth(index, &floor.whole, floor.time + shortest) < worst)
            .collect();
        self.counts.too_slow += ((floors.len() - hopeful.len()) * states.len()) as u64;
        hopeful
    }

    /// Every way with each of `states`.
    fn combine(
        &mut self,
        index: &JobIndex,
        floors: &[Floor<'_>],
        states: &[State],
        worst: f64,
        out: &mut Vec<Candidate>,
    ) {
        for floor in self.hopeful(index, floors, states, worst) {
            let schedule = floor.way.schedule;
            for &State { zero, optimizer, after } in states {
                let index = JobIndex { schedule, zero, optimizer, ..*index };
                self.consider(index, floor, floor.time + after, worst, out);
            }
        }
    }

    /// Takes a layout among the candidates unless it is too big, or too slow with its gradients exchanged before `time`.
    fn consider(
        &mut self,
        index: JobIndex,
        floor: &Floor<'_>,
        time: f64,
        worst: f64,
        out: &mut Vec<Candidate>,
    ) {
        if self.first_memory(&index, &floor.whole, floor.way) > self.capacity() {
            self.counts.too_big += 1;
            return;
        }
        let gradients = self.gradients(&index, &floor.whole, floor.way.least);
        let bound = self.worth(&index, &floor.whole, time + gradients);
        if bound >= worst {
            self.counts.too_slow += 1;
        } else {
            out.push(Candidate { bound, job_index: index });
        }
    }

    fn capacity(&self) -> f64 {
        self.machine.chip.rank.memory.value.get()
    }
}

/// Whether the optimizer's state is kept on the host, for each choice that goes with the cut's activations.
fn optimizers(space: &Space, cut: &Cut) -> impl Iterator<Item = bool> {
    let fits = |offload: &&Offload| offload.activations == cut.activations;
    space.offload.iter().filter(fits).map(|offload| offload.optimizer)
}
