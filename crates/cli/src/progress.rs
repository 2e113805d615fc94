//! A progress bar on the error stream, for runs that take longer than a glance.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sim::{Observer, Record};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Shown only when a run takes longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Requests between looks at the clock.
const STRIDE: u64 = 1024;

/// Counts requests that have ended.
pub struct Progress {
    ended: u64,
    total: Option<u64>,
    start: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Of `total` requests, if that is known.
    pub fn new(total: Option<u64>) -> Self {
        Self { ended: 0, total, start: Instant::now(), bar: None }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, virtual_time: f64) {
        if self.bar.is_none() && self.start.elapsed() > PATIENCE {
            quiet();
            let (bar, template) = match self.total {
                Some(total) => {
                    (ProgressBar::new(total), "{wide_bar} {pos}/{len} requests, {msg}, {eta} left")
                }
                None => (ProgressBar::no_length(), "{spinner} {pos} requests, {msg}"),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.ended);
            bar.set_message(format!("{virtual_time:.0} s simulated"));
        }
    }
}

impl Observer for Progress {
    fn request_ended(&mut self, record: &Record) {
        self.ended += 1;
        if self.ended % STRIDE == 0 {
            self.show(record.end.get());
        }
    }
}

/// Says after a while that work goes on, for commands that cannot say how far they are. Nothing is shown where the error
/// stream is no terminal.
pub struct Waiting {
    bar: ProgressBar,
    over: Arc<AtomicBool>,
}

/// The one that is shown, so that whoever prints can take it away.
static SHOWN: Mutex<Option<(ProgressBar, Arc<AtomicBool>)>> = Mutex::new(None);

impl Waiting {
    /// Begins to wait.
    pub fn begin() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let over = Arc::new(AtomicBool::new(!console::Term::stderr().is_term()));
        if let Ok(style) = ProgressStyle::with_template("{spinner} at work for {elapsed}; Ctrl-C ends it") {
            bar.set_style(style);
        }
        if let Ok(mut shown) = SHOWN.lock() {
            *shown = Some((bar.clone(), Arc::clone(&over)));
        }
        let (shown, ended) = (bar.clone(), Arc::clone(&over));
        if !over.load(Ordering::Relaxed) {
            std::thread::spawn(move || {
                std::thread::sleep(PATIENCE);
                if !ended.load(Ordering::Relaxed) {
                    shown.set_draw_target(ProgressDrawTarget::stderr());
                    shown.enable_steady_tick(Duration::from_millis(200));
                }
            });
        }
        Self { bar, over }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.bar.finish_and_clear();
    }
}

/// Takes away what [`Waiting`] shows: something else is about to be written.
pub fn quiet() {
    if let Ok(mut shown) = SHOWN.lock()
        && let Some((bar, over)) = shown.take()
    {
        over.store(true, Ordering::Relaxed);
        bar.finish_and_clear();
    }
}
