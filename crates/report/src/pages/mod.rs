//! What each command's report says.

mod compare;
mod estimate;
mod plan;
mod roofline;
mod simulate;
mod train;
mod validate;

pub use compare::compare_document;
pub use estimate::estimate_document;
pub use plan::plan_document;
pub use simulate::{Happenings, simulate_document};
pub use train::{plan_train_document, train_document};
pub use validate::validate_document;

use crate::chart::scale::digits;
use crate::page::{Document, Grid, GridCell, assumptions, references};
use crate::words::Words;
use hardware::Catalog;
use hardware::money::Site;
use planner::plan_file::Value;

/// What a report is written with beside its answer.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The words.
    pub words: &'static Words,
    /// Where figures come from.
    pub catalog: &'a Catalog,
    /// What is paid, where money is counted.
    pub site: Option<&'a Site>,
    /// The region that was asked for.
    pub region: Option<&'a str>,
    /// What a launch says that the answer does not model.
    pub launch: &'a [String],
}

impl Surroundings<'_> {
    /// Adds what was assumed and where the figures of the named entries come from.
    pub fn close<'n>(&self, document: &mut Document, names: impl IntoIterator<Item = &'n str>) {
        if let Some(site) = self.site {
            document.assumptions.extend(assumptions(self.words, site, self.region));
        }
        for lack in self.launch {
            document.assume(self.words.say("launch-lacks"), lack.clone());
        }
        document.sources = references(self.catalog, names);
    }
}

/// A figure with three digits, whole from a hundred up.
pub fn number(value: f64) -> String {
    if value.abs() >= 1000.0 { grouped(value) } else { digits(value, 3) }
}

/// A whole figure with its thousands apart.
fn grouped(value: f64) -> String {
    let whole = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0.0 { format!("-{out}") } else { out }
}

/// A figure of a plan in a cell, times `scale`.
fn figure(value: &Value, scale: f64) -> GridCell {
    let band = value.low.zip(value.high).map(|(low, high)| range(low * scale, high * scale));
    GridCell { text: number(value.value * scale), band: band.unwrap_or_default(), ..GridCell::default() }
}

/// A table of figures with their bands, one to a row.
pub(crate) fn values(words: &Words) -> Grid {
    Grid::default()
        .words(words.say("figure"))
        .figures(words.say("value"), "")
        .figures(words.say("band"), "")
        .words(words.say("unit"))
}

/// The ends of a band.
pub(crate) fn range(low: f64, high: f64) -> String {
    format!("{}–{}", number(low), number(high))
}

/// A figure of a plan that may not be known.
fn maybe(words: &Words, value: Option<&Value>) -> GridCell {
    value.map_or_else(|| words.say("unknown").into(), |value| figure(value, 1.0))
}

/// The half-width of a band as a share.
fn spread(value: &Value) -> Option<f64> {
    value.high.map(|high| high / value.value - 1.0)
}
