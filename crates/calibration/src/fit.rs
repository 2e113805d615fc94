//! Bounded, robust, nonlinear least squares for the few coefficients of a cost form.
//!
//! Coefficients are fitted in natural logarithm inside box bounds. A residual is `ln(model) - ln(measured)`, passed
//! through soft-L1 with scale `f`, `2 f^2 (sqrt(1 + (r/f)^2) - 1)`: quadratic for small residuals, linear for
//! outliers. Log-normal priors enter as further residuals, `weight * f * (ln p - ln prior) / sd`, through the same
//! function. Several starts are screened on few rows, the best are polished on more; starts run in parallel and the
//! result does not depend on how.
//!
//! ```
//! use supernode_calibration::fit::{FitOptions, Problem, fit};
//! use cost::kernels::ParamSpec;
//! // t = t0 + bytes / (e * 1 TB/s)
//! let specs = [
//!     ParamSpec::new("t0", "s", "launch latency", 1e-7, 1e-3, 5e-6, 1.0),
//!     ParamSpec::new("e", "", "share of bandwidth", 0.05, 1.2, 0.7, 0.5),
//! ];
//! let rows: Vec<f64> = (0..40).map(|i| 1e3 * 1.5_f64.powi(i)).collect();
//! let model = |p: &[f64], bytes: &f64| p[0] + bytes / (p[1] * 1e12);
//! let seconds: Vec<f64> = rows.iter().map(|bytes| model(&[2e-6, 0.8], bytes)).collect();
//! let fitted = fit(&Problem { specs: &specs, rows: &rows, seconds: &seconds, model: &model }, &FitOptions::default());
//! assert!((fitted.params[1] - 0.8).abs() < 0.01);
//! ```

mod least_squares;
mod residual_grid;

pub use least_squares::{Fit, FitOptions, Problem, fit};
pub use residual_grid::{AxisPlan, GridOptions, GridPlan, fit_residual};
