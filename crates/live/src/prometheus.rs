//! Metrics in Prometheus' text form: `vllm:*` by instance, and the chips under the names of NVIDIA's and Huawei's
//! exporters.

use crate::app::App;
use crate::control::{InstanceLook, Snapshot};
use crate::meters::{Histogram, Meter};
use serving::{InstanceState, Reason};
use sim::placement::{Ground, Seat};
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// Collects one family after another.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.text, "{name}{{{labels}}} {value}");
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let mut below = 0;
        for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
            below += count;
            let _ = writeln!(self.text, "{name}_bucket{{{labels},le=\"{bound:?}\"}} {below}");
        }
        let count = histogram.count();
        let _ = writeln!(self.text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(self.text, "{name}_sum{{{labels}}} {}", histogram.sum);
        let _ = writeln!(self.text, "{name}_count{{{labels}}} {count}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// An instance with its labels.
struct Labelled<'a> {
    labels: String,
    look: &'a InstanceLook,
    meter: &'a Meter,
    block: u32,
}

fn labelled<'a>(app: &App, look: &'a Snapshot, only: Option<u32>) -> Vec<Labelled<'a>> {
    let all = look.instances.iter().zip(&look.meters.instances);
    all.filter(|(instance, _)| match only {
        Some(only) => instance.view.id.0 == only,
        None => instance.view.state != InstanceState::Removed,
    })
    .map(|(instance, meter)| {
        let model =
            app.pools.get(meter.pool as usize).and_then(|pool| app.models.get(pool.deployment as usize));
        let name = model.map_or("", |model| model.name.as_str());
        // As seen on its own port, an instance is engine 0.
        let engine = only.map_or(instance.view.id.0, |_| 0);
        let labels = format!("model_name=\"{}\",engine=\"{engine}\"", escaped(name));
        Labelled { labels, look: instance, meter, block: model.map_or(0, |model| model.block) }
    })
    .collect()
}

type Gauge = (&'static str, &'static str, fn(&Labelled) -> f64);

const GAUGES: [Gauge; 3] = [
    ("vllm:num_requests_running", "Requests admitted to the instance.", |one| {
        f64::from(one.look.view.admitted)
    }),
    ("vllm:num_requests_waiting", "Requests in the instance's queue.", |one| {
        f64::from(one.look.view.waiting)
    }),
    ("vllm:kv_cache_usage_perc", "Share of KV blocks that sequences hold, 0 to 1.", |one| one.look.kv_used),
];

const COUNTERS: [Gauge; 8] = [
    ("vllm:prompt_tokens_total", "Prompt tokens of ended requests.", |one| one.meter.prompt_tokens as f64),
    ("vllm:generation_tokens_total", "Output tokens of ended requests.", |one| {
        one.meter.generation_tokens as f64
    }),
    ("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.", |one| {
        one.meter.prefix_queries as f64
    }),
    ("vllm:prefix_cache_hits_total", "Prompt tokens found there.", |one| one.meter.prefix_hits as f64),
    ("vllm:external_prefix_cache_hits_total", "Prompt tokens fetched from slower tiers.", |one| {
        one.meter.fetched as f64
    }),
    ("vllm:prompt_tokens_cached_total", "Prompt tokens not computed.", |one| {
        (one.meter.prefix_hits + one.meter.fetched) as f64
    }),
    ("vllm:num_preemptions_total", "Sequences that lost their place.", |one| one.meter.preemptions as f64),
    ("vllm:engine_steps_total", "Steps run.", |one| one.meter.steps as f64),
];

type Times = (&'static str, &'static str, fn(&Meter) -> &Histogram);

