//! The solver: Levenberg-Marquardt on transformed coefficients, many starts.

use cost::kernels::ParamSpec;
use levenberg_marquardt::{LeastSquaresProblem, LevenbergMarquardt};
use nalgebra::{DMatrix, DVector, Dyn, Owned};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_distr::{Distribution, Normal};
use rand_pcg::Pcg64;
use rayon::prelude::*;

/// What is fitted to what.
#[derive(Debug)]
pub struct Problem<'a, Row, Model> {
    /// Coefficients with bounds and priors.
    pub specs: &'a [ParamSpec],
    /// Shapes measured.
    pub rows: &'a [Row],
    /// Their measured times, seconds; all positive.
    pub seconds: &'a [f64],
    /// Time in seconds for coefficient values (natural units, order of `specs`) and a row.
    pub model: &'a Model,
}

impl<Row, Model> Clone for Problem<'_, Row, Model> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Row, Model> Copy for Problem<'_, Row, Model> {}

/// How to search.
#[derive(Debug, Clone, PartialEq)]
pub struct FitOptions {
    /// Scale of the robust loss in ln(time): residuals well beyond it count linearly.
    pub scale: f64,
    /// Weight of the priors: 0.5 for a fresh fit, 1 with few rows, 20 to stay at a sibling's values.
    pub prior_weight: f64,
    /// Starts besides the priors' centres.
    pub starts: Vec<Vec<f64>>,
    /// Random starts, log-normal around the priors' centres.
    pub random_starts: usize,
    /// Their standard deviation in natural logarithm.
    pub start_sd: f64,
    /// Rows that starts are compared on.
    pub screen_rows: usize,
    /// Iterations of a screening run.
    pub screen_iterations: usize,
    /// Starts that are polished.
    pub keep: usize,
    /// Rows of the final fit; 0 stops after the screening.
    pub polish_rows: usize,
    /// Iterations of the final fit.
    pub polish_iterations: usize,
    /// Seed of row samples and random starts.
    pub seed: u64,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            scale: 0.15,
            prior_weight: 0.5,
            starts: Vec::new(),
            random_starts: 3,
            start_sd: 0.8,
            screen_rows: 350,
            screen_iterations: 15,
            keep: 2,
            polish_rows: 2500,
            polish_iterations: 40,
            seed: 0,
        }
    }
}

impl FitOptions {
    /// For a handful of rows (fewer than 64): one start at the priors, which are a relative's coefficients.
    pub fn few_shot() -> Self {
        Self { prior_weight: 1.0, random_starts: 0, keep: 1, ..Self::default() }
    }

    /// For rows that lack something a relative knows, such as the large sizes: held at its coefficients.
    #[must_use]
    pub fn held(&self) -> Self {
        Self { prior_weight: HELD_WEIGHT, random_starts: 0, ..self.clone() }
    }

    /// For comparing structures: screening only.
    #[must_use]
    pub fn short(&self) -> Self {
        Self { polish_rows: 0, keep: 1, ..self.clone() }
    }
}

/// Weight of priors that hold a fit near a relative's coefficients.
const HELD_WEIGHT: f64 = 20.0;

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Values in natural units, in the order of the specs.
    pub params: Vec<f64>,
    /// Mean robust loss per row, priors included.
    pub cost: f64,
    /// Standard deviation of each coefficient's logarithm, from the Jacobian at the optimum.
    pub spread: Vec<f64>,
    /// Covariance of the logarithms, row by row.
    pub covariance: Vec<Vec<f64>>,
    /// Whether each sits at a bound.
    pub pinned: Vec<bool>,
}

