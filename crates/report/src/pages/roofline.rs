//! The roofline: what a rank could do at each arithmetic intensity, and what the steps do.
//!
//! S. Williams, A. Waterman, D. Patterson: Roofline, Communications of the ACM 52(4), 2009.

use super::number;
use crate::chart::{Chart, Curve, Dot, Drawing, PlotAxis, Style};
use crate::words::Words;
use estimate::{Pool, Roles};

/// Steps of the pools under the roofs of their chip, one roof per number format that the chip multiplies in.
pub fn roofline(words: &Words, pools: &[Pool], role: fn(Roles) -> &'static str) -> Chart {
    let steps = pools.iter().filter_map(|pool| {
        let (flop, bytes) = (pool.step.tally.flop().get(), pool.step.tally.memory_bytes().get());
        let time = pool.step.time.get();
        let known = flop > 0.0 && bytes > 0.0 && time > 0.0;
        known.then(|| (words.term(role(pool.role)).to_owned(), flop / bytes, flop / time / 1e12))
    });
    let steps: Vec<(String, f64, f64)> = steps.collect();
    let mut curves = Vec::new();
    if let (Some(pool), false) = (pools.first(), steps.is_empty()) {
        let rank = &pool.model.deployment().chip.rank;
        let bandwidth = rank.bandwidth.value.get();
        let fastest = rank.matrix.values().map(|peak| peak.value.get()).fold(0.0, f64::max);
        let low = steps.iter().map(|step| step.1).fold(fastest / bandwidth, f64::min) / 4.0;
        let high = steps.iter().map(|step| step.1).fold(fastest / bandwidth, f64::max) * 4.0;
        let mut drawn: Vec<f64> = Vec::new();
        for (dtype, peak) in &rank.matrix {
            let peak = peak.value.get();
            if drawn.iter().any(|other| (other / peak - 1.0).abs() < 0.01) {
                continue;
            }
            drawn.push(peak);
            let ridge = peak / bandwidth;
            let points = [(low, low * bandwidth / 1e12), (ridge, peak / 1e12), (high, peak / 1e12)];
            let name = words.fill("roof", &[("format", &dtype.to_string()), ("peak", &number(peak / 1e12))]);
            curves.push(Curve::line(name, points));
        }
    }
    for (name, intensity, rate) in steps {
        let title = format!("{name}: {} FLOP/B, {} TFLOP/s", number(intensity), number(rate));
        let dot = Dot { at: (intensity, rate), band: None, title, link: None };
        curves.push(Curve {
            name: words.fill("step-of", &[("role", &name)]),
            style: Style::Marks,
            dots: vec![dot],
        });
    }
    Chart::new(
        words.say("roofline"),
        "",
        Drawing::Plot {
            x: PlotAxis::log(format!("{}, FLOP/B", words.say("intensity"))),
            y: PlotAxis::log(format!("{}, TFLOP/s", words.say("per-rank"))),
            curves,
            limits: Vec::new(),
            events: Vec::new(),
        },
    )
    .with_note(words.say("roofline-note"))
}
