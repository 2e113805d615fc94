//! Traces made of JSON objects.

use super::bytes::Text;
use super::objects::Objects;
use super::{Format, Row, Rows, length};
use crate::error::WorkloadError;
use crate::source::Arrival;
use serde::Deserialize;
use std::sync::Arc;

/// Tokens per hash of Mooncake's traces.
const MOONCAKE_BLOCK: u32 = 512;

/// Characters of English text per token, for conversations recorded as text: about four for the usual vocabularies.
const CHARACTERS_PER_TOKEN: f64 = 4.0;

#[derive(Deserialize)]
struct Mooncake {
    timestamp: Option<f64>,
    input_length: i64,
    output_length: i64,
    #[serde(default)]
    hash_ids: Vec<u64>,
    session_id: Option<serde_json::Value>,
    priority: Option<u8>,
}

#[derive(Deserialize)]
struct Own {
    arrival_ns: u64,
    input_length: i64,
    output_length: i64,
    hash_ids: Option<Vec<u64>>,
    after_hash_ids: Option<Vec<u64>>,
    session: Option<u64>,
    #[serde(default)]
    tenant: u32,
    #[serde(default)]
    priority: u8,
    #[serde(default)]
    deployment: u32,
    max_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct LlmServingSim {
    input_toks: i64,
    output_toks: i64,
    arrival_time_ns: u64,
}

#[derive(Deserialize)]
struct Turn {
    from: String,
    value: String,
}

#[derive(Deserialize)]
struct ShareGpt {
    conversations: Vec<Turn>,
}

/// Rows from objects.
pub(crate) struct ObjectRows {
    objects: Objects,
    format: Format,
}

impl ObjectRows {
    pub fn new(text: Text, format: Format) -> Self {
        Self { objects: Objects::new(text), format }
    }
}

impl Rows for ObjectRows {
    fn next(&mut self) -> Result<Option<Option<Row>>, WorkloadError> {
        let format = self.format;
        let (line, parsed) = match self.objects.next()? {
            None => return Ok(None),
            Some((line, bytes)) => (line, parse(format, bytes)),
        };
        let row = parsed.map_err(|problem| self.objects.text.wrong(line, problem))?;
        let whole = |row: &Row| row.arrival.input > 0 && row.arrival.output > 0;
        Ok(Some(row.map(|row| Row { line, ..row }).filter(whole)))
    }
}

fn parse(format: Format, bytes: &[u8]) -> Result<Option<Row>, String> {
    match format {
        Format::Mooncake => mooncake(read(bytes)?).map(Some),
        Format::Supernode => own(read(bytes)?).map(Some),
        Format::LlmServingSim => {
            let row: LlmServingSim = read(bytes)?;
            let (input, output) =
                (length(row.input_toks, "input_toks")?, length(row.output_toks, "output_toks")?);
            // Its traces count the whole sequence as output.
            let output = if output > input { output - input } else { output };
            Ok(Some(plain(Some(i128::from(row.arrival_time_ns)), input, output)))
        }
        _ => Ok(share_gpt(&read::<ShareGpt>(bytes)?)),
    }
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| {
        // The position inside the object says little; the file's line is given anyway.
        let text = error.to_string();
        text.split(" at line ").next().unwrap_or(&text).to_owned()
    })
}

fn plain(at: Option<i128>, input: u32, output: u32) -> Row {
    Row { at, arrival: Arrival { input, output, measured: true, ..Arrival::default() }, line: 0 }
}

fn full_blocks(ids: Vec<u64>, tokens: u32, block: u32) -> Option<Arc<[u64]>> {
    let full = (tokens / block) as usize;
    (!ids.is_empty()).then(|| ids.into_iter().take(full).collect())
}

