//! Who was busy when: a lane per stage, instance or node.

use super::scale::Scale;
use super::svg::{Anchor, Svg, clip, text_width};
use super::{Room, colour};

/// Stretches drawn at most; beyond, a page is too heavy to open.
pub const MOST: usize = 6_000;

/// A stretch of time.
pub struct Stretch {
    /// Begin.
    pub from: f64,
    /// End.
    pub to: f64,
    /// Which group it is coloured by.
    pub group: usize,
    /// Lower and upper edge within the lane, as shares of it.
    pub edges: (f64, f64),
    /// What it is.
    pub title: String,
}

/// A lane.
pub struct Lane {
    /// Its name.
    pub name: String,
    /// What happened in it.
    pub stretches: Vec<Stretch>,
}

/// The drawing.
pub fn draw(room: Room, label: &str, unit: &str, groups: &[String], lanes: &[Lane]) -> String {
    let names = lanes.iter().map(|lane| text_width(&lane.name)).fold(0.0, f64::max);
    let left = names.min(room.width * 0.3) + 10.0;
    let row = (560.0 / lanes.len().max(1) as f64).clamp(3.0, 24.0);
    let bottom = 4.0 + row * lanes.len() as f64;
    let mut svg = Svg::new(room.width, bottom + 40.0, label);
    let end = lanes.iter().flat_map(|lane| &lane.stretches).map(|stretch| stretch.to).fold(0.0, f64::max);
    let scale = Scale::exact(0.0, end, left, room.width - 14.0);
    for (mark, text) in scale.marks(if room.width > 500.0 { 8 } else { 4 }) {
        let x = scale.place(mark);
        svg.line((x, 4.0), (x, bottom), "grid");
        svg.text((x, bottom + 16.0), Anchor::Middle, "tick", &text);
    }
    svg.text((room.width - 14.0, bottom + 34.0), Anchor::End, "axis-name", unit);
    let every = (14.0 / row).ceil() as usize;
    let mut drawn = 0;
    for (index, lane) in lanes.iter().enumerate() {
        let top = 4.0 + row * index as f64;
        if index % every == 0 {
            let name = clip(&lane.name, left - 10.0);
            svg.text((left - 8.0, top + row.min(14.0) / 2.0 + 4.5), Anchor::End, "name", &name);
        }
        for stretch in &lane.stretches {
            drawn += 1;
            if drawn > MOST {
                return svg.finish();
            }
            let (from, to) = (scale.place(stretch.from), scale.place(stretch.to));
            let (low, high) = stretch.edges;
            let group = groups.get(stretch.group).map_or("", String::as_str);
            let title = if stretch.title.is_empty() { group } else { stretch.title.as_str() };
            let class = format!("{} cut", colour(stretch.group));
            svg.rect((from, top + row * low), (to - from, row * (high - low) * 0.92), &class, title);
        }
    }
    svg.finish()
}
