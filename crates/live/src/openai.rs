//! The OpenAI wire format: requests in, answers and errors out.

use crate::numbers;
use serde::Deserialize;
use serde_json::{Value, json};
use serving::Reason;

/// An error as OpenAI clients parse it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// What is wrong and what to do.
    pub message: String,
    /// The parameter at fault.
    pub param: Option<&'static str>,
    /// Seconds after which to try again.
    pub retry_after: Option<u32>,
    /// Methods that would do.
    pub allow: Option<&'static str>,
}

impl ApiError {
    /// An error with this status.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, retry_after: None, allow: None }
    }

    /// 400: a parameter is wrong.
    pub fn bad(param: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param), ..Self::new(400, message) }
    }

    /// What the client of a refused request is told.
    pub fn refused(reason: Reason) -> Self {
        let (status, message, after) = match reason {
            Reason::LongerThanContext => {
                (400, "prompt and max_tokens are longer than the model's context", None)
            }
            Reason::LongerThanKv => (400, "the prompt does not fit the memory of any instance", None),
            Reason::OutgrewKv => (500, "the request outgrew the memory of its instance", None),
            Reason::QueueFull => (503, "the queue is full; try again later", Some(1)),
            Reason::RateLimited => (429, "more requests per second than this key may send", Some(1)),
            Reason::ConcurrencyLimited => (429, "more requests at once than this key may send", Some(1)),
            Reason::TokensLimited => (429, "more tokens per minute than this key may use", Some(10)),
            Reason::DeadlinePassed => (503, "the request could not start before its deadline", Some(1)),
            Reason::NoInstance => (503, "no instance is there to take the request", Some(5)),
            Reason::RetriesExhausted => {
                (500, "the request was lost with its instance more often than it may be retried", None)
            }
            Reason::UnknownDeployment => (404, "there is no such deployment", None),
            Reason::Closed => (503, "the deployment takes no new requests", Some(10)),
        };
        Self { retry_after: after, ..Self::new(status, message) }
    }

    /// The name of the kind of error.
    pub fn kind(&self) -> &'static str {
        match self.status {
            401 => "AuthenticationError",
            403 => "PermissionDeniedError",
            404 => "NotFoundError",
            429 => "RateLimitError",
            400..=499 => "BadRequestError",
            503 => "ServiceUnavailableError",
            _ => "InternalServerError",
        }
    }

    /// The document that is sent.
    pub fn document(&self) -> Value {
        json!({"error": {
            "message": self.message, "type": self.kind(), "param": self.param, "code": self.status,
        }})
    }
}

/// `stop`: one text or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Stop {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// `stream_options`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct StreamOptions {
    /// Whether a last event tells the usage.
    #[serde(default)]
    pub include_usage: Option<bool>,
    /// Whether every event does.
    #[serde(default)]
    pub continuous_usage_stats: Option<bool>,
}

/// What chat and plain completions have in common. Fields that nobody here knows are let pass, as vLLM does.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Common {
    /// The model; the first one served where it is left out.
    #[serde(default)]
    pub model: Option<String>,
    /// Whether tokens are sent as they come.
    #[serde(default)]
    pub stream: Option<bool>,
    /// How.
    #[serde(default)]
    pub stream_options: Option<StreamOptions>,
    /// Most output tokens.
    #[serde(default, deserialize_with = "numbers::optional")]
    pub max_tokens: Option<i64>,
    /// The same, by its newer name.
    #[serde(default, deserialize_with = "numbers::optional")]
    pub max_completion_tokens: Option<i64>,
    /// Fewest output tokens.
    #[serde(default, deserialize_with = "numbers::optional")]
    pub min_tokens: Option<i64>,
    /// Whether answers go on to `max_tokens`.
    #[serde(default)]
    pub ignore_eos: Option<bool>,
    /// Answers per prompt.
    #[serde(default, deserialize_with = "numbers::optional")]
    pub n: Option<i64>,
    /// Texts that end an answer.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// Of the answer.
    #[serde(default, deserialize_with = "numbers::optional")]
    pub seed: Option<i64>,
    /// Checked for its range.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// Checked for its range.
    #[serde(default)]
    pub top_p: Option<f64>,
    /// Class of service: smaller goes first.
    #[serde(default, deserialize_with = "numbers::optional")]
    pub priority: Option<i64>,
    /// The conversation, for routers that keep it together.
    #[serde(default)]
    pub user: Option<String>,
}

/// A chat message. Its content is text, parts, or nothing.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    /// Whose.
    pub role: String,
    /// What it says.
    #[serde(default)]
    pub content: Value,
}

/// `/v1/chat/completions`.
#[derive(Debug, Clone, Deserialize)]
pub struct Chat {
    /// What completions have in common.
    #[serde(flatten)]
    pub common: Common,
    /// The conversation.
    pub messages: Vec<Message>,
}

