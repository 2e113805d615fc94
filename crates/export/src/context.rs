//! What the templates can name.

use crate::error::ExportError;
use crate::placement::Placement;
use crate::target::Target;
use crate::{LaunchFile, Options};
use planner::plan_file::{DeploymentFile, PlanFile, PoolFile, PoolRole};
use serde::Serialize;
use units::Dtype;

/// Longest name of a Kubernetes object that leaves room for what is added to it.
const LONGEST_NAME: usize = 40;

/// Most nodes that launch files are written for.
const MOST_NODES: usize = 1 << 18;

/// The whole deployment.
#[derive(Debug, Clone, Serialize)]
pub struct Context {
    /// The target.
    pub target: &'static str,
    /// Model id or path.
    pub model: String,
    /// The model's name as Kubernetes takes it.
    pub name: String,
    /// What the files are for, one line.
    pub title: String,
    /// Whether prefill and decode are apart.
    pub disaggregated: bool,
    /// Whether prompts are expected to begin alike.
    pub prefix_caching: bool,
    /// GiB of each device's share of a cache pool.
    pub kv_pool: Option<u32>,
    /// Container image.
    pub image: String,
    /// Pools in order.
    pub pools: Vec<Pool>,
    /// Sizes of the pool that prefills, for connectors that want both sides'.
    pub prefill: Sizes,
    /// Sizes of the pool that decodes.
    pub decode: Sizes,
}

/// Sizes that the other side of a cache transfer wants to know.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Sizes {
    /// Tensor-parallel ranks.
    pub tp: u32,
    /// Data-parallel ranks.
    pub dp: u32,
}

/// A pool.
#[derive(Debug, Clone, Serialize)]
pub struct Pool {
    /// `serve`, `prefill` or `decode`.
    pub name: &'static str,
    /// What its instances do.
    pub role: PoolRole,
    /// Its number, from 0.
    pub index: usize,
    /// The engine that is launched: `vllm`, `sglang` or `trtllm`.
    pub engine: &'static str,
    /// Whether the devices are NPUs.
    pub npu: bool,
    /// Key of the system.
    pub system: String,
    /// Key of the chip.
    pub chip: String,
    /// Kubernetes resource of one device.
    pub resource: &'static str,
    /// Instances.
    pub instances: u32,
    /// Where they lie.
    pub place: Placement,
    /// Addresses of the pool's nodes.
    pub hosts: Vec<String>,
    /// Tensor-parallel ranks.
    pub tp: u32,
    /// Pipeline stages.
    pub pp: u32,
    /// Data-parallel ranks.
    pub dp: u32,
    /// Expert-parallel ranks.
    pub ep: u32,
    /// Tensor-parallel ranks of an expert.
    pub moe_tp: u32,
    /// Expert replicas beyond one of each.
    pub redundant_experts: u32,
    /// Experts with their replicas; 0 where the model's experts are not known.
    pub expert_slots: u32,
    /// Weights.
    pub weights: String,
    /// Cache.
    pub kv: String,
    /// Whether the cache holds 8-bit floating point.
    pub kv_fp8: bool,
    /// Whether the engine quantises the checkpoint while loading.
    pub quantise_fp8: bool,
    /// Whether the weights are in a format that only a quantised checkpoint has.
    pub quantised: bool,
    /// Whether another checkpoint than the model's own is needed.
    pub other_checkpoint: bool,
    /// Most sequences of one attention rank.
    pub max_seqs: u32,
    /// Most tokens of a step of one attention rank.
    pub token_budget: u32,
    /// What the engine is told of it: at least a token for every sequence (and its drafts), and a whole prompt where
    /// prompts are not cut.
    pub step_tokens: u32,
    /// Whether prompts may be cut.
    pub chunked_prefill: bool,
    /// Longest context.
    pub max_len: u32,
    /// Draft tokens.
    pub spec_tokens: u32,
    /// Share of memory the engine takes, as text.
    pub memory: String,
    /// Tokens of a cache block.
    pub block: u32,
    /// Whether two micro-batches overlap.
    pub micro_batches: bool,
    /// Whether experts exchange by DeepEP.
    pub deepep: bool,
    /// Port of the first instance's server on a node.
    pub port: u32,
}

