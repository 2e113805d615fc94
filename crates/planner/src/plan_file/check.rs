//! What the values of a plan file may be: a plan that was edited, or made by somebody else, is used as it stands.

use super::{DeploymentFile, DeploymentMode, PlanFile, PlanFileError, PoolFile, PoolRole};

/// Most ranks of one instance, and most of any of its sizes.
const MOST_RANKS: u64 = 1 << 20;

/// Most instances of a pool.
const MOST_INSTANCES: u64 = 1 << 17;

/// Most tokens, sequences or replicas of anything in a plan.
const MOST_COUNT: u64 = 1 << 30;

/// Longest name in a plan, bytes.
const LONGEST_NAME: usize = 4096;

type Checked = Result<(), PlanFileError>;

impl PlanFile {
    /// Checks every value that a launch takes from the plan.
    ///
    /// # Errors
    /// The first value that no plan has.
    pub(super) fn check(&self) -> Checked {
        let at = |key: &str| key.to_owned();
        name(at("model"), &self.model)?;
        range(at("job.isl"), self.job.isl.into(), 1, MOST_COUNT)?;
        range(at("job.osl"), self.job.osl.into(), 1, MOST_COUNT)?;
        share(at("job.prefix_hit"), self.job.prefix_hit, 0.0)?;
        deployment("best", &self.best)?;
        for (key, found) in [("aggregated", &self.aggregated), ("disaggregated", &self.disaggregated)] {
            found.iter().try_for_each(|found| deployment(key, found))?;
        }
        for (key, list) in [("front", &self.front), ("top", &self.top)] {
            let mut numbered = list.iter().enumerate();
            numbered.try_for_each(|(index, one)| deployment(&format!("{key}[{index}]"), one))?;
        }
        Ok(())
    }
}

fn wrong(key: String, problem: impl Into<String>) -> Checked {
    Err(PlanFileError::Key { key, problem: problem.into() })
}

fn range(key: String, value: u64, least: u64, most: u64) -> Checked {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    wrong(key, format!("is {value}; allowed is {least} to {most}"))
}

fn share(key: String, value: f64, above: f64) -> Checked {
    if (above..=1.0).contains(&value) { Ok(()) } else { wrong(key, format!("is {value}; allowed is 0 to 1")) }
}

/// A name of something, which ends up in commands and comments.
fn name(key: String, text: &str) -> Checked {
    if text.trim().is_empty() || text.len() > LONGEST_NAME {
        return wrong(key, format!("has {} bytes; a name has 1 to {LONGEST_NAME}", text.len()));
    }
    match text.chars().find(|letter| letter.is_control()) {
        None => Ok(()),
        Some(letter) => wrong(key, format!("holds the control character {letter:?}; give a plain name")),
    }
}

/// A key of the catalog.
fn catalog_key(key: String, text: &str) -> Checked {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if !text.is_empty() && text.len() <= LONGEST_NAME && text.chars().all(plain) {
        return Ok(());
    }
    wrong(key, format!("is {text:?}; a key of the catalog is letters, digits, `-`, `_` and `.`"))
}

fn deployment(at: &str, file: &DeploymentFile) -> Checked {
    let roles: Vec<PoolRole> = file.pools.iter().map(|pool| pool.role).collect();
    match (file.mode, &roles[..]) {
        (DeploymentMode::Aggregated, [PoolRole::Aggregated])
        | (DeploymentMode::Disaggregated, [PoolRole::Prefill, PoolRole::Decode]) => {}
        (mode, _) => {
            let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
            let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let wanted = match mode {
                DeploymentMode::Aggregated => "one aggregated pool",
                DeploymentMode::Disaggregated => "a prefill and a decode pool, in this order",
            };
            return wrong(format!("{at}.pools"), format!("has {found}; the mode {mode} takes {wanted}"));
        }
    }
    let mut numbered = file.pools.iter().enumerate();
    numbered.try_for_each(|(index, one)| pool(&format!("{at}.pools[{index}]"), one))
}

fn pool(at: &str, file: &PoolFile) -> Checked {
    let key = |name: &str| format!("{at}.{name}");
    for (name, text) in [("system", &file.system), ("chip", &file.chip), ("engine", &file.engine)] {
        catalog_key(key(name), text)?;
    }
    name(key("vendor"), &file.vendor)?;
    let backends = ["deepep", "trtllm", "cann", "all-gather", "ideal"];
    if !backends.contains(&file.expert_backend.as_str()) {
        let problem = format!("is {:?}; use one of {}", file.expert_backend, backends.join(", "));
        return wrong(key("expert_backend"), problem);
    }
    for (name, value) in [
        ("ranks_per_chip", file.ranks_per_chip),
        ("chips_per_node", file.chips_per_node),
        ("tp", file.tp),
        ("pp", file.pp),
        ("dp", file.dp),
        ("ep", file.ep),
        ("moe_tp", file.moe_tp),
    ] {
        range(key(name), value.into(), 1, MOST_RANKS)?;
    }
    range(key("instances"), file.instances.into(), 1, MOST_INSTANCES)?;
    for (name, value) in [
        ("max_sequences_per_rank", file.max_sequences_per_rank),
        ("token_budget", file.token_budget),
        ("max_model_length", file.max_model_length),
        ("block", file.block),
    ] {
        range(key(name), value.into(), 1, MOST_COUNT)?;
    }
    range(key("redundant_experts"), file.redundant_experts.into(), 0, MOST_RANKS)?;
    range(key("spec_tokens"), file.spec_tokens.into(), 0, 16)?;
    share(key("memory_utilisation"), file.memory_utilisation, f64::MIN_POSITIVE)?;
    shape(at, file)
}

/// Sizes against each other.
fn shape(at: &str, file: &PoolFile) -> Checked {
    let stage = u64::from(file.tp) * u64::from(file.dp);
    let ranks = stage.saturating_mul(file.pp.into());
    if ranks > MOST_RANKS {
        let problem = format!("make instances of {ranks} ranks; at most {MOST_RANKS} are allowed");
        return wrong(format!("{at}.tp, pp and dp"), problem);
    }
    let experts = u64::from(file.ep) * u64::from(file.moe_tp);
    if experts != stage {
        let problem = format!("make {experts} ranks of experts; tp x dp makes {stage}");
        return wrong(format!("{at}.ep x moe_tp"), problem);
    }
    let all = ranks * u64::from(file.instances);
    let chips = all as f64 / f64::from(file.ranks_per_chip);
    // Written to a file and read again a number is what it was; whoever writes thirds by hand rounds them.
    if (file.chips - chips).abs() > 1e-3 * chips {
        let problem =
            format!("is {}; {} instances of {ranks} ranks take {chips}", file.chips, file.instances);
        return wrong(format!("{at}.chips"), problem);
    }
    Ok(())
}
