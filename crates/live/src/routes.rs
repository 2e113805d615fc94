//! What the main port and the ports of instances answer.

use crate::answer::{Choice, Finish, Form, Head, Stream, whole};
use crate::app::{App, Ask};
use crate::body::{Answer, error, events, json, json_bytes, with_type};
use crate::clock::Speed;
use crate::embeddings;
use crate::keys::Who;
use crate::openai::{
    ApiError, Chat, Common, Completion, Detokenize, Message, Prompt, Tokenize, content, parse,
};
use crate::prometheus;
use crate::responses;
use crate::text::{Blocks, Style, Words, count, mix, pieces, token_id};
use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use serving::{Budget, Left};
use std::hash::Hasher;
use std::sync::Arc;
use std::time::Instant;

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The cluster's front door.
    Main,
    /// An instance's own.
    Instance(u32),
}

/// Prompts of one call at most.
const MOST_PROMPTS: usize = 1024;

/// A call whose body has been read.
pub struct Call<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path.
    pub path: &'a str,
    /// Its `Authorization` header.
    pub authorization: Option<&'a str>,
    /// Its body.
    pub body: Bytes,
    /// When it had been read.
    pub received: Instant,
    /// Where it came in.
    pub port: Port,
}

/// Answers a call.
pub async fn answer(app: &Arc<App>, call: Call<'_>) -> Answer {
    match route(app, call).await {
        Ok(answer) => answer,
        Err(wrong) => error(&wrong),
    }
}

async fn route(app: &Arc<App>, call: Call<'_>) -> Result<Answer, ApiError> {
    let (get, post) =
        (call.method == Method::GET || call.method == Method::HEAD, call.method == Method::POST);
    match call.path {
        "/health" | "/ping" | "/health_generate" if get || post => health(app, call.port).await,
        "/version" if get => {
            Ok(json(200, &json!({"version": env!("CARGO_PKG_VERSION"), "server": "supernode"})))
        }
        "/metrics" if get => {
            let only = if let Port::Instance(instance) = call.port { Some(instance) } else { None };
            let look = app.look().await?;
            let text = prometheus::vllm(app, &look, only);
            Ok(with_type(200, "text/plain; version=0.0.4; charset=utf-8", text))
        }
        "/load" | "/get_load" if get => Ok(json(200, &json!({"server_load": app.in_flight()}))),
        "/openapi.json" if get => Ok(json(200, &crate::openapi::document(app))),
        "/v1/models" if get => {
            app.keys.who(call.authorization)?;
            Ok(json(200, &models(app)))
        }
        "/model_info" | "/get_model_info" if get => Ok(json(200, &model_info(app))),
        "/server_info" | "/get_server_info" if get => Ok(json(200, &server_info(app))),
        path if known_post(path) && post => {
            let who = app.keys.who(call.authorization)?;
            app.ready()?;
            let answered = posted(app, call, who.clone()).await;
            let refused = answered.as_ref().is_err_and(|wrong| wrong.status == 429);
            let budget = if refused || !app.keys.is_empty() { app.budget(who.tenant).await } else { None };
            let mut answer = match answered {
                Ok(answer) => answer,
                Err(wrong) => error(&ApiError { retry_after: later(app, &wrong, budget), ..wrong }),
            };
            if let Some(budget) = budget {
                limits(&mut answer, &budget, app.pace.speed);
            }
            Ok(answer)
        }
        path if path.starts_with("/v1/models/") && get => {
            app.keys.who(call.authorization)?;
            app.model(path.strip_prefix("/v1/models/")).map(|index| json(200, &model_card(app, index)))
        }
        path if known_post(path) || known_get(path) => {
            let allow = if known_post(path) { "POST" } else { "GET, HEAD" };
            let error = ApiError::new(405, format!("{} does not go with {path}", call.method));
            Err(ApiError { allow: Some(allow), ..error })
        }
        path => Err(ApiError::new(404, format!("there is nothing at {path}"))),
    }
}

