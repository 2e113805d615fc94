//! `supernode match`.

use crate::common::{CatalogArgs, Failure, SiteArgs, print, print_json};
use crate::plan_serve::{JobArgs, quiet_watch};
use ::estimate::Resolver;
use planner::matching::{Answer, Figure, MatchError, Reached, Subject};
use planner::serve::Place;
use serde_json::{Value, json};
use std::fmt::Write;

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
    #[command(flatten)]
    job: JobArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// A chip in the system asked for, or in its usual one.
fn place(
    resolver: &Resolver,
    chip: &str,
    system: Option<&String>,
    chips: Option<u32>,
) -> Result<Place, Failure> {
    let found = resolver.catalog().chip(chip)?;
    let system = system.cloned().unwrap_or_else(|| found.usual_system().to_owned());
    let own = resolver.system(&system)?.chip == found.id;
    Ok(Place { system, chip: (!own).then(|| found.id.clone()), chips })
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let [first, rest @ ..] = args.vary.as_slice() else {
        return Err(Failure::Input("--vary: name a figure, for example chip.hbm.bandwidth".to_owned()));
    };
    if rest.len() > 1 {
        return Err(Failure::Input("--vary: one figure or two, separated by a comma".to_owned()));
    }
    let catalog = args.catalog.load()?;
    let resolver = Resolver::new(catalog.clone());
    let site = args.site.site(&catalog)?;
    let mut job = args.job.job()?;
    // The engine's own token budget is enough to compare by.
    job.options.budgets.clear();
    let mine = place(&resolver, &args.chip, args.system.as_ref(), args.chips)?;
    let theirs = place(&resolver, &args.against, args.against_system.as_ref(), args.chips)?;
    let watch = quiet_watch();
    let subject = |place| Subject { catalog: &catalog, job: &job, place, site: &site, watch: &watch };
    let goal = subject(&theirs).reached(&[]).map_err(failure)?;
    if goal.throughput.get() <= 0.0 {
        return Err(Failure::No(format!("{} cannot do this job: {}", args.against, goal.bound)));
    }
    let (system, chip) = resolver.placed(&mine.system, mine.chip.as_deref())?;
    let first = Figure::of(first, &chip, &system).map_err(failure)?;
    let subject = subject(&mine);
    let now = subject.reached(&[]).map_err(failure)?;
    match rest.first() {
        None => {
            let answer = subject.solve(&first, goal.throughput, &[]).map_err(failure)?;
            show_one(args, &first, &answer, &goal, &now)
        }
        Some(second) => {
            let second = Figure::of(second, &chip, &system).map_err(failure)?;
            let points = subject.front(&first, &second, goal.throughput).map_err(failure)?;
            show_front(args, [&first, &second], &points, &goal, &now)
        }
    }
}

fn failure(error: MatchError) -> Failure {
    match error {
        MatchError::Plan(error) => crate::plan_serve::failure(error),
        other => Failure::Input(other.to_string()),
    }
}

fn head(args: &Args, goal: &Reached, now: &Reached) -> String {
    format!(
        "{}: {:.1} tokens/s per chip ({})\n{}: {:.1} tokens/s per chip ({})\n",
        args.against,
        goal.throughput.get(),
        goal.bound,
        args.chip,
        now.throughput.get(),
        now.bound
    )
}

fn show_one(
    args: &Args,
    figure: &Figure,
    answer: &Answer,
    goal: &Reached,
    now: &Reached,
) -> Result<(), Failure> {
    if args.json {
        print_json(&json!({
            "schema": "supernode.match/1",
            "chip": args.chip,
            "against": args.against,
            "goal": reached_json(goal),
            "now": reached_json(now),
            "vary": [figure.key],
            "answer": answer_json(figure, answer),
        }))?;
    } else {
        let mut text = head(args, goal, now);
        let current = figure.show(figure.now());
        let _ = match answer {
            Answer::Value(value, reached) => writeln!(
                text,
                "{} must be {} instead of {current} ({:.2} times as much); bound there by {}",
                figure.key,
                figure.show(*value),
                value / figure.now(),
                reached.bound
            ),
            Answer::Enough(value, _) => writeln!(
                text,
                "{} does not decide: even {} instead of {current} is enough",
                figure.key,
                figure.show(*value)
            ),
            Answer::Never(value, reached) => writeln!(
                text,
                "cannot be matched by {}: {} instead of {current} gives {:.1} tokens/s per chip, bound by {}",
                figure.key,
                figure.show(*value),
                reached.throughput.get(),
                reached.bound
            ),
        };
        print(&text)?;
    }
    match answer {
        Answer::Never(..) => Err(Failure::No(String::new())),
        _ => Ok(()),
    }
}

fn show_front(
    args: &Args,
    [first, second]: [&Figure; 2],
    points: &[(f64, Answer)],
    goal: &Reached,
    now: &Reached,
) -> Result<(), Failure> {
    let never = points.iter().all(|(_, answer)| matches!(answer, Answer::Never(..)));
    if args.json {
        let points: Vec<Value> = points
            .iter()
            .map(|(value, answer)| {
                json!({ "first": { "value": value, "text": first.show(*value) }, "second": answer_json(second, answer) })
            })
            .collect();
        print_json(&json!({
            "schema": "supernode.match/1",
            "chip": args.chip,
            "against": args.against,
            "goal": reached_json(goal),
            "now": reached_json(now),
            "vary": [first.key, second.key],
            "front": points,
        }))?;
    } else {
        let rows = points.iter().map(|(value, answer)| {
            let (needed, bound) = match answer {
                Answer::Value(value, reached) => (second.show(*value), reached.bound.clone()),
                Answer::Enough(value, reached) => {
                    (format!("below {}", second.show(*value)), reached.bound.clone())
                }
                Answer::Never(_, reached) => ("cannot be matched".to_owned(), reached.bound.clone()),
            };
            vec![first.show(*value), needed, bound]
        });
        let table = report::table(&[&first.key, &second.key, "bound by"], rows);
        print(&format!("{}\n{table}", head(args, goal, now)))?;
    }
    if never { Err(Failure::No(String::new())) } else { Ok(()) }
}

fn reached_json(reached: &Reached) -> Value {
    json!({
        "throughput_per_chip": { "value": reached.throughput.get(), "unit": "tokens/s/chip" },
        "bound": reached.bound,
    })
}

fn answer_json(figure: &Figure, answer: &Answer) -> Value {
    let (kind, value, reached) = match answer {
        Answer::Value(value, reached) => ("value", value, reached),
        Answer::Enough(value, reached) => ("enough", value, reached),
        Answer::Never(value, reached) => ("never", value, reached),
    };
    json!({
        "key": figure.key,
        "kind": kind,
        "value": value,
        "text": figure.show(*value),
        "now": figure.now(),
        "reached": reached_json(reached),
    })
}
