//! The files of `models/`, as text.

macro_rules! architectures {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/", $name, ".toml")))),+]
    };
}

/// Published checkpoints.
pub(super) const VARIANTS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/variants.toml"));

/// Architecture files by name.
pub(super) const ARCHITECTURES: &[(&str, &str)] = architectures![
    "deepseek-v3",
    "deepseek-v3.2",
    "glm-5",
    "kimi-k2",
    "llama-3.1-405b",
    "llama-3.1-70b",
    "llama-3.1-8b",
    "qwen3-0.6b",
    "qwen3-1.7b",
    "qwen3-14b",
    "qwen3-235b-a22b",
    "qwen3-30b-a3b",
    "qwen3-32b",
    "qwen3-4b",
    "qwen3-8b",
    "qwen3-next-80b-a3b",
    "qwen3.5-122b-a10b",
    "qwen3.5-27b",
    "qwen3.5-397b-a17b",
];
