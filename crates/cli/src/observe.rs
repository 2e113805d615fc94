//! `supernode observe`.

use crate::common::{Beside, Failure, print, write_file};
use live::observe::{ObserveError, Options, Seen, Url, observe};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use units::{PerSecond, Seconds};
use workload::{ClosedLoop, Lengths, OpenLoop, Process, Replay, ReplayOptions, Source, TraceWriter};

/// Columns of a row that are measured here, and that no flag may set.
const MEASURED: [&str; 8] =
    ["id", "isl", "osl", "concurrency", "ttft_ms", "tpot_ms", "tokens_per_s_per_chip", "statistic"];

/// Drives an OpenAI-compatible endpoint with a workload and writes what its clients see: a row for `supernode validate`
/// and a trace for `supernode simulate`.
#[derive(clap::Args)]
pub struct Args {
    /// The endpoint, for example http://127.0.0.1:8000.
    url: String,
    /// Its model, if not the first that it serves.
    #[arg(long)]
    model: Option<String>,
    /// The key; better given in OPENAI_API_KEY.
    #[arg(long)]
    key: Option<String>,
    /// Users who each send their next request when the last one ends.
    #[arg(long, conflicts_with_all = ["rate", "trace"])]
    concurrency: Option<u32>,
    /// Requests per second at random times.
    #[arg(long, conflicts_with = "trace")]
    rate: Option<f64>,
    /// A trace to play.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Requests to send; of a closed loop, those that are measured.
    #[arg(long, default_value_t = 100)]
    requests: u64,
    /// Requests of a closed loop that are sent first and not measured.
    #[arg(long, default_value_t = 0)]
    warm_up: u64,
    /// Prompt lengths in tokens.
    #[arg(long, default_value = "128")]
    isl: Lengths,
    /// Output lengths in tokens.
    #[arg(long, default_value = "32")]
    osl: Lengths,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Longest that one request may take.
    #[arg(long, default_value = "10 min")]
    timeout: Seconds,
    /// A column of the row that says what was observed, for example system=h100-8; may be given several times.
    #[arg(long = "column", value_name = "KEY=VALUE")]
    columns: Vec<String>,
    /// Chips behind the endpoint.
    #[arg(long, default_value_t = 1.0)]
    chips: f64,
    /// The row is appended to this table (CSV) for `supernode validate`.
    #[arg(long, value_name = "FILE")]
    row: Option<PathBuf>,
    /// The requests as they were sent, as a trace for `supernode simulate --trace`.
    #[arg(long, value_name = "FILE")]
    save_trace: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let columns = columns(args)?;
    let mut source = source(args)?;
    let trace = Beside::open(args.save_trace.as_deref())?;
    let options = Options {
        url: Url::parse(&args.url)?,
        model: args.model.clone(),
        key: args.key.clone().or_else(|| std::env::var("OPENAI_API_KEY").ok()),
        timeout: Duration::from_secs_f64(args.timeout.get().clamp(0.001, 86_400.0)),
        most: 16_384,
        seed: args.seed,
    };
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let (model, seen) = observe(&options, &mut *source).map_err(|error| match error {
        ObserveError::Connect(..) | ObserveError::Model(..) => Failure::No(error.to_string()),
        other => Failure::Input(other.to_string()),
    })?;
    let found = Found::of(&seen, args.chips);
    let show = || match args.json {
        true => crate::common::print_json(&found.json(&model)),
        false => print(&found.text(&model)),
    };
    trace.deliver(|| trace_of(&seen), show)?;
    if let Some(path) = &args.row {
        append_row(path, &row(args, &found, columns))?;
    }
    match found.failed {
        0 => Ok(()),
        failed => Err(Failure::No(format!(
            "{failed} of {} requests failed, the first because: {}",
            seen.len(),
            found.why.as_deref().unwrap_or("unknown")
        ))),
    }
}

