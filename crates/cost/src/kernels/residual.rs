//! What is left of the measurements after the form: a sum of small grids over logarithms of the shape.
//!
//! A grid interpolates log(measured / form) linearly in the logarithm of each of its axes. Several grids over
//! different axes add up (main effects on fine axes, interactions on coarse ones). Outside the measured range of an
//! axis the correction fades to nothing within one factor of e, so that extrapolation is left to the form.

use std::fmt::Write as _;

/// One axis of a grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Name of the feature, for example `m`; the family says what it means.
    pub name: String,
    /// Strictly ascending natural logarithms of the feature at the knots.
    pub knots: Vec<f64>,
}

/// A table of log-residuals over some of the axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Indices of its axes in [`Residual::axes`].
    pub axes: Vec<usize>,
    /// Log-residuals, last axis fastest.
    pub values: Vec<f64>,
}

/// The correction of one kernel set.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Residual {
    /// Axes that grids refer to; two axes may read the same feature with different knots.
    pub axes: Vec<Axis>,
    /// The feature each axis reads, as an index into the family's features.
    pub features: Vec<usize>,
    /// The tables; their interpolated values add up.
    pub grids: Vec<Grid>,
}

/// A residual that does not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResidualError {
    /// Knots that do not ascend, or fewer than two.
    #[error("axis `{0}` needs at least two ascending positive knots")]
    Knots(String),
    /// A grid over an axis that is not there.
    #[error("a grid uses the axis `{0}`, which is not in `axes`")]
    UnknownAxis(String),
    /// A table of the wrong size.
    #[error("a grid over {axes} needs {wanted} values and has {found}")]
    Size {
        /// Its axes.
        axes: String,
        /// Product of the axes' knots.
        wanted: usize,
        /// Values given.
        found: usize,
    },
    /// Something in the table that is no whole number.
    #[error("`{0}` in a grid is not a whole number of thousandths")]
    Number(String),
    /// More features than a residual may read.
    #[error("a residual may read at most {max} features and this reads {found}", max = Residual::MAX_FEATURES)]
    TooManyFeatures {
        /// Features named.
        found: usize,
    },
    /// More axes than a grid may have.
    #[error("a grid may have at most {max} axes and this has {found}", max = Residual::MAX_GRID_AXES)]
    TooManyAxes {
        /// Axes given.
        found: usize,
    },
}

impl Axis {
    /// The interval of `x` (a logarithm) and its position in it from 0 to 1, clamped to the knots.
    fn locate(&self, x: f64) -> (usize, f64) {
        let last = self.knots.len() - 1;
        let upper = self.knots.partition_point(|knot| *knot <= x).clamp(1, last);
        let (a, b) = (self.knots[upper - 1], self.knots[upper]);
        (upper - 1, ((x - a) / (b - a)).clamp(0.0, 1.0))
    }

    /// How much of the correction is left at `x`: 1 inside the knots, falling to 0 one factor of e outside.
    fn fade(&self, x: f64) -> f64 {
        let (first, last) = (self.knots[0], self.knots[self.knots.len() - 1]);
        let outside = (first - x).max(x - last).max(0.0);
        (1.0 - outside).max(0.0)
    }
}

impl Residual {
    /// This correction and another one of the same features, added up. Axes of `other` keep their names behind `prefix`.
    #[must_use]
    pub fn and(mut self, other: &Self, prefix: &str) -> Self {
        let shift = self.axes.len();
        self.axes.extend(other.axes.iter().map(|axis| {
            let name = format!("{prefix}{}", axis.name);
            Axis { name, knots: axis.knots.clone() }
        }));
        self.features.extend(&other.features);
        self.grids.extend(other.grids.iter().map(|grid| {
            let axes = grid.axes.iter().map(|axis| axis + shift).collect();
            Grid { axes, values: grid.values.clone() }
        }));
        self
    }

    /// Axes a single grid may have.
    pub const MAX_GRID_AXES: usize = 4;
    /// Features a family may have.
    pub const MAX_FEATURES: usize = 16;

    /// Whether there is nothing to add.
    pub fn is_empty(&self) -> bool {
        self.grids.is_empty()
    }

    /// Checks sizes and order.
    ///
    /// # Errors
    /// If knots do not ascend, a grid names a missing axis, or a table has the wrong size.
    pub fn check(&self) -> Result<(), ResidualError> {
        for axis in &self.axes {
            let ascending = axis.knots.windows(2).all(|pair| pair[0] < pair[1]);
            if axis.knots.len() < 2 || !ascending || axis.knots.iter().any(|knot| !knot.is_finite()) {
                return Err(ResidualError::Knots(axis.name.clone()));
            }
        }
        if let Some(feature) = self.features.iter().find(|feature| **feature >= Self::MAX_FEATURES) {
            return Err(ResidualError::TooManyFeatures { found: feature + 1 });
        }
        for grid in &self.grids {
            if grid.axes.len() > Self::MAX_GRID_AXES {
                return Err(ResidualError::TooManyAxes { found: grid.axes.len() });
            }
            if let Some(axis) = grid.axes.iter().find(|axis| **axis >= self.axes.len()) {
                return Err(ResidualError::UnknownAxis(axis.to_string()));
            }
            let wanted = grid.axes.iter().map(|axis| self.axes[*axis].knots.len()).product();
            if grid.values.len() != wanted {
                let names: Vec<&str> = grid.axes.iter().map(|axis| self.axes[*axis].name.as_str()).collect();
                return Err(ResidualError::Size {
                    axes: names.join(" x "),
                    wanted,
                    found: grid.values.len(),
                });
            }
        }
        Ok(())
    }

