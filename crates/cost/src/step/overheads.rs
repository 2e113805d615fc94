//! What an engine makes of the time of a step's operators: slower kernels, hidden exchanges, gaps, launches and the host.

use super::step_model::{Load, StepModel};
use super::tally::Tally;
use hardware::Execution;
use units::{Dtype, Seconds};

impl StepModel {
    /// How much longer operators take in place, by the share of prefill tokens in the step.
    pub(super) fn slowdown(&self, load: &Load) -> f64 {
        let device = &self.deployment.engine.device;
        let share = if load.tokens > 0.0 { load.prefill_tokens / load.tokens } else { 0.0 };
        device.decode_slowdown.value.max(1.0) * (1.0 - share) + device.prefill_slowdown.value.max(1.0) * share
    }

    /// What runs of the user's own say of the device's time, never below what its memory and matrix units need at their peak.
    pub(super) fn correction(&self, load: &Load, device: &Tally) -> f64 {
        let of = &self.deployment.engine.device;
        let (decode, prefill) = (of.decode_correction.value, of.prefill_correction.value);
        if decode == 1.0 && prefill == 1.0 {
            return 1.0;
        }
        let share = if load.tokens > 0.0 { load.prefill_tokens / load.tokens } else { 0.0 };
        let asked = decode * (1.0 - share) + prefill * share;
        let rank = &self.deployment.chip.rank;
        let formats = &self.deployment.model.quantization;
        let peak = [formats.activations, formats.experts, Dtype::Bf16]
            .into_iter()
            .filter_map(|format| rank.peak(format));
        let peak = peak.map(|peak| peak.get()).fold(f64::MIN_POSITIVE, f64::max);
        let least =
            (device.flop().get() / peak).max(device.memory_bytes().get() / rank.bandwidth.value.get());
        let total = device.total().get();
        if total > 0.0 { asked.max((least / total).min(1.0)) } else { asked }
    }

    pub(super) fn hidden(&self, load: &Load, split: f64, compute: &Tally, exchange: &Tally) -> Seconds {
        if split == 1.0 {
            return Seconds::ZERO;
        }
        let device = &self.deployment.engine.device;
        let share = if load.prefill_tokens > load.decode_tokens {
            device.prefill_overlap.value
        } else {
            device.decode_overlap.value
        };
        compute.total().min(exchange.total()) * share
    }

    pub(super) fn layers(&self) -> f64 {
        self.plan.layers.iter().map(|layer| layer.count).sum()
    }

    /// Gaps between kernels: those inside a graph, and what launches outside of one add, by their share of all.
    pub(super) fn gaps(&self, one_by_one: f64, tally: &Tally, split: f64) -> Seconds {
        let device = &self.deployment.engine.device;
        let share = (one_by_one / tally.launches().max(1.0)).min(1.0);
        (device.layer.value + device.layer_eager.value * share) * self.layers() * split
    }

    /// Operators that the host launches one by one, ahead of the device.
    pub(super) fn one_by_one(&self, load: &Load, device: &Tally) -> f64 {
        match self.deployment.engine.execution {
            _ if load.prefill_tokens > 0.0 => device.launches(),
            Execution::Eager => device.launches(),
            Execution::Piecewise => device.mixing_launches(),
            Execution::FullGraph => 0.0,
        }
    }

    /// Time the host takes to launch them; between two attentions of a piecewise step one captured piece is replayed.
    pub(super) fn issue(&self, load: &Load, one_by_one: f64) -> Seconds {
        let engine = &self.deployment.engine;
        let pieces = match engine.execution {
            Execution::Piecewise if load.prefill_tokens == 0.0 => self.layers(),
            _ => 0.0,
        };
        engine.host.dispatch.value * one_by_one + engine.host.replay.value * pieces
    }

    /// The same of the draft module's operators.
    pub(super) fn issue_drafts(&self, load: &Load, drafts: &Tally) -> Seconds {
        let engine = &self.deployment.engine;
        match engine.draft_execution {
            Execution::FullGraph if load.prefill_tokens == 0.0 => Seconds::ZERO,
            _ => engine.host.dispatch.value * drafts.launches(),
        }
    }

    /// What the device waits for the host.
    pub(super) fn host(&self, load: &Load, busy: Seconds) -> Seconds {
        let host = &self.deployment.engine.host;
        let work = host.step.value + host.sequence.value * (load.decode_seqs + load.prefill_seqs);
        let behind = work * host.hidden.value;
        work - behind + (behind - busy).max(Seconds::ZERO)
    }
}
