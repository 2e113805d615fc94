//! The `supernode` command: flags in, library calls, text out.

mod accuracy;
mod calibrate;
mod calibrate_training;
mod catalog;
mod cluster;
mod common;
mod compare;
mod doctor;
mod estimate;
mod export;
mod fit;
mod guide;
mod help;
mod init;
mod interrupt;
mod launch;
mod match_chips;
mod model;
#[cfg(feature = "live")]
mod observe;
mod own;
mod page;
mod plan_serve;
mod plan_train;
mod point;
mod progress;
mod second_source;
mod shell;
mod simulate;
mod sweep;
mod train;
#[cfg(feature = "live")]
mod up;
mod validate;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

/// An AI chip cluster in software: serve, train, plan and compare on chips you do not have.
#[derive(Parser)]
#[command(name = "supernode", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    /// Let tables be as wide as they are, whatever the terminal.
    #[arg(long, global = true, help_heading = "Output")]
    wide: bool,
    /// Let tables fit so many columns; by default those of the terminal, and any number where output goes elsewhere.
    #[arg(long, global = true, value_name = "COLUMNS", help_heading = "Output", conflicts_with = "wide",
        value_parser = clap::value_parser!(u16).range(20..))]
    width: Option<u16>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The same model and job on several systems, each with its best plan.
    Compare(compare::Args),
    /// One deployment's steady state: latency, throughput, memory, power, cost.
    Estimate(Box<estimate::Args>),
    /// Traffic through a cluster, request by request, in virtual time.
    Simulate(Box<simulate::Args>),
    /// A cluster behind an OpenAI-compatible server, in wall time.
    #[cfg(feature = "live")]
    Up(Box<up::Args>),
    /// The decisions of an input log once more, in virtual time.
    #[cfg(feature = "live")]
    Replay(up::ReplayArgs),
    /// A key for a tenant of `up`.
    #[cfg(feature = "live")]
    Keys(up::KeysArgs),
    /// What the clients of a real endpoint see, as a row to validate and a trace to simulate.
    #[cfg(feature = "live")]
    Observe(Box<observe::Args>),
    /// Jobs, services and tenants on one cluster under one or several schedulers.
    Cluster(Box<cluster::Args>),
    /// A grid or a random design over a job, on all cores, resumable.
    Sweep(sweep::Args),
    /// What a model is made of: parameters, cache and arithmetic per token.
    Model(model::Args),
    /// Chips, systems and engines with the source of every figure.
    Catalog(catalog::Args),
    /// A chip's figures against published export-control thresholds.
    ExportRules(catalog::ExportRulesArgs),
    /// Fit coefficients to measurements.
    Calibrate(calibrate::Args),
    /// Step time, memory and cost of a training job.
    Train(Box<train::Args>),
    /// Search for the best plan.
    #[command(subcommand)]
    Plan(PlanCommand),
    /// A serving plan as launch files of an engine or orchestrator.
    Export(export::Args),
    /// What a chip must be to do a job as well as another.
    Match(Box<match_chips::Args>),
    /// Hold predictions to measured rows.
    Validate(validate::Args),
    /// How accurate the shipped coefficients are, as a document, and whether they got worse.
    Accuracy(accuracy::Args),
    /// Whether a model runs on a machine: engines, formats, features, context.
    Fit(fit::Args),
    /// What a machine costs to own, against renting and against an API.
    Own(Box<own::Args>),
    /// What a lost supplier costs, and a fleet that stands the loss.
    SecondSource(Box<second_source::Args>),
    /// From a question to the command that answers it.
    Guide(guide::Args),
    /// A commented file to begin with: scenario, job, chip, sweep, cluster.
    Init(init::Args),
    /// What is missing on this machine for up, Python and PDF.
    Doctor(doctor::Args),
    /// Completions for a shell.
    Completions(shell::CompletionsArgs),
    /// Manual pages.
    Man(shell::ManArgs),
}

/// The names of all flags there are.
fn flags(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(clap::Arg::get_long).map(str::to_owned);
    own.chain(command.get_subcommands().flat_map(flags)).collect()
}

/// What can be planned.
#[derive(Subcommand)]
enum PlanCommand {
    /// The best deployment that serves a model within latency limits, aggregated or disaggregated.
    Serve(Box<plan_serve::Args>),
    /// The best way to cut a training job, over every size that goes.
    Train(Box<plan_train::Args>),
}

fn main() -> ExitCode {
    let mut next = None;
    let result = launch::judged(run(&mut next));
    let refused = matches!(result, Err(common::Failure::No(_)));
    let answered = refused || result.is_ok();
    let code = common::exit(result, &flags(&whole()));
    if let Some(path) = next.filter(|_| answered) {
        hint(&path, refused);
    }
    code
}

/// Runs the command, whose path is left in `path` so that what to try next can be said when all is said.
fn run(path: &mut Option<String>) -> Result<(), common::Failure> {
    let command = whole();
    let args = launch::expand(std::env::args_os().collect(), &command)?;
    let matches = command.get_matches_from(args);
    *path = Some(path_of(&matches));
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    report::fit_tables(columns(&cli));
    let waiting = progress::Waiting::begin();
    let result = answer(cli.command);
    drop(waiting);
    result
}

/// The command with its groups and examples.
fn whole() -> clap::Command {
    help::dress(launch::with_serving(Cli::command()))
}

/// The columns that tables have to fit.
fn columns(cli: &Cli) -> Option<usize> {
    let terminal = console::Term::stdout();
    let own = terminal.is_term().then(|| usize::from(terminal.size().1));
    if cli.wide { None } else { cli.width.map(usize::from).or(own) }
}

/// The names of a command and of those above it.
fn path_of(matches: &clap::ArgMatches) -> String {
    let mut path = Vec::new();
    let mut at = matches;
    while let Some((name, deeper)) = at.subcommand() {
        path.push(name);
        at = deeper;
    }
    path.join(" ")
}

/// Says on the error stream what to try next, after an answer or after a no.
fn hint(path: &str, refused: bool) {
    let no = refused.then(|| help::after_no(path)).flatten();
    if let Some(next) = no.or_else(|| help::next(path)) {
        let _ = writeln!(std::io::stderr(), "next: {next}");
    }
}

fn answer(command: Command) -> Result<(), common::Failure> {
    match command {
        Command::Compare(args) => compare::run(&args),
        Command::Estimate(args) => estimate::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        #[cfg(feature = "live")]
        Command::Up(args) => up::run(&args),
        #[cfg(feature = "live")]
        Command::Replay(args) => up::run_replay(&args),
        #[cfg(feature = "live")]
        Command::Keys(args) => up::run_keys(&args),
        #[cfg(feature = "live")]
        Command::Observe(args) => observe::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Model(args) => model::run(&args),
        Command::Catalog(args) => catalog::run(&args),
        Command::ExportRules(args) => catalog::run_export_rules(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Plan(PlanCommand::Serve(args)) => plan_serve::run(&args),
        Command::Plan(PlanCommand::Train(args)) => plan_train::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Match(args) => match_chips::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Accuracy(args) => accuracy::run(&args),
        Command::Fit(args) => fit::run(&args),
        Command::Own(args) => own::run(&args),
        Command::SecondSource(args) => second_source::run(&args),
        Command::Guide(args) => guide::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => shell::run_completions(&args, whole()),
        Command::Man(args) => shell::run_man(&args, whole()),
    }
}
