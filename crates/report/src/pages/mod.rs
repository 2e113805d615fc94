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

/// Seconds from which on a time is written in seconds.
const LONG: f64 = 1.0;
/// Seconds from which on a column or an axis of times is in seconds.
const LONG_COLUMN: f64 = 10.0;

/// A time in words, in milliseconds below a second and in seconds or hours above.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        _ if seconds.abs() < LONG => format!("{} ms", number(seconds * 1e3)),
        _ if seconds.abs() < 7200.0 => format!("{} s", number(seconds)),
        _ => format!("{} h", number(seconds / 3600.0)),
    }
}

/// The unit that a column or an axis of times is in, and how many of it are a second: milliseconds, unless the longest is ten
/// seconds or more.
pub(crate) fn time_unit(seconds: impl IntoIterator<Item = f64>) -> (&'static str, f64) {
    let longest = seconds.into_iter().filter(|time| time.is_finite()).fold(0.0, f64::max);
    if longest < LONG_COLUMN { ("ms", 1e3) } else { ("s", 1.0) }
}

/// A large count as flags write it: 15T, 2.5B, 40M.
pub(crate) fn count(value: f64) -> String {
    match value.abs() {
        size if size >= 1e12 => format!("{}T", number(value / 1e12)),
        size if size >= 1e9 => format!("{}B", number(value / 1e9)),
        size if size >= 1e6 => format!("{}M", number(value / 1e6)),
        _ => number(value),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_are_not_in_milliseconds() {
        let written = [0.0123, 0.999, 1.0, 43.723, 7199.0, 7200.0, 90_000.0].map(duration);
        assert_eq!(written, ["12.3 ms", "999 ms", "1 s", "43.7 s", "7,199 s", "2 h", "25 h"]);
        assert_eq!(time_unit([0.5, 9.99]), ("ms", 1e3));
        assert_eq!(time_unit([0.5, 10.0, f64::INFINITY]), ("s", 1.0));
        assert_eq!(time_unit([]), ("ms", 1e3));
        assert_eq!([15e12, 2.5e9, 4e7, 512.0].map(count), ["15T", "2.5B", "40M", "512"]);
    }
}
