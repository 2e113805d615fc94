//! What a lost supplier costs: the same job on each vendor's machine, a forced move, and a fleet that stands one loss.

use crate::error::Error;
use crate::job::ServingJob;
use crate::session::Session;
use crate::{Answer, compare};
use hardware::origin::{Component, Maker, Origin, Origins};
use hardware::support::{Support, SupportMatrix};
use hardware::{Catalog, Chip, Source};
use planner::compare::Entry;
use planner::serve::Watch;
use report::chart::{Bar, Chart, Drawing};
use report::page::{Document, Grid, GridCell, Reference, Section};
use report::{Surroundings, Words};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The systems, the one in use first, and how much of the service must outlive a loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecondSourceRequest {
    /// Systems, the one in use first.
    pub systems: Vec<String>,
    /// Packages in use; one whole system by default.
    pub chips: Option<u32>,
    /// Share of the service that must be kept when one vendor's machines are gone, above 0 and at most 1.
    pub keep: f64,
}

impl Default for SecondSourceRequest {
    fn default() -> Self {
        Self { systems: Vec::new(), chips: None, keep: 1.0 }
    }
}

/// One vendor's way to do the job.
pub struct Supplier {
    /// The system.
    pub system: String,
    /// Its chip.
    pub chip: Chip,
    /// Its engine.
    pub engine: String,
    /// Output tokens per second and package.
    pub rate: f64,
    /// Half-width of the 80 % band of its logarithm.
    pub spread: f64,
    /// Mean time per output token, seconds.
    pub tpot: f64,
    /// Mean time to the first token, seconds.
    pub ttft: f64,
    /// Joules per token at the plug, where the chip's rating is known.
    pub energy: Option<f64>,
    /// Dollars per million tokens, where a price is known.
    pub cost: Option<f64>,
    /// Purchase price of a package, where it is known.
    pub price: Option<f64>,
    /// Whether the engine claims to run the model.
    pub runs: Support,
    /// Packages for the whole service.
    pub chips: f64,
    /// Who makes what it depends on, each statement with its source.
    pub origins: Vec<(Origin, Source)>,
}

impl Supplier {
    /// Who makes a part, in the words of all statements on it.
    fn makers(&self, part: Component) -> Vec<&Maker> {
        let of = self.origins.iter().filter(|(origin, _)| origin.part == part);
        let mut makers: Vec<&Maker> = of.flat_map(|(origin, _)| &origin.makers).collect();
        makers.sort();
        makers.dedup();
        makers
    }

    /// The ends of the 80 % band of the packages for the service of `first`; `None` for `first` itself.
    fn band(&self, first: &Self) -> Option<(f64, f64)> {
        let spread = self.spread.hypot(first.spread).exp();
        (!std::ptr::eq(self, first) && spread > 1.0)
            .then(|| ((self.chips / spread).ceil(), (self.chips * spread).ceil()))
    }
}

/// Two vendors side by side that stand the loss of either.
pub struct Fleet {
    /// Indices of the two among the sources.
    pub pair: [usize; 2],
    /// Packages of each.
    pub chips: [f64; 2],
    /// Purchase of both, where prices are known.
    pub price: Option<f64>,
}

/// The answer.
pub struct SecondSource {
    /// What was asked.
    pub request: SecondSourceRequest,
    /// The model.
    pub model: String,
    /// Tokens per second that are to be served.
    pub service: f64,
    /// The systems that can do the job, the one in use first.
    pub sources: Vec<Supplier>,
    /// Systems that cannot, and why.
    pub without: Vec<(String, String)>,
    /// Fleets of two vendors, the cheapest first.
    pub fleets: Vec<Fleet>,
}

/// Plans the job on every system, for the service that the first gives.
///
/// # Errors
/// Names that are unknown, fewer than two systems, a first system that cannot do the job.
pub fn second_source(
    session: &Session,
    job: &ServingJob,
    request: &SecondSourceRequest,
    watch: &Watch,
) -> Result<SecondSource, Error> {
    if request.systems.len() < 2 {
        return Err(Error::at("systems", "name the system in use and at least one other"));
    }
    if !(request.keep > 0.0 && request.keep <= 1.0) {
        return Err(Error::at("keep", "must be above 0 and at most 1"));
    }
    let entries = compare(session, job, &request.systems, request.chips, watch)?;
    let (support, origins) = (session.catalog().support()?, session.catalog().origins()?);
    let mut sources = Vec::new();
    let mut without = Vec::new();
    for entry in &entries {
        match &entry.plan {
            Ok(_) => sources.push(source(session, job, entry, (&support, &origins))?),
            Err(reason) => without.push((entry.system.clone(), reason.clone())),
        }
    }
    if entries.first().is_none_or(|entry| entry.plan.is_err()) {
        let why = without.first().map_or("", |(_, why)| why.as_str());
        return Err(Error::no(format!("{} cannot do this job: {why}", request.systems[0])));
    }
    let service = sources[0].rate * sources[0].chips;
    for source in &mut sources[1..] {
        source.chips = service / source.rate;
    }
    let fleets = fleets(&sources, request.keep);
    Ok(SecondSource { request: request.clone(), model: job.model.clone(), service, sources, without, fleets })
}

