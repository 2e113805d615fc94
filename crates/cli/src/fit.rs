//! `supernode fit`.

use crate::common::{CatalogArgs, Failure, print, print_json};
use crate::page::PageArgs;
use supernode::{Answer, FitRequest};

/// Whether a model runs on a machine: which engines, formats and features, how long a context, and what a move asks for.
///
/// The answer is what the engines' own support matrices say, each with its date. What nobody says is untested.
#[derive(clap::Args)]
pub struct Args {
    /// Hugging Face id of a built-in model, or the path of a config.json.
    #[arg(value_name = "MODEL", required_unless_present = "named")]
    model: Option<String>,
    /// The same as a flag, as other commands have it.
    #[arg(long = "model", value_name = "ID", conflicts_with = "model")]
    named: Option<String>,
    /// Catalog key or alias of the system, or of a chip.
    #[arg(long, visible_alias = "chip", value_name = "KEY")]
    system: String,
    /// Only this engine.
    #[arg(long, value_name = "KEY")]
    engine: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let page = args.page.open()?;
    let session = args.catalog.session_in(None)?;
    let model = args.model.clone().or_else(|| args.named.clone()).unwrap_or_default();
    let request = FitRequest { model, system: args.system.clone(), engine: args.engine.clone() };
    let fit = supernode::fit(&session, &request)?;
    let setting = page.setting(session.catalog(), None, None);
    let show = || if args.json { print_json(&fit.document()) } else { print(&fit.report(&setting).text()) };
    page.deliver(|| fit.report(&setting), args.json, show)?;
    if fit.is_refused() {
        return Err(Failure::No(format!(
            "no engine runs {} there, say the engines themselves",
            request.model
        )));
    }
    Ok(())
}
