//! A policy in Python: the virtual driver asks it, and takes the interpreter's lock for as long as it answers.

use crate::errors;
use pyo3::prelude::*;
use serving::{CustomPolicy, Decides, Nanos, Pressure, Request, RouteCandidate, SharedPolicy};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use supernode::Error;

/// A request as a front end knows it: there is no output length, nobody knows it yet.
#[pyclass(frozen, get_all, module = "supernode")]
pub struct RequestView {
    /// Prompt tokens.
    prompt_tokens: u32,
    /// The client's `max_tokens`, where it set one.
    max_tokens: Option<u32>,
    /// Which deployment it asks for.
    deployment: u32,
    /// Whose it is.
    tenant: u32,
    /// The conversation it belongs to.
    session: Option<u64>,
    /// Its class of service.
    priority: u8,
}

/// An instance that takes requests.
#[pyclass(frozen, get_all, module = "supernode")]
pub struct InstanceView {
    /// Its number.
    instance: u32,
    /// Requests on it, waiting or running.
    requests: u32,
    /// Requests in its queue.
    waiting: u32,
    /// Sequences that decode.
    decoding: u32,
    /// Tokens of its requests.
    tokens: u64,
    /// Tokens of this prompt in its prefix cache.
    cached_tokens: u32,
}

/// How much there is to do in a pool.
#[pyclass(frozen, get_all, module = "supernode")]
pub struct PoolView {
    /// The pool's number.
    pool: u32,
    /// Instances at work.
    active: u32,
    /// Instances that load their weights.
    loading: u32,
    /// Requests that wait.
    waiting: u64,
    /// Requests at all.
    requests: u64,
    /// Fewest instances allowed.
    min: u32,
    /// Most instances allowed.
    max: u32,
}

fn request_view(request: &Request) -> RequestView {
    RequestView {
        prompt_tokens: request.prompt,
        max_tokens: request.max_tokens,
        deployment: request.deployment,
        tenant: request.tenant,
        session: request.session,
        priority: request.priority,
    }
}

fn instance_view(candidate: &RouteCandidate) -> InstanceView {
    let RouteCandidate { instance, requests, waiting, decoding, tokens, cached } = *candidate;
    InstanceView { instance, requests, waiting, decoding, tokens, cached_tokens: cached }
}

/// What went wrong in a policy, the first of all.
type Failed = Arc<Mutex<Option<PyErr>>>;

/// Callables of Python; after the first that fails none is called, and the run is asked to stop.
struct Callables {
    route: Option<Py<PyAny>>,
    order: Option<Py<PyAny>>,
    scale: Option<Py<PyAny>>,
    failed: Failed,
    stop: Arc<AtomicBool>,
}

impl Callables {
    fn call<T>(&self, ask: impl FnOnce(Python<'_>) -> PyResult<T>) -> Option<T> {
        if self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return None;
        }
        // The lock on the failure is not held while Python runs.
        match Python::attach(ask) {
            Ok(answer) => Some(answer),
            Err(error) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                self.stop.store(true, Ordering::Relaxed);
                None
            }
        }
    }
}

impl CustomPolicy for Callables {
    fn decides(&self) -> Decides {
        Decides { route: self.route.is_some(), order: self.order.is_some(), scale: self.scale.is_some() }
    }

    fn route(
        &mut self,
        now: Nanos,
        pool: u32,
        request: &Request,
        candidates: &[RouteCandidate],
    ) -> Option<usize> {
        let route = self.route.as_ref()?;
        let chosen = self.call(|py| {
            let views: Vec<InstanceView> = candidates.iter().map(instance_view).collect();
            let answer = route.call1(py, (now.seconds().get(), pool, request_view(request), views))?;
            let Some(number) = answer.extract::<Option<u32>>(py)? else { return Ok(None) };
            let place = candidates.iter().position(|candidate| candidate.instance == number);
            let problem = format!("{number} is none of the instances it was given");
            place.map(Some).ok_or_else(|| errors::of_error(py, &Error::at("policy.route", problem)))
        });
        chosen.flatten()
    }

    fn class(&mut self, now: Nanos, request: &Request) -> u32 {
        let Some(order) = &self.order else { return u32::from(request.priority) };
        let answer = self.call(|py| {
            let answer = order.call1(py, (now.seconds().get(), request_view(request)))?;
            answer.extract::<u32>(py)
        });
        answer.unwrap_or_default()
    }

    fn instances(&mut self, now: Nanos, pool: u32, pressure: &Pressure) -> u32 {
        let Some(scale) = &self.scale else { return pressure.active };
        let Pressure { active, loading, waiting, requests, min, max } = *pressure;
        let (waiting, requests) = (waiting as u64, requests as u64);
        let view = PoolView { pool, active, loading, waiting, requests, min, max };
        let answer = self.call(|py| scale.call1(py, (now.seconds().get(), view))?.extract::<u32>(py));
        answer.unwrap_or(active)
    }
}

/// A policy that a run asks.
pub struct Policy {
    shared: SharedPolicy,
    failed: Failed,
}

impl Policy {
    /// Of an object with some of the methods `route`, `order` and `scale`.
    ///
    /// # Errors
    /// It has none of them.
    pub fn new(py: Python<'_>, policy: Py<PyAny>, stop: Arc<AtomicBool>) -> PyResult<Self> {
        let method = |name: &str| -> PyResult<Option<Py<PyAny>>> {
            let found = policy.bind(py).getattr_opt(name)?;
            Ok(found.filter(|method| method.is_callable()).map(Bound::unbind))
        };
        let failed = Failed::default();
        let (route, order, scale) = (method("route")?, method("order")?, method("scale")?);
        if route.is_none() && order.is_none() && scale.is_none() {
            let problem = "needs one of the methods route, order and scale";
            return Err(errors::of_error(py, &Error::at("policy", problem)));
        }
        let callables = Callables { route, order, scale, failed: Arc::clone(&failed), stop };
        Ok(Self { shared: SharedPolicy::new(callables), failed })
    }

    /// For the control plane.
    pub fn shared(&self) -> SharedPolicy {
        self.shared.clone()
    }

    /// What went wrong in it, if something did.
    pub fn failed(&self) -> Option<PyErr> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
