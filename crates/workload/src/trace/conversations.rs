//! Requests recorded as text: their lengths are estimated.

use super::{Link, Row, TimeUnit, length};
use crate::source::Arrival;
use serde::Deserialize;
use serde_json::Value;

/// Characters of English text per token, for conversations recorded as text: about four for the usual vocabularies.
const CHARACTERS_PER_TOKEN: f64 = 4.0;

/// What the estimate is called in a note.
pub(super) const ESTIMATED: &str = "lengths of text are estimated, four characters to a token";

/// Output tokens of a request whose file states none: what AIPerf and vLLM ask for then.
const DEFAULT_OUTPUT: u32 = 256;

/// What is said of requests without a length of output.
pub(super) const OUTPUT_ASSUMED: &str =
    "requests that state no output length get 256 tokens, as vLLM's benchmark asks for";

#[derive(Deserialize)]
struct ShareGptTurn {
    from: String,
    value: String,
}

#[derive(Deserialize)]
pub(super) struct ShareGpt {
    conversations: Vec<ShareGptTurn>,
}

#[derive(Deserialize)]
pub(super) struct Lmsys {
    conversation: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Value,
}

#[derive(Deserialize)]
pub(super) struct Batch {
    body: Body,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    messages: Vec<Message>,
    prompt: Option<Value>,
    input: Option<Value>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    max_output_tokens: Option<i64>,
}

#[derive(Deserialize)]
pub(super) struct Custom {
    prompt: Value,
    output_tokens: Option<i64>,
    expected_output_len: Option<i64>,
    output_len: Option<i64>,
}

#[derive(Deserialize)]
pub(super) struct AiPerf {
    session_id: Option<Value>,
    #[serde(default)]
    turns: Vec<AiPerfTurn>,
    #[serde(flatten)]
    single: AiPerfTurn,
}

#[derive(Deserialize, Default)]
struct AiPerfTurn {
    text: Option<Value>,
    texts: Option<Value>,
    timestamp: Option<f64>,
    delay: Option<f64>,
    output_length: Option<i64>,
    max_tokens: Option<i64>,
    input_length: Option<i64>,
}

/// Tokens of a text, of the texts in a list, or of the parts of a message.
fn tokens(value: &Value) -> u32 {
    fn characters(value: &Value, depth: u32) -> usize {
        match value {
            Value::String(text) => text.chars().count(),
            Value::Array(items) if depth > 0 => items.iter().map(|item| characters(item, depth - 1)).sum(),
            Value::Object(map) if depth > 0 => ["text", "content", "contents"]
                .iter()
                .filter_map(|key| map.get(*key))
                .map(|item| characters(item, depth - 1))
                .sum(),
            _ => 0,
        }
    }
    // Lists of tokens are counted, not estimated.
    if let Value::Array(items) = value {
        if !items.is_empty() && items.iter().all(Value::is_u64) {
            return u32::try_from(items.len()).unwrap_or(u32::MAX);
        }
    }
    estimate(characters(value, 8))
}

fn estimate(characters: usize) -> u32 {
    (characters as f64 / CHARACTERS_PER_TOKEN).round().min(f64::from(u32::MAX)) as u32
}

fn made(at: Option<i128>, input: u32, output: u32) -> Row {
    Row { at, arrival: Arrival { input, output, measured: true, ..Arrival::default() }, ..Row::default() }
}

/// The first question and its answer, as `vllm bench` takes them; a conversation without both is left out.
pub(super) fn share_gpt(row: &ShareGpt) -> Option<Row> {
    let (question, answer) = (row.conversations.first()?, row.conversations.get(1)?);
    let asks = matches!(question.from.as_str(), "human" | "user");
    let answers = matches!(answer.from.as_str(), "gpt" | "chatgpt" | "assistant" | "bing" | "bard");
    let length = |text: &str| estimate(text.chars().count());
    (asks && answers).then(|| made(None, length(&question.value), length(&answer.value)))
}

/// The same of LMSYS-Chat and WildChat.
pub(super) fn lmsys(row: &Lmsys) -> Option<Row> {
    let mut turns = row.conversation.iter().skip_while(|turn| turn.role == "system");
    let (question, answer) = (turns.next()?, turns.next()?);
    (question.role == "user" && answer.role == "assistant")
        .then(|| made(None, tokens(&question.content), tokens(&answer.content)))
}

/// A request of a batch; what it may write at most is taken for what it writes.
pub(super) fn batch(row: &Batch) -> Result<Row, String> {
    let body = &row.body;
    let messages: u32 =
        body.messages.iter().map(|message| tokens(&message.content)).fold(0, u32::saturating_add);
    let plain = body.prompt.as_ref().or(body.input.as_ref()).map_or(0, tokens);
    let limit = body.max_tokens.or(body.max_completion_tokens).or(body.max_output_tokens).ok_or(
        "the request has no `max_tokens`, so that nothing says how much it writes; add it to `body`",
    )?;
    let output = length(limit, "max_tokens")?;
    let mut row = made(None, messages.saturating_add(plain), output);
    row.arrival.max_tokens = Some(output);
    Ok(row)
}

/// A line of vLLM's custom data set.
pub(super) fn custom(row: &Custom) -> Result<Row, String> {
    let output = row.output_tokens.or(row.expected_output_len).or(row.output_len);
    let assumed = output.is_none();
    let output = output.map_or(Ok(DEFAULT_OUTPUT), |output| length(output, "output_tokens"))?;
    Ok(Row { assumed, ..made(None, tokens(&row.prompt), output) })
}

/// A request or a conversation of AIPerf's inputs. A turn's prompt is everything said before and its own text; it is
/// sent when the answer before it has come and its `delay` has passed.
pub(super) fn aiperf(row: AiPerf, line: u64, unit: TimeUnit) -> Result<Vec<Row>, String> {
    let session = row.session_id.as_ref().map(super::rows::session_number);
    let called = |turn: usize| format!("line {line}, turn {turn}");
    let turns = if row.turns.is_empty() { vec![row.single] } else { row.turns };
    let several = turns.len() > 1;
    let (mut rows, mut context) = (Vec::with_capacity(turns.len()), 0_u32);
    for (index, turn) in turns.into_iter().enumerate() {
        let said = [&turn.text, &turn.texts].into_iter().flatten().map(tokens).fold(0, u32::saturating_add);
        let said = turn.input_length.map_or(Ok(said), |given| length(given, "input_length"))?;
        let output = turn.output_length.or(turn.max_tokens);
        let assumed = output.is_none();
        let output = output.map_or(Ok(DEFAULT_OUTPUT), |output| length(output, "output_length"))?;
        let input = context.saturating_add(said);
        context = input.saturating_add(output);
        let at = turn.timestamp.map(|time| super::rows::nanoseconds(time, unit, "timestamp")).transpose()?;
        let delay = turn.delay.map_or(Ok(0), |delay| super::rows::nanoseconds(delay, unit, "delay"))?;
        let waits: Vec<String> = index.checked_sub(1).map(called).into_iter().collect();
        let first = waits.is_empty();
        let mut row = made(at.filter(|_| first), input, output);
        row.arrival.session = session;
        row.assumed = assumed;
        row.link = Some(Link { name: several.then(|| called(index)), waits, delay });
        rows.push(row);
    }
    Ok(rows)
}
