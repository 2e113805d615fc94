//! What `--help` says beside the flags: groups of commands, groups of flags, examples. It is data, so that a test can run it.

use clap::Command;
use std::fmt::Write as _;

/// Commands by what they are for.
pub const GROUPS: [(&str, &[&str]); 6] = [
    ("Ask of one deployment", &["estimate", "simulate", "up", "replay", "observe", "keys", "train"]),
    ("Choose", &["compare", "plan", "match", "sweep", "export", "cluster"]),
    ("Decide", &["fit", "own", "second-source", "export-rules"]),
    ("Look up", &["catalog", "model"]),
    ("Trust", &["validate", "accuracy", "calibrate"]),
    ("Begin", &["guide", "init", "doctor", "completions", "man"]),
];

/// Flags by what they say; what is in none of them stands under `Options`.
const HEADINGS: [(&str, &[&str]); 9] = [
    (
        "What runs where",
        &[
            "model",
            "shape",
            "system",
            "chip",
            "chips",
            "nic",
            "engine",
            "framework",
            "release",
            "instances",
            "engine_version",
            "against",
            "against_system",
            "systems",
            "named",
        ],
    ),
    (
        "Layout",
        &[
            "tp",
            "pp",
            "dp",
            "ep",
            "etp",
            "cp",
            "vpp",
            "moe_tp",
            "schedule",
            "context",
            "zero",
            "recompute",
            "sequence_parallel",
            "redundant_experts",
            "prefill_pp",
            "prefill_moe_tp",
            "prefill_redundant_experts",
            "decode_pp",
            "decode_moe_tp",
            "decode_redundant_experts",
            "prefill_instances",
            "decode_instances",
            "prefill_tp",
            "prefill_dp",
            "prefill_ep",
            "decode_tp",
            "decode_dp",
            "decode_ep",
            "micro_batch",
            "first_stage_layers",
            "last_stage_layers",
            "offload_optimizer",
            "offload_activations",
            "mtp",
            "micro_batches",
        ],
    ),
    ("Number formats", &["weight_dtype", "act_dtype", "kv_dtype", "moe_dtype", "precision"]),
    (
        "Load",
        &[
            "isl",
            "osl",
            "concurrency",
            "rate",
            "requests",
            "arrival",
            "burstiness",
            "warm_up",
            "trace",
            "trace_format",
            "time_unit",
            "block_size",
            "columns",
            "rate_scale",
            "repeat",
            "prefix_hit",
            "batch_per_rank",
            "kv_len",
            "mode",
            "global_batch",
            "seq",
            "tokens",
            "target_rate",
            "target_concurrency",
            "max_global_batch",
            "mix",
        ],
    ),
    (
        "Limits and goal",
        &["ttft", "tpot", "slo_ttft", "slo_tpot", "objective", "only", "top", "at_most", "front", "vary"],
    ),
    (
        "Engine settings",
        &[
            "router",
            "batching",
            "order",
            "preemption",
            "token_budget",
            "max_seqs",
            "prefix_cache",
            "spec_tokens",
            "spec_accept",
            "execution",
            "memory_utilisation",
            "expert_skew",
            "chunked_prefill",
        ],
    ),
    ("Launch files as input", &["from-launch", "launch", "given", "script", "job"]),
    (
        "Output",
        &[
            "json",
            "out",
            "records",
            "perfetto",
            "perfetto_sample",
            "timeline",
            "worst",
            "explain",
            "wide",
            "width",
        ],
    ),
    ("Facts and prices", &["catalog", "sets", "region", "basis"]),
];