fn columns(args: &Args) -> Result<BTreeMap<String, String>, Failure> {
    let mut columns = BTreeMap::new();
    for text in &args.columns {
        let wrong = |problem: &str| Failure::Input(format!("--column {text}: {problem}"));
        let (key, value) = text.split_once('=').ok_or_else(|| wrong("give KEY=VALUE"))?;
        if MEASURED.contains(&key) || key == "chips" {
            return Err(wrong("is measured, or has a flag of its own"));
        }
        if [key, value].iter().any(|part| part.contains([',', '"', '\n'])) {
            return Err(wrong("must not contain commas, quotes or line ends"));
        }
        columns.insert(key.to_owned(), value.to_owned());
    }
    if args.row.is_some() && !columns.contains_key("system") {
        return Err(Failure::Input("--row needs --column system=KEY: which system was observed".to_owned()));
    }
    if !(args.chips.is_finite() && args.chips > 0.0) {
        return Err(Failure::Input(format!("--chips {}: must be more than 0", args.chips)));
    }
    Ok(columns)
}

fn source(args: &Args) -> Result<Box<dyn Source>, Failure> {
    if let Some(path) = &args.trace {
        let options = ReplayOptions { limit: Some(args.requests), ..ReplayOptions::default() };
        return Ok(Box::new(Replay::open(path, options)?));
    }
    if let Some(rate) = args.rate {
        let process = Process::Poisson { rate: PerSecond::new(rate) };
        return Ok(Box::new(OpenLoop::new(process, args.requests, args.isl, args.osl, args.seed)?));
    }
    let users = args.concurrency.unwrap_or(1);
    if users == 0 {
        return Err(Failure::Input("--concurrency 0: must be at least 1".to_owned()));
    }
    let (warm_up, requests) = (args.warm_up, args.requests);
    Ok(Box::new(ClosedLoop::new(users, warm_up, requests, args.isl, args.osl, args.seed)))
}

/// What was found.
struct Found {
    completed: usize,
    failed: usize,
    why: Option<String>,
    ttft: Vec<f64>,
    tpot: Vec<f64>,
    e2e: Vec<f64>,
    input: f64,
    output: f64,
    per_second: f64,
    per_chip: f64,
}

