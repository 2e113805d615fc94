//! Expert load: how many rows land on the experts of one rank, how many experts they touch, and how many tiles of
//! rows that makes.
//!
//! - [`Load`] and [`uniform`]: the load of a mean rank when every expert is equally likely.
//! - [`busiest`]: how much more the busiest rank of an expert-parallel group gets, with and without balancing.
//! - [`benchmark`]: the loads that benchmark tables were measured under.

pub mod benchmark;
pub mod busiest;
mod tiles;

pub use tiles::expected_tiles;

/// Rows of the tiles that grouped products are cut into.
pub const BLOCKS: [f64; 6] = [8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What lands on one rank in one step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Token-expert pairs.
    pub rows: f64,
    /// Local experts with at least one of them.
    pub active_experts: f64,
    /// Tiles of [`BLOCKS`] rows each, summed over the experts: no tile spans two of them.
    pub tiles: [f64; BLOCKS.len()],
}

impl Load {
    /// The load of `rows` rows over `active` experts that are equally likely: the rows of one expert spread as
    /// chance has it (Poisson, given at least one). Non-decreasing in `rows` and in `active`. Constant cost.
    pub fn spread(rows: f64, active: f64) -> Self {
        let rows = rows.max(0.0);
        let active = active.clamp(0.0, rows);
        if active == 0.0 {
            return Self { rows, ..Self::default() };
        }
        let mean = rows / active;
        Self {
            rows,
            active_experts: active,
            tiles: BLOCKS.map(|block| active * expected_tiles(mean, mean - 1.0, block)),
        }
    }

    /// The same for `experts` experts that are chosen unequally often, as in [`touched_unequally`]: rows crowd on some,
    /// which fill more tiles. Taken over eight equally likely degrees of popularity; `active` experts in all.
    pub fn unequal(rows: f64, experts: f64, active: f64, spread: f64) -> Self {
        let even = Self::spread(rows, active);
        if spread < LEAST_SPREAD || active <= 0.0 || rows <= 0.0 {
            return even;
        }
        let mut tiles = [0.0; BLOCKS.len()];
        let mut touched = 0.0;
        for popularity in popularities(spread) {
            let rate = popularity * rows / experts;
            let some = -(-rate).exp_m1();
            let mean = rate / some;
            let variance = (rate + rate * rate) / some - mean * mean;
            touched += some;
            for (sum, block) in tiles.iter_mut().zip(BLOCKS) {
                *sum += some * expected_tiles(mean, variance, block);
            }
        }
        let each = (experts / QUANTILES as f64).min(even.active_experts / touched);
        Self { tiles: tiles.map(|sum| each * sum), ..even }
    }

    /// The load of experts with known rows each.
    pub fn of_counts(counts: &[u32]) -> Self {
        let mut load = Self::default();
        for count in counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count)) {
            load.rows += count;
            load.active_experts += 1.0;
            for (tiles, block) in load.tiles.iter_mut().zip(BLOCKS) {
                *tiles += (count / block).ceil();
            }
        }
        load
    }
}

/// Spreads below this are none.
const LEAST_SPREAD: f64 = 0.01;

/// Degrees of popularity that stand for all.
const QUANTILES: usize = 8;

/// Medians of equally likely eighths of the Gamma distribution with mean 1 and standard deviation `spread`, by Wilson
/// and Hilferty's cube of a normal variate ("The distribution of chi-square", 1931), scaled to a mean of 1.
fn popularities(spread: f64) -> [f64; QUANTILES] {
    const NORMAL: [f64; QUANTILES] =
        [-1.534_12, -0.887_147, -0.488_776, -0.157_311, 0.157_311, 0.488_776, 0.887_147, 1.534_12];
    let ninth = spread * spread / 9.0;
    let raw = NORMAL.map(|z| (1.0 - ninth + z * ninth.sqrt()).max(0.02).powi(3));
    let mean = raw.iter().sum::<f64>() / QUANTILES as f64;
    raw.map(|value| value / mean)
}

/// Expected experts, of `experts` equally likely ones, that receive at least one of `rows` rows.
pub fn touched(rows: f64, experts: f64) -> f64 {
    if experts <= 1.0 { experts.min(rows) } else { experts * (1.0 - (1.0 - 1.0 / experts).powf(rows)) }
}

