//! The layouts of a family, and which of them are worth pricing.

use super::bound::Whole;
use super::families::Family;
use super::{Candidate, Cut, Found, JobIndex, Search, worst_of};
use crate::job::{Recompute, Zero};
use crate::prices::Between;
use crate::schedule::Schedule;
use crate::stages::EDGES;
use crate::step::send_time;
use crate::way::Way;
use std::rc::Rc;

impl Search<'_> {
    /// Recomputation of a family's layouts over `pp` stages: of everything alike, and in the first family of a quarter, half
    /// or three quarters of a stage's layers too.
    fn recomputes(&self, family: Recompute, pp: u32) -> Vec<Recompute> {
        let mut all = vec![family];
        if self.space.recompute.first() == Some(&family) {
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
        let made: Rc<[Way]> = if pp == 1 {
            Way::new(Schedule::OneFOneB, groups, pp).into_iter().collect()
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
                .filter_map(|schedule| Way::new(schedule, groups, pp))
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
            let micros = self.template.batch.global / (dp * family.cut.micro);
            let ways = self.ways(pp);
            let ways: Vec<&Way> = ways.iter().filter(|way| way.schedule.check(pp, micros).is_ok()).collect();
            let recomputes = self.recomputes(family.cut.recompute, pp);
            if family.bound >= worst {
                let optimizers =
                    self.space.offload.iter().filter(|offload| offload.activations == family.cut.activations);
                let all = ways.len() * recomputes.len() * self.space.zero.len() * optimizers.count();
                self.counts.covered += all as u64;
                self.counts.too_slow += all as u64;
                continue;
            }
            for recompute in recomputes {
                let cut = Cut { recompute, ..family.cut };
                self.options(cut, (pp, dp), &ways, worst, &mut candidates);
            }
        }
        candidates.sort_by(|a: &Candidate, b| a.bound.total_cmp(&b.bound));
        let mut left = candidates.len() as u64;
        for candidate in candidates {
            if candidate.bound >= worst_of(best, keep) {
                break;
            }
            self.try_one(&candidate.job_index, best, keep);
            left -= 1;
        }
        self.counts.too_slow += left;
    }

    /// Layouts of one cut and one pair of sizes: those with sharded weights cost a micro-batch something else.
    fn options(
        &mut self,
        cut: Cut,
        (pp, dp): (u32, u32),
        ways: &[&Way],
        worst: f64,
        out: &mut Vec<Candidate>,
    ) {
        for sharded_over in [0, dp] {
            let index = JobIndex {
                cut: Cut { sharded_over, ..cut },
                pp,
                dp,
                schedule: Schedule::OneFOneB,
                zero: if sharded_over > 0 { Zero::Weights } else { Zero::None },
                optimizer: false,
            };
            let states = self.states_that_fit(&index, ways.len() as u64);
            if !states.is_empty() {
                self.schedules(index, &states, ways, worst, out);
            }
        }
    }

    /// Ways to keep the states that may fit, with the least time that follows the last gradient; the others are counted.
    fn states_that_fit(&mut self, index: &JobIndex, ways: u64) -> Vec<(JobIndex, f64)> {
        let space = self.space;
        let whole = self.whole(index);
        let sharded = |zero: Zero| zero == Zero::Weights;
        let zeros = space.zero.iter().filter(|zero| sharded(**zero) == sharded(index.zero));
        let mut states = Vec::new();
        for &zero in zeros {
            for offload in space.offload.iter().filter(|offload| offload.activations == index.cut.activations)
            {
                let index = JobIndex { zero, optimizer: offload.optimizer, ..*index };
                self.counts.covered += ways;
                if self.least_memory(&index, &whole) > self.capacity() {
                    self.counts.too_big += ways;
                } else {
                    states.push((index, self.tail(&index, &whole)));
                }
            }
        }
        states
    }

    /// Every schedule with each of `states`.
    fn schedules(
        &mut self,
        index: JobIndex,
        states: &[(JobIndex, f64)],
        ways: &[&Way],
        worst: f64,
        out: &mut Vec<Candidate>,
    ) {
        let plain = self.whole(&index);
        let dual = self.whole(&JobIndex { schedule: Schedule::DualPipe, ..index });
        self.job(&index);
        let send = send_time(&self.job, &self.coefficients, self.machine.pricer);
        let shortest = states.iter().map(|(_, after)| *after).fold(f64::INFINITY, f64::min);
        for way in ways {
            let whole = if way.schedule == Schedule::DualPipe { &dual } else { &plain };
            let index = JobIndex { schedule: way.schedule, ..index };
            let (recompute, chunks) = (index.cut.recompute, way.schedule.chunks());
            let between = Between::new(recompute, chunks, index.pp, send, &self.coefficients);
            let pipeline = self.pipeline(&index, whole, way, &between, send);
            if self.worth(&index, whole, pipeline + shortest) >= worst {
                self.counts.too_slow += states.len() as u64;
                continue;
            }
            for (state, after) in states {
                let index = JobIndex { schedule: way.schedule, ..*state };
                self.consider(index, whole, way, pipeline + after, worst, out);
            }
        }
    }

    fn consider(
        &mut self,
        index: JobIndex,
        whole: &Whole,
        way: &Way,
        time: f64,
        worst: f64,
        out: &mut Vec<Candidate>,
    ) {
        if self.first_memory(&index, whole, way) > self.capacity() {
            self.counts.too_big += 1;
            return;
        }
        let bound = self.worth(&index, whole, time + self.gradients(&index, whole, way.least));
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
