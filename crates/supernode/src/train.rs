//! Training jobs: what one step takes, and what a run of many costs.

use crate::Answer;
use crate::error::Error;
use crate::session::Session;
use hardware::money;
use model::Model;
use report::train::{LongRunRequest, TrainReport, Trained};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use training::goodput::Reliability;
use training::site::{self, Site};
use training::spec::{JobSpec, parse_tokens};
use training::{Job, Machine, Profile, Step, check_memory, price};
use units::Seconds;

/// Ranks beyond which a count is taken for a slip of the pen.
const MAX_RANKS: u32 = 4_000_000;

/// Times between checkpoints that make sense, in seconds: up to a year.
const CHECKPOINT_INTERVAL: std::ops::RangeInclusive<f64> = 1.0..=365.0 * 86_400.0;

/// A run of many steps. What is not given has the default in brackets.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LongRun {
    /// Tokens to train on, for example `15.6T`; those of the job, if it has some.
    pub tokens: Option<String>,
    /// Time between checkpoints; the optimum by default.
    pub checkpoint_interval: Option<Seconds>,
    /// Spare chips kept ready; enough for 99.9 % of the time by default.
    pub spares: Option<u32>,
}

/// What a launch says beside what is given.
#[derive(Debug, Clone, Default)]
pub struct Launched {
    /// Its keys; those of the job come before them.
    pub spec: JobSpec,
    /// Its model, if the job names none.
    pub model: Option<Model>,
    /// Its devices as software sees them, which may be several to a chip.
    pub devices: Option<u32>,
}

/// A job with everything it runs on.
pub struct Prepared {
    /// The job in words.
    pub spec: JobSpec,
    /// What was given of it, apart from the launch.
    pub given: JobSpec,
    /// The model.
    pub model: Arc<Model>,
    /// Where it runs.
    pub site: Site,
    /// Under what.
    pub profile: Profile,
    /// Packages.
    pub chips: u32,
    paying: money::Site,
    reliability: Reliability,
    session: Session,
    launched: Launched,
}

impl Prepared {
    /// What is paid where it runs.
    pub fn paying(&self) -> &money::Site {
        &self.paying
    }

    /// Looks up what a job names; `launched` is what a launch says beside it.
    ///
    /// # Errors
    /// Names that are unknown, no model, no system, devices that are no whole chips.
    pub fn new(session: &Session, given: &JobSpec, launched: Option<Launched>) -> Result<Self, Error> {
        let said = launched.unwrap_or_default();
        let launched = said.clone();
        let spec = given.clone().or(launched.spec);
        let catalog = session.catalog();
        let model = match (&spec.model, spec.shape_model()?) {
            (Some(name), _) => session.resolver().model(name)?,
            (None, Some(model)) => Arc::new(model),
            (None, None) => Arc::new(launched.model.ok_or_else(|| {
                Error::at("model", "say what to train: `model`, `shape`, a job or a launch script")
            })?),
        };
        let system = match (&spec.system, &spec.chip) {
            (Some(system), _) => system.clone(),
            (None, Some(chip)) => catalog.usual_place(chip)?.0,
            (None, None) => {
                let why = "say where to train: the key of a system of the catalog";
                return Err(Error::at("system", why));
            }
        };
        let site = Site::new(catalog, &system, spec.chip.as_deref(), spec.nic)?;
        let framework = spec.framework.as_deref().unwrap_or("megatron");
        let profile = site::profile(catalog, framework, spec.release.as_deref())?;
        let chips = match (spec.chips, launched.devices) {
            (Some(chips), _) => chips,
            (None, Some(devices)) => chips_of(devices, site.chip.ranks)?,
            (None, None) => site.system.chips,
        };
        let paying = *session.site();
        let reliability = Reliability::parse(catalog.text("failures", "default")?)?;
        let (session, launched) = (session.clone(), said);
        let given = given.clone();
        Ok(Self { spec, given, model, site, profile, chips, paying, reliability, session, launched })
    }

    /// Refuses replaced figures that have no part in an answer; `again` gives it for the same job on other facts.
    pub(crate) fn refuse_idle_figures(
        &self,
        answer: impl FnOnce() -> Value,
        again: impl Fn(&Self) -> Result<Value, Error>,
    ) -> Result<(), Error> {
        self.session.refuse_idle_figures(answer, |session| {
            again(&Self::new(session, &self.given, Some(self.launched.clone()))?)
        })
    }

