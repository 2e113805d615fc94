//! Entries of the catalog as sheets of figures, each with its source and grade.

use crate::catalog::{Catalog, CatalogError};
use crate::chip::{Chip, Port};
use crate::date::Date;
use crate::economics::Economics;
use crate::engine::Engine;
use crate::evidence::{Fact, Grade, Source};
use crate::system::{Domain, System, Topology};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use units::{Bytes, Dtype, FlopPerSecond};

/// Everything the catalog says of one entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// Key and name.
    pub title: String,
    /// What is no figure: vendor, aliases, topology ...
    pub labels: Vec<(String, String)>,
    /// The figures.
    pub figures: Vec<Figure>,
    /// What the source keys stand for; keys no figure uses are left out.
    pub sources: BTreeMap<String, Source>,
}

/// One figure of a sheet.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its key, as overrides name it where it can be set.
    pub key: String,
    /// The value with its unit.
    pub value: String,
    /// How good the evidence is.
    pub grade: Grade,
    /// Source key, or words.
    pub source: String,
    /// What else to know.
    pub note: Option<String>,
}

impl Figure {
    fn new<T: Display>(key: impl Into<String>, fact: &Fact<T>) -> Self {
        Self {
            key: key.into(),
            value: fact.value.to_string(),
            grade: fact.grade,
            source: fact.source.clone(),
            note: fact.note.clone(),
        }
    }
}

/// The figures gathered so far.
#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn add<T: Display>(&mut self, key: impl Into<String>, fact: &Fact<T>) {
        self.0.push(Figure::new(key, fact));
    }

    fn maybe<T: Display>(&mut self, key: &str, fact: Option<&Fact<T>>) {
        self.0.extend(fact.map(|fact| Figure::new(key, fact)));
    }

    fn sheet(self, title: String, labels: Vec<(&str, String)>, sources: &BTreeMap<String, Source>) -> Sheet {
        let used = |key: &String| self.0.iter().any(|figure| figure.source == *key);
        let sources =
            sources.iter().filter(|(key, _)| used(key)).map(|(key, source)| (key.clone(), source.clone()));
        Sheet {
            title,
            labels: labels.into_iter().map(|(label, text)| (label.to_owned(), text)).collect(),
            sources: sources.collect(),
            figures: self.0,
        }
    }
}

/// All figures of a chip.
pub fn chip(chip: &Chip) -> Sheet {
    let mut figures = Figures::default();
    let rank = &chip.rank;
    for (dtype, fact) in &rank.matrix {
        figures.add(format!("chip.matrix.{dtype}"), fact);
    }
    for (dtype, fact) in &rank.attained {
        figures.add(format!("chip.attained.{dtype}"), fact);
    }
    figures.maybe("chip.vector", rank.vector.as_ref());
    figures.add("chip.cores", &rank.cores);
    figures.add("chip.l2", &rank.l2);
    figures.add("chip.hbm.capacity", &rank.memory);
    figures.add("chip.hbm.bandwidth", &rank.bandwidth);
    if let Some((bandwidth, latency)) = &chip.package_link {
        figures.add("chip.package-link.bandwidth", bandwidth);
        figures.add("chip.package-link.latency", latency);
    }
    figures.maybe("chip.scale-up.bandwidth", chip.scale_up.as_ref().map(|port| &port.bandwidth));
    figures.maybe("chip.scale-out.bandwidth", chip.scale_out.as_ref().map(|port| &port.bandwidth));
    figures.maybe("chip.interconnect", chip.interconnect_bidirectional.as_ref());
    figures.maybe("chip.release", chip.release.as_ref());
    figures.maybe("chip.tdp", chip.tdp.as_ref());
    figures.maybe("chip.idle", chip.idle.as_ref());
    figures.maybe("chip.active", chip.active.as_ref());
    figures.maybe("chip.die-area", chip.die_area.as_ref());
    figures.maybe("chip.price", chip.price.as_ref());
    let link = |port: Option<&Port>| port.map_or_else(|| "unknown".to_owned(), |port| port.link.clone());
    let mut labels = vec![
        ("vendor", chip.vendor.clone()),
        ("family", chip.family.clone()),
        ("aliases", chip.aliases.join(", ")),
        (
            "ranks",
            format!(
                "{} (compute, memory and port figures are per rank; power, area and price per package)",
                chip.ranks
            ),
        ),
        (
            "links",
            format!("scale-up {}, scale-out {}", link(chip.scale_up.as_ref()), link(chip.scale_out.as_ref())),
        ),
        ("kernels", chip.kernels.join(", ")),
    ];
    labels.extend(chip.system.clone().map(|system| ("system", system)));
    labels.extend(chip.engine.clone().map(|engine| ("engine", engine)));
    labels.push(("weakest grade of what times depend on", chip.grade().to_string()));
    figures.sheet(format!("{}: {}", chip.id, chip.name), labels, &chip.sources)
}

