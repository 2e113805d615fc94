//! Traces made of JSON objects.

use super::bytes::Text;
use super::conversations::{self, AiPerf, Batch, Custom, ESTIMATED, Lmsys, OUTPUT_ASSUMED, ShareGpt};
use super::objects::Objects;
use super::{Format, Link, Row, Rows, TimeUnit, length};
use crate::error::WorkloadError;
use crate::source::Arrival;
use serde::Deserialize;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The longest pause and the latest time of a trace: three hundred years.
const LATEST: f64 = 1e19;

#[derive(Deserialize)]
struct Mooncake {
    timestamp: Option<f64>,
    input_length: i64,
    output_length: i64,
    #[serde(default)]
    hash_ids: Vec<u64>,
    session_id: Option<serde_json::Value>,
    chat_id: Option<i64>,
    parent_chat_id: Option<i64>,
    priority: Option<u8>,
    request_id: Option<serde_json::Value>,
    #[serde(default)]
    wait_for: Vec<serde_json::Value>,
    delay: Option<f64>,
    delay_ms: Option<f64>,
    tool_wait_ms: Option<f64>,
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
struct ServeGen {
    timestamp: f64,
    data: ServeGenData,
}

#[derive(Deserialize)]
struct ServeGenData {
    input_tokens: i64,
    output_tokens: i64,
}

/// Rows from objects.
pub(crate) struct ObjectRows {
    objects: Objects,
    format: Format,
    unit: TimeUnit,
    block: u32,
    /// Rows of the object read last that are still to be given out.
    queue: VecDeque<Option<Row>>,
    sessions: Sessions,
    /// Objects read.
    count: u64,
    /// Whether an output length was assumed.
    assumed: bool,
}

impl ObjectRows {
    pub fn new(text: Text, format: Format, unit: TimeUnit, block: u32) -> Self {
        let (queue, sessions) = (VecDeque::new(), Sessions::default());
        Self { objects: Objects::new(text), format, unit, block, queue, sessions, count: 0, assumed: false }
    }

    fn parse(&mut self, line: u64, parsed: Parsed) -> Result<(), String> {
        match parsed {
            Parsed::Row(row) => self.queue.push_back(*row),
            Parsed::Mooncake(row) => {
                let row = mooncake(*row, self.unit, self.block, self.format, &mut self.sessions, line)?;
                self.queue.push_back(Some(row));
            }
            Parsed::AiPerf(row) => {
                self.queue.extend(conversations::aiperf(*row, line, self.unit)?.into_iter().map(Some));
            }
            Parsed::Weka(session) => {
                let rows = super::weka::rows(*session, self.count, line, self.unit, self.block)?;
                self.queue.extend(rows.into_iter().map(Some));
            }
        }
        Ok(())
    }
}

impl Rows for ObjectRows {
    fn next(&mut self) -> Result<Option<Option<Row>>, WorkloadError> {
        while self.queue.is_empty() {
            let format = self.format;
            let (line, parsed) = match self.objects.next()? {
                None => return Ok(None),
                Some((line, bytes)) => (line, parse(format, bytes)),
            };
            self.count += 1;
            let parsed = parsed.and_then(|parsed| self.parse(line, parsed));
            parsed.map_err(|problem| self.objects.text.wrong(line, problem))?;
            for row in self.queue.iter_mut().flatten() {
                row.line = line;
                self.assumed |= row.assumed;
            }
        }
        let whole = |row: &Row| row.link.is_some() || (row.arrival.input > 0 && row.arrival.output > 0);
        let row = self.queue.pop_front().flatten();
        // Others wait for a request, so that it is kept with a token of each kind.
        let row = row.filter(whole).map(|mut row| {
            row.arrival.input = row.arrival.input.max(1);
            row.arrival.output = row.arrival.output.max(1);
            row
        });
        Ok(Some(row))
    }

