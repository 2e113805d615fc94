//! The library for Python, over its facade alone: questions come as JSON, answers go as JSON and text; rows go as Arrow.
//!
//! Everything that people see is in the package's Python; this is its foot.

mod errors;
mod policy;
mod recorder;
mod server;
mod sessions;
mod simulate;
mod sweeps;
mod table;
mod verbs;
mod work;

use pyo3::prelude::*;

/// The native part of the package `supernode`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(verbs::ask, module)?)?;
    module.add_function(wrap_pyfunction!(verbs::point_keys, module)?)?;
    module.add_function(wrap_pyfunction!(simulate::simulate, module)?)?;
    module.add_function(wrap_pyfunction!(sweeps::sweep_rows, module)?)?;
    module.add_function(wrap_pyfunction!(server::bring_up, module)?)?;
    module.add_function(wrap_pyfunction!(server::replay, module)?)?;
    module.add_class::<table::Table>()?;
    module.add_class::<policy::RequestView>()?;
    module.add_class::<policy::InstanceView>()?;
    module.add_class::<policy::PoolView>()?;
    module.add_class::<sweeps::SweepPlan>()?;
    module.add_class::<sweeps::SweepStore>()?;
    module.add_class::<sweeps::SweepEvaluator>()?;
    module.add_class::<server::LiveServer>()
}