fn source(
    session: &Session,
    job: &ServingJob,
    entry: &Entry,
    (support, all): (&SupportMatrix, &Origins),
) -> Result<Supplier, Error> {
    let catalog = session.catalog();
    let system = catalog.system(&entry.system)?;
    let chip = catalog.chip(&system.chip)?;
    let Ok(plan) = &entry.plan else { return Err(Error::no(entry.system.clone())) };
    let best = plan.best();
    let predicted = &best.predicted;
    let engine = best.pools.last().map_or_else(String::new, |pool| pool.engine.clone());
    let (runs, _) = support.runs(&chip, &job.model, &engine);
    let origins =
        Component::ALL.into_iter().flat_map(|part| all.of(&chip, &engine, part)).filter_map(|origin| {
            let source = all.sources.get(&origin.source)?;
            Some((origin.clone(), source.clone()))
        });
    let origins = origins.collect();
    Ok(Supplier {
        system: entry.system.clone(),
        engine,
        rate: predicted.throughput_per_chip.value,
        spread: predicted.throughput_per_chip.spread(),
        tpot: predicted.tpot.value,
        ttft: predicted.ttft.value,
        energy: predicted.energy_per_token.as_ref().map(|energy| energy.value),
        cost: predicted.cost_per_million_tokens.as_ref().map(|cost| cost.value),
        price: system.price.as_ref().map(|price| price.value.get()),
        runs,
        chips: predicted.chips,
        origins,
        chip,
    })
}

