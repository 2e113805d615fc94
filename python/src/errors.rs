//! Errors of the library as exceptions of the package.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};
use std::any::Any;
use supernode::{Error, Kind};

/// A class of `supernode.errors`.
fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || Ok::<_, PyErr>(py.import("supernode.errors")?.unbind()))?;
    Ok(module.bind(py).getattr(name)?.cast_into::<PyType>()?)
}

fn raised(py: Python<'_>, name: &str, reason: &str, blamed: Option<&Error>) -> PyResult<PyErr> {
    let given = PyDict::new(py);
    if let Some(error) = blamed {
        given.set_item("key", &error.key)?;
        given.set_item("file", &error.file)?;
        given.set_item("line", error.line)?;
    }
    Ok(PyErr::from_value(class(py, name)?.call((reason,), Some(&given))?))
}

/// The exception of an error: the input is wrong, or the answer is no.
pub fn of_error(py: Python<'_>, error: &Error) -> PyErr {
    let made = match error.kind {
        Kind::Input => raised(py, "InputError", &error.reason, Some(error)),
        Kind::No => raised(py, "NoAnswerError", &error.reason, None),
    };
    made.unwrap_or_else(|failed| failed)
}

/// The exception of a defect.
pub fn of_panic(py: Python<'_>, panic: &(dyn Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
    raised(py, "InternalError", &format!("internal error: {text}"), None).unwrap_or_else(|failed| failed)
}

/// What cannot happen while the interpreter lives.
pub fn gone(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("{what} is no longer there"))
}
