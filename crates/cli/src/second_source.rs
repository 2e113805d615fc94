//! `supernode second-source`.

use crate::common::{CatalogArgs, Failure, SiteArgs, print, print_json};
use crate::page::PageArgs;
use crate::plan_serve::{JobArgs, quiet_watch};
use supernode::{Answer, SecondSourceRequest};

/// What a lost supplier costs: the same service on other machines, and a mixed fleet that stands the loss of either vendor.
#[derive(clap::Args)]
pub struct Args {
    /// Systems by catalog key or alias, the one in use first.
    #[arg(value_name = "SYSTEM", required_unless_present = "system")]
    systems: Vec<String>,
    /// The same as a flag, as other commands have it; behind those above.
    #[arg(long, value_name = "KEY,..", value_delimiter = ',')]
    system: Vec<String>,
    /// Hugging Face id of a built-in model, or the path of a config.json.
    #[arg(long, value_name = "ID", default_value = "deepseek-ai/DeepSeek-R1")]
    model: String,
    #[command(flatten)]
    job: JobArgs,
    /// Chips (packages) in use; as many as the largest of the systems has by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    chips: Option<u32>,
    /// Share of the service to be kept when one vendor's machines are gone, above 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    keep: f64,
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
    let job = args.job.job(&args.model);
    let systems = args.systems.iter().chain(&args.system).cloned().collect();
    let request = SecondSourceRequest { systems, chips: args.chips, keep: args.keep };
    let found = supernode::second_source(&session, &job, &request, &quiet_watch())?;
    let setting = page.setting(session.catalog(), Some(session.site()), Some(&args.site));
    let show =
        || if args.json { print_json(&found.document()) } else { print(&found.report(&setting).text()) };
    page.deliver(|| found.report(&setting), args.json, show)
}
