//! `supernode calibrate`.

use crate::calibrate_training;
use crate::common::{CatalogArgs, Failure, SiteArgs, print};
use ::estimate::{OperatingPoint, Resolver, Roles};
use ::validate::{
    Fidelity, Launches, Split, Table, accepts, anchor, fit_engine, group, predict, read_serving, split,
    summarise,
};
use calibration::ops::{CalibrateOptions, Calibrated, OpTable, Study, calibrate_ops, families, study_ops};
use calibration::stats::{fnv1a, median};
use hardware::Source;
use report::Outputs;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Fits coefficients to measurements and writes them as catalog files, to be used with --catalog DIR.
///
/// Operator tables give kernel profiles of their chips; serving tables give the overheads of the engine named.
#[derive(clap::Args)]
pub struct Args {
    /// Tables of measurements, .csv or .csv.gz, all of one kind.
    #[arg(long, value_name = "FILE", required_unless_present = "anchors", num_args = 1..)]
    data: Vec<PathBuf>,
    /// Table of 3 to 10 serving rows of one engine on one chip, runs of your own: corrects the shipped engine by them
    /// instead of fitting it, and says what that is worth on rows left out.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "study", "cross", "chip", "rounds", "rows_per_group"])]
    anchors: Option<PathBuf>,
    /// Folder to write into; made if it is not there.
    #[arg(long, value_name = "DIR", required_unless_present = "cross", conflicts_with = "cross")]
    out: Option<PathBuf>,
    /// Instead of fitting, measure how well the catalog's operator coefficients carry over, and write them with those
    /// errors: random (fitted on 30 % of the rows), size (small to large), shapes (to other families of shapes),
    /// foreign (the other chips' coefficients), few (32 rows near those).
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    study: Vec<Study>,
    /// Instead of writing profiles of frameworks, fit them five times, each time without another fifth of the groups of
    /// training runs, and say how well those are predicted.
    #[arg(long)]
    cross: bool,
    /// Chip that operator rows were measured on, where the table has no `chip` column.
    #[arg(long)]
    chip: Option<String>,
    /// Engine whose rows of a serving table are fitted.
    #[arg(long)]
    engine: Option<String>,
    /// File of launches of serving rows, or a folder of them, as `validate` takes it. May be given several times.
    #[arg(long, value_name = "FILE")]
    launches: Vec<PathBuf>,
    /// How serving rows are predicted while fitting: steady or simulate [default: simulate].
    #[arg(long)]
    fidelity: Option<Fidelity>,
    /// Rounds of the search over an engine's coefficients [default: 6].
    #[arg(long)]
    rounds: Option<usize>,
    /// Most rows of one group (system, model, engine, mode) used in fitting an engine [default: 12].
    #[arg(long)]
    rows_per_group: Option<usize>,
    /// Date to record in the files; today's if left out.
    #[arg(long, default_value_t = today(), value_parser = day)]
    date: String,
    /// Where the measurements come from, to record in the files.
    #[arg(long, default_value = "a user's own measurements")]
    source: String,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// A day, as the catalog writes it.
fn day(text: &str) -> Result<String, String> {
    let parsed: Result<hardware::Date, _> = text.parse();
    parsed.map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Today in UTC as `YYYY-MM-DD`; the epoch if the clock is before it.
fn today() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut days = since.as_secs() / 86_400;
    let leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    if let Some(file) = &args.anchors {
        return anchors(args, file);
    }
    let mut tables = Vec::new();
    let chip = match &args.chip {
        Some(chip) => Some(args.catalog.load()?.chip_or_that_of_a_system(chip)?.id),
        None => None,
    };
    for file in &args.data {
        tables.push(OpTable::open(file)?.on_chip(chip.as_deref()));
    }
    let all = |is: &dyn Fn(&OpTable) -> bool| tables.iter().all(is);
    if all(&accepts) {
        args.refuse_unused(Rows::Operators)?;
        return operators(args, &tables);
    }
    if all(&|table| table.has(&["framework", "seq_len"])) {
        args.refuse_unused(Rows::Training)?;
        let (catalog, rows) = (args.catalog.load()?, calibrate_training::rows(&args.data)?);
        return match args.cross {
            true => calibrate_training::cross(catalog, &rows),
            false => calibrate_training::fit(catalog, &rows, args.out()),
        };
    }
    args.refuse_unused(Rows::Serving)?;
    engine(args)
}

/// What the rows of the tables are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Operators,
    Training,
    Serving,
}

