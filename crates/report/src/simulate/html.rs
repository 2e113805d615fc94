//! A page of charts drawn as inline SVG: it opens anywhere, without a network.

use super::summary::simulate_text;
use scenario::Costs;
use scenario::Outcome;
use sim::timeline::Bin;
use std::fmt::Write;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 36.0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#1b1f24}\
pre{background:#f6f8fa;padding:1em;overflow:auto;font-size:13px}figure{display:inline-block;margin:0 1em 1em 0}\
figcaption{font-weight:600}svg text{font-size:11px;fill:#57606a}";

struct Chart<'a> {
    title: &'a str,
    x: &'a str,
    lines: Vec<(&'a str, Vec<(f64, f64)>)>,
}

const COLOURS: [&str; 4] = ["#0969da", "#cf222e", "#1a7f37", "#9a6700"];

impl Chart<'_> {
    fn draw(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, line)| line.iter());
        let top = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(0.0, f64::max).max(1e-9);
        let (right, high) = (top(|point| point.0), top(|point| point.1));
        let x = |value: f64| LEFT + value / right * (WIDTH - LEFT - 10.0);
        let y = |value: f64| HEIGHT - BOTTOM - value / high * (HEIGHT - BOTTOM - 10.0);
        let mut svg = format!(
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">",
            escape(self.title)
        );
        for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let (gx, gy) = (x(right * share), y(high * share));
            let _ = write!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{gy:.1}\" y2=\"{gy:.1}\" stroke=\"#d0d7de\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <text x=\"{gx:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                WIDTH - 10.0,
                LEFT - 6.0,
                gy + 4.0,
                tick(high * share),
                HEIGHT - BOTTOM + 14.0,
                tick(right * share),
            );
        }
        for (index, (name, line)) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let path: Vec<String> =
                line.iter().map(|(px, py)| format!("{:.1},{:.1}", x(*px), y(*py))).collect();
            let _ = write!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>\
                 <text x=\"{}\" y=\"{}\" style=\"fill:{colour}\">{}</text>",
                path.join(" "),
                LEFT + 8.0 + 90.0 * index as f64,
                HEIGHT - 6.0,
                escape(name),
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text></svg></figure>",
            WIDTH - 10.0,
            HEIGHT - 6.0,
            escape(self.x)
        );
        svg
    }
}

fn tick(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e6 => format!("{:.3}M", value / 1e6),
        size if size >= 1e3 => format!("{:.2}k", value / 1e3),
        size if size >= 10.0 => format!("{value:.0}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.2e}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The page.
pub fn simulate_html<O>(outcome: &Outcome<O>, costs: &Costs) -> String {
    let metrics = &outcome.metrics;
    let cumulative = |name, sketch: &sim::sketch::Sketch| {
        // The last thousandth would squeeze everything else against the axis.
        let curve =
            sketch.curve(1000).into_iter().take(1000).map(|(value, share)| (value * 1e3, share)).collect();
        (name, curve)
    };
    let width = metrics.timeline.width().get();
    let bins = metrics.timeline.bins(metrics.end);
    let series = |name, of: &dyn Fn(&Bin) -> f64| {
        let points =
            bins.iter().enumerate().map(|(index, bin)| ((index as f64 + 0.5) * width, of(bin) / width));
        (name, points.collect::<Vec<_>>())
    };
    let instances = metrics.usage.len().max(1) as f64;
    let charts = [
        Chart {
            title: "Time to first token: cumulative share",
            x: "ms",
            lines: vec![cumulative("TTFT", &metrics.ttft)],
        },
        Chart {
            title: "Time per output token: cumulative share",
            x: "ms",
            lines: vec![cumulative("TPOT", &metrics.tpot), cumulative("ITL", &metrics.itl)],
        },
        Chart {
            title: "End-to-end latency: cumulative share",
            x: "ms",
            lines: vec![cumulative("E2E", &metrics.e2e)],
        },
        Chart {
            title: "Requests per second",
            x: "s",
            lines: vec![series("arrived", &|bin| bin.arrived), series("completed", &|bin| bin.completed)],
        },
        Chart {
            title: "Tokens per second",
            x: "s",
            lines: vec![series("output", &|bin| bin.output), series("prompt", &|bin| bin.prefill)],
        },
        Chart {
            title: "Requests waiting and running",
            x: "s",
            lines: vec![series("waiting", &|bin| bin.waiting), series("running", &|bin| bin.running)],
        },
        Chart {
            title: "KV blocks in use and busy instances, shares",
            x: "s",
            lines: vec![series("KV", &|bin| bin.kv / instances), series("busy", &|bin| bin.busy / instances)],
        },
        Chart {
            title: "Power of busy steps, kW",
            x: "s",
            lines: vec![series("power", &|bin| bin.energy / 1e3)],
        },
    ];
    let drawn: String = charts.iter().map(Chart::draw).collect();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title><style>{STYLE}</style></head>\
         <body><h1>{name}</h1><pre>{}</pre>{drawn}</body></html>\n",
        escape(&simulate_text(outcome, costs)),
        name = escape(&outcome.name),
    )
}
