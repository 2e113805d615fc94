//! Schedules against closed forms and against a brute-force longest path.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use units::Seconds;

fn even(stages: u32, forward: f64, input: f64, weight: f64) -> Vec<StageTimes> {
    let times = StageTimes {
        forward: Seconds::new(forward),
        backward_input: Seconds::new(input),
        backward_weight: Seconds::new(weight),
    };
    vec![times; stages as usize]
}

/// Idle time of a whole step on the first rank.
fn bubble(schedule: Schedule, ranks: u32, micros: u32, f: f64, b: f64, w: f64) -> f64 {
    let scale = f64::from(schedule.virtual_stages(ranks) / ranks);
    let stages = even(schedule.virtual_stages(ranks), f / scale, b / scale, w / scale);
    let (total, _) = makespan(schedule, ranks, micros, &stages, Seconds::ZERO);
    total.get() - f64::from(micros) * (f + b + w)
}

#[track_caller]
fn check(schedule: Schedule, ranks: u32, micros: u32, expected: f64) {
    let found = bubble(schedule, ranks, micros, 1.0, 1.0, 1.0);
    assert!(
        (found - expected).abs() < 1e-9,
        "{schedule:?} p={ranks} m={micros}: bubble {found}, expected {expected}"
    );
}

#[test]
fn bubbles_match_their_published_closed_forms() {
    for (p, m) in [(1, 4), (2, 2), (4, 8), (8, 64), (16, 500)] {
        let fill = f64::from(p - 1);
        check(Schedule::GPipe, p, m, fill * 3.0);
        check(Schedule::OneFOneB, p, m, fill * 3.0);
        // arXiv 2401.10241 table 2: (p - 1)(F + B - W).
        check(Schedule::ZeroBubbleH1, p, m.max(2 * p), fill);
    }
    for (p, v, m) in [(2, 2, 4), (4, 3, 8), (8, 12, 64), (8, 4, 400)] {
        // arXiv 2104.04473 section 2.2.2: (p - 1)(F + B) / v.
        check(Schedule::Interleaved { chunks: v }, p, m, f64::from(p - 1) * 3.0 / f64::from(v));
    }
}

#[test]
fn dualpipe_has_less_bubble_than_zero_bubble_h1() {
    for (p, m) in [(4, 8), (8, 20), (16, 64)] {
        let dual = bubble(Schedule::DualPipe, p, m, 1.0, 1.0, 1.0);
        // arXiv 2412.19437 table 2: (p/2 - 1)(F&B + B - 3W), where F&B is a forward and a backward run as one and B a whole
        // backward. Here the two may start one after the other, which can only be earlier.
        let published = f64::from(p / 2 - 1) * (3.0 + 2.0 - 3.0);
        assert!(dual > 0.0 && dual <= published + 1e-9, "p={p} m={m}: {dual} against {published}");
        assert!(dual < bubble(Schedule::ZeroBubbleH1, p, m, 1.0, 1.0, 1.0));
    }
}

fn any_schedule() -> impl Strategy<Value = (Schedule, u32, u32)> {
    prop_oneof![
        (1u32..7, 1u32..20).prop_map(|(p, m)| (Schedule::GPipe, p, m)),
        (1u32..7, 1u32..60).prop_map(|(p, m)| (Schedule::OneFOneB, p, m)),
        (1u32..7, 1u32..60).prop_map(|(p, m)| (Schedule::ZeroBubbleH1, p, m)),
        (2u32..6, 2u32..5, 1u32..60).prop_map(|(p, v, m)| (Schedule::Interleaved { chunks: v }, p, m)),
        (1u32..4, 0u32..20).prop_map(|(p, m)| (Schedule::DualPipe, 2 * p, 4 * p + 2 * m)),
    ]
}

