//! Cells coloured by a figure: a supernode, node by node.

use super::Room;
use super::scale::tick;
use super::svg::{Anchor, Svg, clip, text_width};

/// Steps of colour.
const STEPS: usize = 9;

/// A map of cells.
pub struct Heat {
    /// Rows with their names; a cell without a figure is drawn empty.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
    /// The ends of the colours.
    pub ends: (f64, f64),
    /// What a cell is, for the pointer.
    pub cell: String,
}

impl Heat {
    /// Rows of `across` cells named by `name`.
    pub fn of(
        cells: &[Option<f64>],
        across: usize,
        ends: (f64, f64),
        name: impl Fn(usize) -> String,
    ) -> Self {
        let rows = cells.chunks(across.max(1)).enumerate().map(|(index, row)| (name(index), row.to_vec()));
        Self { rows: rows.collect(), ends, cell: String::new() }
    }

    fn class(&self, value: f64) -> String {
        let (low, high) = self.ends;
        let share = ((value - low) / (high - low).max(1e-12)).clamp(0.0, 1.0);
        format!("h{}", (share * (STEPS as f64 - 1.0)).round() as usize)
    }

    /// The drawing: rows side by side in blocks, so that hundreds of chips fit a screen.
    pub(super) fn draw(&self, room: Room, label: &str) -> String {
        let across = self.rows.iter().map(|(_, cells)| cells.len()).max().unwrap_or(1).max(1) as f64;
        let names = self.rows.iter().map(|(name, _)| text_width(name)).fold(0.0, f64::max).min(90.0) + 8.0;
        let cell = ((room.width - names) / across - 2.0).clamp(3.0, 16.0);
        let block = names + across * (cell + 2.0) + 14.0;
        let blocks = ((room.width / block).floor() as usize).clamp(1, self.rows.len().max(1));
        let deep = self.rows.len().div_ceil(blocks);
        let high = (cell + 2.0).max(13.0);
        let foot = 34.0;
        let mut svg = Svg::new(room.width, deep as f64 * high + foot, label);
        for (index, (name, cells)) in self.rows.iter().enumerate() {
            let left = (index / deep) as f64 * block;
            let top = (index % deep) as f64 * high;
            let text = clip(name, names - 4.0);
            svg.text((left + names - 6.0, top + high / 2.0 + 4.0), Anchor::End, "tick", &text);
            for (at, value) in cells.iter().enumerate() {
                let place = (left + names + at as f64 * (cell + 2.0), top + (high - cell) / 2.0);
                match value {
                    Some(value) => {
                        let title = format!("{name}, {} {at}: {}", self.cell, tick(*value));
                        svg.rect(place, (cell, cell), &self.class(*value), &title);
                    }
                    None => svg.rect(place, (cell, cell), "none", ""),
                }
            }
        }
        self.legend(&mut svg, deep as f64 * high + 10.0, names);
        svg.finish()
    }

    fn legend(&self, svg: &mut Svg, top: f64, left: f64) {
        let (low, high) = self.ends;
        svg.text((left - 6.0, top + 12.0), Anchor::End, "tick", &tick(low));
        for step in 0..STEPS {
            svg.rect((left + 18.0 * step as f64, top), (18.0, 14.0), &format!("h{step}"), "");
        }
        svg.text((left + 18.0 * STEPS as f64 + 6.0, top + 12.0), Anchor::Start, "tick", &tick(high));
    }
}
