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
    /// Seconds that a request may wait for a place on a replica and still keep the SLO.
    pub slack: f64,
    /// Seconds after which a client that waits gives up.
    pub patience: f64,
    /// Windows that are counted for themselves: from, until (seconds).
    pub windows: Vec<(f64, f64)>,
}

/// Requests of a fluid over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Served {
    /// Requests that came.
    pub came: f64,
    /// Of these, those that found a place within the slack.
    pub within: f64,
    /// Requests that gave up waiting.
    pub lost: f64,
}

/// A fluid of `rate` requests per second for `length` seconds on replicas that serve `capacity` per second, behind `backlog`
/// requests that wait: what came of it, and the backlog afterwards.
///
/// A replica takes no more requests at once than keep the time per token, so that the others wait in line: who comes when
/// `b` wait gets his place after `b / capacity`. The line is straight between two events, so that the time at which the
/// wait passes the slack is exact.
pub fn flow(rate: f64, capacity: f64, backlog: f64, length: f64, slack: f64, patience: f64) -> (Served, f64) {
    let came = rate * length;
    let growth = rate - capacity;
    // Who has waited for as long as his patience gives up, so that no more wait than came, or are served, meanwhile.
    let most = rate.max(capacity) * patience;
    let grown = backlog + growth * length;
    let after = grown.clamp(0.0, most.max(0.0));
    let lost = (grown - most).max(0.0);
    let limit = capacity * slack;
    // The stretch during which no more than `limit` wait.
    let good = if capacity <= 0.0 {
        0.0
    } else if growth.abs() <= 1e-12 * capacity {
        if backlog <= limit { length } else { 0.0 }
    } else {
        let crossing = (limit - backlog) / growth;
        if growth > 0.0 { crossing.clamp(0.0, length) } else { length - crossing.clamp(0.0, length) }
    };
    (Served { came, within: rate * good, lost }, after)
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

    /// By hand: 12 a second on replicas of 10, a slack of 2 s. 20 wait after 10 s; until then all are within.
    #[test]
    fn a_line_grows_and_melts() {
        let (first, backlog) = flow(12.0, 10.0, 0.0, 30.0, 2.0, 1e9);
        assert_eq!((first.came, first.within, first.lost, backlog), (360.0, 120.0, 0.0, 60.0));
        // 8 a second: the line melts by 2 a second and is down to 20 after 20 s.
        let (second, backlog) = flow(8.0, 10.0, backlog, 30.0, 2.0, 1e9);
        assert_eq!((second.came, second.within, backlog), (240.0, 80.0, 0.0));
        // Nobody waits longer than 3 s: at most 36 are in line, and 24 have gone.
        let (third, backlog) = flow(12.0, 10.0, 0.0, 30.0, 2.0, 3.0);
        assert_eq!((third.lost, backlog), (24.0, 36.0));
        let (down, backlog) = flow(5.0, 0.0, 0.0, 10.0, 2.0, 4.0);
        assert_eq!((down.within, down.lost, backlog), (0.0, 30.0, 20.0));
        assert_eq!(flow(0.0, 0.0, 0.0, 10.0, 2.0, 4.0), (Served::default(), 0.0));
        assert_eq!(flow(10.0, 10.0, 0.0, 10.0, 0.0, 4.0).0.within, 100.0);
    }

    #[test]
    fn load_follows_the_day() {
        let day = Load::Day { peak: 10.0, trough: 2.0, peak_at: 15.0 * 3600.0 };
        assert!((day.at(15.0 * 3600.0) - 10.0).abs() < 1e-9 && (day.at(3.0 * 3600.0) - 2.0).abs() < 1e-9);
        let points = Load::Points(vec![(0.0, 1.0), (10.0, 3.0)]);
        assert_eq!((points.at(5.0), points.at(-1.0), points.at(20.0)), (2.0, 1.0, 3.0));
    }
}
