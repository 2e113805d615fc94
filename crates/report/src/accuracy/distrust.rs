//! Where not to trust the predictions, in words, from the figures themselves.

use super::operators::KINDS;
use super::rows::{by, ratio};
use super::{percent, signed};
use calibration::ops::Study;
use calibration::stats::median;
use cost::kernels::Origin;
use std::collections::BTreeSet;
use std::fmt::Write;
use validate::{Accuracy, Metric, Scored};

/// Rows of a cell below which its median says little.
const CELL_ROWS: usize = 8;
/// Predicted / measured outside of which a cell is off.
const CELL_RANGE: std::ops::Range<f64> = 0.75..1.33;
/// Median error of a metric above which a table's rows are listed as unreliable.
const LOOSE: f64 = 0.25;
/// Median error above which a study is listed.
const CARRIED_BADLY: f64 = 0.20;
/// How far off a published figure is named.
const FAR_OFF: f64 = 0.30;

/// The list.
pub(super) fn distrust(accuracy: &Accuracy) -> String {
    let mut text = String::new();
    cells(accuracy, &mut text);
    loose(accuracy, &mut text);
    studies(accuracy, &mut text);
    borrowed(accuracy, &mut text);
    published(accuracy, &mut text);
    text.push_str(KNOWN);
    text
}

fn cells(accuracy: &Accuracy, text: &mut String) {
    for table in &accuracy.serving {
        let (name, rows) = (&table.name, &table.rows);
        for (cell, rows) in by(rows, "cell") {
            let Some((n, ratio)) = ratio(&rows, Metric::Tpot) else { continue };
            if n >= CELL_ROWS && !CELL_RANGE.contains(&ratio) {
                let _ = writeln!(
                    text,
                    "- {cell} (`{name}`, {n} rows): TPOT is {} at the median.",
                    signed(ratio - 1.0)
                );
            }
        }
    }
}

fn loose(accuracy: &Accuracy, text: &mut String) {
    let serving = accuracy.serving.iter().map(|table| (&table.name, &table.rows));
    let tables = serving.chain(accuracy.training.iter().map(|(name, rows)| (name, rows)));
    for (name, rows) in tables {
        for column in ["load", "mode", "engine", "framework"] {
            for (value, rows) in by(rows, column) {
                for (metric, stats) in validate::summarise(&rows).metrics {
                    if stats.n >= CELL_ROWS && stats.median_ape > LOOSE {
                        let _ = writeln!(
                            text,
                            "- {} of `{name}` where {column} is {value} ({} rows): {} off at the median, bias {}.",
                            metric.name(),
                            stats.n,
                            percent(stats.median_ape),
                            signed(stats.bias)
                        );
                    }
                }
            }
        }
    }
}

fn studies(accuracy: &Accuracy, text: &mut String) {
    let cases = [
        (Study::Size, "sizes beyond those measured"),
        (Study::Shapes, "shapes unlike those measured"),
        (Study::Foreign, "a chip without data"),
        (Study::Few, "a chip with 32 rows"),
    ];
    for (study, what) in cases {
        for family in KINDS.iter().flat_map(|(_, families)| families.iter()) {
            let errors: Vec<f64> = accuracy
                .carried
                .iter()
                .filter(|carried| carried.set.family == *family && carried.set.rows > 0)
                .filter_map(|carried| study.of(&carried.set))
                .map(|pair| pair[0])
                .collect();
            if !errors.is_empty() && median(&errors) > CARRIED_BADLY {
                let _ = writeln!(
                    text,
                    "- {family} on {what}: {} off at the median over {} sets.",
                    percent(median(&errors)),
                    errors.len()
                );
            }
        }
    }
}

fn borrowed(accuracy: &Accuracy, text: &mut String) {
    let measured: BTreeSet<&str> = accuracy
        .bands
        .iter()
        .filter(|band| matches!(band.origin, Origin::Measured { .. }))
        .map(|band| band.chip.as_str())
        .collect();
    let all: BTreeSet<&str> = accuracy.bands.iter().map(|band| band.chip.as_str()).collect();
    let others: Vec<&str> = all.difference(&measured).copied().collect();
    let _ = writeln!(
        text,
        "- Chips that nobody has measured kernel by kernel, priced with another's coefficients: {}.",
        others.join(", ")
    );
}

fn published(accuracy: &Accuracy, text: &mut String) {
    for (name, rows) in &accuracy.published {
        for row in rows {
            if let Some(off) = furthest(row).filter(|off| off.abs() > FAR_OFF) {
                let _ = writeln!(text, "- The published row {} (`{name}`) is {} off.", row.id, signed(off));
            }
        }
    }
}

/// The relative error of the row's figure that is furthest off.
fn furthest(row: &Scored) -> Option<f64> {
    row.pairs
        .iter()
        .map(|pair| pair.predicted / pair.measured - 1.0)
        .max_by(|a, b| a.abs().total_cmp(&b.abs()))
}

const KNOWN: &str =
    "- Kernel tables re-read their operands: on chips with a large second-level cache they show warm times. The forms are fitted with a
  cache term that a step's price leaves out, so cold weights are priced by the form and not by a measurement.
- Expert loads of the kernel tables are drawn from their benchmark's sampler, not recorded: errors of MoE rows include that draw.
- Norms, rotary embedding, sampling and activation functions are in no table: they are priced by the bytes they move.
- Serving rows do not say which speculative decoding, if any, was on; a row that used it looks slow here.
- Eight rows of gpt-oss-120b on H100 under vLLM 0.11 at 512 users show a third of the time per token that the same
  deployments take at 64 users: no price of a step gives both. They alone make up a sixth of the mean TPOT error.
- Where a table has no column for an engine's flags and the source publishes its launch scripts, the rows are predicted as those
  scripts launch them (`validation/launches`): format of the cache, tokens of a step, sequences of a rank, graph mode, prompts that
  wait to start together, tokens of the first response, requests of the run, and the layout where the table has another than the
  script can launch. Other rows are predicted under the engine's defaults; what that is worth stands beside each table.
- Some of the rows that ask for the better of two layouts differ in their date too, and with it in releases and flags: eight
  chips of B200 are slower for Qwen3.5 than four, four days later. No order of layouts explains those.
- The shortest attention of an Ascend die takes 31 us where that of an H100 takes 6 us; its shortest matrix product takes 5 us like
  theirs. No datasheet tells, so that a die which nobody has measured is priced too fast where attention is short.
- Rows that AIConfigurator's authors mark inconsistent (Qwen3-32B on GB200 under TensorRT-LLM) take five times as long per token
  with two users as with one; nothing here gives that.
- MLA, MoE and exchange coefficients of the Ascend 910C are derived from the CloudMatrix384 paper (arXiv 2506.12708, Tables 8 to 10 and
  its exchange latencies). Rows of the same paper (`cm384-*` of `serving.csv`, those of cloudmatrix-infer in `serving_ascend.csv`) are
  no independent check of them: Tables 3 and 5 were not fitted, but were measured on the same kernels.
- A power reading is a mean over a whole run; how long contexts were is taken from the length of answers, and where a small model on a
  fast chip waits for its host, the reading is of a chip that mostly waits.
- Figures of single-digit requests in flight depend most on the host processor, which no table names.
";
