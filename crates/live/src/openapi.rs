//! The OpenAPI document of the main port.

use crate::app::App;
use serde_json::{Value, json};

/// Paths that take a body, and what it is.
fn bodies(app: &App) -> Vec<(&'static str, Value)> {
    let model =
        json!({"type": "string", "enum": app.models.iter().map(|model| &model.name).collect::<Vec<_>>()});
    let common = json!({
        "model": model, "stream": {"type": "boolean"}, "max_tokens": {"type": "integer", "minimum": 1, "maximum": 64},
        "n": {"type": "integer", "minimum": 1, "maximum": 4}, "seed": {"type": "integer"},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2}, "ignore_eos": {"type": "boolean"},
        "stop": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 16}]},
    });
    let with = |fields: Value, required: Value| {
        let mut all = common.as_object().cloned().unwrap_or_default();
        all.extend(fields.as_object().cloned().unwrap_or_default());
        json!({"type": "object", "properties": all, "required": required})
    };
    let message = json!({
        "type": "object", "required": ["role", "content"],
        "properties": {
            "role": {"type": "string", "enum": ["system", "user", "assistant"]}, "content": {"type": "string"},
        },
    });
    let messages = json!({"type": "array", "items": message, "minItems": 1});
    let text = json!({"type": "string", "minLength": 1});
    let own = |fields: Value, required: Value| json!({"type": "object", "properties": fields, "required": required});
    vec![
        ("/v1/chat/completions", with(json!({"messages": messages}), json!(["messages"]))),
        ("/v1/completions", with(json!({"prompt": text}), json!(["prompt"]))),
        ("/v1/embeddings", own(json!({"model": model, "input": text}), json!(["input"]))),
        ("/v1/responses", own(json!({"model": model, "input": text}), json!(["input"]))),
        ("/tokenize", own(json!({"model": model, "prompt": {"type": "string"}}), json!(["prompt"]))),
        (
            "/detokenize",
            own(
                json!({"model": model, "tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}}}),
                json!(["tokens"]),
            ),
        ),
        (
            "/v1/chat/completions/render",
            own(json!({"model": model, "messages": messages}), json!(["messages"])),
        ),
    ]
}

/// The document.
pub fn document(app: &App) -> Value {
    let gets = [
        "/health",
        "/ping",
        "/version",
        "/load",
        "/metrics",
        "/v1/models",
        "/model_info",
        "/get_model_info",
        "/server_info",
        "/openapi.json",
    ];
    let error = json!({"description": "What is wrong.", "content": {"application/json": {"schema": {
        "type": "object", "required": ["error"], "properties": {"error": {"type": "object"}},
    }}}});
    let mut paths = serde_json::Map::new();
    for (path, schema) in bodies(app) {
        let mut responses = serde_json::Map::new();
        responses.insert("200".to_owned(), json!({"description": "The answer."}));
        for status in ["400", "401", "404", "408", "413", "429", "500", "503"] {
            responses.insert(status.to_owned(), error.clone());
        }
        let body = json!({"required": true, "content": {"application/json": {"schema": schema}}});
        paths.insert(path.to_owned(), json!({"post": {"requestBody": body, "responses": responses}}));
    }
    for path in gets {
        let responses = json!({"200": {"description": "The answer."}, "401": error, "503": error});
        paths.insert(path.to_owned(), json!({"get": {"responses": responses}}));
    }
    json!({
        "openapi": "3.1.0", "info": {"title": "supernode", "version": env!("CARGO_PKG_VERSION")}, "paths": paths,
    })
}