impl Args {
    fn out(&self) -> &Path {
        self.out.as_deref().unwrap_or(Path::new(""))
    }

    /// Refuses flags that change nothing for tables of this kind.
    fn refuse_unused(&self, rows: Rows) -> Result<(), Failure> {
        let belongs = [
            ("--engine", self.engine.is_some(), Rows::Serving, "serving rows"),
            ("--fidelity", self.fidelity.is_some(), Rows::Serving, "serving rows"),
            ("--launches", !self.launches.is_empty(), Rows::Serving, "serving rows"),
            ("--rounds", self.rounds.is_some(), Rows::Serving, "serving rows"),
            ("--rows-per-group", self.rows_per_group.is_some(), Rows::Serving, "serving rows"),
            ("--study", !self.study.is_empty(), Rows::Operators, "operator rows"),
            ("--chip", self.chip.is_some(), Rows::Operators, "operator rows"),
            ("--cross", self.cross, Rows::Training, "training rows"),
        ];
        match belongs.into_iter().find(|(_, given, to, _)| *given && *to != rows) {
            Some((flag, _, _, to)) => {
                Err(Failure::Input(format!("{flag} has no effect here: it belongs to {to}")))
            }
            None => Ok(()),
        }
    }
}

/// The folder of one kind of file in `--out`, made before anything is fitted.
struct Folder {
    outputs: Outputs,
    path: PathBuf,
}

impl Folder {
    fn make(args: &Args, kind: &str) -> Result<Self, Failure> {
        let (mut outputs, path) = (Outputs::new(), args.out().join(kind));
        outputs.folder(&path)?;
        Ok(Self { outputs, path })
    }

    /// Writes all files, named by their keys, or none.
    fn write<'a>(mut self, files: impl IntoIterator<Item = (&'a str, String)>) -> Result<(), Failure> {
        for (id, text) in files {
            let file = self.outputs.open(&self.path.join(format!("{id}.toml")))?;
            self.outputs.write(file, &text)?;
        }
        Ok(self.outputs.commit()?)
    }
}

fn operators(args: &Args, tables: &[OpTable]) -> Result<(), Failure> {
    let folder = Folder::make(args, "kernels")?;
    let catalog = args.catalog.load()?;
    let options =
        CalibrateOptions { catalog: &catalog, date: &args.date, source: &args.source, seed: 1, study: true };
    if !args.study.is_empty() {
        let files = study_ops(tables, &families(), &options, &args.study)?;
        write_profiles(folder, &files)?;
        return print(&studied(&files, &args.study));
    }
    let files = calibrate_ops(tables, &families(), &options)?;
    write_profiles(folder, &files)?;
    let mut rows = Vec::new();
    for file in &files {
        for set in &file.profile.sets {
            let errors = &set.errors;
            rows.push(vec![
                format!("{} {}", file.profile.chip, set.label()),
                set.rows.to_string(),
                percent(errors.fit),
                percent(errors.held_out),
                percent(errors.size),
                format!("{:.2}", set.sigma),
            ]);
        }
    }
    let header = ["set", "rows", "fitted median / p90", "held out", "small to large", "sigma"];
    print(&report::table(&header, rows))
}

fn write_profiles(folder: Folder, files: &[Calibrated]) -> Result<(), Failure> {
    folder.write(files.iter().map(|file| (file.id.as_str(), file.profile.to_toml())))
}

fn percent(pair: Option<[f64; 2]>) -> String {
    pair.map_or("-".to_owned(), |[median, p90]| format!("{:.1} / {:.1} %", median * 100.0, p90 * 100.0))
}

