//! `supernode validate`.

use crate::common::{CatalogArgs, Failure, SiteArgs, print, print_json};
use crate::page::PageArgs;
use ::estimate::{Resolver, estimate};
use ::validate::{
    Contest, Fidelity, Launches, Measurements, Scored, Unscored, find, operator_id, operator_predictions,
    predict, predict_training, rank, score_serving, summarise,
};
use calibration::ops::{OpTable, Prediction};
use calibration::training::Predictor;
use hardware::Catalog;
use report::train::{TrainReport, Trained};
use std::path::PathBuf;

/// Reads a table of measurements, predicts each row and says how far off the predictions are.
#[derive(clap::Args)]
pub struct Args {
    /// Table of measurements, .csv or .csv.gz; its header tells the kind.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// File of launches, or a folder of them: what is known of how rows were launched beyond their columns, by rows
    /// (docs/validate.md). May be given several times.
    #[arg(long, value_name = "FILE")]
    launches: Vec<PathBuf>,
    /// How closed loops of serving rows are predicted: steady (by Little's law) or simulate (request by request)
    /// [default: simulate].
    #[arg(long)]
    fidelity: Option<Fidelity>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: PageArgs,
    /// Also list this many of the rows that are furthest off, with what their predictions are made of.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    worst: usize,
    /// Say instead how good the choice is that the predictions make among configurations measured for the same job.
    #[arg(long, conflicts_with_all = ["html", "pdf", "worst", "explain"])]
    ranking: bool,
    /// Explain the prediction of the row with this id instead. Operator rows have their line for an id: `line 12`.
    #[arg(long, value_name = "ID", conflicts_with_all = ["html", "worst"])]
    explain: Option<String>,
    /// Chip that operator rows were measured on, where the table has no `chip` column.
    #[arg(long)]
    chip: Option<String>,
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let page = args.page.open()?;
    let catalog = args.catalog.load()?;
    let chip = args.chip.as_ref().map(|chip| catalog.chip_or_that_of_a_system(chip)).transpose()?;
    let mut measured = Measurements::open(&args.data, chip.as_ref().map(|chip| chip.id.as_str()))?;
    if !args.launches.is_empty() && !matches!(measured, Measurements::Serving(_)) {
        let message =
            format!("--launches: {} holds no serving rows; nothing else is launched", args.data.display());
        return Err(Failure::Input(message));
    }
    for file in &args.launches {
        measured = measured.launched_as(&Launches::open(file)?);
    }
    args.refuse_unused(&measured)?;
    if args.ranking {
        return ranking(args, catalog, measured);
    }
    if let Some(id) = &args.explain {
        return print(&explain(args, &catalog, &measured, id)?);
    }
    let rows = measured.score(&catalog, &args.site.site(&catalog)?, args.fidelity())?;
    let summary = summarise(&rows);
    let worst = worst(args, &catalog, &measured, &rows)?;
    let show = || {
        if args.json {
            return print_json(&report::validate_json(&summary, &rows, &worst));
        }
        print(&report::validate_text(&summary))?;
        if !worst.is_empty() {
            print(&format!("\n{}", report::rows_text("worst rows", &worst)))?;
        }
        Ok(())
    };
    let site = args.site.site(&catalog)?;
    let setting = page.setting(&catalog, Some(&site), Some(&args.site));
    page.deliver(|| report::validate_document(&summary, &rows, &setting), args.json, show)
}

impl Args {
    fn fidelity(&self) -> Fidelity {
        self.fidelity.unwrap_or(Fidelity::Simulate)
    }

    /// Refuses flags that change nothing for rows of this kind.
    fn refuse_unused(&self, measured: &Measurements) -> Result<(), Failure> {
        let serving = matches!(measured, Measurements::Serving(_));
        let operators = matches!(measured, Measurements::Operators(_));
        let unused = [
            ("--fidelity", self.fidelity.is_some() && !serving, "it belongs to serving rows"),
            ("--chip", self.chip.is_some() && !operators, "it belongs to operator rows"),
            ("--json", self.json && self.explain.is_some(), "an explanation is text"),
        ];
        match unused.into_iter().find(|(_, given, _)| *given) {
            Some((flag, _, why)) => Err(Failure::Input(format!("{flag} has no effect here: {why}"))),
            None => Ok(()),
        }
    }
}

/// The choices that predictions make among measured configurations.
fn ranking(args: &Args, catalog: Catalog, measured: Measurements) -> Result<(), Failure> {
    let Measurements::Serving(rows) = measured else {
        return Err(Failure::Input(format!(
            "--ranking: {} holds no serving rows; only they are alternatives of one job",
            args.data.display()
        )));
    };
    let site = args.site.site(&catalog)?;
    let outcomes = predict(&Resolver::new(catalog), &rows, &site, args.fidelity());
    let rankings = Contest::ALL.map(|contest| rank(&outcomes, contest));
    if args.json {
        print_json(&report::ranking_json(&rankings))
    } else {
        print(&report::ranking_text(&rankings))
    }
}