/// The same for experts that are chosen unequally often: how often is Gamma-distributed over the experts, with a
/// standard deviation of `spread` times its mean. With `r` rows per expert on average, an expert chosen `g` times as
/// often as the mean is passed over with probability `exp(-g r)`, whose mean over `g` is `(1 + r spread^2)^(-1/spread^2)`.
/// Below the least spread all are equally likely.
pub fn touched_unequally(rows: f64, experts: f64, spread: f64) -> f64 {
    if spread < LEAST_SPREAD || experts <= 1.0 {
        return touched(rows, experts);
    }
    let variance = spread * spread;
    experts * (1.0 - (1.0 + rows / experts * variance).powf(-1.0 / variance))
}

/// The load of a rank with `local_experts` of `experts` experts when each of `tokens` tokens (of the whole
/// expert-parallel group) picks `topk` different experts, all equally likely: an expert is touched unless every token
/// passes it by, `A = local (1 - (1 - topk / experts)^tokens)`.
pub fn uniform(tokens: f64, experts: f64, topk: f64, local_experts: f64) -> Load {
    let chosen = (topk / experts).clamp(0.0, 1.0);
    let active = local_experts * (1.0 - (1.0 - chosen).powf(tokens));
    Load::spread(tokens * chosen * local_experts, active)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn deepseek_decode_touches_what_the_formula_says() {
        // 256 experts, 8 chosen: 102 touched at 16 tokens, 163 at 32, 222 at 64.
        let at = |tokens| uniform(tokens, 256.0, 8.0, 256.0).active_experts.round();
        assert_eq!([at(16.0), at(32.0), at(64.0)], [102.0, 163.0, 222.0]);
    }

    #[test]
    fn few_rows_make_one_tile_per_touched_expert() {
        let load = uniform(1.0, 256.0, 8.0, 32.0);
        assert!((load.rows - 1.0).abs() < 1e-12);
        for tiles in load.tiles {
            assert!((tiles - load.active_experts).abs() < 1e-9, "{load:?}");
        }
    }

    #[test]
    fn many_rows_waste_half_a_tile_per_expert() {
        let load = uniform(65536.0, 64.0, 4.0, 64.0);
        let mean: f64 = 65536.0 * 4.0 / 64.0;
        let expected = 64.0 * (mean / 128.0 + 0.5);
        assert!((load.tiles[4] / expected - 1.0).abs() < 0.01, "{} {expected}", load.tiles[4]);
    }

    proptest! {
        #[test]
        fn load_never_falls_with_tokens(
            tokens in 1.0..5e4_f64, more in 1.0..3.0_f64, experts in 1_u32..600, share in 1_u32..16, topk in 1_u32..16,
        ) {
            let experts = f64::from(experts * share);
            let topk = f64::from(topk).min(experts);
            let local = experts / f64::from(share);
            let (a, b) = (uniform(tokens, experts, topk, local), uniform(tokens * more, experts, topk, local));
            prop_assert!(b.rows >= a.rows && b.active_experts >= a.active_experts);
            for (a, b) in a.tiles.iter().zip(b.tiles) {
                prop_assert!(b >= a * (1.0 - 1e-9), "{a} {b}");
            }
        }

        #[test]
        fn unequal_choice_touches_fewer(rows in 0.1..1e5_f64, experts in 2.0..600.0_f64, spread in 0.01..3.0_f64) {
            let (even, unequal) = (touched(rows, experts), touched_unequally(rows, experts, spread));
            prop_assert!(unequal <= even * (1.0 + 1e-9) + 0.5 / experts, "{unequal} of {even}");
            prop_assert!(unequal <= rows && touched_unequally(rows * 1.1, experts, spread) >= unequal);
        }

        #[test]
        fn unequal_choice_fills_more_tiles_of_the_rows_and_no_more_than_one_is_wasted_per_expert(
            rows in 0.1..1e5_f64, experts in 2.0..300.0_f64, spread in 0.05..1.5_f64,
        ) {
            let active = touched_unequally(rows, experts, spread);
            let load = Load::unequal(rows, experts, active, spread);
            for (tiles, block) in load.tiles.iter().zip(BLOCKS) {
                prop_assert!(tiles * block >= load.rows * 0.85, "{tiles} x {block} of {rows}");
                prop_assert!(*tiles <= 1.1 * load.rows / block + 1.1 * load.active_experts);
            }
        }

        #[test]
        fn tiles_hold_the_rows_and_no_more_than_one_tile_is_wasted_per_expert(
            rows in 0.1..1e5_f64, active in 1.0..300.0_f64,
        ) {
            let load = Load::spread(rows, active);
            for (tiles, block) in load.tiles.iter().zip(BLOCKS) {
                prop_assert!(tiles * block >= load.rows * (1.0 - 1e-9));
                prop_assert!(*tiles <= load.rows / block + load.active_experts * (1.0 + 1e-9));
            }
        }
    }
}
