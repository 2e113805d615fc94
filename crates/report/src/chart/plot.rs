//! Lines and dots over two axes, with limits as lines and events as marks.

use super::scale::Scale;
use super::svg::{Anchor, Svg, clip, text_width};
use super::{Room, colour};

/// An axis.
#[derive(Debug, Clone)]
pub struct PlotAxis {
    /// What it counts, with its unit.
    pub name: String,
    /// Whether equal distances are equal factors.
    pub log: bool,
    /// Whether it begins at nought.
    pub zero: bool,
}

impl PlotAxis {
    /// From nought up.
    pub fn from_zero(name: impl Into<String>) -> Self {
        Self { name: name.into(), log: false, zero: true }
    }

    /// In equal factors.
    pub fn log(name: impl Into<String>) -> Self {
        Self { name: name.into(), log: true, zero: false }
    }
}

/// One point.
#[derive(Debug, Clone, Default)]
pub struct Dot {
    /// Across and up.
    pub at: (f64, f64),
    /// Band of the figure that goes up.
    pub band: Option<(f64, f64)>,
    /// Shown where the pointer rests.
    pub title: String,
    /// Place of the page it leads to.
    pub link: Option<String>,
}

impl From<(f64, f64)> for Dot {
    fn from(at: (f64, f64)) -> Self {
        Self { at, ..Self::default() }
    }
}

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A line.
    Line,
    /// A thin line that others are held against.
    Thin,
    /// Dots.
    Dots,
    /// Large dots.
    Marks,
}

/// Points of one name.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Its name.
    pub name: String,
    /// How it is drawn.
    pub style: Style,
    /// The points, in the order in which a line goes through them.
    pub dots: Vec<Dot>,
}

impl Curve {
    /// A line through points.
    pub fn line(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self::of(name, Style::Line, points)
    }

    /// Points drawn in a style.
    pub fn of(name: impl Into<String>, style: Style, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), style, dots: points.into_iter().map(Dot::from).collect() }
    }
}

/// A line that figures are held against.
#[derive(Debug, Clone)]
pub struct Limit {
    /// What it is.
    pub name: String,
    /// Where it is.
    pub value: f64,
    /// Whether it is a figure of the axis across.
    pub across: bool,
}

/// What happened at one place of the axis across.
#[derive(Debug, Clone)]
pub struct Occurrence {
    /// When.
    pub at: f64,
    /// What, in short: it is written beside the mark where there is room.
    pub name: String,
    /// Whether something was lost by it.
    pub bad: bool,
}

/// Where a plot is drawn.
pub struct PlotFrame<'a> {
    /// The room.
    pub(super) room: Room,
    /// Its name, to be read aloud.
    pub label: &'a str,
    /// Across.
    pub x: &'a PlotAxis,
    /// Up.
    pub y: &'a PlotAxis,
}

const TOP: f64 = 26.0;
const FOOT: f64 = 44.0;

fn scale(axis: &PlotAxis, figures: impl Iterator<Item = f64>, from: f64, to: f64, ends: bool) -> Scale {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for figure in figures.filter(|figure| figure.is_finite() && (!axis.log || *figure > 0.0)) {
        low = low.min(figure);
        high = high.max(figure);
    }
    match axis {
        PlotAxis { log: true, .. } => Scale::log(low, high, from, to),
        PlotAxis { zero: true, .. } if ends => Scale::exact(0.0, high, from, to),
        PlotAxis { zero: true, .. } => Scale::linear(0.0, high, from, to),
        _ => Scale::linear(low, high, from, to),
    }
}

