//! Charts as inline SVG behind one small interface: what is to be seen is data, where it is drawn is decided here.
//!
//! A chart is drawn twice, for wide and for narrow places, so that its words keep their size from a telephone to a wall; a
//! page shows the one that fits.

mod bars;
mod heat;
mod lanes;
mod plot;
pub(crate) mod scale;
pub(crate) mod svg;
mod tornado;

pub use bars::{Bar, Stack};
pub use heat::Heat;
pub use lanes::{Lane, MOST as MOST_STRETCHES, Stretch};
pub use plot::{Curve, Dot, Limit, Occurrence, PlotAxis, Style};
pub use tornado::Swing;

use svg::escape;

/// Colours that charts take in turn.
const COLOURS: usize = 10;

/// The class of the series at `index`.
fn colour(index: usize) -> String {
    format!("c{}", index % COLOURS)
}

/// What is drawn.
pub enum Drawing {
    /// A bar per name, lying, each with its band as whiskers.
    Bars(Vec<Bar>),
    /// Bars made of parts; the capacity they may fill is a line.
    Stacked {
        /// Names of the parts.
        parts: Vec<String>,
        /// The bars.
        stacks: Vec<Stack>,
        /// What they may fill, and what that is called.
        limit: Option<(f64, String)>,
    },
    /// Lines and dots over two axes.
    Plot {
        /// Across.
        x: PlotAxis,
        /// Up.
        y: PlotAxis,
        /// What is drawn.
        curves: Vec<Curve>,
        /// Lines to be held against.
        limits: Vec<Limit>,
        /// What happened, as marks on the axis across.
        events: Vec<Occurrence>,
    },
    /// Cells coloured by a figure.
    Heat(Heat),
    /// Who was busy when, a lane each.
    Lanes {
        /// Unit of time.
        unit: String,
        /// Names of the groups that stretches are coloured by.
        groups: Vec<String>,
        /// The lanes.
        lanes: Vec<Lane>,
    },
    /// How far an answer moves with each of its figures.
    Tornado {
        /// The answer as it is.
        base: f64,
        /// The figures, the one that moves it most first.
        swings: Vec<Swing>,
    },
}

/// A chart with what it says.
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// In which unit; empty where the axes say it.
    pub unit: String,
    /// What else to know to read it.
    pub note: String,
    /// What is drawn.
    pub kind: Drawing,
}

/// Room for a drawing.
#[derive(Clone, Copy)]
struct Room {
    width: f64,
    label: &'static str,
}

const WIDE: Room = Room { width: 720.0, label: "wide" };
const NARROW: Room = Room { width: 340.0, label: "narrow" };

impl Chart {
    /// A chart of a kind.
    pub fn new(title: impl Into<String>, unit: impl Into<String>, kind: Drawing) -> Self {
        Self { title: title.into(), unit: unit.into(), note: String::new(), kind }
    }

    /// With what else to know to read it.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Whether there is nothing to draw; an empty chart is left out of a page.
    pub fn is_empty(&self) -> bool {
        match &self.kind {
            Drawing::Bars(bars) => bars.iter().all(|bar| !bar.value.is_finite()),
            Drawing::Stacked { stacks, .. } => {
                stacks.iter().all(|stack| stack.values.iter().all(|value| *value <= 0.0))
            }
            Drawing::Plot { curves, .. } => curves.iter().all(|curve| curve.dots.is_empty()),
            Drawing::Heat(heat) => heat.rows.iter().all(|(_, cells)| cells.iter().all(Option::is_none)),
            Drawing::Lanes { lanes, .. } => lanes.iter().all(|lane| lane.stretches.is_empty()),
            Drawing::Tornado { swings, .. } => swings.is_empty(),
        }
    }

    /// The figure of a page.
    pub fn html(&self) -> String {
        let unit = if self.unit.is_empty() {
            String::new()
        } else {
            format!(" <span class=\"unit\">{}</span>", escape(&self.unit))
        };
        let mut out = format!("<figure><figcaption>{}{unit}</figcaption>", escape(&self.title));
        let legend = self.legend();
        if !legend.is_empty() {
            out.push_str("<p class=\"legend\">");
            for (class, name) in legend {
                out += &format!("<span><i class=\"{class}\"></i>{}</span> ", escape(&name));
            }
            out.push_str("</p>");
        }
        for room in [WIDE, NARROW] {
            out += &format!("<div class=\"{}\">{}</div>", room.label, self.draw(room));
        }
        if !self.note.is_empty() {
            out += &format!("<p class=\"note\">{}</p>", escape(&self.note));
        }
        out + "</figure>\n"
    }

    fn draw(&self, room: Room) -> String {
        let label = &self.title;
        match &self.kind {
            Drawing::Bars(bars) => bars::draw(room, label, bars),
            Drawing::Stacked { parts, stacks, limit } => {
                bars::draw_stacked(room, label, parts, stacks, limit.as_ref())
            }
            Drawing::Plot { x, y, curves, limits, events } => {
                plot::PlotFrame { room, label, x, y }.draw(curves, limits, events)
            }
            Drawing::Heat(heat) => heat.draw(room, label),
            Drawing::Lanes { unit, groups, lanes } => lanes::draw(room, label, unit, groups, lanes),
            Drawing::Tornado { base, swings } => tornado::draw(room, label, *base, swings),
        }
    }

    /// What the colours mean, where the drawing does not say it itself.
    fn legend(&self) -> Vec<(String, String)> {
        let numbered = |names: Vec<&String>| {
            names.into_iter().enumerate().map(|(index, name)| (colour(index), name.clone())).collect()
        };
        match &self.kind {
            Drawing::Stacked { parts, .. } => numbered(parts.iter().collect()),
            Drawing::Lanes { groups, .. } => numbered(groups.iter().collect()),
            Drawing::Plot { curves, .. } if curves.len() > 1 => {
                numbered(curves.iter().map(|curve| &curve.name).collect())
            }
            _ => Vec::new(),
        }
    }
}
