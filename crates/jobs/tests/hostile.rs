//! Cluster files that make no sense, each named by file, line and key.

use cluster::file::{Place, parse};
use hardware::Catalog;
use std::path::Path;
use supernode_jobs::prepare;

/// A cluster without a system, a job on it, and the beginnings of what is priced.
const PLAIN: &str = "[cluster]\nchips = 64\nnode = 8\n";
const JOB: &str = "[[job]]\nchips = 8\nduration = \"1 h\"\n";
const SYSTEM: &str = "[cluster]\nsystem = \"cloudmatrix384\"\n";
const RACK: &str = "[[cluster.level]]\nname = \"rack\"\nnodes = 2\n";
const SERVICE: &str = "until = \"2 h\"\n[cluster]\nsystem = \"cloudmatrix384\"\n[[job]]\nkind = \"serving\"\nchips = 4\n[job.serve]\n";
const TRAINING: &str = "[[job]]\nkind = \"training\"\nchips = 8\n";

struct Tried {
    catalog: Catalog,
    failed: Vec<String>,
}

impl Tried {
    /// The file must be refused with these words, which begin with its line.
    fn refused(&mut self, parts: &[&str], words: &str) {
        let text = parts.concat();
        let place = Place { file: "c.toml".to_owned(), text: text.clone() };
        let found = parse("c.toml", &text)
            .map_err(supernode_jobs::JobsError::from)
            .and_then(|raw| prepare(&self.catalog, raw, &place, Path::new("")));
        match found {
            Ok(_) => self.failed.push(format!("it is taken: {text}")),
            Err(error) if !error.to_string().contains(words) => {
                self.failed.push(format!("`{words}` is not in `{error}`: {text}"));
            }
            Err(_) => {}
        }
    }
}

#[test]
fn what_makes_no_sense_is_named_by_file_line_and_key() {
    let mut tried = Tried { catalog: Catalog::builtin(), failed: Vec::new() };
    machines(&mut tried);
    jobs(&mut tried);
    levels(&mut tried);
    tenants_and_priorities(&mut tried);
    the_run(&mut tried);
    priced_jobs(&mut tried);
    services(&mut tried);
    assert!(tried.failed.is_empty(), "{}", tried.failed.join("\n"));
}

fn machines(tried: &mut Tried) {
    tried.refused(
        &["[cluster]\nchips = 0\n", JOB],
        "c.toml:2: cluster.chips: a cluster has at least one chip",
    );
    tried.refused(&["[cluster]\nchips = -1\n", JOB], "line 2, column 9");
    tried.refused(&["[cluster]\nchips = 99999999999\n", JOB], "line 2, column 9");
    tried
        .refused(&["[cluster]\nchips = 60000000\n", JOB], "c.toml:2: cluster.chips: 60000000 chips are more");
    tried.refused(&["[cluster]\nchips = 8\nnode = 0\n", JOB], "c.toml:3: cluster.node: a node has 1 to 64");
    tried.refused(&["[cluster]\nchips = 8\nnode = 65\n", JOB], "c.toml:3: cluster.node: a node has 1 to 64");
    tried.refused(&["[cluster]\nchip = 8\n", JOB], "unknown field `chip`");
    tried.refused(&["[cluster]\nsystem = \"none\"\n", JOB], "there is no `none` in the catalog");
    tried.refused(&["[cluster]\nchips = 8\nregion = \"mars\"\n", JOB], "there is no `mars` in the catalog");
    tried.refused(&[PLAIN, "spares = 8\n", JOB], "c.toml:4: cluster.spares: 8 spares leave nothing of 8");
    let powers = "busy_power = \"1 kW\"\nidle_power = \"100 W\"\n";
    tried.refused(
        &[PLAIN, powers, "power_cap = \"1 W\"\n", JOB],
        "c.toml:6: cluster.power_cap: all chips idle draw",
    );
    let swapped = "busy_power = \"1 kW\"\nidle_power = \"2 kW\"\n";
    tried.refused(&[PLAIN, swapped, JOB], "c.toml:4: cluster.busy_power: a chip at work draws 1 kW");
    tried.refused(
        &[PLAIN, "busy_power = \"-1 kW\"\n", JOB],
        "c.toml:4: cluster.busy_power: a power is not negative",
    );
    tried.refused(
        &[PLAIN, "failure_rate = \"-1 /year\"\n", JOB],
        "c.toml:4: cluster.failure_rate: a chip fails",
    );
    tried.refused(
        &[PLAIN, "failure_rate = \"1e12 /s\"\n", JOB],
        "c.toml:4: cluster.failure_rate: a chip fails",
    );
    tried.refused(&[PLAIN, "repair = \"-1 h\"\n", JOB], "c.toml:4: cluster.repair: a repair takes some time");
}