const HISTOGRAMS: [Times; 9] = [
    ("vllm:time_to_first_token_seconds", "Time to first token.", |meter| &meter.ttft),
    ("vllm:inter_token_latency_seconds", "Time between tokens.", |meter| &meter.itl),
    ("vllm:request_time_per_output_token_seconds", "Mean time per output token of a request.", |meter| {
        &meter.tpot
    }),
    ("vllm:e2e_request_latency_seconds", "End-to-end latency.", |meter| &meter.e2e),
    ("vllm:request_queue_time_seconds", "Time in the queue.", |meter| &meter.queue),
    ("vllm:request_prefill_time_seconds", "From leaving the queue to the first token.", |meter| {
        &meter.prefill
    }),
    ("vllm:request_decode_time_seconds", "From the first token to the last.", |meter| &meter.decode),
    ("vllm:request_prompt_tokens", "Prompt lengths.", |meter| &meter.prompts),
    ("vllm:request_generation_tokens", "Output lengths.", |meter| &meter.outputs),
];

/// The `vllm:*` metrics of all instances, or of one as its own port shows it, and the server's own.
pub fn vllm(app: &App, look: &Snapshot, only: Option<u32>) -> String {
    let mut page = Page::default();
    let all = labelled(app, look, only);
    for (kind, gauges) in [("gauge", &GAUGES[..]), ("counter", &COUNTERS[..])] {
        for (name, help, of) in gauges {
            page.family(name, kind, help);
            all.iter().for_each(|one| page.value(name, &one.labels, of(one)));
        }
    }
    let name = "vllm:request_success_total";
    page.family(name, "counter", "Requests that ended, by how.");
    for one in &all {
        let meter = one.meter;
        for (how, count) in [("stop", meter.stopped), ("length", meter.at_length), ("abort", meter.aborted)] {
            page.value(name, &format!("{},finished_reason=\"{how}\"", one.labels), count as f64);
        }
    }
    page.family("vllm:cache_config_info", "gauge", "KV cache of the instance.");
    for one in &all {
        let blocks = one.look.view.kv_total;
        let labels = format!("{},block_size=\"{}\",num_gpu_blocks=\"{blocks}\"", one.labels, one.block);
        page.value("vllm:cache_config_info", &labels, 1.0);
    }
    for (name, help, of) in HISTOGRAMS {
        page.family(name, "histogram", help);
        all.iter().for_each(|one| page.histogram(name, &one.labels, of(one.meter)));
    }
    if only.is_none() {
        server(&mut page, app, look);
    }
    page.text
}

fn server(page: &mut Page, app: &App, look: &Snapshot) {
    let now = look.now.seconds();
    let energy = look.meters.energy_at(now).get();
    let values: [(&str, &str, &str, f64); 10] = [
        ("supernode:virtual_time_seconds", "counter", "Virtual time since the start.", now.get()),
        ("supernode:requests_in_flight", "gauge", "Requests in flight.", look.in_flight as f64),
        (
            "supernode:requests_completed_total",
            "counter",
            "Requests with all their tokens.",
            look.meters.completed as f64,
        ),
        (
            "supernode:requests_cancelled_total",
            "counter",
            "Requests whose clients went away.",
            look.meters.cancelled as f64,
        ),
        ("supernode:energy_joules_total", "counter", "Energy of all chips.", energy),
        ("supernode:kv_moved_bytes_total", "counter", "KV moved over links.", look.meters.moved.get()),
        ("supernode:tokens_lost_total", "counter", "Tokens computed again.", look.meters.lost as f64),
        (
            "supernode:slow_readers_total",
            "counter",
            "Connections cut for not reading.",
            app.slow.load(Ordering::Relaxed) as f64,
        ),
        (
            "supernode:connections",
            "gauge",
            "Open connections.",
            app.connections.load(Ordering::Relaxed) as f64,
        ),
        (
            "supernode:lateness_seconds_max",
            "gauge",
            "Longest delay of a delivery behind its instant, wall time.",
            look.lateness.1,
        ),
    ];
    for (name, kind, help, value) in values {
        page.family(name, kind, help);
        let _ = writeln!(page.text, "{name} {value}");
    }
    page.family("supernode:requests_refused_total", "counter", "Requests turned away, by reason.");
    for (reason, count) in Reason::ALL.iter().zip(look.meters.refused) {
        let labels = format!("reason=\"{}\"", reason.name());
        page.value("supernode:requests_refused_total", &labels, count as f64);
    }
}

