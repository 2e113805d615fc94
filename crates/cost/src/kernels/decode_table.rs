//! Decode attention of one structure, tabulated: quick, smooth, and never falling with batch or context.

use super::attention::PricedDecode;
use crate::ops::{AttentionDecode, Bound, OpCost};
use std::sync::OnceLock;
use units::{Bytes, Flop, Seconds};

/// Points per factor of two.
const PER_OCTAVE: f64 = 4.0;
/// Batches up to 2^14 sequences; larger ones scale with the last step.
const BATCH_POINTS: usize = 14 * PER_OCTAVE as usize + 1;
/// Contexts from 2^4 to 2^23 tokens.
const CONTEXT_POINTS: usize = 19 * PER_OCTAVE as usize + 1;
/// Shortest tabulated context, log2.
const FIRST_CONTEXT: f64 = 4.0;

/// A [`PricedDecode`] with a cold cache for one structure (heads, widths, window, queries per sequence).
///
/// Times are interpolated linearly in logarithms between points a quarter of an octave apart, each at least as long as
/// those of smaller batches and shorter contexts. Points are priced when first asked for; what a table returns does
/// not depend on the order of questions.
#[derive(Debug)]
pub struct DecodeTable {
    kernel: PricedDecode,
    structure: AttentionDecode,
    points: Vec<OnceLock<Point>>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    log_time: f64,
    bound: Bound,
}

impl DecodeTable {
    /// For the heads, widths, window and queries of `structure`; its batch and context do not matter.
    pub fn new(kernel: PricedDecode, structure: AttentionDecode) -> Self {
        let points = (0..BATCH_POINTS * CONTEXT_POINTS).map(|_| OnceLock::new()).collect();
        Self { kernel, structure, points }
    }

    /// The kernel behind the table.
    pub fn kernel(&self) -> &PricedDecode {
        &self.kernel
    }

    /// Price of `batch` sequences with `context` tokens each on average (the queries included).
    pub fn price(&self, batch: f64, context: f64) -> OpCost {
        let (row, down) = place(batch.max(1.0).log2(), BATCH_POINTS);
        let (column, right) = place(context.max(1.0).log2() - FIRST_CONTEXT, CONTEXT_POINTS);
        let corner = |i: usize, j: usize| self.point(row + i, column + j);
        let nearest = corner(usize::from(down > 0.5), usize::from(right > 0.5));
        let near = corner(0, 0).log_time * (1.0 - right) + corner(0, 1).log_time * right;
        let log_time = if down == 0.0 {
            near
        } else {
            near * (1.0 - down)
                + (corner(1, 0).log_time * (1.0 - right) + corner(1, 1).log_time * right) * down
        };
        let op = AttentionDecode { batch, context, ..self.structure };
        OpCost {
            time: Seconds::new(log_time.exp()),
            bound: nearest.bound,
            flop: Flop::new(op.flop()),
            bytes: Bytes::new(self.kernel.bytes(&op)),
        }
    }

    fn point(&self, row: usize, column: usize) -> Point {
        let (row, column) = (row.min(BATCH_POINTS - 1), column.min(CONTEXT_POINTS - 1));
        *self.points[row * CONTEXT_POINTS + column].get_or_init(|| {
            let op = AttentionDecode {
                batch: (row as f64 / PER_OCTAVE).exp2(),
                context: (FIRST_CONTEXT + column as f64 / PER_OCTAVE).exp2(),
                ..self.structure
            };
            let cost = self.kernel.price(&op);
            let smaller = (row > 0).then(|| self.point(row - 1, column).log_time);
            let shorter = (column > 0).then(|| self.point(row, column - 1).log_time);
            let least = smaller.into_iter().chain(shorter).fold(f64::NEG_INFINITY, f64::max);
            Point { log_time: cost.time.get().ln().max(least), bound: cost.bound }
        })
    }
}