impl Found {
    fn of(seen: &[Seen], chips: f64) -> Self {
        let good: Vec<&Seen> = seen.iter().filter(|seen| seen.error.is_none() && seen.measured).collect();
        let sorted = |of: &dyn Fn(&Seen) -> Option<Seconds>| {
            let mut values: Vec<f64> = good.iter().filter_map(|seen| of(seen)).map(Seconds::get).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let first = good.iter().map(|seen| seen.sent.get()).fold(f64::INFINITY, f64::min);
        let last = good.iter().map(|seen| (seen.sent + seen.e2e).get()).fold(0.0, f64::max);
        let span = (last - first).max(1e-9);
        let tokens = |of: fn(&Seen) -> u32| good.iter().map(|seen| f64::from(of(seen))).sum::<f64>();
        let (input, output) = (tokens(|seen| seen.input), tokens(|seen| seen.output));
        let count = good.len().max(1) as f64;
        let errors = || seen.iter().filter_map(|seen| seen.error.as_ref());
        Self {
            completed: good.len(),
            failed: errors().count(),
            why: errors().next().cloned(),
            ttft: sorted(&|seen| seen.ttft),
            tpot: sorted(&Seen::tpot),
            e2e: sorted(&|seen| Some(seen.e2e)),
            input: input / count,
            output: output / count,
            per_second: output / span,
            per_chip: output / span / chips,
        }
    }

    fn text(&self, model: &str) -> String {
        let mut text = format!("{model}: {} requests measured, {} failed\n", self.completed, self.failed);
        let _ = writeln!(
            text,
            "tokens  {:.1} in, {:.1} out on average; {:.1} out per second",
            self.input, self.output, self.per_second
        );
        for (name, values) in [("TTFT", &self.ttft), ("TPOT", &self.tpot), ("E2E ", &self.e2e)] {
            let at = |q| at(values, q).map_or("-".to_owned(), |value| Seconds::new(value).to_string());
            let mean = mean(values).map_or("-".to_owned(), |value| Seconds::new(value).to_string());
            let _ =
                writeln!(text, "{name}    mean {mean}, p50 {}, p90 {}, p99 {}", at(0.5), at(0.9), at(0.99));
        }
        text
    }

    fn json(&self, model: &str) -> serde_json::Value {
        let figures = |values: &[f64]| serde_json::json!({"mean": mean(values), "p50": at(values, 0.5), "p90": at(values, 0.9), "p99": at(values, 0.99)});
        serde_json::json!({
            "schema": "supernode.observe/1", "model": model, "completed": self.completed, "failed": self.failed,
            "input_tokens_mean": self.input, "output_tokens_mean": self.output,
            "output_tokens_per_s": self.per_second, "output_tokens_per_s_per_chip": self.per_chip,
            "ttft_s": figures(&self.ttft), "tpot_s": figures(&self.tpot), "e2e_s": figures(&self.e2e),
        })
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The value at a share of a sorted list.
fn at(values: &[f64], q: f64) -> Option<f64> {
    values.get((q * (values.len().max(1) - 1) as f64).round() as usize).copied()
}

/// The row's columns in their order, and its values.
fn row(args: &Args, found: &Found, columns: BTreeMap<String, String>) -> Vec<(String, String)> {
    let ms = |values: &[f64]| mean(values).map_or(String::new(), |value| format!("{:.3}", value * 1e3));
    let mut row =
        vec![("id".to_owned(), format!("observed-{}-{}", args.concurrency.unwrap_or(1), args.seed))];
    let or = |key: &str, usual: &str| (key.to_owned(), columns.get(key).cloned().unwrap_or(usual.to_owned()));
    row.push(or("mode", "agg"));
    row.extend(
        columns.iter().filter(|(key, _)| *key != "mode").map(|(key, value)| (key.clone(), value.clone())),
    );
    row.push(("chips".to_owned(), args.chips.to_string()));
    row.push(("isl".to_owned(), format!("{:.0}", found.input)));
    row.push(("osl".to_owned(), format!("{:.0}", found.output)));
    let users = args.concurrency.map_or(String::new(), |users| users.to_string());
    row.push(("concurrency".to_owned(), users));
    row.push(("ttft_ms".to_owned(), ms(&found.ttft)));
    row.push(("tpot_ms".to_owned(), ms(&found.tpot)));
    row.push(("tokens_per_s_per_chip".to_owned(), format!("{:.3}", found.per_chip)));
    row.push(("statistic".to_owned(), "mean".to_owned()));
    row
}

/// Appends a row to a table whose columns are the same.
fn append_row(path: &Path, row: &[(String, String)]) -> Result<(), Failure> {
    let line =
        |of: fn(&(String, String)) -> &String| row.iter().map(of).cloned().collect::<Vec<_>>().join(",");
    let (header, values) = (line(|cell| &cell.0), line(|cell| &cell.1));
    let mut text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => format!("{header}\n"),
        Err(error) => return Err(Failure::Input(format!("{}: {error}", path.display()))),
    };
    if text.lines().next() != Some(&*header) {
        return Err(Failure::Input(format!(
            "{}: has other columns than {header}; choose another file",
            path.display()
        )));
    }
    text.push_str(&values);
    text.push('\n');
    write_file(path, &text)
}

/// The requests as they were sent, as a trace.
fn trace_of(seen: &[Seen]) -> String {
    let mut writer = TraceWriter::new(Vec::new());
    for seen in seen.iter().filter(|seen| seen.error.is_none()) {
        let arrival = workload::Arrival {
            at: seen.sent,
            input: seen.input.max(1),
            output: seen.output.max(1),
            ..workload::Arrival::default()
        };
        // Writing to memory does not fail.
        let _ = writer.write(&arrival);
    }
    String::from_utf8(writer.finish().unwrap_or_default()).unwrap_or_default()
}