    fn notes(&self) -> Vec<String> {
        let text = match self.format {
            Format::ShareGpt | Format::Lmsys | Format::OpenAiBatch | Format::VllmCustom | Format::AiPerf => {
                Some(ESTIMATED)
            }
            _ => None,
        };
        let text = text.into_iter().chain(self.assumed.then_some(OUTPUT_ASSUMED));
        let file = &self.objects.text.file;
        text.map(|note| format!("{file}: {note}")).collect()
    }
}

/// An object as its format has it.
enum Parsed {
    Row(Box<Option<Row>>),
    Mooncake(Box<Mooncake>),
    AiPerf(Box<AiPerf>),
    Weka(Box<super::weka::Session>),
}

fn parse(format: Format, bytes: &[u8]) -> Result<Parsed, String> {
    let maybe = |row| Parsed::Row(Box::new(row));
    let one = |row| maybe(Some(row));
    match format {
        Format::Mooncake | Format::Bailian | Format::Agentic => Ok(Parsed::Mooncake(Box::new(read(bytes)?))),
        Format::Supernode => own(read(bytes)?).map(one),
        Format::LlmServingSim => serving_sim(&read(bytes)?).map(one),
        Format::ServeGen => serve_gen(&read(bytes)?).map(one),
        Format::Lmsys => Ok(maybe(conversations::lmsys(&read::<Lmsys>(bytes)?))),
        Format::OpenAiBatch => conversations::batch(&read::<Batch>(bytes)?).map(one),
        Format::VllmCustom => conversations::custom(&read::<Custom>(bytes)?).map(one),
        Format::AiPerf => Ok(Parsed::AiPerf(Box::new(read(bytes)?))),
        Format::Weka => Ok(Parsed::Weka(Box::new(read(bytes)?))),
        _ => Ok(maybe(conversations::share_gpt(&read::<ShareGpt>(bytes)?))),
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
    Row { at, arrival: Arrival { input, output, measured: true, ..Arrival::default() }, ..Row::default() }
}

fn serving_sim(row: &LlmServingSim) -> Result<Row, String> {
    let (input, output) = (length(row.input_toks, "input_toks")?, length(row.output_toks, "output_toks")?);
    // Its traces count the whole sequence as output.
    let output = if output > input { output - input } else { output };
    Ok(plain(Some(i128::from(row.arrival_time_ns)), input, output))
}

fn serve_gen(row: &ServeGen) -> Result<Row, String> {
    let input = length(row.data.input_tokens, "input_tokens")?;
    let output = length(row.data.output_tokens, "output_tokens")?;
    Ok(plain(Some(nanoseconds(row.timestamp, TimeUnit::Seconds, "timestamp")?), input, output))
}

/// A time or a pause of a file in nanoseconds.
pub(super) fn nanoseconds(value: f64, unit: TimeUnit, name: &str) -> Result<i128, String> {
    let nanoseconds = value * unit.nanoseconds();
    if (0.0..LATEST).contains(&nanoseconds) {
        return Ok(nanoseconds.round() as i128);
    }
    Err(format!("`{name}` is {value}: not a time in {}", unit.name()))
}

/// Leading hashes that stand for whole blocks.
pub(super) fn full_blocks(ids: Vec<u64>, tokens: u32, block: u32) -> Option<Arc<[u64]>> {
    let full = (tokens / block.max(1)) as usize;
    (!ids.is_empty()).then(|| ids.into_iter().take(full).collect())
}

/// The conversations of a file whose rows name the row before theirs.
#[derive(Debug, Default)]
struct Sessions {
    /// The first chat of each chat's conversation.
    roots: HashMap<i64, u64>,
    /// The name of the last row of each session.
    last: HashMap<u64, String>,
}

/// Rows of conversations remembered; older ones are told apart by their own number.
const REMEMBERED: usize = 4_000_000;

impl Sessions {
    fn of_chat(&mut self, chat: i64, parent: Option<i64>) -> u64 {
        let root = parent.and_then(|parent| self.roots.get(&parent).copied()).unwrap_or(chat.unsigned_abs());
        if self.roots.len() < REMEMBERED {
            self.roots.insert(chat, root);
        }
        root
    }
}

fn mooncake(
    row: Mooncake,
    unit: TimeUnit,
    block: u32,
    format: Format,
    sessions: &mut Sessions,
    line: u64,
) -> Result<Row, String> {
    let (input, output) =
        (length(row.input_length, "input_length")?, length(row.output_length, "output_length")?);
    let at = row.timestamp.map(|time| nanoseconds(time, unit, "timestamp")).transpose()?;
    if row.hash_ids.len() as u64 > u64::from(input).div_ceil(u64::from(block)) {
        let count = row.hash_ids.len();
        return Err(format!(
            "{count} `hash_ids` are more than {input} tokens have blocks of {block}; give --block-size"
        ));
    }
    let mut made = plain(at, input, output);
    made.arrival.prefix = full_blocks(row.hash_ids, input, block);
    made.arrival.priority = row.priority.unwrap_or(0);
    made.arrival.session = row.session_id.as_ref().map(session_number);
    if let Some(chat) = row.chat_id {
        made.arrival.session = Some(sessions.of_chat(chat, row.parent_chat_id));
    }
    let waits_somewhere =
        !row.wait_for.is_empty() || row.delay.or(row.delay_ms).or(row.tool_wait_ms).is_some();
    if format != Format::Agentic {
        if waits_somewhere {
            let problem = "the request waits for another or pauses, which the first rows do not; say that the format \
                           is agentic (`--trace-format agentic`)";
            return Err(problem.to_owned());
        }
        made.at.ok_or("`timestamp` is missing")?;
        return Ok(made);
    }
    let pause = |value: Option<f64>, unit: TimeUnit, name: &str| {
        value.map_or(Ok(0), |value| nanoseconds(value, unit, name))
    };
    let delay = pause(row.delay, unit, "delay")?
        + pause(row.delay_ms, TimeUnit::Milliseconds, "delay_ms")?
        + pause(row.tool_wait_ms, TimeUnit::Milliseconds, "tool_wait_ms")?;
    let name = row.request_id.as_ref().map_or_else(|| format!("line {line}"), text_of);
    let mut waits: Vec<String> = row.wait_for.iter().map(text_of).collect();
    if let Some(session) = made.arrival.session {
        // A turn without a time of its own follows the turn before it.
        let before = sessions.last.insert(session, name.clone());
        if waits.is_empty() && row.timestamp.is_none() {
            waits.extend(before);
        }
    }
    if !waits.is_empty() {
        made.at = None;
    }
    made.link = Some(Link { name: Some(name), waits, delay });
    Ok(made)
}

/// A name as text, be it a string or a number.
fn text_of(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A session's name as a number: itself, or a hash.
pub(super) fn session_number(id: &serde_json::Value) -> u64 {
    id.as_u64().unwrap_or_else(|| {
        id.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    })
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
            let at = times.get(index).map(|time| nanoseconds(*time, TimeUnit::Seconds, "start_times"));
            let at = at.transpose().map_err(named)?;
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