/// Examples by command: what it answers, and the line.
pub const EXAMPLES: [(&str, &[(&str, &str)]); 37] = [
    (
        "estimate",
        &[
            (
                "How fast is this deployment?",
                "supernode estimate --system h100-8 --model meta-llama/Llama-3.1-70B --weight-dtype fp8 --tp 4 --isl 1024 --osl 256 --users 32",
            ),
            (
                "The same, as a page",
                "supernode estimate --system h100-8 --model meta-llama/Llama-3.1-8B --isl 512 --osl 64 --html estimate.html",
            ),
        ],
    ),
    (
        "compare",
        &[(
            "Which system serves my model best?",
            "supernode compare h100-8 h200-8 mi300x-8 --model meta-llama/Llama-3.1-8B --isl 512 --osl 128",
        )],
    ),
    (
        "plan serve",
        &[(
            "How should I serve it?",
            "supernode plan serve --model meta-llama/Llama-3.1-8B --system h100-8 --isl 512 --osl 128 --tpot 30ms",
        )],
    ),
    (
        "plan train",
        &[(
            "How should I cut the job?",
            "supernode plan train --system h100-8 --chips 8 --shape layers=8,hidden=2048,heads=16,vocab=32000 --global-batch 16 --seq 2048",
        )],
    ),
    (
        "train",
        &[(
            "How long does a step take?",
            "supernode train --system h100-8 --chips 64 --shape layers=32,hidden=4096,heads=32,vocab=32000 --global-batch 64 --seq 2048 --tp 2 --pp 4",
        )],
    ),
    (
        "simulate",
        &[(
            "What do my users see?",
            "supernode simulate --system h100-8 --model meta-llama/Llama-3.1-8B --arrival poisson --rate 4 --requests 200 --isl 512 --osl 64",
        )],
    ),
    (
        "up",
        &[("A cluster to send requests to", "supernode up --system h100-8 --model meta-llama/Llama-3.1-8B")],
    ),
    ("replay", &[("What was decided, once more", "supernode replay input.log")]),
    ("keys", &[("A key for a tenant", "supernode keys --tenant 1")]),
    ("observe", &[("What clients of a real endpoint see", "supernode observe http://localhost:8000")]),
    (
        "cluster",
        &[(
            "Which scheduler suits my jobs?",
            "supernode cluster examples/cluster/tenants.toml --policy fifo,drf",
        )],
    ),
    ("sweep", &[("How large is my design?", "supernode sweep sweep.toml --dry-run")]),
    ("model", &[("What is a model made of?", "supernode model show deepseek-ai/DeepSeek-R1")]),
    (
        "catalog",
        &[
            ("Which chips are there, and since when?", "supernode catalog list chips --min-memory 128GB"),
            ("What is said of one, and by whom?", "supernode catalog show ascend-910c"),
            ("How do two differ?", "supernode catalog diff ascend-910c h100"),
            ("How many are made?", "supernode catalog supply ascend-910c"),
        ],
    ),
    ("export-rules", &[("Which thresholds does a chip meet?", "supernode export-rules h20")]),
    ("calibrate", &[("Fit a chip to my timings", "supernode calibrate --help")]),
    ("export", &[("A plan as launch files", "supernode export plan.json --to sglang --out launch")]),
    (
        "match",
        &[(
            "What would a chip have to be?",
            "supernode match --chip ascend-910d --against h100 --model meta-llama/Llama-3.1-8B --isl 512 --osl 128",
        )],
    ),
    ("validate", &[("How far off are predictions?", "supernode validate --data validation/serving.csv")]),
    ("accuracy", &[("How accurate is what is shipped?", "supernode accuracy --help")]),
    (
        "fit",
        &[(
            "Can I run my model there, and what will it cost me?",
            "supernode fit deepseek-ai/DeepSeek-R1 --system cloudmatrix384",
        )],
    ),
    ("own", &[("What does it cost to own?", "supernode own --system h100-8 --years 4")]),
    (
        "second-source",
        &[(
            "What if I lose this supplier?",
            "supernode second-source h100-8 mi300x-8 --model meta-llama/Llama-3.1-8B --isl 512 --osl 128",
        )],
    ),
    ("guide", &[("Which command answers my question?", "supernode guide cost")]),
    ("init", &[("A file to begin with", "supernode init scenario")]),
    ("doctor", &[("What is missing here?", "supernode doctor")]),
    (
        "catalog list",
        &[
            (
                "Chips with much memory that can be had this year",
                "supernode catalog list chips --min-memory 128GB --available-by 2026",
            ),
            ("Everything of one vendor", "supernode catalog list --find huawei"),
        ],
    ),
    (
        "catalog diff",
        &[("How does one chip differ from another?", "supernode catalog diff ascend-910c h100")],
    ),
    (
        "catalog show",
        &[
            ("Every figure of a chip, with its source", "supernode catalog show ascend-910c"),
            ("Prices and carbon", "supernode catalog show economics"),
        ],
    ),
    (
        "catalog supply",
        &[("Can a hundred supernodes be had?", "supernode catalog supply cloudmatrix384 --fleet 100")],
    ),
    ("catalog check", &[("Is my own chip described well?", "supernode catalog check --catalog my-catalog")]),
    ("catalog keys", &[("What can --set replace?", "supernode catalog keys")]),
    ("model list", &[("Which models are built in?", "supernode model list")]),
    ("model show", &[("What is a model made of?", "supernode model show deepseek-ai/DeepSeek-R1")]),
    (
        "model describe",
        &[(
            "A config.json as a built-in model",
            "supernode model describe config.json --source \"the model's repository\"",
        )],
    ),
    (
        "completions",
        &[(
            "Completions for bash",
            "supernode completions bash > ~/.local/share/bash-completion/completions/supernode",
        )],
    ),
    (
        "man",
        &[
            ("The page of one command", "supernode man plan serve | man -l -"),
            ("The pages of all", "supernode man --out ~/.local/share/man/man1"),
        ],
    ),
];

