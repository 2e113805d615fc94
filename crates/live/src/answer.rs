//! Answers: whole documents, and streams that write every token there is whenever they are asked.

use crate::app::Asked;
use crate::cell::End;
use crate::openai::ApiError;
use crate::text::Words;
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Tokens written in one frame at most.
const FRAME: u32 = 512;

/// Which document an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `chat.completion`.
    Chat,
    /// `text_completion`.
    Text,
}

/// What ends an answer where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finish {
    /// `stop` or `length`.
    pub reason: &'static str,
    /// Bytes of the text of the last token that are sent, where a stop text cuts it.
    pub last: Option<usize>,
}

/// One answer to one prompt.
pub struct Choice {
    /// Its request.
    pub asked: Asked,
    /// Its words.
    pub words: Words,
    /// How it ends when it has all its tokens.
    pub finish: Finish,
    /// Tokens of its prompt.
    pub prompt: u32,
    /// What is sent before the first token: the prompt, where it is echoed.
    pub before: String,
    sent: u32,
    end: Option<End>,
    done: bool,
}

impl Choice {
    /// An answer of which nothing is there yet.
    pub fn new(asked: Asked, words: Words, finish: Finish, prompt: u32, before: String) -> Self {
        Self { asked, words, finish, prompt, before, sent: 0, end: None, done: false }
    }

    /// Waits until there is something to send, or the end.
    pub async fn first(&mut self) -> Result<(), ApiError> {
        let cell = &self.asked.cell;
        let (_, end) = std::future::poll_fn(|context| cell.poll(0, context)).await;
        match end.and_then(|end| end.refused) {
            Some(reason) => Err(ApiError::refused(reason)),
            None => Ok(()),
        }
    }

    /// The text of tokens `from` up to `to`; `end` says how many there are, once it is known.
    fn text(&self, from: u32, to: u32, end: Option<u32>) -> String {
        match (end, self.finish.last) {
            (Some(end), Some(last)) if to == end && to > from => {
                let mut text = self.words.text(from, to - 1);
                let token = self.words.text(to - 1, to);
                text.push_str(token.get(..last).unwrap_or(&token));
                text
            }
            _ => self.words.text(from, to),
        }
    }

    fn object(&self, form: Form, index: usize, output: u32) -> Value {
        let text = format!("{}{}", self.before, self.text(0, output, Some(output)));
        match form {
            Form::Chat => json!({
                "index": index, "message": {"role": "assistant", "content": text},
                "logprobs": null, "finish_reason": self.finish.reason,
            }),
            Form::Text => json!({
                "index": index, "text": text, "logprobs": null, "finish_reason": self.finish.reason,
            }),
        }
    }
}

/// What all answers to one call have in common.
#[derive(Debug, Clone)]
pub struct Head {
    /// Which document.
    pub form: Form,
    /// Its id.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// Whether a stream tells the usage at its end.
    pub usage: bool,
    /// Whether it tells it in every event.
    pub continuous: bool,
}

/// Tokens of a call. A prompt with several answers counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompts.
    pub prompt: u32,
    /// Of the answers.
    pub completion: u32,
    /// Of the prompts, found in a cache.
    pub cached: u32,
}