fn jobs(tried: &mut Tried) {
    tried.refused(
        &[PLAIN, "[[job]]\nchips = 65\nduration = \"1 h\"\n"],
        "c.toml:5: job.chips: it asks for 65 chips",
    );
    tried.refused(&[PLAIN, "[[job]]\nduration = \"1 h\"\n"], "c.toml:4: job.chips: say how many chips");
    tried.refused(
        &[PLAIN, "[[job]]\nchips = 0\nduration = \"1 h\"\n"],
        "c.toml:5: job.chips: a job needs at least one",
    );
    tried.refused(&[PLAIN, "[[job]]\nchips = 8\n"], "c.toml:4: job.duration: an opaque job needs it");
    tried.refused(
        &[PLAIN, "[[job]]\nchips = 8\nduration = \"-1 h\"\n"],
        "c.toml:6: job.duration: it must be more",
    );
    tried.refused(&[PLAIN, "[[job]]\nchips = 8\nduration = 60\n"], "a number with a unit in quotes");
    tried.refused(&[PLAIN, JOB, "limit = \"0 s\"\n"], "c.toml:7: job.limit: it is more than nothing");
    tried.refused(&[PLAIN, JOB, "deadline = \"-1 h\"\n"], "c.toml:7: job.deadline: it is more than nothing");
    tried.refused(
        &[PLAIN, JOB, "at = \"-1 h\"\n"],
        "c.toml:7: job.at: times are between 0 and a hundred years",
    );
    tried
        .refused(&[PLAIN, JOB, "count = 2\nevery = \"-1 h\"\n"], "c.toml:8: job.every: times do not go back");
    tried.refused(&[PLAIN, JOB, "count = 0\n"], "c.toml:7: job.count: 0 jobs; write 1");
    tried.refused(&[PLAIN, JOB, "count = 4000000000\n"], "c.toml:7: job.count: 4000000000 jobs");
    tried.refused(&[PLAIN, JOB, "nodes = 3\n"], "c.toml:7: job.nodes: 8 chips are not spread evenly over 3");
    tried.refused(
        &[PLAIN, JOB, "uses = { memory = 1 }\n"],
        "c.toml:7: job.uses: there is no resource `memory`",
    );
    let memory = "[[cluster.resource]]\nname = \"memory\"\namount = 8\n";
    tried.refused(
        &[PLAIN, memory, JOB, "uses = { memory = 9 }\n"],
        "c.toml:10: job.uses: it needs 9 of `memory`, the cluster has 8",
    );
    tried.refused(
        &[PLAIN, memory, memory, JOB],
        "c.toml:8: cluster.resource.name: there is a resource `memory`",
    );
    tried.refused(
        &[PLAIN, "[[cluster.resource]]\nname = \"memory\"\namount = 0\n", JOB],
        "c.toml:6: cluster.resource.amount: 0 units",
    );
    tried.refused(&[PLAIN, JOB, "min_chips = 0\n"], "c.toml:7: job.min_chips: min_chips 0 <= chips 8");
    tried.refused(&[PLAIN, JOB, "max_chips = 128\n"], "c.toml:7: job.max_chips: min_chips 8 <= chips 8");
    tried.refused(
        &[PLAIN, JOB, "scaling = nan\n"],
        "c.toml:7: job.scaling: the exponent of speed over chips is 0 to 1",
    );
    tried.refused(
        &[PLAIN, JOB, "checkpoint_interval = \"0 s\"\n"],
        "c.toml:7: job.checkpoint_interval: times of",
    );
}

