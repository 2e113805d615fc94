//! Which layers each virtual pipeline stage holds.

use crate::error::JobError;

/// Virtual stages that may hold no layer: the embedding alone, the head alone.
pub const EDGES: u32 = 2;

/// Layers per virtual stage, in forward order.
///
/// `edges` fixes the first and the last. Otherwise an even split is taken if there is one; else the embedding and the head
/// count as a layer each if that makes it even (as Llama 3 405B, BLOOM and Qwen3-235B are cut: one layer less at either
/// end), else the head alone does; else the rest is spread one by one from the second stage on.
///
/// # Errors
/// A stage would be left with nothing.
pub fn split(layers: u32, stages: u32, edges: (Option<u32>, Option<u32>)) -> Result<Vec<u32>, JobError> {
    let too_many = JobError::Stages { stages, layers };
    if stages == 0 || stages > layers + EDGES {
        return Err(too_many);
    }
    if stages == 1 {
        return Ok(vec![layers]);
    }
    if let (None, None) = edges {
        if layers % stages == 0 {
            return Ok(vec![layers / stages; stages as usize]);
        }
        for (first, last) in [(1, 1), (0, 1)] {
            let share = (layers + first + last) / stages;
            if (layers + first + last) % stages == 0 && share >= first.max(last) {
                let mut split = vec![share; stages as usize];
                split[0] -= first;
                split[stages as usize - 1] -= last;
                return Ok(split);
            }
        }
        return if stages > layers { Err(too_many) } else { Ok(spread(layers, stages)) };
    }
    let fixed = edges.0.unwrap_or(0).saturating_add(edges.1.unwrap_or(0));
    let free = stages - u32::from(edges.0.is_some()) - u32::from(edges.1.is_some());
    let rest = layers
        .checked_sub(fixed)
        .filter(|rest| *rest >= free && (free > 0 || *rest == 0))
        .ok_or(JobError::Edges { stages, layers })?;
    let mut split = Vec::with_capacity(stages as usize);
    split.extend(edges.0);
    if free > 0 {
        split.extend(spread(rest, free));
    }
    split.extend(edges.1);
    Ok(split)
}

/// As even as it goes, the larger stages after the first.
fn spread(layers: u32, stages: u32) -> Vec<u32> {
    let (share, rest) = (layers / stages, layers % stages);
    (0..stages).map(|stage| share + u32::from(stage >= 1 && stage <= rest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(layers: u32, stages: u32, edges: (Option<u32>, Option<u32>), expected: &str) {
        let text = split(layers, stages, edges).map_or_else(
            |error| error.to_string(),
            |split| split.iter().map(u32::to_string).collect::<Vec<_>>().join(" "),
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn published_splits() {
        check(96, 8, (None, None), "12 12 12 12 12 12 12 12");
        check(126, 16, (None, None), "7 8 8 8 8 8 8 8 8 8 8 8 8 8 8 7");
        check(70, 12, (None, None), "5 6 6 6 6 6 6 6 6 6 6 5");
        check(78, 12, (None, None), "6 7 7 7 7 7 7 6 6 6 6 6");
        check(4, 6, (None, None), "0 1 1 1 1 0");
        check(61, 4, (Some(16), Some(13)), "16 16 16 13");
        check(
            4,
            8,
            (None, None),
            "8 pipeline stages need at least as many layers, the model has 4; lower --pp or --vpp",
        );
    }

    proptest! {
        #[test]
        fn no_layer_is_lost(layers in 1u32..200, stages in 1u32..64) {
            if let Ok(split) = split(layers, stages, (None, None)) {
                prop_assert_eq!(split.iter().sum::<u32>(), layers);
                prop_assert!(split.iter().skip(1).rev().skip(1).all(|layers| *layers > 0));
            } else {
                prop_assert!(stages > layers);
            }
        }
    }
}
