//! A page that opens anywhere: the tables, and who held which nodes when.

use crate::run::{Comparison, Prepared, Side};
use crate::tables::{name, text};
use std::fmt::Write as _;

/// Stretches drawn at most; beyond that a page is too heavy to open.
const MOST_BARS: usize = 50_000;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page of runs that kept their stretches.
pub fn html(comparison: &Comparison<'_>) -> String {
    let title = escape(&comparison.prepared.name);
    let mut body = format!("<h1>{title}</h1>\n<pre>{}</pre>\n", escape(&text(comparison)));
    for side in &comparison.sides {
        let _ = write!(body, "<h2>{}</h2>\n{}", escape(&side.label), gantt(comparison.prepared, side));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font-family:sans-serif;margin:2em}}pre{{overflow-x:auto}}svg{{border:1px solid #ccc}}</style></head>\n\
         <body>\n{body}</body></html>\n"
    )
}

/// Nodes down, time across; a bar's height is its share of the node's chips.
fn gantt(prepared: &Prepared, side: &Side) -> String {
    let nodes = prepared.setup.tree.nodes();
    let row = (900.0 / f64::from(nodes)).clamp(0.5, 16.0);
    let (width, height) = (1200.0, row * f64::from(nodes));
    let scale = width / side.outcome.end.max(1e-9);
    let mut out = format!("<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n");
    let mut bars = 0;
    for stretch in &side.outcome.stretches {
        let record = &side.outcome.records[stretch.job.0 as usize];
        let hue = (record.tenant.0 * 97 + stretch.job.0 * 7) % 360;
        let label = escape(&format!("{} ({})", name(prepared, record), record.kind.name()));
        for part in &stretch.parts {
            bars += 1;
            if bars > MOST_BARS {
                break;
            }
            let capacity = f64::from(prepared.setup.tree.capacity(part.node));
            let top = row * (f64::from(part.node.0) + f64::from(part.chips.trailing_zeros()) / capacity);
            let _ = writeln!(
                out,
                "<rect x=\"{:.2}\" y=\"{top:.2}\" width=\"{:.2}\" height=\"{:.2}\" fill=\"hsl({hue},60%,60%)\"><title>{label}</title></rect>",
                stretch.from * scale,
                ((stretch.to - stretch.from) * scale).max(0.1),
                row * f64::from(part.count()) / capacity,
            );
        }
    }
    out.push_str("</svg>\n");
    if bars > MOST_BARS {
        let _ = writeln!(out, "<p>The first {MOST_BARS} stretches are drawn.</p>");
    }
    out
}
