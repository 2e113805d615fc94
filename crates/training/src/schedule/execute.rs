//! Runs programs as a dependency graph.

use super::{Pass, Schedule, Task};
use units::Seconds;

/// How long one micro-batch takes in one stage (part of the model), in forward order of the stages.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StageTimes {
    /// Forward.
    pub forward: Seconds,
    /// Gradient of the inputs, recomputation included.
    pub backward_input: Seconds,
    /// Gradient of the weights.
    pub backward_weight: Seconds,
}

impl StageTimes {
    /// The duration of a task of this stage.
    pub fn of(&self, pass: Pass) -> Seconds {
        match pass {
            Pass::Forward => self.forward,
            Pass::Backward => self.backward_input + self.backward_weight,
            Pass::BackwardInput => self.backward_input,
            Pass::BackwardWeight => self.backward_weight,
        }
    }

    /// Forward and backward of one micro-batch.
    pub fn total(&self) -> Seconds {
        self.forward + self.backward_input + self.backward_weight
    }
}

/// A task with its place in time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// What was done.
    pub task: Task,
    /// When it began, from the start of the step.
    pub start: Seconds,
    /// When it ended.
    pub end: Seconds,
}

/// A pipeline run through one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// Per rank, its tasks in order.
    pub ranks: Vec<Vec<Interval>>,
    /// When the last task of any rank ended.
    pub makespan: Seconds,
    /// Per rank, when its last task ended.
    pub finish: Vec<Seconds>,
}

impl Execution {
    /// Time rank `rank` spends working.
    pub fn busy(&self, rank: usize) -> Seconds {
        self.ranks[rank].iter().map(|interval| interval.end - interval.start).sum()
    }
}

/// Per-task completion, forward and backward, by (stage, micro-batch); "not yet" is infinite.
struct Board {
    micros: usize,
    forward: Vec<f64>,
    backward: Vec<f64>,
}

impl Board {
    fn new(rows: usize, micros: usize) -> Self {
        Self {
            micros,
            forward: vec![f64::INFINITY; rows * micros],
            backward: vec![f64::INFINITY; rows * micros],
        }
    }

    fn at(&self, row: usize, micro: u32) -> usize {
        row * self.micros + micro as usize
    }
}

/// Runs `micros` micro-batches over `ranks` pipeline ranks, every task kept.
///
/// `stages` holds one entry per virtual stage (`schedule.virtual_stages(ranks)`), `send` is the time between the end of a
/// task and the moment its neighbour may use the result.
pub fn execute(
    schedule: Schedule,
    ranks: u32,
    micros: u32,
    stages: &[StageTimes],
    send: Seconds,
) -> Execution {
    let programs = schedule.programs(ranks, micros);
    let mut intervals: Vec<Vec<Interval>> =
        programs.iter().map(|program| Vec::with_capacity(program.len())).collect();
    let keep = |rank: usize, interval| intervals[rank].push(interval);
    let finish = run(schedule, micros, &programs, stages, send.get(), keep);
    let makespan = finish.iter().copied().fold(Seconds::ZERO, Seconds::max);
    Execution { ranks: intervals, makespan, finish }
}

/// Runs the programs of all ranks, telling `keep` of every task; when each rank is done.
fn run(
    schedule: Schedule,
    micros: u32,
    programs: &[Vec<Task>],
    stages: &[StageTimes],
    send: f64,
    mut keep: impl FnMut(usize, Interval),
) -> Vec<Seconds> {
    // DualPipe's two directions use the same stages with different micro-batches, so one row per stage serves both.
    let ranks = programs.len();
    let count = schedule.virtual_stages(ranks as u32) as usize;
    let mut board = Board::new(count, micros as usize);
    let mut clock = vec![0.0f64; ranks];
    let mut done = vec![0usize; ranks];
    loop {
        let mut progress = false;
        for rank in 0..ranks {
            while let Some(&task) = programs[rank].get(done[rank]) {
                let stage = schedule.stage_of(rank as u32, task.chunk, ranks as u32) as usize;
                let ready = ready_time(&board, task, stage, count, send);
                if ready.is_infinite() {
                    break;
                }
                let start = ready.max(clock[rank]);
                let end = start + stages[stage].of(task.pass).get();
                let slot = board.at(stage, task.micro);
                match task.pass {
                    Pass::Forward => board.forward[slot] = end,
                    Pass::Backward | Pass::BackwardInput => board.backward[slot] = end,
                    Pass::BackwardWeight => {}
                }
                keep(rank, Interval { task, start: Seconds::new(start), end: Seconds::new(end) });
                clock[rank] = end;
                done[rank] += 1;
                progress = true;
            }
        }
        if !progress {
            break;
        }
    }
    debug_assert!(
        done.iter().zip(programs).all(|(done, program)| *done == program.len()),
        "a schedule deadlocked"
    );
    clock.into_iter().map(Seconds::new).collect()
}

