//! Serving jobs as plain data: what is to be served, within which limits, and what a search may choose from.

use crate::error::Error;
use crate::session::Session;
use planner::compare::Entrant;
use planner::serve::{Job, Objective, Options, Place, Target, Work};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use units::{Dtype, PerSecond, Seconds, Watts};
use workload::{Arrivals, Process, Replay, ReplayOptions, Source};

/// Chips to size within where nothing is said.
const MOST_CHIPS: u32 = 16_384;

/// Requests of a trace that its means are taken from.
const TRACE_REQUESTS: usize = 200_000;

/// What is to be served, within which limits. What is not given has the default in brackets.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServingJob {
    /// Hugging Face id of a built-in model, or the path of a `config.json`.
    pub model: String,
    /// Mean prompt length, tokens; 4096 by default.
    pub isl: Option<u32>,
    /// Mean output length, tokens; 1024 by default.
    pub osl: Option<u32>,
    /// Trace whose lengths are served instead.
    pub trace: Option<PathBuf>,
    /// Share of prompt tokens served from a cache, 0 to below 1; 0 by default.
    pub prefix_hit: Option<f64>,
    /// Most mean time to the first token; 2 s by default.
    pub ttft: Option<Seconds>,
    /// Most mean time per output token; 50 ms by default.
    pub tpot: Option<Seconds>,
    /// Chips to put into the systems instead of their own, by catalog key; each is tried in each system.
    pub chip: Vec<String>,
    /// Engine on every system instead of each chip's usual one.
    pub engine: Option<String>,
    /// Weight formats to consider; the checkpoint's, and eight bits where the chip multiplies them by default.
    pub weight_dtype: Vec<Dtype>,
    /// Cache formats to consider; the engine's, and FP8 where the chip multiplies it by default.
    pub kv_dtype: Vec<Dtype>,
    /// Most draft tokens per step, for models that ship a draft module; 3 by default.
    pub spec_tokens: Option<u32>,
    /// Chance that a draft token is accepted if the one before it was, 0 to 1; 0.7 by default.
    pub spec_accept: Option<f64>,
    /// Token budgets to consider beside the engine's own, for which 0 stands; 2048, 4096, 8192 and 16384 by default.
    pub token_budget: Vec<u32>,
    /// Pipeline stages to consider; 1, 2, 4 and 8 by default.
    pub pp: Vec<u32>,
    /// `throughput`, `cost`, `energy` or `chips`; throughput by default.
    pub objective: Option<String>,
    /// Most that the chips and what stands around them may draw, without cooling; unlimited by default.
    pub power_budget: Option<Watts>,
    /// Requests per second to size for, instead of filling the chips.
    pub target_rate: Option<PerSecond>,
    /// Users to size for who each wait no longer than the limits allow.
    pub target_concurrency: Option<u32>,
    /// Look at aggregated (`agg`) or disaggregated (`disagg`) deployments only.
    pub only: Option<String>,
    /// Whether prefill may run on one of the systems and decode on another.
    pub mix: bool,
    /// Deployments to list; 5 by default.
    pub top: Option<u16>,
}

fn within(key: &str, value: f64, allowed: &str, ok: bool) -> Result<f64, Error> {
    if ok { Ok(value) } else { Err(Error::at(key, format!("{value} is out of range; allowed is {allowed}"))) }
}

