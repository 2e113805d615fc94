//! Kernel profiles as text.

use super::profile::{KernelSet, Profile};
use super::residual;
use std::fmt::Write as _;

impl Profile {
    /// The file as text, sets in the order they are in.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "schema = {}\nchip = {}", Self::SCHEMA, quote(&self.chip));
        if !self.architecture.is_empty() {
            let _ = writeln!(text, "architecture = {}", quote(&self.architecture));
        }
        let _ = writeln!(text, "date = {}\nsource = {}", quote(&self.date), quote(&self.source));
        let _ = writeln!(text, "split = {}", quote(&self.split));
        for set in &self.sets {
            set.write(&mut text);
        }
        text
    }
}

impl KernelSet {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "\n[[set]]\nfamily = {}", quote(&self.family));
        for (key, value) in [
            ("stack", &self.stack),
            ("version", &self.version),
            ("kernel", &self.kernel),
            ("form", &self.form),
        ] {
            let _ = writeln!(text, "{key} = {}", quote(value));
        }
        let _ = writeln!(text, "weight = \"{}\"", self.precision.weight);
        let _ = writeln!(text, "activation = \"{}\"", self.precision.activation);
        let _ = writeln!(text, "rows = {}", self.rows);
        if self.held_out > 0 {
            let _ = writeln!(text, "held_out = {}", self.held_out);
        }
        let _ = writeln!(text, "data = {}", quote(&self.data));
        let _ = writeln!(text, "sigma = {}", number(self.sigma, 3));
        let _ = writeln!(text, "transfer_sigma = {}", number(self.transfer_sigma, 3));
        if self.host_bound {
            let _ = writeln!(text, "host_bound = true");
        }
        let structure = self.structure.iter().map(|(key, value)| format!("{key} = {}", quote(value)));
        let _ = writeln!(text, "structure = {}", inline(structure));
        for (key, map, digits) in [("params", &self.params, 5), ("spread", &self.spread, 2)] {
            let entries = map.iter().map(|(name, value)| format!("{name} = {}", number(*value, digits)));
            let _ = writeln!(text, "{key} = {}", inline(entries));
        }
        let pinned: Vec<String> = self.pinned.iter().map(|name| quote(name)).collect();
        let _ = writeln!(text, "pinned = [{}]", pinned.join(", "));
        let errors = self.errors.named().into_iter().filter_map(|(name, pair)| {
            pair.map(|[median, p90]| format!("{name} = [{}, {}]", number(median, 3), number(p90, 3)))
        });
        let _ = writeln!(text, "errors = {}", inline(errors));
        if !self.residual.is_empty() {
            self.write_residual(text);
        }
    }

    fn write_residual(&self, text: &mut String) {
        let names: Vec<String> = self.features.iter().map(|name| quote(name)).collect();
        let _ = writeln!(text, "features = [{}]\naxes = [", names.join(", "));
        for (axis, feature) in self.residual.axes.iter().zip(&self.residual.features) {
            let knots: Vec<String> = axis.knots.iter().map(|knot| number(knot.exp(), 5)).collect();
            let _ = writeln!(
                text,
                "  {{ name = {}, feature = {}, knots = \"{}\" }},",
                quote(&axis.name),
                names.get(*feature).map_or("", String::as_str),
                knots.join(" ")
            );
        }
        let _ = writeln!(text, "]\ngrids = [");
        for grid in &self.residual.grids {
            let axes: Vec<String> =
                grid.axes.iter().map(|axis| quote(&self.residual.axes[*axis].name)).collect();
            let row = grid.axes.last().map_or(1, |axis| self.residual.axes[*axis].knots.len());
            let values = residual::write_values(&grid.values, row);
            let _ = writeln!(text, "  {{ axes = [{}], values = \"\"\"\n{values}\"\"\" }},", axes.join(", "));
        }
        let _ = writeln!(text, "]");
    }
}

fn inline(entries: impl Iterator<Item = String>) -> String {
    let entries: Vec<String> = entries.collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

/// A number with so many significant digits that TOML reads as a float.
fn number(value: f64, digits: usize) -> String {
    let rounded: f64 = format!("{value:.*e}", digits.saturating_sub(1)).parse().unwrap_or(value);
    format!("{rounded:?}")
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
