//! `supernode cluster`.

use crate::common::{CatalogArgs, Failure, print, print_json};
use crate::interrupt::stopped;
use crate::page::{Page, PageArgs};
use ::cluster::file::{Place, parse, read_text, with_change};
use ::cluster::policy::NAMES;
use hardware::Catalog;
use jobs::{Comparison, Prepared, Side, document, json, perfetto, prepare, text};
use report::{OutputId, Outputs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use units::Seconds;

/// Jobs, services and tenants on one cluster under one or several schedulers.
#[derive(clap::Args)]
pub struct Args {
    /// Cluster file: machine, tenants, jobs, services, failures. With --trace it may be left out.
    file: Option<PathBuf>,
    /// Trace or manifests to take jobs from: Philly, openb, Alibaba instances, sacct, Kueue, Volcano; .gz is read too.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Catalog key of the system, instead of the file's.
    #[arg(long, value_name = "KEY")]
    system: Option<String>,
    /// Chips of the cluster, instead of the file's.
    #[arg(long, value_name = "N")]
    chips: Option<u32>,
    /// Policies, side by side on the same arrivals: fifo, easy, conservative, multifactor, drf, gang, las, shortest,
    /// max-min, goodput, buddy, or all.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    policy: Vec<String>,
    /// Declared limits of a trace over true durations.
    #[arg(long, value_name = "X", requires = "trace")]
    limit_factor: Option<f64>,
    /// A value of the file changed, run beside the original, for example cluster.chips=448 or tenant.research.quota=128; may
    /// be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    what_if: Vec<String>,
    /// Say why each waiting job waits at this time, for example "3 h".
    #[arg(long, value_name = "TIME")]
    why: Option<Seconds>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Folder for result.json, report.txt, and a trace per run.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Who held which chips when, for Perfetto; of the first policy.
    #[arg(long, value_name = "FILE")]
    perfetto: Option<PathBuf>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Runs `cluster`.
pub fn run(args: &Args) -> Result<(), Failure> {
    let page = args.page.open()?;
    let files = Files::open(args)?;
    let (name, original) = source(args)?;
    let catalog = args.catalog.load()?;
    let folder = args.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let keep = args.perfetto.is_some() || page.is_wanted() || args.out.is_some();
    let explain = args.why.map(Seconds::get);
    let mut first: Option<Prepared> = None;
    let mut sides: Vec<Side> = Vec::new();
    // What was interrupted is shown at once, as far as it came.
    let enough = |sides: &[Side]| !sides.is_empty() && stopped().load(Ordering::Relaxed);
    for change in std::iter::once(None).chain(args.what_if.iter().map(Some)) {
        if enough(&sides) {
            break;
        }
        let text = match change {
            None => original.clone(),
            Some(change) => with_change(&name, &original, change)?,
        };
        let label = change.map_or_else(|| name.clone(), |change| format!("{name} with {change}"));
        let mut raw = parse(&label, &text)?;
        overlay(args, &mut raw);
        let place = Place { file: label, text };
        let mut prepared = prepare(&catalog, raw, &place, folder)?;
        prepared.setup.options.stop = Some(Arc::clone(stopped()));
        for policy in policies(args, &prepared) {
            if enough(&sides) {
                break;
            }
            let mut side = prepared.run(&policy, keep, explain)?;
            if let Some(change) = change {
                side.label = format!("{policy}, {change}");
            }
            sides.push(side);
        }
        first.get_or_insert(prepared);
    }
    let Some(prepared) = first else {
        return Ok(());
    };
    say_how_it_went(&prepared, &sides);
    let broken: Vec<String> = sides
        .iter()
        .flat_map(|side| side.outcome.broken.iter().map(move |law| format!("{}: {law}", side.label)))
        .collect();
    let comparison = Comparison { prepared: &prepared, sides };
    // What has been computed is shown, whether or not it can be written.
    let written = files.write(&comparison, &page, &catalog);
    let setting = page.setting(&catalog, None, None);
    let show = || if args.json { print_json(&json(&comparison)) } else { print(&text(&comparison)) };
    page.deliver(|| document(&comparison, &setting), args.json, show)?;
    written?;
    if broken.is_empty() { Ok(()) } else { Err(Failure::No(broken.join("\n"))) }
}

/// What is to be known beside the answer.
fn say_how_it_went(prepared: &Prepared, sides: &[Side]) {
    for note in &prepared.notes {
        eprintln!("{note}");
    }
    for Side { label, outcome, .. } in sides {
        let end = Seconds::new(outcome.end);
        if outcome.stalled {
            eprintln!(
                "{label}: given up after {end}: no job ended any more, what fails undoes it; say `until`, or write checkpoints"
            );
        }
        if outcome.interrupted {
            eprintln!("{label}: stopped at {end}; what is shown is so far");
        }
    }
}

/// The file, or an empty one that the flags fill.
fn source(args: &Args) -> Result<(String, String), Failure> {
    match (&args.file, &args.trace) {
        // A file that is empty is a file all the same.
        (Some(path), _) => Ok((path.display().to_string(), read_text(path)? + "\n")),
        (None, Some(trace)) => Ok((trace.display().to_string(), String::new())),
        (None, None) => {
            Err(Failure::Input("give a cluster file, or --trace with --system or --chips".to_owned()))
        }
    }
}

fn overlay(args: &Args, raw: &mut ::cluster::file::raw::Raw) {
    if !args.policy.is_empty() {
        raw.policy = None;
    }
    if args.system.is_some() {
        raw.cluster.system.clone_from(&args.system);
    }
    if args.chips.is_some() && !args.what_if.iter().any(|change| change.starts_with("cluster.chips")) {
        raw.cluster.chips = args.chips;
    }
    if let Some(trace) = &args.trace {
        // A path on the command line is not relative to the file.
        let path = std::path::absolute(trace).unwrap_or_else(|_| trace.clone());
        raw.trace =
            Some(::cluster::file::raw::RawTrace { file: path.display().to_string(), limit_factor: None });
    }
    if let (Some(trace), Some(factor)) = (&mut raw.trace, args.limit_factor) {
        trace.limit_factor = Some(factor);
    }
}

fn policies(args: &Args, prepared: &Prepared) -> Vec<String> {
    let named = if args.policy.is_empty() {
        prepared.raw.policy.as_ref().map_or_else(|| vec!["easy".to_owned()], |policy| policy.list())
    } else {
        args.policy.clone()
    };
    if named.iter().any(|name| name == "all") { NAMES.map(str::to_owned).to_vec() } else { named }
}

/// Files that are written beside what is printed: opened before the work begins, put in place together.
struct Files {
    outputs: Outputs,
    perfetto: Option<OutputId>,
    folder: Option<(PathBuf, [OutputId; 3])>,
}

impl Files {
    fn open(args: &Args) -> Result<Self, Failure> {
        let mut outputs = Outputs::new();
        let perfetto = args.perfetto.as_deref().map(|path| outputs.open(path)).transpose()?;
        let folder = match &args.out {
            None => None,
            Some(folder) => {
                outputs.folder(folder)?;
                let mut open = |name: &str| outputs.open(&folder.join(name));
                Some((folder.clone(), [open("result.json")?, open("report.txt")?, open("report.html")?]))
            }
        };
        Ok(Self { outputs, perfetto, folder })
    }

    fn write(mut self, comparison: &Comparison<'_>, page: &Page, catalog: &Catalog) -> Result<(), Failure> {
        if let (Some(id), Some(side)) = (self.perfetto, comparison.sides.first()) {
            self.outputs.write(id, &perfetto(comparison.prepared, side))?;
        }
        if let Some((folder, [result, report, html])) = &self.folder {
            self.outputs.write(*result, &format!("{:#}\n", json(comparison)))?;
            self.outputs.write(*report, &text(comparison))?;
            let document = document(comparison, &page.setting(catalog, None, None));
            self.outputs.write(*html, &document.html())?;
            for (index, side) in comparison.sides.iter().enumerate() {
                let name = format!("{}-{}.perfetto.json", index + 1, side.outcome.policy);
                let id = self.outputs.open(&folder.join(name))?;
                self.outputs.write(id, &perfetto(comparison.prepared, side))?;
            }
        }
        Ok(self.outputs.commit()?)
    }
}
