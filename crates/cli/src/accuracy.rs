//! `supernode accuracy`.

use crate::common::{Beside, CatalogArgs, Failure, SiteArgs, print, print_exactly, read_text, write_file};
use ::validate::{ERRORS_FILE, accepted_errors, collect, errors_of, errors_toml, predict_published, rises};
use std::path::PathBuf;

/// Measures the shipped coefficients: against published rows and the errors accepted for them, and, with --data, against
/// every table of measurements there is, written as a document.
#[derive(clap::Args)]
pub struct Args {
    /// Folder with published rows (tables of measurements) and the errors accepted for them.
    #[arg(long, value_name = "DIR", default_value = "validation")]
    published: PathBuf,
    /// Write the present errors of the published rows as the accepted ones.
    #[arg(long)]
    accept: bool,
    /// Folder of measurements: serving and training tables in `measured`, operator tables in `ops`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write the document to this file instead of printing it.
    #[arg(long, value_name = "FILE", requires = "data")]
    out: Option<PathBuf>,
    /// Only say whether this document is what would be written; exit code 1 if it is not.
    #[arg(long, value_name = "FILE", requires = "data", conflicts_with = "out")]
    check: Option<PathBuf>,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.data {
        Some(data) => document(args, data),
        None => published(args),
    }
}

fn published(args: &Args) -> Result<(), Failure> {
    let catalog = args.catalog.load()?;
    let site = SiteArgs::default().site(&catalog)?;
    let errors = errors_of(&predict_published(&args.published, &catalog, &site)?);
    if args.accept {
        write_file(&args.published.join(ERRORS_FILE), &errors_toml(&errors))?;
    }
    let accepted = accepted_errors(&args.published)?;
    let mut rows = Vec::new();
    for (file, found) in &errors {
        for (metric, error) in &found.metrics {
            let was = accepted.get(file).and_then(|file| file.metrics.get(metric));
            let percent = |share: f64| format!("{:.1} %", 100.0 * share);
            rows.push(vec![
                format!("{file} {metric}"),
                format!("{} of {}", found.predicted, found.rows),
                percent(error.median),
                was.map_or("-".to_owned(), |was| percent(was.median)),
                percent(error.mean),
                was.map_or("-".to_owned(), |was| percent(was.mean)),
            ]);
        }
    }
    let header = ["published rows", "predicted", "median", "accepted", "mean", "accepted"];
    print(&report::table(&header, rows))?;
    let worse: Vec<String> = rises(&accepted, &errors).iter().map(ToString::to_string).collect();
    if worse.is_empty() {
        return Ok(());
    }
    Err(Failure::No(format!(
        "predictions of published rows got worse by more than 5 %:\n{}\nif that is meant, run this with --accept",
        worse.join("\n")
    )))
}

fn document(args: &Args, data: &std::path::Path) -> Result<(), Failure> {
    let document = Beside::open(args.out.as_deref())?;
    let catalog = args.catalog.load()?;
    let site = SiteArgs::default().site(&catalog)?;
    let accuracy = collect(data, &args.published, &catalog, &site, &|name| eprintln!("reading {name}"))?;
    let text = report::accuracy_markdown(&accuracy);
    if let Some(file) = &args.check {
        let present = read_text(file)?;
        return check(&present, &text, file);
    }
    if document.is_wanted() { document.deliver(|| text, || Ok(())) } else { print_exactly(&text) }
}

fn check(present: &str, text: &str, file: &std::path::Path) -> Result<(), Failure> {
    if present == text {
        return Ok(());
    }
    let differing = present.lines().zip(text.lines()).enumerate().find(|(_, (old, new))| old != new);
    let (line, old, new) = differing.map_or((0, "", ""), |(line, (old, new))| (line + 1, old, new));
    Err(Failure::No(format!(
        "{} is not current; write it again with --out. First at line {line}:\n- {old}\n+ {new}",
        file.display()
    )))
}