/// All figures of a system.
pub fn system(system: &System) -> Sheet {
    let mut figures = Figures::default();
    let mut labels = vec![
        ("aliases", system.aliases.join(", ")),
        ("chip", system.chip.clone()),
        ("chips", format!("{} ({} ranks)", system.chips, system.ranks())),
    ];
    for domain in &system.domains {
        let key = |figure: &str| format!("system.domain.{}.{figure}", domain.kind);
        figures.add(key("bandwidth"), &domain.bandwidth);
        figures.add(key("latency"), &domain.latency);
        labels.push(("domain", described(domain)));
    }
    figures.maybe("system.host.cpu", system.host.cpu.as_ref());
    figures.maybe("system.host.dram", system.host.dram.as_ref());
    figures.maybe("system.host.link", system.host.link.as_ref());
    figures.add("system.overhead-power", &system.overhead_power);
    figures.maybe("system.price", system.price.as_ref());
    figures.maybe("system.hourly", system.hourly.as_ref());
    figures.sheet(format!("{}: {}", system.id, system.name), labels, &system.sources)
}

/// A domain's shape in words.
fn described(domain: &Domain) -> String {
    let size = domain.ranks.map_or_else(|| "any number of".to_owned(), |ranks| ranks.to_string());
    let shape = match domain.topology {
        Topology::FullMesh => "full mesh".to_owned(),
        Topology::Switch { in_network_reduction: true } => "switch that reduces in the network".to_owned(),
        Topology::Switch { in_network_reduction: false } => "switch".to_owned(),
        Topology::Clos { oversubscription } => format!("Clos, oversubscription {oversubscription}"),
        Topology::Ring => "ring".to_owned(),
        Topology::Torus { dimensions } => format!("torus of {dimensions} dimensions"),
    };
    format!("{} of {size} ranks over {}, {shape}", domain.kind, domain.link)
}

/// All prices, intensities and power fractions.
pub fn economics(economics: &Economics) -> Sheet {
    let mut figures = Figures::default();
    figures.add("price.electricity", &economics.prices.electricity);
    figures.add("price.pue", &economics.prices.pue);
    figures.add("price.carbon", &economics.prices.carbon);
    figures.add("price.depreciation", &economics.prices.depreciation);
    figures.add("price.capital", &economics.prices.capital);
    figures.add("price.network", &economics.prices.network);
    figures.add("price.staff", &economics.prices.staff);
    figures.add("price.space", &economics.prices.space);
    for (key, region) in &economics.regions {
        figures.maybe(&format!("regions.{key}.electricity"), region.electricity.as_ref());
        figures.maybe(&format!("regions.{key}.carbon"), region.carbon.as_ref());
    }
    for (key, fact) in &economics.pue {
        figures.add(format!("pue.{key}"), fact);
    }
    for (key, fact) in &economics.depreciation {
        figures.add(format!("depreciation.{key}"), fact);
    }
    for (key, hours) in &economics.chip_hours {
        for (name, fact) in hours.entries() {
            figures.maybe(&format!("chip_hours.{key}.{name}"), fact);
        }
    }
    for (key, fact) in &economics.all_in_power {
        figures.add(format!("all_in_power.{key}"), fact);
    }
    for (key, fact) in &economics.power_fraction {
        figures.add(format!("power_fraction.{key}"), fact);
    }
    figures.sheet("economics".to_owned(), Vec::new(), &economics.sources)
}