/// What an exporter shows of one chip.
struct Chip<'a> {
    system: &'a Ground,
    number: u32,
    meter: Option<(&'a Meter, &'a InstanceLook, f64)>,
    pool: usize,
    health: bool,
}

impl Chip<'_> {
    fn power(&self, app: &App) -> f64 {
        let idle = app.pools.get(self.pool).map_or(0.0, |pool| pool.idle_chip.get());
        match (&self.meter, self.health) {
            (_, false) => 0.0,
            (Some((meter, look, share)), true) => meter.power_now(look.view.runs).get() * share,
            (None, true) => idle,
        }
    }

    fn energy(&self, app: &App, now: units::Seconds) -> f64 {
        let idle = app.pools.get(self.pool).map_or(0.0, |pool| pool.idle_chip.get());
        match &self.meter {
            Some((meter, _, share)) => meter.energy_at(now).get() * share,
            None => idle * now.get(),
        }
    }

    fn active(&self) -> f64 {
        let runs = |meter: &(&Meter, &InstanceLook, f64)| meter.1.view.runs && self.health;
        f64::from(u8::from(self.meter.as_ref().is_some_and(runs)))
    }

    /// Ambient, and a rise in proportion to the draw: 45 K at the chip's usual peak.
    fn temperature(&self, app: &App) -> f64 {
        let peak = app.pools.get(self.pool).map_or(1.0, |pool| pool.peak_chip.get().max(1.0));
        27.0 + 45.0 * self.power(app) / peak
    }

    /// Used memory, MiB: the weights, and blocks that are held.
    fn used(&self, app: &App) -> f64 {
        let Some(pool) = app.pools.get(self.pool) else { return 0.0 };
        let kv = self.meter.as_ref().map_or(0.0, |(_, look, _)| {
            let (total, free) = (look.view.kv_total as f64, look.view.kv_free as f64);
            if total > 0.0 { (total - free) / total } else { 0.0 }
        });
        let weights = if self.meter.is_some() { pool.weights_chip.get() } else { 0.0 };
        (weights + kv * pool.kv_chip.get()) / 1_048_576.0
    }

    fn total(&self, app: &App) -> f64 {
        app.pools.get(self.pool).map_or(0.0, |pool| pool.memory_chip.get()) / 1_048_576.0
    }
}