impl Context {
    /// Of a deployment for a target.
    ///
    /// # Errors
    /// The target does not run it, or there are too few hosts.
    pub fn new(
        plan: &PlanFile,
        deployment: &DeploymentFile,
        target: Target,
        options: &Options,
    ) -> Result<Self, ExportError> {
        if let Some(address) = options.hosts.iter().find(|host| !is_address(host)) {
            return Err(ExportError::Address { address: address.clone() });
        }
        let experts = model::resolve(&plan.model).map_or(0, |model| experts(&model));
        let mut pools = Vec::new();
        for (index, file) in deployment.pools.iter().enumerate() {
            target.check(file)?;
            pools.push(Pool::new(index, file, target, experts)?);
        }
        let needed: usize = pools.iter().map(|pool| pool.place.pool_nodes as usize).sum();
        if needed > MOST_NODES {
            return Err(ExportError::Nodes { needed, most: MOST_NODES });
        }
        if !options.hosts.is_empty() && options.hosts.len() < needed {
            return Err(ExportError::Hosts { given: options.hosts.len(), needed });
        }
        let mut hosts = options.hosts.iter();
        for pool in &mut pools {
            let named = |node: u32| format!("{}-{node}", pool.name);
            pool.hosts = (0..pool.place.pool_nodes)
                .map(|node| hosts.next().cloned().unwrap_or_else(|| named(node)))
                .collect();
        }
        let sizes =
            |pool: Option<&Pool>| pool.map_or(Sizes::default(), |pool| Sizes { tp: pool.tp, dp: pool.dp });
        Ok(Self {
            target: target.name(),
            model: plan.model.clone(),
            name: object_name(&plan.model),
            title: title(plan, deployment),
            disaggregated: deployment.pools.len() > 1,
            prefix_caching: plan.job.prefix_hit > 0.0,
            kv_pool: options.kv_pool,
            image: options.image.clone().unwrap_or_else(|| image(target, pools.first()).to_owned()),
            prefill: sizes(pools.first()),
            decode: sizes(pools.last()),
            pools,
        })
    }
}

impl Pool {
    fn new(index: usize, file: &PoolFile, target: Target, experts: u32) -> Result<Self, ExportError> {
        let node_devices = file.chips_per_node.max(1).saturating_mul(file.ranks_per_chip.max(1));
        let refused = |problem| ExportError::Pool { target: target.name(), pool: file.role.name(), problem };
        let place = Placement::new(node_devices, file.tp.saturating_mul(file.pp), file.dp, file.instances)
            .map_err(refused)?;
        let engine = target.engine(&file.engine, &file.vendor);
        let float8 =
            |format: Dtype| matches!(format, Dtype::Fp8 | Dtype::Fp8Block | Dtype::Mxfp8 | Dtype::Hif8);
        let quantise_fp8 = file.requantised && file.weight_dtype == Dtype::Fp8 && file.vendor != "Huawei";
        let quantised = file.weight_dtype.bytes() < 1.5;
        let known = experts > 0 && file.ep > 1;
        if engine == "trtllm" && file.redundant_experts > 0 && !known {
            let problem = "has expert replicas, but the model's number of experts is not known; name the model by its id or \
                           the path of its config.json"
                .to_owned();
            return Err(refused(problem));
        }
        Ok(Self {
            name: if file.role == PoolRole::Aggregated { "serve" } else { file.role.name() },
            role: file.role,
            index,
            engine,
            npu: file.vendor == "Huawei",
            system: file.system.clone(),
            chip: file.chip.clone(),
            resource: resource(&file.vendor),
            instances: file.instances,
            place,
            hosts: Vec::new(),
            tp: file.tp.max(1),
            pp: file.pp.max(1),
            dp: file.dp.max(1),
            ep: file.ep.max(1),
            moe_tp: file.moe_tp.max(1),
            redundant_experts: file.redundant_experts,
            expert_slots: if known { experts + file.redundant_experts } else { 0 },
            weights: file.weight_dtype.to_string(),
            kv: file.kv_dtype.to_string(),
            kv_fp8: float8(file.kv_dtype),
            quantise_fp8,
            quantised,
            other_checkpoint: file.requantised && !quantise_fp8,
            max_seqs: file.max_sequences_per_rank,
            token_budget: file.token_budget,
            step_tokens: step_tokens(file),
            chunked_prefill: file.chunked_prefill,
            max_len: file.max_model_length,
            spec_tokens: file.spec_tokens,
            memory: format!("{:.2}", file.memory_utilisation.clamp(0.0, 1.0)),
            block: file.block,
            micro_batches: file.micro_batches,
            deepep: file.expert_backend == "deepep",
            // The llm-d proxy takes port 8000 of a decode pod.
            port: if file.role == PoolRole::Decode { 8200 } else { 8000 },
        })
    }

