//! Services whose load changes over the day and whose replicas are jobs of the cluster.

use crate::job::TenantId;
use crate::tree::{Ask, Wish};

/// Load over time, requests per second.
#[derive(Debug, Clone, PartialEq)]
pub enum Load {
    /// `trough + (peak - trough) (1 + cos(2 pi (t - peak_at) / 24 h)) / 2`.
    Day {
        /// At the busiest time.
        peak: f64,
        /// Half a day from it.
        trough: f64,
        /// When it is busiest, seconds after midnight.
        peak_at: f64,
    },
    /// Straight lines between points of (seconds, rate); the last rate holds on.
    Points(Vec<(f64, f64)>),
}

impl Load {
    /// Requests per second at `time` seconds.
    pub fn at(&self, time: f64) -> f64 {
        match self {
            Self::Day { peak, trough, peak_at } => {
                let angle = std::f64::consts::TAU * (time - peak_at) / 86_400.0;
                trough + (peak - trough) * 0.5 * (1.0 + angle.cos())
            }
            Self::Points(points) => {
                let after = points.partition_point(|(at, _)| *at <= time);
                match (after.checked_sub(1).map(|before| points[before]), points.get(after)) {
                    (Some((from, low)), Some((to, high))) => low + (high - low) * (time - from) / (to - from),
                    (Some((_, rate)), None) | (None, Some(&(_, rate))) => rate,
                    (None, None) => 0.0,
                }
            }
        }
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub tenant: TenantId,
    /// Priority of its replicas.
    pub priority: i32,
    /// What one replica asks for.
    pub ask: Ask,
    /// Where a replica wants to be.
    pub wish: Option<Wish>,
    /// Load.
    pub load: Load,
    /// Requests per second that one replica serves within the SLO.
    pub capacity: f64,
    /// Fewest replicas.
    pub least: u32,
    /// Most replicas.
    pub most: u32,
    /// Seconds between two looks of the autoscaler.
    pub interval: f64,
    /// Capacity kept beyond the load, as a share of it.
    pub headroom: f64,
    /// Seconds from getting chips until a replica serves: weights are loaded.
    pub load_time: f64,
    /// Share of the chips' busy power that a replica draws when fully loaded.
    pub busy: f64,
}

impl Service {
    /// Replicas wanted at `time`: enough for the most load until a replica started at the next look would serve.
    pub fn wanted(&self, time: f64) -> u32 {
        let horizon = self.interval + self.load_time;
        let ahead =
            (0..=8).map(|step| self.load.at(time + horizon * f64::from(step) / 8.0)).fold(0.0, f64::max);
        let replicas = (ahead * (1.0 + self.headroom) / self.capacity).ceil();
        (replicas.min(f64::from(u32::MAX)) as u32).clamp(self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_follows_the_day() {
        let day = Load::Day { peak: 10.0, trough: 2.0, peak_at: 15.0 * 3600.0 };
        assert!((day.at(15.0 * 3600.0) - 10.0).abs() < 1e-9 && (day.at(3.0 * 3600.0) - 2.0).abs() < 1e-9);
        let points = Load::Points(vec![(0.0, 1.0), (10.0, 3.0)]);
        assert_eq!((points.at(5.0), points.at(-1.0), points.at(20.0)), (2.0, 1.0, 3.0));
    }
}
