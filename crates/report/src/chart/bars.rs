//! Lying bars: names are read where they stand, and figures stand at the ends.

use super::scale::{Scale, tick};
use super::svg::{Anchor, Svg, clip, text_width};
use super::{Room, colour};

const ROW: f64 = 30.0;
const TOP: f64 = 6.0;
const FOOT: f64 = 26.0;

/// One bar.
pub struct Bar {
    /// What it is of.
    pub name: String,
    /// How long it is.
    pub value: f64,
    /// The ends of its band.
    pub band: Option<(f64, f64)>,
    /// The figure as it is written at its end.
    pub text: String,
}

/// A bar of parts.
pub struct Stack {
    /// What it is of.
    pub name: String,
    /// How long each part is, in the order of the parts' names.
    pub values: Vec<f64>,
    /// The figure written at its end.
    pub text: String,
}

/// Room for the names on the left and for the figures on the right.
fn margins<'a>(room: Room, rows: impl Iterator<Item = (&'a str, &'a str)>) -> (f64, f64) {
    let (mut left, mut right) = (0.0f64, 0.0f64);
    for (name, text) in rows {
        left = left.max(text_width(name));
        right = right.max(text_width(text));
    }
    (left.min(room.width * 0.38) + 10.0, right.min(room.width * 0.3) + 12.0)
}

fn grid(svg: &mut Svg, scale: &Scale, bottom: f64, room: Room) {
    for (mark, text) in scale.marks(if room.width > 500.0 { 6 } else { 3 }) {
        let x = scale.place(mark);
        svg.line((x, TOP), (x, bottom), "grid");
        svg.text((x, bottom + 16.0), Anchor::Middle, "tick", &text);
    }
}

/// A bar per name with whiskers.
pub fn draw(room: Room, label: &str, bars: &[Bar]) -> String {
    let (left, right) = margins(room, bars.iter().map(|bar| (bar.name.as_str(), bar.text.as_str())));
    let bottom = TOP + ROW * bars.len() as f64;
    let mut svg = Svg::new(room.width, bottom + FOOT, label);
    let longest = bars.iter().map(|bar| bar.band.map_or(bar.value, |band| band.1)).fold(0.0, f64::max);
    let scale = Scale::linear(0.0, longest, left, room.width - right);
    grid(&mut svg, &scale, bottom, room);
    for (index, bar) in bars.iter().enumerate() {
        let top = TOP + ROW * index as f64;
        let middle = top + ROW / 2.0;
        svg.text((left - 8.0, middle + 4.5), Anchor::End, "name", &clip(&bar.name, left - 10.0));
        let end = scale.place(bar.value);
        svg.rect((left, top + 5.0), (end - left, ROW - 10.0), "c0", &format!("{}: {}", bar.name, bar.text));
        let mut reach = end;
        if let Some((low, high)) = bar.band {
            let (low, high) = (scale.place(low), scale.place(high));
            svg.line((low, middle), (high, middle), "whisker");
            svg.line((low, middle - 5.0), (low, middle + 5.0), "whisker");
            svg.line((high, middle - 5.0), (high, middle + 5.0), "whisker");
            reach = reach.max(high);
        }
        svg.text((reach + 6.0, middle + 4.5), Anchor::Start, "figure", &bar.text);
    }
    svg.finish()
}

/// Bars of parts, with a line at what they may fill.
pub fn draw_stacked(
    room: Room,
    label: &str,
    parts: &[String],
    stacks: &[Stack],
    limit: Option<&(f64, String)>,
) -> String {
    let (left, right) = margins(room, stacks.iter().map(|stack| (stack.name.as_str(), stack.text.as_str())));
    let head = if limit.is_some() { 18.0 } else { 0.0 };
    let row = if stacks.len() > 16 { (480.0 / stacks.len() as f64).max(9.0) } else { ROW };
    let bottom = TOP + head + row * stacks.len() as f64;
    let mut svg = Svg::new(room.width, bottom + FOOT, label);
    let sum = |stack: &Stack| stack.values.iter().filter(|value| **value > 0.0).sum::<f64>();
    let longest = stacks.iter().map(sum).fold(limit.map_or(0.0, |limit| limit.0), f64::max);
    let scale = Scale::linear(0.0, longest, left, room.width - right);
    grid(&mut svg, &scale, bottom, room);
    for (index, stack) in stacks.iter().enumerate() {
        let top = TOP + head + row * index as f64;
        let middle = top + row / 2.0;
        let gap = (row / 6.0).min(5.0);
        if row >= 14.0 || index % 4 == 0 {
            svg.text((left - 8.0, middle + 4.5), Anchor::End, "name", &clip(&stack.name, left - 10.0));
        }
        let mut reach = 0.0;
        for (at, value) in stack.values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
            let (from, to) = (scale.place(reach), scale.place(reach + value));
            reach += value;
            let part = parts.get(at).map_or("", String::as_str);
            let title = format!("{}, {part}: {}", stack.name, tick(*value));
            svg.rect((from, top + gap), (to - from, row - 2.0 * gap), &format!("{} cut", colour(at)), &title);
            if row >= 20.0 && to - from > text_width(part) + 8.0 {
                svg.text(((from + to) / 2.0, middle + 4.5), Anchor::Middle, "inside", part);
            }
        }
        if row >= 14.0 {
            svg.text((scale.place(reach) + 6.0, middle + 4.5), Anchor::Start, "figure", &stack.text);
        }
    }
    if let Some((value, name)) = limit {
        let x = scale.place(*value);
        svg.line((x, TOP + head - 2.0), (x, bottom), "limit");
        svg.text((x - 4.0, TOP + 11.0), Anchor::End, "limit-name", &clip(name, x - 8.0));
    }
    svg.finish()
}
