//! What runs a model on a chip, with which features, and what a move there asks for.

use crate::Answer;
use crate::error::Error;
use crate::session::Session;
use hardware::support::{Claim, Purpose, Support, SupportMatrix};
use hardware::{Catalog, Chip};
use model::Model;
use planner::plan_file::{DeploymentFile, DeploymentMode, PoolFile};
use report::page::{Document, Grid, GridCell, Section};
use report::{Surroundings, Words};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use units::Dtype;

/// Features in the order they are shown.
const FEATURES: [&str; 15] = [
    "tensor-parallel",
    "pipeline-parallel",
    "data-parallel",
    "expert-parallel",
    "chunked-prefill",
    "prefix-cache",
    "speculative-decoding",
    "disaggregation",
    "graphs-full",
    "graphs-piecewise",
    "async-scheduling",
    "lora",
    "bf16",
    "w8a8",
    "fp8",
];

/// Share of the memory that weights may fill, which leaves the rest to the cache and the engine.
const FOR_WEIGHTS: f64 = 0.8;

/// A model and where it is to run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitRequest {
    /// The model.
    pub model: String,
    /// The system, or a chip.
    pub system: String,
    /// One engine instead of all there are.
    pub engine: Option<String>,
}

/// What one engine says.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineFit {
    /// The engine.
    pub engine: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether it runs the model.
    pub state: Support,
    /// What its document calls the model.
    pub said_of: Option<String>,
    /// Features, those of the model before those of every model.
    pub features: BTreeMap<String, Support>,
    /// Longest context that was shown to run.
    pub longest: Option<u64>,
    /// What else is said.
    pub notes: Vec<String>,
    /// Who says so: title, date, address.
    pub sources: Vec<(String, String, String)>,
}

/// A format the weights can have.
#[derive(Debug, Clone, PartialEq)]
pub struct FormatFit {
    /// The format.
    pub format: Dtype,
    /// Size of the weights, bytes.
    pub bytes: f64,
    /// Fewest packages that hold them.
    pub chips: u32,
    /// Whether the chip multiplies it.
    pub multiplied: bool,
    /// Whether it is the checkpoint's.
    pub checkpoint: bool,
}

/// The answer.
pub struct Fit {
    /// What was asked.
    pub request: FitRequest,
    /// The model.
    pub model: Arc<Model>,
    /// The chip.
    pub chip: Chip,
    /// What engines say, those that run it first.
    pub engines: Vec<EngineFit>,
    /// Formats of the weights.
    pub formats: Vec<FormatFit>,
}

