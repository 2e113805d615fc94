//! `/v1/responses`: whole documents, and streams of typed events.

use crate::app::{App, Ask, Asked};
use crate::body::{Answer, Reply, json, stream_of};
use crate::cell::End;
use crate::keys::Who;
use crate::openai::{ApiError, Common, Message, Responses, parse};
use crate::routes::{Call, Port, conversation, echoed, follow, lengths, limited};
use crate::text::Words;
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Tokens written in one frame at most.
const FRAME: u32 = 512;

/// What is known of a response before it has a token.
#[derive(Debug, Clone)]
struct Head {
    id: String,
    created: u64,
    model: String,
    temperature: Option<f64>,
    prompt: u32,
    /// Whether its length cuts it.
    cut: bool,
}

impl Head {
    fn status(&self) -> &'static str {
        if self.cut { "incomplete" } else { "completed" }
    }

    fn message(&self, status: &str, text: Option<&str>) -> Value {
        let content: Vec<Value> = text.map(part).into_iter().collect();
        json!({
            "type": "message", "id": format!("msg_{}", self.id), "status": status, "role": "assistant", "content": content,
        })
    }

    /// The document; without an end it is in progress.
    fn document(&self, end: Option<(&End, &str)>) -> Value {
        let status = end.map_or("in_progress", |_| self.status());
        let output: Vec<Value> = end.map(|(_, text)| self.message(status, Some(text))).into_iter().collect();
        let usage = end.map(|(end, _)| {
            json!({
                "input_tokens": self.prompt, "input_tokens_details": {"cached_tokens": end.cached},
                "output_tokens": end.output, "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self.prompt + end.output,
            })
        });
        let cut = (self.cut && end.is_some()).then(|| json!({"reason": "max_output_tokens"}));
        json!({
            "id": format!("resp_{}", self.id), "object": "response", "created_at": self.created, "status": status,
            "model": self.model, "error": null, "instructions": null, "tools": [], "tool_choice": "auto",
            "parallel_tool_calls": true, "temperature": self.temperature, "metadata": {},
            "incomplete_details": cut, "output": output, "usage": usage,
        })
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

fn messages(asked: &Responses) -> Result<Vec<Message>, ApiError> {
    let mut messages: Vec<Message> = Vec::new();
    if let Some(text) = &asked.instructions {
        messages.push(Message { role: "system".to_owned(), content: Value::from(text.as_str()) });
    }
    match &asked.input {
        Value::String(text) if text.is_empty() => {
            return Err(ApiError::bad("input", "`input` must not be empty"));
        }
        Value::String(text) => {
            messages.push(Message { role: "user".to_owned(), content: Value::from(text.as_str()) });
        }
        Value::Array(items) if items.is_empty() => {
            return Err(ApiError::bad("input", "`input` must not be empty"));
        }
        Value::Array(items) => {
            for item in items {
                let message = serde_json::from_value(item.clone()).map_err(|wrong| {
                    ApiError::bad("input", format!("an item of `input` is no message: {wrong}"))
                })?;
                messages.push(message);
            }
        }
        _ => return Err(ApiError::bad("input", "`input` must be a text or a list of messages")),
    }
    Ok(messages)
}

/// Answers `/v1/responses`.
pub(crate) async fn answer(app: &Arc<App>, call: &Call<'_>, who: &Who) -> Result<Answer, ApiError> {
    let asked: Responses = parse(&call.body)?;
    let model = app.model(asked.model.as_deref())?;
    let messages = messages(&asked)?;
    let common =
        Common { max_tokens: asked.max_output_tokens, temperature: asked.temperature, ..Common::default() };
    common.check()?;
    let (blocks, last) = conversation(app, model, &messages)?;
    let seed = app.number();
    let words = Words::new(seed, echoed(app, &last));
    let (output, max_tokens, finish) = lengths(app, model, &common, blocks.tokens, &words, seed)?;
    let after = follow(app, &blocks, &words, output, app.models[model].block);
    let prompt = blocks.tokens;
    let instance = if let Port::Instance(instance) = call.port { Some(instance) } else { None };
    let streams = asked.stream == Some(true);
    let ask = Ask { model, blocks, output, max_tokens, streams, session: None, priority: 0, instance };
    let sent = app.ask(ask, who, after, call.received)?;
    let head = Head {
        id: format!("{}{:x}", app.run, sent.id),
        created: app.pace.date(),
        model: app.models[model].name.clone(),
        temperature: asked.temperature,
        prompt,
        cut: finish.reason == "length",
    };
    if streams {
        let (_, end) = std::future::poll_fn(|context| sent.cell.poll(0, context)).await;
        if let Some(reason) = end.and_then(|end| end.refused) {
            return Err(limited(app, who, ApiError::refused(reason)));
        }
        return Ok(stream_of(Reply::Events(Box::new(Events::new(head, sent, words)))));
    }
    let end = sent.end().await;
    if let Some(reason) = end.refused {
        return Err(limited(app, who, ApiError::refused(reason)));
    }
    let text = words.text(0, end.output);
    Ok(json(200, &head.document(Some((&end, &text)))))
}

/// A response as typed events.
pub struct Events {
    head: Head,
    asked: Asked,
    words: Words,
    sent: u32,
    sequence: u32,
    ended: bool,
}

impl Events {
    fn new(head: Head, asked: Asked, words: Words) -> Self {
        Self { head, asked, words, sent: 0, sequence: 0, ended: false }
    }

    fn event(&mut self, out: &mut String, kind: &str, mut data: Value) {
        data["type"] = Value::from(kind);
        data["sequence_number"] = Value::from(self.sequence);
        self.sequence += 1;
        let _ = write!(out, "event: {kind}\ndata: {data}\n\n");
    }

    /// Where in the response a piece of text belongs.
    fn place(&self) -> Value {
        json!({"item_id": format!("msg_{}", self.head.id), "output_index": 0, "content_index": 0})
    }

    fn with(&self, key: &str, value: Value) -> Value {
        let mut data = self.place();
        data[key] = value;
        data
    }

    fn opening(&mut self, out: &mut String) {
        let document = self.head.document(None);
        self.event(out, "response.created", json!({"response": document.clone()}));
        self.event(out, "response.in_progress", json!({"response": document}));
        let item = self.head.message("in_progress", None);
        self.event(out, "response.output_item.added", json!({"output_index": 0, "item": item}));
        let added = self.with("part", part(""));
        self.event(out, "response.content_part.added", added);
    }

    fn closing(&mut self, out: &mut String, end: &End) {
        let (text, status) = (self.words.text(0, end.output), self.head.status());
        let done = self.with("text", Value::from(text.as_str()));
        self.event(out, "response.output_text.done", done);
        let done = self.with("part", part(&text));
        self.event(out, "response.content_part.done", done);
        let item = self.head.message(status, Some(&text));
        self.event(out, "response.output_item.done", json!({"output_index": 0, "item": item}));
        let document = self.head.document(Some((end, &text)));
        self.event(out, &format!("response.{status}"), json!({"response": document}));
    }

    /// Writes what there is; nothing if there is nothing new.
    fn write(&mut self, context: &mut Context<'_>) -> String {
        let mut out = String::new();
        let Poll::Ready((count, end)) = self.asked.cell.poll(self.sent, context) else { return out };
        let (from, to) = (self.sent, count.min(self.sent + FRAME));
        if self.sequence == 0 {
            self.opening(&mut out);
        }
        for token in from..to {
            let delta = self.with("delta", Value::from(self.words.text(token, token + 1)));
            self.event(&mut out, "response.output_text.delta", delta);
        }
        self.sent = to;
        let Some(end) = end.filter(|end| end.refused.is_some() || to == end.output) else { return out };
        self.ended = true;
        match end.refused {
            Some(reason) => {
                let wrong = ApiError::refused(reason);
                self.event(
                    &mut out,
                    "error",
                    json!({"code": wrong.kind(), "message": wrong.message, "param": null}),
                );
            }
            None => self.closing(&mut out, &end),
        }
        out
    }
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let out = self.write(context);
        if out.is_empty() { Poll::Pending } else { Poll::Ready(Some(Ok(Frame::data(Bytes::from(out))))) }
    }
}