    /// The correction to the logarithm of the time for `features` (natural units, in the family's order).
    pub fn log_correction(&self, features: &[f64]) -> f64 {
        let mut total = 0.0;
        self.visit(features, |grid, cell, weight| total += weight * self.grids[grid].values[cell]);
        total
    }

    /// Every cell that takes part at `features` with its weight: `(grid, cell, weight)`. The correction is the sum of
    /// weight times value, so this is also the design matrix of a fit.
    pub fn visit(&self, features: &[f64], mut each: impl FnMut(usize, usize, f64)) {
        let mut logs = [0.0; Self::MAX_FEATURES];
        for (log, feature) in logs.iter_mut().zip(features) {
            *log = feature.max(f64::MIN_POSITIVE).ln();
        }
        let at = |axis: usize| {
            self.features.get(axis).and_then(|feature| logs.get(*feature)).copied().unwrap_or(0.0)
        };
        let fade = self.axes.iter().enumerate().map(|(i, axis)| axis.fade(at(i))).fold(1.0, f64::min);
        if fade <= 0.0 {
            return;
        }
        for (index, grid) in self.grids.iter().enumerate() {
            let mut corners = [(0_usize, fade); 1 << Self::MAX_GRID_AXES];
            let mut used = 1;
            for axis in &grid.axes {
                let (low, share) = self.axes[*axis].locate(at(*axis));
                let size = self.axes[*axis].knots.len();
                for i in 0..used {
                    let (cell, weight) = corners[i];
                    corners[i] = (cell * size + low, weight * (1.0 - share));
                    corners[used + i] = (cell * size + low + 1, weight * share);
                }
                used *= 2;
            }
            for (cell, weight) in corners.iter().take(used) {
                if *weight > 0.0 {
                    each(index, *cell, *weight);
                }
            }
        }
    }
}

/// A table as text: whole thousandths of a natural logarithm, one row of the last axis per line.
pub(super) fn write_values(values: &[f64], row: usize) -> String {
    let mut text = String::with_capacity(values.len() * 4);
    for (i, value) in values.iter().enumerate() {
        let separator = match i {
            0 => "",
            i if i % row.max(1) == 0 => "\n",
            _ => " ",
        };
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{separator}{}", (value * 1e3).round() as i64);
    }
    text
}

/// The inverse of [`write_values`].
pub(super) fn read_values(text: &str) -> Result<Vec<f64>, ResidualError> {
    text.split_ascii_whitespace()
        .map(|word| {
            word.parse::<i32>()
                .map(|thousandths| f64::from(thousandths) * 1e-3)
                .map_err(|_| ResidualError::Number(word.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane() -> Residual {
        let axis =
            |name: &str, knots: [f64; 3]| Axis { name: name.to_owned(), knots: knots.map(f64::ln).to_vec() };
        let (m, n): ([f64; 3], [f64; 3]) = ([1.0, 16.0, 256.0], [64.0, 512.0, 4096.0]);
        let values = m.iter().flat_map(|m| n.iter().map(move |n| 0.1 * m.ln() - 0.02 * n.ln())).collect();
        Residual {
            axes: vec![axis("m", m), axis("n", n)],
            features: vec![0, 1],
            grids: vec![Grid { axes: vec![0, 1], values }],
        }
    }

    #[test]
    fn a_plane_in_logarithms_is_reproduced() {
        let residual = plane();
        residual.check().unwrap();
        for (m, n) in [(1.0, 64.0), (3.0, 100.0), (200.0, 4096.0_f64)] {
            let expected = 0.1 * f64::ln(m) - 0.02 * n.ln();
            assert!((residual.log_correction(&[m, n]) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn outside_the_data_the_form_stands_alone() {
        let residual = plane();
        assert_eq!(residual.log_correction(&[1.0, 4096.0 * 3.0]), 0.0);
        let edge = residual.log_correction(&[256.0, 4096.0]);
        let near = residual.log_correction(&[256.0, 4096.0 * 1.2]);
        assert!(near.abs() < edge.abs() && near != 0.0, "{near} {edge}");
    }

    #[test]
    fn values_survive_being_written() {
        let values = vec![0.001, -0.25, 1.5, 0.0];
        assert_eq!(read_values(&write_values(&values, 2)).unwrap(), values);
        assert_eq!(read_values("1 x"), Err(ResidualError::Number("x".to_owned())));
    }
}
