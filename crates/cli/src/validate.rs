//! `supernode validate`.

use crate::common::{CatalogArgs, Failure, SiteArgs, print, print_json};
use ::estimate::Resolver;
use ::validate::{Fidelity, Table, predict, read_serving, summarise};
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
    /// Also list this many of the rows that are furthest off.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    worst: usize,
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let table = Table::open(&args.data)?;
    let rows = read_serving(&table)?;
    let resolver = Resolver::new(args.catalog.load()?);
    let outcomes = predict(&resolver, &rows, &args.site.site(resolver.catalog())?, args.fidelity);
    let summary = summarise(&outcomes);
    if args.json {
        return print_json(&report::validate_json(&summary));
    }
    print(&report::validate_text(&summary))?;
    if args.worst > 0 {
        print(&format!("\n{}", report::worst_text(&outcomes, args.worst)))?;
    }
    Ok(())
}
