//! Charts of a run: distributions against their limits, and what happened over time.

use super::Happenings;
use crate::chart::{Chart, Curve, Drawing, Limit, PlotAxis};
use crate::pages::{duration, time_unit};
use crate::words::Words;
use scenario::Outcome;
use sim::metrics::Metrics;
use sim::sketch::Sketch;
use sim::timeline::Bin;
use units::Seconds;

/// Points of a drawn distribution.
const POINTS: usize = 200;
/// Points of a drawn line over time.
const MOST_BINS: usize = 400;

fn distribution(words: &Words, title: &str, sketches: &[(&str, &Sketch)], slo: Option<Seconds>) -> Chart {
    let measured = || sketches.iter().filter(|(_, sketch)| sketch.count() > 0.0);
    let longest = measured().map(|(_, sketch)| sketch.quantile(0.999));
    let (unit, scale) = time_unit(longest.chain(slo.map(Seconds::get)));
    let curve = |(name, sketch): &(&str, &Sketch)| {
        // The last thousandth would squeeze everything else against the axis.
        let points = sketch.curve(1000).into_iter().take(1000);
        let every = (1000 / POINTS).max(1);
        let points = points.step_by(every).map(|(value, share)| (value * scale, share * 100.0));
        Curve::line(*name, points)
    };
    let limits = slo.map(|slo| Limit {
        name: words.fill("slo", &[("limit", &duration(slo.get()))]),
        value: slo.get() * scale,
        across: true,
    });
    Chart::new(
        title,
        "",
        Drawing::Plot {
            x: PlotAxis::from_zero(unit),
            y: PlotAxis::from_zero(format!("{}, %", words.say("share-requests"))),
            curves: measured().map(curve).collect(),
            limits: limits.into_iter().collect(),
            events: Vec::new(),
        },
    )
}

/// Distributions of the latencies.
pub fn latency(words: &Words, metrics: &Metrics) -> Vec<Chart> {
    let slo = &metrics.slo;
    vec![
        distribution(words, words.say("ttft-long"), &[("TTFT", &metrics.ttft)], slo.ttft),
        distribution(
            words,
            words.say("tpot-long"),
            &[("TPOT", &metrics.tpot), ("ITL", &metrics.itl)],
            slo.tpot,
        ),
        distribution(words, words.say("e2e-long"), &[("E2E", &metrics.e2e)], slo.e2e),
    ]
}

/// What happened over time; failures and scaling are marks.
pub fn over_time<O>(words: &Words, outcome: &Outcome<O>, watched: &Happenings) -> Vec<Chart> {
    let metrics = &outcome.metrics;
    let bins = metrics.timeline.bins(metrics.end);
    let width = metrics.timeline.width().get();
    let every = bins.len().div_ceil(MOST_BINS).max(1);
    let instances = metrics.usage.len().max(1) as f64;
    let series = |name: &str, of: &dyn Fn(&Bin) -> f64| {
        let points = bins.chunks(every).enumerate().map(|(index, chunk)| {
            let mean = chunk.iter().map(of).sum::<f64>() / chunk.len() as f64 / width;
            ((index as f64 + 0.5) * width * every as f64, mean)
        });
        Curve::line(name, points)
    };
    let chart = |title: &str, y: &str, curves: Vec<Curve>| timed(words, watched, title, y, curves);
    vec![
        chart(
            words.say("requests"),
            "/s",
            vec![
                series(words.say("arrived"), &|bin| bin.arrived),
                series(words.say("completed"), &|bin| bin.completed),
            ],
        ),
        chart(
            words.say("tokens"),
            words.say("unit-tokens"),
            vec![
                series(words.say("output"), &|bin| bin.output),
                series(words.say("prompt"), &|bin| bin.prefill),
            ],
        ),
        chart(
            words.say("queue-and-batch"),
            words.say("requests"),
            vec![
                series(words.say("waiting"), &|bin| bin.waiting),
                series(words.say("running"), &|bin| bin.running),
            ],
        ),
        chart(
            words.say("load"),
            "%",
            vec![
                series(words.say("kv-used"), &|bin| 100.0 * bin.kv / instances),
                series(words.say("busy"), &|bin| 100.0 * bin.busy / instances),
            ],
        ),
        chart(words.say("power-busy"), "kW", vec![series(words.say("power"), &|bin| bin.energy / 1e3)]),
        chart(words.say("restarts-over-time"), words.say("requests"), watched.restarts(words)),
    ]
}

/// Curves over time with the marks of what happened.
fn timed(words: &Words, watched: &Happenings, title: &str, y: &str, curves: Vec<Curve>) -> Chart {
    Chart::new(
        title,
        "",
        Drawing::Plot {
            x: PlotAxis::from_zero(format!("{}, s", words.say("time"))),
            y: PlotAxis::from_zero(y),
            curves,
            limits: Vec::new(),
            events: watched.marks(words),
        },
    )
}