/// A prompt: text or token numbers, one or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// One text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// One list of tokens.
    Tokens(#[serde(deserialize_with = "numbers::tokens")] Vec<u32>),
    /// Several lists of tokens.
    TokenLists(#[serde(deserialize_with = "numbers::token_lists")] Vec<Vec<u32>>),
}

/// `/v1/completions`.
#[derive(Debug, Clone, Deserialize)]
pub struct Completion {
    /// What completions have in common.
    #[serde(flatten)]
    pub common: Common,
    /// What to go on from.
    pub prompt: Prompt,
    /// Whether the prompt is sent back before the answer.
    #[serde(default)]
    pub echo: Option<bool>,
}

/// `/v1/embeddings`.
#[derive(Debug, Clone, Deserialize)]
pub struct Embeddings {
    /// The model.
    #[serde(default)]
    pub model: Option<String>,
    /// What to embed.
    pub input: Prompt,
    /// Length of the vectors.
    #[serde(default, deserialize_with = "numbers::optional")]
    pub dimensions: Option<i64>,
    /// `float` or `base64`.
    #[serde(default)]
    pub encoding_format: Option<String>,
}

/// `/v1/responses`.
#[derive(Debug, Clone, Deserialize)]
pub struct Responses {
    /// The model.
    #[serde(default)]
    pub model: Option<String>,
    /// Text, or messages.
    pub input: Value,
    /// What is said first.
    #[serde(default)]
    pub instructions: Option<String>,
    /// Most output tokens.
    #[serde(default, deserialize_with = "numbers::optional")]
    pub max_output_tokens: Option<i64>,
    /// Whether events are sent.
    #[serde(default)]
    pub stream: Option<bool>,
    /// Checked for its range.
    #[serde(default)]
    pub temperature: Option<f64>,
}

/// `/tokenize`: a prompt, or messages.
#[derive(Debug, Clone, Deserialize)]
pub struct Tokenize {
    /// Text.
    #[serde(default)]
    pub prompt: Option<String>,
    /// A conversation.
    #[serde(default)]
    pub messages: Option<Vec<Message>>,
    /// The model.
    #[serde(default)]
    pub model: Option<String>,
}

/// `/detokenize`.
#[derive(Debug, Clone, Deserialize)]
pub struct Detokenize {
    /// Token numbers.
    #[serde(deserialize_with = "numbers::tokens")]
    pub tokens: Vec<u32>,
    /// The model.
    #[serde(default)]
    pub model: Option<String>,
}

/// Reads a body.
///
/// # Errors
/// 400 with what the parser says.
pub fn parse<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, ApiError> {
    if body.is_empty() {
        return Err(ApiError::new(400, "the body is empty; send a JSON document"));
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(400, format!("the body cannot be read: {error}")))
}

/// The text of a message's content.
///
/// # Errors
/// Content that is neither text nor parts.
pub fn content(content: &Value) -> Result<String, ApiError> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => parts.iter().map(part).collect(),
        _ => Err(ApiError::bad("messages", "`content` must be a text or a list of parts")),
    }
}

fn part(part: &Value) -> Result<String, ApiError> {
    match (part, part.get("text")) {
        (Value::String(text), _) | (_, Some(Value::String(text))) => Ok(text.clone()),
        // Images, sounds and files have no text.
        (Value::Object(fields), None) if fields.contains_key("type") => Ok(String::new()),
        _ => Err(ApiError::bad("messages", "a part of `content` must have a `type` and, for text, `text`")),
    }
}

impl Common {
    /// Checks ranges.
    ///
    /// # Errors
    /// The first value that is out of its range.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.temperature.is_some_and(|value| !(0.0..=2.0).contains(&value)) {
            return Err(ApiError::bad("temperature", "temperature must be between 0 and 2"));
        }
        if self.top_p.is_some_and(|value| !(value > 0.0 && value <= 1.0)) {
            return Err(ApiError::bad("top_p", "top_p must be above 0 and at most 1"));
        }
        if self.n.is_some_and(|n| !(1..=128).contains(&n)) {
            return Err(ApiError::bad("n", "n must be between 1 and 128"));
        }
        let below_one = |limit: Option<i64>| limit.is_some_and(|limit| limit < 1);
        if below_one(self.max_tokens) || below_one(self.max_completion_tokens) {
            return Err(ApiError::bad("max_tokens", "max_tokens must be at least 1"));
        }
        if self.min_tokens.is_some_and(|least| least < 0) {
            return Err(ApiError::bad("min_tokens", "min_tokens must be at least 0"));
        }
        if let (Some(least), Some(most)) = (self.min_tokens, self.limit()) {
            if least > most {
                return Err(ApiError::bad("min_tokens", "min_tokens must not be more than max_tokens"));
            }
        }
        if self.stops().len() > 16 {
            return Err(ApiError::bad("stop", "at most 16 stop texts"));
        }
        if self.stream_options.is_some() && self.stream != Some(true) {
            return Err(ApiError::bad("stream_options", "stream_options can only be set with stream=true"));
        }
        Ok(())
    }

    /// Most output tokens, by whichever name.
    pub fn limit(&self) -> Option<i64> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// Texts that end an answer.
    pub fn stops(&self) -> Vec<String> {
        let all = match &self.stop {
            None => Vec::new(),
            Some(Stop::One(text)) => vec![text.clone()],
            Some(Stop::Several(texts)) => texts.clone(),
        };
        all.into_iter().filter(|text| !text.is_empty()).collect()
    }
}
