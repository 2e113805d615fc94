//! What each target runs on and which files it takes.

use crate::LaunchFile;
use crate::context::{Context, Pool};
use crate::error::ExportError;
use crate::render::{Argument, Renderer};
use planner::plan_file::PoolFile;
use serde::Serialize;

/// Where a plan is exported to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// vLLM on GPUs, shell scripts.
    Vllm,
    /// vLLM on Ascend NPUs, shell scripts.
    VllmAscend,
    /// SGLang, shell scripts.
    Sglang,
    /// TensorRT-LLM, shell scripts.
    Trtllm,
    /// NVIDIA Dynamo, a `DynamoGraphDeployment`.
    Dynamo,
    /// llm-d, values of its `modelservice` chart.
    LlmD,
    /// Kubernetes `LeaderWorkerSet`s of vLLM or vLLM-Ascend.
    Lws,
}

/// A target's name and the vendors of the chips that it runs on.
struct About {
    target: Target,
    name: &'static str,
    vendors: &'static [&'static str],
}

const TARGETS: [About; 7] = [
    About { target: Target::Vllm, name: "vllm", vendors: &["NVIDIA", "AMD"] },
    About { target: Target::VllmAscend, name: "vllm-ascend", vendors: &["Huawei"] },
    About { target: Target::Sglang, name: "sglang", vendors: &["NVIDIA", "AMD", "Huawei"] },
    About { target: Target::Trtllm, name: "trtllm", vendors: &["NVIDIA"] },
    About { target: Target::Dynamo, name: "dynamo", vendors: &["NVIDIA"] },
    About { target: Target::LlmD, name: "llm-d", vendors: &["NVIDIA", "AMD"] },
    About { target: Target::Lws, name: "lws", vendors: &["NVIDIA", "AMD", "Huawei"] },
];

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        TARGETS.iter().find(|about| about.name == text).map(|about| about.target).ok_or_else(|| {
            format!("`{text}` is no target; use one of {}", TARGETS.map(|about| about.name).join(", "))
        })
    }
}

/// What a template of one pool can name.
#[derive(Serialize)]
struct PoolView<'a> {
    deployment: &'a Context,
    pool: &'a Pool,
    args: &'a [Argument],
    env: &'a [Argument],
}

/// What a template of the whole deployment can name.
#[derive(Serialize)]
struct View<'a> {
    deployment: &'a Context,
    pools: Vec<Rendered<'a>>,
}

#[derive(Serialize)]
struct Rendered<'a> {
    pool: &'a Pool,
    args: Vec<Argument>,
    env: Vec<Argument>,
    /// The script that a container runs, or the engine's own configuration.
    script: String,
}

impl Target {
    fn about(self) -> &'static About {
        TARGETS.iter().find(|about| about.target == self).unwrap_or(&TARGETS[0])
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.about().name
    }

    /// Whether it runs on the pool's chips.
    pub(crate) fn check(self, pool: &PoolFile) -> Result<(), ExportError> {
        let runs = |about: &About| about.vendors.contains(&pool.vendor.as_str());
        if runs(self.about()) {
            return Ok(());
        }
        let instead: Vec<&str> = TARGETS.iter().filter(|about| runs(about)).map(|about| about.name).collect();
        let instead = if instead.is_empty() { "nothing yet".to_owned() } else { instead.join(" or ") };
        Err(ExportError::Chip {
            target: self.name(),
            chip: pool.chip.clone(),
            vendor: pool.vendor.clone(),
            runs_on: self.about().vendors.join(", "),
            instead,
        })
    }

    /// The engine that it launches for a plan made for the engine `planned`.
    pub(crate) fn engine(self, planned: &str, vendor: &str) -> &'static str {
        match self {
            Self::Sglang => "sglang",
            Self::Trtllm => "trtllm",
            Self::Dynamo if vendor == "NVIDIA" && planned == "trtllm" => "trtllm",
            Self::Dynamo if planned == "sglang" => "sglang",
            _ => "vllm",
        }
    }

    /// The files, the one to start from first.
    pub(crate) fn files(
        self,
        context: &Context,
        renderer: &Renderer,
    ) -> Result<Vec<LaunchFile>, ExportError> {
        if context.kv_pool.is_some() && self != Self::VllmAscend {
            return Err(ExportError::KvPool { target: self.name() });
        }
        let mut files = match self {
            Self::Vllm | Self::VllmAscend | Self::Sglang | Self::Trtllm => scripts(context, renderer)?,
            Self::Dynamo => vec![manifest("dynamo.yaml", context, renderer)?],
            Self::LlmD => vec![manifest("llm-d.yaml", context, renderer)?],
            Self::Lws => vec![manifest("lws.yaml", context, renderer)?],
        };
        if context.kv_pool.is_some() {
            let view = View { deployment: context, pools: Vec::new() };
            files.push(file("mooncake.json", &view, false, renderer)?);
            files.push(file("mooncake-master.sh", &view, true, renderer)?);
        }
        Ok(files)
    }
}