/// When the inputs of a task are there; infinite while they are not.
fn ready_time(board: &Board, task: Task, stage: usize, count: usize, send: f64) -> f64 {
    match task.pass {
        Pass::Forward if stage == 0 => 0.0,
        Pass::Forward => board.forward[board.at(stage - 1, task.micro)] + send,
        Pass::Backward | Pass::BackwardInput => {
            let own = board.forward[board.at(stage, task.micro)];
            if stage + 1 == count {
                own
            } else {
                own.max(board.backward[board.at(stage + 1, task.micro)] + send)
            }
        }
        Pass::BackwardWeight => board.backward[board.at(stage, task.micro)],
    }
}

/// Finish time of each rank and the makespan, without keeping tasks: as [`execute`], but identical rounds of
/// micro-batches are run once.
///
/// A pipeline in its steady state does the same thing every round, each time later by the same amount. If a window of
/// rounds long enough to hold every dependency is the previous window shifted by a constant, all rounds until the
/// cool-down are too, and running them adds that constant each. Where no such window shows (stages that differ slightly take
/// long to settle) more rounds are run, in the end all of them.
pub fn makespan(
    schedule: Schedule,
    ranks: u32,
    micros: u32,
    stages: &[StageTimes],
    send: Seconds,
) -> (Seconds, Vec<Seconds>) {
    let period = schedule.period(ranks);
    let mut some = 6 * ranks.div_ceil(period) * period + micros % period;
    while schedule != Schedule::GPipe && some + 8 * period < micros {
        let part = execute(schedule, ranks, some, stages, send);
        if let Some(shift) = steady_shift(schedule, ranks, some, &part) {
            let added = shift * f64::from((micros - some) / period);
            let finish = part.finish.iter().map(|finish| *finish + added).collect();
            return (part.makespan + added, finish);
        }
        some *= 3;
        some = some / period * period + micros % period;
    }
    let programs = schedule.programs(ranks, micros);
    let finish = run(schedule, micros, &programs, stages, send.get(), |_, _| ());
    (finish.iter().copied().fold(Seconds::ZERO, Seconds::max), finish)
}

/// The time one period of micro-batches adds, if every rank repeats itself in the middle of the run.
fn steady_shift(schedule: Schedule, ranks: u32, micros: u32, run: &Execution) -> Option<Seconds> {
    let chunks = schedule.chunks();
    let period = schedule.period(ranks);
    let mut shift: Option<f64> = None;
    for intervals in &run.ranks {
        let per_round = intervals.len() / micros as usize * period as usize;
        // The window lies before the cool-down and is longer than any dependency reaches.
        let ramp = (4 * ranks * chunks) as usize;
        let window = (2 * ranks * chunks + 2 * ranks) as usize + per_round;
        let end = intervals.len().checked_sub(ramp)?;
        let begin = end.checked_sub(window + per_round)?;
        for index in begin..end - per_round {
            let (a, b) = (&intervals[index], &intervals[index + per_round]);
            if a.task.pass != b.task.pass || a.task.chunk != b.task.chunk {
                return None;
            }
            let step = b.end.get() - a.end.get();
            let known = *shift.get_or_insert(step);
            if (step - known).abs() > 1e-9 * known.abs().max(1e-12) {
                return None;
            }
        }
    }
    shift.map(Seconds::new)
}