/// Every pair of two vendors: both together serve everything, and either alone what must be kept. Of the split between the
/// two the cheaper is taken; without prices both carry half.
fn fleets(sources: &[Supplier], keep: f64) -> Vec<Fleet> {
    let mut fleets = Vec::new();
    for (first, mine) in sources.iter().enumerate() {
        for (second, theirs) in sources.iter().enumerate().skip(first + 1) {
            if mine.chip.vendor == theirs.chip.vendor {
                continue;
            }
            let least = keep;
            // What is left once either carries what must be kept goes to the one that serves it for less money.
            let rest = (1.0 - 2.0 * least).max(0.0);
            let money = |source: &Supplier| source.price.map(|price| price * source.chips);
            let cheaper = match (money(mine), money(theirs)) {
                (Some(one), Some(other)) if one > other => [0.0, rest],
                (Some(_), Some(_)) => [rest, 0.0],
                _ => [rest / 2.0, rest / 2.0],
            };
            let chips =
                [mine.chips * (least + cheaper[0]), theirs.chips * (least + cheaper[1])].map(f64::ceil);
            let price = mine.price.zip(theirs.price).map(|(one, other)| one * chips[0] + other * chips[1]);
            fleets.push(Fleet { pair: [first, second], chips, price });
        }
    }
    let order =
        |fleet: &Fleet| (fleet.price.is_none(), fleet.price.unwrap_or(fleet.chips[0] + fleet.chips[1]));
    fleets.sort_by(|a, b| {
        let (a, b) = (order(a), order(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    fleets
}

fn change(now: Option<f64>, then: Option<f64>) -> Option<f64> {
    Some(100.0 * (then? / now? - 1.0))
}

fn percent(words: &Words, value: Option<f64>) -> String {
    match value.map(f64::round) {
        None => words.say("unknown").to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) => format!("{value:+.0}"),
    }
}

impl SecondSource {
    /// The answer as a report.
    pub fn report(&self, setting: &Surroundings<'_>) -> Document {
        let words = setting.words;
        let first = &self.sources[0];
        let service = super::number(self.service);
        let title = words
            .fill("second-title", &[("model", &self.model), ("tokens", &service), ("system", &first.system)]);
        let mut document = Document::new(words, title);
        self.headline(&mut document);
        document
            .push(Section::new(words.say("forced-move")).table(self.moves(words)).charts(self.charts(words)));
        let kept = super::number(100.0 * self.request.keep);
        let fleets = Section::new(words.say("mixed-fleets"));
        document.push(fleets.note(words.fill("mixed-note", &[("share", &kept)])).table(self.mixed(words)));
        document.push(
            Section::new(words.say("dependence"))
                .note(self.shared(words))
                .note(words.say("dependence-note"))
                .table(self.dependence(words)),
        );
        let failed = self.without.iter().cloned();
        document.push(Section::new(words.say("compare-without")).table(Grid::pairs(
            words.say("system"),
            words.say("why"),
            failed,
        )));
        let names = self.sources.iter().flat_map(|source| [source.system.as_str(), source.chip.id.as_str()]);
        setting.close(&mut document, names);
        document.sources.extend(self.documents(words));
        document
    }

    fn headline(&self, document: &mut Document) {
        let words = document.words;
        let first = &self.sources[0];
        let Some(best) = self.other() else {
            document.headline = words.say("second-none").to_owned();
            return;
        };
        let band = best.band(first).map_or_else(String::new, |(low, high)| {
            words.fill("second-band", &[("low", &super::number(low)), ("high", &super::number(high))])
        });
        document.headline = words.fill(
            "second-headline",
            &[
                ("vendor", &first.chip.vendor),
                ("system", &best.system),
                ("chips", &super::number(best.chips.ceil())),
                ("band", &band),
                ("now", &super::number(first.chips)),
                ("cost", &percent(words, change(first.cost, best.cost))),
                ("energy", &percent(words, change(first.energy, best.energy))),
            ],
        );
        let state = words.term(&best.runs.to_string()).to_owned();
        document.certainty = words.fill("second-sure", &[("engine", &best.engine), ("state", &state)]);
    }

    fn moves(&self, words: &Words) -> Grid {
        let mut grid = Grid::default()
            .words(words.say("system"))
            .words(words.say("vendor"))
            .figures(words.say("chips"), "")
            .figures(words.say("throughput"), words.say("unit-tokens-chip"))
            .figures("TTFT", "s")
            .figures("TPOT", "ms")
            .figures(words.say("energy"), "%")
            .figures(words.say("money"), "%")
            .figures(words.say("purchase"), "M$")
            .words(words.say("runs"))
            .words(words.say("evidence"));
        let first = &self.sources[0];
        for (index, source) in self.sources.iter().enumerate() {
            let price = source.price.map(|price| super::number(price * source.chips.ceil() / 1e6));
            let band = source.band(first).map_or_else(String::new, |(low, high)| {
                format!("{}–{}", super::number(low), super::number(high))
            });
            let chips = GridCell { band, ..GridCell::from(super::number(source.chips.ceil())) };
            grid.row([
                GridCell { strong: index == 0, ..source.system.as_str().into() },
                source.chip.vendor.as_str().into(),
                chips,
                super::number(source.rate).into(),
                super::number(source.ttft).into(),
                super::number(source.tpot * 1e3).into(),
                percent(words, change(first.energy, source.energy)).into(),
                percent(words, change(first.cost, source.cost)).into(),
                price.unwrap_or_else(|| words.say("unknown").to_owned()).into(),
                words.term(&source.runs.to_string()).into(),
                source.chip.grade().into(),
            ]);
        }
        grid
    }

    fn charts(&self, words: &Words) -> Vec<Chart> {
        let bar = |source: &Supplier| Bar {
            name: source.system.clone(),
            value: source.chips.ceil(),
            band: source.band(&self.sources[0]),
            text: super::number(source.chips.ceil()),
        };
        let bars = self.sources.iter().map(bar).collect();
        vec![Chart::new(words.say("same-service"), words.say("chips"), Drawing::Bars(bars))]
    }

    fn mixed(&self, words: &Words) -> Grid {
        let mut grid = Grid::default()
            .words(words.say("first-vendor"))
            .figures(words.say("chips"), "")
            .words(words.say("second-vendor"))
            .figures(words.say("chips"), "")
            .figures(words.say("purchase"), "M$")
            .figures(words.say("premium"), "%");
        let alone = self.sources[0].price.map(|price| price * self.sources[0].chips.ceil());
        for fleet in &self.fleets {
            let [first, second] = fleet.pair.map(|index| &self.sources[index]);
            let price = fleet.price.map(|price| super::number(price / 1e6));
            grid.row([
                first.system.clone(),
                super::number(fleet.chips[0]),
                second.system.clone(),
                super::number(fleet.chips[1]),
                price.unwrap_or_else(|| words.say("unknown").to_owned()),
                percent(words, change(alone, fleet.price)),
            ]);
        }
        grid
    }

    /// The documents that say who makes what, each once.
    fn documents(&self, words: &Words) -> Vec<Reference> {
        let mut all: Vec<Reference> = Vec::new();
        for (origin, source) in self.sources.iter().flat_map(|source| &source.origins) {
            let figure = (words.term(origin.part.name()).to_owned(), origin.grade);
            match all.iter_mut().find(|reference| reference.address == source.address) {
                Some(reference) if reference.figures.contains(&figure) => {}
                Some(reference) => reference.figures.push(figure),
                None => all.push(Reference {
                    entry: words.say("dependence").to_owned(),
                    figures: vec![figure],
                    title: source.title.clone(),
                    address: source.address.clone(),
                    date: source.date.clone(),
                }),
            }
        }
        all
    }

    /// The other vendor's system that does the service with the fewest chips.
    fn other(&self) -> Option<&Supplier> {
        let first = &self.sources[0];
        let others = self.sources[1..].iter().filter(|source| source.chip.vendor != first.chip.vendor);
        others.min_by(|a, b| a.chips.total_cmp(&b.chips))
    }

    /// On whom the service still depends after the move.
    fn shared(&self, words: &Words) -> String {
        let (first, Some(other)) = (&self.sources[0], self.other()) else { return String::new() };
        let shared: Vec<String> = Component::ALL
            .into_iter()
            .filter_map(|part| {
                let theirs = other.makers(part);
                let both: Vec<String> = first
                    .makers(part)
                    .into_iter()
                    .filter(|maker| maker.country.is_some() && theirs.contains(maker))
                    .map(ToString::to_string)
                    .collect();
                let names = both.join(words.say("list-comma"));
                (!both.is_empty()).then(|| format!("{}: {names}", words.term(part.name())))
            })
            .collect();
        let values = [("first", first.system.as_str()), ("second", other.system.as_str())];
        if shared.is_empty() {
            return words.fill("dependence-apart", &values);
        }
        let shared = shared.join("; ");
        words.fill("dependence-shared", &[values[0], values[1], ("makers", &shared)])
    }

    /// Who makes what, a row for each statement; a part that nobody speaks of has a row that says so.
    fn dependence(&self, words: &Words) -> Grid {
        let mut grid = Grid::default()
            .words(words.say("system"))
            .words(words.say("part"))
            .words(words.say("made-by"))
            .words(words.say("note"))
            .words(words.say("dated"))
            .words(words.say("evidence"))
            .words(words.say("source"));
        for source in &self.sources {
            for part in Component::ALL {
                let name = words.term(part.name());
                let of: Vec<&(Origin, Source)> =
                    source.origins.iter().filter(|(origin, _)| origin.part == part).collect();
                if of.is_empty() {
                    let unsaid = words.say("not-said");
                    grid.row([source.system.as_str(), name, unsaid, "", "", "", ""]);
                }
                for (origin, document) in of {
                    let makers: Vec<String> = origin.makers.iter().map(ToString::to_string).collect();
                    grid.row::<GridCell>([
                        source.system.as_str().into(),
                        name.into(),
                        makers.join(words.say("list-comma")).into(),
                        origin.note.clone().unwrap_or_default().into(),
                        origin.said.to_string().into(),
                        origin.grade.into(),
                        document.title.as_str().into(),
                    ]);
                }
            }
        }
        grid
    }
}

impl Answer for SecondSource {
    fn document(&self) -> Value {
        let origin = |(origin, document): &(Origin, Source)| {
            json!({
                "part": origin.part, "makers": origin.makers, "note": origin.note, "said": origin.said.to_string(),
                "grade": origin.grade,
                "source": { "title": document.title, "date": document.date, "address": document.address },
            })
        };
        let source = |source: &Supplier| {
            let band = source.band(&self.sources[0]).map(|(low, high)| json!([low, high]));
            json!({
                "system": source.system, "chip": source.chip.id, "vendor": source.chip.vendor, "engine": source.engine,
                "chips": source.chips.ceil(), "chips_band": band,
                "throughput_per_chip": { "value": source.rate, "unit": "tokens/s" },
                "ttft": { "value": source.ttft, "unit": "s" }, "tpot": { "value": source.tpot, "unit": "s" },
                "energy_per_token": source.energy.map(|value| json!({ "value": value, "unit": "J" })),
                "cost_per_million_tokens": source.cost.map(|value| json!({ "value": value, "unit": "USD" })),
                "purchase": source.price.map(|price| json!({ "value": price * source.chips.ceil(), "unit": "USD" })),
                "engine_runs_model": source.runs, "origins": source.origins.iter().map(origin).collect::<Vec<_>>(),
            })
        };
        let fleet = |fleet: &Fleet| {
            let systems = fleet.pair.map(|index| self.sources[index].system.clone());
            json!({
                "systems": systems, "chips": fleet.chips,
                "purchase": fleet.price.map(|price| json!({ "value": price, "unit": "USD" })),
            })
        };
        json!({
            "schema": "supernode.second-source/1", "model": self.model,
            "service": { "value": self.service, "unit": "tokens/s" }, "keep": self.request.keep,
            "sources": self.sources.iter().map(source).collect::<Vec<_>>(),
            "without": self.without.iter().map(|(system, why)| json!({ "system": system, "why": why })).collect::<Vec<_>>(),
            "fleets": self.fleets.iter().map(fleet).collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let catalog = Catalog::builtin();
        let words = Words::of(report::Lang::En);
        self.report(&Surroundings { words, catalog: &catalog, site: None, region: None, launch: &[] }).text()
    }
}
