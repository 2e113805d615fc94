//! One operator row in full: what was measured, what is predicted, and what the prediction rests on.

use crate::table;
use calibration::ops::{Estimate, Prediction};
use calibration::stats::Z80;
use cost::kernels::KernelSet;
use std::fmt::Write;
use units::Seconds;

/// Shape and evidence on one line.
pub fn operator_line(row: &Prediction) -> String {
    let evidence = row.predicted.as_ref().map_or_else(ToString::to_string, |estimate| {
        format!("{}, +-{:.0} %", estimate.origin, 100.0 * Z80 * estimate.sigma)
    });
    format!("{} {}, shape {}: {evidence}", row.family, validate::set_label(&row.key), row.shape)
}

/// Everything about a row.
pub fn operator_text(row: &Prediction) -> String {
    let mut text = format!(
        "{} {}\nshape     {}\nmeasured  {}\n",
        row.family,
        validate::set_label(&row.key),
        row.shape,
        row.measured
    );
    match &row.predicted {
        Err(reason) => {
            let _ = writeln!(text, "predicted nothing: {reason}");
        }
        Ok(estimate) => text.push_str(&estimate_text(row, estimate)),
    }
    text
}

fn estimate_text(row: &Prediction, estimate: &Estimate) -> String {
    let spread = (Z80 * estimate.sigma).exp();
    let mut text = format!(
        "predicted {}  (80 %: {} to {}), {:+.1} % of measured\nevidence  {}; this shape was {}\n",
        estimate.time,
        Seconds::new(estimate.time.get() / spread),
        Seconds::new(estimate.time.get() * spread),
        100.0 * (estimate.time / row.measured - 1.0),
        estimate.origin,
        if row.held_out { "kept out of the fit" } else { "fitted" },
    );
    if let Some((set, form)) = &estimate.basis {
        let _ = writeln!(
            text,
            "form      {} gives {form}, the residual grid {:+.1} %",
            set.form,
            100.0 * (estimate.time / *form - 1.0)
        );
        text.push_str(&set_text(set));
    }
    text
}

fn set_text(set: &KernelSet) -> String {
    let structure: Vec<String> =
        set.structure.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let mut text =
        format!("structure {}\nfitted on {} rows ({})\n", structure.join(", "), set.rows, set.data);
    let rows = set.params.iter().map(|(name, value)| {
        let spread = set.spread.get(name).map_or("-".to_owned(), |sd| format!("{:.0} %", 100.0 * sd));
        let pinned = if set.pinned.contains(name) { "at a bound" } else { "" };
        vec![name.clone(), format!("{value:.4e}"), spread, pinned.to_owned()]
    });
    let _ = write!(text, "\n{}", table(&["coefficient", "value", "spread", ""], rows));
    text
}