fn levels(tried: &mut Tried) {
    tried.refused(
        &[PLAIN, JOB, "require = \"rack\"\n"],
        "c.toml:7: job.require: there is no level `rack`; there are cluster",
    );
    tried.refused(&[PLAIN, JOB, "slice = 2\n"], "c.toml:7: job.slice: say with `require`");
    tried.refused(
        &[PLAIN, RACK, JOB, "require = \"rack\"\nslice = 0\n"],
        "c.toml:11: job.slice: a slice has at least",
    );
    tried.refused(
        &[PLAIN, RACK, JOB, "require = \"rack\"\nprefer = \"rack\"\n"],
        "c.toml:11: job.prefer: a level is either",
    );
    let large = "[[job]]\nchips = 32\nduration = \"1 h\"\nrequire = \"rack\"\n";
    tried.refused(&[PLAIN, RACK, large], "c.toml:10: job.require: it takes 4 nodes, a rack has 2");
    tried.refused(
        &[PLAIN, "[[cluster.level]]\nname = \"rack\"\nnodes = 1\n", JOB],
        "c.toml:6: cluster.level.nodes: a domain",
    );
    tried.refused(
        &[PLAIN, RACK, "[[cluster.level]]\nname = \"row\"\nnodes = 3\n", JOB],
        "row of 3 nodes does not hold whole",
    );
    tried.refused(&[PLAIN, RACK, RACK, JOB], "c.toml:8: cluster.level.name: there is a level `rack` already");
    tried.refused(
        &[PLAIN, RACK, "uplink = \"0 B/s\"\n", JOB],
        "c.toml:7: cluster.level.uplink: an uplink carries",
    );
    tried.refused(
        &[PLAIN, RACK, "failure_rate = \"-1 /year\"\n", JOB],
        "c.toml:7: cluster.level.failure_rate: a domain",
    );
    tried.refused(
        &[PLAIN, JOB, "[job.train]\nmodel = \"x\"\n"],
        "job.train: a job of kind `opaque` does not have it",
    );
    tried.refused(
        &[PLAIN, JOB, "[job.serve]\nmodel = \"x\"\n"],
        "job.serve: a job of kind `opaque` does not have it",
    );
}

fn tenants_and_priorities(tried: &mut Tried) {
    let tenant = |rest: &str| format!("[[tenant]]\nname = \"a\"\n{rest}");
    let two = "[[tenant]]\nname = \"a\"\nquota = 64\n[[tenant]]\nname = \"b\"\nquota = 1\n";
    tried.refused(
        &[PLAIN, two, JOB],
        "c.toml:9: tenant.quota: the quotas up to here add up to 65 chips and overlap",
    );
    tried.refused(
        &[PLAIN, &tenant(""), &tenant(""), JOB],
        "c.toml:7: tenant.name: tenant `a` has two entries",
    );
    tried.refused(
        &[PLAIN, &tenant("weight = 0\n"), JOB],
        "c.toml:6: tenant.weight: a weight is a positive number",
    );
    tried.refused(&[PLAIN, &tenant("cohort = \"c\"\n"), JOB], "tenant.quota: a member of a cohort lends");
    tried.refused(
        &[PLAIN, &tenant("quota = 4\nborrow = 3\n"), JOB],
        "c.toml:7: tenant.borrow: there is no cohort",
    );
    tried.refused(
        &[PLAIN, &tenant("quota = 4\n"), JOB],
        "c.toml:8: job.chips: it asks for 8 chips, tenant `a` may use 4",
    );
    tried.refused(&[PLAIN, "[[tenant]]\nname = \" \"\n", JOB], "c.toml:5: tenant.name: a tenant has a name");
    tried.refused(&[PLAIN, JOB, "tenant = \"b\"\n"], "c.toml:7: job.tenant: there is no tenant `b`");
    let class = |name: &str, above: &str| format!("[[priority]]\nname = \"{name}\"\nabove = [\"{above}\"]\n");
    tried.refused(
        &[PLAIN, &class("a", "a"), JOB],
        "c.toml:6: priority.above: the priorities a are above each other",
    );
    let circle = [class("a", "b"), class("b", "c"), class("c", "a")].concat();
    tried.refused(
        &[PLAIN, &circle, JOB],
        "priority.above: the priorities a, b, c are above each other in a cycle",
    );
    tried.refused(&[PLAIN, &class("a", "b"), JOB], "c.toml:6: priority.above: there is no priority `b`");
    tried.refused(
        &[PLAIN, JOB, "priority = \"x\"\n"],
        "c.toml:7: job.priority: there is no priority `x`; there are none",
    );
    tried.refused(&[PLAIN, JOB, "priority = 99999999999\n"], "a whole number of at most 2147483647");
    tried.refused(&[PLAIN, JOB, "priority = 1.5\n"], "line 7, column 12");
}

