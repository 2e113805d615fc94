//! The stream of requests a driver draws from.

use crate::error::WorkloadError;
use std::sync::Arc;
use units::Seconds;

/// A request as the world sends it. The output length is the world's secret: a driver uses it to decide when a request
/// ends and never shows it to a control plane.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Arrival {
    /// When it is sent, after the start of the trace.
    pub at: Seconds,
    /// Prompt length in tokens.
    pub input: u32,
    /// Output length in tokens, at least one.
    pub output: u32,
    /// Which deployment it asks for.
    pub deployment: u32,
    /// Whose it is.
    pub tenant: u32,
    /// The conversation it belongs to.
    pub session: Option<u64>,
    /// Class of service; smaller is more urgent.
    pub priority: u8,
    /// The instance it is sent to, where the client chooses for itself.
    pub instance: Option<u32>,
    /// The client's `max_tokens`, if it sets one.
    pub max_tokens: Option<u32>,
    /// Chained hashes of the prompt's leading blocks.
    pub prefix: Option<Arc<[u64]>>,
    /// Chained hashes of the blocks of prompt and output together, where something will follow up on them.
    pub after: Option<Arc<[u64]>>,
    /// The service promises to start it within this time or to turn it away.
    pub deadline: Option<Seconds>,
    /// The client goes away if it has not got its first token this long after sending; the service does not know.
    pub patience: Option<Seconds>,
    /// What the source calls it: given back in [`Source::ended`].
    pub ticket: u64,
    /// Whether it counts in results; warm-up requests do not.
    pub measured: bool,
}

/// Requests in the order of time.
pub trait Source {
    /// When the next request is sent, as far as is known now; `None` if nothing more comes unless a request ends.
    ///
    /// # Errors
    /// A trace that cannot be read.
    fn peek(&mut self) -> Result<Option<Seconds>, WorkloadError>;

    /// The request that [`Source::peek`] told of.
    ///
    /// # Errors
    /// A trace that cannot be read.
    fn pop(&mut self) -> Result<Option<Arrival>, WorkloadError>;

    /// A request ended, whatever way.
    fn ended(&mut self, _ticket: u64, _at: Seconds) {}

    /// What a user should know of what has been read so far, besides the requests: rows left out, say.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn peek(&mut self) -> Result<Option<Seconds>, WorkloadError> {
        (**self).peek()
    }

    fn pop(&mut self) -> Result<Option<Arrival>, WorkloadError> {
        (**self).pop()
    }

    fn ended(&mut self, ticket: u64, at: Seconds) {
        (**self).ended(ticket, at);
    }

    fn notes(&self) -> Vec<String> {
        (**self).notes()
    }
}
