//! Engine profiles: what an inference stack does around the kernels.

/// An inference engine (vLLM, SGLang, TensorRT-LLM, MindIE ...) with fitted overheads and its defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Engine {
    /// Catalog key, for example `vllm`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Other names that resolve to it.
    pub aliases: Vec<String>,
    /// Kernel stacks to look for in a chip's kernel profile, nearest first (`vllm`, `trtllm`, `ascend` ...).
    pub stacks: Vec<String>,
}
