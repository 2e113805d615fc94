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
//! | [`Format::Bailian`] | objects with `chat_id` and `hash_ids` | seconds | yes | `hash_ids`, 16 tokens each |
//! | [`Format::ServeGen`] | objects with `data` of `input_tokens` | seconds | yes | no |
//! | [`Format::Agentic`] | Mooncake's with `wait_for`, `delay` or `tool_wait_ms` (ms) | of those that wait for none | yes | yes |
//! | [`Format::Weka`] | objects with `requests` of `in` and `out` | seconds | yes | yes |
//! | [`Format::AiPerf`] | objects with `text` or `turns` | ms, or none | from the text | no |
//! | [`Format::Lmsys`] | objects with `conversation` | none | from the text | no |
//! | [`Format::OpenAiBatch`] | objects with `custom_id` and `body` | none | from the text, `max_tokens` | no |
//! | [`Format::VllmCustom`] | objects with `prompt` | none | from the text | no |
//! | [`Format::Csv`] | by [`Reading::columns`] | `time_unit` | yes | no |
//! | [`Format::ShareGpt`] | array of objects with `conversations` | none | from the text | no |
//! | [`Format::VllmBench`] | one object with `input_lens` and `output_lens` | `start_times` | yes | no |
//!
//! Files are read as they are needed, so that memory does not grow with them (a vLLM result is one object and is read
//! whole). Gzip and Zstandard are told by their first bytes. Lines that are not what the format says are errors that name
//! the line; rows with no output (failures) are left out and counted.

mod bytes;
mod columns;
mod conversations;
mod graph;
mod guess;
mod objects;
mod reading;
mod replay;
mod rows;
mod weka;
mod write;

pub use reading::{ColumnNames, Reading, TimeUnit};
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
    /// Qwen-Bailian usage traces.
    Bailian,
    /// ServeGen's request lists.
    ServeGen,
    /// Mooncake's form with requests that wait for others: Dynamo's agentic traces and sessions with delays.
    Agentic,
    /// Weka's agentic coding sessions: turns, sub-agents, joins.
    Weka,
    /// AIPerf's single-turn and multi-turn inputs.
    AiPerf,
    /// LMSYS-Chat: the first question and answer of each conversation.
    Lmsys,
    /// Input files of OpenAI's batch API.
    OpenAiBatch,
    /// vLLM's custom data sets: a prompt and a number of output tokens.
    VllmCustom,
    /// A table whose columns are named on the command line.
    Csv,
    /// The result file of `vllm bench serve --save-result --save-detailed`.
    VllmBench,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 18] = [
        Self::Azure,
        Self::BurstGpt,
        Self::Vidur,
        Self::Splitwise,
        Self::Mooncake,
        Self::Supernode,
        Self::LlmServingSim,
        Self::ShareGpt,
        Self::VllmBench,
        Self::Bailian,
        Self::ServeGen,
        Self::Agentic,
        Self::Weka,
        Self::AiPerf,
        Self::Lmsys,
        Self::OpenAiBatch,
        Self::VllmCustom,
        Self::Csv,
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
            Self::Bailian => "bailian",
            Self::ServeGen => "servegen",
            Self::Agentic => "agentic",
            Self::Weka => "weka",
            Self::AiPerf => "aiperf",
            Self::Lmsys => "lmsys",
            Self::OpenAiBatch => "openai-batch",
            Self::VllmCustom => "vllm-custom",
            Self::Csv => "csv",
        }
    }

    /// Whether its requests have times of their own.
    ///
    /// AIPerf's have them or not, row by row.
    pub const fn has_times(self) -> bool {
        !matches!(self, Self::ShareGpt | Self::Lmsys | Self::OpenAiBatch | Self::VllmCustom)
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

/// What a row waits for.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Link {
    /// What other rows call it.
    pub name: Option<String>,
    /// Names of the rows whose ends it waits for.
    pub waits: Vec<String>,
    /// Nanoseconds between the last of these ends and its sending: a tool at work, a person thinking.
    pub delay: i128,
}

/// A row of a trace, before it is scaled: its time in nanoseconds from the trace's own origin.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Row {
    /// `None` in a trace without times.
    pub at: Option<i128>,
    pub arrival: Arrival,
    pub line: u64,
    /// `None` where rows do not wait for each other.
    pub link: Option<Link>,
    /// Whether its output length is a default.
    pub assumed: bool,
}

/// Rows of a trace in file order.
pub(crate) trait Rows {
    /// The next row; rows without output come as `None` inside.
    fn next(&mut self) -> Result<Option<Option<Row>>, WorkloadError>;

    /// What was guessed or estimated on the way, as sentences.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
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

/// A trace opened for reading.
pub(crate) struct Opened {
    pub format: Format,
    pub rows: Box<dyn Rows>,
    /// Tokens per hash, where rows have hashes.
    pub block: Option<u32>,
    pub notes: Vec<String>,
}

/// Opens `input` and tells its format, unit and block, unless they are given.
pub(crate) fn open(file: &str, input: Box<dyn Read>, reading: &Reading) -> Result<Opened, WorkloadError> {
    let mut text = Text::open(file, input)?;
    if text.start().is_empty() {
        // Nothing to see: because there is nothing, or because it cannot be read.
        text.byte()?;
    }
    let format = match (reading.format, &reading.columns) {
        (Some(format), _) => format,
        (None, Some(_)) => Format::Csv,
        (None, None) => guess::format(file, text.start())?,
    };
    let told = guess::told(file, format, text.start(), reading)?;
    let rows: Box<dyn Rows> = match format {
        Format::Azure | Format::BurstGpt | Format::Vidur | Format::Splitwise | Format::Csv => {
            Box::new(columns::Columns::new(text, format, reading)?)
        }
        Format::VllmBench => Box::new(rows::VllmBench::new(text)?),
        _ => Box::new(rows::ObjectRows::new(text, format, told.unit, told.block)),
    };
    Ok(Opened { format, rows, block: told.has_hashes.then_some(told.block), notes: told.notes })
}
