//! `supernode estimate`.

use crate::common::{CatalogArgs, Failure, SiteArgs, print, print_json};
use crate::page::PageArgs;
use crate::point::PointArgs;
use supernode::Answer;

/// Flags are named as the columns of the measurement tables.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    point: PointArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let page = args.page.open()?;
    let session = args.catalog.session(&args.site)?;
    let estimate = supernode::estimate(&session, &args.point.point)?;
    let show = || if args.json { print_json(&estimate.document()) } else { print(&estimate.text()) };
    let setting = page.setting(session.catalog(), Some(session.site()), Some(&args.site));
    page.deliver(|| report::estimate_document(&estimate, &setting), args.json, show)
}
