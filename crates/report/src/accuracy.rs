//! `docs/accuracy.md`: what the shipped coefficients are held to, and where not to trust them.

mod distrust;
mod operators;
mod rows;

use std::fmt::Write;
use validate::Accuracy;

/// The document. Everything in it is measured by the run that writes it, except the errors of studies, which stand in the
/// kernel profiles beside the coefficients.
pub fn accuracy_markdown(accuracy: &Accuracy) -> String {
    let mut text = String::from(INTRODUCTION);
    for table in &accuracy.serving {
        let apart = if table.apart { " (no fit may use it)" } else { "" };
        let _ = write!(text, "\n## Serving: `{}`{apart}\n\n{}", table.name, rows::serving(table));
    }
    for (name, rows) in &accuracy.training {
        let _ = write!(text, "\n## Training: `{name}`\n\n{}", rows::training(rows));
    }
    let _ = write!(text, "\n## Operators\n\n{}", operators::sets(&accuracy.operators));
    let _ = write!(
        text,
        "\n## Operators carried to rows, sizes, shapes and chips not fitted\n\n{}",
        operators::carried(&accuracy.carried)
    );
    let _ = write!(text, "\n## A chip without data\n\n{}", operators::unmeasured(accuracy));
    let _ = write!(text, "\n## Published figures\n\n{}", rows::published(&accuracy.published));
    let _ = write!(text, "\n## Where not to trust it\n\n{}", distrust::distrust(accuracy));
    text
}

const INTRODUCTION: &str = "# How accurate it is

Written by `supernode accuracy --data DIR --published validation --out docs/accuracy.md`; `--check docs/accuracy.md` says whether it
is still true. Errors are |predicted / measured - 1|; *bias* is the mean of predicted / measured - 1, positive where the prediction
is too high; *inside* is the share of figures inside the stated 80 % band.

*Fitted* rows were available to fits, *held out* rows were not: groups of serving rows (system, model, engine, mode), groups of
training rows (source, system, model), and one operator shape in five, each chosen by a hash.
";

/// A Markdown table.
fn markdown(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", header.join(" | "), " --- |".repeat(header.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

/// A fraction in percent.
fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A signed fraction in percent.
fn signed(share: f64) -> String {
    format!("{:+.1} %", 100.0 * share)
}
