//! Flags that releases of the engines take, from their own parsers.

use std::collections::BTreeMap;

/// A release of an engine with its flags.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its version.
    pub version: &'static str,
    /// Whether a flag is a switch (takes no value).
    pub flags: BTreeMap<&'static str, bool>,
}

impl Release {
    /// Whether its parser takes the flag; of a switch also the `--no-` form.
    pub fn takes(&self, flag: &str) -> bool {
        let switch = |name: &str| self.flags.get(name).copied().unwrap_or(false);
        self.flags.contains_key(flag)
            || flag.strip_prefix("--no-").is_some_and(|rest| switch(&format!("--{rest}")))
    }
}

/// The releases of an engine (`vllm`, `sglang` or `trtllm`) whose flags are kept, the oldest first.
pub fn releases(engine: &str) -> Vec<Release> {
    let lists: &[(&str, &str)] = match engine {
        "vllm" => &[
            ("0.16.0", include_str!("../flags/releases/vllm-0.16.0.txt")),
            ("0.32.0", include_str!("../flags/releases/vllm-0.32.0.txt")),
        ],
        "sglang" => &[
            ("0.5.9", include_str!("../flags/releases/sglang-0.5.9.txt")),
            ("0.5.23", include_str!("../flags/releases/sglang-0.5.23.txt")),
        ],
        "trtllm" => &[("00209af", include_str!("../flags/releases/trtllm-00209af.txt"))],
        _ => &[],
    };
    let flags = |text: &'static str| {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(' '))
            .map(|(kind, flag)| (flag, kind == "switch"))
            .collect()
    };
    lists.iter().map(|(version, text)| Release { version, flags: flags(text) }).collect()
}
