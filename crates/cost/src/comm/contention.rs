//! Transfers that use a link at the same time share it: max-min fairness.

use units::{Bytes, BytesPerSecond, Seconds};

/// A transfer over a path of links.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Indices of the links it crosses; a flow that crosses none is not limited.
    pub links: Vec<usize>,
    /// What its sender can do at most, whatever the links allow.
    pub limit: Option<BytesPerSecond>,
}

/// Rates of `flows` over links of these capacities such that no rate can grow without shrinking a smaller or equal one
/// (Bertsekas and Gallager, "Data Networks", 6.5.2). A link index out of range counts as a link without limit.
pub fn share(capacities: &[BytesPerSecond], flows: &[Flow]) -> Vec<BytesPerSecond> {
    let mut rates = vec![f64::INFINITY; flows.len()];
    let mut fixed = vec![false; flows.len()];
    let mut left: Vec<f64> = capacities.iter().map(|capacity| capacity.get().max(0.0)).collect();
    while fixed.contains(&false) {
        let Some(level) = tightest(&left, flows, &fixed) else { break };
        // Everything that this level saturates is settled together; at least one flow is.
        let settled: Vec<usize> = (0..flows.len())
            .filter(|flow| !fixed[*flow] && held(&left, flows, &fixed, *flow, level))
            .collect();
        for flow in settled {
            rates[flow] = level;
            fixed[flow] = true;
            for link in distinct(&flows[flow].links).filter(|link| *link < capacities.len()) {
                left[link] = (left[link] - level).max(0.0);
            }
        }
    }
    rates.into_iter().map(BytesPerSecond::new).collect()
}

/// Times that `transfers` of these sizes take when they start together, each leaving its share to the others when it
/// is done.
pub fn finish_times(capacities: &[BytesPerSecond], flows: &[Flow], sizes: &[Bytes]) -> Vec<Seconds> {
    let mut left: Vec<f64> = sizes.iter().map(|size| size.get().max(0.0)).collect();
    left.resize(flows.len(), 0.0);
    let mut done: Vec<Option<f64>> = left.iter().map(|size| (*size <= 0.0).then_some(0.0)).collect();
    let mut now = 0.0;
    while done.contains(&None) {
        let active: Vec<usize> = (0..flows.len()).filter(|flow| done[*flow].is_none()).collect();
        let paths: Vec<Flow> = active.iter().map(|flow| flows[*flow].clone()).collect();
        let rates = share(capacities, &paths);
        let lasts: Vec<f64> =
            active.iter().zip(&rates).map(|(flow, rate)| left[*flow] / rate.get()).collect();
        let step = lasts.iter().copied().fold(f64::INFINITY, f64::min);
        now += step;
        for ((flow, rate), last) in active.iter().zip(&rates).zip(&lasts) {
            if *last <= step {
                done[*flow] = Some(now);
            } else {
                left[*flow] -= rate.get() * step;
            }
        }
        if !step.is_finite() {
            break;
        }
    }
    done.into_iter().map(|time| Seconds::new(time.unwrap_or(f64::INFINITY))).collect()
}

fn distinct(links: &[usize]) -> impl Iterator<Item = usize> + '_ {
    links.iter().enumerate().filter(|(at, link)| !links[..*at].contains(link)).map(|(_, link)| *link)
}

fn fair(left: &[f64], flows: &[Flow], fixed: &[bool], link: usize) -> f64 {
    let users =
        flows.iter().zip(fixed).filter(|(flow, fixed)| !**fixed && flow.links.contains(&link)).count();
    if users == 0 { f64::INFINITY } else { left[link] / users as f64 }
}

/// The smallest rate at which something saturates.
fn tightest(left: &[f64], flows: &[Flow], fixed: &[bool]) -> Option<f64> {
    let links = (0..left.len()).map(|link| fair(left, flows, fixed, link));
    let senders = flows.iter().zip(fixed).filter(|(_, fixed)| !**fixed).filter_map(|(flow, _)| flow.limit);
    let level = links.chain(senders.map(BytesPerSecond::get)).fold(f64::INFINITY, f64::min);
    level.is_finite().then_some(level.max(0.0))
}

fn held(left: &[f64], flows: &[Flow], fixed: &[bool], flow: usize, level: f64) -> bool {
    let reached = |rate: f64| rate <= level * (1.0 + 1e-12);
    let links = &flows[flow].links;
    flows[flow].limit.is_some_and(|limit| reached(limit.get().max(0.0)))
        || links.iter().any(|link| *link < left.len() && reached(fair(left, flows, fixed, *link)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flow(links: &[usize]) -> Flow {
        Flow { links: links.to_vec(), limit: None }
    }

    fn gigabytes(rates: &[f64]) -> Vec<BytesPerSecond> {
        rates.iter().map(|rate| BytesPerSecond::new(rate * 1e9)).collect()
    }

    #[test]
    fn a_long_flow_takes_its_bottleneck_share_and_short_ones_the_rest() {
        let rates = share(&gigabytes(&[10.0, 4.0]), &[flow(&[0, 1]), flow(&[0]), flow(&[1])]);
        assert_eq!(rates, gigabytes(&[2.0, 8.0, 2.0]));
    }

    #[test]
    fn a_slow_sender_leaves_the_rest() {
        let slow = Flow { links: vec![0], limit: Some(BytesPerSecond::new(1e9)) };
        assert_eq!(share(&gigabytes(&[10.0]), &[slow, flow(&[0])]), gigabytes(&[1.0, 9.0]));
    }

    #[test]
    fn the_second_transfer_speeds_up_when_the_first_is_done() {
        let sizes = [Bytes::new(1e9), Bytes::new(3e9)];
        let times = finish_times(&gigabytes(&[2.0]), &[flow(&[0]), flow(&[0])], &sizes);
        assert!((times[0].get() - 1.0).abs() < 1e-9 && (times[1].get() - 2.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn no_link_is_overloaded_and_every_flow_has_a_full_link(
            capacities in prop::collection::vec(0.1_f64..100.0, 1..6),
            paths in prop::collection::vec(prop::collection::vec(0_usize..6, 1..4), 1..8),
        ) {
            let links = capacities.len();
            let flows: Vec<Flow> = paths.iter().map(|path| Flow {
                links: path.iter().map(|link| link % links).collect(),
                limit: None,
            }).collect();
            let rates = share(&gigabytes(&capacities), &flows);
            let load = |link: usize| -> f64 {
                flows.iter().zip(&rates).filter(|(f, _)| f.links.contains(&link)).map(|(_, r)| r.get()).sum()
            };
            for (link, capacity) in capacities.iter().enumerate() {
                prop_assert!(load(link) <= capacity * 1e9 * (1.0 + 1e-9));
            }
            for (flow, rate) in flows.iter().zip(&rates) {
                let bottleneck = flow.links.iter().any(|link| {
                    let full = load(*link) >= capacities[*link] * 1e9 * (1.0 - 1e-9);
                    let largest = flows.iter().zip(&rates).filter(|(f, _)| f.links.contains(link))
                        .all(|(_, other)| other.get() <= rate.get() * (1.0 + 1e-9));
                    full && largest
                });
                prop_assert!(bottleneck);
            }
        }
    }
}