fn known_post(path: &str) -> bool {
    matches!(
        path,
        "/v1/chat/completions"
            | "/v1/completions"
            | "/v1/embeddings"
            | "/v1/responses"
            | "/tokenize"
            | "/detokenize"
            | "/v1/chat/completions/render"
    )
}

fn known_get(path: &str) -> bool {
    matches!(
        path,
        "/health"
            | "/health_generate"
            | "/ping"
            | "/version"
            | "/metrics"
            | "/load"
            | "/get_load"
            | "/openapi.json"
            | "/v1/models"
            | "/model_info"
            | "/get_model_info"
            | "/server_info"
            | "/get_server_info"
    ) || path.starts_with("/v1/models/")
}

async fn posted(app: &Arc<App>, call: Call<'_>, who: Who) -> Result<Answer, ApiError> {
    match call.path {
        "/v1/chat/completions" => chat(app, &call, &who).await,
        "/v1/completions" => completion(app, &call, &who).await,
        "/v1/responses" => responses::answer(app, &call, &who).await,
        "/v1/embeddings" => embeddings::answer(app, &call),
        "/tokenize" => tokenize(app, &call),
        "/detokenize" => {
            let asked: Detokenize = parse(&call.body)?;
            app.model(asked.model.as_deref())?;
            Ok(json(200, &json!({"prompt": app.vocabulary.text(&asked.tokens)?})))
        }
        _ => {
            let asked: Chat = parse(&call.body)?;
            app.model(asked.common.model.as_deref())?;
            let tokens = numbers(&asked.messages)?;
            Ok(json(200, &json!({"token_ids": tokens, "count": tokens.len()})))
        }
    }
}

async fn health(app: &Arc<App>, port: Port) -> Result<Answer, ApiError> {
    app.ready()?;
    if let Port::Instance(instance) = port {
        let look = app.look().await?;
        let state = look.instances.get(instance as usize).map(|look| look.view.state);
        if state != Some(serving::InstanceState::Active) {
            let state = state.map_or("gone", serving::InstanceState::name);
            return Err(ApiError::new(503, format!("instance {instance} is {state}")));
        }
    }
    Ok(json(200, &json!({"status": "ok"})))
}

fn models(app: &App) -> Value {
    let cards: Vec<Value> = (0..app.models.len()).map(|index| model_card(app, index)).collect();
    json!({"object": "list", "data": cards})
}

fn model_card(app: &App, index: usize) -> Value {
    let model = &app.models[index];
    json!({
        "id": model.name, "object": "model", "created": app.pace.epoch, "owned_by": "supernode",
        "root": model.name, "parent": null, "max_model_len": model.max_context, "permission": [],
    })
}

fn model_info(app: &App) -> Value {
    let model = &app.models[0];
    json!({
        "model_path": model.name, "tokenizer_path": model.name, "is_generation": true,
        "max_model_len": model.max_context, "preferred_sampling_params": null, "weight_version": "default",
    })
}

fn server_info(app: &App) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"), "model_path": app.models[0].name,
        "served_model_name": app.models[0].name, "speed": app.pace.speed.to_string(), "chips": app.chips,
        "max_total_num_tokens": app.models[0].max_context, "disaggregation_mode": "null", "dp_size": 1, "tp_size": 1,
    })
}

/// What begins and ends a message in the approximate chat template: a token each, whatever the role.
fn mark(role: &str) -> u32 {
    token_id(&format!("<|{role}|>"))
}

fn known_role(role: &str) -> Result<(), ApiError> {
    if matches!(role, "system" | "user" | "assistant" | "tool" | "developer" | "function") {
        return Ok(());
    }
    Err(ApiError::bad("messages", format!("`{role}` is no role")))
}

