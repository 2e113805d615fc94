//! Keys that change nothing in the deployment that a point has led to, or that it contradicts.

use crate::keys::KeyError;
use crate::resolve::{EstimateError, Resolver, Roles};
use crate::spec::{OperatingPoint, Sizes};
use cost::step::{Deployment, Layout, StepModel};
use model::Ffn;
use units::Seconds;

/// Why a key of a point is refused in its deployment.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IdleKey {
    /// A name cannot be looked up.
    #[error(transparent)]
    Lookup(#[from] EstimateError),
    /// The key changes nothing, or contradicts what is run.
    #[error(transparent)]
    Key(#[from] KeyError),
}

fn wrong(key: impl Into<String>, problem: impl Into<String>) -> Result<(), KeyError> {
    Err(KeyError { key: key.into(), problem: problem.into() })
}

/// Refuses keys of a point that neither say what its instances do anyway nor change what they do. A key that has no effect
/// on one kind of instance may have one on another, so that all of them are looked at.
///
/// # Errors
/// The first such key.
pub fn refuse_idle<'a>(
    resolver: &Resolver,
    point: &OperatingPoint,
    instances: impl IntoIterator<Item = (Roles, &'a StepModel)>,
) -> Result<(), IdleKey> {
    let all: Vec<(Roles, &Deployment)> =
        instances.into_iter().map(|(role, step)| (role, step.deployment())).collect();
    let Some((_, first)) = all.first() else { return Ok(()) };
    release(resolver, point, first)?;
    let of = |wanted: Roles| {
        all.iter().filter(move |(role, _)| *role == wanted).map(|(_, one)| *one).collect::<Vec<_>>()
    };
    as_laid_out("", &point.sizes, &all.iter().map(|(_, one)| *one).collect::<Vec<_>>())?;
    as_laid_out("prefill_", &point.prefill, &of(Roles::Prefill))?;
    as_laid_out("decode_", &point.decode, &of(Roles::Decode))?;
    experts(point, &all)?;
    drafts(point, &all)?;
    execution(resolver, point, &all)
}

/// A release that nothing is known of.
fn release(resolver: &Resolver, point: &OperatingPoint, deployment: &Deployment) -> Result<(), IdleKey> {
    let Some(version) = &point.engine_version else { return Ok(()) };
    if !version.contains(|letter: char| letter.is_ascii_digit()) {
        wrong(
            "engine_version",
            format!("`{version}` is not a version; give its numbers, for example 0.12.0"),
        )?;
    }
    let newest = resolver.engine(point.engine.as_deref(), None, &deployment.chip)?;
    if newest.releases.is_empty() {
        let name = &newest.name;
        let problem =
            format!("the catalog knows one profile for all releases of {name}; leave `{version}` out");
        wrong("engine_version", problem)?;
    }
    Ok(())
}

/// Sizes that no layout has.
fn as_laid_out(prefix: &str, sizes: &Sizes, all: &[&Deployment]) -> Result<(), KeyError> {
    type Pair = (&'static str, fn(&Sizes) -> Option<u32>, fn(&Layout) -> u32);
    const PAIRS: [Pair; 6] = [
        ("tp", |sizes| sizes.tp, |layout| layout.tp),
        ("pp", |sizes| sizes.pp, |layout| layout.pp),
        ("dp", |sizes| sizes.dp, |layout| layout.dp),
        ("ep", |sizes| sizes.ep, |layout| layout.ep),
        ("moe_tp", |sizes| sizes.moe_tp, |layout| layout.moe_tp),
        ("redundant_experts", |sizes| sizes.redundant_experts, |layout| layout.redundant_experts),
    ];
    for (key, given, is) in PAIRS {
        let Some(given) = given(sizes) else { continue };
        if let Some(other) = all.first().filter(|_| all.iter().all(|one| is(&one.layout) != given)) {
            let why =
                if has_experts(other) { "beside the other sizes" } else { "as the model has no experts" };
            let is = is(&other.layout);
            wrong(
                format!("{prefix}{key}"),
                format!("{given} has no effect {why}: it is {is}; leave it out"),
            )?;
        }
    }
    Ok(())
}

fn has_experts(deployment: &Deployment) -> bool {
    deployment.model.layers.iter().any(|group| matches!(group.ffn, Ffn::Moe(_)))
}

/// Drafts of instances that do not decode.
fn drafts(point: &OperatingPoint, all: &[(Roles, &Deployment)]) -> Result<(), KeyError> {
    let decodes = all.iter().any(|(role, _)| *role != Roles::Prefill);
    if point.spec_tokens == 0 || decodes {
        return Ok(());
    }
    wrong("spec_tokens", "has no effect, as nothing is decoded; leave it out")
}

/// What is said of experts where there are none, or none that travel.
fn experts(point: &OperatingPoint, all: &[(Roles, &Deployment)]) -> Result<(), KeyError> {
    let any = |has: fn(&Deployment) -> bool| all.iter().any(|(_, deployment)| has(deployment));
    // A plan says the format of experts of every model; where there are none it is that of the weights.
    let own = point.formats.moe.filter(|format| Some(*format) != point.formats.weight);
    if own.is_some() && !any(has_experts) {
        wrong("moe_dtype", "has no effect, as the model has no experts; leave it out")?;
    }
    let replicas = [&point.sizes, &point.prefill, &point.decode].map(|sizes| sizes.redundant_experts);
    if replicas.into_iter().flatten().any(|count| count > 0) && !any(has_experts) {
        wrong("redundant_experts", "has no effect, as the model has no experts; leave it out")?;
    }
    let spread = any(|deployment| has_experts(deployment) && deployment.layout.ep > 1);
    if point.expert_skew.is_some() && !spread {
        wrong("expert_skew", "has no effect, as no experts lie on ranks of their own; leave it out")?;
    }
    let habit = |deployment: &Deployment| deployment.engine.micro_batches && deployment.layout.dp > 1;
    let other = |wanted: bool| all.iter().any(|(_, deployment)| habit(deployment) != wanted);
    if point.micro_batches.is_some_and(other) && !spread {
        let problem =
            "has no effect, as no experts are exchanged between ranks that it could hide; leave it out";
        wrong("micro_batches", problem)?;
    }
    Ok(())
}

/// A launch that costs as much as the engine's own.
fn execution(
    resolver: &Resolver,
    point: &OperatingPoint,
    all: &[(Roles, &Deployment)],
) -> Result<(), IdleKey> {
    let Some((execution, (_, first))) = point.execution.zip(all.first()) else { return Ok(()) };
    let (name, version) = (point.engine.as_deref(), point.engine_version.as_deref());
    let engine = resolver.engine(name, version, &first.chip)?;
    let costs = engine.host.dispatch.value > Seconds::ZERO || engine.device.layer_eager.value > Seconds::ZERO;
    let decodes = all.iter().any(|(role, _)| *role != Roles::Prefill);
    if execution == engine.execution || costs && decodes {
        return Ok(());
    }
    let why = if costs { "prompts are launched operator by operator" } else { "no launch takes time in it" };
    let problem = format!("{} has no effect on {}: {why}; leave it out", execution.name(), engine.name);
    Ok(wrong("execution", problem)?)
}