/// Everything that answers to `name`: a chip, a system and an engine may share one (`tpu-v4`); `economics` stands for
/// prices and carbon.
///
/// # Errors
/// Nothing has the name, or a file of that name is malformed.
pub fn entries(catalog: &Catalog, name: &str) -> Result<Vec<Sheet>, CatalogError> {
    let found = [
        catalog.chip(name).map(|found| chip(&found)),
        catalog.system(name).map(|found| system(&found)),
        catalog.engine(name).map(|found| engine(&found)),
    ];
    let mut sheets = Vec::new();
    if name == "economics" {
        sheets.push(economics(&catalog.economics()?));
    }
    for sheet in found {
        match sheet {
            Ok(sheet) => sheets.push(sheet),
            Err(CatalogError::UnknownName { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if sheets.is_empty() {
        return Err(catalog.unknown(&["chips", "systems", "engines"], name));
    }
    Ok(sheets)
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// Folder: `chips`, `systems` ...
    pub kind: String,
    /// Catalog key.
    pub id: String,
    /// Its name and leading figures.
    pub summary: String,
    /// Weakest grade of the figures that times depend on, for chips.
    pub grade: Option<Grade>,
    /// When the chip, or the chip of the system, is first sold.
    pub release: Option<Date>,
    /// Who makes the chip.
    pub vendor: String,
    /// Device memory of a package, for chips and systems.
    pub memory: Option<Bytes>,
    /// The most arithmetic a package does in 16 bits.
    pub compute: Option<FlopPerSecond>,
}

/// What a listing is narrowed down to; an entry whose figure is not known is left out where one is asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Words that name, key or vendor hold, upper and lower case alike.
    pub words: Vec<String>,
    /// Sold by then.
    pub available_by: Option<Date>,
    /// Least memory of a package.
    pub memory: Option<Bytes>,
    /// Least arithmetic of a package in 16 bits.
    pub compute: Option<FlopPerSecond>,
    /// Weakest grade of evidence.
    pub grade: Option<Grade>,
}

impl Filter {
    /// Whether an entry passes.
    pub fn passes(&self, entry: &Listing) -> bool {
        let all = format!("{} {} {}", entry.id, entry.summary, entry.vendor).to_lowercase();
        let dated = matches!(entry.kind.as_str(), "chips" | "systems");
        self.words.iter().all(|word| all.contains(&word.to_lowercase()))
            && self
                .available_by
                .as_ref()
                .is_none_or(|by| !dated || entry.release.as_ref().is_some_and(|release| release <= by))
            && self.memory.is_none_or(|least| entry.memory.is_some_and(|memory| memory.get() >= least.get()))
            && self
                .compute
                .is_none_or(|least| entry.compute.is_some_and(|compute| compute.get() >= least.get()))
            && self.grade.is_none_or(|weakest| entry.grade.is_some_and(|grade| grade <= weakest))
    }
}

/// A figure that two entries say something else of.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Its key.
    pub key: String,
    /// What each says, with its grade; `None` where it says nothing.
    pub values: [Option<(String, Grade)>; 2],
    /// The second over the first, where both are quantities of one kind.
    pub factor: Option<f64>,
}

/// What two chips, systems or engines say something else of, and how many figures they agree on.
///
/// # Errors
/// Nothing has the name, or the two are of different kinds.
pub fn diff(catalog: &Catalog, names: [&str; 2]) -> Result<(Vec<Difference>, usize), CatalogError> {
    let [first, second] = [entries(catalog, names[0])?, entries(catalog, names[1])?];
    let kind = |sheet: &Sheet| {
        let key = sheet.figures.first().map_or("", |figure| figure.key.as_str());
        key.split('.').next().unwrap_or_default().to_owned()
    };
    let pair = first.iter().find_map(|mine| {
        second.iter().find(|theirs| kind(theirs) == kind(mine)).map(|theirs| (mine, theirs))
    });
    let Some((mine, theirs)) = pair else {
        return Err(catalog.unknown(&["chips", "systems", "engines"], &names.join(" and ")));
    };
    let mut keys: Vec<&str> = mine.figures.iter().map(|figure| figure.key.as_str()).collect();
    keys.extend(
        theirs
            .figures
            .iter()
            .map(|figure| figure.key.as_str())
            .filter(|key| !mine.figures.iter().any(|figure| figure.key == *key)),
    );
    let mut same = 0;
    let mut found = Vec::new();
    for key in keys {
        let value = |sheet: &Sheet| {
            sheet
                .figures
                .iter()
                .find(|figure| figure.key == key)
                .map(|figure| (figure.value.clone(), figure.grade))
        };
        let values = [value(mine), value(theirs)];
        if values[0].as_ref().map(|value| &value.0) == values[1].as_ref().map(|value| &value.0) {
            same += 1;
            continue;
        }
        let factor = factor(values.each_ref().map(|value| value.as_ref().map(|value| value.0.as_str())));
        found.push(Difference { key: key.to_owned(), values, factor });
    }
    Ok((found, same))
}

/// The second quantity over the first. Quantities are written with the prefix that suits their size.
fn factor(texts: [Option<&str>; 2]) -> Option<f64> {
    let read = |text: &str| {
        let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
        let number: f64 = number.parse().ok()?;
        let prefixes = [
            ("k", 1e3),
            ("M", 1e6),
            ("G", 1e9),
            ("T", 1e12),
            ("P", 1e15),
            ("m", 1e-3),
            ("u", 1e-6),
            ("n", 1e-9),
        ];
        let bare = ["m", "min", "mm2", ""];
        let scaled = prefixes
            .iter()
            .find(|(prefix, _)| unit.starts_with(prefix) && unit.len() > 1 && !bare.contains(&unit));
        Some(match scaled {
            Some((prefix, size)) => (number * size, unit[prefix.len()..].to_owned()),
            None => (number, unit.to_owned()),
        })
    };
    let [first, second] = texts;
    let ((first, unit), (second, other)) = (read(first?)?, read(second?)?);
    (unit == other && first > 0.0).then_some(second / first)
}

fn memory(chip: &Chip) -> Bytes {
    chip.rank.memory.value * f64::from(chip.ranks)
}

/// The most that a package multiplies in 16 bits; none where nothing is said of them.
fn compute(chip: &Chip) -> Option<FlopPerSecond> {
    let rank = [Dtype::Bf16, Dtype::Fp16].iter().filter_map(|dtype| chip.rank.matrix.get(dtype));
    let most = rank.map(|fact| fact.value.get()).fold(0.0, f64::max) * f64::from(chip.ranks);
    (most > 0.0).then(|| FlopPerSecond::new(most))
}

/// All figures of an engine.
pub fn engine(engine: &Engine) -> Sheet {
    let mut figures = Figures::default();
    figures.add("engine.host.step", &engine.host.step);
    figures.add("engine.host.sequence", &engine.host.sequence);
    figures.add("engine.host.hidden", &engine.host.hidden);
    figures.add("engine.host.request", &engine.host.request);
    figures.add("engine.host.prompt_token", &engine.host.prompt_token);
    figures.add("engine.host.kv_transfer_time", &engine.host.kv_transfer_time);
    figures.add("engine.host.dispatch", &engine.host.dispatch);
    figures.add("engine.host.replay", &engine.host.replay);
    figures.add("engine.host.stream_interval", &engine.host.stream_interval);
    figures.add("engine.device.launch", &engine.device.launch);
    figures.add("engine.device.layer", &engine.device.layer);
    figures.add("engine.device.layer_eager", &engine.device.layer_eager);
    figures.add("engine.device.decode_slowdown", &engine.device.decode_slowdown);
    figures.add("engine.device.prefill_slowdown", &engine.device.prefill_slowdown);
    figures.add("engine.device.decode_correction", &engine.device.decode_correction);
    figures.add("engine.device.prefill_correction", &engine.device.prefill_correction);
    figures.add("engine.device.expert_skew", &engine.device.expert_skew);
    figures.add("engine.device.expert_spread", &engine.device.expert_spread);
    figures.add("engine.device.decode_overlap", &engine.device.decode_overlap);
    figures.add("engine.device.prefill_overlap", &engine.device.prefill_overlap);
    figures.add("engine.scheduler.token_budget", &engine.scheduler.token_budget);
    figures.add("engine.scheduler.max_sequences", &engine.scheduler.max_sequences);
    figures.add("engine.scheduler.block", &engine.scheduler.block);
    figures.add("engine.scheduler.acceptance", &engine.scheduler.acceptance);
    figures.add("engine.spread", &engine.spread);
    figures.add("engine.memory.utilisation", &engine.memory.utilisation);
    figures.add("engine.memory.reserve", &engine.memory.reserve);
    let labels = vec![
        ("aliases", engine.aliases.join(", ")),
        ("execution", engine.execution.name().to_owned()),
        ("execution of drafts", engine.draft_execution.name().to_owned()),
        ("kernel stacks", engine.stacks.join(", ")),
        ("all-reduce", engine.comm.all_reduce.clone()),
        ("expert exchange", engine.comm.expert.clone()),
    ];
    figures.sheet(format!("{}: {}", engine.id, engine.name), labels, &engine.sources)
}

/// The entries of one kind.
///
/// # Errors
/// An entry's file is malformed.
pub fn list(catalog: &Catalog, kind: &str) -> Result<Vec<Listing>, CatalogError> {
    let mut lines = Vec::new();
    for id in catalog.ids(kind) {
        let mut chip_of = None;
        let (summary, grade, release) = match kind {
            "chips" => {
                let chip = catalog.chip(&id)?;
                let line = (chip_line(&chip), Some(chip.grade()), released(&chip));
                chip_of = Some(chip);
                line
            }
            "systems" => {
                let system = catalog.system(&id)?;
                let chip = catalog.chip(&system.chip)?;
                let line = format!("{}, {} x {}", system.name, system.chips, system.chip);
                let line = (line, Some(chip.grade()), released(&chip));
                chip_of = Some(chip);
                line
            }
            _ => (String::new(), None, None),
        };
        let (vendor, memory, compute) = match &chip_of {
            Some(chip) => (chip.vendor.clone(), Some(memory(chip)), compute(chip)),
            None => (String::new(), None, None),
        };
        lines.push(Listing { kind: kind.to_owned(), id, summary, grade, release, vendor, memory, compute });
    }
    Ok(lines)
}

fn released(chip: &Chip) -> Option<Date> {
    chip.release.as_ref().map(|release| release.value.clone())
}

fn chip_line(chip: &Chip) -> String {
    let rank = &chip.rank;
    let peak =
        rank.peak(units::Dtype::Bf16).map_or_else(|| "no 16-bit peak".to_owned(), |peak| peak.to_string());
    let each = if chip.ranks > 1 { format!("{} ranks of ", chip.ranks) } else { String::new() };
    format!("{}, {each}{peak}, {}, {}", chip.name, rank.memory.value, rank.bandwidth.value)
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for (label, text) in self.labels.iter().filter(|(_, text)| !text.is_empty()) {
            writeln!(f, "  {label}: {text}")?;
        }
        let width = |length: fn(&Figure) -> usize| self.figures.iter().map(length).max().unwrap_or(0);
        let key = width(|figure| figure.key.chars().count());
        let value = width(|figure| figure.value.chars().count());
        for figure in &self.figures {
            let note = figure.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"));
            let (name, text, grade, source) = (&figure.key, &figure.value, figure.grade, &figure.source);
            writeln!(f, "  {name:key$}  {text:value$}  {grade:8}  {source}{note}")?;
        }
        for (key, source) in &self.sources {
            writeln!(f, "  [{key}] {}, {}, {}", source.title, source.date, source.address)?;
        }
        Ok(())
    }
}