/// Each set's errors by study, and the medians over the sets of a family.
fn studied(files: &[Calibrated], studies: &[Study]) -> String {
    let mut rows = Vec::new();
    let mut families: std::collections::BTreeMap<&str, Vec<Vec<[f64; 2]>>> =
        std::collections::BTreeMap::new();
    for file in files {
        for set in file.profile.sets.iter().filter(|set| set.rows > 0) {
            let mut row = vec![format!("{} {}", file.profile.chip, set.label())];
            let columns = families.entry(&set.family).or_insert_with(|| vec![Vec::new(); studies.len()]);
            for (study, column) in studies.iter().zip(columns) {
                row.push(percent(study.of(set)));
                column.extend(study.of(set));
            }
            rows.push(row);
        }
    }
    let middle = |column: &[[f64; 2]], which: usize| {
        median(&column.iter().map(|pair| pair[which]).collect::<Vec<_>>())
    };
    for (family, columns) in families {
        let mut row = vec![format!("median over sets: {family}")];
        row.extend(
            columns
                .iter()
                .map(|column| percent((!column.is_empty()).then(|| [middle(column, 0), middle(column, 1)]))),
        );
        rows.push(row);
    }
    let header: Vec<&str> = ["set"].into_iter().chain(studies.iter().map(|study| study.name())).collect();
    report::table(&header, rows)
}

/// Corrects an engine by a few runs of the user's own.
fn anchors(args: &Args, file: &std::path::Path) -> Result<(), Failure> {
    let folder = Folder::make(args, "engines")?;
    let resolver = Resolver::new(args.catalog.load()?);
    let site = SiteArgs::default().site(resolver.catalog())?;
    let bytes = bounded::bytes_of(std::fs::File::open(file)?, bounded::TABLE)?;
    let mut rows = read_serving(&Table::open(file)?)?;
    for file in &args.launches {
        let launches = Launches::open(file)?;
        rows = rows.into_iter().map(|row| row.launched_as(&launches)).collect();
    }
    let Some(first) = rows.first() else {
        return Err(Failure::Input(format!("{}: has no row; give 3 to 10", file.display())));
    };
    let point = &first.launch.point;
    let chip = resolver.step_model(point, roles(point))?.deployment().chip.id.clone();
    let usual = resolver.step_model(point, roles(point))?.deployment().engine.id.clone();
    if let Some(name) = &args.engine
        && resolver.catalog().engine(name)?.id != usual
    {
        let message = format!("--engine: the rows of --anchors ran under `{usual}`, not under `{name}`");
        return Err(Failure::Input(message));
    }
    let shipped = resolver.catalog().engine(&usual)?;
    let found = anchor(&resolver, &rows, &shipped, &site, args.fidelity.unwrap_or(Fidelity::Simulate))
        .map_err(|error| Failure::Input(format!("--anchors: {error}")))?;
    let mut engine = found.engine.clone();
    let title = format!(
        "corrected on {chip} by {} runs; median error {:.1} %, left out {:.1} %; data fnv1a:{:016x}; {}",
        rows.len(),
        100.0 * found.shipped,
        100.0 * found.left_out,
        fnv1a(&bytes),
        args.source
    );
    let address = "supernode calibrate".to_owned();
    engine.mark_corrected("anchors", Source { title, date: args.date.clone(), address });
    folder.write([(engine.id.as_str(), engine.to_toml())])?;
    print(&anchored(&found, &rows, &chip, args.out()))
}

/// Which side of a deployment decodes.
fn roles(point: &OperatingPoint) -> Roles {
    if point.mode == ::estimate::Mode::Disagg { Roles::Decode } else { Roles::Both }
}

/// What a correction did and where it holds.
fn anchored(
    found: &::validate::Anchored,
    rows: &[::validate::ServingRow],
    chip: &str,
    out: &std::path::Path,
) -> String {
    let lines = found.figures.iter().map(|(name, shipped, corrected)| {
        vec![
            (*name).to_owned(),
            format!("{shipped:.4e}"),
            format!("{corrected:.4e}"),
            format!("{:.2}", corrected / shipped),
        ]
    });
    let mut text = report::table(&["figure", "shipped", "corrected", "ratio"], lines.collect::<Vec<_>>());
    let _ = writeln!(
        text,
        "\nmedian error of {} rows: {:.1} % shipped, {:.1} % corrected, {:.1} % on each row by the correction of the others",
        rows.len(),
        100.0 * found.shipped,
        100.0 * found.fitted,
        100.0 * found.left_out
    );
    let names = |of: fn(&OperatingPoint) -> &str| {
        let all: std::collections::BTreeSet<&str> = rows.iter().map(|row| of(&row.launch.point)).collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    };
    let users = rows.iter().filter_map(|row| row.launch.point.concurrency);
    let users = users.clone().min().zip(users.max());
    let _ = writeln!(
        text,
        "holds for `{}` on {chip}, {}{}; elsewhere it is a guess",
        found.engine.id,
        names(|point| &point.model),
        users.map_or(String::new(), |(least, most)| format!(", {least} to {most} users"))
    );
    if found.left_out >= found.shipped {
        text.push_str("the rows do not agree on a correction: on rows left out it is no better than the shipped figures\n");
    }
    let _ = writeln!(text, "use it with --catalog {}", out.display());
    text
}