/// The chips under the names of `dcgm-exporter` (NVIDIA) or `npu-exporter` (Huawei).
pub fn chips(app: &App, look: &Snapshot) -> String {
    let mut page = Page::default();
    let all = all_chips(app, look);
    let ascend: Vec<&Chip> = all.iter().filter(|chip| app.pools[chip.pool].ascend).collect();
    let others: Vec<&Chip> = all.iter().filter(|chip| !app.pools[chip.pool].ascend).collect();
    let now = look.now.seconds();
    if !others.is_empty() {
        let label = |chip: &Chip| {
            let node = chip.number / chip.system.node_chips;
            let name = escaped(&app.pools[chip.pool].chip);
            let inside = chip.number % chip.system.node_chips;
            format!(
                "gpu=\"{inside}\",UUID=\"GPU-{}-{}\",device=\"nvidia{inside}\",modelName=\"{name}\",hostname=\"{}-{node}\"",
                escaped(&chip.system.name),
                chip.number,
                escaped(&chip.system.name)
            )
        };
        let families: [(&str, &str, &dyn Fn(&Chip) -> f64); 10] = [
            ("DCGM_FI_DEV_GPU_UTIL", "gauge", &|chip| chip.active() * 100.0),
            ("DCGM_FI_DEV_POWER_USAGE", "gauge", &|chip| chip.power(app)),
            ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", &|chip| chip.energy(app, now) * 1000.0),
            ("DCGM_FI_DEV_FB_USED", "gauge", &|chip| chip.used(app)),
            ("DCGM_FI_DEV_FB_FREE", "gauge", &|chip| (chip.total(app) - chip.used(app)).max(0.0)),
            ("DCGM_FI_DEV_GPU_TEMP", "gauge", &|chip| chip.temperature(app)),
            ("DCGM_FI_DEV_MEMORY_TEMP", "gauge", &|chip| chip.temperature(app) + 5.0),
            ("DCGM_FI_DEV_XID_ERRORS", "gauge", &|chip| if chip.health { 0.0 } else { 79.0 }),
            ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gauge", &|chip| chip.active()),
            ("DCGM_FI_PROF_DRAM_ACTIVE", "gauge", &|chip| chip.active()),
        ];
        write_chips(&mut page, &families, &others, &label);
    }
    if !ascend.is_empty() {
        let label = |chip: &Chip| {
            let name = escaped(&app.pools[chip.pool].chip);
            format!(
                "id=\"{}\",vdie_id=\"{}-{}\",model_name=\"{name}\"",
                chip.number,
                escaped(&chip.system.name),
                chip.number
            )
        };
        let families: [(&str, &str, &dyn Fn(&Chip) -> f64); 8] = [
            ("npu_chip_info_utilization", "gauge", &|chip| chip.active() * 100.0),
            ("npu_chip_info_power", "gauge", &|chip| chip.power(app)),
            ("npu_chip_info_temperature", "gauge", &|chip| chip.temperature(app)),
            ("npu_chip_info_health_status", "gauge", &|chip| f64::from(u8::from(chip.health))),
            ("npu_chip_info_hbm_used_memory", "gauge", &|chip| chip.used(app)),
            ("npu_chip_info_hbm_total_memory", "gauge", &|chip| chip.total(app)),
            ("npu_chip_info_network_status", "gauge", &|chip| {
                f64::from(u8::from(chip.health && !chip.system.cut.contains(&chip.number)))
            }),
            ("supernode_npu_energy_joules_total", "counter", &|chip| chip.energy(app, now)),
        ];
        write_chips(&mut page, &families, &ascend, &label);
        page.family("machine_npu_nums", "gauge", "Chips.");
        let _ = writeln!(page.text, "machine_npu_nums {}", ascend.len());
    }
    page.text
}

fn write_chips(
    page: &mut Page,
    families: &[(&str, &str, &dyn Fn(&Chip) -> f64)],
    chips: &[&Chip],
    label: &dyn Fn(&Chip) -> String,
) {
    let labels: Vec<String> = chips.iter().map(|chip| label(chip)).collect();
    for (name, kind, of) in families {
        page.family(name, kind, "Of an emulated chip.");
        chips.iter().zip(&labels).for_each(|(chip, labels)| page.value(name, labels, of(chip)));
    }
}

fn all_chips<'a>(app: &App, look: &'a Snapshot) -> Vec<Chip<'a>> {
    let mut chips = Vec::new();
    for (index, system) in look.grounds.iter().enumerate() {
        let seats: Vec<&Seat> = look.seats.iter().filter(|seat| seat.system as usize == index).collect();
        let usual = app.pools.iter().position(|pool| pool.system == system.name).unwrap_or(0);
        for number in 0..system.chips {
            let seat = seats.iter().find(|seat| seat.chips(system).contains(&number));
            let meter = seat.and_then(|seat| {
                let at = seat.instance.0 as usize;
                let share = 1.0 / f64::from(seat.chips(system).len() as u32);
                Some((look.meters.instances.get(at)?, look.instances.get(at)?, share))
            });
            let pool = meter.map_or(usual, |(meter, ..)| meter.pool as usize);
            chips.push(Chip { system, number, meter, pool, health: !system.dead.contains(&number) });
        }
    }
    chips
}