fn the_run(tried: &mut Tried) {
    let maintenance = |nodes: &str, at: &str, length: &str| {
        format!("[[maintenance]]\nnodes = \"{nodes}\"\nat = \"{at}\"\nlength = \"{length}\"\n")
    };
    tried.refused(
        &[PLAIN, &maintenance("0-99", "1 h", "1 h"), JOB],
        "c.toml:5: maintenance.nodes: there is no node `0-99`",
    );
    tried.refused(
        &[PLAIN, &maintenance("x", "1 h", "1 h"), JOB],
        "c.toml:5: maintenance.nodes: `x` is no node",
    );
    tried.refused(
        &[PLAIN, &maintenance("5-2", "1 h", "1 h"), JOB],
        "c.toml:5: maintenance.nodes: there is no node `5-2`",
    );
    tried.refused(
        &[PLAIN, &maintenance("0", "-1 h", "1 h"), JOB],
        "c.toml:6: maintenance.at: maintenance begins",
    );
    tried.refused(
        &[PLAIN, &maintenance("0", "1 h", "-1 h"), JOB],
        "c.toml:7: maintenance.length: maintenance lasts",
    );
    tried.refused(&["policy = []\n", PLAIN, JOB], "c.toml:1: policy: name at least one policy");
    tried.refused(&["placement = \"x\"\n", PLAIN, JOB], "unknown variant `x`, expected one of `best-fit`");
    tried.refused(&["until = \"-1 h\"\n", PLAIN, JOB], "c.toml:1: until: a run ends after it has begun");
    for (line, words) in [
        ("depth = 0\n", "c.toml:2: settings.depth: a pass looks"),
        ("round = \"0 s\"\n", "c.toml:2: settings.round: it lasts a second"),
        ("half_life = \"-1 s\"\n", "c.toml:2: settings.half_life: it lasts"),
        ("backfill_interval = \"-5 s\"\n", "c.toml:2: settings.backfill_interval: it is not negative"),
        ("age_weight = nan\n", "c.toml:2: settings.age_weight: a weight is a number"),
        ("las_thresholds = [\"2 h\", \"1 h\"]\n", "c.toml:2: settings.las_thresholds: thresholds are"),
    ] {
        tried.refused(&["[settings]\n", line, PLAIN, JOB], words);
    }
    tried.refused(&[PLAIN, "[trace]\nfile = \"no.csv\"\n"], "no.csv: No such file");
    tried.refused(
        &[PLAIN, "[trace]\nfile = \"x.csv\"\nlimit_factor = 0.5\n"],
        "c.toml:6: trace.limit_factor: a declared",
    );
    tried.refused(&[PLAIN], "c.toml: job: there are no jobs");
    tried.refused(&["[[job]\n"], "line 1, column");
}

