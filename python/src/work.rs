//! Work off the interpreter's lock, which an interrupt ends.

use crate::errors;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::Duration;
use supernode::Error;

/// How often the interpreter is asked whether the user has interrupted.
const LOOK: Duration = Duration::from_millis(20);

/// Stack of a worker: as much as a main thread has.
const STACK: usize = 8 << 20;

/// Does `work` on a thread of its own, without the interpreter's lock.
///
/// An interrupt is raised at once; `stop` is then set, at which the work ends as soon as it looks.
pub fn run<T: Send + 'static>(
    py: Python<'_>,
    stop: &Arc<AtomicBool>,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> PyResult<T> {
    let (sender, mut receiver) = channel();
    let body = move || drop(sender.send(catch_unwind(AssertUnwindSafe(work))));
    let started = Builder::new().name("supernode".to_owned()).stack_size(STACK).spawn(body);
    started.map_err(|error| PyRuntimeError::new_err(format!("no thread can be started ({error})")))?;
    loop {
        let (back, got) = py.detach(move || {
            let got = receiver.recv_timeout(LOOK);
            (receiver, got)
        });
        receiver = back;
        match got {
            Ok(Ok(Ok(found))) => return Ok(found),
            Ok(Ok(Err(error))) => return Err(errors::of_error(py, &error)),
            Ok(Err(panic)) => return Err(errors::of_panic(py, panic.as_ref())),
            Err(RecvTimeoutError::Disconnected) => return Err(errors::gone("the worker")),
            Err(RecvTimeoutError::Timeout) => py.check_signals().inspect_err(|_| {
                stop.store(true, Ordering::Relaxed);
            })?,
        }
    }
}