/// The point at or below a position in octaves and how far towards the next; clamped to the first point, beyond the
/// last one extrapolated along the last step.
fn place(octaves: f64, points: usize) -> (usize, f64) {
    let at = (octaves * PER_OCTAVE).max(0.0);
    let index = (at as usize).min(points - 2);
    (index, at - index as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{
        ATTENTION_DECODE, Axis, Choice, DECODE_FEATURES, Errors, Grid, KernelSet, Origin, Residual,
    };
    use crate::ops::attention_decode::PARAMS;
    use crate::ops::{Machine, Precision};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use units::{BytesPerSecond, Dtype, FlopPerSecond};

    /// A kernel whose correction swings by a factor between neighbouring knots, as no measured one does.
    fn kernel(swing: f64) -> PricedDecode {
        let precision = Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 };
        let axis = |name: &str, knots: &[f64]| Axis {
            name: name.to_owned(),
            knots: knots.iter().map(|knot| f64::ln(*knot)).collect(),
        };
        let residual = Residual {
            axes: vec![
                axis("context", &[16.0, 1024.0, 4096.0, 65536.0]),
                axis("caches", &[1.0, 64.0, 4096.0]),
            ],
            features: vec![0, 1],
            grids: vec![Grid {
                axes: vec![0, 1],
                values: [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 0.5, 1.0, -1.0]
                    .map(|v| v * swing)
                    .to_vec(),
            }],
        };
        let set = KernelSet {
            family: ATTENTION_DECODE.to_owned(),
            stack: String::new(),
            version: String::new(),
            kernel: String::new(),
            precision,
            form: String::new(),
            structure: BTreeMap::new(),
            params: PARAMS.iter().map(|spec| (spec.name.to_owned(), spec.prior)).collect(),
            spread: BTreeMap::new(),
            pinned: Vec::new(),
            rows: 0,
            held_out: 0,
            data: String::new(),
            sigma: 0.1,
            transfer_sigma: 0.3,
            host_bound: false,
            errors: Errors::default(),
            features: DECODE_FEATURES.iter().map(|name| (*name).to_owned()).collect(),
            residual,
        };
        let machine = Machine {
            peak: FlopPerSecond::new(1e15),
            bandwidth: BytesPerSecond::new(3e12),
            cores: 132.0,
            l2: units::Bytes::new(5e7),
        };
        let choice = Choice { set: Arc::new(set), origin: Origin::Generic, sigma: 0.1 };
        PricedDecode::new(choice, precision, machine).unwrap()
    }

    fn structure(heads: f64, kv_heads: f64, queries: f64, window: Option<f64>) -> AttentionDecode {
        AttentionDecode {
            batch: 1.0,
            queries,
            context: 1.0,
            heads,
            kv_heads,
            qk_dim: 128.0,
            v_dim: 128.0,
            kv_dim: 256.0,
            window,
        }
    }

    #[test]
    fn at_its_points_a_table_is_its_kernel() {
        let structure = structure(32.0, 8.0, 1.0, None);
        let table = DecodeTable::new(kernel(0.0), structure);
        for (batch, context) in [(1.0, 16.0), (64.0, 4096.0), (256.0, 131_072.0)] {
            let direct = table.kernel().price(&AttentionDecode { batch, context, ..structure });
            let tabulated = table.price(batch, context);
            assert!((tabulated.time / direct.time - 1.0).abs() < 1e-9, "{batch} {context}");
            assert_eq!((tabulated.flop, tabulated.bytes), (direct.flop, direct.bytes));
        }
    }

    #[test]
    fn the_order_of_questions_does_not_matter() {
        let ask = |questions: &[(f64, f64)]| {
            let table = DecodeTable::new(kernel(0.3), structure(32.0, 8.0, 1.0, None));
            questions.iter().for_each(|(batch, context)| {
                table.price(*batch, *context);
            });
            table.price(37.0, 3000.0).time
        };
        assert_eq!(ask(&[(300.0, 9000.0), (1.0, 20.0)]), ask(&[]));
    }

    proptest! {
        #[test]
        fn the_form_never_falls(
            batch in 0.5..2000.0_f64, context in 2.0..200_000.0_f64, more in 1.0..3.0_f64,
            group in 0_u32..7, kv_heads in 1_u32..9, queries in 1_u32..5, window in proptest::option::of(1.0..9000.0_f64),
        ) {
            let kernel = kernel(0.0);
            let heads = f64::from(kv_heads) * f64::from(1_u32 << group);
            let op = AttentionDecode { batch, context, ..structure(heads, f64::from(kv_heads), f64::from(queries), window) };
            let time = |op: AttentionDecode| kernel.price(&op).time.get();
            let slack = 1.0 + 1e-9;
            let larger = time(AttentionDecode { batch: batch * more, ..op });
            let longer = time(AttentionDecode { context: context * more, ..op });
            prop_assert!(larger * slack >= time(op), "{} {}", larger, time(op));
            prop_assert!(longer * slack >= time(op), "{} {}", longer, time(op));
        }

        #[test]
        fn a_table_never_falls_whatever_the_correction(
            batch in 0.5..2000.0_f64, context in 2.0..200_000.0_f64, more in 1.0..3.0_f64, swing in 0.0..0.7_f64,
        ) {
            let table = DecodeTable::new(kernel(swing), structure(32.0, 8.0, 1.0, None));
            let slack = 1.0 + 1e-9;
            let time = table.price(batch, context).time.get();
            prop_assert!(table.price(batch * more, context).time.get() * slack >= time);
            prop_assert!(table.price(batch, context * more).time.get() * slack >= time);
        }
    }
}
