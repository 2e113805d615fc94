//! How a schedule bounds the time of a step from below.

use crate::schedule::Schedule;
use crate::stages;

/// A schedule with the shares of the model's layers that bound its time.
pub(crate) struct Way {
    /// The schedule.
    pub schedule: Schedule,
    /// Layers of the first virtual stages, which the first micro-batch crosses before the last rank can begin and the
    /// last one after it has ended.
    pub ramp: f64,
    /// Layers of the last rank.
    pub last: f64,
    /// Layers of the fullest rank.
    pub fullest: f64,
    /// Layers of the rank with the fewest.
    pub least: f64,
    /// Layers of the first rank.
    pub first: f64,
    /// Layers of the virtual stage with the fewest, as a number.
    pub thinnest: u32,
}

impl Way {
    /// Of `layers` alike layers over `pp` ranks; `None` if the schedule cannot cut them.
    pub fn new(schedule: Schedule, layers: u32, alike: bool, pp: u32) -> Option<Self> {
        let split = stages::split(layers, schedule.virtual_stages(pp), (None, None)).ok()?;
        if !alike {
            let (ramp, last, fullest, least, first) = Default::default();
            return Some(Self { schedule, ramp, last, fullest, least, first, thinnest: 0 });
        }
        let thinnest = split.iter().copied().min().unwrap_or(0);
        let share = |count: u32| f64::from(count) / f64::from(layers);
        let rank = |rank: u32| share(split.iter().skip(rank as usize).step_by(pp as usize).sum());
        if schedule == Schedule::DualPipe {
            // A rank in the middle waits for half the pipeline, from whichever end, and takes half of the micro-batches
            // through each of its two stages.
            let middle = pp as usize / 2;
            let last = share(split[middle - 1] + split[middle]) / 2.0;
            let ramp = share(split[..middle - 1].iter().sum()).min(share(split[middle + 1..].iter().sum()));
            // Every rank holds the model's stages from both ends.
            let both = |rank: usize| share(split[rank] + split[pp as usize - 1 - rank]);
            let least = (0..pp as usize).map(both).fold(f64::INFINITY, f64::min);
            return Some(Self { schedule, ramp, last, fullest: 0.0, least, first: both(0), thinnest });
        }
        Some(Self {
            schedule,
            ramp: share(split[..pp as usize - 1].iter().sum()),
            last: rank(pp - 1),
            fullest: (0..pp).map(rank).fold(0.0, f64::max),
            least: (0..pp).map(rank).fold(f64::INFINITY, f64::min),
            first: rank(0),
            thinnest,
        })
    }
}