/// Groups are fitted or held out whole: what an engine will be asked about is another group.
fn engine(args: &Args) -> Result<(), Failure> {
    let Some(name) = &args.engine else {
        let message =
            "--engine is needed to calibrate from a serving table; name the engine whose rows are fitted";
        return Err(Failure::Input(message.to_owned()));
    };
    let fidelity = args.fidelity.unwrap_or(Fidelity::Simulate);
    let folder = Folder::make(args, "engines")?;
    let resolver = Resolver::new(args.catalog.load()?);
    let site = SiteArgs::default().site(resolver.catalog())?;
    let start = resolver.catalog().engine(name)?;
    let mut rows = Vec::new();
    let mut bytes = Vec::new();
    for file in &args.data {
        bytes.extend(bounded::bytes_of(std::fs::File::open(file)?, bounded::TABLE)?);
        rows.extend(read_serving(&Table::open(file)?)?);
    }
    for file in &args.launches {
        let launches = Launches::open(file)?;
        rows = rows.into_iter().map(|row| row.launched_as(&launches)).collect();
    }
    // An engine's rows are those of the releases that have its profile.
    let has_profile = |point: &OperatingPoint| {
        let named = point.engine.as_deref().and_then(|name| resolver.catalog().engine(name).ok());
        named.is_some_and(|named| named.of_release(point.engine_version.as_deref()) == start.id)
    };
    // Without the number of users in flight a row says nothing about a closed loop.
    rows.retain(|row| {
        has_profile(&row.launch.point) && row.quality != "low" && row.point.concurrency.is_some()
    });
    let (kept_out, mut fitted): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| split(row) == Split::HeldOut);
    fitted.sort_by_key(|row| (group(row), fnv1a(row.id.as_bytes())));
    let mut counts = std::collections::BTreeMap::new();
    fitted.retain(|row| {
        let count = counts.entry(group(row)).or_insert(0usize);
        *count += 1;
        *count <= args.rows_per_group.unwrap_or(12)
    });
    if fitted.is_empty() {
        return Err(Failure::Input(format!("--data has no row of engine `{}` to fit", start.id)));
    }
    let fit = fit_engine(&resolver, &fitted, &start, &site, fidelity, args.rounds.unwrap_or(6));
    let scored = |rows: &[::validate::ServingRow]| {
        let outcomes = predict(&resolver.with_engine(fit.engine.clone()), rows, &site, fidelity);
        summarise(&outcomes.iter().map(::validate::Outcome::scored).collect::<Vec<_>>())
    };
    let (inside, outside) = (scored(&fitted), scored(&kept_out));
    let mut engine = fit.engine.clone();
    let provenance = Source {
        title: format!(
            "fitted to {} serving rows in {} groups, {} rows in other groups held out; data fnv1a:{:016x}; {}",
            fitted.len(),
            counts.len(),
            kept_out.len(),
            fnv1a(&bytes),
            args.source
        ),
        date: args.date.clone(),
        address: "supernode calibrate".to_owned(),
    };
    engine.mark_fitted(&start, "fit", provenance);
    folder.write([(engine.id.as_str(), engine.to_toml())])?;
    let mut text = String::new();
    for (name, value) in &fit.coefficients {
        let _ = writeln!(text, "{name:<26}{value:.4e}");
    }
    let _ = writeln!(text, "loss {:.5} -> {:.5} in {} evaluations", fit.loss.0, fit.loss.1, fit.evaluations);
    let _ = write!(
        text,
        "\nfitted\n{}\nheld out\n{}",
        report::validate_text(&inside),
        report::validate_text(&outside)
    );
    print(&text)
}