impl ServingJob {
    /// The job as the search takes it; what it may choose from is `usual` where nothing is said.
    ///
    /// # Errors
    /// A value out of its range, named by its key; a trace that cannot be read.
    pub fn resolve(&self, usual: Options) -> Result<Job, Error> {
        if self.model.is_empty() {
            return Err(Error::at("model", "is needed"));
        }
        let hit = self.prefix_hit.unwrap_or(0.0);
        within("prefix_hit", hit, "0 to below 1", (0.0..1.0).contains(&hit))?;
        let acceptance = self.spec_accept.unwrap_or(0.7);
        within("spec_accept", acceptance, "0 to 1", (0.0..=1.0).contains(&acceptance))?;
        let ttft = self.ttft.unwrap_or(Seconds::new(2.0));
        let tpot = self.tpot.unwrap_or(Seconds::from_ms(50.0));
        for (key, limit) in [("ttft", ttft), ("tpot", tpot)] {
            if !(limit > Seconds::ZERO && limit.get().is_finite()) {
                return Err(Error::at(key, format!("{limit} is out of range; give a time above 0")));
            }
        }
        for (key, tokens) in [("isl", self.isl), ("osl", self.osl)] {
            if tokens.is_some_and(|tokens| !(1..=10_000_000).contains(&tokens)) {
                return Err(Error::at(key, "is out of range; allowed is 1 to 10000000 tokens"));
            }
            if tokens.is_some() && self.trace.is_some() {
                return Err(Error::at(key, "lengths come from the trace; give one or the other"));
            }
        }
        let mut job = match &self.trace {
            Some(path) => of_trace(&self.model, path, hit, ttft, tpot)?,
            None => {
                let (isl, osl) = (self.isl.unwrap_or(4096), self.osl.unwrap_or(1024));
                Job { work: Work::new(isl, osl, hit), ..Job::new(&self.model, isl, osl, ttft, tpot) }
            }
        };
        job.acceptance = acceptance;
        job.objective = match &self.objective {
            Some(text) => text.parse::<Objective>().map_err(|error| Error::at("objective", error))?,
            None => Objective::Throughput,
        };
        if let Some(budget) = self.power_budget {
            within(
                "power_budget",
                budget.get(),
                "a power above 0",
                budget > Watts::ZERO && budget.get().is_finite(),
            )?;
        }
        job.power_budget = self.power_budget;
        job.target = self.target()?;
        job.options = self.options(usual)?;
        Ok(job)
    }

    fn target(&self) -> Result<Target, Error> {
        match (self.target_rate, self.target_concurrency) {
            (Some(_), Some(_)) => Err(Error::at("target_rate", "give a rate or a concurrency, not both")),
            (Some(rate), None) if !(rate.get() > 0.0 && rate.get().is_finite()) => {
                Err(Error::at("target_rate", "give a rate above 0"))
            }
            (Some(rate), None) => Ok(Target::Rate(rate)),
            (None, Some(0)) => Err(Error::at("target_concurrency", "give at least one user")),
            (None, Some(users)) => Ok(Target::Concurrency(f64::from(users))),
            (None, None) => Ok(Target::Most),
        }
    }

    fn options(&self, usual: Options) -> Result<Options, Error> {
        let drafts = self.spec_tokens.unwrap_or(usual.drafts);
        within("spec_tokens", f64::from(drafts), "0 to 16", drafts <= 16)?;
        let or =
            |given: &[u32], usual: &[u32]| if given.is_empty() { usual.to_vec() } else { given.to_vec() };
        let mut budgets = or(&self.token_budget, &usual.budgets);
        budgets.retain(|budget| *budget > 0);
        let stages = or(&self.pp, &usual.stages);
        if stages.contains(&0) {
            return Err(Error::at("pp", "0 is out of range; a pipeline has at least one stage"));
        }
        let (aggregated, disaggregated) = match self.only.as_deref() {
            None => (usual.aggregated, usual.disaggregated),
            Some("agg") => (true, false),
            Some("disagg") => (false, true),
            Some(other) => {
                return Err(Error::at("only", format!("`{other}` is not known; use agg or disagg")));
            }
        };
        Ok(Options {
            engine: self.engine.clone(),
            weights: self.weight_dtype.clone(),
            caches: self.kv_dtype.clone(),
            drafts,
            budgets,
            stages,
            aggregated,
            disaggregated,
            mix: self.mix,
            top: self.top.map_or(usual.top, usize::from),
            ..usual
        })
    }

    /// Where it may run: so many chips of each of `systems`, the system's own number if `chips` is absent and no load is
    /// given.
    pub fn places(&self, systems: &[String], chips: Option<u32>) -> Vec<Place> {
        let sized = self.target_rate.is_some() || self.target_concurrency.is_some();
        let chips = chips.or(sized.then_some(MOST_CHIPS));
        let place = |system: &String, chip: Option<String>| Place { system: system.clone(), chip, chips };
        self.placed(systems).into_iter().map(|(system, chip)| place(system, chip)).collect()
    }

