//! `supernode catalog` and `supernode export-rules`.

use crate::common::{CatalogArgs, Failure, print};
use clap::Subcommand;
use hardware::show::Filter;
use hardware::{Catalog, Date, Grade, export_rules, overrides, show};
use std::fmt::Write;
use units::{Bytes, FlopPerSecond};

/// What the catalog says, with the source and grade of every figure.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    catalog: CatalogArgs,
}

#[derive(Subcommand)]
enum Action {
    /// The entries: chips, systems and engines, or one kind of them.
    List {
        /// chips, systems, engines, kernels or links.
        kind: Option<String>,
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// What two chips, systems or engines say something else of.
    Diff {
        /// Catalog key or alias.
        first: String,
        /// Catalog key or alias.
        second: String,
    },
    /// Everything said of one chip, system or engine.
    Show {
        /// Catalog key or alias; `economics` for prices and carbon.
        name: String,
    },
    /// What is said of how many of a chip are made, stocked and shipped, and when; with source, date and grade.
    Supply {
        /// Catalog key or alias of a chip or of a system.
        name: String,
        /// How many of the chip, or of the system, are wanted: held against what is made in a year.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        fleet: Option<u32>,
    },
    /// Look for mistakes in the catalog and in the folder laid over it.
    Check,
    /// The figures that --set replaces.
    Keys,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let catalog = args.catalog.load()?;
    match &args.action {
        Action::List { kind, filter } => list(&catalog, kind.as_deref(), &filter.filter()),
        Action::Diff { first, second } => diff(&catalog, first, second),
        Action::Show { name } => print(&sheets(&catalog, name)?),
        Action::Supply { name, fleet } => {
            args.catalog.refuse_sets("statements on supply are none of the figures that can be set")?;
            supply(&catalog, name, *fleet)
        }
        Action::Check => check(&catalog),
        Action::Keys => {
            args.catalog.refuse_sets("it lists the keys, whatever their values")?;
            if args.catalog.folder().is_some() {
                return Err(Failure::Input(
                    "--catalog has no effect here: the keys are the same for all".to_owned(),
                ));
            }
            let rows = overrides::keys().map(|(key, help)| vec![key.to_owned(), help.to_owned()]);
            print(&report::list(&["key", "what it replaces"], rows))
        }
    }
}

const KINDS: [&str; 5] = ["chips", "systems", "engines", "kernels", "links"];

fn list(catalog: &Catalog, kind: Option<&str>, filter: &Filter) -> Result<(), Failure> {
    let kinds: Vec<&str> = match kind {
        None => KINDS[..3].to_vec(),
        Some(kind) => match KINDS.iter().find(|known| **known == kind || known.trim_end_matches('s') == kind)
        {
            Some(known) => vec![*known],
            None => {
                let message = format!("`{kind}` is not a kind of entry; use one of {}", KINDS.join(", "));
                return Err(Failure::Input(message));
            }
        },
    };
    let mut rows = Vec::new();
    for kind in kinds {
        for entry in show::list(catalog, kind)? {
            if !filter.passes(&entry) {
                continue;
            }
            let dated = matches!(kind, "chips" | "systems");
            let release = match &entry.release {
                Some(release) => release.to_string(),
                None => (if dated { "unknown" } else { "" }).to_owned(),
            };
            let grade = entry.grade.map_or_else(String::new, |grade| grade.to_string());
            let known = |text: Option<String>| {
                text.unwrap_or_else(|| (if dated { "unknown" } else { "" }).to_owned())
            };
            let memory = known(entry.memory.map(|memory| memory.to_string()));
            let compute = known(entry.compute.map(|compute| compute.to_string()));
            rows.push(vec![entry.kind, entry.id, release, memory, compute, grade, entry.summary]);
        }
    }
    if rows.is_empty() {
        return Err(Failure::No("nothing in the catalog is so; ask for less".to_owned()));
    }
    print(&report::list(&["kind", "key", "released", "memory", "16 bits", "evidence", "what it is"], rows))
}

/// What a listing is narrowed down to.
#[derive(clap::Args)]
struct FilterArgs {
    /// Only chips, and systems of chips, that are sold by then: 2026-06-30, 2026-06, 2026-Q2 or 2026.
    #[arg(long, value_name = "DATE")]
    available_by: Option<Date>,
    /// Only those whose key, name or vendor holds this word; may be given several times.
    #[arg(long, value_name = "WORD")]
    find: Vec<String>,
    /// Only those with so much memory per package, for example 128GB.
    #[arg(long, value_name = "SIZE")]
    min_memory: Option<Bytes>,
    /// Only those that do so much arithmetic per package in 16 bits, for example 500TFLOPS.
    #[arg(long, value_name = "RATE")]
    min_compute: Option<FlopPerSecond>,
    /// Only those whose figures have at least this grade: measured, official, analyst, rumour or assumed.
    #[arg(long, value_name = "GRADE", value_parser = grade)]
    grade: Option<Grade>,
}

fn grade(text: &str) -> Result<Grade, String> {
    let all = [Grade::Measured, Grade::Official, Grade::Analyst, Grade::Rumour, Grade::Assumed];
    let known = all.into_iter().find(|grade| grade.to_string() == text);
    known
        .ok_or_else(|| format!("`{text}` is not a grade; use measured, official, analyst, rumour or assumed"))
}

impl FilterArgs {
    fn filter(&self) -> Filter {
        Filter {
            words: self.find.clone(),
            available_by: self.available_by.clone(),
            memory: self.min_memory,
            compute: self.min_compute,
            grade: self.grade,
        }
    }
}

fn diff(catalog: &Catalog, first: &str, second: &str) -> Result<(), Failure> {
    let (differences, same) = show::diff(catalog, [first, second])?;
    let rows = differences.into_iter().map(|difference| {
        let [mine, theirs] = difference.values.map(|value| {
            value.map_or_else(|| "not stated".to_owned(), |(value, grade)| format!("{value} ({grade})"))
        });
        let factor = difference.factor.map_or_else(String::new, |factor| format!("x {factor:.3}"));
        vec![difference.key, mine, theirs, factor]
    });
    let table = report::list(&["figure", first, second, "second over first"], rows);
    let ranks = [first, second].map(|name| catalog.chip(name).map(|chip| chip.ranks));
    let ranks = match ranks {
        [Ok(mine), Ok(theirs)] if mine != theirs => format!(
            " Arithmetic, memory and ports are per rank: a package of {first} is {mine}, one of {second} {theirs}."
        ),
        _ => String::new(),
    };
    print(&format!("{table}\n{same} figures are the same.{ranks}\n"))
}

fn sheets(catalog: &Catalog, name: &str) -> Result<String, Failure> {
    let sheets = show::entries(catalog, name)?;
    Ok(sheets.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn supply(catalog: &Catalog, name: &str, fleet: Option<u32>) -> Result<(), Failure> {
    let (chip, packages_each) = match catalog.chip(name) {
        Ok(chip) => (chip, 1),
        Err(hardware::CatalogError::UnknownName { .. }) => {
            let system = catalog.system(name)?;
            (catalog.chip(&system.chip)?, system.chips)
        }
        Err(error) => return Err(error.into()),
    };
    let supply = catalog.supply()?;
    let found = supply.of(&chip.id);
    let release = chip.release.as_ref().map_or_else(|| "unknown".to_owned(), |fact| fact.value.to_string());
    let mut text = format!("{}: sold since or from {release}\n\n", chip.name);
    if found.is_empty() {
        text.push_str("The catalog has no statement on its supply.\n");
        return print(&text);
    }
    let packages = fleet.map(|fleet| f64::from(fleet) * f64::from(packages_each));
    let rows = found.iter().map(|statement| {
        let share =
            packages.and_then(|packages| statement.share(packages)).map(|(low, high)| match low == high {
                true => format!("{:.1} %", low * 100.0),
                false => format!("{:.1} to {:.1} %", low * 100.0, high * 100.0),
            });
        let source = supply.sources.get(&statement.source).map_or("", |source| source.title.as_str());
        let mut row = vec![statement.what.to_string(), statement.period.to_string(), statement.figure()];
        row.extend(packages.map(|_| share.unwrap_or_default()));
        row.extend([statement.note.clone().unwrap_or_default(), statement.grade.to_string()]);
        row.push(format!("{source}, {}", statement.said));
        row
    });
    let mut head = vec!["what", "when", "how many"];
    head.extend(packages.map(|_| "fleet's share"));
    head.extend(["note", "evidence", "source"]);
    text.push_str(&report::list(&head, rows));
    if let Some(packages) = packages {
        let _ = writeln!(text, "\nThe fleet takes {packages:.0} packages.");
    }
    print(&text)
}

fn check(catalog: &Catalog) -> Result<(), Failure> {
    let own = catalog.check().into_iter().map(|problem| problem.to_string());
    let priced = cost::check(catalog).into_iter().map(|(file, message)| format!("{file}: {message}"));
    let problems: Vec<String> = own.chain(priced).collect();
    if problems.is_empty() {
        return print("the catalog is in order\n");
    }
    let mut text = String::new();
    for problem in &problems {
        let _ = writeln!(text, "{problem}");
    }
    print(&text)?;
    Err(Failure::No(format!("{} problems", problems.len())))
}

/// A chip, and a trade in it, against published export controls: a table of facts, not advice.
#[derive(clap::Args)]
pub struct ExportRulesArgs {
    /// Catalog key or alias of the chip.
    chip: String,
    /// Only what is in force on that day, for example 2025-12-01.
    #[arg(long, value_name = "DATE")]
    on: Option<Date>,
    /// Country the chip is sold from, as a code of two letters such as us.
    #[arg(long, value_name = "COUNTRY", value_parser = country)]
    seller: Option<String>,
    /// Who buys it, by name, for example Huawei.
    #[arg(long, value_name = "NAME")]
    buyer: Option<String>,
    /// Country it is to be used in, as a code of two letters such as cn.
    #[arg(long, value_name = "COUNTRY", value_parser = country)]
    country: Option<String>,
    #[command(flatten)]
    catalog: CatalogArgs,
}

fn country(text: &str) -> Result<String, String> {
    let code = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    if code {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("use a country code of two letters, such as cn or us".to_owned())
    }
}

/// Runs `export-rules`.
pub fn run_export_rules(args: &ExportRulesArgs) -> Result<(), Failure> {
    let catalog = args.catalog.load()?;
    let chip = catalog.chip_or_that_of_a_system(&args.chip)?;
    let assessment = export_rules::assess(&chip, &catalog.export_rules()?, &args.trade());
    let figures = assessment.figures.iter().map(|(metric, fact)| match fact {
        Some(fact) => {
            let note = fact.note.clone().unwrap_or_default();
            vec![metric.to_string(), fact.value.to_string(), fact.grade.to_string(), note]
        }
        None => vec![metric.to_string(), "unknown".to_owned(), String::new(), String::new()],
    });
    let rules = assessment.rows.iter().map(|row| {
        let applies = row.applies.to_string();
        vec![in_force(row), applies, row.rule.clone(), row.conditions.clone(), row.effect.clone()]
    });
    let figures = report::list(&["figure", "value", "evidence", "from"], figures);
    let rules = report::list(&["in force", "meets", "rule", "concerns", "effect"], rules);
    print(&format!("{}\n\n{figures}\n{rules}\nA table of facts, not advice.\n", chip.name))
}

impl ExportRulesArgs {
    fn trade(&self) -> export_rules::Trade {
        export_rules::Trade {
            on: self.on.clone(),
            seller: self.seller.clone(),
            buyer: self.buyer.clone(),
            country: self.country.clone(),
        }
    }
}

fn in_force(row: &export_rules::Row) -> String {
    match &row.until {
        Some(until) => format!("{} to {until}", row.date),
        None => format!("from {}", row.date),
    }
}
