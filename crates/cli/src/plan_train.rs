//! `supernode plan train`.

use crate::common::Failure;
use crate::page::PageArgs;
use crate::plan_serve::quiet_watch;
use crate::train::{Asked, JobArgs, LayoutArgs, RunArgs, deliver, flags, prepare};
use supernode::{Answer, TrainingSearch};

/// The best way to cut a training job, over every size that goes. What is said of the layout stays as it is said.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    page: PageArgs,
    /// Most sequences per optimizer step, instead of an exact number: each layout takes the largest batch below it that it
    /// divides, and is judged by its time per sequence.
    #[arg(long, value_name = "N", conflicts_with = "global_batch")]
    max_global_batch: Option<u32>,
    /// time, cost (chip-hours) or energy.
    #[arg(long, value_name = "WHAT", default_value = "time", value_parser = ["time", "cost", "energy"])]
    objective: String,
    /// Allow fewer chips than given, the rest idle: the next multiples of 8, 64 and 512 ranks below.
    #[arg(long)]
    at_most: bool,
    /// Further chip counts to plan for, for the front of time against chips.
    #[arg(long, value_name = "N,N,..", value_delimiter = ',')]
    front: Vec<u32>,
    /// Layouts to list.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
}

/// Runs `plan train`.
pub fn run(args: &Args) -> Result<(), Failure> {
    let timeline = args.run.open_timeline()?;
    let page = args.page.open()?;
    let Asked { job, .. } = prepare(&args.job, &args.layout)?;
    let wanted = TrainingSearch {
        max_global_batch: args.max_global_batch,
        objective: Some(args.objective.clone()),
        at_most: args.at_most,
        front: args.front.clone(),
        top: Some(args.top),
    };
    let plan = supernode::plan_train(&job, &wanted, &args.run.long_run(), &quiet_watch())?;
    let text = if args.job.json {
        plan.json()
    } else {
        format!("{}each line above is for `supernode train {}`\n", plan.text(), flags(&job))
    };
    let words = job.words();
    let (best, step) = &plan.best;
    let catalog = args.job.catalog().load()?;
    let setting = page.setting(&catalog, Some(job.paying()), Some(args.job.site()));
    let document = || {
        let found = plan.plans.iter().flat_map(|(_, outcome)| &outcome.best);
        let spread = |job: &supernode::Prepared, found: &training::search::Found| {
            job.trained(&found.job, &found.step, &words).spread()
        };
        let rows: Vec<_> = found.map(|found| (&found.job, &found.step, spread(&job, found))).collect();
        report::plan_train_document(&rows, plan.report(), &job.trained(best, step, &words), &setting)
    };
    page.deliver(document, args.job.json, || deliver(timeline, best, step, &text))
}