    /// Each system with each chip that is to be put into it; with its own if none is.
    fn placed<'a>(&self, systems: &'a [String]) -> Vec<(&'a String, Option<String>)> {
        let own = [None];
        let chips: Vec<Option<String>> = self.chip.iter().cloned().map(Some).collect();
        let chips = if chips.is_empty() { &own[..] } else { &chips };
        systems.iter().flat_map(|system| chips.iter().map(move |chip| (system, chip.clone()))).collect()
    }

    /// What a comparison compares: each of `systems`, which may name its region behind an `@`, with each of the job's chips
    /// in it; without systems, each chip in its usual one.
    ///
    /// # Errors
    /// A chip or a region is unknown, or there is neither a system nor a chip.
    pub fn entrants(&self, session: &Session, systems: &[String]) -> Result<Vec<Entrant>, Error> {
        let entrant = |system: &str, chip: Option<String>, region: Option<&str>| {
            Ok(Entrant {
                system: system.to_owned(),
                chip,
                region: region.map(str::to_owned),
                site: session.site_in(region)?,
            })
        };
        if systems.is_empty() {
            if self.chip.is_empty() {
                return Err(Error::at("system", "is needed; name systems or chips to compare"));
            }
            let usual = |name: &String| {
                let (system, chip) = session.catalog().usual_place(name)?;
                let own = session.resolver().system(&system)?.chip == chip.id;
                entrant(&system, (!own).then(|| chip.id.clone()), None)
            };
            return self.chip.iter().map(usual).collect();
        }
        let placed = self.placed(systems).into_iter();
        placed
            .map(|(system, chip)| match system.split_once('@') {
                Some((system, region)) => entrant(system, chip, Some(region)),
                None => entrant(system, chip, None),
            })
            .collect()
    }
}

/// Means over a trace's requests; a decoding step sees each for as long as its answer is.
fn of_trace(model: &str, path: &Path, hit: f64, ttft: Seconds, tpot: Seconds) -> Result<Job, Error> {
    // Only lengths are used, so that a trace without times will do: any will stand in.
    let process = Process::Constant { rate: PerSecond::new(1.0) };
    let options = ReplayOptions { arrivals: Some(Arrivals::new(process, 0)?), ..ReplayOptions::default() };
    let mut replay = Replay::open(path, options)?;
    let mut lengths = Vec::new();
    while lengths.len() < TRACE_REQUESTS {
        let Some(arrival) = replay.pop()? else { break };
        // Only lengths are wanted: what waits for this request may come next.
        replay.ended(arrival.ticket, arrival.at);
        lengths.push((arrival.input.max(1), arrival.output.max(1)));
    }
    if lengths.is_empty() {
        return Err(Error::at("trace", format!("{}: has no requests to take lengths from", path.display())));
    }
    let count = lengths.len() as f64;
    let mean = |of: &dyn Fn(f64, f64) -> f64| {
        lengths.iter().map(|(input, output)| of(f64::from(*input), f64::from(*output))).sum::<f64>() / count
    };
    let (input, output) = (mean(&|input, _| input), mean(&|_, output| output));
    let work = Work {
        new: input * (1.0 - hit),
        cached: input * hit,
        output,
        context: mean(&|input, output| output * (input + output / 2.0)) / output,
        held: mean(&|input, output| output * (input + output)) / output,
        // Of lengths that are uniform around their mean the longest exceeds it by this many standard deviations.
        excess: 3_f64.sqrt() * (mean(&|i, _| i * i) - input * input).max(0.0).sqrt() / input,
    };
    let longest = lengths.iter().map(|(input, output)| input.saturating_add(*output)).max();
    let job = Job::new(model, input.round() as u32, output.round() as u32, ttft, tpot);
    Ok(Job { longest: longest.unwrap_or(job.longest), work, lengths: Some(Arc::new(lengths)), ..job })
}
