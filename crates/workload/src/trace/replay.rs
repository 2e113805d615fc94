//! A trace as a source of requests: scaled, cut and repeated.

use super::graph::Graph;
use super::{Format, Opened, Reading, Row, Rows, open};
use crate::arrivals::Arrivals;
use crate::error::WorkloadError;
use crate::source::{Arrival, Source};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use units::Seconds;

/// How to replay a trace.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// How the text is to be taken: format, unit, block, columns.
    pub reading: Reading,
    /// Times are divided by this: 4 makes the traffic four times as dense.
    pub rate_scale: f64,
    /// Requests to send at most.
    pub limit: Option<u64>,
    /// Times the trace is played, end to end.
    pub repeat: u32,
    /// Times to use instead of the trace's own, or for a trace that has none.
    pub arrivals: Option<Arrivals>,
}

impl Default for ReplayOptions {
    /// Once, as recorded.
    fn default() -> Self {
        Self { reading: Reading::default(), rate_scale: 1.0, limit: None, repeat: 1, arrivals: None }
    }
}

/// A trace being replayed.
pub struct Replay {
    file: String,
    path: Option<PathBuf>,
    rows: Box<dyn Rows>,
    format: Format,
    options: ReplayOptions,
    next: Option<Arrival>,
    done: bool,
    sent: u64,
    /// The first row's time, and the last one's with its line.
    origin: Option<i128>,
    last: (i128, u64),
    /// What earlier rounds took.
    offset: i128,
    round: u32,
    skipped: u64,
    repeated_times: Option<u64>,
    block: Option<u32>,
    guesses: Vec<String>,
    /// The whole trace, where requests wait for each other.
    graph: Option<Graph>,
}

impl Replay {
    /// Opens a trace; `-` is standard input.
    ///
    /// # Errors
    /// A file that cannot be opened or is of no known format; standard input that is to be repeated.
    pub fn open(path: &Path, options: ReplayOptions) -> Result<Self, WorkloadError> {
        if path.as_os_str() == "-" {
            return Self::from_reader("<stdin>", Box::new(std::io::stdin()), options);
        }
        let file = path.display().to_string();
        let input = open_file(path, &file)?;
        let mut replay = Self::start(&file, input, options)?;
        replay.path = Some(path.to_owned());
        Ok(replay)
    }

    /// Replays what `input` gives; `file` is what errors call it.
    ///
    /// # Errors
    /// As [`Replay::open`].
    pub fn from_reader(
        file: &str,
        input: Box<dyn Read>,
        options: ReplayOptions,
    ) -> Result<Self, WorkloadError> {
        if options.repeat > 1 {
            let problem = "a stream can be played only once; write it to a file to repeat it".to_owned();
            return Err(WorkloadError::Format { file: file.to_owned(), problem });
        }
        Self::start(file, input, options)
    }

    fn start(file: &str, input: Box<dyn Read>, options: ReplayOptions) -> Result<Self, WorkloadError> {
        let wrong =
            |problem: &str| WorkloadError::Format { file: file.to_owned(), problem: problem.to_owned() };
        if !options.rate_scale.is_finite() || options.rate_scale <= 0.0 {
            return Err(wrong("the rate scale must be more than 0"));
        }
        let Opened { format, mut rows, block, notes } = open(file, input, &options.reading)?;
        if !format.has_times() && options.arrivals.is_none() {
            return Err(wrong(
                "the trace has no times; give an arrival process and a rate (`arrival` poisson, `rate` 4)",
            ));
        }
        let mut options = options;
        let linked = matches!(format, Format::Agentic | Format::Weka | Format::AiPerf);
        let (graph, skipped) = if linked {
            if options.repeat > 1 {
                return Err(wrong("a trace whose requests wait for each other can be played only once"));
            }
            let (graph, skipped) = graph(file, rows.as_mut(), &mut options)?;
            (Some(graph), skipped)
        } else {
            (None, 0)
        };
        Ok(Self {
            file: file.to_owned(),
            path: None,
            rows,
            format,
            options,
            next: None,
            done: false,
            sent: 0,
            // A recorded run keeps its own clock; other traces start with their first request.
            origin: (format == Format::Supernode).then_some(0),
            last: (0, 0),
            offset: 0,
            round: 0,
            skipped,
            repeated_times: None,
            block,
            guesses: notes,
            graph,
        })
    }

    /// The format it is read as.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Tokens per hash of its prefixes, if it has any.
    pub fn hash_block(&self) -> Option<u32> {
        self.block
    }

    /// Whether requests wait for the ends of others.
    pub fn waits(&self) -> bool {
        self.graph.is_some()
    }

    /// Rows left out because they have no prompt or no output.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The first line whose time is the same as that of the line before, if there is one.
    pub fn first_repeated_time(&self) -> Option<u64> {
        self.repeated_times
    }