/// Flags and variables of a pool's engine.
fn command(
    context: &Context,
    pool: &Pool,
    renderer: &Renderer,
) -> Result<(Vec<Argument>, Vec<Argument>), ExportError> {
    let view = PoolView { deployment: context, pool, args: &[], env: &[] };
    let args = renderer.flags(&format!("{}.flags", pool.engine), &view)?;
    let env = renderer.variables(&format!("{}.env", pool.engine), &view)?;
    Ok((args, env))
}

fn file(
    name: &str,
    view: impl Serialize,
    executable: bool,
    renderer: &Renderer,
) -> Result<LaunchFile, ExportError> {
    Ok(LaunchFile { name: name.to_owned(), text: renderer.text(name, view)?, executable })
}

/// One script for each pool, one that starts all of them, one for the router, and the addresses.
fn scripts(context: &Context, renderer: &Renderer) -> Result<Vec<LaunchFile>, ExportError> {
    let whole = View { deployment: context, pools: Vec::new() };
    let mut files = vec![file("launch.sh", &whole, true, renderer)?];
    for pool in &context.pools {
        let (args, env) = command(context, pool, renderer)?;
        let view = PoolView { deployment: context, pool, args: &args, env: &env };
        files.push(LaunchFile {
            name: format!("{}.sh", pool.name),
            ..file("pool.sh", &view, true, renderer)?
        });
        if pool.engine == "trtllm" {
            let settings = file("trtllm.yaml", &view, false, renderer)?;
            files.push(LaunchFile { name: format!("{}.yaml", pool.name), ..settings });
        }
        files.push(pool.hosts_file());
    }
    let several = context.pools.iter().map(|pool| pool.instances).sum::<u32>() > 1;
    match context.pools.first().map(|pool| pool.engine) {
        Some("trtllm") if context.disaggregated => {
            files.push(file("trtllm-disaggregated.yaml", &whole, false, renderer)?);
            files.push(file("router.sh", &whole, true, renderer)?);
        }
        Some("sglang") if several => files.push(file("router.sh", &whole, true, renderer)?),
        Some("vllm") if context.disaggregated => files.push(file("router.sh", &whole, true, renderer)?),
        _ if several => files.push(file("nginx.conf", &whole, false, renderer)?),
        _ => {}
    }
    Ok(files)
}

/// One manifest for everything.
fn manifest(name: &str, context: &Context, renderer: &Renderer) -> Result<LaunchFile, ExportError> {
    let mut pools = Vec::new();
    for pool in &context.pools {
        let (args, env) = command(context, pool, renderer)?;
        let view = PoolView { deployment: context, pool, args: &args, env: &env };
        let script = match pool.engine {
            "trtllm" => renderer.text("trtllm.yaml", &view)?,
            "vllm" => renderer.text("k8s-vllm.sh", &view)?,
            _ => String::new(),
        };
        pools.push(Rendered { pool, args, env, script });
    }
    file(name, View { deployment: context, pools }, false, renderer)
}
