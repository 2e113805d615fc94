//! Work of a step: what the model asks for, and what the hardware does.

use crate::framework::{AttentionKernel, Profile, Selective};
use crate::job::{Job, Layout, Recompute};
use crate::shapes::LayerShape;
use model::LayerGroup;
use units::Flop;

/// Forward work of one token in one layer: products and attention core apart, whatever the layout.
fn layer_forward(job: &Job, group: &LayerGroup, full_square: bool) -> (f64, f64) {
    let shape = LayerShape::new(&on_one_rank(job), group);
    let dense: f64 = shape.products.iter().map(|product| 2.0 * product.weights()).sum();
    let experts = shape.experts.as_ref().map_or(0.0, |experts| {
        2.0 * experts.topk * (experts.up.weights() + experts.down.weights())
            + 2.0 * experts.total * shape.hidden
    });
    let seq = f64::from(job.batch.seq);
    let core = shape.core.as_ref().map_or(0.0, |core| {
        let context = if full_square { seq } else { seq / 2.0 };
        let context = core.window.map_or(context, |window| context.min(window));
        2.0 * core.heads * context * (core.qk_dim + core.v_dim)
    });
    (dense + experts, core)
}

/// Forward work of one token in the products that widen latent attention.
fn latent_products(job: &Job, group: &LayerGroup) -> f64 {
    let shape = LayerShape::new(&on_one_rank(job), group);
    shape.latent_products().iter().map(|product| 2.0 * product.weights()).sum()
}

fn on_one_rank(job: &Job) -> Job {
    Job { layout: Layout { tp: 1, cp: 1, pp: 1, dp: 1, ep: 1, etp: 1 }, ..job.clone() }
}

/// Model FLOPs of one step as a source may count them: causal attention once, or over the whole square of the sequence.
pub fn counted(job: &Job, full_square: bool) -> Flop {
    let mtp = job.model.mtp.as_ref().filter(|_| job.mtp);
    let groups = job.model.layers.iter().map(|group| (group, f64::from(group.count)));
    let layers: f64 = groups
        .chain(mtp.map(|(count, group)| (group, f64::from(*count))))
        .map(|(group, count)| {
            let (products, core) = layer_forward(job, group, full_square);
            3.0 * count * (products + core)
        })
        .sum();
    Flop::new((layers + head(job)) * job.batch.tokens())
}

/// Forward and backward work of one token in the output projections.
fn head(job: &Job) -> f64 {
    let mtp = job.model.mtp.as_ref().filter(|_| job.mtp);
    let heads = 1.0 + mtp.map_or(0.0, |(count, _)| f64::from(*count));
    6.0 * f64::from(job.model.hidden) * f64::from(job.model.vocab) * heads
}

/// Model FLOPs and hardware FLOPs of one step. Causal attention is counted once (half the square); the hardware also does
/// what is computed again, and with unfused attention the whole square.
pub fn of_step(job: &Job, profile: &Profile) -> (Flop, Flop) {
    let tokens = job.batch.tokens();
    let full_square = profile.attention == AttentionKernel::Unfused;
    let mut hardware = 0.0;
    let layers = f64::from(job.layers());
    let mtp = job.model.mtp.as_ref().filter(|_| job.mtp);
    let groups = job.model.layers.iter().map(|group| (group, f64::from(group.count)));
    for (group, count) in groups.chain(mtp.map(|(count, group)| (group, f64::from(*count)))) {
        let (products, core_done) = layer_forward(job, group, full_square);
        let again = match (job.recompute, profile.selective) {
            (Recompute::None, _) => 0.0,
            (Recompute::Selective, Selective::Attention) => core_done,
            (Recompute::Selective, Selective::HalfTheProducts) => 0.5 * products,
            (Recompute::Selective, Selective::Modules) => latent_products(job, group),
            (Recompute::Full, _) => products + core_done,
            (Recompute::Layers(again), _) => {
                let share = f64::from(again * job.layout.pp) / layers;
                share.min(1.0) * (products + core_done)
            }
        };
        hardware += count * (3.0 * (products + core_done) + again);
    }
    (counted(job, false), Flop::new((hardware + head(job)) * tokens))
}
