//! `supernode compare`.

use crate::common::{AvailableArgs, CatalogArgs, Failure, SiteArgs, print, print_json};
use crate::page::PageArgs;
use crate::plan_serve::{JobArgs, quiet_watch, warn_of_support};
use supernode::{Answer, ServingJob};

/// What is compared if nothing is named.
const USUAL: [&str; 5] = ["cloudmatrix384", "gb200-nvl72", "h20-8", "h800-8", "h200-8"];

/// The same model and job on several systems with as many chips of each: what `plan serve` finds on each.
///
/// Without arguments: DeepSeek-R1, 4K in and 1K out at 50 ms per token, on Chinese and American systems. To be quick, no
/// draft tokens, pipeline stages or token budgets beside the engine's own are considered unless they are asked for.
#[derive(clap::Args)]
pub struct Args {
    /// Systems to compare, by catalog key; with the region whose prices it pays behind an @ where that is not --region, for
    /// example h20-8@cn [default: cloudmatrix384 gb200-nvl72 h20-8 h800-8 h200-8, or the usual systems of --chip].
    #[arg(value_name = "SYSTEM")]
    systems: Vec<String>,
    /// The same as a flag, as other commands have it; behind those above.
    #[arg(long, value_name = "KEY,..", value_delimiter = ',')]
    system: Vec<String>,
    /// Chips to compare: each in each of the systems instead of its own, or in its usual one if no system is named.
    #[arg(long, value_name = "KEY,..", value_delimiter = ',')]
    chip: Vec<String>,
    /// Hugging Face id of a built-in model, or the path of a config.json.
    #[arg(long, value_name = "ID", default_value = "deepseek-ai/DeepSeek-R1")]
    model: String,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    available: AvailableArgs,
    /// Chips (packages) of each system to use at most; as many as the largest of them has by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    chips: Option<u32>,
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
    let job = ServingJob { chip: args.chip.clone(), ..args.job.job(&args.model) };
    let usual = || USUAL.map(String::from).to_vec();
    let given: Vec<String> = args.systems.iter().chain(&args.system).cloned().collect();
    let named = !given.is_empty() || !args.chip.is_empty();
    let systems = if named { given } else { usual() };
    let systems = args.available.of(session.catalog(), &systems)?;
    let entries = supernode::compare(&session, &job, &systems, args.chips, &quiet_watch())?;
    let show = || if args.json { print_json(&entries.document()) } else { print(&entries.text()) };
    let setting = page.setting(session.catalog(), Some(session.site()), Some(&args.site));
    page.deliver(|| report::compare_document(&entries, &setting), args.json, show)?;
    for plan in entries.iter().filter_map(|entry| entry.plan.as_ref().ok()) {
        warn_of_support(session.catalog(), &args.model, plan.best())?;
    }
    if entries.iter().all(|entry| entry.plan.is_err()) {
        return Err(Failure::No("no system can do this job".to_owned()));
    }
    Ok(())
}