    /// Ranks of so many packages.
    ///
    /// # Errors
    /// None, or more than anybody has.
    pub fn ranks(&self, chips: u32) -> Result<u32, Error> {
        let ranks =
            chips.checked_mul(self.site.chip.ranks.max(1)).filter(|ranks| *ranks > 0 && *ranks <= MAX_RANKS);
        ranks.ok_or_else(|| Error::at("chips", format!("{chips}: give 1 to {MAX_RANKS} ranks")))
    }

    /// What prices it.
    pub fn machine(&self) -> Machine<'_> {
        Machine { chip: &self.site.chip, pricer: &self.site.pricer, profile: &self.profile }
    }

    /// The job beside its layout, in the words of its keys.
    pub fn words(&self) -> Value {
        let spec = &self.spec;
        json!({
            "model": spec.model,
            "shape": if spec.model.is_none() { spec.shape.clone() } else { None },
            "system": self.site.system.id,
            "chip": spec.chip,
            "nic": spec.nic.map(|nic| format!("{} GB/s", nic.get() / 1e9)),
            "framework": self.profile.framework,
            "release": self.profile.release,
        })
    }

    /// A priced job of it.
    pub fn trained<'a>(&'a self, job: &'a Job, step: &'a Step, words: &'a Value) -> Trained<'a> {
        Trained { job, step, site: &self.site, profile: &self.profile, paying: self.paying, words }
    }

    /// The report of a priced job, and of the run of many steps that is asked for.
    ///
    /// # Errors
    /// Tokens that are no number, or what has no effect without them.
    pub fn report(&self, job: &Job, step: &Step, run: &LongRun) -> Result<TrainReport, Error> {
        let words = self.words();
        let trained = self.trained(job, step, &words);
        let tokens = run.tokens.as_ref().or(self.spec.tokens.as_ref());
        for (key, given) in
            [("checkpoint_interval", run.checkpoint_interval.is_some()), ("spares", run.spares.is_some())]
        {
            if given && tokens.is_none() {
                return Err(Error::input(format!(
                    "`{key}` has no effect without `tokens`: say how long the run is"
                )));
            }
        }
        if run.checkpoint_interval.is_some_and(|interval| !CHECKPOINT_INTERVAL.contains(&interval.get())) {
            return Err(Error::at("checkpoint_interval", "give 1 s to 365 d"));
        }
        let request = match tokens {
            Some(text) => Some(LongRunRequest {
                tokens: parse_tokens(text)?,
                reliability: &self.reliability,
                interval: run.checkpoint_interval,
                spares: run.spares,
            }),
            None => None,
        };
        let report = TrainReport::new(&trained, request.as_ref());
        if report.ends() {
            return Ok(report);
        }
        let why =
            "the run never ends: it is interrupted before what it has done is saved; checkpoint more often";
        Err(Error::no(why))
    }
}

/// Chips that hold the devices of a launch.
fn chips_of(devices: u32, ranks: u32) -> Result<u32, Error> {
    let ranks = ranks.max(1);
    if devices % ranks == 0 {
        return Ok(devices / ranks);
    }
    Err(Error::at(
        "chips",
        format!("the launch is for {devices} devices, and a chip of this system is {ranks}: give `chips`"),
    ))
}

/// A priced training job.
pub struct Training {
    /// The job.
    pub job: Job,
    /// What one step takes.
    pub step: Step,
    /// What is said of it.
    pub report: TrainReport,
}

/// What one step of a job takes, in time, memory and money, and a run of many if `run` asks for one.
///
/// # Errors
/// Sizes that do not go together, what the framework cannot do, a job that does not fit in memory.
pub fn train(prepared: &Prepared, run: &LongRun) -> Result<Training, Error> {
    let trained = train_once(prepared, run)?;
    prepared.refuse_idle_figures(|| trained.document(), |other| Ok(train_once(other, run)?.document()))?;
    Ok(trained)
}

fn train_once(prepared: &Prepared, run: &LongRun) -> Result<Training, Error> {
    prepared.spec.check_effects(&prepared.given, &prepared.model)?;
    let ranks = prepared.ranks(prepared.chips)?;
    let job = prepared.spec.job_under(prepared.model.as_ref().clone(), ranks, &prepared.profile)?;
    let step = price(&job, &prepared.machine())?;
    check_memory(&job, &step, &prepared.site.chip).map_err(|error| Error::from(error).into_no())?;
    let report = prepared.report(&job, &step, run)?;
    Ok(Training { job, step, report })
}

impl Answer for Training {
    fn document(&self) -> Value {
        serde_json::to_value(&self.report).unwrap_or_default()
    }

    fn json(&self) -> String {
        format!("{}\n", self.report.json())
    }

    fn text(&self) -> String {
        self.report.text()
    }
}
