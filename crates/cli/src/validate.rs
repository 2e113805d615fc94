//! `supernode validate`.

use crate::common::{CatalogArgs, Failure, SiteArgs, print, print_json, write_file};
use ::estimate::{Resolver, estimate};
use ::validate::{Contest, rank, read_serving, summarise};
use ::validate::{
    Fidelity, Scored, Table, TableError, accepts, open_text, predict, predict_operators, predict_training,
};
use calibration::ops::OpTable;
use calibration::training::Predictor;
use std::path::PathBuf;

/// Reads a table of measurements, predicts each row and says how far off the predictions are.
#[derive(clap::Args)]
pub struct Args {
    /// Table of measurements, .csv or .csv.gz; its header tells the kind.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// How closed loops are predicted: steady (by Little's law) or simulate (request by request).
    #[arg(long, default_value = "simulate")]
    fidelity: Fidelity,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write a page with charts to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also list this many of the rows that are furthest off.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    worst: usize,
    /// Say instead how good the choice is that the predictions make among configurations measured for the same job.
    #[arg(long, conflicts_with_all = ["html", "worst", "explain"])]
    ranking: bool,
    /// Explain the prediction of the row with this id instead.
    #[arg(long, value_name = "ID")]
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
    let operators = OpTable::open(&args.data)?.on_chip(args.chip.as_deref());
    let rows = if accepts(&operators) {
        predict_operators(&operators, &args.catalog.load()?)?
    } else {
        let table = Table::open(&args.data)?;
        if table.has("framework") && table.has("seq_len") {
            let rows = calibration::training::read(&args.data.display().to_string(), open_text(&args.data)?)?;
            predict_training(&Predictor::new(args.catalog.load()?)?, &rows)
        } else if args.ranking {
            return ranking(args, &table);
        } else if let Some(id) = &args.explain {
            return explain(args, &table, id);
        } else {
            serving(args, &table)?
        }
    };
    let summary = summarise(&rows);
    if let Some(file) = &args.html {
        write_file(file, &report::validate_html(&summary, &rows))?;
    }
    if args.json {
        return print_json(&report::validate_json(&summary));
    }
    print(&report::validate_text(&summary))?;
    if args.worst > 0 {
        print(&format!("\n{}", report::worst_text(&rows, args.worst)))?;
    }
    Ok(())
}

fn serving(args: &Args, table: &Table) -> Result<Vec<Scored>, Failure> {
    let rows = read_serving(table)?;
    let resolver = Resolver::new(args.catalog.load()?);
    let site = args.site.site(resolver.catalog())?;
    let outcomes = predict(&resolver, &rows, &site, args.fidelity);
    Ok(outcomes.iter().map(::validate::Outcome::scored).collect())
}

/// The choices that predictions make among measured configurations.
fn ranking(args: &Args, table: &Table) -> Result<(), Failure> {
    let rows = read_serving(table)?;
    let resolver = Resolver::new(args.catalog.load()?);
    let site = args.site.site(resolver.catalog())?;
    let outcomes = predict(&resolver, &rows, &site, args.fidelity);
    let rankings = Contest::ALL.map(|contest| rank(&outcomes, contest));
    if args.json {
        print_json(&report::ranking_json(&rankings))
    } else {
        print(&report::ranking_text(&rankings))
    }
}

/// One serving row in full: what was measured, and the estimate with its breakdown.
fn explain(args: &Args, table: &Table, id: &str) -> Result<(), Failure> {
    let rows = read_serving(table)?;
    let row = rows.iter().find(|row| row.id == id).ok_or_else(|| TableError::Kind {
        path: table.path().to_owned(),
        reason: format!("no row has the id `{id}`"),
    })?;
    let resolver = Resolver::new(args.catalog.load()?);
    let site = args.site.site(resolver.catalog())?;
    let outcomes = predict(&resolver, std::slice::from_ref(row), &site, args.fidelity);
    let scored: Vec<Scored> = outcomes.iter().map(::validate::Outcome::scored).collect();
    print(&report::worst_text(&scored, 1))?;
    let estimate = estimate(&resolver, &row.point, &site)?;
    print(&format!("\n{}", report::estimate_text(&estimate)))
}
