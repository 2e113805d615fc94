//! The state as a stream: once in full, then what has changed, as JSON merge patches (RFC 7396).

use crate::admin::state;
use crate::app::App;
use crate::body::{Answer, Reply, stream_of};
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};

/// Wall time between two looks.
const EVERY: Duration = Duration::from_millis(500);

/// What is written of a stream that its client has not taken yet, in events.
const AHEAD: usize = 4;

/// The patch that makes `new` of `old`: keys that are gone are null. Lists are replaced whole.
pub fn patch(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut changed = Map::new();
    for (key, value) in after {
        let found = match before.get(key) {
            Some(known) => patch(known, value),
            None => Some(value.clone()),
        };
        changed.extend(found.map(|value| (key.clone(), value)));
    }
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    changed.extend(gone.map(|key| (key.clone(), Value::Null)));
    (!changed.is_empty()).then_some(Value::Object(changed))
}

/// Begins a stream; it ends when its client goes or the control plane stops.
pub fn answer(app: &Arc<App>) -> Answer {
    let (sender, receiver) = channel(AHEAD);
    let app = Arc::clone(app);
    tokio::spawn(async move {
        let mut last = Value::Null;
        while let Ok(look) = app.look().await {
            let next = state(&app, &look, last.is_null());
            if let Some(mut change) = patch(&last, &next) {
                if !last.is_null() && next.get("layout").is_none() {
                    // What was told once stays.
                    change.as_object_mut().map(|change| change.remove("layout"));
                }
                let text = format!("data: {change}\n\n");
                if sender.send(Bytes::from(text)).await.is_err() {
                    return;
                }
            }
            last = next;
            tokio::time::sleep(EVERY).await;
        }
    });
    stream_of(Reply::Channel(Deltas(receiver)))
}

/// The stream's body.
pub struct Deltas(Receiver<Bytes>);

impl hyper::body::Body for Deltas {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patches_hold_what_changed_and_nothing_else() {
        let old = json!({"a": 1, "b": {"c": [1, 2], "d": 3}, "e": 5});
        assert_eq!(patch(&old, &old), None);
        let new = json!({"a": 1, "b": {"c": [1], "d": 3}, "f": {}});
        assert_eq!(patch(&old, &new), Some(json!({"b": {"c": [1]}, "f": {}, "e": null})));
    }
}
