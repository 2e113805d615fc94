//! Which cuts of the operators there are, and the least that any layout of each is worth.

use super::{Cut, JobIndex, Search};
use crate::job::{Recompute, Zero};
use crate::schedule::Schedule;
use std::rc::Rc;

/// Layouts that share a cut, but for sharded weights and for layers that are computed again.
pub(super) struct Family {
    pub bound: f64,
    pub cut: Cut,
    /// Pipeline and data parallel sizes that go with it.
    pub sizes: Rc<[(u32, u32)]>,
}

impl Search<'_> {
    /// Every cut of the space.
    pub(super) fn families(&mut self) -> Vec<Family> {
        let space = self.space;
        let mut out = Vec::new();
        for &tp in &space.tp {
            for &cp in &space.cp {
                for &ep in &space.ep {
                    for &micro in &space.micro {
                        let plain = Cut::plain([tp, cp, ep, space.expert_tp(tp, ep)], micro);
                        let sizes = self.sizes(&plain);
                        if !sizes.is_empty() && !self.is_stopped() {
                            self.cuts(&plain, &sizes.into(), &mut out);
                        }
                    }
                }
            }
        }
        out
    }

    /// Pipeline and data parallel sizes that go with a cut.
    fn sizes(&self, cut: &Cut) -> Vec<(u32, u32)> {
        let (space, global) = (self.space, self.template.batch.global);
        let Cut { tp, cp, ep, etp, micro, .. } = *cut;
        if self.template.batch.seq % cp != 0 {
            return Vec::new();
        }
        let goes = |pp: u32| {
            let model = u64::from(tp) * u64::from(cp) * u64::from(pp);
            let rest = u32::try_from(u64::from(space.ranks) / model).ok()?;
            let sequences = rest.checked_mul(micro)?;
            let batch =
                if space.at_most_batch { sequences <= global } else { global % sequences.max(1) == 0 };
            let whole = rest > 0
                && u64::from(rest) * model == u64::from(space.ranks)
                && space.dp.is_none_or(|dp| dp == rest)
                && batch
                && (u64::from(tp) * u64::from(cp) * u64::from(rest)) % (u64::from(ep) * u64::from(etp)) == 0;
            whole.then_some((pp, rest))
        };
        space.pp.iter().filter_map(|pp| goes(*pp)).collect()
    }

    fn cuts(&mut self, plain: &Cut, sizes: &Rc<[(u32, u32)]>, out: &mut Vec<Family>) {
        let space = self.space;
        let contexts = if plain.cp > 1 { &space.context[..] } else { &space.context[..1] };
        let parallel: &[bool] = if plain.tp > 1 { &space.sequence_parallel } else { &[false] };
        for (at, &recompute) in space.recompute.iter().enumerate() {
            for &sequence_parallel in parallel {
                for &context in contexts {
                    for activations in self.activations() {
                        let cut = Cut { recompute, sequence_parallel, context, activations, ..*plain };
                        let mut bound = self.least_of(&cut, sizes[0].1);
                        if at == 0 && recompute != Recompute::None {
                            // Layers computed again in part are in the first family.
                            let none = Cut { recompute: Recompute::None, ..cut };
                            bound = bound.min(self.least_of(&none, sizes[0].1));
                        }
                        out.push(Family { bound, cut, sizes: Rc::clone(sizes) });
                    }
                }
            }
        }
    }

    fn least_of(&mut self, cut: &Cut, dp: u32) -> f64 {
        let mut of = |schedule| {
            let micros = self.micro_batches(1, dp, cut.micro)[0];
            let index =
                JobIndex { cut: *cut, pp: 1, dp, micros, schedule, zero: Zero::None, optimizer: false };
            let whole = self.whole(&index);
            self.cut_bound(cut, &whole)
        };
        of(Schedule::OneFOneB).min(of(Schedule::DualPipe))
    }

    /// Numbers of micro-batches that a layout may run in a step: as many as the batch asks for; where that is only the
    /// largest allowed, as many as it holds, and the most below that which fill groups of one per pipeline rank.
    pub(super) fn micro_batches(&self, pp: u32, dp: u32, micro: u32) -> Vec<u32> {
        let most = self.template.batch.global / (dp * micro);
        let grouped = most / pp * pp;
        if self.space.at_most_batch && grouped > 0 && grouped < most {
            vec![most, grouped]
        } else {
            vec![most]
        }
    }

    /// Whether activations are kept on the device, on the host, or either.
    fn activations(&self) -> Vec<bool> {
        let any = |wanted: bool| self.space.offload.iter().any(|offload| offload.activations == wanted);
        [false, true].into_iter().filter(|wanted| any(*wanted)).collect()
    }
}