/// The prompt of a conversation: for each message its role, its text and an end; then the assistant's turn.
pub(crate) fn conversation(
    app: &App,
    model: usize,
    messages: &[Message],
) -> Result<(Blocks, String), ApiError> {
    if messages.is_empty() {
        return Err(ApiError::bad("messages", "messages must not be empty"));
    }
    let mut blocks = app.blocks(model);
    let mut last = String::new();
    for message in messages {
        known_role(&message.role)?;
        last = content(&message.content)?;
        blocks.push(mark(&message.role));
        blocks.push_text(&last);
        blocks.push(mark("end"));
    }
    blocks.push(mark("assistant"));
    Ok((blocks, last))
}

fn numbers(messages: &[Message]) -> Result<Vec<u32>, ApiError> {
    let mut tokens = Vec::new();
    for message in messages {
        known_role(&message.role)?;
        tokens.push(mark(&message.role));
        pieces(&content(&message.content)?, |piece| tokens.push(token_id(piece)));
        tokens.push(mark("end"));
    }
    tokens.push(mark("assistant"));
    Ok(tokens)
}

/// A prompt and what an echo of it would say.
pub(crate) type Told = (Blocks, String);

async fn chat(app: &Arc<App>, call: &Call<'_>, who: &Who) -> Result<Answer, ApiError> {
    let asked: Chat = parse(&call.body)?;
    let model = app.model(asked.common.model.as_deref())?;
    let told = conversation(app, model, &asked.messages)?;
    complete(app, call, who, &asked.common, Form::Chat, model, vec![told], false).await
}

async fn completion(app: &Arc<App>, call: &Call<'_>, who: &Who) -> Result<Answer, ApiError> {
    let asked: Completion = parse(&call.body)?;
    let model = app.model(asked.common.model.as_deref())?;
    let told = prompts(app, model, asked.prompt)?;
    let echo = asked.echo.unwrap_or(false);
    complete(app, call, who, &asked.common, Form::Text, model, told, echo).await
}

pub(crate) fn prompts(app: &App, model: usize, prompt: Prompt) -> Result<Vec<Told>, ApiError> {
    let empty = || app.blocks(model);
    let text = |text: String| {
        let mut blocks = empty();
        blocks.push_text(&text);
        (blocks, text)
    };
    let tokens = |tokens: Vec<u32>| {
        let mut blocks = empty();
        tokens.iter().for_each(|token| blocks.push(*token));
        (blocks, String::new())
    };
    let told: Vec<Told> = match prompt {
        Prompt::Text(one) => vec![text(one)],
        Prompt::Texts(several) => several.into_iter().map(text).collect(),
        Prompt::Tokens(one) => vec![tokens(one)],
        Prompt::TokenLists(several) => several.into_iter().map(tokens).collect(),
    };
    if told.is_empty() || told.iter().any(|(blocks, _)| blocks.tokens == 0) {
        return Err(ApiError::bad("prompt", "the prompt must have at least one token"));
    }
    if told.len() > MOST_PROMPTS {
        return Err(ApiError::bad("prompt", format!("more than {MOST_PROMPTS} prompts in one call")));
    }
    Ok(told)
}

/// How long an answer is and how it ends.
pub(crate) fn lengths(
    app: &App,
    model: usize,
    common: &Common,
    prompt: u32,
    words: &Words,
    seed: u64,
) -> Result<(u32, Option<u32>, Finish), ApiError> {
    let room = app.models[model].max_context.saturating_sub(prompt);
    let limit = common.limit().map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    if room == 0 || limit.is_some_and(|limit| limit > room) {
        let most = app.models[model].max_context;
        let message = format!(
            "the model's context is {most} tokens; {prompt} of prompt and {} of answer were asked for",
            limit.unwrap_or(1)
        );
        return Err(ApiError::bad("max_tokens", message));
    }
    let most = limit.unwrap_or(room);
    let least = common.min_tokens.map_or(1, |least| least.clamp(1, i64::from(most)) as u32);
    let natural = if common.ignore_eos == Some(true) { most } else { app.draw(seed).max(least) };
    let (mut output, mut finish) = (natural.min(most), Finish { reason: "stop", last: None });
    if natural >= most {
        finish.reason = "length";
    }
    let stops = common.stops();
    if !stops.is_empty() {
        let text = words.text(0, output);
        // The first stop text that is complete ends the answer before it begins.
        let found = stops.iter().filter_map(|stop| text.find(stop).map(|at| (at + stop.len(), at))).min();
        if let Some((end, at)) = found {
            let (tokens, last) = cut(words, output, end, at);
            if tokens >= least {
                output = tokens;
                finish = Finish { reason: "stop", last: Some(last) };
            }
        }
    }
    Ok((output, limit, finish))
}