impl Usage {
    /// As it is written.
    pub fn object(self) -> Value {
        json!({
            "prompt_tokens": self.prompt, "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        })
    }
}

/// Waits for the ends of all answers and puts the document together.
///
/// # Errors
/// The first answer that is refused.
pub async fn whole(head: &Head, choices: &mut [Choice], per_prompt: usize) -> Result<Bytes, ApiError> {
    let mut usage = Usage::default();
    for (index, choice) in choices.iter_mut().enumerate() {
        let end = choice.asked.end().await;
        if let Some(reason) = end.refused {
            return Err(ApiError::refused(reason));
        }
        choice.end = Some(end);
        usage.completion += end.output;
        if index % per_prompt == 0 {
            usage.prompt += choice.prompt;
            usage.cached += end.cached;
        }
    }
    if let ([choice], Form::Text, true) = (&*choices, head.form, choices[0].before.is_empty()) {
        return Ok(short(head, choice, usage));
    }
    let output = |choice: &Choice| choice.end.map_or(0, |end| end.output);
    let objects: Vec<Value> = choices
        .iter()
        .enumerate()
        .map(|(index, choice)| choice.object(head.form, index, output(choice)))
        .collect();
    let object = if head.form == Form::Chat { "chat.completion" } else { "text_completion" };
    let document = json!({
        "id": head.id, "object": object, "created": head.created, "model": head.model,
        "choices": objects, "usage": usage.object(),
    });
    Ok(Bytes::from(document.to_string()))
}

/// The usual document, written in one go.
fn short(head: &Head, choice: &Choice, usage: Usage) -> Bytes {
    let text = json_text(&choice.text(0, usage.completion, Some(usage.completion)));
    Bytes::from(format!(
        concat!(
            r#"{{"id":"{}","object":"text_completion","created":{},"model":{},"choices":[{{"index":0,"text":{},"#,
            r#""logprobs":null,"finish_reason":"{}"}}],"usage":{{"prompt_tokens":{},"completion_tokens":{},"#,
            r#""total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{}}}}}}}"#
        ),
        head.id,
        head.created,
        json_text(&head.model),
        text,
        choice.finish.reason,
        usage.prompt,
        usage.completion,
        usage.prompt + usage.completion,
        usage.cached
    ))
}

fn json_text(text: &str) -> String {
    Value::from(text).to_string()
}

/// A stream of server-sent events.
pub struct Stream {
    head: Head,
    choices: Vec<Choice>,
    per_prompt: usize,
    /// What every event begins with.
    start: String,
    ended: bool,
}

impl Stream {
    /// Over answers of which the first has something to send.
    pub fn new(head: Head, choices: Vec<Choice>, per_prompt: usize) -> Self {
        let object = if head.form == Form::Chat { "chat.completion.chunk" } else { "text_completion" };
        let start = format!(
            r#"data: {{"id":"{}","object":"{object}","created":{},"model":{},"choices":["#,
            head.id,
            head.created,
            json_text(&head.model)
        );
        Self { head, choices, per_prompt, start, ended: false }
    }

    fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for (index, choice) in self.choices.iter().enumerate() {
            usage.completion += choice.sent;
            if index % self.per_prompt == 0 {
                usage.prompt += choice.prompt;
                usage.cached += choice.end.map_or(0, |end| end.cached);
            }
        }
        usage
    }

    fn close(&self, out: &mut String, usage: Usage) {
        if self.head.continuous {
            let _ = write!(out, "],\"usage\":{}}}\n\n", usage.object());
        } else {
            out.push_str("]}\n\n");
        }
    }

    /// An event with a piece of text.
    fn piece(&self, out: &mut String, index: usize, text: &str, usage: Usage) {
        out.push_str(&self.start);
        let text = json_text(text);
        let _ = match self.head.form {
            Form::Chat => write!(
                out,
                r#"{{"index":{index},"delta":{{"content":{text}}},"logprobs":null,"finish_reason":null}}"#
            ),
            Form::Text => {
                write!(out, r#"{{"index":{index},"text":{text},"logprobs":null,"finish_reason":null}}"#)
            }
        };
        self.close(out, usage);
    }

    /// The event before the first piece.
    fn opening(&self, out: &mut String, index: usize, usage: Usage) {
        let before = &self.choices[index].before;
        if self.head.form == Form::Chat {
            out.push_str(&self.start);
            let _ = write!(
                out,
                r#"{{"index":{index},"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}"#
            );
            self.close(out, usage);
        } else if !before.is_empty() {
            self.piece(out, index, before, usage);
        }
    }

    /// The event after the last piece.
    fn closing(&self, out: &mut String, index: usize, usage: Usage) {
        let reason = self.choices[index].finish.reason;
        out.push_str(&self.start);
        let _ = match self.head.form {
            Form::Chat => write!(
                out,
                r#"{{"index":{index},"delta":{{}},"logprobs":null,"finish_reason":"{reason}","stop_reason":null}}"#
            ),
            Form::Text => write!(
                out,
                r#"{{"index":{index},"text":"","logprobs":null,"finish_reason":"{reason}","stop_reason":null}}"#
            ),
        };
        self.close(out, usage);
    }

    /// Writes what there is of one answer; true if that was anything.
    fn write(&mut self, index: usize, context: &mut Context<'_>, out: &mut String) -> bool {
        let choice = &mut self.choices[index];
        if choice.done {
            return false;
        }
        let Poll::Ready((count, end)) = choice.asked.cell.poll(choice.sent, context) else { return false };
        let (from, to) = (choice.sent, count.min(choice.sent + FRAME));
        choice.end = end;
        choice.sent = to;
        let usage = if self.head.continuous { self.usage() } else { Usage::default() };
        if from == 0 && to > 0 {
            self.opening(out, index, usage);
        }
        for token in from..to {
            let text = self.choices[index].text(token, token + 1, end.map(|end| end.output));
            self.piece(out, index, &text, usage);
        }
        let Some(end) = end.filter(|end| end.refused.is_some() || to == end.output) else { return true };
        self.choices[index].done = true;
        match end.refused {
            Some(reason) => {
                let _ = write!(out, "data: {}\n\n", ApiError::refused(reason).document());
            }
            None => self.closing(out, index, usage),
        }
        true
    }

    fn last(&mut self, out: &mut String) {
        if self.head.usage {
            out.push_str(&self.start);
            let _ = write!(out, "],\"usage\":{}}}\n\n", self.usage().object());
        }
        out.push_str("data: [DONE]\n\n");
        self.ended = true;
    }
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut out = String::new();
        for index in 0..self.choices.len() {
            self.write(index, context, &mut out);
        }
        if self.choices.iter().all(|choice| choice.done) {
            self.last(&mut out);
        }
        if out.is_empty() { Poll::Pending } else { Poll::Ready(Some(Ok(Frame::data(Bytes::from(out))))) }
    }
}
