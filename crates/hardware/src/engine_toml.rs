//! An engine written as its catalog file.

use crate::engine::{DeviceOverhead, Engine, HostOverhead, MemoryPolicy, Platform, Release, Scheduler};
use crate::evidence::Fact;
use std::fmt::{Display, Write};

/// Writes `[section]` tables of facts.
struct Writer(String);

impl Writer {
    fn section(&mut self, name: &str) {
        let _ = writeln!(self.0, "\n[{name}]");
    }

    fn fact<T>(&mut self, key: &str, fact: &Fact<T>, value: impl Display) {
        let source = fact.source.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(
            self.0,
            "{key} = {{ value = {value}, source = \"{source}\", grade = \"{}\" }}",
            fact.grade
        );
    }

    fn time(&mut self, key: &str, fact: &Fact<units::Seconds>) {
        self.fact(key, fact, format!("\"{:.4} us\"", fact.value.us()));
    }

    fn number(&mut self, key: &str, fact: &Fact<f64>) {
        self.fact(key, fact, format!("{:.4}", fact.value));
    }
}

fn releases(releases: &[Release]) -> String {
    let one =
        |release: &Release| format!("{{ before = \"{}\", engine = \"{}\" }}", release.before, release.engine);
    format!("[{}]", releases.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn platforms(platforms: &[Platform]) -> String {
    let one = |platform: &Platform| {
        format!("{{ vendor = \"{}\", engine = \"{}\" }}", platform.vendor, platform.engine)
    };
    format!("[{}]", platforms.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

impl Engine {
    /// The catalog file that reads back as this engine.
    pub fn to_toml(&self) -> String {
        let mut out = Writer(format!(
            "name = \"{}\"\naliases = {}\nreleases = {}\nplatforms = {}\nexecution = \"{}\"\ndraft_execution = \"{}\"\nstacks = {}\nfused_quantise = {}\nmicro_batches = {}\n",
            self.name,
            list(&self.aliases),
            releases(&self.releases),
            platforms(&self.platforms),
            self.execution.name(),
            self.draft_execution.name(),
            list(&self.stacks),
            self.fused_quantise,
            self.micro_batches
        ));
        if self.spread.value > 0.0 {
            out.number("spread", &self.spread);
        }
        self.host.write(&mut out);
        self.device.write(&mut out);
        out.section("comm");
        let _ =
            writeln!(out.0, "all_reduce = \"{}\"\nexpert = \"{}\"", self.comm.all_reduce, self.comm.expert);
        self.scheduler.write(&mut out);
        self.memory.write(&mut out);
        if self.sharding.pads || self.sharding.vocabulary.is_some() {
            out.section("sharding");
            let _ = writeln!(out.0, "pads = {}", self.sharding.pads);
            if let Some(vocabulary) = &self.sharding.vocabulary {
                out.fact("vocabulary", vocabulary, vocabulary.value);
            }
        }
        for (key, source) in &self.sources {
            out.section(&format!("sources.{key}"));
            let _ = writeln!(
                out.0,
                "title = \"{}\"\ndate = \"{}\"\naddress = \"{}\"",
                source.title, source.date, source.address
            );
        }
        out.0
    }
}

impl HostOverhead {
    fn write(&self, out: &mut Writer) {
        out.section("host");
        out.time("step", &self.step);
        out.time("sequence", &self.sequence);
        out.number("hidden", &self.hidden);
        out.time("request", &self.request);
        out.time("prompt_token", &self.prompt_token);
        out.time("kv_transfer_time", &self.kv_transfer_time);
        out.time("dispatch", &self.dispatch);
        out.time("replay", &self.replay);
        out.number("stream_interval", &self.stream_interval);
    }
}

impl DeviceOverhead {
    fn write(&self, out: &mut Writer) {
        out.section("device");
        out.number("launch", &self.launch);
        out.time("layer", &self.layer);
        out.time("layer_eager", &self.layer_eager);
        out.number("decode_slowdown", &self.decode_slowdown);
        out.number("prefill_slowdown", &self.prefill_slowdown);
        for (key, correction) in
            [("decode_correction", &self.decode_correction), ("prefill_correction", &self.prefill_correction)]
        {
            if correction.value != 1.0 {
                out.number(key, correction);
            }
        }
        out.number("expert_skew", &self.expert_skew);
        out.number("expert_spread", &self.expert_spread);
        out.number("decode_overlap", &self.decode_overlap);
        out.number("prefill_overlap", &self.prefill_overlap);
    }
}

impl Scheduler {
    fn write(&self, out: &mut Writer) {
        out.section("scheduler");
        out.fact("token_budget", &self.token_budget, self.token_budget.value);
        out.fact("max_sequences", &self.max_sequences, self.max_sequences.value);
        out.fact("block", &self.block, self.block.value);
        out.number("acceptance", &self.acceptance);
        let _ =
            writeln!(out.0, "chunked_prefill = {}\nmixed_steps = {}", self.chunked_prefill, self.mixed_steps);
    }
}

impl MemoryPolicy {
    fn write(&self, out: &mut Writer) {
        out.section("memory");
        let _ = writeln!(out.0, "fp8_cache = {}", self.fp8_cache);
        out.number("utilisation", &self.utilisation);
        out.fact("reserve", &self.reserve, format!("\"{:.4} GB\"", self.reserve.value.get() / 1e9));
    }
}
