//! The body of every answer: bytes at once, or a stream.

use crate::answer::Stream;
use crate::deltas::Deltas;
use crate::responses::Events;
use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::Value;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::openai::ApiError;

/// A body.
pub enum Reply {
    /// All at once.
    Whole(Option<Bytes>),
    /// As it comes.
    Stream(Box<Stream>),
    /// A response's events.
    Events(Box<Events>),
    /// What somebody sends.
    Channel(Deltas),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => Pin::new(&mut **stream).poll_frame(context),
            Self::Events(events) => Pin::new(&mut **events).poll_frame(context),
            Self::Channel(deltas) => Pin::new(deltas).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            _ => SizeHint::default(),
        }
    }
}

/// An answer.
pub type Answer = Response<Reply>;

/// An answer with this type of content.
pub fn with_type(status: u16, kind: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let bytes: Bytes = bytes.into();
    let mut answer = Response::new(Reply::Whole(Some(bytes)));
    *answer.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A JSON document.
pub fn json(status: u16, document: &Value) -> Answer {
    with_type(status, "application/json", document.to_string())
}

/// A JSON document that is written already.
pub fn json_bytes(bytes: Bytes) -> Answer {
    with_type(200, "application/json", bytes)
}

/// An error.
pub fn error(error: &ApiError) -> Answer {
    let mut answer = json(error.status, &error.document());
    if let Some(allow) = error.allow {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(after) = error.retry_after {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after));
    }
    answer
}

/// A stream of events.
pub fn events(stream: Stream) -> Answer {
    stream_of(Reply::Stream(Box::new(stream)))
}

/// Any stream of events.
pub fn stream_of(reply: Reply) -> Answer {
    let mut answer = Response::new(reply);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    answer.headers_mut().insert(hyper::header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}
