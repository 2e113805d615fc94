//! Weights of channel mixing.

use super::part::{ByPart, Part, Weights, product};
use crate::arch::{Ffn, Moe};

/// Adds the weights of one layer's channel mixing, from `hidden` to `hidden`.
pub(super) fn weights(parts: &mut ByPart<Weights>, hidden: u32, ffn: &Ffn) {
    match ffn {
        Ffn::Dense { intermediate, gated, bias } => {
            let weights = &mut parts[Part::DenseFfn];
            weights.matrix += network(hidden, *intermediate, *gated);
            if *bias {
                weights.vector += biases(hidden, *intermediate, *gated);
            }
        }
        Ffn::Moe(moe) => mixture(parts, hidden, moe),
        Ffn::None => {}
    }
}

fn mixture(parts: &mut ByPart<Weights>, hidden: u32, moe: &Moe) {
    let inner = moe.latent.unwrap_or(hidden);
    let bias = if moe.bias { biases(inner, moe.intermediate, moe.gated) } else { 0 };
    let expert = network(inner, moe.intermediate, moe.gated).saturating_add(bias);
    parts[Part::RoutedExperts].expert += expert.saturating_mul(u128::from(moe.experts));
    parts[Part::RoutedExperts].chosen += (expert as f64 * chosen(moe)).round() as u128;
    parts[Part::SharedExperts].matrix += network(hidden, moe.shared_intermediate, moe.gated);
    if moe.shared_gate {
        parts[Part::SharedExperts].matrix += u128::from(hidden);
    }
    parts[Part::DenseFfn].matrix += network(hidden, moe.dense_intermediate, moe.gated);
    let routes = moe.experts.saturating_add(moe.identity_experts);
    parts[Part::Router].matrix += product([hidden, routes]);
    if moe.router_bias {
        parts[Part::Router].vector += u128::from(routes);
    }
    if let Some(latent) = moe.latent {
        parts[Part::Latent].matrix += 2 * product([hidden, latent]);
    }
}

/// Experts with weights that a token meets, on average: identity experts take their share of the choices.
fn chosen(moe: &Moe) -> f64 {
    let routes = f64::from(moe.experts) + f64::from(moe.identity_experts);
    f64::from(moe.topk) * f64::from(moe.experts) / routes.max(1.0)
}

fn network(hidden: u32, intermediate: u32, gated: bool) -> u128 {
    product([if gated { 3 } else { 2 }, hidden, intermediate])
}

fn biases(hidden: u32, intermediate: u32, gated: bool) -> u128 {
    u128::from(hidden) + product([if gated { 2 } else { 1 }, intermediate])
}