fn priced_jobs(tried: &mut Tried) {
    tried.refused(&[SYSTEM, TRAINING, "steps = 10\n"], "a training job needs a `[job.train]` table");
    tried.refused(
        &[SYSTEM, TRAINING, "steps = 10\n[job.train]\nmodel = \"no/such\"\n"],
        "c.toml:8: job.train.model",
    );
    let model = "[job.train]\nmodel = \"Qwen/Qwen3-32B\"\n";
    tried.refused(
        &[SYSTEM, TRAINING, "steps = -5\n", model],
        "c.toml:6: job.steps: it must be more than nothing",
    );
    tried.refused(
        &[SYSTEM, TRAINING, "duration = \"1 h\"\n", model],
        "c.toml:6: job.duration: a training job has `steps`",
    );
    tried.refused(&[SYSTEM, TRAINING, "steps = 10\n", model, "colour = 3\n"], "unknown field `colour`");
    tried
        .refused(&[PLAIN, TRAINING, "steps = 10\n", model], "cluster.system: training is priced on a system");
    let huge = "steps = 10\n[job.train]\nmodel = \"deepseek-ai/DeepSeek-R1\"\nglobal-batch = 8\nseq = 4096\n";
    tried.refused(&[SYSTEM, TRAINING, huge], "does not fit");
    let batch =
        "[[job]]\nkind = \"batch-inference\"\nchips = 8\nrequests = 5\n[job.serve]\ncapacity = \"1 /s\"\n";
    tried.refused(&[SYSTEM, batch], "c.toml:8: job.serve.capacity: batch inference has `requests`");
}

fn services(tried: &mut Tried) {
    let model = "model = \"Qwen/Qwen3-32B\"\nisl = 100\nosl = 10\n";
    let given = "capacity = \"1 /s\"\n";
    tried.refused(&[SERVICE, "model = \"Qwen/Qwen3-32B\"\n"], "say how long prompts are");
    tried.refused(&[SERVICE, model], "job.serve.peak: say its load");
    tried.refused(
        &[SERVICE, model, "peak = \"1 /s\"\ntrough = \"2 /s\"\n"],
        "c.toml:12: job.serve.trough: it is between",
    );
    tried
        .refused(&[SERVICE, model, "peak = \"1 /s\"\nttft = \"1 ns\"\n"], "even one request at a time takes");
    tried.refused(
        &[SERVICE, given, "peak = \"1 /s\"\nmin = 5\nmax = 2\n"],
        "c.toml:10: job.serve.min: there are more",
    );
    tried.refused(
        &[SERVICE, given, "peak = \"1 /s\"\nheadroom = -1\n"],
        "c.toml:10: job.serve.headroom: it is a share",
    );
    tried.refused(
        &[SERVICE, "capacity = \"0 /s\"\npeak = \"1 /s\"\n"],
        "c.toml:8: job.serve.capacity: a replica serves",
    );
    tried.refused(
        &[SERVICE, given, "peak = \"1 /s\"\ninterval = \"-5 min\"\n"],
        "c.toml:10: job.serve.interval",
    );
    tried.refused(
        &[SERVICE, given, "peak = \"1 /s\"\nload_time = \"-5 min\"\n"],
        "c.toml:10: job.serve.load_time",
    );
    tried.refused(
        &[SERVICE, given, "peak = \"1 /s\"\npatience = \"0 s\"\n"],
        "c.toml:10: job.serve.patience: it is more than nothing",
    );
    let points = "load = [{ at = \"2 h\", rate = \"1 /s\" }, { at = \"1 h\", rate = \"1 /s\" }]\n";
    tried
        .refused(&[SERVICE, given, points], "c.toml:9: job.serve.load: its points come in the order of time");
    let window = "peak = \"1 /s\"\nwindow = [{ at = \"0 h\", length = \"1 min\" }]\n";
    tried.refused(
        &[SERVICE, given, window],
        "c.toml:10: job.serve.window: requests are run on a priced deployment",
    );
    let late = SERVICE.replace("chips = 4\n", "chips = 4\ncount = 2\n");
    tried.refused(
        &[&late, given, "peak = \"1 /s\"\n"],
        "c.toml:7: job.count: a job of kind `serving` does not have it",
    );
    let endless = SERVICE.replace("until = \"2 h\"\n", "");
    tried.refused(&[&endless, given, "peak = \"1 /s\"\n"], "until: services never end");
}