/// The rows that are furthest off, each with what its prediction is made of.
fn worst<'a>(
    args: &Args,
    catalog: &Catalog,
    measured: &Measurements,
    rows: &'a [Scored],
) -> Result<Vec<(&'a Scored, String)>, Failure> {
    let chosen = report::worst(rows, args.worst);
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let with =
        |detail: &dyn Fn(&Scored) -> String| chosen.iter().map(|row| (*row, detail(row))).collect::<Vec<_>>();
    Ok(match measured {
        Measurements::Operators(table) => {
            let predictions = operator_predictions(table, catalog)?;
            with(&|row| {
                let family =
                    row.keys.iter().find(|(key, _)| *key == "family").map(|(_, value)| value.as_str());
                let mut found = predictions
                    .iter()
                    .filter(|found| operator_id(found.line) == row.id && Some(found.family) == family);
                found.next().map_or_else(String::new, report::operator_line)
            })
        }
        Measurements::Training(all) => {
            let predictor = Predictor::new(catalog.clone())?;
            with(&|row| {
                let Some(found) = all.iter().find(|found| found.id == row.id) else { return String::new() };
                let line = |chosen: calibration::training::Chosen| step_line(&chosen.step);
                predictor.predict(found).map_or_else(|error| error.to_string(), line)
            })
        }
        Measurements::Serving(all) => {
            let resolver = Resolver::new(catalog.clone());
            let site = args.site.site(catalog)?;
            with(&|row| {
                let Some(found) = all.iter().find(|found| found.id == row.id) else { return String::new() };
                estimate(&resolver, &found.launched(), &site)
                    .map_or_else(|error| error.to_string(), |found| report::estimate_line(&found))
            })
        }
    })
}

/// Shares of a training step.
fn step_line(step: &training::Step) -> String {
    let shares: Vec<String> = step
        .breakdown
        .iter()
        .map(|(name, time)| (name, 100.0 * (*time / step.time)))
        .filter(|(_, share)| *share >= 0.5)
        .map(|(name, share)| format!("{name} {share:.0} %"))
        .collect();
    format!("step {}: {}", step.time, shares.join(", "))
}

/// One row in full: what was measured, what is predicted, and what the prediction is made of.
fn explain(args: &Args, catalog: &Catalog, measured: &Measurements, id: &str) -> Result<String, Failure> {
    let path = args.data.display().to_string();
    match measured {
        Measurements::Operators(table) => explain_operator(catalog, table, id, path),
        Measurements::Training(rows) => {
            let predictor = Predictor::new(catalog.clone())?;
            let hint = "ids stand in the column `id`, and --worst lists some";
            let row = rows.iter().find(|row| row.id == id);
            let row = row.ok_or_else(|| Unscored { path, id: id.to_owned(), hint })?;
            let scored = predict_training(&predictor, std::slice::from_ref(row));
            let text = compared(&scored);
            let Ok(chosen) = predictor.predict(row) else { return Ok(text) };
            let profile = predictor.profile(row)?;
            let site = predictor.machine(row)?;
            let paying = args.site.site(catalog)?;
            let (job, step) = (&chosen.job, &chosen.step);
            let words = serde_json::Value::Null;
            let trained = Trained { job, step, site: &site, profile, paying, words: &words };
            Ok(format!("{text}\n{}", TrainReport::new(&trained, None).text()))
        }
        Measurements::Serving(rows) => {
            let row = find(rows, id, &path)?;
            let resolver = Resolver::new(catalog.clone());
            let site = args.site.site(catalog)?;
            let outcomes = predict(&resolver, std::slice::from_ref(row), &site, args.fidelity());
            let text = compared(&score_serving(catalog, &outcomes));
            let launched: String =
                row.launch.sources.iter().map(|from| format!("launched as in {from}\n")).collect();
            let Ok(estimate) = estimate(&resolver, &row.launched(), &site) else { return Ok(text) };
            Ok(format!("{text}\n{launched}{}", report::estimate_text(&estimate)))
        }
    }
}

fn explain_operator(catalog: &Catalog, table: &OpTable, id: &str, path: String) -> Result<String, Failure> {
    let predictions = operator_predictions(table, catalog)?;
    let parts: Vec<&Prediction> =
        predictions.iter().filter(|row| operator_id(row.line) == id || row.line.to_string() == id).collect();
    if parts.is_empty() {
        let hint =
            "operator rows have their line for an id, from `line 2`, if they hold a time of an operator";
        return Err(Unscored { path, id: id.to_owned(), hint }.into());
    }
    Ok(parts.into_iter().map(report::operator_text).collect::<Vec<_>>().join("\n"))
}

/// Predicted beside measured, or why nothing is predicted.
fn compared(rows: &[Scored]) -> String {
    let why =
        |row: &Scored| row.failure.clone().map_or_else(String::new, |why| format!("not predicted: {why}"));
    report::rows_text("row", &rows.iter().map(|row| (row, why(row))).collect::<Vec<_>>())
}