/// Tokens until a stop text that ends at byte `end` is complete, and how much of the last one is sent if the text is cut
/// at byte `at`. Tokens before the last that the stop text began in are sent, as they were before it was complete.
fn cut(words: &Words, most: u32, end: usize, at: usize) -> (u32, usize) {
    let mut length = 0;
    for index in 0..most {
        let before = length;
        length += words.text(index, index + 1).len();
        if length >= end {
            return (index + 1, at.saturating_sub(before));
        }
    }
    (most, usize::MAX)
}

#[allow(clippy::too_many_arguments)]
async fn complete(
    app: &Arc<App>,
    call: &Call<'_>,
    who: &Who,
    common: &Common,
    form: Form,
    model: usize,
    told: Vec<Told>,
    echo: bool,
) -> Result<Answer, ApiError> {
    common.check()?;
    let streams = common.stream.unwrap_or(false);
    let per_prompt = common.n.unwrap_or(1) as usize;
    if told.len() * per_prompt > MOST_PROMPTS {
        return Err(ApiError::bad("n", format!("more than {MOST_PROMPTS} answers in one call")));
    }
    let mut plans = Vec::with_capacity(told.len() * per_prompt);
    for (blocks, text) in told {
        for answer in 0..per_prompt {
            let seed = common.seed.map_or_else(|| app.number(), |seed| mix(seed as u64)) + answer as u64;
            let words = Words::new(seed, echoed(app, &text));
            let (output, limit, finish) = lengths(app, model, common, blocks.tokens, &words, seed)?;
            let before = if echo { text.clone() } else { String::new() };
            plans.push((blocks.clone(), words, output, limit, finish, before));
        }
    }
    let session = common.user.as_deref().map(hash);
    let priority = common.priority.unwrap_or(0).clamp(0, 255) as u8;
    let instance = if let Port::Instance(instance) = call.port { Some(instance) } else { None };
    let mut choices = Vec::with_capacity(plans.len());
    for (blocks, words, output, max_tokens, finish, before) in plans {
        let after = follow(app, &blocks, &words, output, app.models[model].block);
        let prompt = blocks.tokens;
        let ask = Ask { model, blocks, output, max_tokens, streams, session, priority, instance };
        choices.push(Choice::new(app.ask(ask, who, after, call.received)?, words, finish, prompt, before));
    }
    let kind = if form == Form::Chat { "chatcmpl" } else { "cmpl" };
    let options = common.stream_options.unwrap_or_default();
    let head = Head {
        form,
        id: format!("{kind}-{}{:x}", app.run, choices[0].asked.id),
        created: app.pace.date(),
        model: app.models[model].name.clone(),
        usage: options.include_usage == Some(true),
        continuous: options.continuous_usage_stats == Some(true),
    };
    if streams {
        choices[0].first().await.map_err(|wrong| limited(app, who, wrong))?;
        return Ok(events(Stream::new(head, choices, per_prompt)));
    }
    let document = whole(&head, &mut choices, per_prompt).await.map_err(|wrong| limited(app, who, wrong))?;
    Ok(json_bytes(document))
}

