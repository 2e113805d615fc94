//! `supernode match`.

use crate::common::{CatalogArgs, Failure, SiteArgs, print, print_json};
use crate::page::PageArgs;
use crate::plan_serve::{JobArgs, quiet_watch};
use supernode::{Answer, MatchRequest};

/// What a chip must be to do a job as well as another, each with its own best plan: the value of one figure, or the front
/// of two.
#[derive(clap::Args)]
pub struct Args {
    /// The chip whose figure is varied, by catalog key.
    #[arg(long, value_name = "KEY")]
    chip: String,
    /// The chip to be matched.
    #[arg(long, value_name = "KEY")]
    against: String,
    /// System of the first chip, instead of its usual one.
    #[arg(long, value_name = "KEY")]
    system: Option<String>,
    /// System of the second chip, instead of its usual one.
    #[arg(long, value_name = "KEY")]
    against_system: Option<String>,
    /// Chips of either; as many as the system has by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    chips: Option<u32>,
    /// One figure to solve for, or two for the front of equal performance, for example
    /// chip.hbm.bandwidth,chip.matrix.bf16.
    #[arg(long, value_name = "KEY,KEY", value_delimiter = ',', default_value = "chip.hbm.bandwidth")]
    vary: Vec<String>,
    /// Hugging Face id of a built-in model, or the path of a config.json.
    #[arg(long, value_name = "ID")]
    model: String,
    #[command(flatten)]
    job: JobArgs,
    /// Also say how likely the chip is to do as well, from what is not known of its figures and the error of predictions.
    #[arg(long)]
    odds: bool,
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
    let session = args.catalog.session(&SiteArgs::default())?;
    let request = MatchRequest {
        chip: args.chip.clone(),
        against: args.against.clone(),
        system: args.system.clone(),
        against_system: args.against_system.clone(),
        chips: args.chips,
        vary: args.vary.clone(),
    };
    let job = args.job.job(&args.model);
    let found = supernode::match_(&session, &job, &request, &quiet_watch())?;
    let odds = args.odds.then(|| supernode::odds(&session, &job, &request, &quiet_watch())).transpose()?;
    let show = || {
        if args.json {
            let mut document = found.document();
            if let Some(odds) = &odds {
                document["odds"] = odds.document();
            }
            return print_json(&document);
        }
        print(&(found.text() + &odds.as_ref().map_or_else(String::new, Answer::text)))
    };
    let setting = page.setting(session.catalog(), None, None);
    page.deliver(|| found.report(odds.as_ref(), &setting), args.json, show)?;
    if found.is_never() { Err(Failure::No(String::new())) } else { Ok(()) }
}
