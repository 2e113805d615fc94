//! An engine written as its catalog file.

use crate::engine::{Engine, Platform, Release};
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
        out.section("host");
        out.time("step", &self.host.step);
        out.time("sequence", &self.host.sequence);
        out.number("hidden", &self.host.hidden);
        out.time("request", &self.host.request);
        out.time("prompt_token", &self.host.prompt_token);
        out.time("hand_off", &self.host.hand_off);
        out.time("dispatch", &self.host.dispatch);
        out.time("replay", &self.host.replay);
        out.number("first_chunk", &self.host.first_chunk);
        out.section("device");
        out.number("launch", &self.device.launch);
        out.time("layer", &self.device.layer);
        out.time("layer_eager", &self.device.layer_eager);
        out.number("decode_slowdown", &self.device.decode_slowdown);
        out.number("prefill_slowdown", &self.device.prefill_slowdown);
        for (key, correction) in [
            ("decode_correction", &self.device.decode_correction),
            ("prefill_correction", &self.device.prefill_correction),
        ] {
            if correction.value != 1.0 {
                out.number(key, correction);
            }
        }
        out.number("expert_skew", &self.device.expert_skew);
        out.number("expert_spread", &self.device.expert_spread);
        out.number("decode_overlap", &self.device.decode_overlap);
        out.number("prefill_overlap", &self.device.prefill_overlap);
        out.section("comm");
        let _ =
            writeln!(out.0, "all_reduce = \"{}\"\nexpert = \"{}\"", self.comm.all_reduce, self.comm.expert);
        out.section("scheduler");
        let scheduler = &self.scheduler;
        out.fact("token_budget", &scheduler.token_budget, scheduler.token_budget.value);
        out.fact("max_sequences", &scheduler.max_sequences, scheduler.max_sequences.value);
        out.fact("block", &scheduler.block, scheduler.block.value);
        out.number("acceptance", &scheduler.acceptance);
        let _ = writeln!(
            out.0,
            "chunked_prefill = {}\nmixed_steps = {}",
            scheduler.chunked_prefill, scheduler.mixed_steps
        );
        out.section("memory");
        let _ = writeln!(out.0, "fp8_cache = {}", self.memory.fp8_cache);
        out.number("utilisation", &self.memory.utilisation);
        out.fact(
            "reserve",
            &self.memory.reserve,
            format!("\"{:.4} GB\"", self.memory.reserve.value.get() / 1e9),
        );
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
