//! Neighbours on shared links.

/// Max-min fair shares by progressive filling: `flows[i]` lists the links that flow `i` uses and what it wants on each,
/// bytes per second; the answer is the fraction of its wish that each flow gets.
///
/// The bandwidths of all flows on a link grow alike until the link is full or the flow has what it wants.
pub fn max_min(flows: &[Vec<(usize, f64)>], capacity: &[f64]) -> Vec<f64> {
    let mut share = vec![1.0f64; flows.len()];
    let mut open: Vec<usize> = (0..flows.len()).filter(|flow| !flows[*flow].is_empty()).collect();
    let mut left = capacity.to_vec();
    while !open.is_empty() {
        // The level at which each link would be full if its open flows had equal bandwidth.
        let mut tightest: Option<(f64, usize)> = None;
        for (link, left) in left.iter().enumerate() {
            let mut wishes: Vec<f64> = open.iter().filter_map(|flow| want(&flows[*flow], link)).collect();
            if wishes.iter().sum::<f64>() <= *left {
                continue;
            }
            wishes.sort_by(f64::total_cmp);
            let level = water(&wishes, *left);
            if tightest.is_none_or(|(least, _)| level < least) {
                tightest = Some((level, link));
            }
        }
        let Some((level, link)) = tightest else {
            return share;
        };
        let (stuck, rest): (Vec<usize>, Vec<usize>) =
            open.into_iter().partition(|flow| want(&flows[*flow], link).is_some());
        for flow in stuck {
            let wish = want(&flows[flow], link).unwrap_or(0.0);
            share[flow] = (level / wish).min(1.0);
            for (used, wish) in &flows[flow] {
                left[*used] = (left[*used] - wish * share[flow]).max(0.0);
            }
        }
        open = rest;
    }
    share
}

fn want(flow: &[(usize, f64)], link: usize) -> Option<f64> {
    flow.iter().find(|(used, _)| *used == link).map(|(_, wish)| *wish)
}

/// The level to which `capacity` fills vessels of these sizes, in ascending order.
fn water(wishes: &[f64], capacity: f64) -> f64 {
    let mut left = capacity;
    for (index, wish) in wishes.iter().enumerate() {
        let level = left / (wishes.len() - index) as f64;
        if *wish >= level {
            return level;
        }
        left -= wish;
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_flows_get_what_they_want_and_others_share_alike() {
        // 10 among wishes of 2, 8 and 8: 2, 4 and 4.
        let share = max_min(&[vec![(0, 2.0)], vec![(0, 8.0)], vec![(0, 8.0)]], &[10.0]);
        assert_eq!(share, [1.0, 0.5, 0.5]);
        // The classic: one flow over both links, one on each.
        let share = max_min(&[vec![(0, 10.0), (1, 10.0)], vec![(0, 10.0)], vec![(1, 10.0)]], &[10.0, 4.0]);
        assert_eq!(share, [0.2, 0.8, 0.2]);
        assert_eq!(max_min(&[vec![], vec![(0, 3.0)]], &[4.0]), [1.0, 1.0]);
    }
}
