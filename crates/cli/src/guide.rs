//! `supernode guide`: from a question to the command that answers it.

use crate::common::{Failure, print};
use std::fmt::Write as _;

/// Which command answers a question.
#[derive(clap::Args)]
pub struct Args {
    /// Words of the question, for example `cost`, `latency` or `ascend`; all questions without any.
    #[arg(value_name = "WORD")]
    words: Vec<String>,
}

/// Questions by who asks them: the question, words it may be asked in, and the command.
const QUESTIONS: [(&str, &[(&str, &str, &str)]); 4] = [
    (
        "I buy",
        &[
            (
                "Which system serves my model best?",
                "compare chips choose throughput price",
                "supernode compare h200-8 cloudmatrix384 --model ID",
            ),
            (
                "What does it cost to own, and when does it beat renting?",
                "cost money tco rent buy price",
                "supernode own --system cloudmatrix384",
            ),
            (
                "When can I have it, and how many are made?",
                "supply availability date delivery yield",
                "supernode catalog supply ascend-910c",
            ),
            (
                "What if I lose this supplier?",
                "risk vendor sanctions second source",
                "supernode second-source cloudmatrix384 h200-8",
            ),
            ("May it be sold to me?", "export rules controls law", "supernode export-rules h20"),
            (
                "Can I run my model on it, and what will porting cost me?",
                "fit support port ascend amd kunlun",
                "supernode fit ID --system cloudmatrix384",
            ),
        ],
    ),
    (
        "I operate",
        &[
            (
                "How should I deploy it?",
                "plan layout deploy serve disaggregation",
                "supernode plan serve --model ID --system h100-8",
            ),
            (
                "What do my users see under this traffic?",
                "latency traffic simulate slo queue failures",
                "supernode simulate scenario.toml",
            ),
            (
                "Can I rehearse against it before it exists?",
                "live api openai endpoint test rehearse",
                "supernode up --system h100-8 --model ID",
            ),
            (
                "Which scheduler suits my jobs?",
                "scheduler tenants quota share cluster",
                "supernode cluster cluster.toml --policy all",
            ),
            (
                "How do I start it on the real machine?",
                "launch vllm kubernetes export",
                "supernode export plan.json --to vllm",
            ),
        ],
    ),
    (
        "I design chips and systems",
        &[
            (
                "What would this chip have to be to match that one?",
                "match bandwidth memory design target",
                "supernode match --chip ascend-910d --against h100 --model ID",
            ),
            (
                "What if the memory were faster?",
                "what-if override set bandwidth",
                "supernode compare cloudmatrix384 --set chip.hbm.bandwidth=4TB/s",
            ),
            (
                "What bounds a step?",
                "roofline bottleneck bound where time",
                "supernode estimate ... --html estimate.html",
            ),
            (
                "How do I describe a chip of my own?",
                "chip own catalog describe new",
                "supernode init chip my-chip.toml",
            ),
            (
                "How do a thousand designs do?",
                "sweep grid design space",
                "supernode sweep sweep.toml --out rows",
            ),
        ],
    ),
    (
        "I train and serve models",
        &[
            (
                "How long does training take, and at what cost?",
                "train training time days cost failures",
                "supernode train --system h100-8 --chips 1024 --model ID --tokens 15T",
            ),
            (
                "How do I cut the job?",
                "parallelism layout tensor pipeline expert",
                "supernode plan train --system h100-8 --chips 1024 --model ID",
            ),
            ("What is this model made of?", "parameters kv cache model config", "supernode model show ID"),
            ("How far can I trust this?", "accuracy error trust validate", "supernode validate --data FILE"),
            (
                "How do I teach it my chip?",
                "calibrate fit measurements kernels",
                "supernode calibrate --help",
            ),
        ],
    ),
];

/// Runs `guide`.
pub fn run(args: &Args) -> Result<(), Failure> {
    let wanted: Vec<String> = args.words.iter().map(|word| word.to_lowercase()).collect();
    let mut text = String::new();
    for (who, questions) in QUESTIONS {
        let hits = questions.iter().filter(|(question, words, command)| {
            let all = format!("{question} {words} {command}").to_lowercase();
            wanted.iter().all(|word| all.contains(word.as_str()))
        });
        let lines: String =
            hits.map(|(question, _, command)| format!("  {question}\n      {command}\n")).collect();
        if !lines.is_empty() {
            let _ = writeln!(text, "{who}\n{lines}");
        }
    }
    if text.is_empty() {
        let asked = args.words.join(" ");
        return Err(Failure::No(format!(
            "no question holds `{asked}`; `supernode guide` lists all of them, `supernode --help` all commands"
        )));
    }
    print(&text)
}

#[cfg(test)]
mod tests {
    use super::QUESTIONS;

    #[test]
    fn every_answer_is_a_command_there_is() {
        let command = <crate::Cli as clap::CommandFactory>::command();
        for (_, questions) in QUESTIONS {
            for (question, _, line) in questions {
                let name = line.split(' ').nth(1).unwrap_or_default();
                assert!(command.find_subcommand(name).is_some(), "{question}: {line}");
            }
        }
    }
}