impl PlotFrame<'_> {
    /// The drawing.
    pub fn draw(&self, curves: &[Curve], limits: &[Limit], events: &[Occurrence]) -> String {
        let (width, wide) = (self.room.width, self.room.width > 500.0);
        let height = if wide { 330.0 } else { 260.0 };
        let dots = || curves.iter().flat_map(|curve| curve.dots.iter());
        let of = |across: bool| limits.iter().filter(move |limit| limit.across == across).map(|l| l.value);
        let (left, right, bottom) = (58.0, width - 14.0, height - FOOT);
        let lines = curves.iter().any(|curve| curve.style == Style::Line);
        let x = scale(self.x, dots().map(|dot| dot.at.0).chain(of(true)), left, right, lines);
        let banded = dots().flat_map(|dot| [dot.at.1, dot.band.map_or(dot.at.1, |band| band.1)]);
        let y = scale(self.y, banded.chain(of(false)), bottom, TOP, false);
        let mut svg = Svg::new(width, height, self.label);
        self.axes(&mut svg, &x, &y, (left, right, bottom), wide);
        occurrences(&mut svg, &x, events, bottom, wide);
        for (index, curve) in curves.iter().enumerate() {
            draw_curve(&mut svg, &x, &y, curve, &colour(index));
        }
        for limit in limits {
            let name = clip(&limit.name, right - left);
            if limit.across {
                let at = x.place(limit.value);
                svg.line((at, TOP), (at, bottom), "limit");
                let over = at + text_width(&name) + 6.0 > right;
                let (place, anchor) = if over { (at - 5.0, Anchor::End) } else { (at + 5.0, Anchor::Start) };
                svg.text((place, TOP + 12.0), anchor, "limit-name", &name);
            } else {
                let at = y.place(limit.value);
                svg.line((left, at), (right, at), "limit");
                svg.text((right - 2.0, at - 5.0), Anchor::End, "limit-name", &name);
            }
        }
        svg.finish()
    }

    fn axes(&self, svg: &mut Svg, x: &Scale, y: &Scale, (left, right, bottom): (f64, f64, f64), wide: bool) {
        for (mark, text) in y.marks(5) {
            let at = y.place(mark);
            svg.line((left, at), (right, at), "grid");
            svg.text((left - 7.0, at + 4.5), Anchor::End, "tick", &text);
        }
        let mut free = f64::NEG_INFINITY;
        for (mark, text) in x.marks(if wide { 8 } else { 4 }) {
            let at = x.place(mark);
            svg.line((at, bottom), (at, bottom + 4.0), "axis");
            let half = text_width(&text) / 2.0;
            if at - half > free {
                let inside = at.min(self.room.width - half - 1.0);
                svg.text((inside, bottom + 18.0), Anchor::Middle, "tick", &text);
                free = at + half + 6.0;
            }
        }
        svg.line((left, bottom), (right, bottom), "axis");
        svg.text((2.0, 14.0), Anchor::Start, "axis-name", &clip(&self.y.name, right - 4.0));
        svg.text((right, bottom + 36.0), Anchor::End, "axis-name", &clip(&self.x.name, right - 4.0));
    }
}

/// Marks of what happened; names are written where they do not run into one another.
fn occurrences(svg: &mut Svg, x: &Scale, events: &[Occurrence], bottom: f64, wide: bool) {
    let mut free = f64::NEG_INFINITY;
    for event in events {
        let at = x.place(event.at);
        let class = if event.bad { "event bad" } else { "event" };
        svg.line((at, TOP), (at, bottom), class);
        svg.shape(
            &[(at, bottom), (at - 4.5, bottom + 8.0), (at + 4.5, bottom + 8.0)],
            if event.bad { "mark bad" } else { "mark" },
        );
        let width = text_width(&event.name);
        if wide && at > free {
            let end = x.place(x.ends().1);
            let over = at + width + 4.0 > end;
            let (place, anchor) = if over { (at - 4.0, Anchor::End) } else { (at + 4.0, Anchor::Start) };
            svg.text((place, TOP - 4.0), anchor, "event-name", &event.name);
            free = at + width + 12.0;
        }
    }
}

fn draw_curve(svg: &mut Svg, x: &Scale, y: &Scale, curve: &Curve, colour: &str) {
    let place = |dot: &Dot| (x.place(dot.at.0), y.place(dot.at.1));
    match curve.style {
        Style::Line | Style::Thin => {
            let points: Vec<(f64, f64)> = curve.dots.iter().map(place).collect();
            let class = if curve.style == Style::Line { "line" } else { "thin" };
            svg.path(&points, &format!("{class} {colour}"));
        }
        Style::Dots | Style::Marks => {
            let radius = if curve.style == Style::Dots { 3.5 } else { 6.5 };
            for dot in &curve.dots {
                let (across, up) = place(dot);
                if let Some((low, high)) = dot.band {
                    svg.line((across, y.place(low)), (across, y.place(high)), "whisker");
                }
                svg.dot((across, up), radius, &format!("dot {colour}"), &dot.title, dot.link.as_deref());
            }
        }
    }
}