/// Longest path by relaxing every edge until nothing moves: slow, and written without looking at the executor.
fn brute_force(schedule: Schedule, ranks: u32, micros: u32, stages: &[StageTimes], send: f64) -> f64 {
    let mut ends: BTreeMap<(u32, Pass, u32), f64> = BTreeMap::new();
    let last = schedule.virtual_stages(ranks) - 1;
    let kind = |pass| if pass == Pass::Backward { Pass::BackwardInput } else { pass };
    loop {
        let mut changed = false;
        for rank in 0..ranks {
            let mut previous = 0.0f64;
            for task in schedule.program(rank, ranks, micros) {
                let stage = schedule.stage_of(rank, task.chunk, ranks);
                let end_of = |stage, pass| ends.get(&(stage, pass, task.micro)).copied().unwrap_or(0.0);
                let mut start = previous;
                match kind(task.pass) {
                    Pass::Forward if stage > 0 => start = start.max(end_of(stage - 1, Pass::Forward) + send),
                    Pass::BackwardInput => {
                        start = start.max(end_of(stage, Pass::Forward));
                        if stage < last {
                            start = start.max(end_of(stage + 1, Pass::BackwardInput) + send);
                        }
                    }
                    Pass::BackwardWeight => start = start.max(end_of(stage, Pass::BackwardInput)),
                    _ => {}
                }
                let end = start + stages[stage as usize].of(task.pass).get();
                changed |= ends.insert((stage, kind(task.pass), task.micro), end) != Some(end);
                previous = end;
            }
        }
        if !changed {
            return ends.values().copied().fold(0.0, f64::max);
        }
    }
}

fn times(seed: &[u8], stages: u32) -> Vec<StageTimes> {
    let at = |index: usize| Seconds::new(1.0 + f64::from(seed[index % seed.len()]) / 64.0);
    (0..stages as usize)
        .map(|stage| StageTimes {
            forward: at(3 * stage),
            backward_input: at(3 * stage + 1),
            backward_weight: at(3 * stage + 2),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn execution_is_the_longest_path((schedule, ranks, micros) in any_schedule(), seed in proptest::collection::vec(0u8..255, 1..9), send in 0.0f64..0.5) {
        let stages = times(&seed, schedule.virtual_stages(ranks));
        let run = execute(schedule, ranks, micros, &stages, Seconds::new(send));
        let expected = brute_force(schedule, ranks, micros, &stages, send);
        prop_assert!((run.makespan.get() - expected).abs() < 1e-9 * expected);
    }

    #[test]
    fn every_micro_batch_passes_every_stage_once((schedule, ranks, micros) in any_schedule()) {
        let stages = even(schedule.virtual_stages(ranks), 1.0, 1.0, 1.0);
        let run = execute(schedule, ranks, micros, &stages, Seconds::ZERO);
        let mut seen: BTreeMap<(u32, u32), (u32, u32, u32)> = BTreeMap::new();
        for (rank, intervals) in run.ranks.iter().enumerate() {
            for interval in intervals {
                let stage = schedule.stage_of(rank as u32, interval.task.chunk, ranks);
                let entry = seen.entry((stage, interval.task.micro)).or_default();
                match interval.task.pass {
                    Pass::Forward => entry.0 += 1,
                    Pass::BackwardInput => entry.1 += 1,
                    Pass::BackwardWeight => entry.2 += 1,
                    Pass::Backward => { entry.1 += 1; entry.2 += 1; }
                }
            }
        }
        prop_assert_eq!(seen.len() as u32, schedule.virtual_stages(ranks) * micros);
        prop_assert!(seen.values().all(|counts| *counts == (1, 1, 1)));
    }

    #[test]
    fn collapsing_identical_micro_batches_changes_nothing((schedule, ranks, _) in any_schedule(), extra in 0u32..200, seed in proptest::collection::vec(0u8..255, 1..4)) {
        let stages = times(&seed, schedule.virtual_stages(ranks));
        let micros = if schedule == Schedule::DualPipe { 4 * ranks + 2 * extra } else { 20 + extra };
        let send = Seconds::new(0.01);
        let full = execute(schedule, ranks, micros, &stages, send);
        let (total, finish) = makespan(schedule, ranks, micros, &stages, send);
        prop_assert!((total.get() - full.makespan.get()).abs() < 1e-7 * full.makespan.get());
        for (a, b) in finish.iter().zip(&full.finish) {
            prop_assert!((a.get() - b.get()).abs() < 1e-7 * b.get());
        }
    }

    #[test]
    fn peak_in_flight_is_what_the_program_holds((schedule, ranks, micros) in any_schedule()) {
        for rank in 0..ranks {
            let (mut alive, mut peak) = (0i64, 0i64);
            for task in schedule.program(rank, ranks, micros) {
                match task.pass {
                    Pass::Forward => alive += 1,
                    Pass::Backward | Pass::BackwardWeight => alive -= 1,
                    Pass::BackwardInput => {}
                }
                peak = peak.max(alive);
            }
            prop_assert!(peak <= i64::from(schedule.peak_in_flight(rank, ranks, micros)), "rank {rank}: {peak}");
        }
    }
}
