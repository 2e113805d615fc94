//! `supernode sweep`.

use crate::common::{CatalogArgs, Failure, print};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use supernode::sweeps::{Evaluator, Plan, Status, Store, Tally, Unit};

/// Evaluates a grid or a random design over the keys of a job on all cores, and keeps the rows as Parquet.
///
/// A sweep that was stopped, by whatever means, goes on where it was when the same command is given again.
#[derive(clap::Args)]
pub struct Args {
    /// Specification (TOML): what is shared, what varies.
    #[arg(required_unless_present = "unit")]
    spec: Option<PathBuf>,
    /// Folder for the rows.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["unit", "units", "dry_run"])]
    out: Option<PathBuf>,
    /// Print how large the sweep is (and what of it is done) without evaluating anything.
    #[arg(long, conflicts_with_all = ["unit", "units"])]
    dry_run: bool,
    /// Print the units of work, one JSON object a line, to evaluate them elsewhere.
    #[arg(long, conflicts_with_all = ["out", "unit"])]
    units: bool,
    /// Evaluate the units in this file (- is standard input) and print their rows, a line each.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["spec", "out"])]
    unit: Option<PathBuf>,
    /// Evaluate on a Ray cluster: its address (`10.0.0.1:6379`, `ray://HOST:10001`), `auto` for the one this machine
    /// belongs to, or `local` to start one here. Needs Python with the packages supernode and ray.
    #[arg(long, value_name = "ADDRESS", requires = "out", conflicts_with_all = ["unit", "units", "dry_run"])]
    ray: Option<String>,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(file) = &args.unit {
        args.catalog.refuse_sets("units say which figures are replaced")?;
        if args.catalog.folder().is_some() {
            return Err(Failure::Input("--catalog has no effect here: units name their folder".to_owned()));
        }
        return evaluate_units(file);
    }
    args.catalog.load()?;
    let spec = args.spec.as_deref().unwrap_or(Path::new(""));
    let plan = Plan::read(spec, args.catalog.folder(), args.catalog.sets())?;
    match &args.out {
        _ if args.units => print_lines((0..plan.cells()).map(|cell| Ok(plan.unit(cell).line())), false),
        Some(out) if args.ray.is_some() => on_ray(args, spec, out),
        out if args.dry_run => dry_run(&plan, out.as_deref()),
        Some(out) => evaluate(&plan, out),
        None => dry_run(&plan, None),
    }
}

fn evaluate(plan: &Plan, out: &Path) -> Result<(), Failure> {
    let store = Store::open(out, plan)?;
    let done = store.done();
    if done > 0 {
        eprintln!("{done} of {} cells were there already", plan.cells());
    }
    crate::progress::quiet();
    let bar = bar(plan.cells(), done);
    // An interrupt ends the program, which loses nothing.
    let never = AtomicBool::new(false);
    let (path, tally) = supernode::sweeps::run(plan, store, &Evaluator::default(), &|| bar.inc(1), &never)?;
    bar.finish_and_clear();
    print(&summary(plan, &path, &tally))
}

/// Prints which of the packages that a sweep on Ray needs are missing.
const MISSING: &str = "import importlib.util as u\n\
print(' '.join(m for m in ('supernode', 'ray') if u.find_spec(m) is None))";

/// Hands the sweep to the driver in Python, which shares its folder and its rows with this one.
fn on_ray(args: &Args, spec: &Path, out: &Path) -> Result<(), Failure> {
    let python = std::env::var("SUPERNODE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let unusable = |why: &str| {
        let instead = "or name another Python in SUPERNODE_PYTHON";
        Failure::Input(format!(
            "`ray`: {python} {why}; run `pip install supernode \"ray[default]\"`, {instead}"
        ))
    };
    let found = Command::new(&python).args(["-c", MISSING]).output();
    let found = found.map_err(|error| unusable(&format!("cannot be started ({error})")))?;
    let missing = String::from_utf8_lossy(&found.stdout).trim().replace(' ', " and ");
    if !found.status.success() {
        return Err(unusable("fails at its start"));
    }
    if !missing.is_empty() {
        return Err(unusable(&format!("has no package {missing}")));
    }
    let mut driver = Command::new(&python);
    driver.args(["-m", "supernode.on_ray"]).arg(spec).arg("--out").arg(out);
    driver.arg("--ray").arg(args.ray.as_deref().unwrap_or("auto"));
    if let Some(folder) = args.catalog.folder() {
        driver.arg("--catalog").arg(folder);
    }
    for set in args.catalog.sets() {
        driver.arg("--set").arg(set);
    }
    let ended = driver.status().map_err(|error| unusable(&format!("cannot be started ({error})")))?;
    match ended.code() {
        Some(0) => Ok(()),
        Some(2) => Err(Failure::Input("the sweep on Ray was refused for the reason above".to_owned())),
        _ => Err(Failure::No(format!(
            "the sweep on Ray ended early ({ended}); give the command again to go on"
        ))),
    }
}

fn bar(cells: u64, done: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(cells), ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} cells, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    bar.with_position(done)
}

fn summary(plan: &Plan, path: &Path, tally: &Tally) -> String {
    let counts = Status::ALL.into_iter().filter(|status| *status == Status::Ok || tally.of(*status) > 0);
    let counts: Vec<String> =
        counts.map(|status| format!("{} {}", tally.of(status), status.name())).collect();
    format!("{} cells: {}\n{}\n", plan.cells(), counts.join(", "), path.display())
}

fn dry_run(plan: &Plan, out: Option<&Path>) -> Result<(), Failure> {
    let mut text = format!("{} cells, {} columns\n", plan.cells(), plan.columns().len());
    for (name, count) in plan.axes() {
        let _ = match count {
            Some(count) => writeln!(text, "  {name}: {count} values"),
            None => writeln!(text, "  {name}: a range"),
        };
    }
    if let Some(out) = out.filter(|out| out.exists()) {
        let done = Store::open(out, plan)?.done();
        let _ = writeln!(text, "{done} done, {} to do", plan.cells() - done);
    }
    print(&text)
}

/// Prints lines until the reader has enough.
fn print_lines(mut lines: impl Iterator<Item = Result<String, Failure>>, flush: bool) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = |result: std::io::Result<()>| match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Input(format!("stdout: cannot be written ({error})"))),
    };
    let all = lines.try_for_each(|line| {
        let result = writeln!(out, "{}", line.map_err(Some)?);
        let result = if flush { result.and_then(|()| out.flush()) } else { result };
        if written(result).map_err(Some)? { Ok(()) } else { Err(None) }
    });
    match all {
        Ok(()) => written(out.flush()).map(drop),
        Err(None) => Ok(()),
        Err(Some(failure)) => Err(failure),
    }
}

fn evaluate_units(file: &Path) -> Result<(), Failure> {
    let name = file.display().to_string();
    let failed = |error: std::io::Error| Failure::Input(format!("{name}: {error}"));
    let source: Box<dyn Read> = match name.as_str() {
        "-" => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    let evaluator = Evaluator::default();
    let lines = BufReader::new(source).lines().enumerate();
    let rows = lines.filter(|(_, line)| !line.as_ref().is_ok_and(|line| line.trim().is_empty())).map(
        |(at, line)| {
            let unit = Unit::parse(&format!("{name}, line {}", at + 1), &line.map_err(failed)?)?;
            Ok(evaluator.row(&unit).line())
        },
    );
    // Each row is out before the next unit is read, so that a program can drive this one line by line.
    print_lines(rows, true)
}
