//! `supernode compare`.

use crate::common::{CatalogArgs, Failure, SiteArgs, print, print_json, write_file};
use ::estimate::{Formats, Resolver};
use planner::compare::{Job, compare};
use std::path::PathBuf;
use units::{Dtype, Seconds};

/// Without arguments: DeepSeek-R1, 4K in and 1K out at 50 ms per token, on Chinese and American systems.
#[derive(clap::Args)]
pub struct Args {
    /// Systems to compare, by catalog key.
    #[arg(value_name = "SYSTEM", default_values_t = ["cloudmatrix384", "gb200-nvl72", "h20-8", "h800-8", "h200-8"].map(String::from))]
    systems: Vec<String>,
    /// Hugging Face id of a built-in model, or the path of a config.json.
    #[arg(long, default_value = "deepseek-ai/DeepSeek-R1")]
    model: String,
    /// Prompt tokens.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    isl: u32,
    /// Output tokens.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    osl: u32,
    /// Most time per output token.
    #[arg(long, default_value = "50 ms")]
    tpot: Seconds,
    /// Most time of a prefill step.
    #[arg(long, default_value = "4 s")]
    ttft: Seconds,
    /// Engine on every system instead of each vendor's usual one.
    #[arg(long)]
    engine: Option<String>,
    /// Weights instead of the checkpoint's format.
    #[arg(long)]
    weight_dtype: Option<Dtype>,
    /// Draft tokens per step.
    #[arg(long, default_value_t = 0)]
    spec_tokens: u32,
    /// Mean share of draft tokens accepted, 0 to 1.
    #[arg(long, default_value_t = 0.7)]
    spec_accept: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Write a page with charts to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let resolver = Resolver::new(args.catalog.load()?);
    resolver.model(&args.model)?;
    for system in &args.systems {
        resolver.system(system)?;
    }
    let weight = args.weight_dtype;
    let job = Job {
        model: args.model.clone(),
        isl: args.isl,
        osl: args.osl,
        tpot: args.tpot,
        ttft: args.ttft,
        speculation: (args.spec_tokens > 0).then_some((args.spec_tokens, args.spec_accept)),
        engine: args.engine.clone(),
        formats: Formats { weight, act: weight, kv: None, moe: weight },
    };
    let entries = compare(&resolver, &job, &args.systems, &args.site.site(resolver.catalog())?);
    if let Some(file) = &args.html {
        write_file(file, &report::compare_html(&entries))?;
    }
    if args.json {
        print_json(&report::compare_json(&entries))?;
    } else {
        print(&report::compare_text(&entries))?;
    }
    if entries.iter().all(|entry| entry.plan.is_err()) {
        return Err(Failure::No("no system can do this job".to_owned()));
    }
    Ok(())
}
