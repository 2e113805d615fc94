//! Traces: requests as somebody recorded them.
//!
//! | format | told by | times | lengths | prefixes |
//! |---|---|---|---|---|
//! | [`Format::Azure`] | header `TIMESTAMP,ContextTokens,GeneratedTokens` | wall clock | yes | no |
//! | [`Format::BurstGpt`] | header `Timestamp,...,Request tokens,Response tokens` | seconds | yes | no |
//! | [`Format::Vidur`] | header `arrived_at,num_prefill_tokens,num_decode_tokens` | seconds | yes | no |
//! | [`Format::Splitwise`] | header with `arrival_timestamp`, `prompt_size`, `token_size` | seconds | yes | no |
//! | [`Format::Mooncake`] | objects with `input_length` and `timestamp` (ms) | yes | yes | `hash_ids`, 512 tokens each |
//! | [`Format::Supernode`] | objects with `arrival_ns` | yes | yes | `hash_ids`, `hash_block` tokens each |
//! | [`Format::LlmServingSim`] | objects with `input_toks` | ns | yes | no |
//! | [`Format::ShareGpt`] | array of objects with `conversations` | none | from the text | no |
//! | [`Format::VllmBench`] | one object with `input_lens` and `output_lens` | `start_times` | yes | no |
//!
//! Files are read as they are needed, so that memory does not grow with them (a vLLM result is one object and is read
//! whole). Gzip and Zstandard are told by their first bytes. Lines that are not what the format says are errors that name
//! the line; rows with no output (failures) are left out and counted.

mod bytes;
mod columns;
mod objects;
mod replay;
mod rows;
mod write;

pub use replay::{Replay, ReplayOptions};
pub use write::TraceWriter;

use crate::error::WorkloadError;
use crate::source::Arrival;
use bytes::Text;
use std::fmt;
use std::io::Read;
use std::str::FromStr;

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Azure LLM inference traces of 2023 and 2024.
    Azure,
    /// BurstGPT.
    BurstGpt,
    /// Vidur's processed traces.
    Vidur,
    /// SplitwiseSim.
    Splitwise,
    /// Mooncake's (FAST '25) and Dynamo's form of it.
    Mooncake,
    /// This program's own, which replays to the same result.
    Supernode,
    /// LLMServingSim 2.
    LlmServingSim,
    /// ShareGPT conversations: the first question and answer of each.
    ShareGpt,
    /// The result file of `vllm bench serve --save-result --save-detailed`.
    VllmBench,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 9] = [
        Self::Azure,
        Self::BurstGpt,
        Self::Vidur,
        Self::Splitwise,
        Self::Mooncake,
        Self::Supernode,
        Self::LlmServingSim,
        Self::ShareGpt,
        Self::VllmBench,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Azure => "azure",
            Self::BurstGpt => "burstgpt",
            Self::Vidur => "vidur",
            Self::Splitwise => "splitwise",
            Self::Mooncake => "mooncake",
            Self::Supernode => "supernode",
            Self::LlmServingSim => "llmservingsim",
            Self::ShareGpt => "sharegpt",
            Self::VllmBench => "vllm-bench",
        }
    }

    /// Whether its requests have times of their own.
    pub const fn has_times(self) -> bool {
        !matches!(self, Self::ShareGpt)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no trace format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a trace format; use azure, burstgpt, vidur, splitwise, mooncake, supernode, llmservingsim, sharegpt or vllm-bench"
)]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let named = Self::ALL.into_iter().find(|format| format.name() == text.trim().to_ascii_lowercase());
        named.ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

/// A row of a trace, before it is scaled: its time in nanoseconds from the trace's own origin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// `None` in a trace without times.
    pub at: Option<i128>,
    pub arrival: Arrival,
    pub line: u64,
}

/// Rows of a trace in file order.
pub(crate) trait Rows {
    /// The next row; rows without output come as `None` inside.
    fn next(&mut self) -> Result<Option<Option<Row>>, WorkloadError>;
}

/// Tokens no request has more of: beyond it a length is a mistake.
const LONGEST: i64 = 100_000_000;

/// A length from a file.
pub(crate) fn length(value: i64, name: &str) -> Result<u32, String> {
    match value {
        i64::MIN..0 => Err(format!("`{name}` is {value}: a length cannot be negative")),
        0..=LONGEST => Ok(value as u32),
        _ => Err(format!("`{name}` is {value}: no request has more than {LONGEST} tokens")),
    }
}

/// Opens `input` and tells its format, unless `format` says it.
pub(crate) fn open(
    file: &str,
    input: Box<dyn Read>,
    format: Option<Format>,
) -> Result<(Format, Box<dyn Rows>), WorkloadError> {
    let mut text = Text::open(file, input)?;
    if text.start().is_empty() {
        // Nothing to see: because there is nothing, or because it cannot be read.
        text.byte()?;
    }
    let format = match format {
        Some(format) => format,
        None => detect(file, text.start())?,
    };
    let rows: Box<dyn Rows> = match format {
        Format::Azure | Format::BurstGpt | Format::Vidur | Format::Splitwise => {
            Box::new(columns::Columns::new(text, format)?)
        }
        Format::VllmBench => Box::new(rows::VllmBench::new(text)?),
        _ => Box::new(rows::ObjectRows::new(text, format)),
    };
    Ok((format, rows))
}

fn detect(file: &str, start: &str) -> Result<Format, WorkloadError> {
    let trimmed = start.trim_start_matches('\u{feff}').trim_start();
    let has = |key: &str| trimmed.contains(&format!("\"{key}\""));
    let first_line = trimmed.lines().next().unwrap_or("");
    let column = |name: &str| first_line.split(',').any(|column| column.trim().trim_matches('"') == name);
    let found = if trimmed.starts_with(['{', '[']) {
        let keys = [
            ("arrival_ns", Format::Supernode),
            ("conversations", Format::ShareGpt),
            ("input_lens", Format::VllmBench),
            ("input_toks", Format::LlmServingSim),
            ("input_length", Format::Mooncake),
        ];
        // A vLLM result begins with its settings; its lengths come much later.
        keys.into_iter().find(|(key, _)| has(key)).map(|(_, format)| format).or_else(|| {
            (has("total_input_tokens") || has("request_rate") || has("endpoint_type"))
                .then_some(Format::VllmBench)
        })
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
            format!("`{seen}` begins no known format; the formats are {}", names.join(", "))
        };
        WorkloadError::Format { file: file.to_owned(), problem }
    })
}
