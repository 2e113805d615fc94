//! Fitting the correction that a form leaves over: ridge-regularised grids, enabled only where cross-validation gains.
//!
//! The unknowns are the values at the knots of all grids together. They minimise the robust loss of what the form left
//! over, plus a ridge that pulls each value to zero and a smoothness term that pulls neighbours together; solved by
//! reweighted conjugate gradients. The ridge is chosen among candidates by k-fold cross-validation.

use crate::stats::median;
use cost::kernels::{Axis, Grid, Residual};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use rayon::prelude::*;

/// One axis to interpolate along.
#[derive(Debug, Clone, PartialEq)]
pub struct AxisPlan {
    /// Its name, unique in the plan.
    pub name: String,
    /// Which feature it reads.
    pub feature: usize,
    /// Knots in natural units, ascending, positive.
    pub knots: Vec<f64>,
}

impl AxisPlan {
    /// An axis over the values that occur: each of them if they are at most `max`, else their quantiles.
    pub fn over(name: &str, feature: usize, values: impl IntoIterator<Item = f64>, max: usize) -> Self {
        let mut all: Vec<f64> = values.into_iter().filter(|value| *value > 0.0).collect();
        all.sort_by(f64::total_cmp);
        let mut distinct = all.clone();
        distinct.dedup();
        let knots = if distinct.len() <= max || max < 2 {
            distinct
        } else {
            // Quantiles of the distinct values, so that a popular size does not swallow the axis.
            let last = (distinct.len() - 1) as f64;
            let mut knots: Vec<f64> =
                (0..max).map(|i| distinct[(i as f64 * last / (max - 1) as f64).round() as usize]).collect();
            knots.dedup();
            knots
        };
        Self { name: name.to_owned(), feature, knots }
    }
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridPlan {
    /// Indices of its axes in [`GridOptions::axes`].
    pub axes: Vec<usize>,
}

/// What to fit and how.
#[derive(Debug, Clone, PartialEq)]
pub struct GridOptions {
    /// Axes; those with fewer than two knots drop out with their grids.
    pub axes: Vec<AxisPlan>,
    /// Tables whose values add up.
    pub grids: Vec<GridPlan>,
    /// Candidates for the ridge weight, in rows: a value with that many rows on it is pulled half way to zero.
    pub ridges: Vec<f64>,
    /// Weight of differences between neighbouring values relative to the ridge.
    pub smoothness: f64,
    /// Scale of the robust loss in ln(time).
    pub scale: f64,
    /// Folds of the cross-validation.
    pub folds: usize,
    /// Relative gain in the median absolute residual, over all folds, below which no correction is kept.
    pub min_gain: f64,
    /// Seed of the folds.
    pub seed: u64,
}

impl Default for GridOptions {
    fn default() -> Self {
        Self {
            axes: Vec::new(),
            grids: Vec::new(),
            ridges: vec![0.5, 1.5, 4.0, 12.0],
            smoothness: 1.0,
            scale: 0.1,
            folds: 5,
            min_gain: 0.03,
            seed: 0,
        }
    }
}

/// Fits the correction to `leftover`, the ln(measured / form) of rows with `features`. `None` if cross-validation
/// does not gain `min_gain`.
pub fn fit_residual(features: &[Vec<f64>], leftover: &[f64], options: &GridOptions) -> Option<Residual> {
    let shape = skeleton(options)?;
    if leftover.len() < 2 * options.folds.max(2) {
        return None;
    }
    let design = Design::new(&shape, features, options.smoothness);
    let mut order: Vec<usize> = (0..leftover.len()).collect();
    order.shuffle(&mut Pcg64::seed_from_u64(options.seed));
    let size = |values: &[f64]| median(&values.iter().map(|value| value.abs()).collect::<Vec<_>>());
    let before = size(leftover);
    let best = options
        .ridges
        .par_iter()
        .map(|ridge| {
            let mut after = vec![0.0; leftover.len()];
            for fold in 0..options.folds {
                let (test, train): (Vec<_>, Vec<_>) =
                    order.iter().enumerate().partition(|(i, _)| i % options.folds == fold);
                let train: Vec<usize> = train.into_iter().map(|(_, row)| *row).collect();
                let values = design.solve(&train, leftover, *ridge, options.scale);
                for (_, row) in test {
                    after[*row] = leftover[*row] - design.at(*row, &values);
                }
            }
            (size(&after), *ridge)
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    if best.0 > before * (1.0 - options.min_gain) {
        return None;
    }
    let values = design.solve(&order, leftover, best.1, options.scale);
    Some(design.fill(shape, &values))
}

fn skeleton(options: &GridOptions) -> Option<Residual> {
    let kept: Vec<usize> =
        (0..options.axes.len()).filter(|axis| options.axes[*axis].knots.len() >= 2).collect();
    let axes = kept
        .iter()
        .map(|axis| {
            let plan = &options.axes[*axis];
            Axis { name: plan.name.clone(), knots: plan.knots.iter().map(|knot| knot.ln()).collect() }
        })
        .collect::<Vec<_>>();
    let features = kept.iter().map(|axis| options.axes[*axis].feature).collect();
    let grids = options
        .grids
        .iter()
        .filter_map(|plan| {
            let axes: Option<Vec<usize>> =
                plan.axes.iter().map(|axis| kept.iter().position(|kept| kept == axis)).collect();
            axes
        })
        .map(|list| {
            let cells = list.iter().map(|axis| axes[*axis].knots.len()).product();
            Grid { axes: list, values: vec![0.0; cells] }
        })
        .collect::<Vec<_>>();
    let residual = Residual { axes, features, grids };
    (!residual.is_empty() && residual.check().is_ok()).then_some(residual)
}

/// The linear problem: which unknowns each row touches, and which are neighbours.
struct Design {
    rows: Vec<Vec<(u32, f64)>>,
    neighbours: Vec<(u32, u32)>,
    smoothness: f64,
    offsets: Vec<usize>,
    unknowns: usize,
}

impl Design {
    fn new(shape: &Residual, features: &[Vec<f64>], smoothness: f64) -> Self {
        let mut offsets = Vec::new();
        let mut unknowns = 0;
        let mut neighbours = Vec::new();
        for grid in &shape.grids {
            offsets.push(unknowns);
            let sizes: Vec<usize> = grid.axes.iter().map(|axis| shape.axes[*axis].knots.len()).collect();
            let mut stride = 1;
            for size in sizes.iter().rev() {
                for cell in 0..grid.values.len() {
                    if (cell / stride) % size + 1 < *size {
                        neighbours.push(((unknowns + cell) as u32, (unknowns + cell + stride) as u32));
                    }
                }
                stride *= size;
            }
            unknowns += grid.values.len();
        }
        let rows = features
            .iter()
            .map(|features| {
                let mut row = Vec::new();
                shape.visit(features, |grid, cell, weight| row.push(((offsets[grid] + cell) as u32, weight)));
                row
            })
            .collect();
        Self { rows, neighbours, smoothness, offsets, unknowns }
    }

    fn at(&self, row: usize, values: &[f64]) -> f64 {
        self.rows[row].iter().map(|(unknown, weight)| weight * values[*unknown as usize]).sum()
    }

    /// Reweighted least squares: each round solves with the weights `1 / sqrt(1 + (r/f)^2)` of the round before.
    fn solve(&self, rows: &[usize], leftover: &[f64], ridge: f64, scale: f64) -> Vec<f64> {
        let mut values = vec![0.0; self.unknowns];
        for _ in 0..ROUNDS {
            let weights: Vec<f64> = rows
                .iter()
                .map(|row| {
                    let z = (leftover[*row] - self.at(*row, &values)) / scale;
                    1.0 / (1.0 + z * z).sqrt()
                })
                .collect();
            self.descend(rows, leftover, &weights, ridge, &mut values);
        }
        values
    }

    /// Conjugate gradients on the normal equations, from the values given.
    fn descend(&self, rows: &[usize], leftover: &[f64], weights: &[f64], ridge: f64, values: &mut [f64]) {
        let mut gradient = vec![0.0; self.unknowns];
        for (row, weight) in rows.iter().zip(weights) {
            for (unknown, share) in &self.rows[*row] {
                gradient[*unknown as usize] += weight * share * leftover[*row];
            }
        }
        let applied = self.apply(rows, weights, ridge, values);
        gradient.iter_mut().zip(&applied).for_each(|(g, a)| *g -= a);
        let mut direction = gradient.clone();
        let mut norm: f64 = gradient.iter().map(|g| g * g).sum();
        let target = norm * 1e-8;
        for _ in 0..CG_STEPS {
            if norm <= target || norm == 0.0 {
                break;
            }
            let applied = self.apply(rows, weights, ridge, &direction);
            let curvature: f64 = direction.iter().zip(&applied).map(|(d, a)| d * a).sum();
            let step = norm / curvature;
            values.iter_mut().zip(&direction).for_each(|(v, d)| *v += step * d);
            gradient.iter_mut().zip(&applied).for_each(|(g, a)| *g -= step * a);
            let next: f64 = gradient.iter().map(|g| g * g).sum();
            let keep = next / norm;
            direction.iter_mut().zip(&gradient).for_each(|(d, g)| *d = g + keep * *d);
            norm = next;
        }
    }

    fn apply(&self, rows: &[usize], weights: &[f64], ridge: f64, values: &[f64]) -> Vec<f64> {
        let mut out: Vec<f64> = values.iter().map(|value| ridge * value).collect();
        let smooth = ridge * self.smoothness;
        for (a, b) in &self.neighbours {
            let pull = smooth * (values[*a as usize] - values[*b as usize]);
            out[*a as usize] += pull;
            out[*b as usize] -= pull;
        }
        for (row, weight) in rows.iter().zip(weights) {
            let pull = weight * self.at(*row, values);
            for (unknown, share) in &self.rows[*row] {
                out[*unknown as usize] += share * pull;
            }
        }
        out
    }

    fn fill(&self, mut shape: Residual, values: &[f64]) -> Residual {
        for (grid, offset) in shape.grids.iter_mut().zip(&self.offsets) {
            let cells = grid.values.len();
            // The precision of the file, so that a profile read back predicts the same.
            grid.values =
                values[*offset..offset + cells].iter().map(|value| (value * 1e3).round() * 1e-3).collect();
        }
        shape
    }
}

/// Rounds of reweighting; the weights have settled by then.
const ROUNDS: usize = 3;
/// Steps of conjugate gradients per round; the ridge keeps the problem well conditioned.
const CG_STEPS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fnv1a;

    fn points() -> Vec<Vec<f64>> {
        (0..400)
            .map(|i| vec![2f64.powf(f64::from(i % 20) * 0.6), 2f64.powf(f64::from(i / 20) * 0.5)])
            .collect()
    }

    fn options(points: &[Vec<f64>]) -> GridOptions {
        let axis = |name, feature| AxisPlan::over(name, feature, points.iter().map(|p| p[feature]), 10);
        GridOptions {
            axes: vec![axis("m", 0), axis("n", 1)],
            grids: vec![GridPlan { axes: vec![0, 1] }],
            ..GridOptions::default()
        }
    }

    #[test]
    fn a_smooth_leftover_is_learnt() {
        let points = points();
        let leftover: Vec<f64> = points.iter().map(|p| 0.2 * (p[0].ln() * 0.7).sin()).collect();
        let residual = fit_residual(&points, &leftover, &options(&points)).unwrap();
        let left: Vec<f64> =
            points.iter().zip(&leftover).map(|(p, l)| (l - residual.log_correction(p)).abs()).collect();
        assert!(median(&left) < 0.025, "{}", median(&left));
    }

    #[test]
    fn noise_is_not_learnt() {
        let points = points();
        let noise: Vec<f64> = (0..400_u64)
            .map(|i| 0.2 * (fnv1a(&i.to_le_bytes()) >> 40) as f64 / f64::from(1 << 24) - 0.1)
            .collect();
        assert_eq!(fit_residual(&points, &noise, &options(&points)), None);
    }
}