/// When to try again, wall seconds: once the tenant's own limits allow it, where these were the reason.
fn later(app: &App, wrong: &ApiError, budget: Option<Budget>) -> Option<u32> {
    let budget = budget.filter(|_| wrong.status == 429)?;
    let wait = |left: Option<Left>, need: f64| left.map_or(0.0, |left| left.until(need));
    let virtual_seconds = wait(budget.requests, 1.0).max(wait(budget.tokens, 1.0));
    let wall = app.pace.speed.wall_for((virtual_seconds * 1e9) as u64) as f64 * 1e-9;
    Some((wall.ceil() as u32).max(1))
}

/// What is left of a tenant's limits, as OpenAI's servers say it.
fn limits(answer: &mut Answer, budget: &Budget, speed: Speed) {
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(name, value);
        }
    };
    let wall = |seconds: f64| format!("{:.3}s", speed.wall_for((seconds * 1e9) as u64) as f64 * 1e-9);
    if let Some(left) = budget.requests {
        put("x-ratelimit-limit-requests", format!("{:.0}", left.most));
        put("x-ratelimit-remaining-requests", format!("{:.0}", left.level.max(0.0).floor()));
        put("x-ratelimit-reset-requests", wall(left.until(left.most)));
    }
    if let Some(left) = budget.tokens {
        put("x-ratelimit-limit-tokens", format!("{:.0}", left.most));
        put("x-ratelimit-remaining-tokens", format!("{:.0}", left.level.max(0.0).floor()));
        put("x-ratelimit-reset-tokens", wall(left.until(left.most)));
    }
}

/// A refusal says which limits its tenant has.
pub(crate) fn limited(app: &App, who: &Who, wrong: ApiError) -> ApiError {
    let Some(terms) = app.keys.terms(who.tenant).filter(|_| wrong.status == 429) else { return wrong };
    let mut limits = Vec::new();
    limits.extend(terms.rate.map(|rate| format!("{rate} requests/s")));
    limits.extend(terms.concurrency.map(|most| format!("{most} requests at once")));
    limits.extend(terms.tokens_per_minute.map(|tokens| format!("{tokens} tokens/min")));
    ApiError { message: format!("{} (limits: {})", wrong.message, limits.join(", ")), ..wrong }
}

pub(crate) fn echoed(app: &App, text: &str) -> Vec<String> {
    let mut echo = Vec::new();
    if app.style == Style::Echo {
        pieces(text, |piece| echo.push(piece.to_owned()));
    }
    echo
}

/// Hashes of prompt and answer together, for who follows up on them.
pub(crate) fn follow(app: &App, blocks: &Blocks, words: &Words, output: u32, block: u32) -> Vec<u64> {
    if block == 0 {
        return Vec::new();
    }
    let mut after = blocks.clone();
    let mut token = String::new();
    for index in 0..output {
        token.clear();
        words.push(index, &mut token);
        after.push(token_id(&token));
    }
    app.remember(&after);
    after.hashes
}

pub(crate) fn hash(text: &str) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(text.as_bytes());
    mix(hasher.finish())
}

fn tokenize(app: &Arc<App>, call: &Call<'_>) -> Result<Answer, ApiError> {
    let asked: Tokenize = parse(&call.body)?;
    let model = app.model(asked.model.as_deref())?;
    let tokens = match (asked.prompt, asked.messages) {
        (Some(text), None) => {
            let mut tokens = Vec::with_capacity(count(&text) as usize);
            pieces(&text, |piece| tokens.push(app.vocabulary.learn(piece)));
            tokens
        }
        (None, Some(messages)) => numbers(&messages)?,
        _ => return Err(ApiError::bad("prompt", "give either `prompt` or `messages`")),
    };
    let most = app.models[model].max_context;
    Ok(json(
        200,
        &json!({"count": tokens.len(), "max_model_len": most, "tokens": tokens, "token_strs": null}),
    ))
}