/// Fits the coefficients. Always returns the best point seen; with no rows that is the priors' centre.
pub fn fit<Row, Model>(problem: &Problem<'_, Row, Model>, options: &FitOptions) -> Fit
where
    Row: Sync,
    Model: Fn(&[f64], &Row) -> f64 + Sync,
{
    let mut rng = Pcg64::seed_from_u64(options.seed);
    let mut order: Vec<usize> = (0..problem.rows.len()).collect();
    order.shuffle(&mut rng);
    let starts = starting_points(problem.specs, options, &mut rng);
    let screen = &order[..order.len().min(options.screen_rows)];
    let mut screened: Vec<(f64, Vec<f64>)> = starts
        .into_par_iter()
        .map(|start| Solver::new(*problem, screen, options, &start).run(options.screen_iterations))
        .collect();
    screened.sort_by(|a, b| a.0.total_cmp(&b.0));
    screened.truncate(options.keep.max(1));
    let rows = if options.polish_rows == 0 { screen } else { &order[..order.len().min(options.polish_rows)] };
    if options.polish_rows > 0 {
        screened = screened
            .into_par_iter()
            .map(|(_, start)| Solver::new(*problem, rows, options, &start).run(options.polish_iterations))
            .collect();
        screened.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let (cost, params) = screened.swap_remove(0);
    Solver::new(*problem, rows, options, &params).summary(cost, params)
}

fn starting_points(specs: &[ParamSpec], options: &FitOptions, rng: &mut Pcg64) -> Vec<Vec<f64>> {
    let centre: Vec<f64> = specs.iter().map(|spec| spec.prior).collect();
    let mut starts = vec![centre.clone()];
    starts.extend(options.starts.iter().cloned());
    if let Ok(normal) = Normal::new(0.0, options.start_sd) {
        for _ in 0..options.random_starts {
            starts.push(centre.iter().map(|value| value * normal.sample(rng).exp()).collect());
        }
    }
    starts
}

/// Coefficients as the solver sees them: `ln p = middle + half * sin(x)`, which keeps them inside their bounds.
struct Transform {
    middle: Vec<f64>,
    half: Vec<f64>,
}

/// Share of the logarithmic range next to a bound that counts as sitting at it.
const AT_BOUND: f64 = 0.005;

impl Transform {
    fn new(specs: &[ParamSpec]) -> Self {
        let ranges = specs.iter().map(|spec| (spec.lower.ln(), spec.upper.ln()));
        let (middle, half) =
            ranges.map(|(low, high)| (0.5 * (low + high), (0.5 * (high - low)).max(1e-9))).unzip();
        Self { middle, half }
    }

    fn inward(&self, params: &[f64]) -> DVector<f64> {
        DVector::from_iterator(
            params.len(),
            params.iter().enumerate().map(|(j, value)| {
                let share = (value.ln() - self.middle[j]) / self.half[j];
                // A start on the bound itself would have no slope there.
                share.clamp(-1.0 + AT_BOUND, 1.0 - AT_BOUND).asin()
            }),
        )
    }

    fn log(&self, j: usize, x: f64) -> f64 {
        self.middle[j] + self.half[j] * x.sin()
    }
}

struct Solver<'a, Row, Model> {
    problem: Problem<'a, Row, Model>,
    rows: &'a [usize],
    options: &'a FitOptions,
    transform: Transform,
    x: DVector<f64>,
    logs: Vec<f64>,
    /// ln(model) - ln(measured) per row at `x`.
    raw: Vec<f64>,
}

impl<'a, Row, Model> Solver<'a, Row, Model>
where
    Model: Fn(&[f64], &Row) -> f64,
{
    fn new(
        problem: Problem<'a, Row, Model>,
        rows: &'a [usize],
        options: &'a FitOptions,
        start: &[f64],
    ) -> Self {
        let transform = Transform::new(problem.specs);
        let x = transform.inward(start);
        let mut solver = Self { problem, rows, options, transform, x, logs: Vec::new(), raw: Vec::new() };
        solver.refresh();
        solver
    }

    fn refresh(&mut self) {
        self.logs = self.x.iter().enumerate().map(|(j, x)| self.transform.log(j, *x)).collect();
        self.raw = self.log_ratios(&self.logs);
    }

    fn log_ratios(&self, logs: &[f64]) -> Vec<f64> {
        let params: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
        self.rows
            .iter()
            .map(|row| {
                let predicted = (self.problem.model)(&params, &self.problem.rows[*row]);
                // A form that breaks down at extreme coefficients must not stop the search.
                let predicted = if predicted.is_finite() { predicted.max(1e-15) } else { 1e6 };
                predicted.ln() - self.problem.seconds[*row].ln()
            })
            .collect()
    }

    /// Prior residuals before the robust loss, and their slope in ln p.
    fn priors(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.problem.specs.iter().zip(&self.logs).map(|(spec, log)| {
            let slope = self.options.prior_weight * self.options.scale / spec.prior_sd;
            (slope * (log - spec.prior.ln()), slope)
        })
    }

    /// Residuals with the loss as their square, and the slope of each with respect to its raw residual.
    fn robust(&self, raw: f64) -> (f64, f64) {
        let z = raw / self.options.scale;
        let s = (1.0 + z * z).sqrt();
        let shrink = (2.0 / (s + 1.0)).sqrt();
        (raw * shrink, 1.0 / (s * shrink))
    }

    fn cost(&self) -> f64 {
        let rows: f64 = self.raw.iter().map(|raw| self.robust(*raw).0.powi(2)).sum();
        let priors: f64 = self.priors().map(|(raw, _)| self.robust(raw).0.powi(2)).sum();
        (rows + priors) / self.rows.len().max(1) as f64
    }

    fn run(self, iterations: usize) -> (f64, Vec<f64>) {
        let params = |solver: &Self| solver.logs.iter().map(|log| log.exp()).collect::<Vec<f64>>();
        let before = (self.cost(), params(&self));
        // The solver's patience counts evaluations of the residuals per coefficient.
        let patience = iterations.div_ceil(self.problem.specs.len() + 1).max(1);
        let search = LevenbergMarquardt::new().with_patience(patience).with_ftol(1e-5).with_xtol(1e-5);
        let (solved, _) = search.minimize(self);
        let after = (solved.cost(), params(&solved));
        if after.0 <= before.0 { after } else { before }
    }

    /// Slopes of the raw residuals in ln p, one column per coefficient.
    fn slopes(&self) -> DMatrix<f64> {
        let mut slopes = DMatrix::zeros(self.rows.len(), self.logs.len());
        for j in 0..self.logs.len() {
            let mut logs = self.logs.clone();
            let step = if self.logs[j] > self.transform.middle[j] { -STEP } else { STEP };
            logs[j] += step;
            for (i, moved) in self.log_ratios(&logs).into_iter().enumerate() {
                slopes[(i, j)] = (moved - self.raw[i]) / step;
            }
        }
        slopes
    }

    fn summary(&self, cost: f64, params: Vec<f64>) -> Fit {
        let n = params.len();
        let mut information = DMatrix::<f64>::zeros(n, n);
        let slopes = self.slopes();
        for i in 0..self.rows.len() {
            let (_, weight) = self.robust(self.raw[i]);
            let row = slopes.row(i) * weight;
            information += row.transpose() * row;
        }
        for (j, (_, slope)) in self.priors().enumerate() {
            information[(j, j)] += slope * slope;
        }
        let variance = cost.max(1e-8);
        let covariance = information
            .cholesky()
            .map_or_else(|| DMatrix::from_diagonal_element(n, n, f64::INFINITY), |c| c.inverse() * variance);
        let pinned = self
            .problem
            .specs
            .iter()
            .zip(&params)
            .map(|(spec, value)| {
                let range = (spec.upper / spec.lower).ln();
                let near = (value / spec.lower).ln().min((spec.upper / value).ln());
                near < 2.0 * AT_BOUND * range
            })
            .collect();
        Fit {
            spread: (0..n).map(|j| covariance[(j, j)].sqrt()).collect(),
            covariance: (0..n).map(|i| covariance.row(i).iter().copied().collect()).collect(),
            params,
            cost,
            pinned,
        }
    }
}

/// Forward-difference step in ln p; larger than rounding, smaller than the kinks of the forms.
const STEP: f64 = 1e-4;

impl<Row, Model> LeastSquaresProblem<f64, Dyn, Dyn> for Solver<'_, Row, Model>
where
    Model: Fn(&[f64], &Row) -> f64,
{
    type ParameterStorage = Owned<f64, Dyn>;
    type ResidualStorage = Owned<f64, Dyn>;
    type JacobianStorage = Owned<f64, Dyn, Dyn>;

    fn set_params(&mut self, x: &DVector<f64>) {
        self.x.copy_from(x);
        self.refresh();
    }

    fn params(&self) -> DVector<f64> {
        self.x.clone()
    }

    fn residuals(&self) -> Option<DVector<f64>> {
        let priors = self.priors().map(|(raw, _)| raw);
        let all = self.raw.iter().copied().chain(priors).map(|raw| self.robust(raw).0);
        Some(DVector::from_iterator(self.rows.len() + self.logs.len(), all))
    }

    fn jacobian(&self) -> Option<DMatrix<f64>> {
        let rows = self.rows.len();
        let mut jacobian = DMatrix::zeros(rows + self.logs.len(), self.logs.len());
        let slopes = self.slopes();
        let inner: Vec<f64> =
            self.x.iter().enumerate().map(|(j, x)| self.transform.half[j] * x.cos()).collect();
        for i in 0..rows {
            let (_, weight) = self.robust(self.raw[i]);
            for j in 0..self.logs.len() {
                jacobian[(i, j)] = slopes[(i, j)] * weight * inner[j];
            }
        }
        for (j, (raw, slope)) in self.priors().enumerate() {
            jacobian[(rows + j, j)] = slope * self.robust(raw).1 * inner[j];
        }
        Some(jacobian)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: [ParamSpec; 3] = [
        ParamSpec::new("t0", "s", "launch latency", 1e-7, 1e-3, 5e-6, 1.0),
        ParamSpec::new("ec", "", "share of peak", 0.05, 1.0, 0.6, 0.5),
        ParamSpec::new("em", "", "share of bandwidth", 0.05, 1.2, 0.7, 0.5),
    ];

    fn model(p: &[f64], row: &(f64, f64)) -> f64 {
        p[0] + (row.0 / (p[1] * 1e15)).max(row.1 / (p[2] * 3e12))
    }

    fn rows() -> Vec<(f64, f64)> {
        (0..300)
            .map(|i| (1e8 * 1.05_f64.powi(i % 100) * f64::from(1 + i % 7), 1e4 * 1.1_f64.powi(i % 83)))
            .collect()
    }

    fn fitted(outliers: usize, options: &FitOptions) -> Fit {
        let rows = rows();
        let mut seconds: Vec<f64> = rows.iter().map(|row| model(&[3e-6, 0.55, 0.8], row)).collect();
        seconds.iter_mut().step_by(10).take(outliers).for_each(|t| *t *= 4.0);
        fit(&Problem { specs: &SPECS, rows: &rows, seconds: &seconds, model: &model }, options)
    }

    #[test]
    fn known_coefficients_are_found_among_outliers() {
        for outliers in [0, 20] {
            let fit = fitted(outliers, &FitOptions::default());
            for (found, true_value) in fit.params.iter().zip([3e-6, 0.55, 0.8]) {
                assert!((found / true_value).ln().abs() < 0.02, "{outliers} outliers: {:?}", fit.params);
            }
            assert!(fit.pinned.iter().all(|pinned| !pinned) && fit.spread.iter().all(|s| *s < 0.1));
        }
    }

    #[test]
    fn a_strong_prior_holds_and_a_bound_is_reported() {
        let heavy = FitOptions { prior_weight: 1e4, ..FitOptions::default() };
        assert!((fitted(0, &heavy).params[1] - 0.6).abs() < 0.03);
        let mut specs = SPECS;
        specs[2].upper = 0.75;
        let rows = rows();
        let seconds: Vec<f64> = rows.iter().map(|row| model(&[3e-6, 0.55, 0.8], row)).collect();
        let problem = Problem { specs: &specs, rows: &rows, seconds: &seconds, model: &model };
        assert!(fit(&problem, &FitOptions::default()).pinned[2]);
    }

    #[test]
    fn the_same_rows_give_the_same_bits() {
        assert_eq!(fitted(20, &FitOptions::default()), fitted(20, &FitOptions::default()));
    }
}
