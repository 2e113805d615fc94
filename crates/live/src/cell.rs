//! What the control thread and a connection share of one request: how many tokens there are, and how it ended.

use serving::Reason;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// How a request ended, as its client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Why it was turned away; `None` for one that has all its tokens.
    pub refused: Option<Reason>,
    /// Output tokens.
    pub output: u32,
    /// Prompt tokens found in a cache.
    pub cached: u32,
    /// The instance it ended on.
    pub instance: Option<u32>,
    /// Virtual nanoseconds from its arrival to the first token and to the end.
    pub ttft: u64,
    /// As `ttft`, to the end.
    pub e2e: u64,
}

#[derive(Debug, Default)]
struct State {
    count: u32,
    end: Option<End>,
    waker: Option<Waker>,
}

/// The shared state. Tokens that come faster than their connection takes them are one number here: nothing queues up.
#[derive(Debug, Default)]
pub struct Cell {
    state: Mutex<State>,
    /// Whether the connection is to be woken for tokens, or for the end alone.
    streams: bool,
}

impl Cell {
    /// A request that has nothing yet.
    pub fn new(streams: bool) -> Self {
        Self { state: Mutex::default(), streams }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There are so many tokens now.
    pub fn set(&self, count: u32) {
        let mut state = self.state();
        if count <= state.count || state.end.is_some() {
            return;
        }
        state.count = count;
        let waker = if self.streams { state.waker.take() } else { None };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// The request ended.
    pub fn end(&self, end: End) {
        let mut state = self.state();
        state.count = state.count.max(end.output);
        state.end = Some(end);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// How many tokens there are beyond `sent`, or the end; waits while there is neither.
    pub fn poll(&self, sent: u32, context: &mut Context<'_>) -> Poll<(u32, Option<End>)> {
        let mut state = self.state();
        if state.end.is_some() || (self.streams && state.count > sent) {
            return Poll::Ready((state.count, state.end));
        }
        let same = state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        if !same {
            state.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// The end, if it has come.
    pub fn ended(&self) -> Option<End> {
        self.state().end
    }
}