    fn advance(&mut self) -> Result<(), WorkloadError> {
        while self.next.is_none() && !self.done {
            if self.options.limit.is_some_and(|limit| self.sent >= limit) {
                self.done = true;
                break;
            }
            match self.rows.next()? {
                Some(Some(row)) => {
                    let mut arrival = self.place(row)?;
                    arrival.ticket = self.sent;
                    self.sent += 1;
                    self.next = Some(arrival);
                }
                Some(None) => self.skipped += 1,
                None => self.again()?,
            }
        }
        Ok(())
    }

    /// Gives a row its time.
    fn place(&mut self, row: Row) -> Result<Arrival, WorkloadError> {
        let mut arrival = row.arrival;
        if let Some(times) = &mut self.options.arrivals {
            arrival.at = times.next().unwrap_or_default();
            return Ok(arrival);
        }
        let line = |problem: String| WorkloadError::Line { file: self.file.clone(), line: row.line, problem };
        let at = row.at.ok_or_else(|| {
            line(
                "the request has no time; give an arrival process and a rate (`arrival` poisson, `rate` 4)"
                    .to_owned(),
            )
        })?;
        let origin = *self.origin.get_or_insert(at);
        let (before, line_before) = self.last;
        if line_before > 0 {
            if at < before {
                let back = (before - at) as f64 * 1e-9;
                let problem =
                    format!("the time is {back} s before that of line {line_before}; sort the trace by time");
                return Err(line(problem));
            }
            if at == before && self.repeated_times.is_none() {
                self.repeated_times = Some(row.line);
            }
        }
        self.last = (at, row.line);
        let since = (at - origin + self.offset) as f64;
        arrival.at = Seconds::new((since / self.options.rate_scale).round() / 1e9);
        Ok(arrival)
    }

    /// Starts over, if the trace is to be played again.
    fn again(&mut self) -> Result<(), WorkloadError> {
        self.round += 1;
        let Some(path) = self.path.clone().filter(|_| self.round < self.options.repeat && self.sent > 0)
        else {
            self.done = true;
            return Ok(());
        };
        let input = open_file(&path, &self.file)?;
        let reading = Reading { format: Some(self.format), ..self.options.reading.clone() };
        self.rows = open(&self.file, input, &reading)?.rows;
        // The gap between two rounds is the mean gap.
        let length = self.last.0 - self.origin.unwrap_or(0);
        let per_round = self.sent / u64::from(self.round);
        self.offset += length + length / i128::from(per_round.max(1));
        self.last = (0, 0);
        Ok(())
    }
}

/// Reads a trace whose requests wait for each other. Times of those that wait for none are scaled; pauses are not.
fn graph(
    file: &str,
    rows: &mut dyn Rows,
    options: &mut ReplayOptions,
) -> Result<(Graph, u64), WorkloadError> {
    let (mut origin, scale) = (None, options.rate_scale);
    let arrivals = &mut options.arrivals;
    Graph::read(file, rows, options.limit, |at| {
        if let Some(times) = arrivals {
            return Some((times.next().unwrap_or_default().get() * 1e9).round() as i128);
        }
        let at = at?;
        let first = *origin.get_or_insert(at);
        Some(((at - first) as f64 / scale).round() as i128)
    })
}

fn open_file(path: &Path, file: &str) -> Result<Box<dyn Read>, WorkloadError> {
    let opened = File::open(path).map_err(|error| WorkloadError::Read { file: file.to_owned(), error })?;
    Ok(Box::new(opened))
}

impl Source for Replay {
    fn peek(&mut self) -> Result<Option<Seconds>, WorkloadError> {
        if let Some(graph) = &self.graph {
            return Ok(graph.peek());
        }
        self.advance()?;
        Ok(self.next.as_ref().map(|arrival| arrival.at))
    }

    fn pop(&mut self) -> Result<Option<Arrival>, WorkloadError> {
        if let Some(graph) = &mut self.graph {
            return Ok(graph.pop());
        }
        self.advance()?;
        Ok(self.next.take())
    }

    fn ended(&mut self, ticket: u64, at: Seconds) {
        if let Some(graph) = &mut self.graph {
            graph.ended(ticket, at);
        }
    }

    fn notes(&self) -> Vec<String> {
        let file = &self.file;
        let skipped = (self.skipped > 0)
            .then(|| format!("{file}: {} rows without a prompt or an output are left out", self.skipped));
        let repeated = self.repeated_times.map(|line| {
            format!("{file}:{line}: the time is that of the line before; such requests arrive together")
        });
        let guesses = self.guesses.iter().cloned().chain(self.rows.notes());
        guesses.chain(skipped).chain(repeated).collect()
    }
}