    /// The addresses as a file.
    pub fn hosts_file(&self) -> LaunchFile {
        let text = self.hosts.iter().map(|host| format!("{host}\n")).collect();
        LaunchFile { name: format!("{}.hosts", self.name), text, executable: false }
    }
}

fn step_tokens(file: &PoolFile) -> u32 {
    let decoding = file.max_sequences_per_rank.saturating_mul(file.spec_tokens.saturating_add(1));
    let whole = if file.chunked_prefill || file.role == PoolRole::Decode { 0 } else { file.max_model_length };
    file.token_budget.max(decoding).max(whole)
}

/// The published image of a target.
fn image(target: Target, pool: Option<&Pool>) -> &'static str {
    match (target, pool.map(|pool| (pool.engine, pool.npu))) {
        (Target::Dynamo, Some(("sglang", _))) => "nvcr.io/nvidia/ai-dynamo/sglang-runtime:latest",
        (Target::Dynamo, Some(("trtllm", _))) => "nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime:latest",
        (Target::Dynamo, _) => "nvcr.io/nvidia/ai-dynamo/vllm-runtime:latest",
        (Target::LlmD, _) => "ghcr.io/llm-d/llm-d:latest",
        (_, Some((_, true))) => "quay.io/ascend/vllm-ascend:latest",
        _ => "vllm/vllm-openai:latest",
    }
}

/// Kubernetes resource of a vendor's device plugin.
fn resource(vendor: &str) -> &'static str {
    match vendor {
        "Huawei" => "huawei.com/Ascend910",
        "AMD" => "amd.com/gpu",
        "Google" => "google.com/tpu",
        _ => "nvidia.com/gpu",
    }
}

/// Whether a text is a name or an address of a host and nothing else.
pub fn is_address(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_:[]".contains(letter);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

/// Routed experts of a layer; 0 without any.
fn experts(model: &model::Model) -> u32 {
    let of = |group: &model::LayerGroup| match &group.ffn {
        model::Ffn::Moe(moe) => Some(moe.experts),
        _ => None,
    };
    model.layers.iter().find_map(of).unwrap_or(0)
}

/// A model's id as the name of a Kubernetes object: lower-case letters, digits and dashes, no dash at an end.
fn object_name(model: &str) -> String {
    let last = model.trim_end_matches('/').rsplit('/').find(|part| *part != "config.json").unwrap_or(model);
    let kept: String = last
        .to_ascii_lowercase()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .take(LONGEST_NAME)
        .collect();
    let name = kept.trim_matches('-');
    let starts_well = name.starts_with(|letter: char| letter.is_ascii_alphabetic());
    if starts_well { name.to_owned() } else { format!("model-{name}").trim_end_matches('-').to_owned() }
}

fn title(plan: &PlanFile, deployment: &DeploymentFile) -> String {
    let pools: Vec<String> = deployment
        .pools
        .iter()
        .map(|pool| {
            format!(
                "{} x {} (tp {} pp {} dp {} ep {}) on {}",
                pool.instances, pool.role, pool.tp, pool.pp, pool.dp, pool.ep, pool.system
            )
        })
        .collect();
    let one_line = |text: &str| text.replace(char::is_control, " ");
    one_line(&format!(
        "{}: {}; planned for {} tokens in, {} out",
        plan.model,
        pools.join(", "),
        plan.job.isl,
        plan.job.osl
    ))
}

#[cfg(test)]
mod tests {
    use super::object_name;

    #[track_caller]
    fn check(model: &str, expected: &str) {
        assert_eq!(object_name(model), expected);
    }

    #[test]
    fn names_are_ones_that_kubernetes_takes() {
        check("deepseek-ai/DeepSeek-R1", "deepseek-r1");
        check("Qwen/Qwen2.5-72B_Instruct", "qwen2-5-72b-instruct");
        check("models/my-model/config.json", "my-model");
        check("/", "model");
        check("x/01-ai", "model-01-ai");
        check(&"a".repeat(100), &"a".repeat(40));
    }
}