/// The command with grouped flags and examples, all the way down.
pub fn dress(command: Command) -> Command {
    let command = dressed(command, "");
    let groups = groups(&command);
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n{{options}}\n\nBegin with `supernode guide`, \
         or with `supernode compare`, which needs nothing.\n"
    ))
}

fn dressed(mut command: Command, path: &str) -> Command {
    command = command.mut_args(|arg| {
        let id = arg.get_id().as_str().to_owned();
        let heading = HEADINGS.iter().find(|(_, ids)| ids.contains(&id.as_str()));
        match heading {
            Some((heading, _)) if arg.get_help_heading().is_none() && !arg.is_positional() => {
                arg.help_heading(*heading)
            }
            _ => arg,
        }
    });
    if let Some((_, examples)) = EXAMPLES.iter().find(|(name, _)| *name == path) {
        let mut text = String::from("Examples:\n");
        for (what, line) in *examples {
            let _ = writeln!(text, "  {what}\n    {line}");
        }
        command = command.after_help(text);
    }
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command = command.mut_subcommand(name, |sub| dressed(sub, &path));
    }
    command
}

/// The commands as the help of the whole lists them. What is in no group is listed last.
fn groups(command: &Command) -> String {
    let about = |name: &str| {
        let sub = command.get_subcommands().find(|sub| sub.get_name() == name)?;
        Some(sub.get_about().map_or_else(String::new, ToString::to_string))
    };
    let mut text = String::new();
    for (heading, names) in GROUPS {
        let _ = writeln!(text, "{heading}:");
        for (name, about) in names.iter().filter_map(|name| Some((name, about(name)?))) {
            let _ = writeln!(text, "  {name:<15}{about}");
        }
        text.push('\n');
    }
    text
}

/// What to try after a command, in a line; what is said of none of its own goes for the command above it.
pub fn next(command: &str) -> Option<&'static str> {
    known(command).or_else(|| command.rsplit_once(' ').and_then(|(above, _)| next(above)))
}

/// What to try after a command whose answer is no.
pub fn after_no(command: &str) -> Option<&'static str> {
    Some(match command {
        "compare" | "plan serve" | "second-source" => {
            "allow more time (--ttft, --tpot) or more chips (--chips), or ask with --system of another machine"
        }
        "plan train" => {
            "more chips (--chips), a shorter --seq, or supernode train with one layout to see what does not fit"
        }
        "estimate" | "train" => "supernode plan serve and supernode plan train look for what does fit",
        "fit" => "supernode fit MODEL --system with another machine, or supernode guide port",
        "match" => "--vary KEY,KEY varies two figures at once; supernode catalog keys lists them",
        "own" => {
            "--price gives the price that the catalog lacks; supernode catalog list systems shows other machines"
        }
        "catalog list" => "supernode catalog list without filters shows everything",
        "catalog check" => "mend the lines above; supernode init chip shows how a chip is written",
        "guide" => "supernode guide without words lists every question",
        "accuracy" => "supernode validate --data FILE --worst 10 says where the error comes from",
        _ => return None,
    })
}

