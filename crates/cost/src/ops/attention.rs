//! What prefill and decode attention share: which keys a query sees.
//!
//! The forms are in [`super::attention_prefill`] and [`super::attention_decode`]; latent attention uses the same two
//! (see [`super::mla`]).

use super::{AttentionDecode, AttentionPrefill};

/// Rows of the query block that decode kernels give to a matrix instruction when heads share a key/value head.
pub(crate) const DECODE_ROWS: f64 = 64.0;
/// Keys that a decode kernel reads at a time; a piece of a split context is no shorter.
pub(crate) const KEY_BLOCK: f64 = 128.0;
/// Fewest rows that a matrix instruction takes.
pub(crate) const LEAST_ROWS: f64 = 16.0;

/// Query-key pairs per sequence of `new` tokens after `past` cached ones: the sum over the new tokens of the keys that
/// each sees, itself included, no more than `window` of them.
pub fn pairs(new: f64, past: f64, window: Option<f64>) -> f64 {
    let all = |n: f64| n * past + n * (n + 1.0) / 2.0;
    match window {
        Some(window) => {
            // The first tokens still see everything before them.
            let growing = (window - past).floor().clamp(0.0, new);
            all(growing) + (new - growing) * window
        }
        None => all(new),
    }
}

/// Cached tokens per sequence that some query of the step still sees.
pub fn live(new: f64, past: f64, window: Option<f64>) -> f64 {
    let total = new + past;
    window.map_or(total, |window| total.min(window + new))
}

impl AttentionPrefill {
    /// Query-key pairs of one sequence.
    pub fn pairs(&self) -> f64 {
        pairs(self.new_tokens, self.past_tokens, self.window)
    }

    /// Tokens of one sequence whose keys are read.
    pub fn live(&self) -> f64 {
        live(self.new_tokens, self.past_tokens, self.window)
    }

    /// Query heads that share a key/value head.
    pub fn group(&self) -> f64 {
        self.heads / self.kv_heads
    }

    /// Elements cached per token.
    pub fn cached(&self) -> f64 {
        self.kv_heads * (self.qk_dim + self.v_dim)
    }
}

impl AttentionDecode {
    /// Cached tokens before the step's queries.
    pub fn past(&self) -> f64 {
        (self.context - self.queries).max(0.0)
    }

    /// Tokens of one sequence whose keys are read.
    pub fn live(&self) -> f64 {
        live(self.queries, self.past(), self.window)
    }

    /// Keys that a query sees on average.
    pub fn mean_keys(&self) -> f64 {
        pairs(self.queries, self.past(), self.window) / self.queries
    }

    /// Query rows that share a key/value head: heads of the group times the step's queries.
    pub fn rows(&self) -> f64 {
        self.queries * self.heads / self.kv_heads
    }

    /// Operations of scores and values.
    pub fn flop(&self) -> f64 {
        2.0 * self.batch * self.queries * self.heads * self.mean_keys() * (self.qk_dim + self.v_dim)
    }

    /// Bytes of queries, outputs and the cache that is read, `cache_bytes` per cached element.
    pub fn bytes(&self, cache_bytes: f64) -> f64 {
        let queries = 2.0 * self.batch * self.queries * self.heads * (self.qk_dim + self.v_dim);
        queries + self.batch * self.live() * self.kv_heads * self.kv_dim * cache_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_what_a_mask_counts() {
        let counted = |new: u32, past: u32, window: Option<u32>| -> f64 {
            (0..new)
                .map(|i| {
                    let position = past + i;
                    (0..=position).filter(|key| window.is_none_or(|w| position - key < w)).count() as f64
                })
                .sum()
        };
        for (new, past, window) in [
            (1, 0, None),
            (7, 5, None),
            (9, 0, Some(4)),
            (3, 20, Some(8)),
            (5, 2, Some(100)),
            (6, 3, Some(5)),
        ] {
            let formula = pairs(f64::from(new), f64::from(past), window.map(f64::from));
            assert_eq!(formula, counted(new, past, window), "{new} {past} {window:?}");
        }
    }

    #[test]
    fn a_window_bounds_what_is_read() {
        assert_eq!(live(1.0, 1000.0, None), 1001.0);
        assert_eq!(live(1.0, 1000.0, Some(128.0)), 129.0);
        assert_eq!(live(4.0, 10.0, Some(128.0)), 14.0);
    }
}