fn mooncake(row: Mooncake) -> Result<Row, String> {
    let (input, output) =
        (length(row.input_length, "input_length")?, length(row.output_length, "output_length")?);
    let milliseconds = row.timestamp.ok_or("`timestamp` is missing")?;
    if !(0.0..1e15).contains(&milliseconds) {
        return Err(format!("`timestamp` is {milliseconds}: not a time in milliseconds"));
    }
    if row.hash_ids.len() as u64 > u64::from(input).div_ceil(u64::from(MOONCAKE_BLOCK)) {
        let count = row.hash_ids.len();
        return Err(format!(
            "{count} `hash_ids` are more than {input} tokens have blocks of {MOONCAKE_BLOCK}"
        ));
    }
    let mut made = plain(Some((milliseconds * 1e6).round() as i128), input, output);
    made.arrival.prefix = full_blocks(row.hash_ids, input, MOONCAKE_BLOCK);
    made.arrival.priority = row.priority.unwrap_or(0);
    made.arrival.session = row.session_id.map(|id| match id.as_u64() {
        Some(number) => number,
        None => id.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }),
    });
    Ok(made)
}

fn own(row: Own) -> Result<Row, String> {
    let (input, output) =
        (length(row.input_length, "input_length")?, length(row.output_length, "output_length")?);
    let mut made = plain(Some(i128::from(row.arrival_ns)), input, output);
    made.arrival.prefix = row.hash_ids.map(Arc::from);
    made.arrival.after = row.after_hash_ids.map(Arc::from);
    made.arrival.session = row.session;
    made.arrival.tenant = row.tenant;
    made.arrival.priority = row.priority;
    made.arrival.deployment = row.deployment;
    made.arrival.max_tokens = row.max_tokens;
    Ok(made)
}

/// The first question and its answer, as `vllm bench` takes them; a conversation without both is left out.
fn share_gpt(row: &ShareGpt) -> Option<Row> {
    let (question, answer) = (row.conversations.first()?, row.conversations.get(1)?);
    let asks = matches!(question.from.as_str(), "human" | "user");
    let answers = matches!(answer.from.as_str(), "gpt" | "chatgpt" | "assistant" | "bing" | "bard");
    let tokens = |text: &str| (text.chars().count() as f64 / CHARACTERS_PER_TOKEN).round() as u32;
    (asks && answers).then(|| plain(None, tokens(&question.value), tokens(&answer.value)))
}

#[derive(Deserialize)]
struct VllmResult {
    input_lens: Vec<i64>,
    output_lens: Vec<i64>,
    start_times: Option<Vec<f64>>,
}

/// The requests of a vLLM benchmark result.
pub(crate) struct VllmBench {
    rows: std::vec::IntoIter<Row>,
}

impl VllmBench {
    pub fn new(mut text: Text) -> Result<Self, WorkloadError> {
        let bytes = text.rest()?;
        let result: VllmResult = serde_json::from_slice(&bytes).map_err(|error| {
            let problem =
                format!("{error}; `vllm bench serve` writes lengths with `--save-result --save-detailed`");
            text.wrong(error.line() as u64, problem)
        })?;
        let count = result.input_lens.len();
        let times = result.start_times.unwrap_or_default();
        if result.output_lens.len() != count || !(times.is_empty() || times.len() == count) {
            return Err(text.wrong(1, "`input_lens`, `output_lens` and `start_times` are not equally long"));
        }
        let mut rows = Vec::with_capacity(count);
        for (index, (input, output)) in result.input_lens.into_iter().zip(result.output_lens).enumerate() {
            let named = |problem| text.wrong(1, format!("request {index}: {problem}"));
            let input = length(input, "input_lens").map_err(named)?;
            let output = length(output, "output_lens").map_err(named)?;
            let at = times.get(index).map(|seconds| (seconds * 1e9).round() as i128);
            rows.push(plain(at, input, output));
        }
        rows.sort_by_key(|row| row.at);
        Ok(Self { rows: rows.into_iter() })
    }
}

impl Rows for VllmBench {
    fn next(&mut self) -> Result<Option<Option<Row>>, WorkloadError> {
        let whole = |row: &Row| row.arrival.input > 0 && row.arrival.output > 0;
        Ok(self.rows.next().map(|row| Some(row).filter(whole)))
    }
}
