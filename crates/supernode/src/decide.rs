//! Questions of those who decide: what runs where, what it costs to own, what a lost supplier costs.

mod fit;
mod odds;
mod own;
mod second_source;

pub use fit::{EngineFit, Fit, FitRequest, fit, unsupported};
pub use odds::{Doubt, Odds, odds};
pub use own::{Own, OwnRequest, own};
pub use second_source::{SecondSource, SecondSourceRequest, Supplier, second_source};

/// The systems whose chips are sold by then, and a line for each that is left out.
///
/// # Errors
/// Names that are unknown.
pub fn available(
    catalog: &hardware::Catalog,
    systems: &[String],
    by: &hardware::Date,
) -> Result<(Vec<String>, Vec<String>), crate::Error> {
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for name in systems {
        let system = catalog.system(name.split('@').next().unwrap_or(name))?;
        let chip = catalog.chip(&system.chip)?;
        match chip.release.as_ref().map(|release| &release.value) {
            Some(release) if release <= by => kept.push(name.clone()),
            Some(release) => left_out.push(format!("{name} is left out: its chip is sold from {release}")),
            None => left_out.push(format!("{name} is left out: nobody says when its chip is sold")),
        }
    }
    Ok((kept, left_out))
}

/// A figure with three digits, its thousands apart.
fn number(value: f64) -> String {
    report::number(value)
}