fn known(command: &str) -> Option<&'static str> {
    Some(match command {
        "compare" => {
            "supernode plan serve --system SYSTEM shows how the best plan is made; --html FILE makes a report"
        }
        "estimate" => {
            "supernode plan serve looks for a better deployment; --html FILE shows where the time goes"
        }
        "plan serve" => {
            "--json > plan.json, then supernode export plan.json --to vllm makes launch files; --html FILE shows the front"
        }
        "plan train" => "supernode train with a line above prices it under failures (--tokens)",
        "train" => "supernode plan train looks for a better layout; --html FILE shows the pipeline",
        "simulate" => "supernode up serves the same deployment live; --html FILE makes a report",
        "cluster" => "--policy all compares every scheduler; --html FILE shows who held which chips",
        "match" => "supernode catalog show CHIP says who states its figures, and how sure they are",
        "catalog" => "supernode catalog diff A B, or supernode compare SYSTEM SYSTEM",
        "catalog supply" => "supernode compare --available-by DATE leaves out what cannot be had by then",
        "catalog keys" => "supernode compare SYSTEM --set KEY=VALUE asks what a figure changes",
        "catalog check" => "supernode compare --catalog DIR plans on what is described there",
        "model list" => "supernode model show ID says what one is made of",
        "model describe" => "save it, then give its path to --model",
        "guide" => "run one of the lines above; supernode COMMAND --help explains its flags",
        "up" => "supernode replay FILE takes the decisions of its input log once more",
        "completions" => "write it where your shell looks for completions, then start a new shell",
        "man" => "--out DIR writes the pages of all commands; man -l FILE shows one",
        "model" => "supernode fit MODEL --system SYSTEM says what runs it there",
        "fit" => "supernode plan serve --model MODEL --system SYSTEM finds the best deployment",
        "own" => "supernode compare --basis rent holds renting against it",
        "second-source" => "supernode fit MODEL --system SYSTEM says what the move asks of the software",
        "export-rules" => "supernode catalog supply CHIP says how many are made",
        "validate" => "--worst 10 says what the predictions that are furthest off are made of",
        "calibrate" => "supernode validate --catalog DIR holds the fit to measurements",
        "sweep" => "the rows are Parquet: any data frame reads them",
        "export" => "supernode up serves the same plan in virtual time before it runs on chips",
        "accuracy" => "supernode validate --data FILE holds predictions to your own measurements",
        "init" => "edit the file, then run it; its first lines say how",
        "doctor" => "supernode guide says which command answers a question",
        "observe" => "supernode validate --data FILE holds predictions to what was observed",
        "replay" => "supernode simulate asks the same deployment other questions",
        "keys" => "supernode up --keys FILE asks clients for them",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn command() -> Command {
        dress(<crate::Cli as clap::CommandFactory>::command())
    }

    #[test]
    fn every_command_is_in_one_group_and_has_examples() {
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(grouped.len(), grouped.iter().collect::<BTreeSet<_>>().len());
        for sub in command().get_subcommands() {
            let name = sub.get_name();
            assert!(grouped.contains(&name), "{name} is in no group");
            let below = sub.get_subcommands().map(|below| format!("{name} {}", below.get_name()));
            let mut paths: Vec<String> = below.filter(|path| !path.ends_with(" help")).collect();
            if paths.is_empty() || name == "catalog" {
                paths.push(name.to_owned());
            }
            for path in paths {
                assert!(EXAMPLES.iter().any(|(known, _)| *known == path), "{path} has no example");
                assert!(next(&path).is_some(), "nothing is next after {path}");
            }
        }
    }

    #[test]
    fn long_lists_of_flags_are_grouped() {
        for name in ["estimate", "simulate", "train"] {
            let command = command();
            let sub = command.find_subcommand(name).expect("a command");
            let flags: Vec<_> =
                sub.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set()).collect();
            let loose = flags.iter().filter(|arg| arg.get_help_heading().is_none()).count();
            assert!(loose <= 8, "{name}: {loose} of {} flags are in no group", flags.len());
        }
        command().debug_assert();
    }
}
