//! Telling a trace's format, unit of time and block of tokens from how it begins.

use super::{Format, Reading, TimeUnit};
use crate::error::WorkloadError;
use serde_json::Value;

/// Tokens per hash of Mooncake's traces.
const MOONCAKE_BLOCK: u32 = 512;

/// Tokens per hash of Qwen-Bailian's traces.
const BAILIAN_BLOCK: u32 = 16;

/// Tokens per hash of Weka's traces.
const WEKA_BLOCK: u32 = 64;

/// The largest block taken from a user or a file.
const LARGEST_BLOCK: u32 = 1 << 20;

/// Rows looked at.
const ROWS: usize = 64;

/// What a trace's beginning tells.
pub(super) struct Told {
    pub unit: TimeUnit,
    pub block: u32,
    pub has_hashes: bool,
    pub notes: Vec<String>,
}

/// The format a text begins like.
pub(super) fn format(file: &str, start: &str) -> Result<Format, WorkloadError> {
    let trimmed = start.trim_start_matches('\u{feff}').trim_start();
    let has = |key: &str| trimmed.contains(&format!("\"{key}\""));
    let first_line = trimmed.lines().next().unwrap_or("");
    let column = |name: &str| first_line.split(',').any(|column| column.trim().trim_matches('"') == name);
    let found = if trimmed.starts_with(['{', '[']) {
        objects(&has)
    } else if column("ContextTokens") {
        Some(Format::Azure)
    } else if column("Request tokens") {
        Some(Format::BurstGpt)
    } else if column("num_prefill_tokens") {
        Some(Format::Vidur)
    } else if column("prompt_size") {
        Some(Format::Splitwise)
    } else {
        None
    };
    found.ok_or_else(|| {
        let seen: String = first_line.chars().take(60).collect();
        let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
        let problem = if trimmed.is_empty() {
            "the trace is empty".to_owned()
        } else {
            format!(
                "`{seen}` begins no known format; the formats are {}, and a table of another kind is read with its \
                 columns named (arrival=NAME,input=NAME,output=NAME)",
                names.join(", ")
            )
        };
        WorkloadError::Format { file: file.to_owned(), problem }
    })
}

fn objects(has: &dyn Fn(&str) -> bool) -> Option<Format> {
    let waits = ["wait_for", "delay", "delay_ms", "tool_wait_ms"].iter().any(|key| has(key));
    let keys: [(bool, Format); 15] = [
        (has("arrival_ns"), Format::Supernode),
        (has("conversations"), Format::ShareGpt),
        (has("conversation") && has("role"), Format::Lmsys),
        (has("custom_id") && has("body"), Format::OpenAiBatch),
        (has("input_lens"), Format::VllmBench),
        (has("input_toks"), Format::LlmServingSim),
        (has("data") && has("input_tokens"), Format::ServeGen),
        (has("requests") && has("in") && has("out"), Format::Weka),
        (has("turns"), Format::AiPerf),
        (has("chat_id") && has("input_length"), Format::Bailian),
        (has("input_length") && waits, Format::Agentic),
        (has("input_length"), Format::Mooncake),
        (has("text") || has("texts"), Format::AiPerf),
        (has("prompt"), Format::VllmCustom),
        // A vLLM result begins with its settings; its lengths come much later.
        (has("total_input_tokens") || has("request_rate") || has("endpoint_type"), Format::VllmBench),
    ];
    keys.into_iter().find(|(found, _)| *found).map(|(_, format)| format)
}

/// Unit and block: as the user says, as the format has them, or as the rows look; what was not said is noted.
pub(super) fn told(
    file: &str,
    format: Format,
    start: &str,
    reading: &Reading,
) -> Result<Told, WorkloadError> {
    if let Some(block) = reading.block_size.filter(|block| !(1..=LARGEST_BLOCK).contains(block)) {
        let problem = format!("a block of {block} tokens is not between 1 and {LARGEST_BLOCK}");
        return Err(WorkloadError::Format { file: file.to_owned(), problem });
    }
    let mooncake = matches!(format, Format::Mooncake | Format::Agentic);
    let rows = if mooncake { beginning(start) } else { Vec::new() };
    let (unit, mut notes) = unit(file, format, &rows, reading);
    let default = match format {
        Format::Bailian => BAILIAN_BLOCK,
        Format::Weka => WEKA_BLOCK,
        _ => fitting_block(&rows),
    };
    let has_hashes = mooncake || matches!(format, Format::Bailian | Format::Weka);
    let block = reading.block_size.unwrap_or(default);
    if mooncake && reading.block_size.is_none() && rows.iter().any(|row| row.hashes > 0) {
        notes.push(format!(
            "{file}: each of `hash_ids` is taken for {block} tokens; if it is not, give --block-size"
        ));
    }
    Ok(Told { unit, block, has_hashes, notes })
}

fn unit(file: &str, format: Format, rows: &[Seen], reading: &Reading) -> (TimeUnit, Vec<String>) {
    if let Some(unit) = reading.time_unit {
        return (unit, Vec::new());
    }
    let guessed = match format {
        Format::Bailian | Format::ServeGen | Format::Weka | Format::Csv => {
            return (TimeUnit::Seconds, Vec::new());
        }
        Format::Mooncake | Format::Agentic if in_seconds(rows) => TimeUnit::Seconds,
        _ => TimeUnit::Milliseconds,
    };
    let said = matches!(format, Format::Mooncake | Format::Agentic | Format::AiPerf);
    let note = format!("{file}: times are taken for {}; if they are not, give --time-unit", guessed.name());
    (guessed, if said { vec![note] } else { Vec::new() })
}

/// Lengths, time and hashes of one of the first rows.
struct Seen {
    at: Option<f64>,
    input: u64,
    hashes: u64,
}

fn beginning(start: &str) -> Vec<Seen> {
    let rows = start
        .lines()
        .take(ROWS)
        .filter_map(|line| serde_json::from_str::<Value>(line.trim_end_matches(',')).ok());
    rows.map(|row| Seen {
        at: row.get("timestamp").and_then(Value::as_f64),
        input: row.get("input_length").and_then(Value::as_u64).unwrap_or(0),
        hashes: row.get("hash_ids").and_then(Value::as_array).map_or(0, |ids| ids.len() as u64),
    })
    .collect()
}

/// Whether times have fractions and lie so close that milliseconds would make thousands of requests a second.
fn in_seconds(rows: &[Seen]) -> bool {
    let times: Vec<f64> = rows.iter().filter_map(|row| row.at).collect();
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return false };
    let gap = (last - first) / (times.len().max(2) - 1) as f64;
    times.iter().any(|time| time.fract() != 0.0) && gap < 1.0
}

/// Mooncake's block if the rows have as many hashes as it gives, else the power of two that does.
fn fitting_block(rows: &[Seen]) -> u32 {
    let fits = |block: u32| {
        rows.iter().filter(|row| row.hashes > 0).all(|row| {
            let block = u64::from(block);
            row.hashes == row.input.div_ceil(block) || row.hashes == row.input / block
        })
    };
    // One row may be a mistake; two that agree are a habit.
    if fits(MOONCAKE_BLOCK) || rows.iter().filter(|row| row.hashes > 0).count() < 2 {
        return MOONCAKE_BLOCK;
    }
    (0..=14).map(|power| 1 << power).find(|block| fits(*block)).unwrap_or(MOONCAKE_BLOCK)
}