/// Says what runs `request.model` on `request.system`.
///
/// # Errors
/// Names that are unknown.
pub fn fit(session: &Session, request: &FitRequest) -> Result<Fit, Error> {
    let catalog = session.catalog();
    let chip = catalog.chip_or_that_of_a_system(&request.system)?;
    let model = session.resolver().model(&request.model)?;
    let matrix = catalog.support()?;
    if let Some(wanted) = &request.engine
        && !matrix.claims.iter().any(|claim| wanted.starts_with(&claim.engine))
    {
        let problem =
            format!("nothing is known of what `{wanted}` runs; leave it out to see whose claims are known");
        return Err(Error::at("engine", problem));
    }
    let mut names: Vec<(String, Purpose)> = Vec::new();
    let about = matrix.claims.iter().filter(|claim| claim.is_about(&chip));
    let wanted = |engine: &str| request.engine.as_deref().is_none_or(|wanted| wanted.starts_with(engine));
    for claim in about.filter(|claim| wanted(&claim.engine)) {
        let name = (claim.engine.clone(), claim.purpose);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut engines: Vec<EngineFit> = names
        .into_iter()
        .map(|(engine, purpose)| engine_fit(&matrix, &chip, &model.id, engine, purpose))
        .collect();
    engines.sort_by_key(|engine| (engine.purpose == Purpose::Train, engine.state));
    let formats = formats(&model, &chip);
    Ok(Fit { request: request.clone(), model, chip, engines, formats })
}

fn engine_fit(
    matrix: &SupportMatrix,
    chip: &Chip,
    model: &str,
    engine: String,
    purpose: Purpose,
) -> EngineFit {
    let (state, decided) = matrix.runs(chip, model, &engine);
    let claims: Vec<&Claim> = matrix
        .of(chip, model)
        .into_iter()
        .filter(|claim| claim.engine == engine && claim.purpose == purpose)
        .collect();
    let mut features = BTreeMap::new();
    let mut sources = Vec::new();
    let mut notes = Vec::new();
    for claim in &claims {
        for (feature, state) in &claim.features {
            features.entry(feature.clone()).or_insert(*state);
        }
        notes.extend(claim.note.clone());
        if let Some(source) = matrix.sources.get(&claim.source) {
            let source = (source.title.clone(), source.date.clone(), source.address.clone());
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
    }
    EngineFit {
        engine,
        purpose,
        state,
        said_of: decided.map(|claim| claim.name.clone()),
        features,
        longest: claims.iter().find_map(|claim| claim.longest),
        notes,
        sources,
    }
}

fn formats(model: &Model, chip: &Chip) -> Vec<FormatFit> {
    let own = model.quantization.weights;
    let parameters = model.parameters().total() as f64;
    let room = chip.rank.memory.value.get() * f64::from(chip.ranks) * FOR_WEIGHTS;
    let mut all = vec![own];
    all.extend([Dtype::Bf16, Dtype::Fp8, Dtype::Int8].into_iter().filter(|dtype| *dtype != own));
    let of = |format: Dtype| {
        let bytes = match format == own {
            true => model.weight_bytes().iter().map(|(_, bytes)| bytes.get()).sum(),
            false => parameters * format.bytes(),
        };
        FormatFit {
            format,
            bytes,
            chips: (bytes / room).ceil().max(1.0) as u32,
            multiplied: chip
                .rank
                .matrix
                .keys()
                .any(|dtype| dtype.bytes() == format.bytes() && same_kind(*dtype, format)),
            checkpoint: format == own,
        }
    };
    all.into_iter().map(of).filter(|format| format.checkpoint || format.multiplied).collect()
}

/// Whether matrix units that multiply `unit` multiply `format`: blocks share the units of their elements.
fn same_kind(unit: Dtype, format: Dtype) -> bool {
    let kind = |dtype: Dtype| {
        let name = dtype.to_string();
        let name = name.split('_').next().unwrap_or_default().to_owned();
        if name == "fp16" { "bf16".to_owned() } else { name }
    };
    kind(unit) == kind(format)
}

impl Fit {
    /// The engines that serve.
    fn serving(&self) -> impl Iterator<Item = &EngineFit> {
        self.engines.iter().filter(|engine| engine.purpose == Purpose::Serve)
    }

    /// Whether every engine that speaks of the model says no.
    pub fn is_refused(&self) -> bool {
        self.serving().next().is_some() && self.serving().all(|engine| engine.state == Support::No)
    }

    /// What a move to the chip asks for.
    fn work(&self, words: &Words) -> Vec<String> {
        let mut work = Vec::new();
        let chip = &self.chip.name;
        if let Some(own) = self.formats.iter().find(|format| format.checkpoint && !format.multiplied) {
            work.push(words.fill("fit-requantise", &[("format", &own.format.to_string()), ("chip", chip)]));
        }
        let best = self.serving().next();
        if let Some(best) = best {
            let lacks = |wanted: Support| {
                let all =
                    FEATURES[..9].iter().filter(|feature| best.features.get(**feature) == Some(&wanted));
                all.copied().collect::<Vec<&str>>().join(", ")
            };
            let (no, untested) = (lacks(Support::No), lacks(Support::Untested));
            if !no.is_empty() {
                work.push(words.fill("fit-without", &[("engine", &best.engine), ("features", &no)]));
            }
            if !untested.is_empty() {
                work.push(words.fill("fit-try", &[("engine", &best.engine), ("features", &untested)]));
            }
            if best.state != Support::Yes {
                let state = words.term(&best.state.to_string()).to_owned();
                work.push(words.fill("fit-acceptance", &[("engine", &best.engine), ("state", &state)]));
            }
            if let Some(longest) = best.longest.filter(|longest| *longest < u64::from(self.model.max_context))
            {
                let (longest, own) = (longest.to_string(), self.model.max_context.to_string());
                work.push(words.fill("fit-context", &[("longest", &longest), ("own", &own)]));
            }
        }
        if !self.chip.vendor.eq_ignore_ascii_case("NVIDIA") {
            work.push(words.fill("fit-kernels", &[("vendor", &self.chip.vendor)]));
        }
        work.push(words.say("fit-cost-unknown").to_owned());
        work
    }

    /// The answer as a report.
    pub fn report(&self, setting: &Surroundings<'_>) -> Document {
        let words = setting.words;
        let names = [("model", self.model.id.as_str()), ("chip", self.chip.name.as_str())];
        let mut document = Document::new(words, words.fill("fit-title", &names));
        let best = self.serving().next();
        document.headline = match best {
            None => words.fill("fit-nobody", &names),
            Some(best) => {
                let values = [names[0], names[1], ("engine", best.engine.as_str())];
                match best.state {
                    Support::Yes => words.fill("fit-yes", &values),
                    Support::Experimental => words.fill("fit-experimental", &values),
                    Support::Untested => words.fill("fit-untested", &values),
                    Support::No => words.fill("fit-no", &values),
                }
            }
        };
        document.certainty = best.and_then(|best| best.sources.first()).map_or_else(
            || words.say("fit-unsure").to_owned(),
            |(title, date, _)| words.fill("fit-sure", &[("source", title), ("date", date)]),
        );
        document.push(Section::new(words.say("engines")).table(self.engines_table(words)));
        document.push(
            Section::new(words.say("features"))
                .note(words.say("features-note"))
                .table(self.features_table(words)),
        );
        document.push(Section::new(words.say("formats")).table(self.formats_table(words)));
        let mut grid = Grid::default().words(words.say("porting"));
        for line in self.work(words) {
            grid.row([line]);
        }
        document.push(Section::new(words.say("porting")).table(grid));
        for engine in &self.engines {
            for (title, date, address) in &engine.sources {
                let statement = format!("{}: {title}, {date}, {address}", engine.engine);
                document.assume(words.say("source"), statement);
            }
        }
        document.sources = report::page::references(setting.catalog, [self.chip.id.as_str()]);
        document
    }

    fn engines_table(&self, words: &Words) -> Grid {
        let mut grid = Grid::default()
            .words(words.say("engine"))
            .words(words.say("purpose"))
            .words(words.say("runs"))
            .words(words.say("said-of"))
            .figures(words.say("longest"), words.say("unit-token"))
            .words(words.say("note"));
        for engine in &self.engines {
            let purpose = match engine.purpose {
                Purpose::Serve => words.say("serving"),
                Purpose::Train => words.say("training"),
            };
            grid.row([
                GridCell { strong: true, ..engine.engine.as_str().into() },
                purpose.into(),
                words.term(&engine.state.to_string()).into(),
                engine.said_of.as_deref().unwrap_or(words.say("nobody")).into(),
                engine
                    .longest
                    .map_or_else(|| words.say("not-said").to_owned(), |longest| longest.to_string())
                    .into(),
                engine.notes.join("; ").into(),
            ]);
        }
        grid
    }

    fn features_table(&self, words: &Words) -> Grid {
        let serving: Vec<&EngineFit> = self.serving().collect();
        let mut grid = Grid::default().words(words.say("feature"));
        for engine in &serving {
            grid = grid.key(engine.engine.clone());
        }
        for feature in FEATURES {
            let states: Vec<Option<Support>> =
                serving.iter().map(|engine| engine.features.get(feature).copied()).collect();
            if states.iter().all(Option::is_none) {
                continue;
            }
            let said = |state: &Option<Support>| match state {
                Some(state) => words.term(&state.to_string()).to_owned(),
                None => words.say("not-said").to_owned(),
            };
            let mut row = vec![words.term(feature).to_owned()];
            row.extend(states.iter().map(said));
            grid.row(row);
        }
        grid
    }

    fn formats_table(&self, words: &Words) -> Grid {
        let mut grid = Grid::default()
            .words(words.say("format"))
            .figures(words.say("weights-size"), "GB")
            .figures(words.say("least-chips"), "")
            .words(words.say("multiplied"))
            .words(words.say("note"));
        for format in &self.formats {
            let yes = if format.multiplied { words.term("yes") } else { words.term("no") };
            grid.row([
                format.format.to_string(),
                super::number(format.bytes / 1e9),
                format.chips.to_string(),
                yes.to_owned(),
                if format.checkpoint { words.say("checkpoint").to_owned() } else { String::new() },
            ]);
        }
        grid
    }
}

impl Answer for Fit {
    fn document(&self) -> Value {
        let engine = |engine: &EngineFit| {
            let sources = engine
                .sources
                .iter()
                .map(|(title, date, address)| json!({ "title": title, "date": date, "address": address }));
            json!({
                "engine": engine.engine, "use": engine.purpose, "runs": engine.state, "said_of": engine.said_of,
                "features": engine.features, "longest": engine.longest, "notes": engine.notes,
                "sources": sources.collect::<Vec<_>>(),
            })
        };
        let format = |format: &FormatFit| {
            json!({
                "format": format.format.to_string(), "weights": { "value": format.bytes, "unit": "B" },
                "least_chips": format.chips, "multiplied": format.multiplied, "checkpoint": format.checkpoint,
            })
        };
        json!({
            "schema": "supernode.fit/1", "model": self.model.id, "chip": self.chip.id,
            "engines": self.engines.iter().map(engine).collect::<Vec<_>>(),
            "formats": self.formats.iter().map(format).collect::<Vec<_>>(),
            "work": self.work(Words::of(report::Lang::En)),
        })
    }

    fn text(&self) -> String {
        let catalog = Catalog::builtin();
        let words = Words::of(report::Lang::En);
        self.report(&Surroundings { words, catalog: &catalog, site: None, region: None, launch: &[] }).text()
    }
}

/// What a deployment uses that its engine does not claim to support on its chip, a line each. An engine that nobody says
/// anything of is left alone: there is nothing to hold a plan against.
///
/// # Errors
/// A catalog that cannot be read.
pub fn unsupported(catalog: &Catalog, model: &str, plan: &DeploymentFile) -> Result<Vec<String>, Error> {
    let matrix = catalog.support()?;
    let mut lines = Vec::new();
    for pool in &plan.pools {
        let chip = catalog.chip(&pool.chip)?;
        if !matrix.speaks_of(&chip, &pool.engine) {
            continue;
        }
        let mut say = |what: &str, state: Support, claim: Option<&Claim>| {
            let (name, date) = claim.and_then(|claim| matrix.sources.get(&claim.source)).map_or_else(
                || ("nobody speaks of it".to_owned(), String::new()),
                |source| (source.title.clone(), format!(" ({})", source.date)),
            );
            let line = match state {
                Support::Yes => return,
                Support::No => {
                    format!("{} on {} does not support {what}, says {name}{date}", pool.engine, chip.name)
                }
                Support::Experimental => {
                    format!(
                        "{} on {} supports {what} as an experiment, says {name}{date}",
                        pool.engine, chip.name
                    )
                }
                Support::Untested => {
                    format!("{what} is untested with {} on {}: {name}{date}", pool.engine, chip.name)
                }
            };
            if !lines.contains(&line) {
                lines.push(line);
            }
        };
        let (state, claim) = matrix.runs(&chip, model, &pool.engine);
        say(model, state, claim);
        for feature in used(pool, plan.mode) {
            let (state, claim) = matrix.feature(&chip, model, &pool.engine, feature);
            // A feature nobody speaks of is no finding where the model itself is untested.
            if claim.is_some() {
                say(&feature.replace('-', " "), state, claim);
            }
        }
    }
    Ok(lines)
}

/// Features that instances of a pool use.
fn used(pool: &PoolFile, mode: DeploymentMode) -> Vec<&'static str> {
    let format = pool.weight_dtype.to_string();
    [
        ("tensor-parallel", pool.tp > 1),
        ("pipeline-parallel", pool.pp > 1),
        ("data-parallel", pool.dp > 1),
        ("expert-parallel", pool.ep > 1),
        ("chunked-prefill", pool.chunked_prefill),
        ("speculative-decoding", pool.spec_tokens > 0),
        ("disaggregation", mode == DeploymentMode::Disaggregated),
        ("w8a8", format.starts_with("int8")),
        ("fp8", format.starts_with("fp8")),
        ("bf16", format == "bf16"),
    ]
    .into_iter()
    .filter(|(_, used)| *used)
    .map(|(feature, _)| feature)
    .collect()
}
