//! How far an answer moves with each of its figures.

use super::Room;
use super::scale::{Scale, tick};
use super::svg::{Anchor, Svg, clip, text_width};

const ROW: f64 = 42.0;

/// What the answer becomes at both ends of one figure.
pub struct Swing {
    /// The figure.
    pub name: String,
    /// The answer at its lower end, and how that end is written.
    pub low: (f64, String),
    /// The answer at its upper end, and how that end is written.
    pub high: (f64, String),
}

/// The drawing.
pub fn draw(room: Room, label: &str, base: f64, swings: &[Swing]) -> String {
    let wide = room.width > 500.0;
    let names = swings.iter().map(|swing| text_width(&swing.name)).fold(0.0, f64::max);
    let left = if wide { names.min(room.width * 0.32) + 12.0 } else { 6.0 };
    let ends = || swings.iter().flat_map(|swing| [swing.low.0, swing.high.0]);
    let (low, high) = (ends().fold(base, f64::min), ends().fold(base, f64::max));
    let side = if wide { 96.0 } else { 62.0 };
    let scale = Scale::exact(low, high, left + side, room.width - side);
    let bottom = 20.0 + ROW * swings.len() as f64;
    let mut svg = Svg::new(room.width, bottom + 26.0, label);
    for (mark, text) in scale.marks(if wide { 6 } else { 3 }) {
        svg.line((scale.place(mark), 20.0), (scale.place(mark), bottom), "grid");
        svg.text((scale.place(mark), bottom + 16.0), Anchor::Middle, "tick", &text);
    }
    for (index, swing) in swings.iter().enumerate() {
        let top = 20.0 + ROW * index as f64;
        let bar = top + ROW / 2.0 + if wide { 0.0 } else { 6.0 };
        if wide {
            svg.text((left - 8.0, bar + 4.5), Anchor::End, "name", &clip(&swing.name, left - 10.0));
        } else {
            svg.text((6.0, top + 11.0), Anchor::Start, "name", &clip(&swing.name, room.width - 12.0));
        }
        for ((value, text), class) in [(&swing.low, "c0"), (&swing.high, "c1")] {
            let (from, to) = (scale.place(base.min(*value)), scale.place(base.max(*value)));
            svg.rect((from, bar - 9.0), (to - from, 18.0), class, &format!("{text}: {}", tick(*value)));
            let (place, anchor) =
                if *value < base { (from - 5.0, Anchor::End) } else { (to + 5.0, Anchor::Start) };
            svg.text((place, bar + 4.5), anchor, "figure", &clip(text, side));
        }
    }
    let at = scale.place(base);
    svg.line((at, 16.0), (at, bottom), "limit");
    svg.text((at, 12.0), Anchor::Middle, "limit-name", &tick(base));
    svg.finish()
}
